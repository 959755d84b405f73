//! A `.conf` with the eyes of one client: what it refuses is an error, what it takes in another way than meant a warning.

use super::client::{Client, HookRepeats, KeepaliveOff, Repeats};
use super::parse::{Entry, Fault, Walk};
use super::{Document, Key, Section};
use crate::model::{Problem, Severity};

/// Returns the keys of a document that a client refuses, sorted.
pub fn rejected_keys(client: Client, document: &Document) -> Vec<Key> {
    document.keys().into_iter().filter(|key| !client.accepts(*key)).collect()
}

/// Tells what a client makes of a text; no error among the problems: it accepts it.
///
/// `file` is how problems call the text.
pub fn lint(text: &str, file: &str, client: Client) -> Vec<Problem> {
    let walk = Walk::through(text);
    let mut judged: Vec<(usize, usize, Problem)> = Vec::new();
    for fault in &walk.faults {
        // What the client's own rules say about these is told below, with the right severity.
        if matches!(fault.code, "repeated-key" | "duplicate-peer") && is_refused(fault, client) {
            continue;
        }
        let severity = if fault.taken_by.contains(&client) { Severity::Warning } else { fault.severity };
        judged.push((fault.line, fault.column, fault.problem(file, severity)));
    }
    for fault in own_rules(&walk, client) {
        judged.push((fault.line, fault.column, fault.problem(file, fault.severity)));
    }
    judged.sort();
    judged.into_iter().map(|(.., problem)| problem).collect()
}

fn is_refused(fault: &Fault, client: Client) -> bool {
    match fault.code {
        "repeated-key" => client.rules().repeats == Repeats::Refused,
        _ => client.rules().refuses_duplicate_peers,
    }
}

fn own_rules(walk: &Walk, client: Client) -> Vec<Fault> {
    let rules = client.rules();
    let mut out = Vec::new();
    let mut add = |severity, code, (line, column), message: String, hint: &str| {
        out.push(Fault { code, severity, taken_by: &[], line, column, message, hint: hint.into() });
    };
    for (index, entry) in walk.entries.iter().enumerate() {
        let (key, place) = (entry.key, (entry.line, entry.column));
        if !client.accepts(key) {
            add(
                Severity::Error,
                "refused-key",
                place,
                format!("{client} refuses {key}"),
                "take the line out",
            );
            continue;
        }
        let earlier = walk.entries[..index].iter().rev().find(|e| repeats(e, entry));
        if let Some(line) = earlier.map(|e| e.line) {
            if key.is_hook() && rules.hook_repeats == HookRepeats::LastWins {
                let message = format!("{client} runs only the last {key}; the one of line {line} is lost");
                add(
                    Severity::Warning,
                    "repeated-key",
                    place,
                    message,
                    "join the commands with \";\" or \"&&\"",
                );
            } else if !key.is_hook() && rules.repeats == Repeats::Refused {
                let message = format!("{client} refuses a second {key}; the first is in line {line}");
                add(Severity::Error, "repeated-key", place, message, "keep one of them");
            }
        }
        let refused = match (entry.off, rules.keepalive_off) {
            (Some(_), KeepaliveOff::Refused) => true,
            (Some(is_lower), KeepaliveOff::LowerCase) => !is_lower,
            _ => false,
        };
        if refused {
            let message = format!("{client} refuses this way to say off");
            add(Severity::Error, "bad-keepalive", place, message, "write 0, or leave the line out");
        }
        if key == Key::Mtu && walk.document.interface.mtu.is_some_and(|mtu| mtu < rules.min_mtu) {
            let message = format!("{client} refuses an MTU below {}", rules.min_mtu);
            add(Severity::Error, "bad-mtu", place, message, "");
        }
        if client == Client::Windows && key.is_hook() && earlier.is_none() {
            let message =
                format!("WireGuard for Windows runs {key} only where DangerousScriptExecution is set");
            let hint =
                r"HKLM\Software\WireGuard, DWORD DangerousScriptExecution = 1; commands run as LocalSystem";
            add(Severity::Warning, "hook-not-run", place, message, hint);
        }
    }
    let interfaces = || walk.headers.iter().filter(|h| h.section == Section::Interface);
    if rules.refuses_second_interface {
        for header in interfaces().skip(1) {
            let message = format!("{client} refuses a second [Interface]");
            add(
                Severity::Error,
                "second-interface",
                (header.line, header.column),
                message,
                "make one of them",
            );
        }
    }
    if rules.needs_private_key && !walk.entries.iter().any(|e| e.key == Key::PrivateKey) {
        let place = interfaces().next().map_or((1, 1), |h| (h.line, h.column));
        let (code, what) = if interfaces().next().is_none() {
            ("missing-section", "an [Interface] with a PrivateKey")
        } else {
            ("missing-private-key", "a PrivateKey")
        };
        add(Severity::Error, code, place, format!("{client} needs {what}"), "add it");
    }
    if rules.refuses_duplicate_peers {
        for fault in walk.faults.iter().filter(|f| f.code == "duplicate-peer") {
            let place = (fault.line, fault.column);
            let message = format!("{client} refuses two peers with one key: {}", fault.message);
            add(Severity::Error, "duplicate-peer", place, message, &fault.hint);
        }
    }
    out
}

/// Says whether `later` is the same key of the same section again.
fn repeats(earlier: &Entry, later: &Entry) -> bool {
    earlier.key == later.key
        && !later.key.accumulates()
        && (later.key.section() == Section::Interface || earlier.section == later.section)
}
