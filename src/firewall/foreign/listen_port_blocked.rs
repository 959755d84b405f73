//! Whether this host lets WireGuard's own port in. What reaches the host itself is for its own firewall to say, so nothing
//! is opened here: that it is closed is told, with the command.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::accepts::uplinks;
use super::forward::{Carried, Forwarded};
use super::input::{Arrival, InputChain};
use super::{Facts, LocalFilter, NftInput};
use crate::firewall::Family;
use crate::model::{Endpoint, Network, Node, Problem};

/// Stand for whoever calls (RFC 5737, RFC 3849).
const ANYBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
const ANYBODY6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1));

/// Tells of a port that others are to dial and cannot.
pub(crate) fn problems(network: &Network, node: &Node, facts: &Facts) -> Vec<Problem> {
    let (Some(endpoint), Some(port)) = (&node.endpoint, node.listen_port()) else { return Vec::new() };
    let tell = |who: String, fix: String| {
        let why = format!(
            "{who} does not let UDP {port} in: nobody out there can begin a handshake of {}",
            network.name
        );
        Problem::warning("port-closed", format!("UDP port {port}"), why, fix)
    };
    let mut told: Vec<Problem> = closed_zones(facts, port)
        .into_iter()
        .map(|zone| {
            let open = format!("--zone {zone} --add-port {port}/udp");
            tell(
                format!("firewalld's zone {zone}"),
                format!("firewall-cmd {open} && firewall-cmd --permanent {open}"),
            )
        })
        .collect();
    let family = match endpoint.socket_addr() {
        Some(address) if address.is_ipv6() => Family::V6,
        _ => Family::V4,
    };
    let arrival = arrival(network, endpoint, facts, family);
    let is_closed = |input: &InputChain| input.is_closed(port, &arrival);
    let closed =
        facts.foreign.iptables.iter().find(|there| there.family == family && is_closed(&there.input));
    told.extend(closed.map(|there| {
        let program = there.iptables.program(family);
        if there.ufw {
            tell("ufw".into(), format!("ufw allow {port}/udp"))
        } else {
            tell(
                format!("INPUT of {program}"),
                format!("`{program} -I INPUT -p udp --dport {port} -j ACCEPT`, and the same where that firewall keeps its rules"),
            )
        }
    }));
    let closed =
        facts.foreign.nft_input.iter().filter(|there| there.family == family && is_closed(&there.input));
    told.extend(closed.map(|there| {
        let NftInput { table_family, table, chain, .. } = there;
        tell(
            format!("the chain {chain} of the nft table {table_family} {table}"),
            format!(
                "`nft insert rule {table_family} {table} {chain} udp dport {port} accept`, and the same where that firewall keeps its rules"
            ),
        )
    }));
    told.extend(before_routing(facts, &arrival, family, port).map(|filter| {
        let (place, base) = (&filter.place, &filter.rules.base);
        tell(
            format!("the chain {base} of the {place}"),
            format!(
                "`nft insert rule {} {base} udp dport {port} accept`, and the same where that firewall keeps its rules",
                place.trim_start_matches("nft ")
            ),
        )
    }));
    told
}

/// The filters that see whatever comes in, and surely drop what begins a handshake, by whichever link it may come.
fn before_routing<'f>(
    facts: &'f Facts,
    arrival: &'f Arrival,
    family: Family,
    port: u16,
) -> impl Iterator<Item = &'f LocalFilter> {
    let links = uplinks(facts, family);
    let is_closed = move |filter: &&LocalFilter| {
        let drops = |link: &str, dst: IpAddr| {
            // Of whoever calls nothing is known.
            let src = if dst.is_ipv6() { ANYBODY6 } else { ANYBODY };
            let carried = Some(Carried::Udp(port));
            let got = Forwarded { src, dst, iif: link, oif: "", established: false, carried };
            let judged = filter.rules.judge(got);
            judged.drop.is_some() && judged.doubts.is_empty()
        };
        let all = || links.iter().flat_map(|link| arrival.addresses.iter().map(move |to| (link, *to)));
        filter.family.is_none_or(|of| of == family)
            && all().next().is_some()
            && all().all(|(link, to)| drops(link, to))
    };
    facts.foreign.prerouting.iter().filter(is_closed)
}

