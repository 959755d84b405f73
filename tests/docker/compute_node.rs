//! The compute node as the engine leaves it: two homes, no bridge. Its bundle makes the bridges, machines behind them get
//! where they should with the sources that they should have, and `down` leaves the container as it was.

use std::time::Duration;

use crate::beside::{CONTAINER, NETWORK, PATIENCE, PORT, Place, can_run, makes_networks, page};
use crate::engine::{Engine, IMAGE};
use crate::rig::drive::{Wgrelay, program, wg_quick_up};
use crate::rig::net::up;
use crate::rig::node::Node;
use crate::rig::probe::{ping, tcp};
use crate::rig::walk::{steps, told};

/// Its place on the site's network, and the machine behind its bridge.
const HOME: &str = "172.19.0.9";
const MACHINE: &str = "192.168.33.71";
/// Another container on Docker's own network.
const NEIGHBOUR: &str = "172.17.0.3";
/// Somebody outside; the address stands for the Internet.
const OUTSIDE: &str = "192.168.39.1";
/// The same folder for the relay, and for the engine, which finds the relay's /run there.
const SHARED: &str = "/run/place/shared";
/// What a container needs of the engine's tree to run wgrelay: nft, ip, the C library.
/// /usr/local stays the container's own: the compose file mounts wgrelay there.
const TREE: [&str; 6] = [
    "/usr/bin:/usr/bin:ro",
    "/usr/sbin:/usr/sbin:ro",
    "/usr/lib:/usr/lib:ro",
    "/bin:/bin:ro",
    "/lib:/lib:ro",
    "/lib64:/lib64:ro",
];

/// A relay with an engine, the profile's network, and Windows.
struct Cloud<'a> {
    place: &'a Place,
    engine: Engine<'a>,
    relay: Wgrelay<'a>,
}

/// Makes the folder that both see, with the program in it.
fn share(place: &Place) {
    let relay = &place.relay;
    relay.run(&["mkdir", "-p", "/run/shared", SHARED]).ok();
    relay.run(&["mount", "--bind", "/run/shared", SHARED]).ok();
    std::fs::copy(program(), relay.outside("/run/shared/wgrelay")).expect("the program can be copied");
}

fn cloud(place: &Place) -> Cloud<'_> {
    share(place);
    let engine = Engine::start(&place.relay, "28", "nft");
    makes_networks(&engine);
    let relay = Wgrelay::on(&place.relay);
    let told = relay.call(&["init", "--profile", "webvirtcloud", "--endpoint", "192.168.39.45:51820"]).ok();
    assert!(!told.stderr.contains("took:"), "the engine's networks are the profile's: {told}");
    relay.up().ok();
    wg_quick_up(&place.windows, "wg0", &relay.ok(&["export", "windows"])).ok();
    Cloud { place, engine, relay }
}

