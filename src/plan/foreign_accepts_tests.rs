//! What stands in others' filters, as the plan has it.

use ipnet::IpNet;

use crate::firewall::Family;
use crate::firewall::fixture::{RELAY, SITE, SPOKE, network, uplink};
use crate::firewall::foreign::{Facts, IptablesFacts, NftForward};
use crate::firewall::foreign::{ForeignFirewall, Iptables};
use crate::plan::{Backend, DockerEngine, DockerNetwork, Keys, Link, diff, wanted};

fn text() -> String {
    [RELAY, &SITE.replace("br-site", "docker:cloud"), SPOKE].concat()
}

fn facts(there: IptablesFacts, engine: Option<&str>) -> Facts {
    let address: IpNet = "172.19.0.1/16".parse().unwrap();
    let link = Link { kind: "bridge".into(), addresses: vec![address], ..Link::default() };
    let network =
        DockerNetwork { bridge: "br-6a".into(), subnets: vec![address.trunc()], ..DockerNetwork::default() };
    Facts {
        links: [("br-6a".to_string(), link)].into(),
        routes: vec![uplink()],
        docker: engine.map(|_| [("cloud".to_string(), network)].into()),
        engine: engine.map(|v| DockerEngine { version: v.into(), platform: String::new() }),
        foreign: ForeignFirewall { iptables: vec![there], ..ForeignFirewall::default() },
        ..Facts::default()
    }
}

/// What a plan says of foreign chains.
fn lines(text: &str, facts: &Facts) -> Vec<String> {
    let network = network(text);
    let node = &network.nodes["wsl"];
    let now = crate::model::Timestamp::from(std::time::UNIX_EPOCH);
    let wanted = wanted(&network, node, &Keys::default(), Backend::Embedded, facts, now);
    let plan = diff(&crate::plan::HostState::default(), &wanted.state).lines();
    let rules = plan.into_iter().filter(|l| l.kind == "iptables-rule");
    let rules = rules.map(|l| format!("{}: {}", l.target, l.to.unwrap()));
    rules.chain(wanted.problems.iter().map(|p| p.code.clone())).collect()
}

fn docker() -> IptablesFacts {
    IptablesFacts { forward_drops: true, docker_user: true, ..IptablesFacts::open(Iptables::Nft, Family::V4) }
}

const USER: [&str; 3] = [
    "iptables-nft filter DOCKER-USER: -d 172.19.0.0/16 -i wg0 -o br-6a -j ACCEPT",
    "iptables-nft filter DOCKER-USER: -i wg0 -o wg0 -j ACCEPT",
    "iptables-nft filter DOCKER-USER: -s 172.19.0.0/16 -i br-6a -o wg0 -j ACCEPT",
];
const RAW: &str = "iptables-nft raw PREROUTING: -d 172.19.0.0/16 -i wg0 -j ACCEPT";

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[test]
fn docker_before_28() {
    assert_eq!(sorted(lines(&text(), &facts(docker(), Some("20.10.24+dfsg1")))), USER);
}

#[test]
fn docker_28_before_its_first_container_and_after() {
    let all = [&USER[..], &[RAW]].concat();
    assert_eq!(sorted(lines(&text(), &facts(docker(), Some("28.5.2")))), all);
    // No engine to ask, and its drops tell all the same.
    let guarded = IptablesFacts { raw_guarded: ["br-6a".to_string()].into(), ..docker() };
    assert_eq!(sorted(lines(&text(), &facts(guarded, None))), all);
}

#[test]
fn docker_that_found_forwarding_on_leaves_the_rest_open() {
    let open = IptablesFacts { forward_drops: false, ..docker() };
    assert_eq!(sorted(lines(&text(), &facts(open, Some("27.5.1")))), [USER[0], USER[2]]);
}

#[test]
fn a_dropping_host_without_docker() {
    let text = text().replace("docker:cloud", "br-6a");
    let there = IptablesFacts { docker_user: false, ..docker() };
    let forward: Vec<String> = USER.iter().map(|l| l.replace("DOCKER-USER", "FORWARD")).collect();
    assert_eq!(sorted(lines(&text, &facts(there, None))), forward);
    let open = IptablesFacts::open(Iptables::Legacy, Family::V4);
    assert_eq!(lines(&text, &facts(open, None)), Vec::<String>::new());
}

#[test]
fn what_goes_out_to_the_internet_comes_back_as_an_answer_only() {
    let text = text().replace("role = \"relay\"", "role = \"relay\"\negress = true");
    let told = lines(&text, &facts(IptablesFacts { docker_user: false, ..docker() }, None));
    assert!(told.contains(&"iptables-nft filter FORWARD: -i wg0 -o eth0 -j ACCEPT".to_string()), "{told:#?}");
    let back =
        "iptables-nft filter FORWARD: -i eth0 -o wg0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
    assert!(told.contains(&back.to_string()), "{told:#?}");
}

#[test]
fn a_site_goes_out_by_its_own_bridge_and_to_the_other_ones() {
    let text = text().replace("\"docker:cloud\"", "\"br-6a\"\negress = true").replace(
        "[node.docker]",
        "[[node.wsl.bridge]]\nname = \"br-int\"\naddresses = [\"10.9.0.1/24\"]\n[node.docker]",
    );
    let mut facts = facts(IptablesFacts { docker_user: false, ..docker() }, None);
    facts.routes[0].device = "br-6a".into();
    facts.links.insert("br-int".into(), Link::default());
    let told = lines(&text, &facts);
    for (out, back) in [("br-6a", "br-6a"), ("br-int", "br-int")] {
        let there = format!("iptables-nft filter FORWARD: -s 172.19.0.0/16 -i br-6a -o {out} -j ACCEPT");
        let replies = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
        let answers = format!("iptables-nft filter FORWARD: -d 172.19.0.0/16 -i {back} -o br-6a {replies}");
        assert!(told.contains(&there) && told.contains(&answers), "{out}: {told:#?}");
    }
}

#[test]
fn filters_that_only_their_owner_opens() {
    let chain = |table: &str, drops, links: &[&str]| NftForward {
        family: "inet".into(),
        table: table.into(),
        chain: "forward".into(),
        drops,
        links: links.iter().map(ToString::to_string).collect(),
        forward: None,
    };
    let told = |chain: NftForward| {
        let mut facts = facts(IptablesFacts::open(Iptables::Nft, Family::V4), Some("29.0.0"));
        facts.foreign.nft.push(chain);
        lines(&text(), &facts)
    };
    assert_eq!(told(chain("filter", true, &["eth0"])), ["forward-dropped"]);
    assert_eq!(told(chain("filter", true, &["wg0"])), Vec::<String>::new());
    assert_eq!(told(chain("filter", false, &[])), Vec::<String>::new());
    assert_eq!(told(chain("firewalld", false, &["eth0"])), ["forward-dropped"], "it was not asked");
    assert_eq!(told(chain("docker-bridges", false, &[])), ["docker-raw-drop"]);
}
