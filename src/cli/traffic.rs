//! `traffic`: what passed between this host and a node, and when the node was there.

use super::args::Show;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use super::status::bytes;
use super::table::{Cell, Narrow, table};
use crate::app::{self, NodeTraffic};
use crate::model::Timestamp;
use crate::status::duration;
use crate::store::traffic::Bytes;

/// So many sessions are listed; JSON has all that are kept.
const LISTED: usize = 10;

/// Tells it.
pub fn traffic(ctx: &Context, args: &Show) -> Result<Exit, Fault> {
    let found = app::traffic(ctx, &args.name)?;
    if ctx.out.json {
        ctx.out.json(&found)?;
    } else {
        ctx.out.prose(&text(ctx, &found))?;
    }
    Ok(Exit::Done)
}

fn text(ctx: &Context, found: &NodeTraffic) -> String {
    let name = ctx.out.paint(Role::Name, found.node.as_str());
    if !found.kept {
        return format!("{name}: no history is kept of it (history = false)");
    }
    let traffic = &found.traffic;
    if traffic.hours.is_empty() && traffic.sessions.is_empty() {
        return format!(
            "{name}: nothing is known yet; the agent of this host (`wgrelay run`) writes a line a minute"
        );
    }
    let now = ctx.now.0;
    let row = |what: &str, all: &[Bytes], seconds: u64| {
        let since = now.saturating_sub(seconds);
        let (mut rx, mut tx) = (0_u64, 0_u64);
        for one in all.iter().filter(|one| one.at >= since) {
            (rx, tx) = (rx.saturating_add(one.rx_bytes), tx.saturating_add(one.tx_bytes));
        }
        vec![Cell::new(what), Cell::new(bytes(rx)), Cell::new(bytes(tx))]
    };
    let rows = [
        row("last hour", &traffic.minutes, 3600),
        row("last 24 hours", &traffic.minutes, 86_400),
        row("last 30 days", &traffic.hours, 30 * 86_400),
        row("last 400 days", &traffic.hours, 400 * 86_400),
    ];
    let mut text = format!("{name}\n{}", table(&ctx.out, &["", "RECEIVED", "SENT"], &rows, Narrow::Wrap));
    if !traffic.sessions.is_empty() {
        let row = |one: &crate::store::traffic::Presence| {
            vec![
                Cell::new(Timestamp(one.began).to_string()),
                Cell::new(duration(one.duration)),
                Cell::new(&one.endpoint),
            ]
        };
        let rows: Vec<Vec<Cell>> = traffic.sessions.iter().take(LISTED).map(row).collect();
        text += &format!("\n\n{}", table(&ctx.out, &["BEGAN", "LASTED", "FROM"], &rows, Narrow::Wrap));
    }
    text
}
