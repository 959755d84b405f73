//! network.toml to [`Network`], with every fault of the file at once.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::forward::forward_table;
use super::node::node_table;
use super::places::Places;
use super::rules::{allow_table, expect_table};
use super::section::{At, Section};
use super::source::{Holds, Parsed, Source};
use crate::model::validate::{self, Mark, Marks};
use crate::model::{InterfaceName, Network, NodeName};

/// The format that this program writes, and the only one it reads.
pub(super) const FORMAT: i64 = 1;

/// The least MTU in bytes that IPv4 asks of a link for whole datagrams (RFC 791); `wg-quick(8)` clients refuse less.
pub(super) const MIN_MTU: u16 = 576;

const TOP_KEYS: &[&str] = &["format", "network", "node", "allow", "forward", "expect"];
const NETWORK_KEYS: &[&str] =
    &["name", "subnet", "subnet6", "keepalive", "mtu", "preshared_keys", "failover"];
/// Reads network.toml. `file` is what places call it.
pub fn parse_network(bytes: &[u8], file: &str) -> Parsed<Network> {
    read(bytes, file, |network, _, _| network)
}

/// Returns where the parts of a network.toml stand, for what is found in it after it was read.
pub fn places_of(bytes: &[u8], file: &str) -> Places {
    let parsed = read(bytes, file, |_, marks, source| Places::of(marks, |mark| source.place(mark.0)));
    parsed.value.unwrap_or_default()
}

/// Reads a network.toml again that was found valid when it was applied: what must hold between its fields is not checked once
/// more. `None`: it is not what it was.
pub fn reread_network(text: &str) -> Option<Network> {
    let mut source = Source::new(text.as_bytes(), "", Holds::NoKeys).ok()?;
    let document = source.document()?;
    let top = Section::new(&document, String::new(), Mark(0));
    if !format_is_known(&top, &mut source) {
        return None;
    }
    let (mut network, _) = network_of(&top, &mut source);
    network.settle(|node| node.enabled);
    source.finish(Some(network)).value
}

