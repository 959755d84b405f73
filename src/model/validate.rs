//! Rules between fields: duplicates, overlaps, sites in the tunnel subnet, too many relays.
//!
//! A check works on what could be read: a field that was faulty has no mark, and is left out of every comparison, so one
//! fault hides no other. Nothing here compares all with all; 5,000 nodes take milliseconds.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use super::allocate::{is_host, is_host6};
use super::{
    EndpointHost, InterfaceName, Nat, Network, Node, NodeName, PlaceRef, Platform, PrefixMap, Problem, Role,
    Routes, Severity, Site, SiteInterface,
};

/// The smallest MTU in bytes that every IPv6 link has (RFC 8200, section 5).
const MTU_IPV6: u16 = 1280;

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
    /// `public_key`.
    pub public_key: Option<Mark>,
    /// `routes`.
    pub routes: Option<Mark>,
    /// `mtu`.
    pub mtu: Option<Mark>,
    /// `egress`.
    pub egress: Option<Mark>,
    /// One for each of the node's sites, in order.
    pub sites: Vec<SiteMarks>,
    /// One for each of the node's bridges, in order.
    pub bridges: Vec<BridgeMarks>,
    /// One for each of the node's `local` prefixes, in order.
    pub local: Vec<Mark>,
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
    /// For each expectation, where `from` and `to` stand.
    pub expect: Vec<[Mark; 2]>,
    /// Whether the list of nodes and their roles is known to be complete; where it is not, nothing is said to be missing.
    pub complete: bool,
}

/// A problem before it has a place in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub mark: Mark,
    /// The problem, its place still empty.
    pub problem: Problem,
}

/// Checks the rules between fields.
pub fn validate(network: &Network, marks: &Marks) -> Vec<Finding> {
    let mut check = Check { network, marks, found: Vec::new() };
    check.tunnel();
    check.roles();
    check.addresses();
    check.keys();
    for (node, at) in check.nodes() {
        check.node(node, at);
    }
    let sites = check.sites();
    check.endpoints(&sites);
    check.policy(&sites);
    check.found
}

/// Checks a network that was not read from a file; places are such as `node.docker.address`.
pub fn validate_network(network: &Network) -> Vec<Problem> {
    let mut labels = Vec::new();
    let marks = label(network, &mut labels);
    let mut problems: Vec<Problem> = validate(network, &marks)
        .into_iter()
        .map(|f| Problem { place: labels.get(f.mark.0).cloned().unwrap_or_default(), ..f.problem })
        .collect();
    problems.sort();
    problems
}

fn label(network: &Network, labels: &mut Vec<String>) -> Marks {
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
            public_key: field("public_key"),
            routes: field("routes"),
            mtu: node.mtu.and_then(|_| field("mtu")),
            egress: field("egress"),
            local: node.local.iter().filter_map(|_| field("local")).collect(),
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
    marks.expect = (0..network.expect.len())
        .map(|i| [mark(format!("expect[{i}].from")), mark(format!("expect[{i}].to"))])
        .collect();
    marks
}

struct Check<'n> {
    network: &'n Network,
    marks: &'n Marks,
    found: Vec<Finding>,
}

impl<'n> Check<'n> {
    fn add(&mut self, severity: Severity, mark: Mark, code: &str, message: String, hint: impl Into<String>) {
        let problem = match severity {
            Severity::Error => Problem::error(code, "", message, hint),
            Severity::Warning => Problem::warning(code, "", message, hint),
        };
        self.found.push(Finding { mark, problem });
    }
    fn error(&mut self, mark: Mark, code: &str, message: String, hint: impl Into<String>) {
        self.add(Severity::Error, mark, code, message, hint);
    }
    fn warn(&mut self, mark: Mark, code: &str, message: String, hint: impl Into<String>) {
        self.add(Severity::Warning, mark, code, message, hint);
    }

