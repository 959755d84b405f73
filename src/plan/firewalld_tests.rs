//! What firewalld's policies come to in the plan.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::firewall::fixture::{RELAY, SITE, SPOKE, network, uplink};
use crate::firewall::foreign::firewalld::*;
use crate::firewall::foreign::{Facts, ForeignFirewall, NftForward};
use crate::model::Timestamp;
use crate::plan::{Backend, HostState, Keys, Link, Wanted, diff, wanted};

fn text() -> String {
    let behind = "[[node.docker.site]]\nsubnet = \"192.168.33.0/24\"\ninterface = \"br-ext\"\n";
    [RELAY, SITE, SPOKE, behind].concat()
}

fn facts(there: Option<FirewalldFacts>) -> Facts {
    let link =
        Link { kind: "bridge".into(), addresses: vec!["172.19.0.1/16".parse().unwrap()], ..Link::default() };
    let chain = NftForward {
        family: "inet".into(),
        table: "firewalld".into(),
        chain: "filter_FORWARD".into(),
        drops: false,
        links: BTreeSet::new(),
        forward: None,
    };
    Facts {
        links: [("br-site".to_string(), link)].into(),
        routes: vec![uplink()],
        foreign: ForeignFirewall { nft: vec![chain], firewalld: there, ..ForeignFirewall::default() },
        ..Facts::default()
    }
}

fn ready() -> FirewalldFacts {
    FirewalldFacts {
        zones: [("eth0".to_string(), "external".to_string())].into(),
        default_zone: "public".into(),
        ..FirewalldFacts::default()
    }
}

fn made(text: &str, facts: &Facts) -> Wanted {
    let network = network(text);
    let now = Timestamp::from(std::time::UNIX_EPOCH);
    wanted(&network, &network.nodes["wsl"], &Keys::default(), Backend::Embedded, facts, now)
}

fn lines(wanted: &Wanted) -> Vec<String> {
    let plan = diff(&HostState::default(), &wanted.state).lines();
    let lines = plan.into_iter().filter(|l| l.kind == "firewalld-policy");
    lines.map(|l| format!("{}: {}", l.target, l.to.unwrap())).collect()
}

#[test]
fn a_closed_port_is_told_where_somebody_dials_it() {
    let told = |open: &[(&str, (u16, u16))]| -> Vec<String> {
        let open = open.iter().map(|(zone, range)| ((*zone).to_string(), [*range].into())).collect();
        let made = made(&text(), &facts(Some(FirewalldFacts { open, ..ready() })));
        made.problems.iter().filter(|p| p.code == "port-closed").map(|p| p.hint.clone()).collect()
    };
    let open = "--zone external --add-port 51820/udp";
    let told_of_external = vec![format!("firewall-cmd {open} && firewall-cmd --permanent {open}")];
    assert_eq!(told(&[("external", (1, 51819)), ("public", (51820, 51820))]), told_of_external);
    assert_eq!(told(&[("external", (51000, 52000))]), [""; 0]);
    assert_eq!(told(&[]), [""; 0], "what is not known is not told");
}

#[test]
fn a_running_firewalld_gets_a_policy() {
    let made = made(&text(), &facts(Some(ready())));
    assert_eq!(
        lines(&made),
        ["wgrelay-wg0: accept to 192.168.3.0/24, to 192.168.33.0/24, from 192.168.3.0/24 to 172.19.0.0/16, \
             from 192.168.33.0/24 to 172.19.0.0/16; firewalld reloads for it"]
    );
    assert_eq!(made.problems, []);
    let table = made.state.firewall.unwrap();
    let held = table.chains.iter().find(|c| c.name == "by-tunnel-only").unwrap();
    assert_eq!(held.rules.len(), 3, "answers, and a drop for each pair: {held:#?}");
}

#[test]
fn what_goes_out_goes_into_the_zone_of_the_way_out_alone() {
    let egress = text().replace("role = \"relay\"", "role = \"relay\"\negress = true");
    let told = lines(&made(&egress, &facts(Some(ready()))));
    assert_eq!(
        told[1],
        "wgrelay-wg0-out: accept from 192.168.3.0/24, from 192.168.33.0/24, into zone external; firewalld reloads for it"
    );
    let at_site = text().replace("interface = \"br-site\"", "interface = \"br-site\"\negress = true");
    let told = lines(&made(&at_site, &facts(Some(ready()))));
    assert_eq!(
        told[1],
        "wgrelay-wg0-out: accept from 172.19.0.0/16, into zone external; firewalld reloads for it"
    );
}

