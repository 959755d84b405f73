//! What `export --all` writes of random networks, imported again.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use wgrelay::config::{parse_network, profile, render_network};
use wgrelay::export::{Keys, node_conf};
use wgrelay::firewall::hooks;
use wgrelay::model::{
    AllowRule, Expectation, Nat, Network, Node, NodeName, PlaceRef, Platform, PresharedKey, PrivateKey, Role,
    Routes, Site, SiteInterface, Verdict,
};
use wgrelay::reach::check;

use super::{NOW, run, told};

fn private_key(network: &Network, name: &NodeName) -> PrivateKey {
    let index = network.nodes.keys().position(|n| n == name).unwrap();
    PrivateKey::from_random([u8::try_from(index).unwrap() + 1; 32])
}

fn preshared_key(name: &NodeName) -> PresharedKey {
    PresharedKey::from_bytes(name.as_str().bytes().cycle().take(32).collect::<Vec<u8>>().try_into().unwrap())
}

/// Every node's file, as `export --all` calls and writes it.
fn export_all(network: &Network) -> Vec<(String, String)> {
    let of = |node: &Node| {
        let key = private_key(network, &node.name);
        let keys = Keys { private_key: Some(&key), preshared_key: &|a, b| Some(preshared_key(a.max(b))) };
        let exported = node_conf(network, keys, node, &hooks(network, node, NOW), NOW).unwrap();
        (format!("{}.conf", node.name), exported.text().to_string())
    };
    network.nodes.values().map(of).collect()
}

/// Puts the keys in that the files will have.
fn with_keys(mut network: Network) -> Network {
    let names: Vec<NodeName> = network.nodes.keys().cloned().collect();
    for name in names {
        let key = private_key(&network, &name).public_key();
        network.nodes.get_mut(&name).unwrap().public_key = key;
    }
    network
}

fn spoke(index: u8) -> impl Strategy<Value = Node> {
    let site =
        (0u8..4, any::<bool>(), 0..3usize, any::<bool>()).prop_map(move |(n, named, nat, gateway)| Site {
            interface: named.then(|| SiteInterface::Link(format!("eth{n}"))),
            nat: [Nat::Auto, Nat::Masquerade, Nat::None][nat],
            gateway,
            ..Site::new(format!("10.{}.{n}.0/24", 100 + index).parse().unwrap())
        });
    let routes = prop_oneof![
        4 => Just(Routes::Split),
        1 => Just(Routes::Full),
        1 => Just(Routes::Only(vec!["0.0.0.0/1".parse().unwrap(), "128.0.0.0/1".parse().unwrap()])),
        1 => Just(Routes::Only(vec!["10.0.0.0/8".parse().unwrap()])),
        1 => Just(Routes::Only(vec!["10.9.0.1/32".parse().unwrap(), "0.0.0.0/0".parse().unwrap()])),
    ];
    let odd = (
        prop::option::of(0u16..60),
        prop::option::of(prop_oneof![Just(1420u16), 1280..1500u16]),
        prop::option::of(1024u16..60_000),
        prop::option::weighted(0.2, Just("203.0.113.9:51821".parse().unwrap())),
    );
    let state =
        (any::<bool>(), prop::option::weighted(0.2, Just("192.168.1.0/24".parse().unwrap())), 0..8usize);
    (prop::collection::vec(site, 0..3), routes, odd, state, prop::option::of(Just("9.9.9.9".to_owned())))
        .prop_map(
            move |(mut sites, routes, (keepalive, mtu, port, endpoint), (enabled, local, platform), dns)| {
                sites.sort_by_key(|s| s.subnet);
                sites.dedup_by_key(|s| s.subnet);
                let name: NodeName = format!("n{index}").parse().unwrap();
                let key = PrivateKey::from_random([1; 32]).public_key();
                let mut node = Node::new(name, Role::Spoke, [10, 9, 0, index + 2].into(), key);
                node.platform = Platform::ALL[platform].1;
                (node.sites, node.routes, node.keepalive, node.mtu) = (sites, routes, keepalive, mtu);
                (node.endpoint, node.local, node.dns) =
                    (endpoint, local.into_iter().collect(), dns.into_iter().collect());
                node.listen_port = port.filter(|_| node.endpoint.is_none());
                node.enabled = enabled || index == 0;
                node
            },
        )
}

