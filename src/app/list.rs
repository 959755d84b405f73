//! The data of `list`: nodes, addresses, sites.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{Network, Node, Platform, Role, Timestamp};

/// A network's nodes; serialises as the program's JSON.
#[derive(Debug, Serialize)]
pub struct Listing<'a> {
    /// The version of this form: 1.
    pub version: u32,
    /// The network.
    pub network: &'a str,
    /// Its nodes, by name.
    pub nodes: Vec<ListedNode<'a>>,
}

/// A node of a listing.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "as in network.toml")]
pub struct ListedNode<'a> {
    pub name: &'a str,
    pub role: Role,
    pub platform: Platform,
    pub address: String,
    pub address6: Option<String>,
    pub enabled: bool,
    /// Whether it takes part now: enabled and not expired.
    pub active: bool,
    pub groups: Vec<&'a str>,
    pub expires: Option<String>,
    pub endpoint: Option<String>,
    pub public_key: String,
    pub sites: Vec<String>,
    /// What the others call those of them that have an alias, by their subnets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, String>,
    /// Those of them that a better node carries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub standby: Vec<String>,
}

/// Lists a network.
pub fn list(network: &Network, now: Timestamp) -> Listing<'_> {
    let nodes = network.nodes.values().map(|node| listed(node, now)).collect();
    Listing { version: 1, network: network.name.as_str(), nodes }
}

fn listed(node: &Node, now: Timestamp) -> ListedNode<'_> {
    ListedNode {
        name: node.name.as_str(),
        role: node.role,
        platform: node.platform,
        address: node.address.to_string(),
        address6: node.address6.map(|a| a.to_string()),
        enabled: node.enabled,
        active: node.is_active(now),
        groups: node.groups.iter().map(crate::model::NodeName::as_str).collect(),
        expires: node.expires.map(|t| t.to_string()),
        endpoint: node.endpoint.as_ref().map(ToString::to_string),
        public_key: node.public_key.to_string(),
        sites: node.written_sites().iter().map(|s| s.subnet.to_string()).collect(),
        aliases: node.aliases().map(|(site, alias)| (site.subnet.to_string(), alias.to_string())).collect(),
        standby: node.standby.iter().map(|s| s.site.subnet.to_string()).collect(),
    }
}
