//! A real Docker engine on a node of the rig: started, restarted, asked, and gone with the node.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::rig::node::{Node, Output};

pub const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker/engine");
/// Where the engine listens and keeps its data: the node's own /run, so that it is found where engines usually are.
const PLACE: &str = "/run";
/// How long an engine may take to start: in the guest on a busy machine a minute is not enough.
const START: Duration = Duration::from_secs(180);
/// How long fetching an engine may take, once for a machine.
const FETCH: Duration = Duration::from_secs(600);

/// The image that [`Engine::start`] makes.
pub const IMAGE: &str = "busybox";

/// An engine that runs.
pub struct Engine<'a> {
    node: &'a Node,
    version: &'static str,
    iptables: &'static str,
    options: Vec<&'static str>,
    dockerd: Child,
}

impl<'a> Engine<'a> {
    /// Starts the engine of a major version, with iptables `nft` or `legacy`, as a fresh host does: nobody has switched
    /// forwarding on yet.
    #[track_caller]
    pub fn start(node: &'a Node, version: &'static str, iptables: &'static str) -> Self {
        Self::start_with(node, version, iptables, &[])
    }

    /// The same with options of dockerd's.
    #[track_caller]
    pub fn start_with(
        node: &'a Node,
        version: &'static str,
        iptables: &'static str,
        options: &[&'static str],
    ) -> Self {
        node.within(FETCH, Command::new(SCRIPT).args(["prepare", version])).ok();
        node.set_sysctl("ipv4/ip_forward", "0");
        let options = options.to_vec();
        let dockerd = spawn(node, version, iptables, &options);
        let mut this = Self { node, version, iptables, options, dockerd };
        this.wait();
        node.run(&[SCRIPT, "image", version, PLACE, IMAGE]).ok();
        this
    }

    /// Ends the engine, and starts it again.
    #[track_caller]
    pub fn restart(&mut self) {
        let pid = Pid::from_raw(self.dockerd.id().try_into().expect("a process number fits"));
        kill(pid, Signal::SIGTERM).expect("the engine runs");
        self.dockerd.wait().expect("a child can be waited for");
        self.dockerd = spawn(self.node, self.version, self.iptables, &self.options);
        self.wait();
    }

    /// Runs the docker client.
    pub fn call(&self, words: &[&str]) -> Output {
        self.node.command(Command::new(SCRIPT).args(["client", self.version, PLACE]).args(words))
    }

    /// Runs the docker client, which must do its work; returns what it printed.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> String {
        self.call(words).ok().stdout.trim().to_owned()
    }

    /// Runs a container that serves a page at port 7007, and comes back with the engine.
    #[track_caller]
    pub fn serve(&self, name: &str, options: &[&str]) {
        let mut words = vec!["run", "-d", "--name", name, "--restart", "always", "--stop-timeout", "1"];
        words.extend(options);
        words.extend([IMAGE, "/bin/sh", "-c", "echo here > /tmp/page; exec httpd -f -p 7007 -h /tmp"]);
        // The image has no /tmp of its own.
        words.splice(1..1, ["--tmpfs", "/tmp"]);
        self.ok(&words);
    }

    /// Says whether a command in a container ends well.
    pub fn exec(&self, container: &str, command: &[&str]) -> bool {
        self.call(&[&["exec", container], command].concat()).code == Some(0)
    }

    #[track_caller]
    fn wait(&mut self) {
        let began = Instant::now();
        while self.call(&["version"]).code != Some(0) {
            // It gives its containerd 15 s. Where that has to be read from a slow disk first, the second try succeeds.
            if matches!(self.dockerd.try_wait(), Ok(Some(_))) {
                self.dockerd = spawn(self.node, self.version, self.iptables, &self.options);
            }
            assert!(
                began.elapsed() < START,
                "the engine did not come up:\n{}",
                self.node.read(format!("{PLACE}/dockerd.log"))
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Fetches an engine, once for a machine.
pub fn prepare(version: &str) {
    let status = Command::new(SCRIPT).args(["prepare", version]).status().expect("the script starts");
    assert!(status.success(), "no engine {version}: {status}");
}

/// Fetches docker compose, once for a machine; from outside, as nodes have no network.
pub fn prepare_compose(version: &str) {
    let status = Command::new(SCRIPT).args(["prepare-compose", version]).status().expect("the script starts");
    assert!(status.success(), "no docker compose {version}: {status}");
}

fn spawn(node: &Node, version: &str, iptables: &str, options: &[&str]) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(node.outside(format!("{PLACE}/dockerd.log")))
        .expect("the node's folder takes files");
    let errors = log.try_clone().expect("a file can be had twice");
    let mut command = Command::new(SCRIPT);
    command.env("ENGINE_IPTABLES", iptables);
    command.args(["run", version, PLACE]).args(options).stdin(Stdio::null()).stdout(log).stderr(errors);
    node.spawn(&mut command)
}

impl Drop for Engine<'_> {
    fn drop(&mut self) {
        // The node's end would take it as well, without a word to its containers; they are nobody's loss.
        let _gone_already = self.dockerd.kill();
        let _ = self.dockerd.wait();
    }
}