impl Cloud<'_> {
    /// Runs a script in a container, which must end well; returns its lines.
    #[track_caller]
    fn inside(&self, container: &str, script: &str) -> Vec<String> {
        let text = self.engine.ok(&["exec", container, "/bin/sh", "-c", script]);
        text.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Everything of a container's network that an `up` could change.
    fn state(&self, container: &str) -> Vec<String> {
        self.inside(
            container,
            "ip -o addr show; ip route show table all; ip rule show; ip -br link show | cut -c 1-40; nft -s list ruleset; \
             for f in $(find /proc/sys/net/ipv4 /proc/sys/net/ipv6 -name '*forward*' -o -name disable_ipv6); do echo $f $(cat $f); done; \
             cat /etc/resolv.conf; ls /run",
        )
    }

    /// Lays the machine behind the container's bridge, as libvirt does with its tap.
    fn machine(&self, container: &str) -> Node {
        let machine = Node::new("machine");
        self.place.relay.ip(&format!("link add vm0 type veth peer name eth0 netns {}", machine.pid()));
        let pid = self.engine.ok(&["inspect", "-f", "{{.State.Pid}}", container]);
        self.place.relay.run(&["ip", "link", "set", "vm0", "netns", &pid]).ok();
        self.inside(container, "ip link set vm0 master br-ext && ip link set vm0 up");
        machine.ip(&(up("eth0", &[&format!("{MACHINE}/24")]) + "route add default via 192.168.33.1\n"));
        machine
    }

    #[track_caller]
    fn assert_stands(&self, container: &str) {
        let addresses = |link: &str| {
            let mut list = self.inside(
                container,
                &format!("ip -4 -o addr show dev {link} | /bin/busybox awk '{{print $4}}'"),
            );
            list.sort();
            list
        };
        let external = ["10.255.0.1/16", "169.254.169.254/16", "172.19.0.9/16", "192.168.33.1/24"];
        assert_eq!(addresses("br-ext"), external);
        assert_eq!(addresses("br-int"), ["172.17.0.2/16"]);
        assert_eq!(self.inside(container, "ip route show default"), ["default via 172.17.0.1 dev br-int"]);
        for port in ["eth0", "eth1"] {
            assert!(addresses(port).is_empty(), "{port} has an address");
        }
    }

    /// What section 4 of the notes is about, with the sources that the other end sees.
    #[track_caller]
    fn assert_flows(&self, container: &str, machine: &Node) {
        let windows = &self.place.windows;
        assert!(ping(windows, MACHINE), "windows pings the machine");
        assert_eq!(
            tcp(windows, machine, MACHINE).expect("windows calls the machine").to_string(),
            "192.168.33.1"
        );
        assert!(ping(windows, HOME), "windows pings the container at the site's address");
        assert!(
            page(windows, CONTAINER, PORT, PATIENCE),
            "windows reads the page of another container there"
        );
        // The container itself answers; nothing is rewritten.
        assert!(ping(machine, "172.17.0.2") && ping(machine, "10.255.0.1"), "the machine pings its host");
        self.serve_and_see(machine, container, "172.17.0.2", MACHINE);
        self.serve_and_see(machine, "neighbour", NEIGHBOUR, "172.17.0.2");
        self.serve_and_see(machine, "site", CONTAINER, HOME);
        assert!(ping(machine, OUTSIDE), "the machine pings somebody outside");
        let seen = tcp(machine, &self.place.lan, OUTSIDE).expect("the machine calls somebody outside");
        assert_eq!(
            seen.to_string(),
            "192.168.39.45",
            "Docker's host masquerades what its container sends out"
        );
    }

    /// Reads a page that a container serves; the server's log has the source.
    #[track_caller]
    fn serve_and_see(&self, from: &Node, container: &str, address: &str, source: &str) {
        let port = 7117;
        self.inside(
            container,
            "mkdir -p /run/page && echo here > /run/page/page && : > /run/page.log && \
             { /bin/busybox httpd -f -vv -p 7117 -h /run/page 2> /run/page.log & echo $! > /run/page.pid; } && sleep 0.2",
        );
        let read = page(from, address, port, PATIENCE);
        let log = self.inside(
            container,
            "kill $(/bin/busybox cat /run/page.pid); /bin/busybox cat /run/page.log; \
             /bin/busybox rm -r /run/page /run/page.log /run/page.pid",
        );
        assert!(read, "{} does not read the page at {address}", from.name);
        assert!(
            log.iter().any(|l| l.contains(source)),
            "{address} saw another source than {source}: {log:?}"
        );
    }
}

/// Starts the container as the notes do, and a neighbour on Docker's own network.
fn run_compute(cloud: &Cloud<'_>, more: &[&str]) {
    let mut words = vec!["run", "-d", "--name", "compute1", "--privileged", "--stop-timeout", "1"];
    words.extend(["--network", NETWORK, "--ip", HOME, "-v", "/run/place/shared:/opt:ro"]);
    words.extend(TREE.iter().flat_map(|mount| ["-v", mount]));
    words.extend(more);
    cloud.engine.ok(&[&words[..], &[IMAGE, "/bin/sleep", "inf"]].concat());
    cloud.engine.ok(&["network", "connect", "bridge", "compute1"]);
    cloud.engine.ok(&["run", "-d", "--name", "neighbour", "--stop-timeout", "1", IMAGE, "/bin/sleep", "inf"]);
}

fn bundle(cloud: &Cloud<'_>) {
    let text = cloud.relay.ok(&["export", "docker", "--format", "bundle"]);
    cloud.place.relay.write("/run/shared/docker.bundle", &text);
}

/// What stands beside the node in its container.
#[derive(Clone, Copy, Default)]
struct Beside {
    /// Typed in the container before `up`.
    script: &'static str,
    /// firewalld of that version ("", the newest; "1.3"), and what it is told before it starts.
    firewalld: Option<(&'static str, &'static str)>,
}

