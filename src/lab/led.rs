//! Calls at ports of relays that lead on: from everybody in the tunnel and behind it, and from outside. Pure.

use std::net::IpAddr;

use super::compare::{Question, is_quiet};
use super::topology::{INTERNET, Place, PlaceKind, Topology};
use crate::model::{Forward, Network, Node, PortRange, PortSpec, Timestamp, Verdict};
use crate::reach::{self, Flow, Step, World, trace};

/// Says whether a port of an address is a relay's that leads on: who listens there is another one.
pub(super) fn is_led(network: &Network, address: IpAddr, port: PortSpec) -> bool {
    let of_relay = |relay: &&Node| relay.host_prefixes().iter().any(|net| net.addr() == address);
    let is_its = |f: &Forward| match (f.port, port) {
        (PortSpec::Tcp(led), PortSpec::Tcp(one)) | (PortSpec::Udp(led), PortSpec::Udp(one)) => {
            (led.first..=led.last).contains(&one.first)
        }
        _ => false,
    };
    network
        .relays()
        .find(of_relay)
        .is_some_and(|relay| network.forward.iter().any(|f| f.is_on(relay) && is_its(f)))
}

/// Returns the questions: each caller, each forward whose target the lab has, its first port and its last.
pub(super) fn questions(
    world: &World,
    network: &Network,
    topology: &Topology,
    places: &[Place],
    now: Timestamp,
) -> Vec<Question> {
    let mut out = Vec::new();
    for forward in &network.forward {
        let Some(relay) = network.relays().find(|r| forward.is_on(r) && r.is_active(now)) else { continue };
        for target in forward.targets(network) {
            let called: Vec<&Place> = places
                .iter()
                .filter(|p| p.name == relay.name.as_str() && p.address.is_ipv4() == target.is_ipv4())
                .collect();
            let listens = places.iter().find(|p| p.address == target && p.kind != PlaceKind::Internet);
            let Some(listens) = listens else { continue };
            for (port, inside) in edges(forward) {
                for from in places.iter().filter(|p| p.address.is_ipv4() == target.is_ipv4()) {
                    let own = called.iter().find(|p| p.space != from.space && p.kind == PlaceKind::Node);
                    let Some(at) = own else { continue };
                    let (start, address, to) = match &from.kind {
                        PlaceKind::SecondHome(_) => continue,
                        // Nobody outside knows where a relay without an endpoint is.
                        PlaceKind::Internet if relay.endpoint.is_none() => continue,
                        PlaceKind::Internet => {
                            let Some(underlay) = topology.underlay.get(&relay.name) else { continue };
                            let caller = caller_outside(topology, from.address);
                            (caller, IpAddr::V4(*underlay), reach::Place::Node(relay.name.clone()))
                        }
                        PlaceKind::HostBehind(_) => (
                            reach::Place::Address(from.address),
                            at.address,
                            reach::Place::Address(at.address),
                        ),
                        PlaceKind::Node => {
                            let Ok(name) = from.name.parse() else { continue };
                            (reach::Place::Node(name), at.address, reach::Place::Address(at.address))
                        }
                    };
                    let flow = Flow { from: start.clone(), to, port: Some(port) };
                    let traced = match start {
                        reach::Place::Outside(_) => trace(&world.clone().with_outside(&start), &flow),
                        _ => trace(world, &flow),
                    };
                    // Who may not call comes to the relay itself, where nobody listens.
                    let is_led = traced.forward.iter().any(|hop| hop.step == Step::Dnat);
                    out.push(Question {
                        from: from.name.clone(),
                        to: format!("{} of {}", forward.port, relay.name),
                        space: from.space,
                        target_space: listens.space,
                        target: address,
                        port,
                        listens: (listens.own_address(), inside),
                        predicted: if is_led { traced.verdict } else { Verdict::Blocked },
                        reason: traced.reason,
                        wakes: traced.sessions,
                        idle: traced.idle,
                        calls_quiet: is_quiet(network, &listens.kind, &listens.name),
                    });
                }
            }
        }
    }
    out
}