/// Makes a spoke the second relay, behind this one in the file.
fn two_relays(node: &mut Node, first: &NodeName) {
    assert!(*first < node.name);
    (node.role, node.rank, node.platform, node.enabled) = (Role::Relay, 1, Platform::Linux, true);
    (node.routes, node.local, node.keepalive) = (Routes::Split, Vec::new(), None);
    node.endpoint = Some("us.example.org:51820".parse().unwrap());
}

fn network() -> impl Strategy<Value = Network> {
    let spokes: Vec<_> = (0..6).map(spoke).collect();
    let of_all =
        (any::<bool>(), any::<bool>(), any::<bool>(), 0u16..60, prop_oneof![Just(1420u16), 1280..1500u16]);
    let rules = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.3));
    (spokes, 1..6usize, of_all, rules).prop_map(
        |(spokes, count, (egress, psk, v6, keepalive, mtu), (policy, promise, several))| {
            let key = PrivateKey::from_random([1; 32]).public_key();
            let mut hub = Node::new("hub".parse().unwrap(), Role::Relay, [10, 9, 0, 1].into(), key);
            hub.endpoint = Some("vpn.example.org:51820".parse().unwrap());
            hub.egress = egress;
            let mut nodes: Vec<Node> = spokes.into_iter().take(count).collect();
            if several && let [_, second, ..] = nodes.as_mut_slice() {
                two_relays(second, &hub.name);
                let mut relays = vec![hub.name.clone(), second.name.clone()];
                for spoke in nodes.iter_mut().filter(|n| !n.is_relay()) {
                    spoke.relays.clone_from(&relays);
                    relays.reverse();
                }
            }
            nodes.push(hub);
            if v6 {
                for node in &mut nodes {
                    node.address6 = Some(format!("fd09::{}", node.address.octets()[3]).parse().unwrap());
                }
            }
            let place = |text: &str| PlaceRef::parse(text).unwrap();
            let rule = || AllowRule { from: vec![place("n0")], to: vec![place("*")], ports: Vec::new() };
            let expect = || Expectation {
                from: place("n0"),
                to: place("hub"),
                port: None,
                verdict: Verdict::Reaches,
                survives: false,
            };
            with_keys(Network {
                subnet6: v6.then(|| "fd09::/64".parse().unwrap()),
                keepalive,
                mtu,
                preshared_keys: psk,
                allow: policy.then(rule).into_iter().collect(),
                expect: promise.then(expect).into_iter().collect(),
                ..Network::new("wg7".parse().unwrap(), "10.9.0.0/24".parse().unwrap(), nodes)
            })
        },
    )
}

/// Only what is valid, and as it reads from its file.
fn valid(network: &Network) -> Option<Network> {
    let parsed = parse_network(render_network(network, None).as_bytes(), "f");
    parsed.value.filter(|_| !parsed.problems.iter().any(wgrelay::model::Problem::is_error))
}

fn comes_back(network: &Network) -> Result<(), String> {
    let made = run(&export_all(network)).map_err(|p| told(&p))?;
    if made.network != *network {
        let (now, before) = (render_network(&made.network, None), render_network(network, None));
        return Err(format!("told:\n{}\nnow:\n{now}\nbefore:\n{before}", told(&made.findings)));
    }
    for (name, key) in &made.secrets.private_keys {
        if key.public_key() != network.nodes[name].public_key {
            return Err(format!("{name} has another key"));
        }
    }
    let lost = made
        .findings
        .iter()
        .find(|p| ["hook-left-out", "drop-left-out", "changed-export"].contains(&p.code.as_str()));
    lost.map_or(Ok(()), |p| Err(p.to_string()))
}

