//! Networks and the spaces, cables and places that they become.

use std::net::IpAddr;

use ipnet::IpNet;

use super::*;
use crate::config::parse_network;
use crate::config::profile::{ProfileValues, instantiate};
use crate::model::PublicKey;

fn network(text: &str) -> Network {
    let parsed = parse_network(text.as_bytes(), "n");
    parsed.value.unwrap_or_else(|| panic!("{:?}", parsed.problems))
}

fn profile(name: &str) -> Network {
    let mut number = 0;
    let mut key = |_: &NodeName| {
        number += 1;
        PublicKey::from_bytes([number; 32])
    };
    network(&instantiate(name, &ProfileValues::default(), &mut key).unwrap())
}

fn lab(network: &Network) -> Topology {
    topology(network, Timestamp(0)).unwrap()
}

fn asked(top: &Topology) -> Vec<String> {
    top.pairs
        .iter()
        .map(|p| {
            let mark = if p.promised { "" } else { "?" };
            format!("{}>{}{mark}", top.places[p.from].name, top.places[p.to].name)
        })
        .collect()
}

#[test]
fn the_first_network() {
    let top = lab(&profile("wsl-docker"));
    let names: Vec<&str> = top.spaces.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["internet", "docker", "windows", "wsl", "192.168.33.10", "172.19.0.10"]);
    let wsl = &top.spaces[3];
    // Found by its address, as no engine answers there.
    assert_eq!(wsl.bridges, ["br-lab0"]);
    assert!(wsl.addresses.contains(&("uplink".into(), "192.168.39.45/32".parse().unwrap())));
    // The compute node has two homes.
    assert!(top.spaces[1].addresses.contains(&("local0".into(), "172.19.0.9/16".parse().unwrap())));
    let asked = asked(&top);
    assert!(asked.contains(&"windows>192.168.33.10".into()));
    assert!(asked.contains(&"windows>172.19.0.9".into()));
    assert!(asked.contains(&"172.19.0.10>windows".into()), "Docker's bridge is its hosts' gateway");
    assert!(!asked.iter().any(|a| a.starts_with("192.168.33.10>")), "the machines know their subnet only");
    assert!(!asked.contains(&"172.19.0.10>docker".into()), "docker takes no tunnel to where it is attached");
    assert_eq!(asked.len(), 16);
    assert!(top.pairs.iter().all(|p| p.promised));
}

#[test]
fn declared_bridges_carry_the_second_home() {
    let top = lab(&profile("webvirtcloud"));
    let docker = &top.spaces[1];
    assert_eq!(docker.bridges, ["br-ext", "br-int"]);
    assert!(!docker.addresses.iter().any(|(link, _)| link == "local0"));
    let foot = top.cables.iter().find(|c| c.1.link == "local0").unwrap();
    assert_eq!(foot.1.bridge.as_deref(), Some("br-ext"));
    assert!(top.places.iter().any(|p| p.name == "172.19.0.9"));
    // The machines go out through the compute node.
    let out = top.pairs.iter().find(|p| top.places[p.to].kind == PlaceKind::Internet).unwrap();
    assert_eq!(top.places[out.from].name, "192.168.33.10");
    assert_eq!(out.seen_as, Some(IpAddr::V4(top.underlay[&"docker".parse::<NodeName>().unwrap()])));
}

#[test]
fn full_tunnels_ask_for_the_internet_and_are_seen_as_the_relay() {
    let top = lab(&profile("road-warrior"));
    let relay = IpAddr::V4(top.underlay[&"relay".parse::<NodeName>().unwrap()]);
    let out: Vec<&Pair> = top.pairs.iter().filter(|p| top.places[p.to].kind == PlaceKind::Internet).collect();
    assert_eq!(out.len(), 2);
    assert!(out.iter().all(|p| p.seen_as == Some(relay)));
}

#[test]
fn offices_are_routed_both_ways() {
    let asked = asked(&lab(&profile("site-to-site")));
    assert!(asked.contains(&"192.168.10.10>192.168.20.10".into()));
    assert!(asked.contains(&"192.168.20.10>192.168.10.10".into()));
    assert_eq!(asked.len(), 20);
}

const SMALL: &str = "[network]\nname = \"wg0\"\nsubnet = \"198.18.0.0/24\"\n[node.r]\nrole = \"relay\"\n\
    address = \"198.18.0.1\"\nendpoint = \"vpn.example.org:51820\"\n\
    public_key = \"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\"\n[node.s]\naddress = \"198.18.0.2\"\n\
    public_key = \"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\"\n";

#[test]
fn the_labs_own_addresses_keep_out_of_the_networks_way() {
    let top = lab(&network(SMALL));
    assert_eq!(top.underlay[&"r".parse::<NodeName>().unwrap()].to_string(), "198.19.0.10");
}

