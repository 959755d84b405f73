//! What must hold of any network: classes answer as their members do, walks are the same each time, and every rule, route
//! and prefix that a flow lives by is one that it dies without.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;

use super::flow::{join, probes};
use super::judge::{Ends, judge};
use super::lint::{asked_for, part_that_tells};
use super::matrix::{asks, places};
use super::*;
use crate::firewall::{Action, Match};
use crate::model::{
    AllowRule, Nat, Network, Node, NodeName, PlaceRef, PortSpec, PublicKey, Role, Routes, Site,
    SiteInterface, Timestamp, Verdict, derive_for_spoke,
};
use crate::plan::{Backend, Facts, HostState, Keys, wanted};

const NOW: Timestamp = Timestamp(1_800_000_000);

fn node(name: &str, role: Role, last: u8) -> Node {
    let mut key = [last; 32];
    key[0] = 1;
    let address = [10, 88, 0, last].into();
    let mut node = Node::new(name.parse().unwrap(), role, address, PublicKey::from_bytes(key));
    if role == Role::Relay {
        node.endpoint = Some("192.0.2.1:51820".parse().unwrap());
    }
    node
}

fn site(subnet: &str, nat: Nat, gateway: bool) -> Site {
    Site { nat, gateway, ..Site::new(subnet.parse().unwrap()) }
}

fn network(nodes: Vec<Node>) -> Network {
    Network {
        preshared_keys: false,
        ..Network::new("wg0".parse().unwrap(), "10.88.0.0/24".parse().unwrap(), nodes)
    }
}

/// Two offices and a laptop.
fn offices() -> Network {
    let mut east = node("east", Role::Spoke, 2);
    east.sites = vec![site("192.168.10.0/24", Nat::Auto, true)];
    let mut west = node("west", Role::Spoke, 3);
    west.sites = vec![site("192.168.20.0/24", Nat::Masquerade, false)];
    network(vec![node("hub", Role::Relay, 1), east, west, node("laptop", Role::Spoke, 4)])
}

fn verdict(world: &World, from: &str, to: &str) -> Verdict {
    let at = |text| place(world.network(), text).unwrap();
    trace(world, &Flow { from: at(from), to: at(to), port: None }).verdict
}

fn seen(network: &Network, name: &str) -> (NodeName, HostState, Facts) {
    let node = &network.nodes[name];
    let facts = assumed_facts(network, node);
    let state = wanted(network, node, &Keys::default(), Backend::Kernel, &facts, NOW).state;
    (node.name.clone(), state, facts)
}

/// From the laptop to a host of either office, from one office to the other: what each path lives by.
const FLOWS: [(&str, &str); 3] =
    [("laptop", "192.168.10.7"), ("192.168.10.7", "192.168.20.9"), ("192.168.10.7", "laptop")];

fn mutated(name: &str, change: impl Fn(&mut HostState, &mut Facts)) -> Vec<Verdict> {
    let network = offices();
    let (name, mut state, mut facts) = seen(&network, name);
    change(&mut state, &mut facts);
    let world = World::assumed(&network, NOW).with_observed(&name, state, facts);
    FLOWS.iter().map(|(from, to)| verdict(&world, from, to)).collect()
}

fn device(state: &mut HostState) -> &mut crate::plan::Device {
    state.device.as_mut().unwrap()
}

#[test]
fn a_family_that_ends_on_the_way_is_none_that_reaches() {
    let mut network =
        network(vec![node("hub", Role::Relay, 1), node("a", Role::Spoke, 2), node("b", Role::Spoke, 3)]);
    network.subnet6 = Some("fd88::/64".parse().unwrap());
    for n in network.nodes.values_mut() {
        n.address6 = Some(format!("fd88::{}", n.address.octets()[3]).parse().unwrap());
    }
    let families = |network: &Network| {
        let world = World::assumed(network, NOW);
        let at = |text| place(network, text).unwrap();
        judge(&world, &probes(network), &at("a"), &at("b")).families
    };
    assert_eq!(families(&network), [PathFamily::Ipv4, PathFamily::Ipv6]);
    let (from, to) = ("10.88.0.2".parse().unwrap(), "10.88.0.3".parse().unwrap());
    let rule = |from, to| AllowRule { from: vec![from], to: vec![to], ports: Vec::new() };
    network.allow = vec![rule(PlaceRef::Address(from), PlaceRef::Address(to))];
    assert_eq!(families(&network), [PathFamily::Ipv4]);
}