#[test]
fn every_profile_comes_back() {
    for name in profile::names() {
        let parsed = parse_network(profile::text(name).unwrap().as_bytes(), name);
        let text = profile::text(name).unwrap();
        let network = parsed.value.or_else(|| keyed(text)).unwrap_or_else(|| panic!("{name}"));
        comes_back(&with_keys(network)).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// A profile has no keys: each node's header gets one.
fn keyed(text: &str) -> Option<Network> {
    let mut count = 0;
    let lines = text.lines().map(|line| {
        let is_node = line.starts_with("[node.") && line.matches('.').count() == 1;
        count += u8::from(is_node);
        let key = PrivateKey::from_random([count; 32]).public_key();
        if is_node { format!("{line}\npublic_key = \"{key}\"\n") } else { format!("{line}\n") }
    });
    let text: String = lines.collect();
    parse_network(text.as_bytes(), "profile").value
}

/// Who reaches whom, by the names of places.
fn reaches(network: &Network) -> BTreeMap<(String, String), bool> {
    let pairs = check(network, NOW).pairs;
    pairs.iter().map(|p| ((p.from.to_string(), p.to.to_string()), p.verdict == Verdict::Reaches)).collect()
}

fn without_comments(files: &[(String, String)]) -> Vec<(String, String)> {
    let bare = |text: &str| -> String {
        text.lines()
            .filter(|l| !l.starts_with("# |") && !l.starts_with("# What follows"))
            .map(|l| format!("{l}\n"))
            .collect()
    };
    files.iter().map(|(name, text)| (name.clone(), bare(text))).collect()
}

#[test]
fn changed_files_of_several_relays_are_refused() {
    let text = "[network]\nname = \"wg7\"\nsubnet = \"10.9.0.0/24\"\n\
        [node.eu]\nrole = \"relay\"\naddress = \"10.9.0.1\"\nendpoint = \"192.0.2.1:51820\"\n\
        [node.us]\nrole = \"relay\"\naddress = \"10.9.0.2\"\nendpoint = \"192.0.2.2:51820\"\n\
        [node.a]\naddress = \"10.9.0.3\"\n[node.b]\naddress = \"10.9.0.4\"\nrelays = [\"us\"]\n\
        [[allow]]\nfrom = [\"a\"]\nto = [\"b\"]\n";
    let network = with_keys(keyed(text).unwrap());
    comes_back(&network).unwrap();
    let mut files = export_all(&network);
    let relay = files.iter_mut().find(|(name, _)| name == "eu.conf").unwrap();
    relay.1 = relay.1.replace("ListenPort = 51820", "ListenPort = 51821");
    let refused = run(&files).unwrap_err();
    assert_eq!(refused[0].code, "changed-export", "{}", told(&refused));
    assert!(refused[0].message.contains("several relays"), "{}", told(&refused));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]
    #[test]
    fn every_network_comes_back(network in network()) {
        let Some(network) = valid(&network) else { return Ok(()) };
        if let Err(why) = comes_back(&network) {
            return Err(TestCaseError::fail(why));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    /// Of lines alone, as of any files: what clients have is kept, and whoever reached somebody still does.
    #[test]
    fn lines_alone_keep_what_they_say(network in network()) {
        // That there are several relays no line says: such files are refused, not guessed at.
        let Some(mut network) = valid(&network).filter(|n| n.relays().count() == 1) else { return Ok(()) };
        (network.allow, network.expect) = (Vec::new(), Vec::new());
        for node in network.nodes.values_mut() {
            // No line says what a node runs on, which matters where its AllowedIPs hold the relay's endpoint.
            (node.enabled, node.platform) = (true, Platform::Linux);
        }
        let Some(network) = valid(&network) else { return Ok(()) };
        let files = without_comments(&export_all(&network));
        let made = run(&files).map_err(|p| TestCaseError::fail(told(&p)))?;
        let again = export_all(&with_keys(made.network.clone()));
        for ((name, before), (_, after)) in files.iter().zip(&again) {
            let read = |text: &str| wgrelay::wgconf::read(text, name).document;
            let (before, after) = (read(before), read(after));
            prop_assert_eq!(&before.interface.addresses, &after.interface.addresses, "{}", name);
            prop_assert_eq!(before.interface.mtu, after.interface.mtu, "{}", name);
            for (a, b) in before.peers.iter().zip(&after.peers) {
                let nets = |p: &wgrelay::wgconf::Peer| p.allowed_ips.iter().copied().collect::<BTreeSet<_>>();
                prop_assert_eq!(nets(a), nets(b), "{}\n{}", name, &made.text);
                prop_assert_eq!((&a.public_key, &a.endpoint, a.keepalive), (&b.public_key, &b.endpoint, b.keepalive), "{}", name);
            }
        }
        let (before, after) = (reaches(&network), reaches(&made.network));
        // Whether a site's hosts have its node as their gateway, no line says.
        let is_node = |place: &str| network.nodes.keys().any(|n| n.as_str() == place);
        for (pair, _) in before.iter().filter(|(pair, reached)| **reached && is_node(&pair.0)) {
            if let Some(still) = after.get(pair) {
                prop_assert!(*still, "{:?} is lost\n{}\n{}", pair, render_network(&network, None), &made.text);
            }
        }
    }
}
