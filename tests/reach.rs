//! What `check` and `trace` say of whole networks: a folder of tests/cases/reach is a case.
//!
//! `network.toml` is the network; `traces.txt` holds commands (`$ trace FROM TO [--port P]`), each followed by what it prints;
//! `expected-matrix.txt` is what `check` prints. `live.txt`, where there is one, says how a host was found to differ:
//! `NODE: without link L`, `NODE: without route PREFIX`, `NODE: set SWITCH = VALUE`, `NODE: down`,
//! `NODE: strict reverse path`, `NODE: without marks`, `NODE: default via ROUTER dev LINK`, and, for the filters of others,
//! `NODE: docker VERSION on BRIDGE`, `NODE: iptables drops`, `NODE: nft TABLE CHAIN POLICY [LINK…]` (the links that it names),
//! `NODE: filters unread: WHY`, `NODE: without rules in CHAIN` (ours, in theirs), `NODE: firewalld default ZONE`,
//! `NODE: firewalld zone ZONE has LINK`, `NODE: without policy NAME` (ours, in firewalld).
//! `losses.txt`, where there is one, holds commands (`$ check --without NODE`), each followed by what it prints.
//! `UPDATE_CASES=1` rewrites what is printed.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests read their cases, and a fault of a case is a failure"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use wgrelay::config::parse_network;
use wgrelay::firewall::Family;
use wgrelay::firewall::foreign::firewalld::FirewalldFacts;
use wgrelay::firewall::foreign::forward::{Asks, Does, ForwardChain, ForwardRule, OneOf};
use wgrelay::firewall::foreign::routing_rule::{Leads, RoutingRule, RuleDoes, TableRoute};
use wgrelay::firewall::foreign::{Iptables, IptablesFacts, LocalFilter, NftForward};
use wgrelay::model::{
    AllowRule, Network, Node, NodeName, PlaceRef, Problem, PublicKey, Role, Site, Timestamp, Verdict,
};
use wgrelay::plan::{Backend, DockerEngine, Facts, ForeignRoute, HostState, Keys, Link, wanted};
use wgrelay::reach::{
    Check, Code, Flow, LongestPrefix, Place, Trace, World, assumed_facts, check, destination, expectations,
    lint, losses, losses_text, matrix, matrix_text, place, trace, trace_text,
};

/// 2026-11-24T00:00:00Z.
const NOW: Timestamp = Timestamp(1_795_478_400);
const WIDTH: usize = 100;

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/reach");
    let mut out: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    out.sort();
    out
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn golden(path: &Path, fresh: &str) {
    if std::env::var_os("UPDATE_CASES").is_some() {
        fs::write(path, fresh).unwrap();
        return;
    }
    let kept = read(path);
    assert!(kept == fresh, "{} differs (UPDATE_CASES=1 rewrites it); now:\n{fresh}", path.display());
}

fn network(folder: &Path) -> Network {
    let path = folder.join("network.toml");
    let parsed = parse_network(read(&path).as_bytes(), "network.toml");
    let Some(network) = parsed.value else { panic!("{}: {:#?}", path.display(), parsed.problems) };
    network
}

fn world(folder: &Path, network: &Network) -> World {
    let text = read(&folder.join("live.txt"));
    let mut lines: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in text.lines() {
        let (name, what) = line.split_once(": ").unwrap();
        lines.entry(name).or_default().push(what);
    }
    lines.into_iter().fold(World::assumed(network, NOW), |world, (name, lines)| {
        let node = &network.nodes[name];
        let mut facts = assumed_facts(network, node);
        for what in &lines {
            found(&mut facts, what);
        }
        let mut state = wanted(network, node, &Keys::default(), Backend::Kernel, &facts, NOW).state;
        for what in &lines {
            differs(&mut state, what);
        }
        world.with_observed(&node.name, state, facts)
    })
}