#[test]
fn every_part_of_a_path_is_needed() {
    use Verdict::{Blocked as B, Reaches as R};
    assert_eq!(mutated("hub", |_, _| {}), [R, R, R]);
    let net = |t: &str| t.parse::<IpNet>().unwrap();
    let east_key = offices().nodes["east"].public_key;
    // AllowedIPs of one peer, one prefix less.
    assert_eq!(
        mutated("hub", |s, _| {
            let peer = device(s).peers.get_mut(&east_key).unwrap();
            assert!(peer.allowed_ips.remove(&net("192.168.10.0/24")));
        }),
        [B, B, B]
    );
    assert_eq!(
        mutated("laptop", |s, _| device(s).peers.values_mut().for_each(|p| {
            assert!(p.allowed_ips.remove(&net("192.168.10.0/24")));
        })),
        [B, R, B]
    );
    // A peer more or less, or with another key's prefixes.
    assert_eq!(mutated("hub", |s, _| drop(device(s).peers.remove(&east_key))), [B, B, B]);
    assert_eq!(mutated("laptop", |s, _| device(s).peers.clear()), [B, R, B]);
    // A route less.
    let without = |dst: &str| {
        let dst = net(dst);
        move |s: &mut HostState, _: &mut Facts| s.routes.retain(|r| r.dst != dst)
    };
    assert_eq!(mutated("laptop", without("192.168.10.0/24")), [B, R, B]);
    assert_eq!(mutated("east", without("192.168.20.0/24")), [R, B, R]);
    assert_eq!(mutated("hub", without("192.168.10.0/24")), [B, B, B]);
    // The endpoint, the keepalive, the interface.
    assert_eq!(
        mutated("laptop", |s, _| device(s).peers.values_mut().for_each(|p| p.endpoint = None)),
        [B, R, B]
    );
    assert_eq!(
        mutated("laptop", |s, _| device(s).peers.values_mut().for_each(|p| p.keepalive = None)),
        [R, R, B]
    );
    assert_eq!(mutated("laptop", |s, _| device(s).up = false), [B, R, B]);
    // Forwarding, by the link that a packet comes by.
    let off = |path: &'static str| {
        move |s: &mut HostState, _: &mut Facts| *s.sysctls.get_mut(path).unwrap() = "0".into()
    };
    assert_eq!(mutated("hub", off("net/ipv4/conf/wg0/forwarding")), [B, B, B]);
    assert_eq!(mutated("east", off("net/ipv4/conf/wg0/forwarding")), [B, B, B]);
    assert_eq!(mutated("east", off("net/ipv4/conf/lan0/forwarding")), [B, B, B]);
    // A site's link.
    assert_eq!(mutated("west", |_, f| drop(f.links.remove("lan0"))), [R, B, R]);
}

#[test]
fn every_rule_of_a_path_is_needed() {
    use Verdict::{Blocked as B, Reaches as R};
    let without = |chain: &'static str, action: Action| {
        move |s: &mut HostState, _: &mut Facts| {
            let table = s.firewall.as_mut().unwrap();
            let chain = table.chains.iter_mut().find(|c| c.name == chain).unwrap();
            let before = chain.rules.len();
            chain.rules.retain(|r| r.action != action);
            assert_ne!(before, chain.rules.len());
        }
    };
    assert_eq!(mutated("hub", without("pairs", Action::Accept)), [B, B, B]);
    // Errors about flows and what helpers expect are among these, which no flow needs.
    assert_eq!(mutated("hub", without("forward", Action::Accept)), [R, R, R]);
    assert_eq!(mutated("hub", without("forward", Action::Jump("pairs".into()))), [B, B, B]);
    assert_eq!(mutated("east", without("pairs", Action::Accept)), [B, B, B]);
    assert_eq!(mutated("west", without("postrouting", Action::Masquerade)), [R, B, R]);
    let smaller = |s: &mut HostState, _: &mut Facts| {
        let set = s.firewall.as_mut().unwrap().sets.get_mut("places4").unwrap();
        set.elements.retain(|n| n.to_string() != "192.168.20.0/24");
    };
    assert_eq!(mutated("hub", smaller), [R, B, R]);
}

