//! Three members of Debian's etcd and three relays on one underlay, 192.0.2.0/24; each in a namespace of its own.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use wgrelay::store::cluster::etcd::{Access, Client, Endpoint};

use crate::rig::drive::Wgrelay;
use crate::rig::need::{NAMESPACES, Need, met};
use crate::rig::net::{End, bridge, cable, up};
use crate::rig::node::{Node, Output, PLACE};

/// The relays, in the order of their addresses 192.0.2.1 to 3.
pub const RELAYS: [&str; 3] = ["eu", "us", "ap"];
/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The nodes, and what runs on them.
pub struct Stage {
    // Links go before what they hang on.
    pub relays: Vec<Node>,
    pub members: Vec<Node>,
    pub switch: Node,
    etcd: BTreeMap<usize, Child>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in self.etcd.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn address(member: usize) -> String {
    format!("192.0.2.{}", 11 + member)
}

impl Stage {
    /// Makes them, with etcd running; `None`: this machine cannot, and nobody insists.
    pub fn possible() -> Option<Self> {
        let needs: Vec<Need> =
            NAMESPACES.into_iter().chain([Need::Program("etcd"), Need::Program("etcdctl")]).collect();
        if !met(&needs) {
            return None;
        }
        let switch = Node::new("switch");
        let members: Vec<Node> = ["etcd1", "etcd2", "etcd3"].map(Node::new).into();
        let relays: Vec<Node> = RELAYS.map(Node::new).into();
        let mut ports = Vec::new();
        for node in members.iter().chain(&relays) {
            cable(End { node, link: "eth0" }, End { node: &switch, link: &node.name });
            ports.push(node.name.as_str());
        }
        switch.ip(&bridge("br0", &ports, &["192.0.2.254/24"]));
        for (n, node) in members.iter().enumerate() {
            node.ip(&up("eth0", &[&format!("{}/24", address(n))]));
        }
        for (n, node) in relays.iter().enumerate() {
            node.ip(&up("eth0", &[&format!("192.0.2.{}/24", n + 1)]));
        }
        let mut this = Self { relays, members, switch, etcd: BTreeMap::new() };
        for member in 0..3 {
            this.start(member, "new");
        }
        this.answers();
        Some(this)
    }

