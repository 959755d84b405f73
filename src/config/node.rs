//! A node's tables in network.toml, with its sites and bridges, to [`Node`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use super::network::MIN_MTU;
use super::section::{At, Section, mark_of};
use super::source::Source;
use super::tree::{Kind, Value};
use crate::model::validate::{BridgeMarks, Mark, NodeMarks, SiteMarks};
use crate::model::{
    Bridge, Endpoint, InterfaceName, Nat, Node, NodeName, Platform, PublicKey, Role, Routes, Site,
    SiteInterface, Timestamp,
};

/// Every key of a node, in the order in which the program writes them.
const NODE_KEYS: &[&str] = &[
    "role",
    "platform",
    "enabled",
    "expires",
    "address",
    "address6",
    "endpoint",
    "endpoint_of",
    "public_key",
    "sealing_key",
    "signing_key",
    "hosts",
    "floating",
    "listen_port",
    "routes",
    "local",
    "except",
    "groups",
    "relays",
    "via",
    "egress",
    "dns",
    "mtu",
    "keepalive",
    "fwmark",
    "history",
    "site",
    "bridge",
];
const SITE_KEYS: &[&str] =
    &["subnet", "interface", "nat", "gateway", "address", "egress", "preference", "alias"];
const BRIDGE_KEYS: &[&str] = &["name", "addresses", "ports", "stp", "mtu"];

/// Reads `[node.NAME]` with everything below it; a node whose name is not valid is read for its other faults.
pub(super) fn node_table(
    section: &Section<'_>,
    name: Option<NodeName>,
    source: &mut Source<'_>,
) -> (Node, NodeMarks) {
    section.known(NODE_KEYS, source);
    section.required("address", "its address in the tunnel, out of network.subnet", source);
    section.required("public_key", "`wgrelay pubkey` computes it from the private key", source);
    let name = name.unwrap_or_else(|| "unnamed".parse().expect("unnamed is a name"));
    let mut node = Node::new(name, Role::Spoke, Ipv4Addr::UNSPECIFIED, PublicKey::from_bytes([0; 32]));
    let mut at = NodeMarks { node: section.mark, ..NodeMarks::default() };

    let roles = [("relay", Role::Relay), ("spoke", Role::Spoke)];
    match section.word("role", &roles, source) {
        Some(role) => (node.role, at.role) = (role.value, Some(role.mark)),
        None if !section.has("role") => at.role = Some(section.mark),
        None => {}
    }
    if let Some(platform) = section.word("platform", &Platform::ALL, source) {
        node.platform = platform.value;
    }
    if let Some(address) = section.address::<Ipv4Addr>("address", "192.168.3.2", source) {
        (node.address, at.address) = (address.value, Some(address.mark));
    }
    if let Some(address) = section.address::<Ipv6Addr>("address6", "fd5e::2", source) {
        (node.address6, at.address6) = (Some(address.value), Some(address.mark));
    }
    at.has_endpoint = section.has("endpoint");
    if let Some(endpoint) = section.parsed("endpoint", "bad-endpoint", source) {
        (node.endpoint, at.endpoint) = (Some(endpoint.value), Some(endpoint.mark));
    }
    endpoints_of(section, &mut node, &mut at, source);
    if let Some(key) = section.parsed("public_key", "bad-key", source) {
        (node.public_key, at.public_key) = (key.value, Some(key.mark));
    }
    node.sealing_key = section.parsed("sealing_key", "bad-key", source).map(|key| key.value);
    node.signing_key = section.parsed("signing_key", "bad-key", source).map(|key| key.value);
    node.listen_port = section.number("listen_port", 1..=u16::MAX, "", source).map(|p| p.value);
    floating(section, &mut node, &mut at, source);
    (node.routes, at.routes) = routes(section, source);
    if let Some(via) = section.parsed::<NodeName>("via", "bad-name", source) {
        (node.via, at.via) = (Some(via.value), Some(via.mark));
        // Who says by whom it leaves to the Internet sends that into the tunnel.
        if !section.has("routes") {
            node.routes = Routes::Full;
        }
    }
    for text in section.list("local", source).unwrap_or_default() {
        if let Some(net) = section.prefix_of("local", &text, source) {
            node.local.push(net.value);
            at.local.push(net.mark);
        }
    }
    for text in section.list("except", source).unwrap_or_default() {
        if let Some(net) = section.prefix_of("except", &text, source) {
            node.except.push(net.value);
            at.except.push(net.mark);
        }
    }
    for text in section.list("groups", source).unwrap_or_default() {
        match text.value.parse::<NodeName>() {
            Ok(name) => node.groups.push(name),
            Err(why) => {
                let message = format!("{:?} cannot be a group's name: {why}", text.value);
                source.error(text.mark, "bad-name", message, "names as nodes have: staff, team-2");
            }
        }
    }
    if let Some(listed) = section.list("relays", source) {
        at.relays = section.value("relays").map(mark_of);
        for text in listed {
            match text.value.parse::<NodeName>() {
                Ok(name) => {
                    node.relays.push(name);
                    at.each_relay.push(text.mark);
                }
                Err(why) => {
                    let message = format!("{:?} cannot be a relay's name: {why}", text.value);
                    source.error(text.mark, "bad-name", message, "the names of nodes with role = \"relay\"");
                }
            }
        }
    }
    if let Some(egress) = section.flag_or("egress", "all", source) {
        at.egress = Some(egress.mark);
        node.egress = egress.value != Some(false);
        node.egress_all = egress.value.is_none();
    }
    if let Some(flag) = section.flag("enabled", source) {
        node.enabled = flag.value;
    }
    node.expires = expires(section, source);
    node.dns = dns(section, source);
    if let Some(mtu) = section.number("mtu", MIN_MTU..=u16::MAX, " bytes", source) {
        (node.mtu, at.mtu) = (Some(mtu.value), Some(mtu.mark));
    }
    if let Some(k) = section.number("keepalive", 0..=u16::MAX, " seconds, 0 for none", source) {
        (node.keepalive, at.keepalive) = (Some(k.value), Some(k.mark));
    }
    node.fwmark = section.number("fwmark", 1..=u32::MAX, "", source).map(|m| m.value);
    node.history = section.flag("history", source).is_none_or(|flag| flag.value);
    for section in section.tables("site", source) {
        let (site, marks) = site_table(&section, source);
        node.sites.push(site);
        at.sites.push(marks);
    }
    for section in section.tables("bridge", source) {
        let (bridge, marks) = bridge_table(&section, source);
        node.bridges.push(bridge);
        at.bridges.push(marks);
    }
    (node, at)
}

