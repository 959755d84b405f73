//! `lab check` can fail: rules that were applied are changed behind wgrelay's back, one at a time, and each change is seen.
//!
//! ```text
//!   laptop ── hub ── east   10.82.0.0/24, fd82::/64: its hosts have east as their gateway
//!   guest  ──  │  └─ west   10.83.0.0/24: masqueraded
//!         10.81.0.0/24
//! ```
//! The host's lock is held meanwhile, or the agent would put things right; that of the files alone would not keep it from it.
//! `up` does that afterwards, and in the end all is as predicted again.
#![expect(clippy::disallowed_methods, reason = "a test runs the program")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

#[path = "rig/need.rs"]
mod need;

const NAME: &str = "wlcmut";

const NETWORK: &str = r#"
[network]
name = "wlcmut"
subnet = "10.78.0.0/24"
subnet6 = "fd78::/64"
[node.hub]
role = "relay"
endpoint = "192.0.2.7:51820"
address = "10.78.0.1"
address6 = "fd78::1"
public_key = "ABAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[[node.hub.site]]
subnet = "10.81.0.0/24"
interface = "lan0"
gateway = true
[node.east]
address = "10.78.0.2"
address6 = "fd78::2"
public_key = "BBAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[[node.east.site]]
subnet = "10.82.0.0/24"
interface = "lan0"
gateway = true
[[node.east.site]]
subnet = "fd82::/64"
interface = "lan0"
gateway = true
[node.west]
address = "10.78.0.3"
public_key = "CBAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[[node.west.site]]
subnet = "10.83.0.0/24"
interface = "lan0"
nat = "masquerade"
[node.laptop]
address = "10.78.0.5"
address6 = "fd78::5"
public_key = "DBAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[node.guest]
address = "10.78.0.6"
public_key = "EBAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[[allow]]
from = ["laptop"]
to = ["10.82.0.0/24", "10.83.0.0/24", "fd82::/64"]
[[allow]]
from = ["laptop"]
to = ["10.81.0.0/24"]
ports = ["tcp/8000-8100", "icmp"]
[[allow]]
from = ["guest"]
to = ["west"]
[[allow]]
from = ["10.82.0.0/24"]
to = ["10.81.0.0/24"]
"#;

/// A change to a node, and a question that is answered otherwise then. `$t` is the table, `rule CHAIN TEXT` a rule's handle.
struct Mutation {
    what: &'static str,
    node: &'static str,
    change: &'static str,
    from: &'static str,
    to: &'static str,
    port: &'static str,
    now: &'static str,
}

const MUTATIONS: [Mutation; 12] = [
    Mutation {
        what: "answers taken for flows of their own",
        node: "hub",
        change: "nft replace rule $t pairs handle $(rule pairs 'ct original ip saddr @from0_4') \
                 ip saddr @from0_4 ip daddr @to0_4 accept",
        from: "laptop",
        to: "10.82.0.10",
        port: "icmp",
        now: "blocked",
    },
    Mutation {
        what: "source and destination swapped in a policy rule",
        node: "hub",
        change: "nft replace rule $t pairs handle $(rule pairs 'ct original ip saddr @from0_4') \
                 ct original ip saddr @to0_4 ct reply ip saddr @from0_4 accept",
        from: "laptop",
        to: "10.82.0.10",
        port: "tcp/9009",
        now: "blocked",
    },
    Mutation {
        what: "no masquerade",
        node: "west",
        change: "nft flush chain $t postrouting",
        from: "laptop",
        to: "10.83.0.10",
        port: "icmp",
        now: "blocked",
    },
    Mutation {
        what: "forwarding forgotten on one interface",
        node: "east",
        change: "echo 0 > /proc/sys/net/ipv4/conf/lan0/forwarding",
        from: "laptop",
        to: "10.82.0.10",
        port: "udp/9009",
        now: "blocked",
    },
    Mutation {
        what: "IPv6 forwarding forgotten",
        node: "hub",
        change: "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding",
        from: "laptop",
        to: "fd82::a",
        port: "icmp",
        now: "blocked",
    },
    Mutation {
        what: "a spoke's AllowedIPs without its site",
        node: "hub",
        change: "wg set wlcmut peer $(wg show wlcmut allowed-ips | grep 10.82.0.0/24 | cut -f1) \
                 allowed-ips 10.78.0.2/32,fd78::2/128,fd82::/64",
        from: "laptop",
        to: "10.82.0.10",
        port: "icmp",
        now: "blocked",
    },
    Mutation {
        what: "the wrong address in a set",
        node: "hub",
        change: "nft delete element $t from0_4 '{ 10.78.0.5 }' && nft add element $t from0_4 '{ 10.78.0.6 }'",
        from: "laptop",
        to: "10.83.0.10",
        port: "tcp/9009",
        now: "blocked",
    },
    Mutation {
        what: "no way back",
        node: "hub",
        change: "ip route del 10.82.0.0/24 dev wlcmut",
        from: "10.82.0.10",
        to: "10.81.0.10",
        port: "icmp",
        now: "blocked",
    },
    Mutation {
        what: "no way there",
        node: "laptop",
        change: "ip route del 10.83.0.0/24 dev wlcmut",
        from: "laptop",
        to: "10.83.0.10",
        port: "udp/9009",
        now: "blocked",
    },
    Mutation {
        what: "accept instead of the last drop",
        node: "hub",
        change: "nft replace rule $t forward handle $(rule forward '^[[:space:]]*iifname \"wlcmut\" drop') \
                 iifname wlcmut accept",
        from: "west",
        to: "guest",
        port: "tcp/9009",
        now: "reaches",
    },
    Mutation {
        what: "a port too many",
        node: "hub",
        change: "nft replace rule $t pairs handle $(rule pairs 'ct original ip saddr @from1_4.*8000-8100') \
                 ct original ip saddr @from1_4 ct reply ip saddr @to1_4 meta l4proto tcp ct reply proto-src 8000-8101 accept",
        from: "laptop",
        to: "10.81.0.10",
        port: "tcp/8101",
        now: "reaches",
    },
    Mutation {
        what: "a port too few",
        node: "hub",
        change: "nft replace rule $t pairs handle $(rule pairs 'ct original ip saddr @from1_4.*8000-8100') \
                 ct original ip saddr @from1_4 ct reply ip saddr @to1_4 meta l4proto tcp ct reply proto-src 8001-8100 accept",
        from: "laptop",
        to: "10.81.0.10",
        port: "tcp/8000",
        now: "blocked",
    },
];