/// The ports that are tried: as they are called, and as they are at the target.
fn edges(forward: &Forward) -> Vec<(PortSpec, PortSpec)> {
    let PortRange { first, last } = forward.called();
    let one = |spec: PortSpec, p: u16| match spec {
        PortSpec::Tcp(_) => PortSpec::Tcp(PortRange { first: p, last: p }),
        _ => PortSpec::Udp(PortRange { first: p, last: p }),
    };
    let inside = |called: u16| forward.to.port.filter(|_| first == last).unwrap_or(called);
    let mut called = vec![first, last];
    called.dedup();
    called.into_iter().map(|p| (one(forward.port, p), one(forward.port, inside(p)))).collect()
}

/// The router's loopback has several addresses, and the first is the one that it calls with.
fn caller_outside(topology: &Topology, known: IpAddr) -> reach::Place {
    let space = topology.spaces.iter().find(|space| space.name == INTERNET);
    let first = space.and_then(|space| space.addresses.first()).map(|(_, net)| net.addr());
    reach::Place::Outside(first.unwrap_or(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_network;
    use crate::lab::{questions, topology};

    const NETWORK: &str = "[network]\nname = \"wg0\"\nsubnet = \"10.7.0.0/24\"\n[node.r]\nrole = \"relay\"\n\
        address = \"10.7.0.1\"\nendpoint = \"192.0.2.7:51820\"\n\
        public_key = \"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\"\n[node.s]\naddress = \"10.7.0.2\"\n\
        public_key = \"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\"\n[[node.s.site]]\nsubnet = \"192.168.7.0/24\"\n\
        [node.t]\naddress = \"10.7.0.3\"\npublic_key = \"AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\"\n";

    /// Who calls which port, who is to answer, and whether he does.
    fn asked(forward: &str) -> Vec<(String, String, String, Verdict)> {
        let parsed = parse_network(format!("{NETWORK}[[forward]]\n{forward}").as_bytes(), "n");
        let network = parsed.value.unwrap_or_else(|| panic!("{:?}", parsed.problems));
        let layout = topology(&network, Timestamp(0)).unwrap();
        let of_forwards = |q: &Question| q.to.ends_with(" of r");
        let asked = questions(&network, &layout, Timestamp(0)).into_iter().filter(of_forwards);
        let told = |q: Question| {
            (q.from, q.port.to_string(), format!("{} {}", q.listens.0, q.listens.1), q.predicted)
        };
        asked.map(told).collect()
    }

    #[test]
    fn everybody_calls_and_the_target_is_to_answer() {
        let all = asked("port = \"tcp/8080\"\nto = \"192.168.7.71:80\"\n");
        let callers: Vec<&str> = all.iter().map(|(from, ..)| from.as_str()).collect();
        // The relay itself is not asked, and a host without a gateway knows no way to it.
        assert_eq!(callers, ["s", "t", "192.168.7.71", "internet"]);
        for (from, port, answers, verdict) in &all {
            assert_eq!((port.as_str(), answers.as_str()), ("tcp/8080", "192.168.7.71 tcp/80"), "{from}");
            assert_eq!(*verdict == Verdict::Reaches, from != "192.168.7.71", "{from}");
        }
    }

    #[test]
    fn who_may_not_call_reaches_nobody_and_a_range_keeps_its_ports() {
        let all = asked("port = \"udp/9000-9002\"\nto = \"t\"\nfrom = [\"10.7.0.2/32\"]\n");
        let ports: std::collections::BTreeSet<&str> = all.iter().map(|(_, port, ..)| port.as_str()).collect();
        assert_eq!(ports, ["udp/9000", "udp/9002"].into());
        for (from, port, answers, verdict) in &all {
            assert_eq!(*answers, format!("10.7.0.3 {port}"));
            assert_eq!(*verdict == Verdict::Reaches, from == "s", "{from}");
        }
    }
}
