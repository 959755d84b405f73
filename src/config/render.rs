//! A network as a fresh network.toml, laid out to be read and edited.

use std::fmt::Write as _;

use crate::model::{
    Bridge, DEFAULT_KEEPALIVE, DEFAULT_MTU, ForwardSource, Nat, Network, Node, NodeName, Platform, Role,
    Routes, Site,
};

/// Writes a whole file. Values at their default are left out; the header comment may have several lines.
pub fn render_network(network: &Network, header_comment: Option<&str>) -> String {
    let mut out = String::new();
    for line in header_comment.into_iter().flat_map(str::lines) {
        out.push_str(format!("# {line}").trim_end());
        out.push('\n');
    }
    out.push_str("format = 1\n\n[network]\n");
    let mut put =
        |key: &str, value: String| writeln!(out, "{key} = {value}").expect("a String takes every write");
    put("name", text(network.name.as_str()));
    put("subnet", text(&network.subnet.to_string()));
    if let Some(subnet) = network.subnet6 {
        put("subnet6", text(&subnet.to_string()));
    }
    if network.keepalive != DEFAULT_KEEPALIVE {
        put("keepalive", network.keepalive.to_string());
    }
    if network.mtu != DEFAULT_MTU {
        put("mtu", network.mtu.to_string());
    }
    if !network.preshared_keys {
        put("preshared_keys", "false".into());
    }
    if !network.failover {
        put("failover", "false".into());
    }
    // Relays first: the file then reads from the middle of the network outwards.
    let order: Vec<&NodeName> = network.relays().map(|relay| &relay.name).collect();
    for node in network.relays().chain(network.spokes()) {
        out.push('\n');
        if order.iter().copied().eq(&node.relays) {
            out.push_str(&render_node(&Node { relays: Vec::new(), ..node.clone() }));
        } else {
            out.push_str(&render_node(node));
        }
    }
    for rule in &network.allow {
        out.push_str("\n[[allow]]\n");
        let places =
            |list: &[crate::model::PlaceRef]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        write!(out, "from = {}\nto = {}\n", list(places(&rule.from)), list(places(&rule.to)))
            .expect("a String takes every write");
        if !rule.ports.is_empty() {
            writeln!(out, "ports = {}", list(rule.ports.iter().map(ToString::to_string)))
                .expect("a String takes every write");
        }
    }
    for forward in &network.forward {
        out.push_str("\n[[forward]]\n");
        let mut put =
            |key: &str, value: String| writeln!(out, "{key} = {value}").expect("a String takes every write");
        if let Some(on) = &forward.on {
            put("on", text(on.as_str()));
        }
        put("port", text(&forward.port.to_string()));
        put("to", text(&forward.to.to_string()));
        if !forward.from.is_empty() {
            put("from", list(forward.from.iter().map(ToString::to_string)));
        }
        if forward.source != ForwardSource::Auto {
            put("source", text(forward.source.as_str()));
        }
    }
    for promise in &network.expect {
        out.push_str("\n[[expect]]\n");
        let mut put = |key: &str, value: &str| {
            writeln!(out, "{key} = {}", text(value)).expect("a String takes every write");
        };
        put("from", &promise.from.to_string());
        put("to", &promise.to.to_string());
        if let Some(port) = promise.port {
            put("port", &port.to_string());
        }
        put("verdict", &promise.verdict.to_string());
        if promise.survives {
            out.push_str("survives = true\n");
        }
    }
    out
}

