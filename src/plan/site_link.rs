//! Which link a site is behind, on this host, right now.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{DockerNetwork, Facts};
use crate::model::{Node, Problem, Site, SiteInterface};

/// The link of a site on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteLink {
    /// It is there.
    Found(String),
    /// It is not there (yet): the network is up without this site.
    Missing(Box<Problem>),
}

impl SiteLink {
    /// Returns the link's name where it is there.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Found(name) => Some(name),
            Self::Missing(_) => None,
        }
    }
}

/// Finds the link of one of this node's sites.
pub fn resolve(site: &Site, facts: &Facts) -> SiteLink {
    let missing = |message: String, hint: String| {
        SiteLink::Missing(Box::new(Problem::warning(
            "interface-missing",
            format!("site {}", site.subnet),
            message,
            hint,
        )))
    };
    match &site.interface {
        Some(SiteInterface::Link(name)) if facts.links.contains_key(name) => SiteLink::Found(name.clone()),
        Some(SiteInterface::Link(name)) => missing(
            format!("the site {} is behind {name}, and this host has no such interface", site.subnet),
            format!(
                "create {name} (the site is finished when it appears and `wgrelay up` runs again), or correct `interface`"
            ),
        ),
        Some(SiteInterface::Docker(network)) => docker(site, network, facts).map_or_else(
            || {
                let (message, hint) = docker_missing(site, network, facts);
                missing(message, hint)
            },
            SiteLink::Found,
        ),
        None => facts.link_in(site.subnet, |_| true).map_or_else(
            || {
                missing(
                    format!("no interface of this host has an address in the site {}", site.subnet),
                    "give the site its `interface`, or the interface its address".into(),
                )
            },
            |name| SiteLink::Found(name.into()),
        ),
    }
}

fn docker(site: &Site, network: &str, facts: &Facts) -> Option<String> {
    match &facts.docker {
        Some(networks) => {
            if other_subnets(site, network, networks).is_some() {
                return None;
            }
            let bridge = &networks.get(network)?.bridge;
            facts.links.contains_key(bridge).then(|| bridge.clone())
        }
        // No engine to ask: the bridge that carries the subnet is the one.
        None => facts.link_in(site.subnet, |l| l.kind == "bridge").map(ToOwned::to_owned),
    }
}

/// Returns the subnets that an engine's network of this name has, where the site's is none of them.
fn other_subnets<'n>(
    site: &Site,
    network: &str,
    networks: &'n BTreeMap<String, DockerNetwork>,
) -> Option<Vec<&'n IpNet>> {
    let same_family = |net: &&IpNet| net.addr().is_ipv4() == site.subnet.addr().is_ipv4();
    let subnets: Vec<&IpNet> = networks.get(network)?.subnets.iter().filter(same_family).collect();
    let meets = |net: &&IpNet| net.contains(&site.subnet) || site.subnet.contains(*net);
    (!subnets.is_empty() && !subnets.iter().any(meets)).then_some(subnets)
}

/// Tells of each site of a node that is a Docker network with another subnet than the file says.
pub fn wrong_docker_subnets(node: &Node, networks: &BTreeMap<String, DockerNetwork>) -> Vec<Problem> {
    let told = |site: &Site| {
        let Some(SiteInterface::Docker(network)) = &site.interface else { return None };
        let (message, hint) = wrong_subnet(site, network, networks)?;
        Some(Problem::warning("interface-missing", format!("site {}", site.subnet), message, hint))
    };
    node.sites.iter().filter_map(told).collect()
}

fn wrong_subnet(
    site: &Site,
    network: &str,
    networks: &BTreeMap<String, DockerNetwork>,
) -> Option<(String, String)> {
    let subnets = other_subnets(site, network, networks)?;
    let list: Vec<String> = subnets.iter().map(ToString::to_string).collect();
    Some((
        format!(
            "Docker's network {network} is {} here, and the file says {}: nothing reaches its containers",
            list.join(", "),
            site.subnet
        ),
        format!(
            "write {} in place of {} in network.toml (`local` and bridges of other nodes, too), then `wgrelay up` and export \
             the other nodes again; or make the network anew with `--subnet {}`",
            list[0], site.subnet, site.subnet
        ),
    ))
}

