//! `[[forward]]`: a port of the relay leads to a spoke, to a host of a spoke's site and to one of its own, from wherever it
//! is called; exported files do the same, and nothing is left.

use crate::foreign_clients::clients_up;
use crate::rig::drive::{Wgrelay, wg_quick_down, wg_quick_up};
use crate::rig::node::Node;
use crate::rig::snapshot::Snapshot;
use crate::rig::topology::{Families, Topology};
use crate::services::called;

const FORWARDS: &str = r#"
[[forward]]
port = "tcp/8080"
to = "windows:80"
[[forward]]
port = "tcp/8081"
to = "192.168.33.71:80"
[[forward]]
port = "tcp/8082"
to = "172.19.0.5:80"
[[forward]]
port = "tcp/9000-9002"
to = "windows"
from = ["192.168.39.0/24"]
[[allow]]
from = ["windows"]
to = ["172.19.0.0/16"]
"#;
/// The relay's addresses: outside, in the tunnel, in its site.
const OUTSIDE: &str = "192.168.39.45";
const TUNNEL: &str = "192.168.3.1";
const SITE: &str = "172.19.0.1";

fn relay(t: &Topology) -> Wgrelay<'_> {
    let relay = Wgrelay::relay_of(t, Families::Both);
    relay.edit(|text| text + FORWARDS);
    relay
}

#[track_caller]
fn trial(t: &Topology) {
    // Who calls, at which address and port, and who answers at which.
    let flows: [(&Node, &str, u16, &Node, u16); 11] = [
        (&t.internet, OUTSIDE, 8080, &t.windows, 80),
        (&t.internet, "fd00:39::45", 8080, &t.windows, 80),
        (&t.internet, OUTSIDE, 8081, &t.vm, 80),
        (&t.internet, OUTSIDE, 8082, &t.container, 80),
        (&t.internet, OUTSIDE, 9001, &t.windows, 9001),
        // From the tunnel, the target itself among them.
        (&t.docker, TUNNEL, 8080, &t.windows, 80),
        (&t.windows, TUNNEL, 8080, &t.windows, 80),
        (&t.windows, TUNNEL, 8081, &t.vm, 80),
        // From the target's own site, and from the relay.
        (&t.docker, SITE, 8082, &t.container, 80),
        (&t.relay, OUTSIDE, 8080, &t.windows, 80),
        (&t.relay, OUTSIDE, 8082, &t.container, 80),
    ];
    let wrong: Vec<String> = flows
        .into_iter()
        .filter(|(from, address, port, to, at)| called(from, to, address, *port, *at).is_none())
        .map(|(from, address, port, to, _)| format!("{} to {address}:{port} ({})", from.name, to.name))
        .collect();
    let rules = t.relay.run(&["nft", "list", "ruleset"]).stdout;
    assert!(wrong.is_empty(), "{wrong:#?}\n{rules}");
    // What is not led on, and who may not call.
    assert_eq!(called(&t.internet, &t.windows, OUTSIDE, 8083, 80), None);
    assert_eq!(called(&t.docker, &t.windows, TUNNEL, 9001, 9001), None, "from says who may call");
}

#[test]
fn a_port_leads_on_from_everywhere() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let relay = relay(&t);
    let before = Snapshot::of(&t.relay);
    relay.up().ok();
    clients_up(&t, &relay);
    trial(&t);
    relay.call(&["plan", "--check"]).ok();
    for (port, code) in [("tcp/8080", 0), ("tcp/8081", 0), ("tcp/8082", 0), ("tcp/9001", 4)] {
        let said = relay.call(&["trace", "internet", "wsl", "--port", port, "--live"]);
        assert!(said.stdout.contains("dnat") == (code == 0), "{said}");
        said.exits(0);
    }
    relay.ok(&["down"]);
    before.assert_same(&Snapshot::of(&t.relay), "after down");
    for (name, node) in [("windows", &t.windows), ("docker", &t.docker)] {
        assert!(wg_quick_down(node, "wg0").code == Some(0), "{name}");
    }
    wg_quick_up(&t.relay, "wg0", &relay.ok(&["export", "wsl"])).ok();
    clients_up(&t, &relay);
    trial(&t);
    wg_quick_down(&t.relay, "wg0").ok();
    let left = t.relay.run(&["nft", "list", "ruleset"]).ok().stdout;
    assert!(left.is_empty(), "{left}");
}

#[test]
fn a_port_that_somebody_has_is_refused_with_his_name() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = relay(&t);
    let listen = "IO::Socket::INET->new(Listen => 1, LocalPort => 8081); sleep 60";
    let mut perl = std::process::Command::new("perl");
    perl.args(["-MIO::Socket::INET", "-e", &format!("my $s = {listen}")]);
    let mut holder = t.relay.spawn(&mut perl);
    let began = std::time::Instant::now();
    let listens =
        || t.relay.inside(|| std::fs::read_to_string("/proc/thread-self/net/tcp")).unwrap_or_default();
    while !listens().contains(":1F91 ") && began.elapsed() < std::time::Duration::from_secs(10) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let said = relay.up();
    assert!(said.code != Some(0), "{said}");
    assert!(said.stderr.contains("port-taken") && said.stderr.contains("perl"), "{said}");
    holder.kill().expect("it runs");
    holder.wait().expect("it ended");
    relay.up().ok();
}