/// Writes one node's tables, as they stand in a network.toml; the last line ends with a newline.
pub fn render_node(node: &Node) -> String {
    let name = key_text(node.name.as_str());
    let mut out = format!("[node.{name}]\n");
    let mut put =
        |key: &str, value: String| writeln!(out, "{key} = {value}").expect("a String takes every write");
    if node.role == Role::Relay {
        put("role", text("relay"));
    }
    if node.platform != Platform::Linux {
        put("platform", text(node.platform.as_str()));
    }
    if !node.enabled {
        put("enabled", "false".into());
    }
    if let Some(end) = node.expires {
        put("expires", text(&end.to_string()));
    }
    put("address", text(&node.address.to_string()));
    if let Some(address) = node.address6 {
        put("address6", text(&address.to_string()));
    }
    if let Some(endpoint) = node.endpoint.as_ref().filter(|endpoint| !node.is_called_at_floating(endpoint)) {
        put("endpoint", text(&endpoint.to_string()));
    }
    for (other, endpoint) in &node.endpoint_of {
        put(&format!("endpoint_of.{}", key_text(other.as_str())), text(&endpoint.to_string()));
    }
    put("public_key", text(&node.public_key.to_string()));
    if let Some(key) = &node.sealing_key {
        put("sealing_key", text(&key.to_string()));
    }
    if let Some(key) = &node.signing_key {
        put("signing_key", text(&key.to_string()));
    }
    if !node.hosts.is_empty() {
        put("hosts", list(node.hosts.iter().map(ToString::to_string)));
    }
    if let Some(floating) = &node.floating {
        put("floating", text(&floating.to_string()));
    }
    if let Some(port) = node.listen_port {
        put("listen_port", port.to_string());
    }
    match &node.routes {
        Routes::Split => {}
        Routes::Full => put("routes", text("full")),
        Routes::Only(nets) => put("routes", list(nets.iter().map(ToString::to_string))),
    }
    let local = node.written_local();
    if !local.is_empty() {
        put("local", list(local.iter().map(ToString::to_string)));
    }
    if !node.except.is_empty() {
        put("except", list(node.except.iter().map(ToString::to_string)));
    }
    if !node.groups.is_empty() {
        put("groups", list(node.groups.iter().map(ToString::to_string)));
    }
    if !node.relays.is_empty() {
        put("relays", list(node.relays.iter().map(ToString::to_string)));
    }
    if let Some(via) = &node.via {
        put("via", text(via.as_str()));
    }
    if node.egress {
        put("egress", if node.egress_all { text("all") } else { "true".into() });
    }
    if !node.dns.is_empty() {
        put("dns", list(&node.dns));
    }
    if let Some(mtu) = node.mtu {
        put("mtu", mtu.to_string());
    }
    if let Some(keepalive) = node.keepalive {
        put("keepalive", keepalive.to_string());
    }
    if let Some(mark) = node.fwmark {
        put("fwmark", format!("{mark:#x}"));
    }
    if !node.history {
        put("history", "false".into());
    }
    for site in node.written_sites() {
        render_site(&mut out, &name, site);
    }
    for bridge in &node.bridges {
        render_bridge(&mut out, &name, bridge);
    }
    out
}

fn render_site(out: &mut String, node: &str, site: &Site) {
    let mut put = |line: String| {
        out.push_str(&line);
        out.push('\n');
    };
    put(format!("[[node.{node}.site]]"));
    put(format!("subnet = {}", text(&site.subnet.to_string())));
    if let Some(interface) = &site.interface {
        put(format!("interface = {}", text(&interface.to_string())));
    }
    match site.nat {
        Nat::Auto => {}
        Nat::Masquerade => put("nat = \"masquerade\"".into()),
        Nat::None => put("nat = \"none\"".into()),
    }
    if site.gateway {
        put("gateway = true".into());
    }
    if let Some(address) = site.address {
        put(format!("address = {}", text(&address.to_string())));
    }
    if site.egress {
        put("egress = true".into());
    }
    if let Some(preference) = site.preference {
        put(format!("preference = {preference}"));
    }
    if let Some(alias) = site.alias {
        put(format!("alias = {}", text(&alias.to_string())));
    }
}

fn render_bridge(out: &mut String, node: &str, bridge: &Bridge) {
    let mut put = |line: String| {
        out.push_str(&line);
        out.push('\n');
    };
    put(format!("[[node.{node}.bridge]]"));
    put(format!("name = {}", text(bridge.name.as_str())));
    put(format!("addresses = {}", list(bridge.addresses.iter().map(ToString::to_string))));
    if !bridge.ports.is_empty() {
        put(format!("ports = {}", list(&bridge.ports)));
    }
    if bridge.stp {
        put("stp = true".into());
    }
    if let Some(mtu) = bridge.mtu {
        put(format!("mtu = {mtu}"));
    }
}

/// Writes a text as TOML, in double quotes.
pub(super) fn text(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("a String takes every write");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Writes a list of texts as TOML, on one line.
pub(super) fn list<S: AsRef<str>>(values: impl IntoIterator<Item = S>) -> String {
    let values: Vec<String> = values.into_iter().map(|v| text(v.as_ref())).collect();
    format!("[{}]", values.join(", "))
}

/// Writes a key: bare where TOML allows it, quoted where the name has a point.
pub(super) fn key_text(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if bare { name.into() } else { text(name) }
}