/// What is on the host besides us.
fn found(facts: &mut Facts, what: &str) {
    let there = |docker: bool, guarded: Option<&str>| IptablesFacts {
        forward_drops: true,
        docker_user: docker,
        raw_prerouting: guarded.is_some(),
        raw_guarded: guarded.map(str::to_owned).into_iter().collect(),
        ..IptablesFacts::open(Iptables::Nft, Family::V4)
    };
    let words: Vec<&str> = what.split_whitespace().collect();
    match words.as_slice() {
        ["without", "link", link] => {
            facts.links.remove(*link).unwrap();
            facts.routes.retain(|r| r.device != *link);
        }
        ["docker", version, "on", bridge] => {
            let is_new = version.split('.').next().unwrap().parse::<u32>().unwrap() >= 28;
            facts.foreign.iptables.push(there(true, is_new.then_some(bridge)));
            facts.engine = Some(DockerEngine { version: (*version).into(), platform: String::new() });
        }
        ["default", "via", router, "dev", link] => {
            facts.routes.retain(|r| r.dst.prefix_len() > 0);
            facts.routes.push(ForeignRoute {
                dst: "0.0.0.0/0".parse().unwrap(),
                device: (*link).into(),
                gateway: Some(router.parse().unwrap()),
                protocol: 3,
                mtu: None,
            });
        }
        // The owner lets out, or in, what answers, and UDP to some ports.
        [hook @ ("output" | "input" | "prerouting" | "postrouting"), "drops", "but", "udp", ports @ ..] => {
            let rule = |asks, text: &str| ForwardRule { asks, does: Does::Accept, text: text.into() };
            let state = Some(OneOf { of: vec!["established".into()], not: false });
            let ports = ports.iter().map(|port| port.parse().unwrap()).map(|port: u16| (port, port));
            let asks = Asks {
                protocol: Some(OneOf { of: vec!["udp".into()], not: false }),
                port: Some(OneOf { of: ports.collect(), not: false }),
                sure: true,
                ..Asks::default()
            };
            let rules = vec![
                rule(Asks { state, sure: true, ..Asks::default() }, "ct state established accept"),
                rule(asks, "udp dport"),
            ];
            let chains = BTreeMap::from([((*hook).to_owned(), rules)]);
            let rules = ForwardChain { base: (*hook).into(), chains, drops: true };
            let filter = LocalFilter { place: "nft inet hard".into(), family: None, rules };
            let foreign = &mut facts.foreign;
            let filters = match *hook {
                "output" => &mut foreign.local_output,
                "input" => &mut foreign.local_input,
                "prerouting" => &mut foreign.prerouting,
                _ => &mut foreign.postrouting,
            };
            filters.push(filter);
        }
        ["link", name] => {
            facts.links.insert((*name).into(), Link { mtu: 1500, up: true, ..Link::default() });
        }
        ["rule", priority, "lookup", table] => facts.rules.push(RoutingRule {
            priority: priority.parse().unwrap(),
            ipv6: false,
            inverted: false,
            from: None,
            to: None,
            iif: None,
            oif: None,
            mark: None,
            more: false,
            suppress: None,
            does: RuleDoes::Lookup(table.parse().unwrap()),
        }),
        ["table", table, dst, "dev", link] => {
            let leads = Leads::By { device: (*link).into(), gateway: None };
            let route = TableRoute { dst: dst.parse().unwrap(), leads };
            facts.tables.entry(table.parse().unwrap()).or_default().push(route);
        }
        ["strict", "reverse", "path"] => {
            facts.sysctls.insert("net/ipv4/conf/all/rp_filter".into(), "1".into());
        }
        ["iptables", "drops"] => facts.foreign.iptables.push(there(false, None)),
        ["filters", "unread:", why @ ..] => facts.foreign.unread = Some(why.join(" ")),
        ["firewalld", "default", zone] => {
            facts.foreign.nft.push(NftForward {
                family: "inet".into(),
                table: "firewalld".into(),
                chain: "filter_FORWARD".into(),
                drops: false,
                links: BTreeSet::new(),
                forward: None,
            });
            facts.foreign.firewalld =
                Some(FirewalldFacts { default_zone: (*zone).into(), ..FirewalldFacts::default() });
        }
        ["firewalld", "zone", zone, "has", link] => {
            let there = facts.foreign.firewalld.as_mut().unwrap();
            there.zones.insert((*link).into(), (*zone).into());
        }
        ["nft", table, chain, policy, links @ ..] => facts.foreign.nft.push(NftForward {
            family: "inet".into(),
            table: (*table).into(),
            chain: (*chain).into(),
            drops: *policy == "drop",
            links: links.iter().map(ToString::to_string).collect(),
            forward: None,
        }),
        _ => {}
    }
}