/// Ends firewalld with the test.
struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts firewalld in a container's network; the container finds its bus where it looks.
fn firewalld(cloud: &Cloud<'_>, version: &str, told: &str) -> Process {
    const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker/firewalld");
    let relay = &cloud.place.relay;
    let pid = cloud.engine.ok(&["inspect", "-f", "{{.State.Pid}}", "compute1"]);
    let command = |words: &[&str]| {
        let mut command = std::process::Command::new("nsenter");
        command.arg(format!("--net=/proc/{pid}/ns/net")).arg(SCRIPT).args(words).env("FIREWALLD", version);
        command
    };
    relay.command(&mut command(&["sh", "/run/fw", told])).ok();
    let mut run = command(&["run", "/run/fw"]);
    let null = std::process::Stdio::null;
    let process = Process(relay.spawn(run.stdin(null()).stdout(null()).stderr(null())));
    let began = std::time::Instant::now();
    while relay.command(&mut command(&["sh", "/run/fw", "firewall-cmd --state"])).code != Some(0) {
        assert!(began.elapsed() < PATIENCE * 10, "firewalld {version} did not come up");
        std::thread::sleep(Duration::from_millis(300));
    }
    process
}

/// Lends the container the nft of that firewalld's time: the older library ends at tables that a newer nft has made.
fn lend_nft(place: &Place) {
    let script = format!(
        "tree=${{XDG_CACHE_HOME:-/var/tmp}}/wgrelay-docker/firewalld-1.3; to={SHARED}/nft; mkdir $to; \
         for f in $(chroot $tree ldd /usr/sbin/nft | grep -o '/[^ ]*'); do \
             case $f in */libc.so*|*/ld-linux*) ;; *) cp -L $tree$f $to/ ;; esac; done; cp $tree/usr/sbin/nft $to/real; \
         printf '#!/bin/sh\nLD_LIBRARY_PATH=/opt/nft exec /opt/nft/real \"$@\"\n' > $to/nft; chmod 755 $to/nft"
    );
    place.relay.run(&["sh", "-ec", &script]).ok();
}

/// From what the engine leaves to the machines' last flow, and back.
fn as_given(beside: Beside) {
    if !can_run() {
        return;
    }
    if let Some((version, _)) = beside.firewalld {
        crate::firewalld::prepare(version);
    }
    if beside.script == SET_UP && std::env::var_os("WGRELAY_GUEST").is_some() {
        // Here the kernel has it built in, or it is loaded; a guest that has just started has not.
        let loaded = std::process::Command::new("modprobe").arg("br_netfilter").status();
        assert!(loaded.is_ok_and(|s| s.success()), "the guest has no br_netfilter");
    }
    let place = Place::new();
    let cloud = cloud(&place);
    let bus = ["-v", "/run/place/fw/dbus:/run/dbus", "-v", "/run/place/fw/etc:/etc/firewalld"];
    let old = ["-v", "/run/place/shared/nft/nft:/usr/sbin/nft:ro"];
    match beside.firewalld {
        None => run_compute(&cloud, &[]),
        Some(("1.3", _)) => {
            lend_nft(&place);
            run_compute(&cloud, &[&bus[..], &old].concat());
        }
        Some(_) => run_compute(&cloud, &bus),
    }
    bundle(&cloud);
    let given = cloud
        .inside("compute1", "ip -4 -o addr show | /bin/busybox awk '{print $2, $4}'; ip route show default");
    assert_eq!(
        given,
        ["lo 127.0.0.1/8", "eth0 172.19.0.9/16", "eth1 172.17.0.2/16", "default via 172.17.0.1 dev eth1"]
    );
    let folders = "mkdir -p /etc/wgrelay /run/wireguard && chmod 700 /etc/wgrelay";
    cloud.inside("compute1", &format!("{}{folders}", beside.script));
    let _firewalld = beside.firewalld.map(|(version, told)| firewalld(&cloud, version, told));
    let before = cloud.state("compute1");
    let backend = &cloud.relay.backend;
    cloud.inside("compute1", &format!("/opt/wgrelay up --bundle /opt/docker.bundle --backend {backend} >&2"));
    cloud.assert_stands("compute1");
    let machine = cloud.machine("compute1");
    cloud.assert_flows("compute1", &machine);
    cloud.inside("compute1", "/opt/wgrelay plan --check && /opt/wgrelay status >&2");
    drop(machine);
    cloud.inside("compute1", "while ip link show vm0 2>/dev/null >&2; do sleep 0.1; done; /opt/wgrelay down");
    let after = cloud.state("compute1");
    assert_eq!(before, after, "after down");
}

/// libvirt.sh of webvirtcompute, so far as it changes the network.
const SET_UP: &str = "for k in all default; do echo 0 > /proc/sys/net/ipv4/conf/$k/rp_filter; done; \
    echo 1 > /proc/sys/net/ipv4/ip_forward; \
    if [ -e /proc/sys/net/bridge ]; then echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables; fi; ";