    /// The nodes in the order of the file, so that of two that clash the later one is named.
    fn nodes(&self) -> Vec<(&'n Node, &'n NodeMarks)> {
        let marks = self.marks;
        let mut all: Vec<_> =
            self.network.nodes.values().filter_map(|n| Some((n, marks.nodes.get(&n.name)?))).collect();
        all.sort_by_key(|(_, at)| at.node);
        all
    }

    /// The tunnel subnets that were read without fault.
    fn tunnels(&self) -> impl Iterator<Item = IpNet> + use<'n> {
        let v4 = self.marks.subnet.map(|_| IpNet::V4(self.network.subnet));
        let v6 = self.marks.subnet6.and(self.network.subnet6).map(IpNet::V6);
        v4.into_iter().chain(v6)
    }

    fn tunnel(&mut self) {
        let net = self.network;
        if let Some(mark) = self.marks.subnet {
            if net.subnet.prefix_len() > 30 {
                let message = format!("{} is too small for a relay and a spoke", net.subnet);
                self.error(mark, "subnet-too-small", message, "use a /30 or wider; a /24 holds 254 nodes");
            } else if let Some(why) = unusable(net.subnet.into()) {
                self.error(
                    mark,
                    "bad-subnet",
                    format!("{} cannot be a tunnel subnet: {why}", net.subnet),
                    "use a private range such as 10.88.0.0/24",
                );
            }
        }
        if let (Some(mark), Some(subnet)) = (self.marks.subnet6, net.subnet6) {
            if subnet.prefix_len() > 126 {
                let message = format!("{subnet} is too small for a relay and a spoke");
                self.error(mark, "subnet-too-small", message, "use a /64 out of fd00::/8");
            } else if let Some(why) = unusable(subnet.into()) {
                self.error(
                    mark,
                    "bad-subnet",
                    format!("{subnet} cannot be a tunnel subnet: {why}"),
                    "use a /64 out of fd00::/8",
                );
            }
        }
        if let (Some(mark), Some(_)) = (self.marks.mtu, net.subnet6)
            && net.mtu < MTU_IPV6
        {
            self.error(
                mark,
                "bad-mtu",
                format!("an MTU of {} is too small for IPv6", net.mtu),
                "use 1280 or more, or take subnet6 away",
            );
        }
    }

    fn roles(&mut self) {
        let relays: Vec<_> =
            self.nodes().into_iter().filter(|(n, at)| n.is_relay() && at.role.is_some()).collect();
        if relays.is_empty() && self.marks.complete {
            self.error(
                Mark(0),
                "no-relay",
                "the network has no relay".into(),
                "give one node role = \"relay\" and an endpoint",
            );
        }
        if let [(first, _), rest @ ..] = relays.as_slice() {
            for (node, at) in rest {
                self.error(
                    at.role.unwrap_or(at.node),
                    "several-relays",
                    format!(
                        "node {} is a second relay beside {}: a network has one for now",
                        node.name, first.name
                    ),
                    "make it a spoke, or give it a network of its own",
                );
            }
        }
        let egress = relays.iter().any(|(n, _)| n.egress);
        for (node, at) in &relays {
            if !at.has_endpoint {
                self.warn(
                    at.node,
                    "no-endpoint",
                    format!("relay {} has no endpoint: no spoke can start a session with it", node.name),
                    "add endpoint = \"HOST:51820\"",
                );
            }
            if !node.enabled {
                self.warn(
                    at.node,
                    "relay-disabled",
                    format!("relay {} is disabled: no packet passes between nodes", node.name),
                    format!("enable it: wgrelay enable {}", node.name),
                );
            }
            if matches!(node.platform, Platform::Android | Platform::Ios) {
                self.warn(
                    at.node,
                    "relay-platform",
                    format!(
                        "relay {} runs on {}, whose client does not forward packets",
                        node.name,
                        node.platform.as_str()
                    ),
                    "make a Linux node the relay",
                );
            }
        }
        for (node, at) in self.nodes() {
            if node.role == Role::Spoke && at.role.is_some() && node.egress {
                self.error(
                    at.egress.unwrap_or(at.node),
                    "egress-on-spoke",
                    format!("node {} is a spoke: egress belongs on the relay", node.name),
                    "set it on the relay; for the hosts of a site, on the site",
                );
            }
            if node.routes == Routes::Full && !egress && self.marks.complete && !node.is_relay() {
                self.warn(
                    at.routes.unwrap_or(at.node),
                    "no-egress",
                    format!(
                        "node {} sends everything into the tunnel, and no relay lets it out to the Internet",
                        node.name
                    ),
                    "set egress = true on the relay, or routes = \"split\"",
                );
            }
        }
    }

    fn addresses(&mut self) {
        let net = self.network;
        let mut seen: HashMap<IpAddr, &NodeName> = HashMap::new();
        for (node, at) in self.nodes() {
            if let Some(mark) = at.address {
                let a = node.address;
                if self.marks.subnet.is_some() && !is_host(net.subnet, a) {
                    let (code, why) = if !net.subnet.contains(&a) {
                        ("address-outside", format!("is outside the tunnel subnet {}", net.subnet))
                    } else if a == net.subnet.network() {
                        ("bad-address", format!("is the network address of {}", net.subnet))
                    } else {
                        ("bad-address", format!("is the broadcast address of {}", net.subnet))
                    };
                    let hint = in_between(net.subnet);
                    self.error(mark, code, format!("{a} of node {} {why}", node.name), hint);
                }
                self.once(&mut seen, a.into(), node, mark);
            }
            if let (Some(mark), Some(a)) = (at.address6, node.address6) {
                match net.subnet6 {
                    None => {
                        // A subnet6 that was written and not valid has been told already.
                        if self.marks.complete {
                            self.error(
                                mark,
                                "no-subnet6",
                                format!(
                                    "node {} has an IPv6 address, and the network has no subnet6",
                                    node.name
                                ),
                                "add subnet6 = \"fd…::/64\" to [network]",
                            );
                        }
                    }
                    Some(subnet) if self.marks.subnet6.is_some() && !is_host6(subnet, a) => {
                        let (code, why) = if subnet.contains(&a) {
                            ("bad-address", "is the network address of")
                        } else {
                            ("address-outside", "is outside the tunnel subnet")
                        };
                        self.error(mark, code, format!("{a} of node {} {why} {subnet}", node.name), "");
                    }
                    Some(_) => {}
                }
                self.once(&mut seen, a.into(), node, mark);
            }
            if let (Some(mark), Some(mtu), Some(_)) = (at.mtu, node.mtu, net.subnet6)
                && mtu < MTU_IPV6
            {
                self.error(
                    mark,
                    "bad-mtu",
                    format!("an MTU of {mtu} on node {} is too small for IPv6", node.name),
                    "use 1280 or more",
                );
            }
        }
    }

    fn once(
        &mut self,
        seen: &mut HashMap<IpAddr, &'n NodeName>,
        address: IpAddr,
        node: &'n Node,
        mark: Mark,
    ) {
        match seen.get(&address) {
            Some(other) => {
                let message =
                    format!("{address} of node {} is already the address of node {other}", node.name);
                self.error(mark, "duplicate-address", message, "give one of them a free address");
            }
            None => {
                seen.insert(address, &node.name);
            }
        }
    }

    fn keys(&mut self) {
        let mut seen: HashMap<&[u8; 32], &NodeName> = HashMap::new();
        for (node, at) in self.nodes() {
            let Some(mark) = at.public_key else { continue };
            let key = node.public_key.as_bytes();
            if *key == [0; 32] {
                self.error(
                    mark,
                    "bad-key",
                    format!("the public key of node {} is all zero", node.name),
                    "make a pair: wgrelay genkey, then wgrelay pubkey",
                );
            } else if let Some(other) = seen.insert(key, &node.name) {
                let message = format!("node {} has the same public key as node {other}", node.name);
                self.error(
                    mark,
                    "duplicate-key",
                    message,
                    format!("every node needs a pair of its own: wgrelay rotate {}", node.name),
                );
                seen.insert(key, other);
            }
        }
    }

    fn node(&mut self, node: &'n Node, at: &NodeMarks) {
        let name = &node.name;
        // A place in [[allow]] is a node, an address, "internet" or "*": a node may not look like another of these.
        if name.as_str() == "internet" || name.as_str().parse::<IpAddr>().is_ok() {
            self.error(
                at.node,
                "bad-name",
                format!("{name} cannot be a node's name: it means something else in [[allow]]"),
                "choose another name",
            );
        }
        for (site, at) in node.sites.iter().zip(&at.sites) {
            self.site_link(node, site, at);
        }
        self.bridges(node, at);
        for (local, mark) in node.local.iter().zip(&at.local) {
            if let Some(tunnel) = self.tunnels().find(|t| overlap(*t, *local)) {
                self.error(*mark, "local-in-tunnel", format!("node {name} cannot be attached to {local} itself: it overlaps the tunnel subnet {tunnel}"), "local names networks beside the tunnel; take it away, or change the tunnel subnet");
            } else if let Some(why) = unusable(*local) {
                self.error(*mark, "bad-prefix", format!("{local} cannot be local to node {name}: {why}"), "");
            } else if node
                .sites
                .iter()
                .zip(&at.sites)
                .any(|(s, at)| at.subnet.is_some() && s.subnet == *local)
            {
                self.warn(
                    *mark,
                    "local-is-site",
                    format!("{local} is a site of node {name} anyway"),
                    "a node's own sites need no local",
                );
            }
        }
    }

    fn site_link(&mut self, node: &Node, site: &Site, at: &SiteMarks) {
        if let (Some(mark), Some(SiteInterface::Link(link))) = (at.interface, &site.interface) {
            if let Some(why) = bad_link(link, node.platform) {
                self.error(
                    mark,
                    "bad-interface",
                    format!("{link:?} cannot be an interface of node {}: {why}", node.name),
                    "ip link shows the names; a Docker network is docker:NAME",
                );
            } else if *link == self.network.name.as_str() && self.marks.name.is_some() {
                self.error(
                    mark,
                    "bad-interface",
                    format!(
                        "{link} is the tunnel itself: a site of node {} lies behind another interface",
                        node.name
                    ),
                    "ip route get ADDRESS shows which",
                );
            }
        }
        if let (Some(mark), Some(_), Some(a)) = (at.address, at.subnet, site.address) {
            if !site.subnet.contains(&a) {
                self.error(
                    mark,
                    "address-outside",
                    format!("{a} of node {} is outside its site {}", node.name, site.subnet),
                    "write the node's own address there, or leave it out",
                );
            } else if !usable_host(site.subnet, a) {
                self.error(
                    mark,
                    "bad-address",
                    format!("{a} is the network or broadcast address of site {}", site.subnet),
                    "",
                );
            }
        }
        if let Some(mark) = at.nat
            && site.gateway
            && site.nat == Nat::Masquerade
        {
            self.warn(
                mark,
                "needless-nat",
                format!(
                    "hosts of site {} have node {} as their gateway: masquerading only hides who calls",
                    site.subnet, node.name
                ),
                "nat = \"none\" lets them see the sender",
            );
        }
    }

    fn bridges(&mut self, node: &'n Node, at: &NodeMarks) {
        let mut names: HashMap<&str, ()> = HashMap::new();
        let mut addresses: HashMap<IpAddr, &InterfaceName> = HashMap::new();
        let mut ports: HashMap<&str, &InterfaceName> = HashMap::new();
        for (bridge, at) in node.bridges.iter().zip(&at.bridges) {
            if let Some(mark) = at.name {
                if names.insert(bridge.name.as_str(), ()).is_some() {
                    self.error(
                        mark,
                        "duplicate-bridge",
                        format!("node {} has two bridges {}", node.name, bridge.name),
                        "put their addresses and ports into one",
                    );
                }
                if bridge.name == self.network.name && self.marks.name.is_some() {
                    self.error(
                        mark,
                        "bad-interface",
                        format!(
                            "bridge {} of node {} has the name of the tunnel's interface",
                            bridge.name, node.name
                        ),
                        "give it another name",
                    );
                }
            }
            for (address, mark) in bridge.addresses.iter().zip(&at.addresses) {
                if !usable_host(*address, address.addr()) {
                    self.error(
                        *mark,
                        "bad-address",
                        format!("{address} on bridge {} is the network or broadcast address", bridge.name),
                        "write a host's address with its prefix length, such as 192.168.33.1/24",
                    );
                } else if let Some(tunnel) = self.tunnels().find(|t| overlap(*t, address.trunc())) {
                    self.error(
                        *mark,
                        "bridge-in-tunnel",
                        format!(
                            "{address} on bridge {} of node {} overlaps the tunnel subnet {tunnel}",
                            bridge.name, node.name
                        ),
                        "use another network on the bridge, or for the tunnel",
                    );
                }
                if let Some(other) = addresses.insert(address.addr(), &bridge.name) {
                    self.error(
                        *mark,
                        "duplicate-address",
                        format!(
                            "{} is on bridge {} and on bridge {other} of node {}",
                            address.addr(),
                            bridge.name,
                            node.name
                        ),
                        "an address belongs on one link",
                    );
                }
            }
            for (port, mark) in bridge.ports.iter().zip(&at.ports) {
                if let Some(why) = bad_link(port, Platform::Linux) {
                    self.error(
                        *mark,
                        "bad-interface",
                        format!("{port:?} cannot be a port of bridge {}: {why}", bridge.name),
                        "ip link shows the names",
                    );
                } else if *port == bridge.name.as_str() || *port == self.network.name.as_str() {
                    self.error(
                        *mark,
                        "bad-interface",
                        format!("{port} cannot be a port of bridge {}", bridge.name),
                        "a port is another link of the host, such as eth0",
                    );
                } else if let Some(other) = ports.insert(port, &bridge.name) {
                    self.error(
                        *mark,
                        "duplicate-port",
                        format!("{port} is a port of bridge {} and of bridge {other}", bridge.name),
                        "a link is a port of one bridge",
                    );
                }
            }
        }
    }

    fn sites(&mut self) -> PrefixMap<&'n Node> {
        let mut claims: PrefixMap<&'n Node> = PrefixMap::default();
        let mut placed: Vec<(IpNet, Mark, &Node)> = Vec::new();
        for (node, at) in self.nodes() {
            for (site, at) in node.sites.iter().zip(&at.sites) {
                let Some(mark) = at.subnet else { continue };
                let subnet = site.subnet;
                if let Some(why) = unusable(subnet) {
                    self.error(
                        mark,
                        "bad-prefix",
                        format!("{subnet} cannot be a site of node {}: {why}", node.name),
                        if subnet.prefix_len() == 0 {
                            "the Internet behind a relay is egress = true"
                        } else {
                            ""
                        },
                    );
                    continue;
                }
                if let Some(tunnel) = self.tunnels().find(|t| t.contains(&subnet)) {
                    self.error(
                        mark,
                        "site-in-tunnel",
                        format!("site {subnet} of node {} lies in the tunnel subnet {tunnel}", node.name),
                        "a site is a network behind the node; its tunnel address needs none",
                    );
                    continue;
                }
                if let Some(tunnel) = self.tunnels().find(|t| subnet.contains(t)) {
                    self.warn(mark, "tunnel-in-site", format!("site {subnet} of node {} surrounds the tunnel subnet {tunnel}: the tunnel wins there", node.name), "choose a tunnel subnet outside it if hosts of the site use these addresses");
                }
                if let Some(other) = claims.get(subnet) {
                    let message = if other.name == node.name {
                        format!("node {} has the site {subnet} twice", node.name)
                    } else {
                        format!(
                            "site {subnet} of node {} is already a site of node {}",
                            node.name, other.name
                        )
                    };
                    let hint = "a prefix can be behind one node; where a node is only attached to it, write it under local";
                    // A stand-by that is switched off claims nothing yet.
                    if other.name != node.name && !(other.enabled && node.enabled) {
                        self.warn(mark, "duplicate-prefix", message, "only one of them may be enabled");
                    } else {
                        self.error(mark, "duplicate-prefix", message, hint);
                    }
                    continue;
                }
                claims.insert_new(subnet, node);
                placed.push((subnet, mark, node));
            }
        }
        for (subnet, mark, node) in placed {
            if let Some((wider, owner)) = claims.wider_than(subnet) {
                self.warn(
                    mark,
                    "nested-site",
                    format!(
                        "site {subnet} of node {} lies in site {wider} of node {}: the longer prefix wins",
                        node.name, owner.name
                    ),
                    "",
                );
            }
        }
        claims
    }

    /// A relay's endpoint that its spokes would look for inside the tunnel can never be reached.
    fn endpoints(&mut self, sites: &PrefixMap<&'n Node>) {
        for (node, at) in self.nodes() {
            let (Some(mark), Some(endpoint)) = (at.endpoint, &node.endpoint) else { continue };
            let EndpointHost::Ip(ip) = endpoint.host else { continue };
            if ip.is_unspecified() || ip.is_multicast() {
                self.error(
                    mark,
                    "bad-endpoint",
                    format!("{ip} cannot be the endpoint of node {}", node.name),
                    "write the address at which the others reach it",
                );
            } else if let Some(tunnel) = self.tunnels().find(|t| t.contains(&ip)) {
                self.error(
                    mark,
                    "endpoint-in-tunnel",
                    format!("endpoint {endpoint} of node {} lies in the tunnel subnet {tunnel}", node.name),
                    "an endpoint is an address outside the tunnel",
                );
            } else if let Some((site, owner)) = sites.overlapping(ip.into()) {
                self.warn(mark, "endpoint-in-site", format!("endpoint {endpoint} of node {} lies in site {site} of node {}: spokes would look for it through the tunnel", node.name, owner.name), "give spokes that are on that network local, or use an endpoint outside it");
            }
        }
    }

    fn policy(&mut self, sites: &PrefixMap<&'n Node>) {
        let network = self.network;
        let egress = network.nodes.values().any(|n| n.egress || n.sites.iter().any(|s| s.egress));
        for (rule, marks) in network.allow.iter().zip(&self.marks.allow) {
            for (place, mark) in rule.from.iter().chain(&rule.to).zip(marks) {
                self.place(place, *mark, sites, egress);
            }
        }
        for (promise, [from, to]) in network.expect.iter().zip(&self.marks.expect) {
            self.place(&promise.from, *from, sites, egress);
            self.place(&promise.to, *to, sites, egress);
            if promise.from == PlaceRef::Internet {
                self.warn(
                    *from,
                    "from-internet",
                    "no flow starts in the Internet: nothing there has an address of the network".into(),
                    "",
                );
            }
        }
    }

    fn place(&mut self, place: &PlaceRef, mark: Mark, sites: &PrefixMap<&'n Node>, egress: bool) {
        let prefix = match place {
            PlaceRef::Any => return,
            PlaceRef::Internet => {
                if !egress && self.marks.complete {
                    self.warn(
                        mark,
                        "no-egress",
                        "no node lets anything out to the Internet".into(),
                        "set egress = true on the relay or on a site",
                    );
                }
                return;
            }
            PlaceRef::Node(name) => {
                if !self.network.nodes.contains_key(name) && self.marks.complete {
                    let near = nearest(name.as_str(), self.network.nodes.keys().map(NodeName::as_str));
                    let hint = near.map_or_else(
                        || "a place is a node, a site's subnet, an address, \"*\" or \"internet\"".into(),
                        |n| format!("did you mean {n:?}?"),
                    );
                    self.error(mark, "unknown-place", format!("no node is called {name:?}"), hint);
                }
                return;
            }
            PlaceRef::Prefix(net) => *net,
            PlaceRef::Address(ip) => IpNet::from(*ip),
        };
        let known = self.tunnels().any(|t| overlap(t, prefix)) || sites.overlapping(prefix).is_some();
        if !known && self.marks.complete && prefix.prefix_len() > 0 {
            self.warn(
                mark,
                "unknown-place",
                format!("{place} lies in no site, nor in the tunnel subnet"),
                "add it as a site of the node it is behind",
            );
        }
    }
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

