//! `list`: nodes, addresses, sites.

use serde::Serialize;

use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use super::table::{Cell, Narrow, table};
use crate::model::{Network, Node, Platform};

#[derive(Serialize)]
struct Listing<'a> {
    version: u32,
    network: &'a str,
    nodes: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    role: crate::model::Role,
    platform: Platform,
    address: String,
    address6: Option<String>,
    enabled: bool,
    expires: Option<String>,
    endpoint: Option<String>,
    public_key: String,
    sites: Vec<String>,
}

/// Lists the network.
pub fn list(ctx: &Context) -> Result<Exit, Fault> {
    let network = ctx.load_network()?.network;
    if ctx.out.json {
        let nodes = network.nodes.values().map(entry).collect();
        ctx.out.json(&Listing { version: 1, network: network.name.as_str(), nodes })?;
        return Ok(Exit::Done);
    }
    ctx.out.prose(&text(ctx, &network))?;
    Ok(Exit::Done)
}

fn entry(node: &Node) -> Entry<'_> {
    Entry {
        name: node.name.as_str(),
        role: node.role,
        platform: node.platform,
        address: node.address.to_string(),
        address6: node.address6.map(|a| a.to_string()),
        enabled: node.enabled,
        expires: node.expires.map(|t| t.to_string()),
        endpoint: node.endpoint.as_ref().map(ToString::to_string),
        public_key: node.public_key.to_string(),
        sites: node.sites.iter().map(|s| s.subnet.to_string()).collect(),
    }
}

fn text(ctx: &Context, network: &Network) -> String {
    let now = ctx.now;
    let rows: Vec<Vec<Cell>> = network
        .nodes
        .values()
        .map(|node| {
            let role = if node.is_relay() { "relay" } else { "spoke" };
            let state = match (node.enabled, node.is_active(now)) {
                (false, _) => Cell::with(Role::Dim, "disabled"),
                (true, false) => Cell::with(Role::Warn, "expired"),
                _ => Cell::with(Role::Good, "enabled"),
            };
            let mut address = node.address.to_string();
            if let Some(a) = node.address6 {
                address += &format!(", {a}");
            }
            let sites: Vec<String> = node
                .sites
                .iter()
                .map(|s| match &s.interface {
                    Some(i) => format!("{} by {i}", s.subnet),
                    None => s.subnet.to_string(),
                })
                .collect();
            vec![
                Cell::with(Role::Name, node.name.as_str()),
                Cell::new(role),
                Cell::new(node.platform.as_str()),
                Cell::new(address),
                state,
                Cell::new(if sites.is_empty() { "-".into() } else { sites.join(", ") }),
            ]
        })
        .collect();
    let mut text = format!(
        "{} {}: {} nodes in {}\n",
        ctx.out.paint(Role::Head, "network"),
        ctx.out.paint(Role::Name, network.name.as_str()),
        network.nodes.len(),
        network.subnets().iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
    );
    text += &table(&ctx.out, &["NODE", "ROLE", "PLATFORM", "ADDRESS", "STATE", "SITES"], &rows, Narrow::Wrap);
    text
}