fn docker_missing(site: &Site, network: &str, facts: &Facts) -> (String, String) {
    if let Some(wrong) = facts.docker.as_ref().and_then(|networks| wrong_subnet(site, network, networks)) {
        return wrong;
    }
    match &facts.docker {
        None if facts.docker_elsewhere.is_some() => (
            format!(
                "the site {} is Docker's network {network}, and DOCKER_HOST={} names an engine that is not on this host: \
                 its bridges are not here",
                site.subnet,
                facts.docker_elsewhere.as_deref().unwrap_or_default()
            ),
            "run wgrelay where that engine runs; or unset DOCKER_HOST, or set it to unix:///PATH, where the engine is \
             this host's own".into(),
        ),
        None => (
            format!(
                "the site {} is Docker's network {network}, and no Docker engine answers here",
                site.subnet
            ),
            "start Docker, then run `wgrelay up` again (DOCKER_HOST is honoured)".into(),
        ),
        Some(networks) if networks.contains_key(network) && facts.engine.as_ref().is_some_and(super::DockerEngine::is_desktop) => (
            format!(
                "Docker's network {network} is in the machine that {} runs its containers in: its bridge is not here, and \
                 nothing here can reach it",
                facts.engine.as_ref().map(|e| e.platform.as_str()).unwrap_or_default()
            ),
            "install Docker Engine in this distribution and switch Docker Desktop's integration with it off; or run \
             wgrelay in a container that is attached to the network (`wgrelay doctor` says more)".into(),
        ),
        Some(networks) if networks.contains_key(network) => (
            format!("the bridge of Docker's network {network} is not in this network namespace"),
            "run wgrelay where the engine runs (Docker Desktop keeps its bridges in a machine of its own)"
                .into(),
        ),
        Some(_) if facts.docker_unbridged.contains_key(network) => {
            let driver = &facts.docker_unbridged[network];
            let why = match driver.as_str() {
                "macvlan" | "ipvlan" => {
                    "its containers are on the parent's link beside this host, and the kernel passes nothing between the two"
                }
                _ => "this host has no link in it",
            };
            (
                format!("Docker's network {network} is a {driver} network, not a bridge: {why}"),
                "run wgrelay in a container that is attached to it, or on another host of that LAN; or attach the containers to a \
                 bridge network, too, and make that the site"
                    .into(),
            )
        }
        Some(networks) => (
            format!("Docker has no network named {network}"),
            match networks.keys().map(String::as_str).collect::<Vec<_>>().as_slice() {
                [] => "create it, then run `wgrelay up` again".into(),
                names => format!("it has {}; correct `interface`, or create the network", names.join(", ")),
            },
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::{DockerNetwork, Link};

    fn site(interface: Option<SiteInterface>) -> Site {
        Site { interface, ..Site::new("172.19.0.0/16".parse().unwrap()) }
    }

    fn facts() -> Facts {
        let bridge = Link {
            kind: "bridge".into(),
            addresses: vec!["172.19.0.1/16".parse().unwrap()],
            ..Link::default()
        };
        Facts { links: [("br-6a7541fe74a1".to_string(), bridge)].into(), ..Facts::default() }
    }

    #[test]
    fn the_link_of_the_whole_subnet_is_meant_not_that_of_a_part() {
        let link = |address: &str| Link { addresses: vec![address.parse().unwrap()], ..Link::default() };
        let found = |links: &[(&str, &str)]| {
            let links = links.iter().map(|(name, address)| (name.to_string(), link(address))).collect();
            let facts = Facts { links, ..Facts::default() };
            resolve(&site(None), &facts).name().map(ToOwned::to_owned)
        };
        assert_eq!(found(&[("a", "172.19.0.73/26"), ("b", "172.19.0.1/16")]).as_deref(), Some("b"));
        assert_eq!(found(&[("a", "172.19.0.73/26"), ("b", "172.19.0.1/12")]).as_deref(), Some("b"));
        assert_eq!(found(&[("a", "172.19.0.73/26"), ("b", "172.20.0.1/16")]).as_deref(), Some("a"));
        assert_eq!(found(&[("a", "172.18.0.1/12")]), None);
    }

    #[test]
    fn without_an_engine_the_bridge_is_found_by_its_address() {
        let wanted = site(Some(SiteInterface::Docker("webvirtcloud_default".into())));
        assert_eq!(resolve(&wanted, &facts()).name(), Some("br-6a7541fe74a1"));
        assert_eq!(resolve(&wanted, &Facts::default()).name(), None);
        assert_eq!(resolve(&site(None), &facts()).name(), Some("br-6a7541fe74a1"));
    }

    #[test]
    fn the_engine_is_believed() {
        let network = DockerNetwork {
            bridge: "br-6a7541fe74a1".into(),
            subnets: vec!["172.19.0.0/16".parse().unwrap()],
            ..DockerNetwork::default()
        };
        let with = |name: &str| Facts {
            docker: Some(BTreeMap::from([(name.to_string(), network.clone())])),
            ..facts()
        };
        let wanted = site(Some(SiteInterface::Docker("webvirtcloud_default".into())));
        assert_eq!(resolve(&wanted, &with("webvirtcloud_default")).name(), Some("br-6a7541fe74a1"));
        let SiteLink::Missing(problem) = resolve(&wanted, &with("other")) else { panic!("found") };
        assert!(problem.hint.contains("it has other"), "{problem}");
        // One without a bridge is said to be one.
        let mut facts = with("other");
        facts.docker_unbridged.insert("webvirtcloud_default".into(), "macvlan".into());
        let SiteLink::Missing(problem) = resolve(&wanted, &facts) else { panic!("found") };
        assert!(problem.message.contains("is a macvlan network, not a bridge"), "{problem}");
        // Another subnet than the file says: a part of it, or more, is the same network.
        for (subnet, found) in [
            ("172.20.0.0/16", false),
            ("172.19.0.0/24", true),
            ("172.16.0.0/12", true),
            ("fd00:19::/64", true),
        ] {
            let mut facts = with("webvirtcloud_default");
            let networks = facts.docker.as_mut().unwrap();
            networks.get_mut("webvirtcloud_default").unwrap().subnets = vec![subnet.parse().unwrap()];
            match resolve(&wanted, &facts) {
                SiteLink::Found(_) => assert!(found, "{subnet}"),
                SiteLink::Missing(problem) => {
                    assert!(!found && problem.message.contains("172.20.0.0/16"), "{problem}");
                }
            }
        }
    }
}
