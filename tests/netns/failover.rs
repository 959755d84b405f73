//! Spokes that run wgrelay go over to another relay when theirs dies or drains; the others find them there.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::drive::Wgrelay;
use crate::rig::need::{NAMESPACES, met};
use crate::rig::net::{End, bridge, cable, up};
use crate::rig::node::{Node, Output};
use crate::rig::probe::{Flow, ping, ping_within};
use crate::rig::topology::{Families, Topology};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Three relays, two spokes; the last octet of each on the underlay.
const NODES: [(&str, u8); 5] = [("eu", 1), ("us", 2), ("ap", 3), ("a", 11), ("b", 12)];

struct Stage {
    nodes: Vec<Node>,
    _switch: Node,
}

impl Stage {
    /// All on one link, and nothing up; `None`: this machine cannot, and nobody insists.
    fn possible() -> Option<Self> {
        if !met(&NAMESPACES) {
            return None;
        }
        let switch = Node::new("switch");
        let nodes: Vec<Node> = NODES.iter().map(|(name, _)| Node::new(name)).collect();
        // ip(8) takes `a` for a word of its own.
        let ports: Vec<String> = nodes.iter().map(|node| format!("to-{}", node.name)).collect();
        for (node, port) in nodes.iter().zip(&ports) {
            cable(End { node, link: "eth0" }, End { node: &switch, link: port });
        }
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        switch.ip(&bridge("br0", &ports, &[]));
        for (node, (_, last)) in nodes.iter().zip(NODES) {
            node.ip(&up("eth0", &[&format!("192.0.2.{last}/24")]));
        }
        Some(Self { nodes, _switch: switch })
    }

    fn node(&self, name: &str) -> &Node {
        self.nodes.iter().find(|node| node.name == name).expect("it is one of these")
    }

    fn on(&self, name: &str) -> Wgrelay<'_> {
        Wgrelay::on(self.node(name))
    }

    /// Brings all of them up: `a` is at home at eu and may go to us, `b` at ap and may go anywhere.
    #[track_caller]
    fn up(&self) {
        self.up_with("");
    }

    /// The same with more in the file.
    #[track_caller]
    fn up_with(&self, more: &str) {
        let mut text = "[network]\nname = \"wg0\"\nsubnet = \"10.88.0.0/24\"\n".to_owned();
        for (n, (name, last)) in NODES.iter().enumerate() {
            text += &format!("[node.{name}]\naddress = \"10.88.0.{}\"\n", n + 1);
            text += &match *name {
                "a" => "relays = [\"eu\", \"us\"]\n".to_owned(),
                "b" => "relays = [\"ap\", \"us\", \"eu\"]\n".to_owned(),
                _ => format!("role = \"relay\"\nendpoint = \"192.0.2.{last}:51820\"\n"),
            };
        }
        text += more;
        let eu = self.on("eu");
        eu.write_network(&text);
        eu.call(&["--node", "eu", "up", "--backend", &eu.backend]).ok();
        for (name, _) in &NODES[1..] {
            self.on(name).up_with(&eu, name).ok();
        }
        if eu.backend == "kernel" {
            self.nodes.iter().for_each(|node| run(&Wgrelay::on(node)));
        }
    }

    /// All that runs on it dies, and its link goes.
    fn power_off(&self, name: &str) {
        let node = self.node(name);
        node.ip("link set eth0 down");
        let _the_shell_goes_with_them = node.command(Command::new("bash").args(["-c", "kill -9 -1"]));
    }
}

/// With the kernel's WireGuard the agent is a process of its own.
fn run(on: &Wgrelay<'_>) {
    drop(on.node.spawn(&mut on.command(&["run", "--backend", "kernel"])));
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    began.elapsed()
}

fn relay(of: &Wgrelay<'_>) -> Value {
    of.status()["relay"].clone()
}

/// Waits until a spoke has heard these relays.
#[track_caller]
fn hears(spoke: &Wgrelay<'_>, relays: &[&str]) {
    until("relays answer", || {
        let relay = relay(spoke);
        let all = relay["relays"].as_array().cloned().unwrap_or_default();
        relays.iter().all(|name| all.iter().any(|one| one["name"] == *name && one["state"] == "answers"))
    });
}

fn attached(on: &Wgrelay<'_>) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let status = on.status();
    let all = status["attached"].as_array().cloned().unwrap_or_default();
    all.iter().map(|one| (text(&one["node"]), text(&one["relay"]))).collect()
}

fn away(node: &str, relay: &str) -> Vec<(String, String)> {
    vec![(node.to_owned(), relay.to_owned())]
}

