//! Containers with two homes: one that is on two of Docker's networks answers by its default way, which need not be
//! the way by which it was asked.

use std::net::IpAddr;

use super::DockerContainer;
use super::Facts;
use crate::model::{Node, Problem, SiteInterface};

/// Tells of each container that would answer to a site's guests by another network.
pub(super) fn problems(node: &Node, facts: &Facts) -> Vec<Problem> {
    let mut found = Vec::new();
    for site in node.sites.iter().filter(|s| !s.is_masqueraded()) {
        let Some(SiteInterface::Docker(network)) = &site.interface else { continue };
        for container in facts.containers.iter().filter(|c| answers_elsewhere(c, network)) {
            let others: Vec<&str> =
                container.networks.keys().filter(|n| *n != network).map(String::as_str).collect();
            found.push(Problem::warning(
                "two-homes",
                format!("site {}", site.subnet),
                format!(
                    "the container {} is on {network} and on {}: what comes to it out of the tunnel may be answered by the \
                     other way, and is lost",
                    container.name,
                    others.join(", ")
                ),
                format!(
                    "nat = \"masquerade\" at the site {} of [node.{}], so that it answers to this host; or make {network} its \
                     default way: `docker network connect --gw-priority 1` (Docker 28 and later)",
                    site.subnet, node.name
                ),
            ));
        }
    }
    found
}

/// Says why it is not certain that an address answers by the way it was asked: it is such a container's.
pub fn doubt(node: &Node, facts: &Facts, address: IpAddr) -> Option<String> {
    let sites = node.sites.iter().filter(|s| !s.is_masqueraded() && s.subnet.contains(&address));
    let networks = sites.filter_map(|s| match &s.interface {
        Some(SiteInterface::Docker(network)) => Some(network),
        _ => None,
    });
    networks.into_iter().find_map(|network| {
        let is_its = |c: &&DockerContainer| c.addresses.get(network).is_some_and(|ip| IpAddr::V4(*ip) == address);
        let container = facts.containers.iter().filter(is_its).find(|c| answers_elsewhere(c, network))?;
        Some(format!(
            "{address} is the container {}, which is on another network than {network}, too, and may answer by that one: nat = \
             \"masquerade\" at the site has it answer to {}",
            container.name, node.name
        ))
    })
}

/// Says whether a container is on a network that is not plainly its default way.
fn answers_elsewhere(container: &DockerContainer, network: &str) -> bool {
    let Some(priority) = container.networks.get(network) else { return false };
    container.networks.iter().any(|(other, p)| other != network && p >= priority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::fixture::{RELAY, SITE, network};
    use crate::model::Nat;

    #[test]
    fn the_address_of_a_container_with_two_homes_is_in_doubt() {
        let text = format!("{RELAY}{}", SITE.replace("br-site", "docker:cloud"));
        let network = network(&text);
        let container = DockerContainer {
            name: "compute".into(),
            networks: [("bridge".into(), 0), ("cloud".into(), 0)].into(),
            addresses: [("cloud".into(), [172, 19, 0, 9].into())].into(),
        };
        let facts = Facts { containers: vec![container], ..Facts::default() };
        let of = |node: &Node, ip: &str| doubt(node, &facts, ip.parse().unwrap());
        let mut node = network.nodes["wsl"].clone();
        assert!(of(&node, "172.19.0.9").is_some_and(|text| text.contains("compute")));
        assert_eq!(of(&node, "172.19.0.5"), None);
        node.sites[0].nat = Nat::Masquerade;
        assert_eq!(of(&node, "172.19.0.9"), None);
    }

    #[test]
    fn the_highest_priority_is_the_way_out() {
        let on = |networks: &[(&str, i64)]| DockerContainer {
            name: "compute".into(),
            networks: networks.iter().map(|(name, p)| ((*name).to_string(), *p)).collect(),
            addresses: Default::default(),
        };
        assert!(!answers_elsewhere(&on(&[("cloud", 0)]), "cloud"));
        assert!(!answers_elsewhere(&on(&[("bridge", 0), ("other", 0)]), "cloud"));
        assert!(answers_elsewhere(&on(&[("bridge", 0), ("cloud", 0)]), "cloud"));
        assert!(answers_elsewhere(&on(&[("bridge", 1), ("cloud", 0)]), "cloud"));
        assert!(!answers_elsewhere(&on(&[("bridge", 0), ("cloud", 1)]), "cloud"));
    }
}
