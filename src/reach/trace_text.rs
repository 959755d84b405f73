//! A trace as a person reads it: the answer first, then the path, every rewrite with the addresses before and after.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::hop::{Hop, Step, shown};
use super::trace::Trace;
use crate::model::Verdict;

/// Writes a trace; ends with a newline.
pub fn trace_text(trace: &Trace) -> String {
    let mut out = format!("{} -> {}", trace.from, trace.to);
    let with: Vec<&str> =
        trace.family.map(super::judge::PathFamily::as_str).into_iter().chain(trace.port.as_deref()).collect();
    if !with.is_empty() {
        let _ = write!(out, " ({})", with.join(", "));
    }
    match &trace.reason {
        None => {
            let _ = writeln!(out, ": {}", trace.verdict);
        }
        Some(reason) => {
            let at = if reason.node.is_empty() { String::new() } else { format!(" at {}", reason.node) };
            let _ = writeln!(out, ": {}{at}, {}", Verdict::Blocked, reason.code);
            let _ = writeln!(out, "  {}", reason.message);
            if !reason.fix.is_empty() {
                let _ = writeln!(out, "  fix: {}", reason.fix);
            }
        }
    }
    let hops = trace.forward.iter().chain(&trace.reply).map(|h| &h.node);
    let names = hops.chain(trace.reason.iter().map(|r| &r.node)).map(|n| n.chars().count());
    let width = names.max().unwrap_or(0);
    path(&mut out, "there", &trace.forward, trace.forward.first().map(|h| (h.src, h.dst)), width);
    path(&mut out, "back", &trace.reply, trace.forward.last().map(|h| (h.dst, h.src)), width);
    if let Some(reason) = trace.reason.as_ref().filter(|_| !trace.forward.is_empty()) {
        let _ = writeln!(out, "  {:width$}  {:10}  {}", reason.node, "ends", reason.code);
    }
    for doubt in &trace.uncertain {
        let _ = writeln!(out, "\nuncertain: {doubt}");
    }
    for note in &trace.notes {
        let _ = writeln!(out, "\nnote: {note}");
    }
    out
}

fn path(out: &mut String, title: &str, hops: &[Hop], start: Option<(IpAddr, IpAddr)>, width: usize) {
    let Some((mut src, mut dst)) = start.filter(|_| !hops.is_empty()) else { return };
    let _ = writeln!(out, "\n{title}: {} -> {}", shown(src), shown(dst));
    for hop in hops {
        let _ = writeln!(out, "  {:width$}  {:10}  {}", hop.node, hop.step.as_str(), hop.detail);
        if matches!(hop.step, Step::Masquerade | Step::Restore) || (hop.src, hop.dst) != (src, dst) {
            let _ = writeln!(
                out,
                "  {:width$}  {:10}  was {} -> {}, now {} -> {}",
                "",
                "",
                shown(src),
                shown(dst),
                shown(hop.src),
                shown(hop.dst)
            );
        }
        (src, dst) = (hop.src, hop.dst);
    }
}
