//! Containers with two homes: one that is on two of Docker's networks answers by its default way, which need not be
//! the way by which it was asked.

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

/// Says whether a container is on a network that is not plainly its default way.
fn answers_elsewhere(container: &DockerContainer, network: &str) -> bool {
    let Some(priority) = container.networks.get(network) else { return false };
    container.networks.iter().any(|(other, p)| other != network && p >= priority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_priority_is_the_way_out() {
        let on = |networks: &[(&str, i64)]| DockerContainer {
            name: "compute".into(),
            networks: networks.iter().map(|(name, p)| ((*name).to_string(), *p)).collect(),
        };
        assert!(!answers_elsewhere(&on(&[("cloud", 0)]), "cloud"));
        assert!(!answers_elsewhere(&on(&[("bridge", 0), ("other", 0)]), "cloud"));
        assert!(answers_elsewhere(&on(&[("bridge", 0), ("cloud", 0)]), "cloud"));
        assert!(answers_elsewhere(&on(&[("bridge", 1), ("cloud", 0)]), "cloud"));
        assert!(!answers_elsewhere(&on(&[("bridge", 0), ("cloud", 1)]), "cloud"));
    }
}