    /// Starts a member; `state` is `new` or `existing`.
    pub fn start(&mut self, member: usize, state: &str) {
        let own = address(member);
        let all: Vec<String> = (0..3).map(|n| format!("m{n}=http://{}:2380", address(n))).collect();
        let mut command = Command::new("etcd");
        command
            .args(["--name", &format!("m{member}"), "--data-dir", &format!("{PLACE}/etcd")])
            .args([
                "--listen-client-urls",
                "http://0.0.0.0:2379",
                "--listen-peer-urls",
                "http://0.0.0.0:2380",
            ])
            .args(["--advertise-client-urls", &format!("http://{own}:2379")])
            .args(["--initial-advertise-peer-urls", &format!("http://{own}:2380")])
            .args(["--initial-cluster", &all.join(","), "--initial-cluster-state", state])
            // A machine that builds beside must not make elections of its pauses.
            .args(["--heartbeat-interval", "200", "--election-timeout", "2000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = self.members[member].spawn(&mut command);
        self.etcd.insert(member, child);
    }

    /// Kills a member.
    pub fn kill(&mut self, member: usize) {
        if let Some(mut child) = self.etcd.remove(&member) {
            child.kill().expect("it is ours");
            child.wait().expect("it was killed");
        }
    }

    /// A member's process.
    pub fn pid_of(&self, member: usize) -> u32 {
        self.etcd[&member].id()
    }

    /// Starts all members anew, with nothing in them.
    pub fn wipe(&mut self) {
        for member in 0..3 {
            self.kill(member);
            self.members[member].run(&["rm", "-rf", &format!("{PLACE}/etcd")]).ok();
        }
        for member in 0..3 {
            self.start(member, "new");
        }
        self.answers();
    }

    /// The one that leads.
    pub fn leader(&self) -> usize {
        let mut found = None;
        until("etcd has a leader", || {
            found = (0..3).filter(|member| self.etcd.contains_key(member)).find(|member| {
                let said = self.etcdctl(&[
                    &format!("--endpoints=http://{}:2379", address(*member)),
                    "endpoint",
                    "status",
                    "-w",
                    "json",
                ]);
                let said: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
                let status = &said[0]["Status"];
                status["leader"].is_u64() && status["leader"] == status["header"]["member_id"]
            });
            found.is_some()
        });
        found.expect("it was waited for")
    }

    /// Runs etcd's own client, beside eu.
    pub fn etcdctl(&self, words: &[&str]) -> Output {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--command-timeout=3s"]);
        if !words[0].starts_with("--endpoints") {
            command.arg(format!("--endpoints={}", self.etcd_urls()));
        }
        self.switch.command(command.args(words))
    }

    /// Waits until a majority answers.
    #[track_caller]
    pub fn answers(&self) {
        until("etcd answers", || self.etcdctl(&["get", "nothing"]).code == Some(0));
    }

    /// What `--etcd` is given.
    pub fn etcd_urls(&self) -> String {
        (0..3).map(|n| format!("http://{}:2379", address(n))).collect::<Vec<_>>().join(",")
    }

    /// Runs work with a client of the program's own, beside the members.
    pub fn with_client<T: Send>(&self, work: impl FnOnce(&mut Client) -> T + Send) -> T {
        let access = Access {
            endpoints: Endpoint::list(&self.etcd_urls()).expect("they are some"),
            ..Access::default()
        };
        self.switch.inside(|| work(&mut Client::new(&access, |_, _| None).expect("there is nothing to read")))
    }

    /// All that is in the store, by name.
    pub fn stored(&self) -> BTreeMap<String, Vec<u8>> {
        let pairs = self
            .with_client(|client| client.range("/wgrelay/", Some("/wgrelay0")).expect("it answers").pairs);
        pairs.into_iter().map(|pair| (pair.key, pair.value)).collect()
    }

    /// Writes a key of the store, as whoever may.
    pub fn write(&self, key: &str, value: &[u8]) {
        use wgrelay::store::cluster::etcd::Put;
        let put = Put { key: key.into(), value, lease: 0 };
        self.with_client(|client| client.transact(&[], &[put], &[]).expect("it answers"));
    }

    /// wgrelay on a relay.
    pub fn relay(&self, n: usize) -> Wgrelay<'_> {
        Wgrelay::on(&self.relays[n])
    }

    /// A network of the three relays and some spokes, in the store; each relay is a member.
    #[track_caller]
    pub fn founded(&self) -> [Wgrelay<'_>; 3] {
        let all = [0, 1, 2].map(|n| self.relay(n));
        let eu = &all[0];
        eu.ok(&["init", "--profile", "road-warrior", "--endpoint", "192.0.2.1"]);
        eu.ok(&["rename", "relay", "eu"]);
        for (n, name) in RELAYS.iter().enumerate().skip(1) {
            eu.ok(&["add", name]);
            eu.ok(&["set", name, "endpoint", &format!("192.0.2.{}:51820", n + 1)]);
            eu.ok(&["set", name, "role", "relay"]);
        }
        let urls = self.etcd_urls();
        eu.ok(&["--node", "eu", "cluster", "create", "--etcd", &urls]);
        for n in [1, 2] {
            self.join(&all[n], eu, RELAYS[n]).ok();
        }
        // All know that all have joined.
        until("all relays have all keys", || {
            all.iter().all(|relay| {
                pulled(relay)["relays"].as_array().is_some_and(|r| r.iter().all(|r| r["joined"] == true))
            })
        });
        all
    }

    /// Makes a host a member, by a bundle that another relay exports.
    pub fn join(&self, relay: &Wgrelay<'_>, from: &Wgrelay<'_>, name: &str) -> Output {
        let path = format!("{PLACE}/{name}.bundle");
        relay.node.write(&path, &from.ok(&["export", name, "--format", "bundle"]));
        relay.call(&["cluster", "join", "--bundle", &path, "--etcd", &self.etcd_urls()])
    }
}

/// Waits for something, and fails where it does not come.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    began.elapsed()
}

/// `cluster status --json`, whatever it ends with.
#[track_caller]
pub fn standing(relay: &Wgrelay<'_>) -> Value {
    let output = relay.call(&["cluster", "status", "--json"]);
    serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output}"))
}

/// The same after this relay took what the store has: any edit, or `up`, does so first. This one changes nothing.
#[track_caller]
pub fn pulled(relay: &Wgrelay<'_>) -> Value {
    let _ = relay.call(&["enable", "laptop"]);
    standing(relay)
}

/// The nodes of a relay's copy, sorted.
#[track_caller]
pub fn nodes(relay: &Wgrelay<'_>) -> Vec<String> {
    let listed: Value = serde_json::from_str(&relay.ok(&["list", "--json"])).expect("JSON");
    let nodes = listed["nodes"].as_array().expect("a list");
    nodes.iter().map(|node| node["name"].as_str().expect("a name").to_owned()).collect()
}
