//! A lab that stands, and commands in its spaces.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use wgrelay::config::parse_network;
use wgrelay::lab::build::Handles;
use wgrelay::lab::standing::{self, Record};
use wgrelay::lab::topology::End;
use wgrelay::lab::{Topology, topology};
use wgrelay::model::{Network, NodeName};

use crate::network::{NAME, Random};
use crate::program;

/// Longest that a command may take on a busy machine.
const LIMIT: &str = "120";

/// A network that is up in namespaces. Dropping it takes it away.
pub struct Lab {
    /// Its name, and its interface's.
    pub name: String,
    /// The network as the lab has it.
    pub network: Network,
    /// Where everybody is.
    pub topology: Topology,
    /// The spaces, as the topology numbers them.
    pub spaces: Vec<Handles>,
    record: Record,
    holder: Child,
    _dir: tempfile::TempDir,
}

impl Lab {
    /// Builds it, and brings all nodes up.
    pub fn of(net: &Random, seed: u64) -> Self {
        // Several runs on one machine do not meet.
        let name = format!("st{}x{seed}", std::process::id() % 100_000);
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(&name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("network.toml"), net.text().replace(NAME, &name)).unwrap();
        // What `lab up` starts; here it ends with the test, also where that is killed.
        let mut holder = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", &program(), "--dir"])
            .arg(dir.path())
            .args(["lab", "hold"])
            .env_remove("WGRELAY_DIR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("spaces"), "seed {seed}: no lab stands: {line}");
        let record = standing::list().into_iter().find(|r| r.network.as_str() == name);
        let record = record.expect("the lab stands");
        let network = parse_network(record.text.as_bytes(), &name).value.expect("it stands by this file");
        let topology = topology(&network, record.now).expect("it was laid out so");
        let spaces = record.enter().unwrap();
        let lab = Self { name, network, topology, spaces, record, holder, _dir: dir };
        lab.ignore_redirects();
        lab
    }

    /// A host on the segment of another site of its gateway learns from it, while that is an ordinary router, to go there by itself,
    /// and does so for minutes: what it sends then is no gateway's matter.
    fn ignore_redirects(&self) {
        for space in 0..self.spaces.len() {
            self.done(space, "for f in /proc/sys/net/ipv[46]/conf/*/accept_redirects; do echo 0 >$f; done");
        }
    }

    /// The moment as of which it was built.
    pub const fn now(&self) -> wgrelay::model::Timestamp {
        self.record.now
    }

    /// The spaces of nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, &NodeName)> {
        let spaces = self.topology.spaces.iter().enumerate();
        spaces.filter_map(|(at, space)| Some((at, space.node.as_ref()?)))
    }

    /// The nodes on the segment that a host is on, and by which bridge or link: whose site it is, and who is attached to it.
    pub fn attached(&self, host: usize) -> Vec<(usize, String)> {
        let on = |space: usize| self.topology.cables.iter().find(move |c| c.1.space == space);
        let Some(owner) = on(host).map(|cable| &cable.0) else { return Vec::new() };
        let Some(bridge) = &owner.bridge else { return Vec::new() };
        let is_there = |end: &End| end.space == owner.space && end.bridge.as_ref() == Some(bridge);
        let others = self.topology.cables.iter().filter(|c| is_there(&c.0)).map(|c| &c.1);
        let nodes = others.filter(|end| self.topology.spaces[end.space].node.is_some());
        let by = |end: &'_ End| (end.space, end.bridge.clone().unwrap_or_else(|| end.link.clone()));
        nodes.map(by).chain([(owner.space, bridge.clone())]).collect()
    }

    /// Does something inside a space.
    pub fn inside<T: Send>(&self, space: usize, work: impl FnOnce() -> io::Result<T> + Send) -> T {
        self.spaces[space]
            .inside(work)
            .unwrap_or_else(|e| panic!("{}: {e}", self.topology.spaces[space].name))
    }

    /// A shell's line for a space, not yet begun.
    pub fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args([LIMIT, "bash", "-c", line]).env_remove("WGRELAY_DIR");
        command.env("WGRELAY", format!("{} --dir /run/lab --network {}", program(), self.name));
        command.env("NET", &self.name).stdin(Stdio::null());
        command
    }

    /// Runs a shell's line in a space; `$WGRELAY` is the program with its options, `$NET` the network.
    pub fn run(&self, space: usize, line: &str) -> Output {
        self.inside(space, || self.shell(line).output())
    }

    /// Runs it until it is done: what else happens meanwhile may have it fail.
    #[track_caller]
    pub fn done(&self, space: usize, line: &str) {
        let began = Instant::now();
        loop {
            let output = self.run(space, line);
            if output.status.success() {
                return;
            }
            assert!(
                began.elapsed() < Duration::from_secs(90),
                "{}: {line}: {}{}",
                self.topology.spaces[space].name,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.record.end() {
            eprintln!("the lab of {} stands still: {error}", self.name);
            let _gone = self.holder.kill();
        }
        let _ended = self.holder.wait();
    }
}