/// Says how packets for the endpoint come to this host. Linux takes what is for an address of its own by any link, whichever
/// has the address: the link is sure only where there is no other.
fn arrival(network: &Network, endpoint: &Endpoint, facts: &Facts, family: Family) -> Arrival {
    let tunnel = network.name.as_str();
    let mut outside = facts.links.iter().filter(|(name, link)| link.up && *name != "lo" && *name != tunnel);
    let first = outside.next().map(|(name, _)| name.clone());
    // An address that packets from outside are for may be on the loopback, too.
    let here = facts.links.iter().filter(|(name, _)| *name != tunnel).flat_map(|(_, link)| &link.addresses);
    let here = here.filter(|net| Family::of(net) == family).map(IpNet::addr);
    let mut addresses: BTreeSet<IpAddr> = here.filter(|address| !address.is_loopback()).collect();
    // Where this host has none, it is not known which it will have.
    if let Some(at) = endpoint.socket_addr().filter(|_| !addresses.is_empty()) {
        // Where this host has it, it is the only one; else it is that of an address translation, or routed to this host.
        if !addresses.insert(at.ip()) {
            addresses = [at.ip()].into();
        }
    }
    Arrival {
        link: first.filter(|_| outside.next().is_none()),
        never: ["lo".to_owned(), tunnel.to_owned()].into(),
        links: facts.links.keys().cloned().collect(),
        addresses,
    }
}

