//! A hub and its spokes in namespaces, each running one of the programs.
//!
//! ```text
//!   spoke 1  10.99.0.2  ── veth 10.71.1.0/24 ──  hub  10.99.0.1  ── veth 10.71.2.0/24 ──  spoke 2  10.99.0.3
//! ```

use std::fs::{File, read_to_string};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{SysconfVar, sysconf};
use wgrelay::model::PrivateKey;

pub(crate) const PORT: u16 = 51820;

/// A WireGuard in userspace.
#[derive(Clone)]
pub(crate) enum Program {
    /// The device of this build, or the one that `WGRELAY_BENCH_OURS` names, started with `--serve NAME`.
    Ours,
    WireguardGo(PathBuf),
}

impl Program {
    /// The newest wireguard-go that can be had.
    pub(crate) fn wireguard_go() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/fetch-wireguard-go");
        let fetched = Command::new(script).stderr(Stdio::inherit()).output().expect("the script is there");
        if fetched.status.success() {
            return Self::WireguardGo(String::from_utf8_lossy(&fetched.stdout).trim().into());
        }
        println!("the newest wireguard-go could not be fetched: the installed one is measured");
        Self::WireguardGo("wireguard-go".into())
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Ours => format!("wgrelay {}", env!("CARGO_PKG_VERSION")),
            Self::WireguardGo(path) => {
                let version = run(&format!("{} --version | head -n 1", path.display()));
                format!("{} ({})", version.trim(), path.display())
            }
        }
    }
}

/// Gives this process and its children a view of /run/netns and /run/wireguard of their own, which ends with them.
pub(crate) fn private_namespaces() {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("run as root");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("root may");
    for folder in ["/run/netns", "/run/wireguard"] {
        std::fs::create_dir_all(folder).expect("root may");
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), none).expect("root may");
    }
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().expect("sh runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command}: {out}{err}");
    out.into_owned()
}

/// Waits until something is so, for ten seconds at most.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(10), "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One program in one namespace.
pub(crate) struct Node {
    pub(crate) namespace: String,
    pub(crate) interface: String,
    device: Child,
}

/// A hub, node 0, and its spokes.
pub(crate) struct Lab {
    pub(crate) nodes: Vec<Node>,
}

