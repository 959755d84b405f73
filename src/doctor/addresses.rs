//! Addresses and ways back: prefixes that are here twice, forwarding.

use ipnet::IpNet;

use super::{Finding, Record};
use crate::model::Network;
use crate::plan::ifalias;

pub(super) fn findings(record: &Record, network: Option<&Network>) -> Vec<Finding> {
    let mut found = clashes(record);
    found.extend(forwarding(record, network));
    found
}

/// Two links with one prefix: the kernel sends to one of them only.
fn clashes(record: &Record) -> Vec<Finding> {
    let host = |net: &IpNet| net.prefix_len() == net.max_prefix_len();
    let addresses: Vec<(&str, &IpNet)> = record
        .facts
        .links
        .iter()
        .filter(|(name, _)| *name != "lo")
        .flat_map(|(name, link)| link.addresses.iter().map(move |a| (name.as_str(), a)))
        .filter(|(_, net)| !host(net) && !is_link_local(net))
        .collect();
    let mut found = Vec::new();
    for (i, (one, a)) in addresses.iter().enumerate() {
        let others = addresses.iter().skip(i + 1).filter(|(other, b)| other != one && overlap(a, b));
        for (other, b) in others {
            found.push(Finding::warning(
                "overlap",
                format!("{one} has {a} and {other} has {b}: packets for the one may leave by the other"),
                "renumber one of them; for Docker's networks: \"default-address-pools\" in /etc/docker/daemon.json, or \
                 `docker network create --subnet`",
            ));
        }
    }
    found
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

fn is_link_local(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.addr().is_link_local(),
        IpNet::V6(net) => net.addr().is_unicast_link_local(),
    }
}

fn forwarding(record: &Record, network: Option<&Network>) -> Option<Finding> {
    let is_up = |network: &&Network| {
        record.facts.links.get(network.name.as_str()).is_some_and(|l| l.alias == ifalias(&network.name))
    };
    // Where the switch of its own link stays off, as on a spoke, or in a container that may not set it, nothing is forwarded.
    let is_off = |network: &Network| {
        record.facts.sysctl(&format!("net/ipv4/conf/{}/forwarding", network.name)) == Some("0")
    };
    if network.filter(is_up).is_some_and(is_off) {
        return None;
    }
    let text = match (record.facts.sysctl("net/ipv4/ip_forward")?, network.filter(is_up)) {
        ("0", Some(network)) => format!(
            "this host forwards for the links of {} alone; `down` switches it off again",
            network.name
        ),
        ("0", None) => "this host forwards nothing; `wgrelay up` switches it on for the links of the network alone, and `down` off again".into(),
        _ => "this host forwards between all its links; wgrelay adds nothing to that".into(),
    };
    Some(Finding::ok("ip-forward", text))
}
