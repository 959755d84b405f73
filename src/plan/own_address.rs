//! A spoke's own IPv6 address is nobody else's: what its host forwards into the tunnel with that source was forged.
//!
//! IPv4 needs none of this: the kernel takes no packet from outside that has an address of its own host as the source.

use ipnet::IpNet;

use crate::firewall::foreign::Facts;
use crate::firewall::{Action, Addresses, Chain, Family, Hook, Match, Rule};
use crate::model::{Network, Node};

const FORWARDS: &str = "net/ipv6/conf/all/forwarding";

/// Returns the chain that drops it; `None`: the host forwards no IPv6, the node has none, or it has rules for what it forwards anyway.
pub(super) fn chain(network: &Network, node: &Node, forwards_anyway: bool, facts: &Facts) -> Option<Chain> {
    let forwards = facts.sysctl(FORWARDS).is_some_and(|value| value.trim() != "0");
    let own = node.address6.filter(|_| forwards && !forwards_anyway)?;
    let matches = vec![
        Match::Oif { name: network.name.to_string(), is: true },
        Match::Saddr {
            family: Family::V6,
            with: Addresses::Net(IpNet::from(std::net::IpAddr::V6(own))),
            is: true,
        },
    ];
    Some(Chain {
        name: "forged".into(),
        hook: Hook::Forward,
        rules: vec![Rule { matches, action: Action::Drop }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PublicKey, Role};

    #[test]
    fn a_host_that_forwards_ipv6_lends_its_address_to_nobody() {
        let text = format!(
            "[network]\nname = \"wg0\"\nsubnet = \"10.0.0.0/24\"\nsubnet6 = \"fd00::/64\"\n[node.r]\nrole = \"relay\"\n\
             address = \"10.0.0.1\"\npublic_key = \"{}\"\n",
            PublicKey::from_bytes([2; 32])
        );
        let network = crate::config::parse_network(text.as_bytes(), "f").value.unwrap();
        let mut node = Node::new(
            "a".parse().unwrap(),
            Role::Spoke,
            [10, 0, 0, 2].into(),
            PublicKey::from_bytes([1; 32]),
        );
        node.address6 = "fd00::2".parse().ok();
        let host = |value: &str| Facts {
            sysctls: [(FORWARDS.to_owned(), value.to_owned())].into(),
            ..Facts::default()
        };
        let on = host("1\n");
        let made = chain(&network, &node, false, &on).unwrap();
        assert_eq!(made.rules.len(), 1);
        assert_eq!(made.rules[0].action, Action::Drop);
        assert!(chain(&network, &node, true, &on).is_none(), "a relay, or a node with sites");
        assert!(chain(&network, &node, false, &host("0")).is_none());
        assert!(chain(&network, &node, false, &Facts::default()).is_none());
        node.address6 = None;
        assert!(chain(&network, &node, false, &on).is_none());
    }
}