#[test]
fn answers_pass_where_their_flow_was_allowed_only() {
    let mut network = offices();
    let place = |t: &str| PlaceRef::parse(t).unwrap();
    network.allow = vec![AllowRule {
        from: vec![place("laptop")],
        to: vec![place("192.168.10.0/24")],
        ports: Vec::new(),
    }];
    let world = World::assumed(&network, NOW);
    assert_eq!(verdict(&world, "laptop", "192.168.10.7"), Verdict::Reaches);
    assert_eq!(verdict(&world, "192.168.10.7", "laptop"), Verdict::Blocked);
    let (name, mut state, facts) = seen(&network, "hub");
    // By the packet's own addresses an answer is somebody else's flow.
    let pairs = state.firewall.as_mut().unwrap().chains.iter_mut().find(|c| c.name == "pairs").unwrap();
    for m in pairs.rules.iter_mut().flat_map(|r| &mut r.matches) {
        *m = match m.clone() {
            Match::FlowFrom { family, with } => Match::Saddr { family, with, is: true },
            Match::FlowTo { family, with, is } => Match::Daddr { family, with, is },
            other => other,
        };
    }
    let world = world.with_observed(&name, state, facts);
    assert_eq!(
        verdict(&world, "laptop", "192.168.10.7"),
        Verdict::Blocked,
        "nothing lets the answer through"
    );
}

#[test]
fn what_docker_rewrites_is_a_matter_of_docker() {
    let mut hub = node("hub", Role::Relay, 1);
    let apps = Some(SiteInterface::Docker("apps".into()));
    hub.sites = vec![Site { interface: apps, ..site("172.30.0.0/16", Nat::Auto, false) }];
    let mut guest = node("guest", Role::Spoke, 2);
    guest.local = vec!["172.30.0.0/16".parse().unwrap()];
    let network = network(vec![hub, guest]);
    let world = World::assumed(&network, NOW);
    // The container appears to the guest as the relay; as itself it would be let in by nobody.
    assert_eq!(verdict(&world, "172.30.0.7", "guest"), Verdict::Reaches);
    assert_eq!(verdict(&world.without_docker_masquerade(), "172.30.0.7", "guest"), Verdict::Blocked);
}

#[test]
fn a_node_answers_on_a_link_for_its_other_addresses() {
    let mut east = node("east", Role::Spoke, 2);
    // It surrounds the tunnel subnet, which the hosts there look for on their own link.
    east.sites = vec![site("10.0.0.0/8", Nat::Auto, true)];
    let network = network(vec![node("hub", Role::Relay, 1), east, node("laptop", Role::Spoke, 3)]);
    let world = World::assumed(&network, NOW);
    assert_eq!(verdict(&world, "10.1.2.3", "east"), Verdict::Reaches);
    assert_eq!(verdict(&world, "10.1.2.3", "laptop"), Verdict::Blocked);
}