/// How our own state there differs from what `up` would make.
fn differs(state: &mut HostState, what: &str) {
    let words: Vec<&str> = what.split_whitespace().collect();
    match words.as_slice() {
        ["strict" | "link" | "rule" | "table" | "output" | "input" | "prerouting" | "postrouting", ..] => {}
        ["without", "marks"] => state.firewall = None,
        ["without", "route", prefix] => {
            let before = state.routes.len();
            state.routes.retain(|r| r.dst.to_string() != *prefix);
            assert_ne!(before, state.routes.len(), "{what}");
        }
        ["without", "rules", "in", chain] => {
            let before = state.foreign_rules.len();
            state.foreign_rules.retain(|r| r.chain.chain() != *chain);
            assert_ne!(before, state.foreign_rules.len(), "{what}");
        }
        ["without", "address", address] => {
            let device = state.device.as_mut().unwrap();
            let before = device.addresses.len();
            device.addresses.retain(|a| a.addr().to_string() != *address);
            assert_ne!(before, device.addresses.len(), "{what}");
        }
        ["without", "policy", name] => {
            state.firewalld.remove(*name).unwrap();
        }
        ["set", path, "=", value] => *state.sysctls.get_mut(*path).unwrap() = (*value).into(),
        ["down"] => *state = HostState::default(),
        ["without", "link", _]
        | ["default" | "docker" | "firewalld" | "iptables" | "nft" | "filters", ..] => {}
        _ => panic!("{what}"),
    }
}

fn run(world: &World, command: &str) -> Trace {
    let words: Vec<&str> = command.split_whitespace().collect();
    let (from, to, port) = match words.as_slice() {
        ["trace", from, to] => (*from, *to, None),
        ["trace", from, to, "--port", port] => (*from, *to, Some(port.parse().unwrap())),
        _ => panic!("{command}"),
    };
    match (place(world.network(), from), destination(world.network(), to)) {
        (Ok(from), Ok(to)) => trace(&world.clone().with_outside(&to), &Flow { from, to, port }),
        (Err(unknown), _) | (_, Err(unknown)) => Trace::unknown(from, to, &unknown),
    }
}

fn traces(folder: &Path, world: &World) -> Vec<(String, Trace)> {
    let text = read(&folder.join("traces.txt"));
    let commands = text.lines().filter_map(|l| l.strip_prefix("$ "));
    commands.map(|c| (c.to_owned(), run(world, c))).collect()
}

#[test]
fn every_case_prints_what_it_did() {
    for folder in folders() {
        let network = network(&folder);
        let world = world(&folder, &network);
        let all = matrix(&world);
        let mut problems = lint(&network, NOW);
        problems.extend(expectations(&world, &all));
        let Check { forwards, outside, .. } = check(&network, NOW);
        let printed = Check {
            version: 1,
            classes: all.classes,
            pairs: all.pairs,
            unlisted: all.unlisted,
            forwards,
            outside,
            problems,
        };
        golden(&folder.join("expected-matrix.txt"), &matrix_text(&printed, WIDTH));
        if !folder.join("live.txt").exists() {
            assert_eq!(check(&network, NOW), printed);
        }
        let text: Vec<String> = traces(&folder, &world)
            .iter()
            .map(|(command, trace)| format!("$ {command}\n{}", trace_text(trace)))
            .collect();
        golden(&folder.join("traces.txt"), &text.join("\n"));
    }
}

