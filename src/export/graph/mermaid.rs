//! A diagram in Mermaid's words, which code hosts and editors draw inside Markdown.

use std::fmt::Write as _;

use super::Diagram;
use super::layout::{are_too_many, hangs};

/// Writes a flowchart.
pub fn mermaid(diagram: &Diagram) -> String {
    let mut text = format!("%% {}: {}\nflowchart LR\n", diagram.name, diagram.answer);
    for (n, item) in diagram.items.iter().enumerate() {
        // Names and addresses have no quote; a line break is Mermaid's own.
        let mut label = format!("<b>{}</b>", item.title);
        item.lines.iter().chain(&item.blocked).for_each(|line| label += &format!("<br/>{line}"));
        let (open, close) = if item.is_relay { ("([\"", "\"])") } else { ("[\"", "\"]") };
        let _ = writeln!(text, "    n{n}{open}{label}{close}");
        if !item.sites.is_empty() {
            let _ = writeln!(text, "    s{n}[(\"{}\")]\n    n{n} --- s{n}", item.sites.join("<br/>"));
        }
    }
    let relays = diagram.items.iter().filter(|item| item.is_relay).count();
    for n in 1..relays {
        let _ = writeln!(text, "    n0 === n{n}");
    }
    for n in relays..diagram.items.len() {
        let _ = writeln!(text, "    n0 --- n{n}");
    }
    let too_many = are_too_many(&diagram.blocked, relays);
    let is_drawn = |from: usize, to: usize| !too_many || hangs(from, to, relays);
    for ((from, to), between) in diagram.blocked.iter().filter(|((from, to), _)| is_drawn(*from, *to)) {
        let _ = match between.is_all() {
            true => writeln!(text, "    n{from} x-. blocked .-x n{to}"),
            false => {
                writeln!(text, "    n{from} -. {} of {} blocked .- n{to}", between.pairs, between.of)
            }
        };
    }
    if too_many {
        text += "    %% more pairs are blocked than can be drawn: each box says with how many others\n";
    }
    let away: Vec<String> = diagram
        .items
        .iter()
        .enumerate()
        .filter(|(_, item)| !item.is_active)
        .map(|(n, _)| format!("n{n}"))
        .collect();
    if !away.is_empty() {
        let _ = writeln!(
            text,
            "    classDef away stroke-dasharray: 4 4,opacity: 0.6\n    class {} away",
            away.join(",")
        );
    }
    text
}
