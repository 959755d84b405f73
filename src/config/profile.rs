//! Profiles: whole example networks without keys, which `init` fills in. Their comments go into the user's file.

use ipnet::{Ipv4Net, Ipv6Net};

use super::{EditError, NetworkDocument, Setting, parse_network};
use crate::model::{Endpoint, InterfaceName, Network, NodeName, Problem, PublicKey};

const PROFILES: [(&str, &str); 4] = [
    ("wsl-docker", include_str!("../../profiles/wsl-docker.toml")),
    ("webvirtcloud", include_str!("../../profiles/webvirtcloud.toml")),
    ("road-warrior", include_str!("../../profiles/road-warrior.toml")),
    ("site-to-site", include_str!("../../profiles/site-to-site.toml")),
];

/// The profile that `init` takes unless told otherwise.
pub const DEFAULT: &str = "wsl-docker";

/// What replaces a profile's own values; `None`: the profile's value stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileValues {
    /// The network's name, and its interface's.
    pub name: Option<InterfaceName>,
    /// The relay's endpoint.
    pub endpoint: Option<Endpoint>,
    /// The tunnel subnet; every node keeps its place in it (`.2` stays `.2`).
    pub subnet: Option<Ipv4Net>,
    /// An IPv6 tunnel subnet; every node gets the same place in it as in the IPv4 one.
    pub subnet6: Option<Ipv6Net>,
}

/// Why a profile could not be filled in.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// No such profile.
    #[error("there is no profile {name:?}: use {}", names().collect::<Vec<_>>().join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The new subnet has no room for the profile's nodes.
    #[error("{subnet} is too small for node {node} of the profile")]
    TooSmall {
        /// The subnet asked for.
        subnet: ipnet::IpNet,
        /// The first node without a place.
        node: NodeName,
    },
    /// The values asked for do not make a valid network.
    #[error("the profile with these values is not valid: {}", .0.first().map_or("", |p| &p.message))]
    Invalid(Vec<Problem>),
    /// A profile that this program cannot edit: its own fault.
    #[error(transparent)]
    Edit(#[from] EditError),
}

/// Returns the names of the profiles, the default first.
pub fn names() -> impl Iterator<Item = &'static str> {
    PROFILES.iter().map(|(name, _)| *name)
}

/// Returns a profile's text, without keys.
pub fn text(name: &str) -> Option<&'static str> {
    PROFILES.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

/// Returns a profile as a network.toml with these values, and with the public key that `key` gives for each node; comments
/// stay.
pub fn instantiate(
    name: &str,
    values: &ProfileValues,
    key: &mut dyn FnMut(&NodeName) -> PublicKey,
) -> Result<String, ProfileError> {
    let text = text(name).ok_or_else(|| ProfileError::Unknown { name: name.to_owned() })?;
    let mut document = NetworkDocument::parse(text)?;
    for node in node_names(text) {
        document.set_public_key(&node, &key(&node))?;
    }
    let network = checked(&document)?;
    if let Some(name) = &values.name {
        document.set_network_value("name", Some(&Setting::Text(name.to_string())))?;
    }
    for relay in network.relays() {
        if let Some(endpoint) = &values.endpoint {
            document.set_value(&relay.name, "endpoint", Some(&Setting::Text(endpoint.to_string())))?;
        }
    }
    if let Some(subnet) = values.subnet {
        let subnet = subnet.trunc();
        document.set_network_value("subnet", Some(&Setting::Text(subnet.to_string())))?;
        for node in network.nodes.values() {
            let offset = u32::from(node.address) - u32::from(network.subnet.network());
            let moved = u32::from(subnet.network()).checked_add(offset).map(std::net::Ipv4Addr::from);
            let moved = moved.filter(|a| subnet.contains(a) && *a != subnet.broadcast());
            let moved =
                moved.ok_or(ProfileError::TooSmall { subnet: subnet.into(), node: node.name.clone() })?;
            document.set_value(&node.name, "address", Some(&Setting::Text(moved.to_string())))?;
        }
    }
    if let Some(subnet) = values.subnet6 {
        let subnet = subnet.trunc();
        document.set_network_value("subnet6", Some(&Setting::Text(subnet.to_string())))?;
        for node in network.nodes.values() {
            let offset = u32::from(node.address) - u32::from(network.subnet.network());
            let address =
                std::net::Ipv6Addr::from(u128::from(subnet.network()).saturating_add(offset.into()));
            if !subnet.contains(&address) {
                return Err(ProfileError::TooSmall { subnet: subnet.into(), node: node.name.clone() });
            }
            document.set_value(&node.name, "address6", Some(&Setting::Text(address.to_string())))?;
        }
    }
    checked(&document)?;
    Ok(document.to_string())
}

fn checked(document: &NetworkDocument) -> Result<Network, ProfileError> {
    let parsed = parse_network(document.as_str().as_bytes(), "profile");
    parsed.value.ok_or(ProfileError::Invalid(parsed.problems))
}

/// The nodes of a text that is not valid yet, because their keys are missing.
fn node_names(text: &str) -> Vec<NodeName> {
    let document = toml_edit::Document::parse(text).ok();
    let nodes = document.as_ref().and_then(|d| d.get("node")?.as_table());
    nodes.into_iter().flat_map(toml_edit::Table::iter).filter_map(|(name, _)| name.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> impl FnMut(&NodeName) -> PublicKey {
        let mut n = 0;
        move |_| {
            n += 1;
            PublicKey::from_bytes([n; 32])
        }
    }

    #[test]
    fn every_profile_is_valid_without_warnings() {
        for name in names() {
            let text = instantiate(name, &ProfileValues::default(), &mut keys()).unwrap();
            let parsed = parse_network(text.as_bytes(), name);
            assert_eq!(parsed.problems, vec![], "{name}");
            // Comments came along, and nothing but keys was added.
            assert_eq!(
                text.lines().filter(|l| !l.starts_with("public_key")).collect::<Vec<_>>(),
                super::text(name).unwrap().lines().collect::<Vec<_>>()
            );
        }
        assert_eq!(names().next(), Some(DEFAULT));
        assert!(matches!(
            instantiate("x", &ProfileValues::default(), &mut keys()),
            Err(ProfileError::Unknown { .. })
        ));
    }

    #[test]
    fn values_replace_the_profiles_own() {
        let values = ProfileValues {
            name: Some("office".parse().unwrap()),
            endpoint: Some("[2001:db8::1]:443".parse().unwrap()),
            subnet: Some("10.7.0.0/16".parse().unwrap()),
            subnet6: Some("fd5e:1::/64".parse().unwrap()),
        };
        let text = instantiate("wsl-docker", &values, &mut keys()).unwrap();
        let network = parse_network(text.as_bytes(), "n").value.unwrap();
        assert_eq!(network.name.as_str(), "office");
        let docker = &network.nodes["docker"];
        assert_eq!(docker.address.to_string(), "10.7.0.3");
        assert_eq!(docker.address6.unwrap().to_string(), "fd5e:1::3");
        assert_eq!(network.nodes["wsl"].endpoint.as_ref().unwrap().to_string(), "[2001:db8::1]:443");
        let small =
            ProfileValues { subnet: Some("10.7.0.0/30".parse().unwrap()), ..ProfileValues::default() };
        assert!(matches!(instantiate("wsl-docker", &small, &mut keys()), Err(ProfileError::TooSmall { .. })));
    }
}