#[test]
fn every_code_has_a_case() {
    let mut seen = BTreeSet::new();
    for folder in folders() {
        let network = network(&folder);
        let world = world(&folder, &network);
        seen.extend(traces(&folder, &world).into_iter().filter_map(|(_, t)| Some(t.reason?.code)));
    }
    assert_eq!(seen, BTreeSet::from(Code::ALL));
}

#[test]
fn what_a_death_takes_away() {
    for folder in folders().iter().filter(|f| f.join("losses.txt").exists()) {
        let (network, path) = (network(folder), folder.join("losses.txt"));
        let mut fresh = String::new();
        for line in read(&path).lines() {
            let Some(node) = line.strip_prefix("$ check --without ") else { continue };
            let told = losses_text(&losses(&network, &[node.parse().unwrap()], NOW));
            fresh += &format!("{line}\n{told}\n");
        }
        golden(&path, &fresh);
    }
}

/// How many pairs of other places a dead node takes away, one after the other.
fn counted(network: &Network, dead: &NodeName) -> (usize, usize) {
    counted_as(network, &World::assumed(network, NOW).with_dead(dead), dead)
}

/// The same once the others know of it.
fn counted_after(network: &Network, dead: &NodeName) -> usize {
    let mut left = network.clone();
    left.nodes.get_mut(dead).unwrap().enabled = false;
    counted_as(network, &World::assumed(&left, NOW).with_dead(dead), dead).1
}

fn counted_as(network: &Network, after: &World, dead: &NodeName) -> (usize, usize) {
    let before = World::assumed(network, NOW);
    let all = matrix(&before).classes.concat();
    let others: Vec<&Place> = all.iter().filter(|p| **p != Place::Node(dead.clone())).collect();
    let (mut of, mut lost) = (0, 0);
    let reaches = |world: &World, from: &Place, to: &Place| {
        let flow = Flow { from: from.clone(), to: to.clone(), port: None };
        trace(world, &flow).verdict == Verdict::Reaches
    };
    for from in &others {
        for to in others.iter().filter(|to| *to != from && **to != &Place::Internet) {
            if reaches(&before, from, to) {
                of += 1;
                lost += usize::from(!reaches(after, from, to));
            }
        }
    }
    (of, lost)
}

/// Two relays, and so many spokes of which every other one has a site, by turns at home on each.
fn two_relays(spokes: usize) -> Network {
    parse_network(two_relays_text(spokes).as_bytes(), "network.toml").value.unwrap()
}

fn two_relays_text(spokes: usize) -> String {
    let mut text = String::from("[network]\nname = \"wg0\"\nsubnet = \"10.88.0.0/16\"\n");
    for i in 1..=spokes + 2 {
        let mut key = [9; 32];
        key[0] = u8::try_from(i).unwrap();
        let key = PublicKey::from_bytes(key);
        text += &format!("[node.n{i:03}]\naddress = \"10.88.0.{i}\"\npublic_key = \"{key}\"\n");
        match i {
            1 | 2 => text += &format!("role = \"relay\"\nendpoint = \"198.51.100.{i}:51820\"\n"),
            _ if i % 4 < 2 => text += "relays = [\"n002\", \"n001\"]\n",
            _ => {}
        }
        if i % 2 == 1 {
            text += &format!("[[node.n{i:03}.site]]\nsubnet = \"172.20.{i}.0/24\"\ngateway = true\n");
        }
    }
    text
}