/// A small network out of few ingredients, so that prefixes nest and meet.
fn any_network() -> impl Strategy<Value = Network> {
    let subnets = [
        "192.168.10.0/24",
        "192.168.11.0/24",
        "192.168.12.0/24",
        "192.168.0.0/16",
        "192.168.10.128/25",
        "172.19.0.0/16",
        "172.20.0.1/32",
        "fd10::/64",
    ];
    let node_of = (
        any::<[u8; 3]>(),
        prop::collection::vec((0..subnets.len(), 0u8..8), 0..3),
        prop_oneof![4 => Just(0u8), 1 => 1u8..6, 1 => 6u8..8],
    );
    let rule = (0usize..6, 0usize..6, 0u8..4);
    (
        prop::collection::vec(node_of, 1..7),
        prop::option::of(prop::collection::vec(rule, 1..4)),
        any::<bool>(),
        0u8..4,
    )
        .prop_map(move |(nodes, rules, ipv6, relay_bits)| {
            let mut relay = node("n0", Role::Relay, 1);
            relay.egress = relay_bits & 1 == 1;
            if relay_bits & 2 == 2 {
                relay.sites = vec![Site {
                    interface: Some(SiteInterface::Docker("apps".into())),
                    ..site("172.30.0.0/16", Nat::Auto, false)
                }];
            }
            let mut all = vec![relay];
            let mut taken = std::collections::BTreeSet::new();
            for (i, (bits, sites, odd)) in nodes.into_iter().enumerate() {
                let mut n = node(&format!("n{}", i + 1), Role::Spoke, i as u8 + 2);
                for (which, how) in sites {
                    if !taken.insert(which) {
                        continue;
                    }
                    let nat = if how & 1 == 1 { Nat::Masquerade } else { Nat::Auto };
                    let mut s = site(subnets[which], nat, how & 2 == 2);
                    s.egress = how & 4 == 4 && which < 3;
                    n.sites.push(s);
                }
                match odd {
                    1 => n.enabled = false,
                    2 => n.keepalive = Some(0),
                    3 => n.routes = Routes::Full,
                    4 => n.routes = Routes::Only(vec!["10.88.0.0/29".parse().unwrap()]),
                    5 => n.local = vec!["172.30.0.0/16".parse().unwrap()],
                    // Where no place of the network is.
                    6 => n.local = vec![format!("172.31.{i}.0/24").parse().unwrap()],
                    7 => n.local = vec!["172.28.0.0/14".parse().unwrap()],
                    _ => {}
                }
                if bits[0] % 8 == 0 {
                    n.endpoint = Some("192.0.2.9:51820".parse().unwrap());
                }
                all.push(n);
            }
            let mut out = network(all);
            if ipv6 {
                out.subnet6 = Some("fd88::/64".parse().unwrap());
                for (i, n) in out.nodes.values_mut().enumerate().filter(|(i, _)| i % 3 != 2) {
                    n.address6 = Some(std::net::Ipv6Addr::new(0xfd88, 0, 0, 0, 0, 0, 0, i as u16 + 1));
                }
            }
            let refs = ["*", "n1", "n2", "192.168.10.0/24", "internet", "172.30.0.0/16"];
            let ports: [&[&str]; 4] = [&[], &["tcp/22"], &["udp/53", "icmp"], &["tcp/1-1000", "tcp/22"]];
            out.allow = rules
                .unwrap_or_default()
                .into_iter()
                .map(|(from, to, p)| AllowRule {
                    from: vec![PlaceRef::parse(refs[from]).unwrap()],
                    to: vec![PlaceRef::parse(refs[to]).unwrap()],
                    ports: ports[usize::from(p)].iter().map(|t| t.parse().unwrap()).collect(),
                })
                .collect();
            out
        })
}