/// The zones of firewalld that the outside is in and that are known to keep the port closed.
fn closed_zones(facts: &Facts, port: u16) -> BTreeSet<&str> {
    let Some(there) = &facts.foreign.firewalld else { return BTreeSet::new() };
    let links: BTreeSet<String> = Family::BOTH.iter().flat_map(|f| uplinks(facts, *f)).collect();
    let mut zones: BTreeSet<&str> = links.iter().map(|link| there.zone_of(link)).collect();
    if links.is_empty() {
        zones.insert(&there.default_zone);
    }
    zones.retain(|zone| there.is_closed(zone, port));
    zones
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::fixture::relay_alone;
    use crate::firewall::foreign::Link;
    use crate::firewall::foreign::input::{Asks, InputRule};
    use crate::firewall::foreign::{ForeignFirewall, Iptables, IptablesFacts};

    fn told(foreign: ForeignFirewall, links: &[(&str, &str)]) -> Vec<String> {
        let (network, hub) = relay_alone();
        let link =
            |address: &str| Link { up: true, addresses: vec![address.parse().unwrap()], ..Link::default() };
        let links = links.iter().map(|(name, address)| ((*name).to_owned(), link(address))).collect();
        let facts = Facts { foreign, links, ..Facts::default() };
        problems(&network, &network.nodes[&hub], &facts).into_iter().map(|p| p.hint).collect()
    }

    fn iptables(there: IptablesFacts) -> ForeignFirewall {
        ForeignFirewall { iptables: vec![there], ..ForeignFirewall::default() }
    }

    fn accept(asks: Asks) -> InputRule {
        InputRule { asks, accepts: true }
    }

    fn dropping(rules: Vec<InputRule>) -> IptablesFacts {
        let input = InputChain { rules, drops: true };
        IptablesFacts { input, ..IptablesFacts::open(Iptables::Nft, Family::V4) }
    }

    #[test]
    fn a_closed_input_is_told_with_the_command_of_who_closed_it() {
        let port = |first, last| Asks { ports: vec![(first, last)], ..Asks::nothing() };
        let closed = dropping(vec![accept(port(53, 53))]);
        assert_eq!(told(iptables(IptablesFacts::open(Iptables::Nft, Family::V4)), &[]), [""; 0]);
        let command = "`iptables-nft -I INPUT -p udp --dport 51820 -j ACCEPT`, and the same where that firewall keeps its rules";
        assert_eq!(told(iptables(closed.clone()), &[]), [command]);
        assert_eq!(
            told(iptables(IptablesFacts { ufw: true, ..closed.clone() }), &[]),
            ["ufw allow 51820/udp"]
        );
        assert_eq!(told(iptables(dropping(vec![accept(port(50000, 60000))])), &[]), [""; 0]);
        let other = IptablesFacts { family: Family::V6, ..closed.clone() };
        assert_eq!(told(iptables(other), &[]), [""; 0], "the endpoint is IPv4");
        let there = |family| NftInput {
            table_family: "inet".into(),
            table: "mine".into(),
            chain: "in".into(),
            family,
            input: closed.input.clone(),
        };
        let nft = ForeignFirewall {
            nft_input: vec![there(Family::V4), there(Family::V6)],
            ..ForeignFirewall::default()
        };
        let command = "`nft insert rule inet mine in udp dport 51820 accept`, and the same where that firewall keeps its rules";
        assert_eq!(told(nft, &[]), [command]);
    }

    #[test]
    fn a_chain_before_routing_that_closes_the_port_is_told() {
        use crate::firewall::foreign::forward::{Asks as Asked, Does, ForwardChain, ForwardRule, OneOf};
        let chain = |port: Option<u16>, drops: bool| {
            let asks = Asked {
                protocol: Some(OneOf { of: vec!["udp".into()], not: false }),
                port: port.map(|port| OneOf { of: vec![(port, port)], not: false }),
                sure: true,
                ..Asked::default()
            };
            let does = if drops { Does::Accept } else { Does::Drop };
            let rule = ForwardRule { asks, does, text: "rule".into() };
            let rules =
                ForwardChain { base: "early".into(), chains: [("early".into(), vec![rule])].into(), drops };
            let filter = LocalFilter { place: "nft ip own".into(), family: None, rules };
            ForeignFirewall { prerouting: vec![filter], ..ForeignFirewall::default() }
        };
        let here = [("eth0", "192.168.39.45/24")];
        let told_of = |foreign: ForeignFirewall| {
            let route = crate::firewall::foreign::ForeignRoute {
                dst: "0.0.0.0/0".parse().unwrap(),
                device: "eth0".into(),
                gateway: "192.168.39.1".parse().ok(),
                protocol: 3,
                mtu: None,
            };
            let (network, hub) = relay_alone();
            let link = Link { up: true, addresses: vec![here[0].1.parse().unwrap()], ..Link::default() };
            let facts = Facts {
                foreign,
                links: [("eth0".into(), link)].into(),
                routes: vec![route],
                ..Facts::default()
            };
            problems(&network, &network.nodes[&hub], &facts).into_iter().map(|p| p.hint).collect::<Vec<_>>()
        };
        let command = "`nft insert rule ip own early udp dport 51820 accept`, and the same where that firewall keeps its rules";
        assert_eq!(told_of(chain(None, false)), [command], "drops all UDP");
        assert_eq!(told_of(chain(Some(51820), false)), [command]);
        assert_eq!(told_of(chain(Some(53), true)), [command], "accepts another");
        assert_eq!(told_of(chain(Some(53), false)), [""; 0]);
        assert_eq!(told_of(chain(Some(51820), true)), [""; 0]);
    }

    #[test]
    fn an_accept_for_another_link_or_address_is_none_for_the_endpoint() {
        let by =
            |link: &str| iptables(dropping(vec![accept(Asks { by: Some(link.into()), ..Asks::nothing() })]));
        let to =
            |net: &str| iptables(dropping(vec![accept(Asks { to: net.parse().ok(), ..Asks::nothing() })]));
        let here = [("eth0", "192.168.39.45/24"), ("eth1", "10.1.1.1/24")];
        // Linux takes it by any link; by one that is not there nothing comes.
        assert_eq!((told(by("eth0"), &here).len(), told(by("eth1"), &here).len()), (0, 0));
        assert_eq!(told(by("eth2"), &here).len(), 1);
        assert_eq!((told(to("192.168.39.0/24"), &here).len(), told(to("10.1.1.1/32"), &here).len()), (0, 1));
        // Behind an address translation any link, and any address of this host, may be the one.
        let behind = [("eth0", "10.2.2.2/24"), ("eth1", "10.1.1.1/24")];
        assert_eq!((told(by("eth0"), &behind).len(), told(by("eth1"), &behind).len()), (0, 0));
        assert_eq!((told(by("ppp0"), &behind).len(), told(by("wg0"), &behind).len()), (1, 1));
        assert_eq!(
            (told(to("10.1.1.1/32"), &behind).len(), told(to("224.0.0.251/32"), &behind).len()),
            (0, 1)
        );
        // Unless there is one only.
        let one = [("eth0", "10.2.2.2/24")];
        let drop = InputRule { asks: Asks { by: Some("eth0".into()), ..Asks::nothing() }, accepts: false };
        let single = |links| {
            let input = InputChain { rules: vec![drop.clone()], drops: false };
            let there = IptablesFacts { input, ..IptablesFacts::open(Iptables::Legacy, Family::V4) };
            told(iptables(there), links).len()
        };
        assert_eq!((single(&one), single(&behind)), (1, 0));
        assert_eq!((told(by("eth0"), &one).len(), told(by("eth1"), &one).len()), (0, 1));
    }

    #[test]
    fn the_endpoint_may_be_on_a_link_of_its_own_or_on_the_loopback() {
        let accept = |asks| iptables(dropping(vec![accept(asks)]));
        let by = |link: &str| accept(Asks { by: Some(link.into()), ..Asks::nothing() });
        let to = |net: &str| accept(Asks { to: net.parse().ok(), ..Asks::nothing() });
        for own in ["dummy0", "lo"] {
            let links = [("eth0", "10.1.1.1/24"), (own, "192.168.39.45/32")];
            assert_eq!(told(by("eth0"), &links), [""; 0], "{own}");
            assert_eq!(told(to("192.168.39.45/32"), &links), [""; 0], "{own}");
            assert_eq!(told(to("10.1.1.1/32"), &links).len(), 1, "{own}");
        }
        // Another's address may be translated to that of any link, or be routed here.
        let links = [("eth0", "10.1.1.1/24"), ("lo", "10.9.9.9/32")];
        for net in ["10.9.9.9/32", "192.168.39.45/32"] {
            assert_eq!(told(to(net), &links), [""; 0], "{net}");
        }
        assert_eq!(told(to("127.0.0.0/8"), &[("eth0", "10.1.1.1/24"), ("lo", "127.0.0.1/8")]).len(), 1);
    }
}
