//! Where things stand that a network was read from, so that a rule between fields can name a place.

use std::collections::BTreeMap;

use crate::model::{Network, NodeName};

/// Where something stands: an offset in a file, or an index into labels. Smaller is earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mark(pub usize);

/// Where a node's fields stand. `None`: not written, or not valid.
#[derive(Debug, Clone, Default)]
pub struct NodeMarks {
    /// The node itself; the name's place.
    pub node: Mark,
    /// `role`; `None` where the value was not valid (the default counts as valid).
    pub role: Option<Mark>,
    /// `address`.
    pub address: Option<Mark>,
    /// `address6`.
    pub address6: Option<Mark>,
    /// `endpoint`.
    pub endpoint: Option<Mark>,
    /// Whether `endpoint` was written at all, valid or not.
    pub has_endpoint: bool,
    /// The names in `endpoint_of`.
    pub endpoint_of: BTreeMap<NodeName, Mark>,
    /// `public_key`.
    pub public_key: Option<Mark>,
    /// `routes`.
    pub routes: Option<Mark>,
    /// `mtu`.
    pub mtu: Option<Mark>,
    /// `keepalive`.
    pub keepalive: Option<Mark>,
    /// `egress`.
    pub egress: Option<Mark>,
    /// `via`.
    pub via: Option<Mark>,
    /// `relays`; `None`: not written.
    pub relays: Option<Mark>,
    /// One for each of the node's `relays`, in order.
    pub each_relay: Vec<Mark>,
    /// `hosts`; `None`: not written.
    pub hosts: Option<Mark>,
    /// One for each of the node's `hosts`, in order.
    pub each_host: Vec<Mark>,
    /// `floating`; `None`: not written.
    pub floating: Option<Mark>,
    /// One for each of the node's sites, in order.
    pub sites: Vec<SiteMarks>,
    /// One for each of the node's bridges, in order.
    pub bridges: Vec<BridgeMarks>,
    /// One for each of the node's `local` prefixes, in order.
    pub local: Vec<Mark>,
    /// One for each prefix, in order.
    pub except: Vec<Mark>,
}

/// Where a site's fields stand. `None`: not written, or not valid.
#[derive(Debug, Clone, Default)]
pub struct SiteMarks {
    /// `subnet`.
    pub subnet: Option<Mark>,
    /// `interface`.
    pub interface: Option<Mark>,
    /// `address`.
    pub address: Option<Mark>,
    /// `nat`.
    pub nat: Option<Mark>,
    /// `preference`.
    pub preference: Option<Mark>,
    /// `alias`.
    pub alias: Option<Mark>,
}

/// Where a bridge's fields stand. `None`: not written, or not valid.
#[derive(Debug, Clone, Default)]
pub struct BridgeMarks {
    /// `name`.
    pub name: Option<Mark>,
    /// One for each address, in order.
    pub addresses: Vec<Mark>,
    /// One for each port, in order.
    pub ports: Vec<Mark>,
}

/// Where everything stands that a network was read from.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    /// `network.name`.
    pub name: Option<Mark>,
    /// `network.subnet`.
    pub subnet: Option<Mark>,
    /// `network.subnet6`.
    pub subnet6: Option<Mark>,
    /// `network.mtu`.
    pub mtu: Option<Mark>,
    /// The nodes' fields.
    pub nodes: BTreeMap<NodeName, NodeMarks>,
    /// For each allow rule, where each of its places stands: `from`, then `to`.
    pub allow: Vec<Vec<Mark>>,
    /// For each forward, where its `on`, `port` and `to` stand; of a key that is not written, the table.
    pub forward: Vec<[Mark; 3]>,
    /// For each expectation, where `from` and `to` stand.
    pub expect: Vec<[Mark; 2]>,
    /// Whether the list of nodes and their roles is known to be complete; where it is not, nothing is said to be missing.
    pub complete: bool,
}

/// Marks a network that has no file; the labels say in words what each mark stands for.
pub(super) fn label(network: &Network, labels: &mut Vec<String>) -> Marks {
    let mut mark = |text: String| {
        labels.push(text);
        Mark(labels.len() - 1)
    };
    // The first label stands for the whole network, as the start of a file does.
    mark("network".into());
    let mut marks = Marks {
        name: Some(mark("network.name".into())),
        subnet: Some(mark("network.subnet".into())),
        subnet6: Some(mark("network.subnet6".into())),
        mtu: Some(mark("network.mtu".into())),
        complete: true,
        ..Marks::default()
    };
    for (name, node) in &network.nodes {
        let mut field = |f: &str| Some(mark(format!("node.{name}.{f}")));
        let sites = (0..node.sites.len())
            .map(|i| SiteMarks {
                subnet: field(&format!("site[{i}].subnet")),
                interface: field(&format!("site[{i}].interface")),
                address: field(&format!("site[{i}].address")),
                nat: field(&format!("site[{i}].nat")),
                preference: field(&format!("site[{i}].preference")),
                alias: field(&format!("site[{i}].alias")),
            })
            .collect();
        let bridges = node.bridges.iter().enumerate().map(|(i, b)| BridgeMarks {
            name: field(&format!("bridge[{i}].name")),
            addresses: b.addresses.iter().filter_map(|_| field(&format!("bridge[{i}].addresses"))).collect(),
            ports: b.ports.iter().filter_map(|_| field(&format!("bridge[{i}].ports"))).collect(),
        });
        let bridges = bridges.collect();
        let at = NodeMarks {
            role: field("role"),
            address: field("address"),
            address6: node.address6.and_then(|_| field("address6")),
            endpoint: node.endpoint.as_ref().and_then(|_| field("endpoint")),
            has_endpoint: node.endpoint.is_some(),
            endpoint_of: node
                .endpoint_of
                .keys()
                .filter_map(|other| Some((other.clone(), field(&format!("endpoint_of.{other}"))?)))
                .collect(),
            public_key: field("public_key"),
            routes: field("routes"),
            mtu: node.mtu.and_then(|_| field("mtu")),
            keepalive: node.keepalive.and_then(|_| field("keepalive")),
            egress: field("egress"),
            via: node.via.as_ref().and_then(|_| field("via")),
            relays: Some(&node.relays).filter(|list| !list.is_empty()).and_then(|_| field("relays")),
            each_relay: node.relays.iter().filter_map(|_| field("relays")).collect(),
            hosts: Some(&node.hosts).filter(|list| !list.is_empty()).and_then(|_| field("hosts")),
            each_host: node.hosts.iter().filter_map(|_| field("hosts")).collect(),
            floating: node.floating.and_then(|_| field("floating")),
            local: node.local.iter().filter_map(|_| field("local")).collect(),
            except: node.except.iter().filter_map(|_| field("except")).collect(),
            sites,
            bridges,
            node: mark(format!("node.{name}")),
        };
        marks.nodes.insert(name.clone(), at);
    }
    marks.allow = network
        .allow
        .iter()
        .enumerate()
        .map(|(i, r)| {
            let from = r.from.iter().map(|_| format!("allow[{i}].from"));
            let to = r.to.iter().map(|_| format!("allow[{i}].to"));
            from.chain(to).map(&mut mark).collect()
        })
        .collect();
    marks.forward = (0..network.forward.len())
        .map(|i| ["on", "port", "to"].map(|key| mark(format!("forward[{i}].{key}"))))
        .collect();
    marks.expect = (0..network.expect.len())
        .map(|i| [mark(format!("expect[{i}].from")), mark(format!("expect[{i}].to"))])
        .collect();
    marks
}
