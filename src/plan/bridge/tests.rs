//! What moves from a port to its bridge and back, case by case.

use super::*;
use crate::firewall::fixture::{RELAY, SPOKE, network};
use crate::model::Node;
use crate::plan::{Facts, ForeignRoute, Link, MAIN_TABLE};

fn node(tables: &str) -> Node {
    network(&format!("{RELAY}{SPOKE}{tables}")).nodes["docker"].clone()
}

fn address(net: &str) -> LinkAddress {
    LinkAddress::of(net.parse().unwrap())
}

fn route(dst: &str, gateway: Option<&str>) -> LinkRoute {
    LinkRoute {
        dst: dst.parse().unwrap(),
        table: MAIN_TABLE,
        metric: 0,
        gateway: gateway.map(|g| g.parse().unwrap()),
        protocol: 3,
        scope: 0,
        src: None,
        onlink: false,
        metrics: Vec::new(),
    }
}

fn port(index: u32, addresses: &[&str], routes: Vec<LinkRoute>) -> LinkState {
    let addresses = addresses.iter().map(|a| address(a)).collect();
    LinkState { master: None, addresses, routes, index, ..LinkState::port_of("") }
}

/// eth1 as Docker leaves it.
fn eth1() -> LinkState {
    let mut eth1 = port(7, &["172.17.0.2/16"], vec![route("0.0.0.0/0", Some("172.17.0.1"))]);
    eth1.addresses[0].broadcast = Some([172, 17, 255, 255].into());
    eth1
}

fn facts(links: &[&str]) -> Facts {
    Facts { links: links.iter().map(|l| (l.to_string(), Link::default())).collect(), ..Facts::default() }
}

/// What a bridge would have, as it is settled with nothing recorded.
fn settled(tables: &str, observed: &Links) -> Links {
    let names: Vec<&str> = observed.iter().filter(|(_, l)| l.is_some()).map(|(n, _)| n.as_str()).collect();
    let mut wanted = links(&node(tables), &facts(&names));
    settle(&mut wanted, &Links::new(), observed);
    wanted
}

fn texts(state: &Option<LinkState>) -> (Vec<String>, Vec<String>) {
    let state = state.as_ref().unwrap();
    (
        state.addresses.iter().map(|a| a.net.to_string()).collect(),
        state.routes.iter().map(LinkRoute::text).collect(),
    )
}

const BARE: &str = "[[node.docker.bridge]]\nname = \"br-int\"\naddresses = []\nports = [\"eth1\"]\n";
const SAME: &str =
    "[[node.docker.bridge]]\nname = \"br-int\"\naddresses = [\"172.17.0.2/16\"]\nports = [\"eth1\"]\n";
const OTHERS: &str =
    "[[node.docker.bridge]]\nname = \"br-int\"\naddresses = [\"10.9.0.1/16\"]\nports = [\"eth1\"]\n";

#[test]
fn addresses_and_routes_of_a_port_move_or_go() {
    let observed: Links = [("eth1".to_string(), Some(eth1()))].into();
    for (tables, addresses, routes) in [
        (BARE, vec!["172.17.0.2/16"], vec!["default via 172.17.0.1"]),
        (SAME, vec!["172.17.0.2/16"], vec!["default via 172.17.0.1"]),
        (OTHERS, vec!["10.9.0.1/16"], vec![]),
    ] {
        let wanted = settled(tables, &observed);
        let (found, ways) = texts(&wanted["br-int"]);
        assert_eq!(
            (found, ways),
            (
                addresses.into_iter().map(String::from).collect(),
                routes.into_iter().map(String::from).collect()
            ),
            "{tables}"
        );
        assert_eq!(texts(&wanted["eth1"]), (vec![], vec![]), "{tables}");
    }
    // An address that is the port's is taken over as it was.
    let kept = settled(SAME, &observed)["br-int"].clone().unwrap();
    assert_eq!(kept.addresses[0].broadcast, Some([172, 17, 255, 255].into()));
}

#[test]
fn a_family_that_the_table_says_nothing_of_moves() {
    let both = port(7, &["172.17.0.2/16", "fd00:17::2/64"], vec![route("::/0", Some("fd00:17::1"))]);
    let wanted = settled(OTHERS, &[("eth1".to_string(), Some(both))].into());
    assert_eq!(
        texts(&wanted["br-int"]),
        (vec!["10.9.0.1/16".into(), "fd00:17::2/64".into()], vec!["default via fd00:17::1".into()])
    );
}