impl Lab {
    /// Starts `programs`, the hub's first, and waits until all spokes have shaken hands with it. `segmentation` tells
    /// whether the wires between them take UDP super-packets.
    pub(crate) fn new(programs: &[&Program], segmentation: bool) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let tag = COUNT.fetch_add(1, Ordering::Relaxed);
        let nodes = programs.iter().enumerate().map(|(i, p)| Node::start(p, tag, i)).collect();
        let lab = Self { nodes };
        let hub = &lab.nodes[0].namespace;
        run(&format!("ip netns exec {hub} sysctl -qw net.ipv4.ip_forward=1"));
        for (i, spoke) in lab.nodes.iter().enumerate().skip(1) {
            let ns = &spoke.namespace;
            run(&format!(
                "ip link add hub netns {ns} type veth peer name to{i} netns {hub}
                 ip -n {ns} addr add 10.71.{i}.2/24 dev hub; ip -n {ns} link set hub up
                 ip -n {hub} addr add 10.71.{i}.1/24 dev to{i}; ip -n {hub} link set to{i} up"
            ));
            if !segmentation {
                run(&format!(
                    "ip netns exec {ns} ethtool -K hub tx-udp-segmentation off
                     ip netns exec {hub} ethtool -K to{i} tx-udp-segmentation off"
                ));
            }
        }
        for i in 0..lab.nodes.len() {
            lab.configure(i);
        }
        for i in 1..lab.nodes.len() {
            lab.run(i, "ping -qc1 -W5 10.99.0.1");
        }
        lab
    }

    /// Runs a command in a node's namespace.
    pub(crate) fn run(&self, node: usize, command: &str) -> String {
        run(&format!("ip netns exec {} {command}", self.nodes[node].namespace))
    }

    /// Gives a device its key, its peers, an address.
    fn configure(&self, node: usize) {
        let mut conf = format!("[Interface]\nPrivateKey={}\nListenPort={PORT}\n", *key(node).expose_base64());
        if node == 0 {
            for i in 1..self.nodes.len() {
                conf +=
                    &format!("[Peer]\nPublicKey={}\nAllowedIPs=10.99.0.{}/32\n", key(i).public_key(), i + 1);
            }
        } else {
            conf += &format!(
                "[Peer]\nPublicKey={}\nAllowedIPs=10.99.0.0/24\nEndpoint=10.71.{node}.1:{PORT}\nPersistentKeepalive=25\n",
                key(0).public_key()
            );
        }
        self.wg(node, "setconf", &conf);
        let Node { namespace, interface, .. } = &self.nodes[node];
        run(&format!(
            "ip -n {namespace} addr add 10.99.0.{}/24 dev {interface}
             ip -n {namespace} link set {interface} mtu 1420 up; ip -n {namespace} link set lo up",
            node + 1
        ));
    }

    /// Hands a configuration to `wg setconf` or `wg addconf`.
    pub(crate) fn wg(&self, node: usize, verb: &str, conf: &str) {
        let mut wg = Command::new("wg")
            .args([verb, &self.nodes[node].interface, "/dev/stdin"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("wg is installed");
        wg.stdin.take().expect("it is piped").write_all(conf.as_bytes()).expect("wg reads");
        assert!(wg.wait().expect("it is our child").success(), "wg {verb}");
    }

    /// Does something in a node's namespace, in a thread of its own.
    pub(crate) fn inside<T: Send>(&self, node: usize, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.nodes[node].namespace)).expect("it is there");
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter it");
                work()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Seconds of processor time that a node's device has used.
    pub(crate) fn processor(&self, node: usize) -> f64 {
        let stat = read_to_string(format!("/proc/{}/stat", self.pid(node))).expect("the device runs");
        // After the name in parentheses; user and system time are fields 14 and 15.
        let ticks: f64 = stat[stat.rfind(')').expect("the name ends") + 2..]
            .split(' ')
            .skip(11)
            .take(2)
            .map(|field| field.parse::<f64>().expect("a number"))
            .sum();
        let hertz = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        ticks / hertz as f64
    }

    /// Resident memory of a node's device, in MB.
    pub(crate) fn memory(&self, node: usize) -> f64 {
        let status = read_to_string(format!("/proc/{}/status", self.pid(node))).expect("the device runs");
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("it has memory");
        line.split_whitespace().nth(1).expect("a number").parse::<f64>().expect("a number") / 1024.0
    }

    /// Allocations of a node's device, which is ours, since it started.
    pub(crate) fn allocations(&self, node: usize) -> u64 {
        let file = crate::serve::count_file(&self.nodes[node].interface);
        let _ = std::fs::remove_file(&file);
        run(&format!("kill -USR1 {}", self.pid(node)));
        let mut count = None;
        eventually("the device has counted", || {
            count = read_to_string(&file).ok().and_then(|text| text.parse().ok());
            count.is_some()
        });
        count.expect("it has just been read")
    }

    /// Bytes that a node's first peer has sent and been sent, as received and as sent.
    pub(crate) fn transferred(&self, node: usize) -> [u64; 2] {
        let text = self.run(node, &format!("wg show {} transfer", self.nodes[node].interface));
        let mut numbers = text.split_whitespace().skip(1).map(|n| n.parse().expect("a number"));
        [0; 2].map(|_| numbers.next().expect("received and sent"))
    }

    fn pid(&self, node: usize) -> u32 {
        self.nodes[node].device.id()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.device.kill();
            let _ = node.device.wait();
            let _ = std::fs::remove_file(format!("/run/wireguard/{}.sock", node.interface));
            run(&format!("ip netns del {}", node.namespace));
        }
    }
}

impl Node {
    fn start(program: &Program, tag: u32, i: usize) -> Self {
        let (namespace, interface) = (format!("wgbench{tag}n{i}"), format!("wgb{tag}n{i}"));
        run(&format!("ip netns add {namespace}"));
        // `ip netns exec` turns into the program: the process is the device.
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &namespace]);
        match program {
            Program::Ours => {
                let own = || std::env::current_exe().expect("it is known");
                let program = std::env::var_os("WGRELAY_BENCH_OURS").map_or_else(own, Into::into);
                command.arg(program).args(["--serve", &interface]);
            }
            Program::WireguardGo(path) => {
                command.arg(path).args(["-f", &interface]);
            }
        }
        let device = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("ip is installed");
        eventually("the device's socket is there", || {
            std::path::Path::new(&format!("/run/wireguard/{interface}.sock")).exists()
        });
        Self { namespace, interface, device }
    }
}

/// The key of a node.
pub(crate) fn key(node: usize) -> PrivateKey {
    PrivateKey::from_random([node as u8 + 1; 32])
}