fn codes(status: &Value) -> Vec<String> {
    let problems = status["problems"].as_array().cloned().unwrap_or_default();
    problems.iter().filter_map(|problem| problem["code"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_spoke_goes_over_when_its_relay_dies_and_when_it_drains() {
    let Some(stage) = Stage::possible() else { return };
    stage.up();
    let (a, b) = (stage.on("a"), stage.on("b"));
    assert!(ping(a.node, "10.88.0.5") && ping(b.node, "10.88.0.4"), "the tunnel carries");
    hears(&a, &["eu", "us"]);
    hears(&b, &["ap", "us", "eu"]);
    let first = relay(&a);
    assert_eq!((&first["name"], &first["preferred"]), (&"eu".into(), &"eu".into()));
    assert!(first["since"].is_u64() && codes(&a.status()).is_empty(), "{first}");
    // What stands by is no reason for concern, and carries nothing.
    let us =
        a.status()["peers"].as_array().unwrap().iter().find(|peer| peer["name"] == "us").unwrap().clone();
    assert_eq!((&us["standby"], us["allowed_ips"].as_array().unwrap().len()), (&true.into(), 1), "{us}");
    assert_eq!(a.status()["drift"], Value::Array(vec![]));

    // Power off. What is sent by then is lost, and what is sent after arrives by another relay.
    let flow = Flow::start(a.node, b.node, "10.88.0.5");
    std::thread::sleep(Duration::from_secs(1));
    stage.power_off("eu");
    assert!(ping_within(PATIENCE, a.node, "10.88.0.5"), "a finds its way by us");
    let tally = flow.stop();
    println!("power off: {} of {} datagrams, one each 10 ms, were lost", tally.lost(), tally.sent);
    assert!(tally.lost() <= 4000, "{tally:?}");
    assert!(ping(b.node, "10.88.0.4"), "ap finds a behind us");
    assert_eq!(relay(&a)["name"], "us");
    assert!(codes(&a.status()).contains(&"failed-over".to_owned()), "{}", a.status());
    for name in ["us", "ap"] {
        until("the relays know where a is", || attached(&stage.on(name)) == away("a", "us"));
    }
    assert_eq!(relay(&b)["name"], "ap", "who was not concerned stays");
    assert_eq!(a.status()["drift"], Value::Array(vec![]));

    // An `up` in between, and an agent that dies and comes back, leave it where it is.
    a.up().ok();
    assert_eq!(relay(&a)["name"], "us");
    stage.on("us").up().ok();
    assert!(ping(a.node, "10.88.0.5"));

    // ap drains while both send: b is at us at once, and what was sent is there.
    hears(&b, &["ap", "us"]);
    let flow = Flow::start(a.node, b.node, "10.88.0.5");
    std::thread::sleep(Duration::from_secs(1));
    let said = stage.on("ap").ok(&["drain", "ap"]);
    assert!(said.contains("b went over to us"), "{said}");
    std::thread::sleep(Duration::from_secs(1));
    let tally = flow.stop();
    println!("drained: {} of {} datagrams, one each 10 ms, were lost", tally.lost(), tally.sent);
    assert!(tally.lost() <= 200, "{tally:?}");
    assert_eq!(relay(&b)["name"], "us");
    let ap = stage.on("ap").status();
    assert!(ap["drains"] == true && codes(&ap).contains(&"drains".to_owned()), "{ap}");
    assert!(ping(stage.node("ap"), "10.88.0.5"), "ap finds b behind us");
    // Asked from another relay.
    stage.on("us").ok(&["undrain", "ap"]);
    until("ap carries again", || stage.on("ap").status()["drains"] == false);
    let refused = stage.on("us").call(&["drain", "eu"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("eu does not answer"), "{refused}");
    assert_eq!(stage.on("us").call(&["drain", "b"]).code, Some(2));
    assert_eq!(a.call(&["drain", "us"]).code, Some(1), "a spoke is not the one to say");
}

#[test]
fn without_ipv6_on_the_interface_it_is_told_and_packets_pass() {
    let Some(stage) = Stage::possible() else { return };
    stage.node("a").run(&["sysctl", "-w", "net.ipv6.conf.default.disable_ipv6=1"]).ok();
    stage.up();
    let a = stage.on("a");
    assert!(ping(a.node, "10.88.0.5"));
    until("it is told", || codes(&a.status()).contains(&"no-failover".to_owned()));
    // Where it is switched off while the network is up, nothing of it is left, and nothing is said any more.
    let (eu, b) = (stage.on("eu"), stage.on("b"));
    let has_address = |of: &Wgrelay<'_>| {
        of.node.run(&["ip", "-6", "addr", "show", "dev", "wg0"]).ok().stdout.contains("fe80:")
    };
    until("b can be asked", || has_address(&b));
    eu.edit(|text| text.replace("[network]\n", "[network]\nfailover = false\n"));
    for name in ["a", "b"] {
        stage.on(name).up_with(&eu, name).ok();
    }
    until("nothing is said any more", || !codes(&a.status()).contains(&"no-failover".to_owned()));
    until("the address is gone", || !has_address(&b));
    assert!(ping(a.node, "10.88.0.5"));
    let _: Output = a.call(&["down"]).ok();
}

/// A LAN that eu and us are on, with one host: the link that leads to `us` is `to-us`.
fn lan(stage: &Stage) -> Node {
    let lan = Node::new("lan");
    for (name, last) in [("eu", 1), ("us", 2)] {
        let port = format!("to-{name}");
        cable(End { node: stage.node(name), link: "lan0" }, End { node: &lan, link: &port });
        stage.node(name).ip(&up("lan0", &[&format!("10.50.0.{last}/24")]));
    }
    lan.ip(&bridge("br0", &["to-eu", "to-us"], &["10.50.0.9/24"]));
    lan
}

/// The office is behind both, eu is the better one, and this is promised of it.
const OFFICE: &str = "
[[node.eu.site]]
subnet = \"10.50.0.0/24\"
preference = 2
[[node.us.site]]
subnet = \"10.50.0.0/24\"
preference = 1
[[expect]]
from = \"a\"
to = \"10.50.0.9\"
port = \"tcp/22\"
verdict = \"reaches\"
";

/// With `WGRELAY_RUNS` also back again, which takes a minute.
#[test]
fn a_relay_whose_site_does_not_answer_hands_it_over_and_says_why() {
    let Some(stage) = Stage::possible() else { return };
    let lan = lan(&stage);
    stage.up_with(OFFICE);
    let (a, b, eu) = (stage.on("a"), stage.on("b"), stage.on("eu"));
    let given = |on: &Wgrelay<'_>| on.status()["given_over"].clone();
    let told = |on: &Wgrelay<'_>| {
        let problems = on.status()["problems"].as_array().cloned().unwrap_or_default();
        let told = problems.into_iter().find(|problem| problem["code"] == "site-given-over");
        told.map(|problem| problem["message"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
    };
    assert!(ping(a.node, "10.50.0.9") && ping(b.node, "10.50.0.9"), "the office is reached");
    hears(&a, &["eu", "us"]);
    // Long enough for both to have asked.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(given(&eu), Value::Array(vec![]));
    let began = Instant::now();
    lan.ip("link set to-eu down");
    until("a reaches the office by us", || ping_within(Duration::from_secs(1), a.node, "10.50.0.9"));
    println!("lan {} ms, run 0", began.elapsed().as_millis());
    until("so does b, by ap", || ping_within(Duration::from_secs(1), b.node, "10.50.0.9"));
    until("and eu itself", || ping_within(Duration::from_secs(1), eu.node, "10.50.0.9"));
    until("eu says why", || told(&eu).contains("(asked: 10.50.0.9 (tcp/22)): us carries it"));
    for name in ["us", "ap"] {
        let on = stage.on(name);
        until("the others say so", || {
            told(&on).contains("10.50.0.0/24 does not answer at eu: us carries it")
        });
    }
    assert_eq!(eu.status()["drift"], Value::Array(vec![]));
    // An `up` in between leaves it where it is.
    eu.call(&["up", "--backend", &eu.backend]).ok();
    assert_eq!((&given(&eu)[0]["node"], &given(&eu)[0]["carrier"]), (&"eu".into(), &"us".into()));
    if std::env::var("WGRELAY_RUNS").is_ok() {
        lan.ip("link set to-eu up");
        let began = Instant::now();
        while given(&eu) != Value::Array(vec![]) {
            assert!(began.elapsed() < PATIENCE * 5, "eu carries it again");
            std::thread::sleep(Duration::from_millis(200));
        }
        println!("lan-back {} ms, run 0", began.elapsed().as_millis());
        assert!(began.elapsed() > Duration::from_secs(50), "not before it was well for a minute");
        assert!(ping(a.node, "10.50.0.9") && ping(b.node, "10.50.0.9"));
    } else {
        // Where it answers nowhere, it is as the file has it, and nothing is said.
        lan.ip("link set to-us down");
        until("nobody has it", || given(&eu) == Value::Array(vec![]));
    }
    eu.call(&["down"]).ok();
    let left = eu.node.run(&["ip", "route"]).ok().stdout;
    assert!(!left.contains("wg0"), "{left}");
}

#[test]
fn a_relay_that_nobody_can_leave_does_not_drain() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    let refused = relay.call(&["drain", "wsl"]).exits(1);
    assert!(refused.stderr.contains("no spoke of wg0 can leave wsl"), "{refused}");
    let problems = relay.status()["problems"].to_string();
    assert!(!problems.contains("drains"), "it would once there is another one: {problems}");
}