/// Spokes in both families, some with a site, and rules that each list some of them: few fare alike.
fn listed_network() -> impl Strategy<Value = Network> {
    let side = || prop::collection::vec(0usize..9, 1..5);
    let rules = prop::collection::vec((side(), side(), 0usize..5), 1..7);
    (rules, any::<bool>(), 0usize..3).prop_map(|(rules, is_dual, sites)| {
        let mut all = vec![node("hub", Role::Relay, 1)];
        for n in 0..9u8 {
            let mut spoke = node(&format!("n{n}"), Role::Spoke, n + 2);
            if usize::from(n) < sites {
                spoke.sites = vec![site(&format!("192.168.{}.0/24", n + 10), Nat::Masquerade, false)];
            }
            all.push(spoke);
        }
        let mut out = network(all);
        if is_dual {
            out.subnet6 = Some("fd88::/64".parse().unwrap());
            for n in out.nodes.values_mut() {
                n.address6 = Some(format!("fd88::{}", n.address.octets()[3]).parse().unwrap());
            }
        }
        let place = |n: &usize| match n {
            // A node's site, and its IPv4 address alone.
            7 => PlaceRef::Prefix("192.168.10.0/24".parse().unwrap()),
            8 => PlaceRef::Address("10.88.0.10".parse().unwrap()),
            n => PlaceRef::Node(format!("n{n}").parse().unwrap()),
        };
        let ports: [&[&str]; 5] = [
            &[],
            &["tcp/22"],
            &["tcp/1-500", "icmp"],
            &["tcp/400-65535", "udp"],
            &["tcp/1-399", "icmp", "udp/53"],
        ];
        let rule = |(from, to, at): (Vec<usize>, Vec<usize>, usize)| AllowRule {
            from: from.iter().map(place).collect(),
            to: to.iter().map(place).collect(),
            ports: ports[at].iter().map(|t| t.parse().unwrap()).collect(),
        };
        out.allow = rules.into_iter().map(rule).collect();
        out
    })
}

/// So many spokes, and so many rules that each list some of them by name.
fn by_lists(spokes: usize, rules: usize, named: usize) -> Network {
    let mut out = network(vec![node("hub", Role::Relay, 1)]);
    out.subnet = "10.64.0.0/12".parse().unwrap();
    out.nodes.values_mut().for_each(|hub| hub.address = [10, 64, 0, 1].into());
    for n in 0..spokes {
        let mut spoke = node(&format!("n{n}"), Role::Spoke, 2);
        spoke.address = [10, 65, (n / 250) as u8, (n % 250 + 1) as u8].into();
        spoke.public_key = PublicKey::from_bytes(std::array::from_fn(|i| (n >> (8 * (i % 4))) as u8 ^ 0x55));
        out.nodes.insert(spoke.name.clone(), spoke);
    }
    let list = |step: usize, from: usize| {
        let name = |k| PlaceRef::Node(format!("n{}", (from + k * step) % spokes).parse().unwrap());
        (0..named).map(name).collect::<Vec<_>>()
    };
    let rule = |r: usize| AllowRule {
        from: list(13, r * 7),
        to: list(17, r * 11),
        ports: vec![format!("tcp/{}-{}", 1000 + r * 10, 1050 + r * 10).parse().unwrap()],
    };
    out.allow = (0..rules).map(rule).collect();
    out
}

#[test]
fn rules_that_list_names_are_walked_once_each_and_not_for_every_pair() {
    let walked = |spokes: usize, rules: usize| {
        let network = by_lists(spokes, rules, 10);
        let world = World::assumed(&network, NOW);
        let (probes, places) = (probes(&network), places(&network));
        let mut asked = classes::Asked::of(&world, &probes, &places);
        let classes = classes::classes(&mut asked);
        assert!(classes.len() > spokes / 2, "nearly each is a class of its own: {}", classes.len());
        asked.walked()
    };
    let (few, many) = (walked(100, 30), walked(400, 30));
    // Each spoke with the relay, there and back; each rule; what none speaks of.
    assert!(
        few <= 2 * 100 + 30 + 10 && many <= 2 * 400 + 30 + 10,
        "{few} and {many} pairs of spokes were walked"
    );
}

#[test]
fn nodes_that_are_attached_to_lans_of_their_own_are_of_one_kind() {
    let walked = |spokes: usize| {
        let mut network = by_lists(spokes, 0, 0);
        for (i, spoke) in network.nodes.values_mut().filter(|n| !n.is_relay()).enumerate() {
            spoke.local = vec![format!("172.16.{i}.0/24").parse().unwrap()];
        }
        let world = World::assumed(&network, NOW);
        let (probes, places) = (probes(&network), places(&network));
        let mut asked = classes::Asked::of(&world, &probes, &places);
        classes::classes(&mut asked);
        asked.walked()
    };
    assert_eq!(walked(200), walked(70));
}

