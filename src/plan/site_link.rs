//! Which link a site is behind, on this host, right now.

use super::Facts;
use crate::model::{Problem, Site, SiteInterface};

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
            let bridge = &networks.get(network)?.bridge;
            facts.links.contains_key(bridge).then(|| bridge.clone())
        }
        // No engine to ask: the bridge that carries the subnet is the one.
        None => facts.link_in(site.subnet, |l| l.kind == "bridge").map(ToOwned::to_owned),
    }
}

fn docker_missing(site: &Site, network: &str, facts: &Facts) -> (String, String) {
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
    use crate::model::Nat;
    use crate::plan::{DockerNetwork, Link};

    fn site(interface: Option<SiteInterface>) -> Site {
        Site {
            subnet: "172.19.0.0/16".parse().unwrap(),
            interface,
            nat: Nat::Auto,
            gateway: false,
            address: None,
            egress: false,
        }
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
    }
}