/// What the tests ask of the node itself; nothing else is open, and no link is in a zone.
const PORT_OPEN: &str = "firewall-offline-cmd --add-port 7117/tcp";

#[test]
fn compute_node_as_the_engine_leaves_it() {
    as_given(Beside::default());
}

#[test]
fn compute_node_with_firewalld_1_3() {
    as_given(Beside { script: SET_UP, firewalld: Some(("1.3", PORT_OPEN)) });
}

#[test]
fn compute_node_with_firewalld_2() {
    as_given(Beside { script: SET_UP, firewalld: Some(("", PORT_OPEN)) });
}

#[test]
fn compute_node_with_its_bridges_trusted() {
    let told = "firewall-offline-cmd --zone trusted --add-interface br-ext && \
                firewall-offline-cmd --zone trusted --add-interface br-int";
    as_given(Beside { script: SET_UP, firewalld: Some(("1.3", told)) });
}

/// Compose on the relay, with what this rig has to add to the exported file.
fn compose(place: &Place, file: &str, words: &[&str]) -> crate::rig::node::Output {
    if !std::path::Path::new("/dev/kvm").exists() {
        let text = place.relay.read(file).replace("    devices:\n      - /dev/kvm\n", "");
        place.relay.write(file, &text);
    }
    // The image has no init, and the engine's tree lends it nft and the C library.
    let mounts: String = TREE.iter().map(|mount| format!("      - {mount}\n")).collect();
    let ours = format!(
        "services:\n  docker:\n    command: [/bin/sleep, inf]\n    stop_grace_period: 1s\n    volumes:\n{mounts}"
    );
    let second = format!("{SHARED}/ours.yaml");
    place.relay.write(&second, &ours);
    let script = [crate::engine::SCRIPT, "compose", "28", "/run", "-p", "wg0", "-f", file, "-f", &second];
    let mut command = std::process::Command::new("env");
    command.arg(format!("IMAGE={IMAGE}")).args(script).args(words);
    place.relay.within(Duration::from_secs(400), &mut command)
}

/// Makes the image that the file's second service has.
fn client_image(place: &Place) {
    place.relay.run(&[crate::engine::SCRIPT, "client-image", "28", "/run", "docker:cli"]).ok();
}

/// The compose file: what compose makes of it, both homes, and the node there again after a restart of its container.
#[test]
fn compute_node_by_compose() {
    if !can_run() {
        return;
    }
    crate::engine::prepare_compose("28");
    let place = Place::new();
    let cloud = cloud(&place);
    client_image(&place);
    // One network more that it is on, without a bridge, and first by its name.
    cloud.engine.ok(&["network", "create", "--subnet", "172.21.0.0/16", "a_lab"]);
    cloud.relay.edit(|text| {
        let text = text.replace("local = [\"172.19.0.0/16\"]", "local = [\"172.19.0.0/16\", \"172.21.0.0/16\"]");
        text + "\n[[node.wsl.site]]\nsubnet = \"172.21.0.0/16\"\ninterface = \"docker:a_lab\"\nnat = \"masquerade\"\n"
    });
    cloud.relay.up().ok();
    let export = [
        &format!("{SHARED}/wgrelay"),
        "--dir",
        &cloud.relay.dir,
        "export",
        "docker",
        "--format",
        "compose",
        "--out",
        &format!("{SHARED}/docker.yaml"),
    ];
    place.relay.run(&export.map(AsRef::as_ref)).ok();
    let file = format!("{SHARED}/docker.yaml");
    let compose = |words: &[&str]| compose(&place, &file, words);
    let config = compose(&["config", "--format", "json"]).ok().stdout;
    let config: serde_json::Value = serde_json::from_str(&config).expect("compose prints JSON");
    let service = &config["services"]["docker"];
    assert_eq!(service["networks"][NETWORK]["ipv4_address"], HOME, "{config}");
    assert_eq!(
        (&service["restart"], &service["privileged"]),
        (&"unless-stopped".into(), &true.into()),
        "{config}"
    );
    assert_eq!(service["dns"][0], "8.8.8.8", "{config}");

    compose(&["up", "-d"]).ok();
    cloud.engine.ok(&["run", "-d", "--name", "neighbour", "--stop-timeout", "1", IMAGE, "/bin/sleep", "inf"]);
    let is_up = |when: &str| {
        let began = std::time::Instant::now();
        while !cloud.engine.exec("docker", &["/usr/local/bin/wgrelay", "status"]) {
            let log = cloud.engine.call(&["logs", "docker"]);
            assert!(began.elapsed() < PATIENCE * 2, "{when}: {log}");
            std::thread::sleep(Duration::from_millis(200));
        }
        cloud.assert_stands("docker");
        let third = cloud.inside("docker", "ip -4 -o addr show dev eth2");
        assert!(third.iter().any(|line| line.contains(" 172.21.0.")), "{when}: {third:?}");
        cloud.assert_flows("docker", &cloud.machine("docker"));
    };
    is_up("after up -d");
    let again = compose(&["up", "-d"]).ok();
    assert!(!again.stderr.contains("Recreate"), "nothing is to be made anew: {again}");
    // The engine joins its networks in whatever order: the links have their names all the same.
    for round in 0..3 {
        cloud.engine.ok(&["restart", "docker"]);
        is_up(&format!("after restart {round} of the container"));
    }
}