/// Reads `hosts` and `floating`. Where nothing else is written, clients call the floating address.
fn floating(section: &Section<'_>, node: &mut Node, at: &mut NodeMarks, source: &mut Source<'_>) {
    at.hosts = section.value("hosts").map(mark_of);
    for text in section.list("hosts", source).unwrap_or_default() {
        match text.value.parse::<NodeName>() {
            Ok(name) => {
                node.hosts.push(name);
                at.each_host.push(text.mark);
            }
            Err(why) => {
                let message = format!("{:?} cannot be a host's name: {why}", text.value);
                source.error(text.mark, "bad-name", message, "names as nodes have: eu-a, eu-b");
            }
        }
    }
    let Some(text) = section.text("floating", source) else { return };
    at.floating = Some(text.mark);
    match text.value.parse::<IpNet>() {
        Ok(net) => {
            node.floating = Some(net);
            if !section.has("endpoint") {
                node.endpoint = node.floating_endpoint();
                at.has_endpoint = true;
            }
        }
        Err(_) => {
            let message = format!("{:?} cannot be floating of {}", text.value, section.name);
            let hint = "an address with its prefix length, such as \"198.51.100.10/24\"";
            source.error(text.mark, "bad-address", message, hint);
        }
    }
}

/// Reads `endpoint_of.NAME = "HOST:PORT"`.
fn endpoints_of(section: &Section<'_>, node: &mut Node, at: &mut NodeMarks, source: &mut Source<'_>) {
    let Some(table) = section.table("endpoint_of", source) else { return };
    for (name, _) in table.texts(source) {
        let Some(endpoint) = table.parsed::<Endpoint>(name.value, "bad-endpoint", source) else { continue };
        match name.value.parse::<NodeName>() {
            Ok(other) => {
                node.endpoint_of.insert(other.clone(), endpoint.value);
                at.endpoint_of.insert(other, name.mark);
            }
            Err(why) => {
                let message = format!("{:?} cannot be a node's name: {why}", name.value);
                source.error(
                    name.mark,
                    "bad-name",
                    message,
                    "endpoint_of.NODE, with the name of a node of the file",
                );
            }
        }
    }
}

fn routes(section: &Section<'_>, source: &mut Source<'_>) -> (Routes, Option<Mark>) {
    match section.value("routes") {
        None => (Routes::Split, None),
        Some(value @ Value { kind: Kind::List(_), .. }) => {
            let texts = section.list("routes", source).unwrap_or_default();
            let nets = texts.iter().filter_map(|t| section.prefix_of("routes", t, source));
            (Routes::Only(nets.map(|n| n.value).collect()), Some(mark_of(value)))
        }
        Some(Value { kind: Kind::Text(_), .. }) => {
            let words = [("split", true), ("full", false)];
            match section.word("routes", &words, source) {
                Some(At { value: true, mark }) => (Routes::Split, Some(mark)),
                Some(At { value: false, mark }) => (Routes::Full, Some(mark)),
                None => (Routes::Split, None),
            }
        }
        Some(value) => {
            let mark = Mark(value.at().unwrap_or(section.mark.0));
            let message =
                format!("routes of {} must be \"split\", \"full\" or a list of prefixes", section.name);
            source.error(mark, "wrong-type", message, "");
            (Routes::Split, None)
        }
    }
}

