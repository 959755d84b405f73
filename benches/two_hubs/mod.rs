//! The two programs that bring a hub up, each in a namespace of its own, and what they left there.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::hub::{Hub, INTERFACE};
use crate::node::{Node, PLACE};
use crate::side_by_side::{Run, program, timed};

/// wgrelay's `--dir` in a node.
const DIR: &str = "/mnt/wgrelay";

/// Which data plane: `embedded` against wireguard-go, or the kernel's for both.
#[must_use]
pub fn backend() -> String {
    std::env::var("WGRELAY_BACKEND").unwrap_or_else(|_| "embedded".to_owned())
}

/// Runs a command in a node to its end; it must exit with this code.
#[track_caller]
pub fn run(node: &Node, code: i32, command: &mut Command) -> Run {
    timed(code, command, |c| node.spawn(c))
}

/// Runs words in a node to their end.
#[track_caller]
pub fn words(node: &Node, words: &[&str]) -> Run {
    run(node, 0, Command::new(words[0]).args(&words[1..]))
}

/// Writes a hub's files where [`wgrelay`] finds them.
pub fn write_network(node: &Node, network: &str, secrets: &str) {
    node.write(format!("{DIR}/{INTERFACE}/network.toml"), network);
    node.write(format!("{DIR}/{INTERFACE}/secrets.toml"), secrets);
}

/// Runs wgrelay in a node.
#[track_caller]
pub fn wgrelay(node: &Node, words: &[&str]) -> Run {
    wgrelay_exits(node, 0, words)
}

/// Runs wgrelay in a node; it must exit with this code.
#[track_caller]
pub fn wgrelay_exits(node: &Node, code: i32, words: &[&str]) -> Run {
    run(node, code, Command::new(program()).args(["--dir", DIR]).args(words))
}

/// Brings a hub up with wgrelay, whose files are there.
#[track_caller]
pub fn up(node: &Node) -> Run {
    wgrelay(node, &["up", "--backend", &backend()])
}

/// Brings a configuration up with wg-quick, whose file is there.
#[track_caller]
pub fn wg_quick_up(node: &Node) -> Run {
    run(
        node,
        0,
        // Where the kernel has WireGuard, wg-quick takes that.
        Command::new("wg-quick")
            .args(["up", INTERFACE])
            .env("WG_QUICK_USERSPACE_IMPLEMENTATION", "wireguard-go"),
    )
}

/// A node with a hub's files for wgrelay, with nothing up.
#[must_use]
pub fn ours(hub: &Hub) -> Node {
    let node = Node::new("ours");
    write_network(&node, &hub.network(), &hub.secrets());
    node
}

/// A node with a hub's file for wg-quick, with nothing up.
#[must_use]
pub fn theirs(hub: &Hub) -> Node {
    let node = Node::new("theirs");
    node.write(format!("/etc/wireguard/{INTERFACE}.conf"), &hub.wg_quick());
    node
}

/// Returns a path in a node's private folder.
#[must_use]
pub fn place(name: &str) -> String {
    format!("{PLACE}/{name}")
}

/// What a hub consists of: every peer's preshared key and AllowedIPs, and the destinations that are routed into the tunnel.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    peers: BTreeMap<String, (String, BTreeSet<String>)>,
    routes: BTreeSet<String>,
}

impl State {
    /// Reads it with wg(8) and ip(8).
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let dump = words(node, &["wg", "show", INTERFACE, "dump"]).stdout;
        let peer = |line: &str| {
            let fields: Vec<&str> = line.split('\t').collect();
            let allowed_ips = fields[3].split(',').map(str::to_owned).collect();
            (fields[0].to_owned(), (fields[1].to_owned(), allowed_ips))
        };
        let routes = words(node, &["ip", "-4", "route", "show", "dev", INTERFACE]).stdout;
        Self {
            peers: dump.lines().skip(1).map(peer).collect(),
            routes: routes.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect(),
        }
    }

    /// Says whether the peers are the same; routes aside.
    #[must_use]
    pub fn same_peers(&self, other: &Self) -> bool {
        self.peers == other.peers
    }

    /// Checks that a hub with this many spokes stands here.
    #[track_caller]
    pub fn assert_spokes(&self, count: usize) {
        assert_eq!(self.peers.len(), count, "every spoke is a peer");
        // The tunnel's own subnet is a route too.
        assert_eq!(self.routes.len(), count + 1, "every site is routed");
    }
}