fn read<T>(bytes: &[u8], file: &str, keep: impl FnOnce(Network, &Marks, &Source<'_>) -> T) -> Parsed<T> {
    let mut source = match Source::new(bytes, file, Holds::NoKeys) {
        Ok(source) => source,
        Err(problem) => return Parsed { value: None, problems: vec![problem] },
    };
    let Some(document) = source.document() else { return source.finish(None) };
    let top = Section::new(&document, String::new(), Mark(0));
    if !format_is_known(&top, &mut source) {
        return source.finish(None);
    }
    top.known(TOP_KEYS, &mut source);
    let (network, marks) = read_network(&top, &mut source);
    let kept = keep(network, &marks, &source);
    source.finish(Some(kept))
}

/// Says whether the format is ours; of a file in another one nothing else is worth telling.
pub(super) fn format_is_known(top: &Section<'_>, source: &mut Source<'_>) -> bool {
    let Some(format) = top.number("format", i64::MIN..=i64::MAX, "", source) else { return true };
    if format.value == FORMAT {
        return true;
    }
    let hint =
        if format.value > FORMAT { "a newer wgrelay wrote it: update this one" } else { "write format = 1" };
    let message = format!("format {} is not known: this program reads format {FORMAT}", format.value);
    source.error(format.mark, "unknown-format", message, hint);
    false
}

/// Reads what a network.toml has at its top, also inside a bundle, and checks the rules between fields.
pub(super) fn read_network(top: &Section<'_>, source: &mut Source<'_>) -> (Network, Marks) {
    let (mut network, marks) = network_of(top, source);
    for finding in validate::validate(&network, &marks) {
        source.tell(finding.mark, finding.problem);
    }
    network.settle(|node| node.enabled);
    (network, marks)
}

/// Reads the fields, each by itself.
fn network_of(top: &Section<'_>, source: &mut Source<'_>) -> (Network, Marks) {
    // Placeholders: a network with an error is never handed out.
    let mut network = Network::new("wg0".parse().expect("wg0 is an interface name"), Ipv4Net::default(), []);
    let mut marks = Marks { complete: !source.torn, ..Marks::default() };
    match top.table("network", source) {
        Some(section) => network_table(&section, &mut network, &mut marks, source),
        None if !top.has("network") && !source.torn => {
            source.error(Mark(0), "missing-key", "there is no [network] table", "it has a name and a subnet");
        }
        None => {}
    }
    if let Some(section) = top.table("node", source) {
        for (name, section) in section.tables_by_name(source) {
            let name = match name.parse::<NodeName>() {
                Ok(name) => Some(name),
                Err(why) => {
                    source.error(
                        section.mark,
                        "bad-name",
                        format!("{name:?} cannot be a node's name: {why}"),
                        "",
                    );
                    marks.complete = false;
                    None
                }
            };
            let (node, at) = node_table(&section, name.clone(), source);
            // A role that could not be read may have been the relay's.
            marks.complete &= at.role.is_some();
            if let Some(name) = name {
                network.nodes.insert(name.clone(), node);
                marks.nodes.insert(name, at);
            }
        }
    }
    rank_relays(&mut network, &marks);
    for section in top.tables("allow", source) {
        allow_table(&section, &mut network, &mut marks, source);
    }
    for section in top.tables("forward", source) {
        forward_table(&section, &mut network, &mut marks, source);
    }
    for section in top.tables("expect", source) {
        expect_table(&section, &mut network, &mut marks, source);
    }
    (network, marks)
}

/// Gives the relays their places, and, where there are several, the spokes that list none all of them in that order.
fn rank_relays(network: &mut Network, marks: &Marks) {
    let mut order: Vec<NodeName> = network.relays().map(|relay| relay.name.clone()).collect();
    order.sort_by_key(|name| marks.nodes.get(name).map_or(0, |at| at.node.0));
    for (rank, name) in order.iter().enumerate() {
        if let Some(relay) = network.nodes.get_mut(name) {
            relay.rank = rank;
        }
    }
    if order.len() < 2 {
        return;
    }
    for spoke in network.nodes.values_mut().filter(|node| !node.is_relay() && node.relays.is_empty()) {
        spoke.relays.clone_from(&order);
    }
}

fn network_table(section: &Section<'_>, network: &mut Network, marks: &mut Marks, source: &mut Source<'_>) {
    section.known(NETWORK_KEYS, source);
    section.required("name", "it is the interface's name too: name = \"wg0\"", source);
    section.required("subnet", "tunnel addresses come out of it: subnet = \"10.88.0.0/24\"", source);
    if let Some(name) = section.parsed::<InterfaceName>("name", "bad-name", source) {
        (network.name, marks.name) = (name.value, Some(name.mark));
    }
    match section.prefix("subnet", source) {
        Some(At { value: IpNet::V4(net), mark }) => (network.subnet, marks.subnet) = (net, Some(mark)),
        Some(At { value, mark }) => {
            let message = format!("{value} cannot be subnet of network: it is IPv6");
            source.error(mark, "bad-prefix", message, "IPv6 goes into subnet6; subnet is IPv4");
        }
        None => {}
    }
    match section.prefix("subnet6", source) {
        Some(At { value: IpNet::V6(net), mark }) => {
            (network.subnet6, marks.subnet6) = (Some(net), Some(mark));
        }
        Some(At { value, mark }) => {
            let message = format!("{value} cannot be subnet6 of network: it is IPv4");
            source.error(mark, "bad-prefix", message, "IPv4 goes into subnet; subnet6 is IPv6");
        }
        // Written and not valid: nodes' IPv6 addresses are held against nothing then.
        None if section.has("subnet6") => network.subnet6 = Some(Ipv6Net::default()),
        None => {}
    }
    if let Some(k) = section.number("keepalive", 0..=u16::MAX, " seconds, 0 for none", source) {
        network.keepalive = k.value;
    }
    if let Some(mtu) = section.number("mtu", MIN_MTU..=u16::MAX, " bytes", source) {
        (network.mtu, marks.mtu) = (mtu.value, Some(mtu.mark));
    }
    if let Some(flag) = section.flag("preshared_keys", source) {
        network.preshared_keys = flag.value;
    }
    if let Some(flag) = section.flag("failover", source) {
        network.failover = flag.value;
    }
}