fn in_between(subnet: ipnet::Ipv4Net) -> String {
    let mut hosts = subnet.hosts();
    match (hosts.next(), hosts.next_back()) {
        (Some(first), Some(last)) => format!("use a free one of {first} to {last}"),
        _ => String::new(),
    }
}

/// Says whether a host may have this address on a link with this prefix.
fn usable_host(prefix: IpNet, address: IpAddr) -> bool {
    match (prefix, address) {
        (IpNet::V4(net), IpAddr::V4(a)) => is_host(net, a),
        (IpNet::V6(net), IpAddr::V6(a)) => is_host6(net, a),
        _ => false,
    }
}

/// Tells why a prefix can be neither a tunnel subnet nor a site.
fn unusable(prefix: IpNet) -> Option<&'static str> {
    if prefix.prefix_len() == 0 {
        return Some("it is every address there is");
    }
    let ip = prefix.network();
    if ip.is_loopback() {
        Some("it is the loopback range")
    } else if ip.is_multicast() {
        Some("it is a multicast range")
    } else if ip.is_unspecified() {
        Some("it begins with the unspecified address")
    } else {
        None
    }
}

/// Tells why a text is not the name of a link; Windows and macOS have names with spaces.
fn bad_link(name: &str, platform: Platform) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if matches!(platform, Platform::Windows | Platform::Macos) {
        return None;
    }
    if name.len() > 15 {
        Some("it is longer than 15 bytes")
    } else if name.contains('/') || name.contains(char::is_whitespace) || name.contains(char::is_control) {
        Some("a \"/\" or a space cannot be in it")
    } else if matches!(name, "." | ".." | "all" | "default") {
        Some("the kernel keeps that name for itself")
    } else {
        None
    }
}

