//! Rules between fields: duplicates, overlaps, sites in the tunnel subnet, too many relays.
//!
//! A check works on what could be read: a field that was faulty has no mark, and is left out of every comparison, so one
//! fault hides no other. Nothing here compares all with all; 5,000 nodes take milliseconds.

mod aliases;
mod attached;
mod exits;
mod floating;
mod forwards;
mod links;
mod marks;
mod nodes;
mod policy;
mod sites;

use std::net::IpAddr;

use ipnet::IpNet;

use self::attached::Attached;
pub use self::marks::{BridgeMarks, Mark, Marks, NodeMarks, SiteMarks};
use super::allocate::{is_host, is_host6};
use super::{Network, Node, Problem, Severity};

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
    let (nodes, attached) = (in_order(network, marks), Attached::of(network));
    let mut check = Check { network, marks, nodes, attached, found: Vec::new() };
    check.tunnel();
    check.roles();
    check.addresses();
    check.keys();
    for (node, at) in check.nodes.clone() {
        check.node(node, at);
    }
    let sites = check.sites();
    check.half_aliased();
    check.endpoints(&sites);
    check.floating();
    check.policy(&sites);
    check.forwards();
    check.found
}

/// Checks a network that was not read from a file; places are such as `node.docker.address`.
pub fn validate_network(network: &Network) -> Vec<Problem> {
    let network = &*network.as_written();
    let mut labels = Vec::new();
    let marks = marks::label(network, &mut labels);
    let mut problems: Vec<Problem> = validate(network, &marks)
        .into_iter()
        .map(|f| Problem { place: labels.get(f.mark.0).cloned().unwrap_or_default(), ..f.problem })
        .collect();
    problems.sort();
    problems
}

struct Check<'n> {
    network: &'n Network,
    marks: &'n Marks,
    /// The nodes in the order of the file, so that of two that clash the later one is named.
    nodes: Vec<(&'n Node, &'n NodeMarks)>,
    attached: Attached<'n>,
    found: Vec<Finding>,
}

fn in_order<'n>(network: &'n Network, marks: &'n Marks) -> Vec<(&'n Node, &'n NodeMarks)> {
    // Both are sorted by name, so that each is looked for where the last one was found.
    let mut at = marks.nodes.iter().peekable();
    let mut all = Vec::with_capacity(network.nodes.len());
    for (name, node) in &network.nodes {
        while at.next_if(|(other, _)| *other < name).is_some() {}
        all.extend(at.next_if(|(other, _)| *other == name).map(|(_, marks)| (node, marks)));
    }
    all.sort_by_key(|(_, at)| at.node);
    all
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

    /// The tunnel subnets that were read without fault.
    fn tunnels(&self) -> impl Iterator<Item = IpNet> + use<'n> {
        let v4 = self.marks.subnet.map(|_| IpNet::V4(self.network.subnet));
        let v6 = self.marks.subnet6.and(self.network.subnet6).map(IpNet::V6);
        v4.into_iter().chain(v6)
    }
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
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