#[test]
fn losses_are_what_counting_pair_by_pair_finds() {
    // By places, and by classes of them.
    for network in [two_relays(8), two_relays(50)] {
        for name in ["n001", "n002", "n003"] {
            let found = losses(&network, &[name.parse().unwrap()], NOW);
            let loss = &found.without[0];
            assert_eq!((loss.of, loss.at_once.count), counted(&network, &loss.node), "{name}");
            let after = loss.after_failover.as_ref().map(|after| after.count);
            // Nobody else has the dead relay's own site.
            let sites = if name == "n001" { Some(true) } else { None };
            match name {
                "n003" => assert_eq!(after, None),
                _ => assert_eq!(after.map(|n| n > 0), sites.or(Some(false)), "{name}"),
            }
        }
    }
}

#[test]
fn losses_of_a_site_behind_two_nodes_are_what_counting_pair_by_pair_finds() {
    // Who else has the site of n003, who that of the relay n001, with what preference; n005 has one of its own beside.
    for (gateways, nat) in [
        (&[("n003", 1), ("n004", 2)][..], "masquerade"),
        (&[("n003", 7), ("n004", 3), ("n006", 5)], "masquerade"),
        (&[("n001", 2), ("n002", 1)], "masquerade"),
        (&[("n002", 2), ("n005", 1)], "none"),
    ] {
        let mut text = two_relays_text(6);
        for (name, preference) in gateways {
            text += &format!(
                "[[node.{name}.site]]\nsubnet = \"172.21.0.0/24\"\ngateway = true\nnat = \"{nat}\"\npreference = {preference}\n"
            );
        }
        let network = parse_network(text.as_bytes(), "network.toml").value.unwrap();
        for (name, _) in gateways {
            let found = losses(&network, &[name.parse().unwrap()], NOW);
            let loss = &found.without[0];
            assert_eq!((loss.of, loss.at_once.count), counted(&network, &loss.node), "{gateways:?} {name}");
            let after = loss.after_failover.as_ref().map(|after| after.count);
            if let Some(after) = after {
                assert_eq!(after, counted_after(&network, &loss.node), "{gateways:?} {name}");
            }
            // Whoever carries the site is the one whose death another makes good.
            let best = gateways.iter().max_by_key(|(_, preference)| preference).unwrap().0;
            let carries = loss.takeovers.iter().any(|t| t.site.to_string() == "172.21.0.0/24");
            assert_eq!(carries, *name == best, "{gateways:?} {name}");
            assert!(!carries || after.is_some());
        }
    }
}

#[test]
fn a_promise_that_is_to_survive_is_judged_without_each_relay() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/reach/several-relays");
    let mut network = network(&folder);
    for promise in &mut network.expect {
        promise.survives = true;
    }
    // What leads to the office goes by us alone, but its own list has eu, too.
    assert!(!check(&network, NOW).is_broken(), "{:?}", check(&network, NOW).problems);
    let only: NodeName = "us".parse().unwrap();
    network.nodes.get_mut("office").unwrap().relays = vec![only];
    let broken: Vec<String> =
        check(&network, NOW).problems.into_iter().filter(Problem::is_error).map(|p| p.message).collect();
    assert_eq!(broken.len(), 1, "{broken:?}");
    let said = "without us: laptop -> 192.168.50.0/24 is promised as reaches, and it is blocked";
    assert!(broken[0].starts_with(said), "{broken:?}");
}