#[test]
fn uplinks_keep_out_of_the_sites_way() {
    let text = format!("{SMALL}[[node.s.site]]\nsubnet = \"10.0.0.0/24\"\ninterface = \"uplink\"\n");
    let top = lab(&network(&text));
    assert_eq!(top.cables[1].1.link, "uplink0");
}

#[test]
fn a_rule_with_ports_promises_nothing_to_a_ping() {
    let rule = "[[allow]]\nfrom = [\"s\"]\nto = [\"10.0.0.0/24\"]\nports = [\"tcp/22\"]\n";
    let site = "[[node.r.site]]\nsubnet = \"10.0.0.0/24\"\ninterface = \"eth1\"\n";
    let asked = asked(&lab(&network(&format!("{SMALL}{site}{rule}"))));
    assert!(asked.contains(&"s>10.0.0.10?".into()), "{asked:?}");
}

#[test]
fn a_site_of_one_address_has_no_room() {
    let text = format!("{SMALL}[[node.s.site]]\nsubnet = \"10.0.0.5/32\"\ninterface = \"eth1\"\n");
    let fault = topology(&network(&text), Timestamp(0)).unwrap_err();
    assert!(matches!(fault, TopologyError::NoRoom { .. }), "{fault}");
}

/// The first half of a site may be a narrower one of its own node or of another: its hosts are in the other half.
#[test]
fn a_site_whose_beginning_is_somebody_elses_has_room_behind_it() {
    for (wide, narrow, host) in [
        ("10.100.0.0/15", "10.100.0.0/16", "10.101.0.1"),
        ("10.0.0.0/8", "10.0.0.0/12", "10.16.0.1"),
        ("fd00::/48", "fd00::/64", "fd00:0:0:1::1"),
    ] {
        let site =
            |net: &str, link: &str| format!("[[node.s.site]]\nsubnet = \"{net}\"\ninterface = \"{link}\"\n");
        let text = format!("{SMALL}{}{}", site(wide, "eth1"), site(narrow, "eth2"));
        let lab = lab(&network(&text));
        let (host, net): (IpAddr, IpNet) = (host.parse().unwrap(), narrow.parse().unwrap());
        let places = lab.places.iter().map(|place| place.address);
        let hosts: Vec<_> = places.filter(|a| wide.parse::<IpNet>().unwrap().contains(a)).collect();
        assert_eq!(hosts.iter().filter(|a| !net.contains(*a)).count(), 1, "{hosts:?}");
        assert!(hosts.iter().any(|a| *a >= host && !net.contains(a)), "{hosts:?}");
    }
}

#[test]
fn a_site_inside_a_site_keeps_its_addresses() {
    let text = format!(
        "{SMALL}[[node.s.site]]\nsubnet = \"10.0.0.0/24\"\ninterface = \"eth1\"\n\
         [[node.r.site]]\nsubnet = \"10.0.0.0/28\"\ninterface = \"eth1\"\n"
    );
    let top = lab(&network(&text));
    let inner: IpNet = "10.0.0.0/28".parse().unwrap();
    let outer: Vec<&Place> =
        top.places.iter().filter(|p| p.kind == PlaceKind::HostBehind("s".parse().unwrap())).collect();
    assert_eq!(outer.len(), 1);
    assert!(!inner.contains(&outer[0].address));
}

#[test]
fn a_host_has_the_address_that_a_port_leads_to() {
    let site = "[[node.s.site]]\nsubnet = \"192.168.7.0/24\"\n[[forward]]\nport = \"tcp/8080\"\nto = \"192.168.7.71:80\"\n";
    let top = lab(&network(&format!("{SMALL}{site}")));
    assert!(top.places.iter().any(|p| p.name == "192.168.7.71"), "{:?}", top.places);
    // Not where it is the node's own.
    let own = site.replace("subnet", "address = \"192.168.7.71\"\nsubnet");
    let top = lab(&network(&format!("{SMALL}{own}")));
    assert!(top.places.iter().any(|p| p.name == "192.168.7.10"), "{:?}", top.places);
}

#[test]
fn who_leaves_by_another_node_is_seen_as_that_one() {
    let exit = "[node.t]\naddress = \"198.18.0.3\"\nvia = \"s\"\n\
        public_key = \"AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\"\n";
    let seen = |text: &str| {
        let top = lab(&network(text));
        let exit = top.underlay.get(&"s".parse::<NodeName>().unwrap()).map(|ip| IpAddr::V4(*ip));
        let out = top.pairs.iter().find(|p| top.places[p.to].kind == PlaceKind::Internet);
        out.map(|p| (top.places[p.from].name.clone(), p.seen_as == exit))
    };
    let text = format!("{SMALL}egress = true\n{exit}");
    assert_eq!(seen(&text), Some(("t".into(), true)));
    assert_eq!(seen(&text.replace("[node.s]\n", "[node.s]\nenabled = false\n")), None, "nobody lets it out");
}
