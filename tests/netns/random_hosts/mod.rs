//! Random hosts: what owners have on a relay or a gateway besides, by chance, and whether `trace --live` says of each flow what
//! packets do, or that it does not know. `WGRELAY_HOSTS` hosts (12) from seed `WGRELAY_SEED` (1), `WGRELAY_AT_ONCE` (2) at a time;
//! scripts/soak hosts.

mod calls;
mod owner;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::rig::drive::Wgrelay;
use crate::rig::inet::{Inet, SERVER};
use crate::rig::net::{End, cable, up};
use crate::rig::node::Node;
use calls::{Call, Servers, answered};

/// Of all answers so many in a hundred may be that nobody knows.
const UNKNOWN: u64 = 2;

/// A network on hosts that nothing was done to.
struct World {
    t: Inet,
    lan: Node,
    phone: Node,
}

impl World {
    fn possible() -> Option<Self> {
        let t = Inet::possible()?;
        let [lan, phone] = ["lan", "phone"].map(Node::new);
        let end = |node, link| End { node, link };
        cable(end(&t.relay, "eth1"), end(&lan, "eth0"));
        cable(end(&t.inet, "to-phone"), end(&phone, "eth0"));
        t.relay.ip(&up("eth1", &["10.20.0.1/24"]));
        lan.ip(&(up("eth0", &["10.20.0.5/24"]) + "route add default via 10.20.0.1\n"));
        t.inet.ip(&up("to-phone", &["198.51.101.1/24"]));
        phone.ip(&(up("eth0", &["198.51.101.30/24"]) + "route add default via 198.51.101.1\n"));
        for node in [&lan, &phone] {
            node.set_sysctl("ipv4/conf/all/rp_filter", "0");
            node.set_sysctl("ipv4/conf/default/rp_filter", "0");
        }
        Some(Self { t, lan, phone })
    }

    fn calls(&self) -> Vec<Call<'_>> {
        let (relay, laptop, host) = (&self.t.relay, &self.t.spoke, &self.t.host);
        let flows: [(&str, &Node, &str, &str); 16] = [
            ("laptop", laptop, "relay", "10.88.0.1"),
            ("laptop", laptop, "10.20.0.5", "10.20.0.5"),
            ("laptop", laptop, "phone", "10.88.0.3"),
            ("phone", &self.phone, "relay", "10.88.0.1"),
            ("phone", &self.phone, "laptop", "10.88.0.2"),
            ("phone", &self.phone, "10.20.0.5", "10.20.0.5"),
            ("phone", &self.phone, "192.168.16.77", "192.168.16.77"),
            ("phone", &self.phone, SERVER, SERVER),
            ("relay", relay, "laptop", "10.88.0.2"),
            ("relay", relay, "192.168.16.77", "192.168.16.77"),
            ("relay", relay, "phone", "10.88.0.3"),
            ("10.20.0.5", &self.lan, "laptop", "10.88.0.2"),
            ("10.20.0.5", &self.lan, "192.168.16.77", "192.168.16.77"),
            ("10.20.0.5", &self.lan, "phone", "10.88.0.3"),
            ("192.168.16.77", host, "relay", "10.88.0.1"),
            ("192.168.16.77", host, "10.20.0.5", "10.20.0.5"),
        ];
        let ports = ["icmp", "tcp/22", "udp/53", "tcp/8080"];
        let calls = flows
            .into_iter()
            .flat_map(|(from, node, to, address)| ports.map(|port| Call { from, node, to, address, port }));
        calls.collect()
    }
}

const NETWORK: &str = "[network]\nname = \"wg0\"\nsubnet = \"10.88.0.0/24\"\n[node.relay]\nrole = \"relay\"\naddress = \"10.88.0.1\"\n\
endpoint = \"203.0.113.10:51820\"\negress = true\n[[node.relay.site]]\nsubnet = \"10.20.0.0/24\"\ninterface = \"eth1\"\ngateway = true\n\
[node.laptop]\naddress = \"10.88.0.2\"\n[[node.laptop.site]]\nsubnet = \"192.168.16.64/26\"\ninterface = \"eth1\"\ngateway = true\n\
[node.phone]\naddress = \"10.88.0.3\"\nroutes = \"full\"\n";