/// A relay, 100 gateways with a site each, 899 plain spokes, and a policy with ports.
fn large() -> Network {
    let key = |i: usize| {
        let mut bytes = [1; 32];
        bytes[..8].copy_from_slice(&(i as u64).to_be_bytes());
        PublicKey::from_bytes(bytes)
    };
    let mut nodes = BTreeMap::new();
    for i in 0..1000_usize {
        let role = if i == 0 { Role::Relay } else { Role::Spoke };
        let name: NodeName = format!("node{i:04}").parse().unwrap();
        let address = std::net::Ipv4Addr::from(0x0a58_0001 + i as u32);
        let mut node = Node::new(name.clone(), role, address, key(i));
        if i == 0 {
            node.endpoint = Some("192.0.2.1:51820".parse().unwrap());
        }
        if (1..=100).contains(&i) {
            node.sites = vec![Site {
                gateway: i % 2 == 0,
                ..Site::new(format!("172.{}.{}.0/24", 16 + i / 50, i).parse().unwrap())
            }];
        }
        nodes.insert(name, node);
    }
    let place = |t: &str| PlaceRef::parse(t).unwrap();
    Network {
        name: "wg0".parse().unwrap(),
        subnet: "10.88.0.0/16".parse().unwrap(),
        subnet6: None,
        keepalive: 25,
        mtu: 1420,
        preshared_keys: false,
        failover: true,
        nodes: nodes.into(),
        allow: vec![
            AllowRule { from: vec![place("*")], to: vec![place("172.16.2.0/24")], ports: Vec::new() },
            AllowRule {
                from: vec![place("node0500")],
                to: vec![place("*")],
                ports: vec!["tcp/22".parse().unwrap(), "icmp".parse().unwrap()],
            },
        ],
        forward: Vec::new(),
        expect: Vec::new(),
    }
}

#[test]
fn a_thousand_nodes_are_a_few_classes() {
    let network = large();
    let result = check(&network, NOW);
    assert_eq!(result.classes.iter().map(Vec::len).sum::<usize>(), 1100);
    let of = |name: &str| {
        let place = place(&network, name).unwrap();
        result.classes.iter().position(|c| c.contains(&place)).unwrap()
    };
    assert_eq!(of("node0200"), of("node0999"));
    assert_ne!(of("node0200"), of("node0500"));
    assert_ne!(of("172.16.2.0/24"), of("172.16.4.0/24"));
    assert!(matrix_text(&result, WIDTH).lines().count() < 1000);
}

#[test]
fn the_examples_of_the_reason_codes_are_what_is_printed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reasons.md");
    let kept = read(&path);
    let headings: Vec<&str> = kept.lines().filter_map(|l| l.strip_prefix("## ")).collect();
    assert_eq!(headings, Code::ALL.map(Code::as_str));
    let mut fresh = String::new();
    let (mut code, mut case, mut lines) = ("", None, kept.lines());
    while let Some(line) = lines.next() {
        fresh += &format!("{line}\n");
        if let Some(heading) = line.strip_prefix("## ") {
            code = heading;
        } else if let Some((name, _)) = line.strip_prefix("Example ([").and_then(|l| l.split_once(']')) {
            case = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/reach").join(name));
        } else if line == "```console" {
            let folder = case.take().expect("an example says whose it is");
            let prompt = lines.next().unwrap();
            let network = network(&folder);
            let trace = run(&world(&folder, &network), prompt.strip_prefix("$ wgrelay ").unwrap());
            assert_eq!(trace.reason.as_ref().map(|r| r.code.as_str()), Some(code), "{prompt}");
            fresh += &format!("{prompt}\n{}```\n", trace_text(&trace));
            for old in lines.by_ref() {
                if old == "```" {
                    break;
                }
            }
        }
    }
    golden(&path, &fresh);
}

#[test]
fn the_json_is_what_others_rely_on() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/reach");
    let network = network(&root.join("policy-ports"));
    let json = serde_json::to_value(check(&network, NOW)).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["classes"][0], serde_json::json!(["laptop"]));
    let pair = |from: &str, to: &str| {
        let pairs = json["pairs"].as_array().unwrap();
        pairs.iter().find(|p| p["from"] == from && p["to"] == to).unwrap().clone()
    };
    let some = pair("192.168.10.0/24", "192.168.20.0/24");
    assert_eq!(
        (&some["verdict"], &some["ports"], &some["reason"]),
        (&"reaches".into(), &serde_json::json!(["icmp"]), &serde_json::Value::Null)
    );
    assert_eq!(pair("laptop", "relay")["ports"], "all");
    let none = pair("laptop", "office-a");
    assert_eq!((&none["verdict"], &none["ports"]), (&"blocked".into(), &serde_json::json!([])));
    assert_eq!(none["reason"]["code"], "policy-denied");

    let world = World::assumed(&network, NOW);
    let json = serde_json::to_value(run(&world, "trace laptop 192.168.10.7 --port tcp/22")).unwrap();
    assert_eq!(
        (&json["version"], &json["from"], &json["to"]),
        (&1.into(), &"laptop".into(), &"192.168.10.7".into())
    );
    assert_eq!((&json["verdict"], &json["reason"]), (&"reaches".into(), &serde_json::Value::Null));
    let hop = serde_json::json!({
        "node": "laptop", "step": "route", "detail": "192.168.10.7/32 dev wg0", "src": "10.88.0.9", "dst": "192.168.10.7",
    });
    assert_eq!(json["forward"][0], hop);
    assert_eq!(json["reply"][0]["node"], "192.168.10.7");
    let json = serde_json::to_value(run(&world, "trace nobody laptop")).unwrap();
    assert_eq!(json["reason"]["code"], "unknown-place");
    let mut keys: Vec<&String> = json["reason"].as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["code", "fix", "message", "node"]);
}