#[test]
fn what_a_reload_would_take_away_is_told_and_kept() {
    let there = FirewalldFacts { unloaded: ["zone public".to_string()].into(), ..ready() };
    let waits = made(&text(), &facts(Some(there.clone())));
    assert_eq!(waits.state.firewalld, BTreeMap::new());
    assert_eq!(waits.problems[0].code, "forward-dropped");
    assert!(waits.problems[0].message.contains("(zone public)"), "{}", waits.problems[0]);
    // A policy that is there needs no reload.
    let there = FirewalldFacts { policies: ["wgrelay-wg0".to_string()].into(), ..there };
    let goes_on = made(&text(), &facts(Some(there)));
    assert_eq!((goes_on.state.firewalld.len(), goes_on.problems.len()), (1, 0));
}

#[test]
fn one_that_cannot_be_asked_is_opened_by_hand() {
    let there = FirewalldFacts { fault: Some("no bus".into()), ..FirewalldFacts::default() };
    let told = made(&text(), &facts(Some(there)));
    assert_eq!(told.state.firewalld, BTreeMap::new());
    assert!(told.problems[0].message.ends_with("no bus"), "{}", told.problems[0]);
    assert_eq!(
        told.problems[0].hint,
        "run firewall-cmd --permanent --new-policy wgrelay-wg0; firewall-cmd --permanent --policy wgrelay-wg0 \
         --add-ingress-zone ANY; firewall-cmd --permanent --policy wgrelay-wg0 \
         --add-egress-zone ANY; firewall-cmd --permanent --policy wgrelay-wg0 \
         --add-rich-rule 'rule family=\"ipv4\" destination \
         address=\"192.168.3.0/24\" accept' --add-rich-rule 'rule family=\"ipv4\" destination address=\"192.168.33.0/24\" \
         accept' --add-rich-rule 'rule family=\"ipv4\" source address=\"192.168.3.0/24\" destination \
         address=\"172.19.0.0/16\" accept' --add-rich-rule 'rule family=\"ipv4\" source address=\"192.168.33.0/24\" \
         destination address=\"172.19.0.0/16\" accept'; firewall-cmd --reload"
    );
    assert!(told.state.firewall.unwrap().chains.iter().all(|c| c.name != "by-tunnel-only"));
}

#[test]
fn what_is_in_the_files_of_one_that_does_not_run_stays() {
    let mut facts = facts(None);
    facts.foreign.nft.clear();
    facts.foreign.firewalld_asleep = Some(["wgrelay-wg0", "wgrelay-wg1"].map(str::to_string).into());
    let made = made(&text(), &facts);
    assert_eq!(made.state.firewalld, [("wgrelay-wg0".to_string(), FirewalldPolicy::asleep())].into());
    assert_eq!(made.problems, []);
}

#[test]
fn what_is_written_is_read() {
    let nets: [Option<IpNet>; 3] =
        [None, Some("10.0.0.0/8".parse().unwrap()), Some("10.1.2.3/32".parse().unwrap())];
    for (src, dst) in nets.iter().flat_map(|src| nets.iter().map(move |dst| (*src, *dst))) {
        let rule = RichRule::Accept { src, dst };
        assert_eq!(RichRule::parse(&rule.to_string()), rule);
    }
    let v6 = RichRule::Accept { src: None, dst: Some("fd00:19::/64".parse().unwrap()) };
    assert_eq!(v6.to_string(), "rule family=\"ipv6\" destination address=\"fd00:19::/64\" accept");
    for text in [
        "rule family=\"ipv4\" source address=\"10.0.0.0/8\" drop",
        "rule priority=\"1\" family=\"ipv4\" source address=\"10.0.0.0/8\" accept",
        "rule family=\"ipv4\" source NOT address=\"10.0.0.0/8\" accept",
        "rule family=\"ipv4\" source ipset=\"x\" accept",
        "",
    ] {
        assert_eq!(RichRule::parse(text), RichRule::Other(text.into()), "{text}");
    }
}

#[test]
fn names_that_every_firewalld_takes() {
    let names = |network: &str| policy_names(&network.parse().unwrap());
    assert_eq!(names("wg0"), ["wgrelay-wg0", "wgrelay-wg0-out"]);
    assert_eq!(names("wg.office"), ["wgr-4cf0a63b", "wgr-4cf0a63b-out"]);
    for network in ["a-very-long-one", "wg12345", "a.b"] {
        let names = names(network);
        assert!(names.iter().all(|n| n.len() <= MAX_NAME && is_our_policy(n)), "{names:?}");
    }
    assert_ne!(names("a-very-long-one"), names("a-very-long-two"));
    assert!(!is_our_policy("docker-forwarding") && !is_our_policy("wgrouter"));
}
