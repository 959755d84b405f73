//! The store is never reached through the tunnel that it configures: where that is down, nobody could bring it up again.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{Network, NodeName, Site};

/// Says why a member's address is not to be used; `None`: it is. `own` is the address that this host speaks to it from; `None`:
/// not known yet.
pub fn forbidden(network: &Network, this: &NodeName, member: IpAddr, own: Option<IpAddr>) -> Option<String> {
    let tunnels =
        || [Some(IpNet::from(network.subnet)), network.subnet6.map(IpNet::from)].into_iter().flatten();
    let through = |what: String| {
        format!(
            "{member} is reached through the tunnel that the store configures: {what}. Give etcd's address outside of it"
        )
    };
    let canonical = |ip: IpAddr| ip.to_canonical();
    if let Some(net) = tunnels().find(|net| net.contains(&canonical(member))) {
        return Some(through(format!("it is in the tunnel's subnet {net}")));
    }
    let attached: Vec<IpNet> = network
        .nodes
        .get(this)
        .into_iter()
        .flat_map(|node| node.local.iter().copied().chain(node.sites.iter().map(|site| site.subnet)))
        .collect();
    let is_attached = |net: &IpNet| {
        attached.iter().any(|own| own.contains(&canonical(member)) && own.prefix_len() >= net.prefix_len())
    };
    let others = network.nodes.values().filter(|node| node.name != *this);
    for node in others {
        let site = node
            .sites
            .iter()
            .map(Site::prefix)
            .find(|net| net.contains(&canonical(member)) && !is_attached(net));
        if let Some(net) = site {
            return Some(through(format!("it is in {net}, behind {}", node.name)));
        }
    }
    let from = own.filter(|own| tunnels().any(|net| net.contains(&canonical(*own))))?;
    Some(through(format!("this host speaks to it from {from}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_network;

    #[test]
    fn what_is_inside_or_behind_the_tunnel_is_refused_and_told() {
        let key = |n: u8| crate::model::PrivateKey::from_random([n; 32]).public_key();
        let text = format!(
            "[network]\nname = \"wg0\"\nsubnet = \"10.9.0.0/24\"\nsubnet6 = \"fd09::/64\"\npreshared_keys = false\n\
             [node.eu]\nrole = \"relay\"\naddress = \"10.9.0.1\"\naddress6 = \"fd09::1\"\nendpoint = \"192.0.2.1:1\"\npublic_key = \"{}\"\nlocal = [\"10.20.1.0/24\"]\n\
             [[node.eu.site]]\nsubnet = \"10.30.0.0/24\"\n\
             [node.us]\naddress = \"10.9.0.2\"\naddress6 = \"fd09::2\"\npublic_key = \"{}\"\n[[node.us.site]]\nsubnet = \"10.20.0.0/16\"\n",
            key(1),
            key(2)
        );
        let parsed = parse_network(text.as_bytes(), "f");
        let network = parsed.value.unwrap_or_else(|| panic!("{:?}", parsed.problems));
        let eu: NodeName = "eu".parse().unwrap();
        let told = |member: &str, own: Option<&str>| {
            forbidden(&network, &eu, member.parse().unwrap(), own.map(|own| own.parse().unwrap()))
        };
        for inside in ["10.9.0.2", "fd09::77", "::ffff:10.9.0.2", "10.20.0.1"] {
            assert!(told(inside, None).is_some(), "{inside}");
        }
        assert!(told("192.0.2.7", Some("10.9.0.1")).unwrap().contains("from 10.9.0.1"));
        assert!(told("10.20.0.1", None).unwrap().contains("behind us"));
        for underlay in ["192.0.2.7", "10.30.0.5", "10.20.1.9", "2001:db8::1"] {
            assert_eq!(told(underlay, Some("192.0.2.1")), None, "{underlay}");
        }
    }
}