#[test]
fn what_was_recorded_counts_and_not_what_is_left_of_it() {
    let saved_sysctls: Links = [("eth1".to_string(), Some(eth1())), ("br-int".to_string(), None)].into();
    let emptied = LinkState { index: 7, ..LinkState::port_of("br-int") };
    // Half of it moved: the address is on both, the route on the bridge.
    let mut bridge = LinkState::bridge(false, None);
    bridge.index = 9;
    bridge.addresses.push(address("172.17.0.2/16"));
    let observed: Links =
        [("eth1".to_string(), Some(emptied.clone())), ("br-int".to_string(), Some(bridge))].into();
    let mut wanted = links(&node(BARE), &facts(&["eth1", "br-int"]));
    settle(&mut wanted, &saved_sysctls, &observed);
    assert_eq!(
        texts(&wanted["br-int"]),
        (vec!["172.17.0.2/16".into()], vec!["default via 172.17.0.1".into()])
    );
    // Nothing is wanted any more: each gets back what it had, and what was made goes.
    let mut back = Links::new();
    settle(&mut back, &saved_sysctls, &observed);
    assert_eq!(back, saved_sysctls);
    // A link that is gone, or was made anew, has nothing to get back.
    for now in [None, Some(LinkState { index: 8, ..emptied })] {
        let observed: Links = [("eth1".to_string(), now), ("br-int".to_string(), None)].into();
        let mut back = Links::new();
        settle(&mut back, &saved_sysctls, &observed);
        assert!(back.is_empty(), "{back:?}");
    }
}

#[test]
fn what_others_put_on_a_bridge_stays_and_what_we_put_there_goes_with_its_line() {
    let mut now = LinkState::bridge(false, None);
    for net in ["172.17.0.2/16", "10.5.0.1/24", "10.9.0.1/16"] {
        now.addresses.push(address(net));
    }
    let mut before = LinkState::bridge(false, None);
    before.addresses = vec![address("172.17.0.2/16"), address("10.9.0.1/16")];
    let observed: Links =
        [("br-int".to_string(), Some(now)), ("eth1".to_string(), Some(LinkState::port_of("br-int")))].into();
    let given: Links = [("br-int".to_string(), Some(before))].into();
    let mut wanted = links(&node(SAME), &facts(&["eth1", "br-int"]));
    keep_others(&mut wanted, &observed, &given);
    // 10.5.0.1 is somebody's; 10.9.0.1 was in the file before.
    assert_eq!(texts(&wanted["br-int"]).0, ["172.17.0.2/16", "10.5.0.1/24"]);
}

#[test]
fn a_port_that_is_away_or_taken_and_a_name_that_is_no_bridges() {
    let codes =
        |facts: &Facts| -> Vec<String> { problems(&node(SAME), facts).into_iter().map(|p| p.code).collect() };
    assert_eq!(codes(&Facts::default()), ["interface-missing"]);
    assert!(codes(&facts(&["eth1"])).is_empty());
    let mut there = facts(&["eth1", "br-int"]);
    assert_eq!(codes(&there), ["foreign-interface"]);
    there.links.get_mut("br-int").unwrap().kind = "bridge".into();
    there.links.get_mut("eth1").unwrap().master = Some("br-int".into());
    assert!(codes(&there).is_empty());
    there.links.get_mut("eth1").unwrap().master = Some("bond0".into());
    assert_eq!(codes(&there), ["port-taken"]);
    assert!(!links(&node(SAME), &there).contains_key("eth1"));
}