#[test]
fn pairs_that_are_blocked_are_counted_where_they_are_too_many_to_be_listed() {
    let network = by_lists(400, 40, 10);
    let found = matrix(&World::assumed(&network, NOW));
    assert!(found.classes.len() * found.classes.len() > matrix::LISTED);
    assert!(found.pairs.iter().all(|p| p.verdict == Verdict::Reaches));
    let sizes: BTreeMap<&Place, usize> =
        found.classes.iter().flat_map(|c| c.iter().take(2).map(|p| (p, c.len()))).collect();
    let class = |p: &Place| found.classes.iter().position(|c| c.contains(p)).unwrap();
    let listed: usize = found
        .pairs
        .iter()
        .map(|p| matrix::weight((sizes[&p.from], sizes[&p.to]), class(&p.from) == class(&p.to), p.same_node))
        .sum();
    let unlisted: usize = found.unlisted.iter().map(|u| u.count).sum();
    assert_eq!(listed + unlisted, 401 * 400);
    let world = World::assumed(&network, NOW);
    for rest in &found.unlisted {
        let [from, to] = rest.example.clone();
        let traced = trace(&world, &Flow { from, to, port: None });
        assert_eq!(traced.reason.map(|r| r.code), Some(rest.reason));
    }
    let check = check(&network, NOW);
    let text = matrix_text(&check, 100);
    assert!(
        text.contains(&format!("{unlisted} of 160400 pairs are blocked")),
        "{}",
        text.lines().next().unwrap()
    );
    assert!(text.contains("  blocked: all others"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn members_of_a_class_answer_alike(network in prop_oneof![any_network(), listed_network()]) {
        let world = World::assumed(&network, NOW);
        let (probes, places) = (probes(&network), places(&network));
        let mut asked = classes::Asked::of(&world, &probes, &places);
        let classes: Vec<classes::Class> = classes::classes(&mut asked);
        let answer = |a: &Place, b: &Place| {
            let j = judge(&world, &probes, a, b);
            (j.ports, j.families, j.death.map(|d| d.code(&world)))
        };
        let mut members: Vec<usize> = classes.iter().flat_map(|c| c.places.iter().copied()).collect();
        members.sort_unstable();
        prop_assert_eq!(members, (0..places.len()).collect::<Vec<_>>());
        // The pair that stands for two places, as a reader of the classes finds it.
        let number = |p: &Place| places.iter().position(|q| p == q).unwrap();
        let class_of = |p: &Place| classes.iter().find(|c| c.places.contains(&number(p))).unwrap();
        let node_of = |p: &Place| match p {
            Place::Site(net) => network.nodes.values().find(|n| n.sites.iter().any(|s| s.subnet == *net)),
            Place::Node(name) => network.nodes.get(name),
            _ => None,
        };
        for (from, to) in places.iter().flat_map(|from| places.iter().map(move |to| (from, to))) {
            if from == to || !asks(&world, from, to) {
                continue;
            }
            let same = node_of(from).map(|n| &n.name) == node_of(to).map(|n| &n.name);
            let told = class_of(from).pairs(class_of(to));
            let told: Vec<_> = told.into_iter().filter(|(.., own)| own.is_none_or(|own| own == same)).collect();
            prop_assert_eq!(told.len(), 1, "{} {}", from, to);
            let found = answer(from, to);
            prop_assert_eq!(&found, &answer(&places[told[0].0], &places[told[0].1]), "{} {}", from, to);
            let told = asked.told(told[0].0, told[0].1).unwrap();
            prop_assert_eq!(&found, &(told.ports.clone(), told.families.clone(), told.code), "{} {}", from, to);
        }
    }

    #[test]
    fn a_pair_is_judged_as_if_every_probe_were_sent(network in any_network()) {
        let world = World::assumed(&network, NOW);
        let (places, probes) = (places(&network), probes(&network));
        for (from, to) in places.iter().flat_map(|from| places.iter().map(move |to| (from, to))) {
            if from == to || !asks(&world, from, to) {
                continue;
            }
            let ways = Ends::between(&world, from, to).unwrap_or_default();
            let open = |ends: &Ends| -> Vec<PortSpec> {
                let all = probes.iter().filter(|p| ends.walk(&world, **p, false).result.is_ok());
                all.map(|p| p.spec).collect()
            };
            let open: Vec<(PathFamily, Vec<PortSpec>)> =
                ways.iter().map(|ends| (PathFamily::of(ends.to.address()), open(ends))).collect();
            let judged = judge(&world, &probes, from, to);
            let families: Vec<PathFamily> = open.iter().filter(|(_, o)| !o.is_empty()).map(|(f, _)| *f).collect();
            prop_assert_eq!(&judged.families, &families);
            let ports = if open.iter().any(|(_, o)| o.len() == probes.len()) {
                Ports::All
            } else {
                Ports::Some(join(open.into_iter().flat_map(|(_, o)| o)))
            };
            prop_assert_eq!(judged.ports, ports);
        }
    }

    #[test]
    fn lints_see_in_a_part_of_the_network_what_all_of_it_says(network in any_network()) {
        let part = part_that_tells(&network);
        for spoke in network.spokes() {
            for asked in asked_for(&network) {
                let holding = |of: &Network| -> Vec<IpNet> {
                    derive_for_spoke(of, spoke, NOW).into_iter().filter(|net| net.contains(&asked)).collect()
                };
                prop_assert_eq!(holding(&part), holding(&network), "{} in what {} sends", asked, spoke.name);
            }
        }
    }

    #[test]
    fn a_trace_says_what_the_matrix_says(network in any_network()) {
        let world = World::assumed(&network, NOW);
        for pair in matrix(&world).pairs {
            let flow = Flow { from: pair.from.clone(), to: pair.to.clone(), port: None };
            let trace = trace(&world, &flow);
            prop_assert_eq!(trace.verdict, pair.verdict);
            prop_assert_eq!(trace.reason.is_none(), pair.verdict == Verdict::Reaches);
            prop_assert_eq!(&trace.reason.map(|r| r.code), &pair.reason.map(|r| r.code));
            if pair.verdict == Verdict::Reaches {
                // The answer comes from where the packet went, to where it started.
                if let (Some(first), Some(last)) = (trace.forward.first(), trace.reply.last()) {
                    prop_assert_eq!((first.src, first.dst), (last.dst, last.src));
                }
            }
        }
    }

    #[test]
    fn without_a_policy_two_plain_spokes_see_each_other_alike(network in any_network()) {
        let mut network = network;
        network.allow.clear();
        let world = World::assumed(&network, NOW);
        let plain = |n: &&Node| {
            n.enabled && n.keepalive.is_none() && n.routes == Routes::Split && n.local.is_empty() && n.sites.is_empty()
        };
        let names: Vec<&NodeName> = network.nodes.values().filter(plain).map(|n| &n.name).collect();
        for a in &names {
            for b in names.iter().filter(|b| b != &a) {
                prop_assert_eq!(verdict(&world, a.as_str(), b.as_str()), Verdict::Reaches);
            }
        }
    }

    #[test]
    fn a_site_is_stood_for_by_a_host_that_is_no_nodes(network in any_network()) {
        let world = World::assumed(&network, NOW);
        let own: Vec<IpAddr> = network
            .nodes
            .values()
            .flat_map(|n| assumed_facts(&network, n).links.into_values())
            .flat_map(|l| l.addresses)
            .map(|a| a.addr())
            .collect();
        for place in places(&network).iter().filter(|p| matches!(p, Place::Site(_))) {
            for address in world.addresses(place) {
                prop_assert!(!own.contains(&address), "{}", address);
            }
        }
    }
}