fn expires(section: &Section<'_>, source: &mut Source<'_>) -> Option<Timestamp> {
    let value = section.value("expires")?;
    // TOML has dates of its own; written without quotes one means the same.
    let text = match &value.kind {
        Kind::Date(date) => date.clone(),
        _ => section.text("expires", source)?.value.to_owned(),
    };
    let moment = Timestamp::parse(&text);
    if moment.is_none() {
        let mark = mark_of(value);
        let message = format!("{text:?} cannot be expires of {}", section.name);
        let hint = match Timestamp::parse(&format!("{text}T00:00:00Z")) {
            Some(_) => format!("with the time of day, in UTC: \"{text}T00:00:00Z\""),
            None => "write a moment in UTC, such as \"2027-01-31T00:00:00Z\"".into(),
        };
        source.error(mark, "bad-date", message, hint);
    }
    moment
}

fn dns(section: &Section<'_>, source: &mut Source<'_>) -> Vec<String> {
    let mut entries = Vec::new();
    for text in section.list("dns", source).unwrap_or_default() {
        if text.value.parse::<IpAddr>().is_ok() || is_domain(text.value) {
            entries.push(text.value.to_owned());
        } else {
            let message = format!("{:?} cannot be in dns of {}", text.value, section.name);
            source.error(
                text.mark,
                "bad-dns",
                message,
                "write a name server's address, or a search domain such as home.arpa",
            );
        }
    }
    entries
}

fn is_domain(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    // A text of digits and points alone is a mistyped address.
    text.len() <= 253 && text.chars().any(char::is_alphabetic) && text.split('.').all(label)
}

fn site_table(section: &Section<'_>, source: &mut Source<'_>) -> (Site, SiteMarks) {
    section.known(SITE_KEYS, source);
    section.required("subnet", "the network behind the node: subnet = \"192.168.33.0/24\"", source);
    let mut at = SiteMarks::default();
    let subnet = section.prefix("subnet", source);
    at.subnet = subnet.as_ref().map(|s| s.mark);
    let interface = section.text("interface", source);
    let interface = interface.and_then(|text| {
        at.interface = Some(text.mark);
        let Some(docker) = text.value.strip_prefix("docker:") else {
            return Some(SiteInterface::Link(text.value.into()));
        };
        if is_docker_name(docker) {
            return Some(SiteInterface::Docker(docker.into()));
        }
        let message = format!("{docker:?} cannot be the name of a Docker network");
        source.error(text.mark, "bad-interface", message, "docker network ls shows the names");
        None
    });
    let kinds = [("auto", Nat::Auto), ("masquerade", Nat::Masquerade), ("none", Nat::None)];
    let nat = section.word("nat", &kinds, source);
    at.nat = nat.as_ref().map(|n| n.mark);
    let address = section.address::<IpAddr>("address", "192.168.33.1", source);
    at.address = address.as_ref().map(|a| a.mark);
    let preference = section.number("preference", 0..=u32::MAX, "", source);
    at.preference = preference.as_ref().map(|p| p.mark);
    let alias = section.prefix("alias", source);
    at.alias = alias.as_ref().map(|a| a.mark);
    let site = Site {
        subnet: subnet.map_or_else(|| Ipv4Net::default().into(), |s| s.value),
        interface,
        nat: nat.map_or(Nat::Auto, |n| n.value),
        gateway: section.flag("gateway", source).is_some_and(|f| f.value),
        address: address.map(|a| a.value),
        egress: section.flag("egress", source).is_some_and(|f| f.value),
        preference: preference.map(|p| p.value),
        alias: alias.map(|a| a.value),
    };
    (site, at)
}

fn is_docker_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn bridge_table(section: &Section<'_>, source: &mut Source<'_>) -> (Bridge, BridgeMarks) {
    section.known(BRIDGE_KEYS, source);
    section.required("name", "the link's name: name = \"br-ext\"", source);
    let mut at = BridgeMarks::default();
    let name = section.parsed::<InterfaceName>("name", "bad-interface", source);
    at.name = name.as_ref().map(|n| n.mark);
    let mut addresses = Vec::new();
    for text in section.list("addresses", source).unwrap_or_default() {
        match text.value.parse::<IpNet>() {
            Ok(net) => {
                addresses.push(net);
                at.addresses.push(text.mark);
            }
            Err(_) => {
                let message = format!("{:?} cannot be in addresses of {}", text.value, section.name);
                source.error(
                    text.mark,
                    "bad-address",
                    message,
                    "write an address with its prefix length, such as 192.168.33.1/24",
                );
            }
        }
    }
    let ports = section.list("ports", source).unwrap_or_default();
    at.ports = ports.iter().map(|p| p.mark).collect();
    let bridge = Bridge {
        name: name.map_or_else(|| "br".parse().expect("br is a link's name"), |n| n.value),
        addresses,
        ports: ports.into_iter().map(|p| p.value.to_owned()).collect(),
        stp: section.flag("stp", source).is_some_and(|f| f.value),
        // 68 bytes is the least that IPv4 lets a link have (RFC 791), and what the kernel takes.
        mtu: section.number("mtu", 68..=u16::MAX, " bytes", source).map(|m| m.value),
    };
    (bridge, at)
}
