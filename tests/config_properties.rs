//! Properties of the configuration layer over random networks and damaged files.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use wgrelay::config::{NetworkDocument, Secrets, parse_network, render_network, reread_network};
use wgrelay::model::validate::validate_network;
use wgrelay::model::{
    AllowRule, Bridge, Expectation, Nat, Network, Node, NodeName, PlaceRef, Platform, PresharedKey,
    PrivateKey, PublicKey, Role, Routes, Site, SiteInterface, Timestamp, Verdict,
};

/// What varies of one node; addresses, keys and prefixes are numbered, so that no two clash.
#[derive(Debug, Clone)]
struct Sketch {
    platform: usize,
    flags: [bool; 6],
    routes: u8,
    sites: Vec<(u8, bool, bool)>,
    bridges: usize,
    mtu: Option<u16>,
    keepalive: Option<u16>,
    expires: Option<u64>,
    port: Option<u16>,
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let numbers = (
        option::of(1280..=9000u16),
        option::of(any::<u16>()),
        option::of(0..4_000_000_000u64),
        option::of(1..u16::MAX),
    );
    let sites = vec((0..6u8, any::<bool>(), any::<bool>()), 0..4);
    (0..8usize, any::<[bool; 6]>(), 0..3u8, sites, 0..3usize, numbers).prop_map(
        |(platform, flags, routes, sites, bridges, (mtu, keepalive, expires, port))| Sketch {
            platform,
            flags,
            routes,
            sites,
            bridges,
            mtu,
            keepalive,
            expires,
            port,
        },
    )
}

fn node(i: usize, sketch: &Sketch, dual: bool) -> Node {
    let n = u8::try_from(i + 1).unwrap();
    let role = if i == 0 { Role::Relay } else { Role::Spoke };
    let name = if sketch.flags[0] { format!("node.{i}") } else { format!("n-{i}_x") };
    let mut node =
        Node::new(name.parse().unwrap(), role, [10, 88, 0, n].into(), PublicKey::from_bytes([n; 32]));
    node.platform = Platform::ALL[sketch.platform].1;
    node.enabled = sketch.flags[1];
    node.address6 = dual.then(|| format!("fd5e::{n}").parse().unwrap());
    if i == 0 || sketch.flags[2] {
        let host = ["198.51.100.7", "[2001:db8::7]", "vpn.example.org"][usize::from(sketch.routes)];
        node.endpoint = Some(format!("{host}:{}", sketch.port.unwrap_or(51820)).parse().unwrap());
    }
    node.egress = i == 0 && sketch.flags[3];
    node.listen_port = sketch.port.filter(|_| sketch.flags[4]);
    node.routes = match sketch.routes {
        0 => Routes::Split,
        1 => Routes::Full,
        _ => Routes::Only(vec!["10.88.0.0/24".parse().unwrap(), "fd00::/8".parse().unwrap()]),
    };
    node.mtu = sketch.mtu;
    node.keepalive = sketch.keepalive;
    node.expires = sketch.expires.map(Timestamp);
    if sketch.flags[5] {
        node.dns = vec!["9.9.9.9".into(), "home.arpa".into()];
        node.local = vec!["172.19.0.0/16".parse().unwrap()];
    }
    for (j, (kind, gateway, egress)) in sketch.sites.iter().enumerate() {
        let subnet = if *kind == 5 { format!("2001:db8:{n}:{j}::/64") } else { format!("10.{n}.{j}.0/24") };
        let subnet: ipnet::IpNet = subnet.parse().unwrap();
        node.sites.push(Site {
            subnet,
            interface: match kind {
                0 => None,
                1 => Some(SiteInterface::Docker(format!("net_{j}"))),
                _ => Some(SiteInterface::Link(format!("eth{j}"))),
            },
            nat: [Nat::Auto, Nat::None, Nat::Masquerade][usize::from(*kind) % 3],
            gateway: *gateway,
            address: subnet.hosts().nth(1).filter(|_| *egress),
            egress: *egress,
            preference: (*kind % 2 == 0).then_some(u32::from(*kind) * 100),
            alias: None,
        });
    }
    for j in 0..sketch.bridges {
        node.bridges.push(Bridge {
            name: format!("br-{j}").parse().unwrap(),
            addresses: vec![
                format!("10.{n}.{j}.9/24").parse().unwrap(),
                format!("fd00:{n}:{j}::1/64").parse().unwrap(),
            ],
            ports: (0..j).map(|p| format!("p{j}{p}")).collect(),
            stp: sketch.flags[3],
            mtu: sketch.mtu,
        });
    }
    node
}