/// docs/webvirtcloud.md is what the programs print: its console blocks are walked through beside the engine.
#[test]
fn the_page_is_what_the_program_prints() {
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/webvirtcloud.md");
    if !can_run() || crate::rig::drive::backend() != "embedded" {
        return;
    }
    crate::engine::prepare_compose("28");
    let text = std::fs::read_to_string(PAGE).expect("the page is there");
    let place = Place::new();
    share(&place);
    let engine = Engine::start(&place.relay, "28", "nft");
    makes_networks(&engine);
    client_image(&place);
    let dir = format!("{SHARED}/networks");
    let wgrelay = |words: &[&str]| {
        let mut command = std::process::Command::new("sh");
        command
            .args(["-c", &format!("cd {SHARED} && exec ./wgrelay \"$@\""), "wgrelay", "--dir", &dir])
            .args(words);
        if words[0] == "up" {
            command.args(["--backend", "embedded"]);
        }
        place.relay.command(&mut command)
    };
    let (mut wrong, mut edits, mut walked) = (Vec::new(), Vec::new(), 0);
    for step in steps(&text) {
        walked += 1;
        let words: Vec<&str> = step.command.split_whitespace().collect();
        let output = match words[..] {
            ["wgrelay", "status"] => {
                assert!(ping(&place.windows, HOME) && ping(&place.windows, "192.168.3.3"), "before status");
                wgrelay(&words[1..])
            }
            ["wgrelay", ..] => wgrelay(&words[1..]),
            ["docker", "compose", "-p", "wg0", "-f", file, "up", "-d"] => {
                let file = format!("{SHARED}/{file}");
                let mut output = compose(&place, &file, &["up", "-d"]);
                output.stderr.clear(); // progress, with times
                output
            }
            ["docker", "exec", "docker", "wgrelay", ref rest @ ..] => {
                let inside = [&["exec", "docker", "/usr/local/bin/wgrelay"], rest].concat();
                let began = std::time::Instant::now();
                loop {
                    let output = engine.call(&inside);
                    if output.code == Some(0) || began.elapsed() > PATIENCE * 2 {
                        break output;
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
            _ => panic!("line {}: {} is not known here", step.line + 1, step.command),
        }
        .ok();
        let said = format!("{}{}", output.stdout, output.stderr)
            .replace(&format!(" --dir {dir}"), "")
            .replace(&dir, "/etc/wgrelay");
        // Peers are told in the order of their keys, which is another each time.
        let sorted = |lines: Vec<String>| {
            let mut lines = lines;
            lines.sort();
            lines
        };
        let now = sorted(said.lines().map(told).collect());
        if now != sorted(step.shown.iter().map(|l| told(l)).collect()) {
            wrong.push(format!("line {}: $ {}\n{said}", step.line + 1, step.command));
            edits.push((step.line + 1, step.shown.len(), said));
        }
        if let ["wgrelay", "export", "windows", "--out", file] = words[..] {
            wg_quick_up(&place.windows, "wg0", &place.relay.read(format!("/run/shared/{file}"))).ok();
        }
    }
    assert!(walked >= 14, "only {walked} commands were found in the page");
    if std::env::var_os("UPDATE_CASES").is_some() {
        let mut new: Vec<String> = text.lines().map(str::to_owned).collect();
        for (from, count, said) in edits.into_iter().rev() {
            new.splice(from..from + count, said.lines().map(str::to_owned));
        }
        std::fs::write(PAGE, new.join("\n") + "\n").expect("the page can be written");
        return;
    }
    assert!(wrong.is_empty(), "{} commands print something else:\n\n{}", wrong.len(), wrong.join("\n\n"));
}