/// A lab that stands until this goes.
struct Lab<'d>(&'d Path);

impl Lab<'_> {
    fn run(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgrelay"));
        command.arg("--dir").arg(self.0).args(args).env_remove("WGRELAY_DIR").stdin(Stdio::null());
        command
    }

    /// Runs a line of shell in a node; it has to succeed.
    fn shell(&self, node: &str, line: &str) {
        let output = self.run(&["lab", "exec", node, "--", "sh", "-ec", line]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{node}: {line}: {said}");
    }

    /// What does not agree.
    fn wrong(&self, patience: &str) -> Vec<Value> {
        let output = self.run(&["--json", "lab", "check", "--patience", patience]).output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        let pairs = answer["pairs"].as_array().unwrap();
        let wrong: Vec<Value> = pairs.iter().filter(|p| p["predicted"] != p["observed"]).cloned().collect();
        assert_eq!(answer["agree"], wrong.is_empty());
        assert_eq!(output.status.code(), Some(if wrong.is_empty() { 0 } else { 4 }));
        wrong
    }

    /// Makes a change while nobody repairs it, returns what does not agree then, and puts it right.
    fn changed(&self, node: &str, change: &str) -> Vec<Value> {
        // The runtime folder is the lock of the network on a host: held until the standard input ends.
        let hold = format!("exec flock /run/wgrelay/{NAME} sh -c 'echo held; cat'");
        let mut holder = self
            .run(&["lab", "exec", node, "--", "sh", "-c", &hold])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        let rule = "rule() { nft -a list chain $t $1 | sed -n \"/$2/s/.* # handle //p\" | head -n1; }";
        self.shell(node, &format!("t='inet wgrelay-{NAME}'; {rule}; {change}"));
        let wrong = self.wrong("1");
        drop(holder.stdin.take());
        holder.wait().unwrap();
        let program = env!("CARGO_BIN_EXE_wgrelay");
        self.shell(node, &format!("{program} -q up && {program} -q plan --check"));
        wrong
    }
}

impl Drop for Lab<'_> {
    fn drop(&mut self) {
        let _ = self.run(&["-q", "lab", "down"]).status();
    }
}

#[test]
fn every_change_to_what_was_applied_is_seen() {
    if !need::met(&need::NAMESPACES) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(NAME)).unwrap();
    fs::write(dir.path().join(NAME).join("network.toml"), NETWORK).unwrap();
    let lab = Lab(dir.path());
    let up = lab.run(&["-q", "lab", "up"]).output().unwrap();
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    assert_eq!(lab.wrong("15"), Vec::<Value>::new());
    let mut unseen = Vec::new();
    for Mutation { what, node, change, from, to, port, now } in MUTATIONS {
        let wrong = lab.changed(node, change);
        let is_it =
            |p: &&Value| p["from"] == from && p["to"] == to && p["port"] == port && p["observed"] == now;
        eprintln!("{what} on {node}: {} disagree", wrong.len());
        if wrong.iter().find(is_it).is_none() {
            unseen.push(format!("{what} on {node}: {wrong:?}"));
        }
    }
    assert!(unseen.is_empty(), "{unseen:#?}");
    assert_eq!(lab.wrong("15"), Vec::<Value>::new());
}