fn network() -> impl Strategy<Value = Network> {
    let top = (any::<bool>(), any::<u16>(), 1280..=9000u16, any::<bool>());
    (top, vec(sketch(), 1..8), vec((0..5usize, 0..5usize, 0..4usize), 0..4)).prop_map(
        |((dual, keepalive, mtu, preshared_keys), sketches, rules)| {
            let mut all: Vec<Node> = sketches.iter().enumerate().map(|(i, s)| node(i, s, dual)).collect();
            if let [first, second, spokes @ ..] = all.as_mut_slice()
                && sketches[0].flags[5]
            {
                (second.role, second.rank) = (Role::Relay, 1);
                let mut relays = vec![first.name.clone(), second.name.clone()];
                for spoke in spokes {
                    // By turns the file's order, which is not written, and another.
                    spoke.relays.clone_from(&relays);
                    relays.reverse();
                }
            }
            let nodes: BTreeMap<NodeName, Node> = all.into_iter().map(|n| (n.name.clone(), n)).collect();
            let first = nodes.keys().next().unwrap().clone();
            let place = |i: usize| match i {
                0 => PlaceRef::Any,
                1 => PlaceRef::Internet,
                2 => PlaceRef::Node(first.clone()),
                3 => PlaceRef::Prefix("10.88.0.0/28".parse().unwrap()),
                _ => PlaceRef::Address("10.88.0.9".parse().unwrap()),
            };
            let ports =
                |i: usize| ["tcp/22", "udp/53-99", "icmp", "tcp"].iter().take(i).map(|p| p.parse().unwrap());
            Network {
                name: "wg0".parse().unwrap(),
                subnet: "10.88.0.0/24".parse().unwrap(),
                subnet6: dual.then(|| "fd5e::/64".parse().unwrap()),
                keepalive,
                mtu,
                preshared_keys,
                failover: keepalive % 2 == 0,
                nodes: nodes.into(),
                forward: Vec::new(),
                allow: rules
                    .iter()
                    .map(|(a, b, c)| AllowRule {
                        from: vec![place(*a), place(*b)],
                        to: vec![place(*b)],
                        ports: ports(*c).collect(),
                    })
                    .collect(),
                expect: rules
                    .iter()
                    .map(|(a, b, c)| Expectation {
                        from: place(*a),
                        to: place(*b),
                        port: ports(*c).next(),
                        verdict: if a > b { Verdict::Reaches } else { Verdict::Blocked },
                        survives: a % 3 == 0,
                    })
                    .collect(),
            }
        },
    )
}