#[test]
fn a_grid_that_does_not_fit_is_a_list() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/reach");
    let result = check(&network(&root.join("by-hand")), NOW);
    let (wide, narrow) = (matrix_text(&result, 80), matrix_text(&result, 24));
    assert!(wide.starts_with("5 of 20 pairs are blocked\n"));
    assert!(wide.contains("windows          + - . + +\n"), "{wide}");
    assert!(
        narrow.contains("windows\n  reaches: docker, wsl, 172.19.0.0/16\n  blocked: 192.168.33.0/24\n"),
        "{narrow}"
    );
}

/// The kernel's own self-test of its AllowedIPs table; the file is another project's and is not shipped.
#[test]
fn prefixes_are_looked_up_as_the_kernel_does() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let folder = std::env::var_os("WGRELAY_CORPUS").map_or_else(beside, PathBuf::from);
    let Ok(text) = fs::read_to_string(folder.join("linux-kernel/allowedips.json")) else {
        println!("not checked: no linux-kernel/allowedips.json in {} (set WGRELAY_CORPUS)", folder.display());
        return;
    };
    let data: serde_json::Value = serde_json::from_str(&text).unwrap();
    let peer = |v: &serde_json::Value| v.as_str().map(str::to_owned);
    let mut kept: Vec<(ipnet::IpNet, String)> = Vec::new();
    let mut lookups = 0;
    for op in data["ops"].as_array().unwrap() {
        let ip: Option<std::net::IpAddr> = op["ip"].as_str().map(|s| s.parse().unwrap());
        let found = || {
            let table: LongestPrefix<String> = kept.iter().cloned().collect();
            table.lookup(ip.unwrap()).map(|(_, peer)| peer.clone())
        };
        match op["op"].as_str().unwrap() {
            "reset" => kept.clear(),
            "insert" => {
                let length = u8::try_from(op["cidr"].as_u64().unwrap()).unwrap();
                let net = ipnet::IpNet::new(ip.unwrap(), length).unwrap();
                kept.push((net, peer(&op["peer"]).unwrap()));
            }
            // A table of a walk is made once and loses nobody: what a peer had is left out of the next.
            "remove_peer" => {
                let gone = peer(&op["peer"]).unwrap();
                let table: LongestPrefix<String> = kept.iter().cloned().collect();
                kept.retain(|(net, _)| {
                    let owner = table
                        .lookup(net.addr())
                        .filter(|(p, _)| p.prefix_len() >= net.prefix_len())
                        .map(|(_, p)| p.clone());
                    owner.as_ref() != Some(&gone)
                });
            }
            "lookup_is" => {
                assert_eq!(found(), peer(&op["peer"]), "{op}");
                lookups += 1;
            }
            "lookup_is_not" => {
                assert_ne!(found(), peer(&op["peer"]), "{op}");
                lookups += 1;
            }
            other => panic!("unknown operation {other}"),
        }
    }
    assert!(lookups > 30);
}
