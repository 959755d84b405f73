//! What the death of a node takes away, as a person reads it: the answer first, then who loses whom.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::loss::{Loss, Losses, Lost, LostPairs, Takeover};
use super::place::Place;
use crate::model::{NodeName, Role};

/// How many places a list names before it says how many more there are.
const NAMED: usize = 8;
/// How many lines one node's losses are.
const LINES: usize = 24;

/// Writes the losses for a terminal; ends with a newline.
pub fn losses_text(losses: &Losses) -> String {
    let mut out = String::new();
    for (number, loss) in losses.without.iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        one(loss, &mut out);
    }
    out
}

fn one(loss: &Loss, out: &mut String) {
    let _ = writeln!(out, "without {}: {}", loss.node, headline(loss));
    tell(&loss.at_once, out);
    if let Some(after) = loss.after_failover.as_ref().filter(|after| after.count > 0) {
        let _ = writeln!(out, "lost also {}:", when(loss));
        tell(after, out);
    }
    for takeover in &loss.takeovers {
        let Takeover { site, by, needs_gateway, relays } = takeover;
        let relays: Vec<&str> = relays.iter().map(NodeName::as_str).collect();
        let there = match relays.as_slice() {
            [] => String::new(),
            list => format!(" on {}, or the file exported again", list.join(", ")),
        };
        let _ = write!(
            out,
            "{by} stands by for {site}: `wgrelay disable {}`, then `wgrelay up`{there}",
            loss.node
        );
        let gateway = if *needs_gateway { "; its hosts must have it as their gateway" } else { "" };
        let _ = writeln!(out, "{gateway}");
    }
}

fn headline(loss: &Loss) -> String {
    let (lost, of) = (loss.at_once.count, loss.of);
    let at_once = match lost {
        0 => format!("none of the {of} other pairs that reach is lost"),
        1 => format!("1 of the {of} other pairs that reach is lost"),
        n => format!("{n} of the {of} other pairs that reach are lost"),
    };
    match &loss.after_failover {
        None => at_once,
        Some(after) if after.count == 0 => format!("{at_once}; none {}", when(loss)),
        Some(after) => format!("{at_once}; {} also {}", after.count, when(loss)),
    }
}

/// What is to happen after the death.
fn when(loss: &Loss) -> String {
    let spokes = "its spokes use their next relay";
    let by: BTreeSet<&str> = loss.takeovers.iter().map(|takeover| takeover.by.as_str()).collect();
    let by: Vec<&str> = by.into_iter().collect();
    let sites = match by.as_slice() {
        [one] => format!("{one} carries its sites"),
        many => format!("{} carry its sites", many.join(" and ")),
    };
    match (loss.role, by.is_empty()) {
        (_, true) => format!("when {spokes}"),
        (Role::Spoke, false) => format!("when {sites}"),
        (Role::Relay, false) => format!("when {spokes} and {sites}"),
    }
}

fn tell(lost: &Lost, out: &mut String) {
    // What the same places lose is one line.
    let mut lines: Vec<(&[Place], Vec<&LostPairs>)> = Vec::new();
    for pairs in &lost.pairs {
        match lines.iter_mut().find(|(from, _)| *from == pairs.from) {
            Some((_, list)) => list.push(pairs),
            None => lines.push((&pairs.from, vec![pairs])),
        }
    }
    for (from, list) in lines.iter().take(LINES) {
        let mut to: Vec<&Place> = list.iter().flat_map(|pairs| &pairs.to).collect();
        to.sort();
        to.dedup();
        if let [only] = from {
            to.retain(|place| *place != only);
        }
        let _ = writeln!(out, "  {} -> {}", named(&from.iter().collect::<Vec<_>>()), named(&to));
    }
    if lines.len() > LINES {
        let _ = writeln!(out, "  and {} more starts: --json has all", lines.len() - LINES);
    }
}

fn named(places: &[&Place]) -> String {
    let shown: Vec<String> = places.iter().take(NAMED).map(ToString::to_string).collect();
    let more = places.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}
