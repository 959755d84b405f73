//! Masquerading by a file's hooks: which packets of the tunnel get another source, and what of it the network's own does otherwise.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Source;
use super::filter::Filter;
use super::finding::Findings;
use super::hooks::Place;
use crate::model::{NodeName, Site};
use crate::wgconf::Document;

/// Something that gives packets out of the tunnel the host's own address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Masquerade {
    /// The link that packets leave by; `None`: any that is not the tunnel.
    pub link: Option<String>,
    /// Whether it is limited to sources, or to what comes from the tunnel.
    pub limited: bool,
    /// The only destination.
    pub to: Option<IpNet>,
    /// What it takes out of the tunnel's packets, where that is not all of them.
    pub only: Option<Only>,
    /// The address that it gives, where it is not the link's.
    pub address: Option<String>,
    /// Whether it is for IPv4, and for IPv6.
    pub families: [bool; 2],
    pub place: Place,
}

/// What a rule takes out of the tunnel's packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Only {
    /// Those from an address, or a prefix.
    From(String),
    /// Those that match something else.
    Matching,
}

impl Masquerade {
    /// What a rule does to packets out of the tunnel; `None`: it does not concern them. `from_tunnel`: it names the tunnel as the
    /// link that they come from.
    pub(super) fn of(rule: &Filter, tunnel: &[IpNet], from_tunnel: bool, place: Place) -> Option<Self> {
        let source = rule.source.as_ref();
        let is_its = |t: &&IpNet| rule.families[usize::from(t.addr().is_ipv6())];
        let tunnel: Vec<IpNet> = tunnel.iter().filter(is_its).copied().collect();
        let nets = |s: &str| -> Vec<IpNet> {
            let list = s.trim_matches(|c| "{}".contains(c)).split(',');
            list.filter_map(|s| {
                let s = s.trim();
                s.parse().ok().or_else(|| Some(IpNet::from(s.parse::<IpAddr>().ok()?)))
            })
            .collect()
        };
        let named = source.map(|s| nets(&s.text)).unwrap_or_default();
        let meets = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
        let mut only = rule.matches_more().then_some(Only::Matching);
        if let Some(source) = source.filter(|_| !named.is_empty() && !tunnel.is_empty()) {
            let whole = |t: &&IpNet| named.iter().any(|n| n.contains(*t));
            if source.inverted {
                // All but the tunnel.
                if tunnel.iter().all(|t| whole(&t)) {
                    return None;
                }
            } else {
                if !named.iter().any(|n| tunnel.iter().any(|t| meets(n, t))) {
                    return None;
                }
                let of_family = |t: &&IpNet| named.iter().any(|n| n.addr().is_ipv4() == t.addr().is_ipv4());
                if !tunnel.iter().filter(of_family).all(|t| whole(&t)) {
                    only = Some(Only::From(source.text.clone()));
                }
            }
        }
        Some(Self {
            link: rule.out.as_ref().filter(|o| !o.inverted).map(|o| o.name.clone()),
            limited: source.is_some() || from_tunnel,
            to: rule.destination,
            only,
            address: rule.gives.clone(),
            families: rule.families,
            place,
        })
    }
}

/// The prefixes that a file knows to be the tunnel's: its own with the addresses of its peers.
pub(super) fn tunnel_of(document: &Document) -> Vec<IpNet> {
    let own: Vec<IpNet> = document.interface.addresses.iter().map(IpNet::trunc).collect();
    let is_host = |n: &IpNet| n.prefix_len() == n.max_prefix_len();
    let peers = document.peers.iter().flat_map(|p| &p.allowed_ips).filter(|n| is_host(n));
    let mut nets: Vec<IpNet> = own.iter().copied().chain(peers.copied()).collect();
    let all = nets.clone();
    nets.retain(|net| !all.iter().any(|wider| wider != net && wider.contains(net)));
    nets
}

/// Tells what of a file's masquerading the network does otherwise; `instead` is what it does.
pub(super) fn tell(source: &Source<'_>, instead: &str, told: &mut Findings) {
    let at = |(_, line, column): Place| format!("{}:{line}:{column}", source.name);
    let by = |m: &Masquerade| m.link.as_ref().map_or_else(String::new, |link| format!(" by {link}"));
    for m in &source.hooks.masquerades {
        let key = m.place.0;
        if let Some(address) = &m.address {
            told.add(
                "snat-address",
                at(m.place),
                format!("{key} gives what leaves{} the address {address}: wgrelay takes the one that the kernel has for that way", by(m)),
                format!("where it has to be {address}: make it the source of that route (`ip route … src {address}`)"),
            );
        }
        match &m.only {
            Some(Only::From(from)) => told.add(
                "masquerade-narrower",
                at(m.place),
                format!("{key} masquerades what {from} sends alone, and wgrelay what any spoke sends that way"),
                "[[allow]] rules say who may send there; to = [\"internet\"] is what leaves by the relay",
            ),
            Some(Only::Matching) => told.add(
                "masquerade-narrower",
                at(m.place),
                format!("{key} masquerades only some of what leaves{}, and wgrelay all of it that comes out of the tunnel", by(m)),
                "[[allow]] rules say who may send what there; to = [\"internet\"] is what leaves by the relay",
            ),
            None => {}
        }
    }
    let Some(blanket) = source.hooks.masquerades.iter().find(|m| !m.limited && m.only.is_none()) else {
        return;
    };
    told.add(
        "masquerades-everything",
        at(blanket.place),
        format!(
            "{} masquerades all that leaves{}, not only what comes out of the tunnel",
            blanket.place.0,
            by(blanket)
        ),
        instead,
    );
}