/// A rendered network with comments, blank lines and another line ending, as people leave them.
fn file() -> impl Strategy<Value = (Network, String)> {
    (network(), vec(0..12u8, 1..200), any::<bool>(), any::<bool>()).prop_map(
        |(network, noise, crlf, newline)| {
            let mut text = String::new();
            for (line, noise) in render_network(&network, Some("A header.\n\nTwo paragraphs."))
                .lines()
                .zip(noise.iter().cycle())
            {
                match noise {
                    0 => text.push_str("# a comment\n"),
                    1 => text.push('\n'),
                    2 => text.push_str("\n# a paragraph [of] \"its\" own\n\n"),
                    3 => text.push_str("   \t\n"),
                    _ => {}
                }
                text.push_str(line);
                text.push_str(if *noise == 4 && line.contains('=') { "  # beside\n" } else { "\n" });
            }
            let text = if newline { text.as_str() } else { text.trim_end() };
            (network, if crlf { text.replace('\n', "\r\n") } else { text.to_owned() })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    #[test]
    fn what_is_rendered_reads_the_same((network, text) in file()) {
        let parsed = parse_network(text.as_bytes(), "f");
        let errors: Vec<_> = parsed.problems.iter().filter(|p| p.is_error()).collect();
        prop_assert!(errors.is_empty(), "{errors:?}\n{text}");
        // As the agent and `status` read what was applied.
        prop_assert_eq!(reread_network(&text), parsed.value.clone());
        prop_assert_eq!(parsed.value.unwrap(), network.clone());
        let warnings = |list: &[wgrelay::model::Problem]| {
            let mut codes: Vec<_> = list.iter().map(|p| (p.code.clone(), p.message.clone())).collect();
            codes.sort();
            codes
        };
        // The same rules without a file.
        let mut whole = warnings(&validate_network(&network));
        whole.dedup();
        let mut read = warnings(&parsed.problems);
        read.dedup();
        prop_assert_eq!(whole, read);
    }

    #[test]
    fn edits_undo_each_other((network, text) in file(), pick in any::<prop::sample::Index>()) {
        let mut document = NetworkDocument::parse(&text).unwrap();
        let names: Vec<&NodeName> = network.nodes.keys().collect();
        let name = names[pick.index(names.len())];
        let new: NodeName = "a-new-one".parse().unwrap();

        let node = Node::new(new.clone(), Role::Spoke, [10, 88, 0, 200].into(), PublicKey::from_bytes([200; 32]));
        document.add_node(&node).unwrap();
        let with = parse_network(document.as_str().as_bytes(), "f").value.unwrap();
        // Of several relays it lists none: it may use all.
        let relays: Vec<NodeName> = network.relays().map(|relay| relay.name.clone()).collect();
        let relays = if relays.len() > 1 { relays } else { Vec::new() };
        prop_assert_eq!(&with.nodes[&new], &Node { relays, ..node });
        prop_assert_eq!(with.nodes.len(), network.nodes.len() + 1);
        document.remove_node(&new).unwrap();
        prop_assert_eq!(document.as_str(), &text);

        let now = network.nodes[name].enabled;
        document.set_enabled(name, !now).unwrap();
        let switched = parse_network(document.as_str().as_bytes(), "f").value.unwrap();
        prop_assert_eq!(switched.nodes[name].enabled, !now);
        if now {
            document.set_enabled(name, now).unwrap();
            prop_assert_eq!(document.as_str(), &text);
        }

        let mut document = NetworkDocument::parse(&text).unwrap();
        document.rename_node(name, &new).unwrap();
        let renamed = parse_network(document.as_str().as_bytes(), "f").value.unwrap();
        prop_assert!(renamed.nodes.contains_key(&new) && !renamed.nodes.contains_key(name));
        document.rename_node(&new, name).unwrap();
        prop_assert_eq!(document.as_str(), &text);
    }

    #[test]
    fn what_two_networks_have_in_common_is_in_both((network, _) in file(), (newer, _) in file()) {
        let this = network.relays().next().unwrap().name.clone();
        let common = network.narrowed_to(&newer, &this);
        // It is written down for whoever holds a host to it.
        prop_assert_eq!(reread_network(&render_network(&common, None)), Some(common.clone()));
        // Again and again it comes to rest, and never grows.
        let again = common.narrowed_to(&newer, &this);
        prop_assert!(again.allow.len() <= common.allow.len(), "{:?} {:?}", again.allow, common.allow);
        prop_assert_eq!(&again.narrowed_to(&newer, &this), &again);
        prop_assert_eq!((&again.nodes, &again.forward), (&common.nodes, &common.forward));
        prop_assert_eq!(network.narrowed_to(&network, &this), Network { expect: vec![], ..network.clone() });
        prop_assert!(!common.allow.is_empty() || (network.allow.is_empty() && newer.allow.is_empty()));
        for spoke in common.spokes() {
            let (old, new) = (&network.nodes[&spoke.name], newer.nodes.values().find(|n| n.public_key == spoke.public_key));
            let new = new.unwrap();
            prop_assert!(!spoke.enabled || (old.enabled && new.enabled));
            prop_assert!(spoke.sites.iter().all(|s| [old, new].iter().all(|n| n.sites.iter().any(|o| o.subnet == s.subnet))));
        }
    }

    #[test]
    fn removing_takes_one_node_and_leaves_the_rest((network, text) in file(), pick in any::<prop::sample::Index>()) {
        let network = Network { allow: vec![], expect: vec![], ..network };
        let text = if text.contains("[[allow]]") { render_network(&network, None) } else { text };
        let names: Vec<&NodeName> = network.nodes.keys().collect();
        let name = names[pick.index(names.len())];
        prop_assume!(!network.nodes[name].is_relay());
        let mut document = NetworkDocument::parse(&text).unwrap();
        document.remove_node(name).unwrap();
        let mut rest = network.clone();
        rest.nodes.remove(name);
        prop_assert_eq!(parse_network(document.as_str().as_bytes(), "f").value.unwrap(), rest);
    }

    #[test]
    fn damage_is_told_and_never_panics(
        (network, text) in file(),
        cuts in vec((any::<prop::sample::Index>(), 0..40usize, "[\\[\\]\"'=.#{},a-z0-9é\n ]{0,6}"), 1..4),
    ) {
        let mut damaged = text;
        for (at, length, insert) in cuts {
            let mut chars: Vec<char> = damaged.chars().collect();
            let from = at.index(chars.len() + 1).min(chars.len());
            let to = (from + length).min(chars.len());
            chars.splice(from..to, insert.chars());
            damaged = chars.into_iter().collect();
        }
        let parsed = parse_network(damaged.as_bytes(), "f");
        prop_assert_eq!(parsed.value.is_some(), !parsed.has_errors());
        let lines = damaged.lines().count().max(1) + 1;
        let mut last = (0, 0);
        for problem in &parsed.problems {
            let mut place = problem.place.split(':').skip(1).map(|n| n.parse::<usize>().unwrap());
            let place = (place.next().unwrap(), place.next().unwrap());
            prop_assert!(place >= last && place.0 >= 1 && place.0 <= lines && place.1 >= 1, "{}", problem);
            last = place;
        }
        Secrets::parse(damaged.as_bytes(), "s");
        if let Ok(mut document) = NetworkDocument::parse(&damaged) {
            for name in network.nodes.keys() {
                let _ = document.set_enabled(name, false);
                let _ = document.set_enabled(name, true);
                let _ = document.rename_node(name, &"other".parse().unwrap());
                let _ = document.remove_node(name);
            }
            prop_assert!(NetworkDocument::parse(document.as_str()).is_ok());
        }
    }

    #[test]
    fn secrets_read_as_written(keys in vec((any::<[u8; 32]>(), any::<bool>()), 0..6)) {
        let mut secrets = Secrets::default();
        for (i, (bytes, spoke)) in keys.iter().enumerate() {
            let name: NodeName = format!("n.{i}").parse().unwrap();
            secrets.private_keys.insert(name.clone(), PrivateKey::from_random(*bytes));
            if *spoke {
                let spokes = secrets.preshared_keys.entry("hub".parse().unwrap()).or_default();
                spokes.insert(name, PresharedKey::from_bytes(*bytes));
            }
        }
        let text = secrets.render();
        prop_assert_eq!(Secrets::parse(text.as_bytes(), "s").value, Some(secrets));
    }
}