#[test]
fn the_host_ahead_has_the_bridge_with_its_routes() {
    let mut now = facts(&["eth1"]);
    let eth1 = now.links.get_mut("eth1").unwrap();
    eth1.addresses = vec!["172.17.0.2/16".parse().unwrap(), "fe80::1/64".parse().unwrap()];
    let by = |dst: &str, device: &str, gateway: Option<&str>, protocol| ForeignRoute {
        dst: dst.parse().unwrap(),
        device: device.into(),
        gateway: gateway.map(|g| g.parse().unwrap()),
        protocol,
        mtu: None,
    };
    now.routes = vec![by("0.0.0.0/0", "eth1", Some("172.17.0.1"), 3), by("172.17.0.0/16", "eth1", None, 2)];
    for tables in [BARE, SAME] {
        let then = ahead(&node(tables), &now).into_owned();
        assert_eq!(then.links["br-int"].addresses, ["172.17.0.2/16".parse().unwrap()]);
        assert_eq!(then.links["br-int"].kind, "bridge");
        assert_eq!(then.links["eth1"].master.as_deref(), Some("br-int"));
        assert_eq!(then.links["eth1"].addresses, ["fe80::1/64".parse().unwrap()]);
        let mut routes = then.routes.clone();
        routes.sort();
        assert_eq!(
            routes,
            [by("0.0.0.0/0", "br-int", Some("172.17.0.1"), 3), by("172.17.0.0/16", "br-int", None, 2)]
        );
        // Once it stands, nothing changes any more.
        assert_eq!(*ahead(&node(tables), &then), then);
    }
    assert!(ahead(&node(OTHERS), &now).routes.iter().all(|r| r.gateway.is_none()));
}

/// Two bridges with a port each, as on a compute node with two networks.
const TWO: &str = "[[node.docker.bridge]]\nname = \"br-ext\"\naddresses = [\"172.19.0.9/16\", \"169.254.169.254/32\"]\nports = [\"eth0\"]\n\
                   [[node.docker.bridge]]\nname = \"br-int\"\naddresses = [\"172.17.0.2/16\"]\nports = [\"eth1\"]\n";

fn two(eth0: &str, eth1: &str) -> Facts {
    let link = |net: &str| Link { addresses: vec![net.parse().unwrap()], ..Link::default() };
    Facts { links: [("eth0".into(), link(eth0)), ("eth1".into(), link(eth1))].into(), ..Facts::default() }
}

#[test]
fn a_bridge_without_its_port_holds_no_prefix_of_the_other_side() {
    let addresses = |there: &[&str], bridge: &str| -> Vec<String> {
        let wanted = links(&node(TWO), &facts(there));
        texts(&wanted[bridge]).0
    };
    assert_eq!(addresses(&["eth0"], "br-int"), [""; 0]);
    assert_eq!(addresses(&["eth0", "eth1"], "br-int"), ["172.17.0.2/16"]);
    // What is for the hosts behind it stays: a host's address, and those of a site.
    assert_eq!(addresses(&["eth1"], "br-ext"), ["169.254.169.254/32"]);
    let said = problems(&node(TWO), &facts(&["eth0"])).remove(0);
    assert!(said.message.contains("172.17.0.2/16 waits for it"), "{}", said.message);
    // The same where no port is asked for.
    let alone = "[[node.docker.bridge]]\nname = \"br-int\"\naddresses = [\"172.17.0.2/16\"]\n";
    assert_eq!(texts(&links(&node(alone), &facts(&[]))["br-int"]).0, ["172.17.0.2/16"]);
}

#[test]
fn ports_that_are_exchanged_are_refused_and_another_address_is_told() {
    let told = |facts: &Facts| -> Vec<(String, bool)> {
        problems(&node(TWO), facts).into_iter().map(|p| (p.code.clone(), p.is_error())).collect()
    };
    assert_eq!(told(&two("172.19.0.9/16", "172.17.0.2/16")), []);
    let exchanged = ("ports-exchanged".to_owned(), true);
    assert_eq!(told(&two("172.17.0.2/16", "172.19.0.9/16")), [exchanged.clone(), exchanged]);
    assert_eq!(told(&two("172.19.0.5/16", "172.17.0.2/16")), [("bridge-address".to_owned(), false)]);
    // Another network altogether is what the table is for.
    assert_eq!(told(&two("192.168.7.4/24", "172.17.0.2/16")), []);
    let mut facts = two("192.168.7.4/24", "172.17.0.2/16");
    facts.routes = vec![ForeignRoute {
        dst: "0.0.0.0/0".parse().unwrap(),
        device: "eth0".into(),
        gateway: "192.168.7.1".parse().ok(),
        protocol: 3,
        mtu: None,
    }];
    assert_eq!(told(&facts), [("default-route-lost".to_owned(), false)]);
}