/// Tells of a relay's masquerading that nothing asks for in the files that were given: whether spokes whose files were not given use it,
/// nobody knows.
pub(super) fn unused(
    source: &Source<'_>,
    without_file: &[&str],
    (lets_out, sites): (bool, &[Site]),
    relay: &NodeName,
    told: &mut Findings,
) {
    let is_used = |m: &Masquerade| match m.to {
        None => lets_out,
        Some(to) => sites.iter().any(|s| s.subnet.contains(&to) || to.contains(&s.subnet)),
    };
    let [first, rest @ ..] = without_file else { return };
    // One that is not limited has been told of, if it takes all.
    let Some(m) = source
        .hooks
        .masquerades
        .iter()
        .find(|m| (m.limited || m.only.is_some()) && !is_used(m) && !source.hooks.own)
    else {
        return;
    };
    let (_, line, column) = m.place;
    let by = m.link.as_ref().map_or_else(String::new, |link| format!(" by {link}"));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    let (what, hint) = match m.to {
        None => (
            format!("what spokes send out{by}"),
            format!(
                "where they leave to the Internet there: egress = true under [node.{relay}]; what is behind that link is a [[node.{relay}.site]]"
            ),
        ),
        Some(to) => {
            (format!("what spokes send to {to}"), format!("where they do: add it as a [[node.{relay}.site]]"))
        }
    };
    told.add(
        "masquerade-left-out",
        format!("{}:{line}:{column}", source.name),
        format!(
            "{} masquerades {what}, which is not taken over: none of the files sends anything there, and that of {first}{more} is \
             not among them",
            m.place.0
        ),
        hint,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::hooks::Hooks;

    fn of(line: &str) -> Vec<Masquerade> {
        let text = format!("[Interface]\nAddress = 10.8.0.1/24, fd08::1/64\nPostUp = {line}\n");
        Hooks::of(&crate::wgconf::read(&text, "f"), "wg0").masquerades
    }

    #[test]
    fn what_comes_from_elsewhere_is_none_of_the_tunnels() {
        for line in [
            "iptables -t nat -A POSTROUTING -s 192.168.1.0/24 -o eth0 -j MASQUERADE",
            "iptables -t nat -A POSTROUTING ! -s 10.0.0.0/8 -o eth0 -j MASQUERADE",
            "nft add rule ip nat post ip saddr 192.168.0.0/16 oif eth0 masquerade",
            "firewall-cmd --add-rich-rule='rule family=ipv4 source address=192.168.1.0/24 masquerade'",
        ] {
            assert_eq!(of(line), [], "{line}");
        }
    }

    #[test]
    fn what_it_takes_of_the_tunnel_is_known() {
        let from = |text: &str| Some(Only::From(text.into()));
        for (line, only) in [
            ("iptables -t nat -A POSTROUTING -s 10.8.0.0/24 -o eth0 -j MASQUERADE", None),
            ("iptables -t nat -A POSTROUTING -s 0.0.0.0/0 -d 0.0.0.0/0 -o eth0 -j MASQUERADE", None),
            ("iptables -t nat -A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE --random-fully", None),
            ("ip6tables -t nat -A POSTROUTING -s fd08::/64 -o eth0 -j MASQUERADE", None),
            (
                "nft add rule ip nat post ip saddr { 10.8.0.0/24, 10.9.0.0/24 } oif eth0 masquerade random",
                None,
            ),
            ("nft add rule inet nat post oifname eth0 masquerade random,persistent", None),
            ("nft add rule inet nat post oifname eth0 masquerade fully-random, persistent", None),
            ("iptables -t nat -A POSTROUTING -s 10.8.0.2 -o eth0 -j MASQUERADE", from("10.8.0.2")),
            ("iptables -t nat -A POSTROUTING -s 10.8.0.0/28 -o eth0 -j MASQUERADE", from("10.8.0.0/28")),
            ("nft add rule ip nat post ip saddr 10.8.0.5 oif eth0 masquerade", from("10.8.0.5")),
            ("iptables -t nat -A POSTROUTING -o eth0 -p tcp -j MASQUERADE", Some(Only::Matching)),
            ("iptables -t nat -A POSTROUTING -o eth0 -m mark --mark 7 -j MASQUERADE", Some(Only::Matching)),
            ("nft add rule ip nat post tcp dport 443 oif eth0 masquerade", Some(Only::Matching)),
        ] {
            let found = of(line);
            let [one] = found.as_slice() else { panic!("{line}: {found:?}") };
            assert_eq!(one.only, only, "{line}");
        }
    }

    #[test]
    fn its_address_and_its_families_are_known() {
        for (line, address, families) in [
            (
                "iptables -t nat -A POSTROUTING -o eth0 -j SNAT --to-source 198.51.100.8",
                Some("198.51.100.8"),
                [true, false],
            ),
            ("nft add rule ip nat post oif eth0 snat to 198.51.100.8", Some("198.51.100.8"), [true, false]),
            ("ip6tables -t nat -A POSTROUTING -o eth0 -j MASQUERADE", None, [false, true]),
            ("nft add rule inet nat post oif eth0 masquerade", None, [true, true]),
            ("firewall-cmd --zone=public --add-masquerade", None, [true, false]),
            (
                "firewall-cmd --add-rich-rule='rule family=ipv6 source address=fd08::/24 masquerade'",
                None,
                [false, true],
            ),
        ] {
            let found = of(line);
            let [one] = found.as_slice() else { panic!("{line}: {found:?}") };
            assert_eq!((one.address.as_deref(), one.families), (address, families), "{line}");
        }
    }
}
