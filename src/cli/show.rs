//! `show`: one node, and what the network makes of it.

use super::args::Show;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::{Output, Role};
use super::table::wrapped;
use crate::app::{Shown, ShownSite, show_node};

/// Shows a node.
pub fn show(ctx: &Context, args: &Show) -> Result<Exit, Fault> {
    let network = ctx.load_network()?.network;
    let shown = show_node(&network, &args.name, ctx.now)?;
    if ctx.out.json {
        ctx.out.json(&shown)?;
    } else {
        ctx.out.prose(&text(&ctx.out, &shown))?;
    }
    Ok(Exit::Done)
}

fn text(out: &Output, node: &Shown) -> String {
    let state = match (node.enabled, node.active) {
        (false, _) => out.paint(Role::Dim, "disabled"),
        (true, false) => out.paint(Role::Warn, "expired"),
        (true, true) => out.paint(Role::Good, "enabled"),
    };
    let role = if node.role == crate::model::Role::Relay { "relay" } else { "spoke" };
    let mut text = format!(
        "{}: {role} on {}, {state}\n",
        out.paint(Role::Name, node.name.as_str()),
        node.platform.as_str()
    );
    let mut line = |head: &str, values: &[String]| {
        for (i, value) in values.iter().enumerate() {
            let head = if i == 0 { head } else { "" };
            text += &format!("  {} {value}\n", out.paint(Role::Dim, &format!("{head:<12}")));
        }
    };
    let some = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
    let mut addresses = vec![node.address.clone()];
    addresses.extend(node.address6.clone());
    line("address", &addresses);
    line("endpoint", &some(&node.endpoint));
    let called: Vec<String> = node.endpoint_of.iter().map(|(name, at)| format!("{name} at {at}")).collect();
    line("calls", &called);
    line("public key", std::slice::from_ref(&node.public_key));
    line("expires", &some(&node.expires));
    if node.routes != ["split"] {
        line("routes", &node.routes);
    }
    let exit = node.via.iter().map(|exit| format!("leaves to the Internet by {exit}"));
    line("via", &exit.collect::<Vec<_>>());
    line("dns", &node.dns);
    let keepalive = node.keepalive.map_or_else(|| "no keepalive".into(), |s| format!("keepalive {s} s"));
    let port = node.listen_port.map_or_else(String::new, |p| format!(", UDP port {p}"));
    line("session", &[format!("MTU {}, {keepalive}{port}", node.mtu)]);
    let sites: Vec<String> = node.sites.iter().map(site_text).collect();
    line("sites", &sites);
    line("attached to", &node.local);
    for hosts in &node.hosts {
        line(
            &format!("in {}", hosts.subnet.split('/').next().unwrap_or_default()),
            std::slice::from_ref(&hosts.route),
        );
        line("or netplan", &hosts.netplan);
    }
    line("no_proxy", &some(&node.no_proxy));
    if node.egress {
        let to = if node.egress_all { "anywhere" } else { "to the Internet" };
        let who =
            if node.role == crate::model::Role::Relay { "full-tunnel spokes" } else { "spokes that name it" };
        line("egress", &[format!("{who} leave {to} here")]);
    }
    // Two for the margin, thirteen for the heading.
    let room = out.width().map(|w| w.saturating_sub(15));
    let allowed: Vec<String> = node
        .allowed_ips
        .iter()
        .flat_map(|p| {
            let mut words = p.allowed_ips.clone();
            words.iter_mut().take(1).for_each(|first| *first = format!("{}: {first}", p.peer));
            wrapped(&words, room)
        })
        .collect();
    line("allowed IPs", &allowed);
    let rules = if node.rules.is_empty() {
        vec!["none: everyone may talk to everyone".into()]
    } else {
        node.rules.clone()
    };
    line("rules", &rules);
    text
}

fn site_text(site: &ShownSite) -> String {
    let mut text = site.subnet.clone();
    if let Some(interface) = &site.interface {
        text += &format!(" behind {interface}");
    }
    if let Some(alias) = &site.alias {
        text += &format!(", {alias} to the others");
    }
    text += match (site.masqueraded, site.gateway) {
        (true, _) => ", masqueraded",
        (false, true) => ", its hosts' gateway",
        (false, false) => ", routed",
    };
    if site.egress {
        text += ", egress";
    }
    match (site.preference, &site.carried_by) {
        (Some(n), Some(other)) => text += &format!(", preference {n}: {other} carries it"),
        (Some(n), None) => text += &format!(", preference {n}"),
        _ => {}
    }
    text
}