/// What one host came to.
#[derive(Default)]
struct Judged {
    agreed: u64,
    unknown: u64,
    wrong: Vec<String>,
}

fn judged(seed: u64) -> Option<Judged> {
    let world = World::possible()?;
    let owner = owner::Owner::of(seed);
    let (relay, laptop, phone) =
        (Wgrelay::on(&world.t.relay), Wgrelay::on(&world.t.spoke), Wgrelay::on(&world.phone));
    let host = if owner.is_relay { &relay } else { &laptop };
    owner.cables(&world.t, host.node);
    host.node.run(&["bash", "-ec", &owner.script]).ok();
    relay.write_network(NETWORK);
    // What keeps an `up` from its work is a verdict as well.
    let said = relay.up();
    for (wgrelay, name) in [(&laptop, "laptop"), (&phone, "phone")] {
        if relay.node.outside(relay.network_file()).exists() {
            wgrelay.up_with(&relay, name);
        }
    }
    let nodes = [&world.t.inet, &world.t.relay, &world.t.spoke, &world.t.host, &world.lan, &world.phone];
    let servers = Servers::start(&nodes);
    // Sessions begin with the first packet.
    for node in [&world.t.spoke, &world.phone] {
        node.run(&["ping", "-n", "-c", "2", "-i", "0.3", "-W", "1", "10.88.0.1"]);
    }
    let mut result = Judged::default();
    let calls = world.calls();
    let answers = answered(&calls);
    for (call, answer) in calls.iter().zip(answers) {
        let trace = host.call(&["trace", call.from, call.to, "--port", call.port, "--live", "--json"]);
        let told: serde_json::Value = serde_json::from_str(&trace.stdout).unwrap_or_default();
        if told["uncertain"].as_array().is_some_and(|doubts| !doubts.is_empty()) {
            result.unknown += 1;
            continue;
        }
        let foretold = match told["verdict"].as_str() {
            Some("reaches") => Some(true),
            Some("blocked") => Some(false),
            _ => None,
        };
        // A packet that is lost on a busy machine is no verdict: what differs is asked once more, alone.
        if foretold == Some(answer) || foretold == Some(answered(std::slice::from_ref(call))[0]) {
            result.agreed += 1;
            continue;
        }
        let packets = if answer { "are answered" } else { "are not answered" };
        let (name, script) = (&host.node.name, &owner.script);
        result.wrong.push(format!(
            "seed {seed}: {} -> {} {}: packets {packets}; it says {} ({})\n-- {trace}\n-- the host ({name}):\n{script}\n-- up: {said}",
            call.from, call.to, call.port, told["verdict"], told["reason"]
        ));
    }
    drop(servers);
    Some(result)
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn of_random_hosts_it_says_what_packets_do_or_that_it_does_not_know() {
    let (hosts, first) = (number("WGRELAY_HOSTS", 12), number("WGRELAY_SEED", 1));
    let next = AtomicU64::new(first);
    let all = Mutex::new(Judged::default());
    std::thread::scope(|scope| {
        for _ in 0..number("WGRELAY_AT_ONCE", 2) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + hosts {
                        return;
                    }
                    let Some(one) = judged(seed) else { return };
                    let mut all = all.lock().unwrap();
                    all.agreed += one.agreed;
                    all.unknown += one.unknown;
                    all.wrong.extend(one.wrong);
                }
            });
        }
    });
    let Judged { agreed, unknown, wrong } = all.into_inner().unwrap();
    let sum = agreed + unknown + wrong.len() as u64;
    println!(
        "{hosts} hosts from seed {first}: {agreed} flows as told, {unknown} unknown, {} otherwise",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(unknown * 100 <= sum * UNKNOWN, "{unknown} of {sum} are said to be unknown");
}