/// Returns the word that was probably meant: the same but for case and hyphens, else the one with the fewest edits, at most
/// two and fewer than half its length.
pub fn nearest<'w>(typed: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let plain = |t: &str| t.to_ascii_lowercase().replace(['-', ' ', '_'], "");
    let typed = plain(typed);
    let limit = 2.min(typed.chars().count().saturating_sub(1) / 2);
    let near = words.into_iter().map(|w| (edits(&typed, &plain(w), limit), w));
    near.filter(|(d, _)| *d <= limit).min_by_key(|(d, _)| *d).map(|(_, w)| w)
}

/// Counts insertions, deletions, replacements and swaps of neighbours; more than `limit` comes out as `limit + 1`.
fn edits(a: &str, b: &str, limit: usize) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()].min(limit + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_word() {
        let keys = ["address", "address6", "endpoint", "public_key", "nat", "mtu"];
        assert_eq!(nearest("adress", keys), Some("address"));
        assert_eq!(nearest("Endpoint", keys), Some("endpoint"));
        assert_eq!(nearest("PublicKey", keys), Some("public_key"));
        assert_eq!(nearest("public-key", keys), Some("public_key"));
        assert_eq!(nearest("mut", keys), Some("mtu"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("x", keys), None);
    }

    #[test]
    fn link_names() {
        assert_eq!(bad_link("br-6a7541fe74a1", Platform::Linux), None);
        assert!(bad_link("br-6a7541fe74a1x", Platform::Linux).is_some());
        assert!(bad_link("a/b", Platform::Docker).is_some());
        assert_eq!(bad_link("Ethernet 2", Platform::Windows), None);
    }
}
