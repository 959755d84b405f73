//! `list`: nodes, addresses, sites.

use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use super::table::{Cell, Narrow, table};
use crate::app;
use crate::model::Network;

/// Lists the network.
pub fn list(ctx: &Context) -> Result<Exit, Fault> {
    let network = ctx.load_network()?.network;
    if ctx.out.json {
        ctx.out.json(&app::list(&network, ctx.now))?;
        return Ok(Exit::Done);
    }
    ctx.out.prose(&text(ctx, &network))?;
    Ok(Exit::Done)
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
            let sites = node.sites_in_words(|s| match &s.interface {
                Some(i) => format!("{} by {i}", s.in_words()),
                None => s.in_words(),
            });
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
