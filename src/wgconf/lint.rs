//! A `.conf` with the eyes of one client: what it refuses is an error, what it takes in another way than meant a warning.

use super::client::{Client, HookRepeats, KeepaliveOff, Repeats};
use super::walk::{Fault, Walk};
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

/// Tells where a client would not take a file by its name, which becomes the tunnel's; `stem` is the name without `.conf`.
/// The content may be fine, so this is a warning. `wg` takes files by any name.
pub fn lint_name(stem: &str, file: &str, client: Client) -> Option<Problem> {
    if client == Client::Wg || client.accepts_name(stem) {
        return None;
    }
    let most = client.rules().max_name;
    let message = if stem.len() > most {
        format!("{client} refuses a tunnel called {stem}: {} characters, and {most} is the most", stem.len())
    } else {
        format!("{client} refuses a tunnel called {stem}")
    };
    let hint = "the file's name is the tunnel's: give it another, such as wg0.conf";
    Some(Problem::warning("bad-tunnel-name", file, message, hint))
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
    for entry in &walk.entries {
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
        if let Some(line) = entry.earlier {
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
        if client == Client::Windows && key.is_hook() && entry.earlier.is_none() {
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=";

    /// Judges a text for every client: `!` refused, `?` taken with a warning, `.` taken.
    fn verdicts(text: &str) -> String {
        Client::ALL
            .iter()
            .map(|(_, client)| {
                let problems = lint(text, "f", *client);
                if problems.iter().any(Problem::is_error) {
                    '!'
                } else if problems.is_empty() {
                    '.'
                } else {
                    '?'
                }
            })
            .collect()
    }

    #[test]
    fn the_same_line_to_five_clients() {
        let interface = format!("[Interface]\nPrivateKey = {KEY}\n");
        // In the order of Client::ALL: wg, wg-quick, Windows, Apple, Android.
        for (line, expected) in [
            ("", "....."),
            ("ListenPort = 1", "....."),
            ("ListenPort = 666666666", "??!!!"),
            ("ListenPort = 1\nListenPort = 2", "???!?"),
            ("FwMark = 1", "..!!!"),
            ("Address = 10.0.0.1/24", "!...."),
            ("DNS = a_b", "!???!"),
            ("Table = off", "!..!!"),
            ("PostUp = a", "!.?!!"),
            ("SaveConfig = true", "!.!!!"),
            ("IncludedApplications = a.b", "!!!!."),
            ("MTU = 500", "!.!.."),
            ("Address =", "!?!!!"),
            ("[Interface]", "...!."),
            ("[ Peer ]\nPublicKey = GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=", "??!!!"),
        ] {
            let found = verdicts(&format!("{interface}{line}\n"));
            assert_eq!(found, expected, "{line}");
        }
        let peer = format!("{interface}[Peer]\nPublicKey = {KEY}\n");
        for (line, expected) in [
            ("PersistentKeepalive = off", "...!!"),
            ("PersistentKeepalive = OFF", "..!!!"),
            ("AllowedIPs = 10.0.0.0/8,", "!!!?!"),
            ("AllowedIPs = 10.0.0.1/8", "?????"),
            ("Endpoint = ::1:1", "??!!!"),
            ("[Peer]\nPublicKey = GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=", "???!?"),
        ] {
            assert_eq!(verdicts(&format!("{peer}{line}\n")), expected, "{line}");
        }
        assert_eq!(verdicts(""), "..!!!");
        assert_eq!(verdicts("[Interface]\n"), "..!!!");
        assert_eq!(verdicts(&format!("\u{feff}{interface}")), "!!?!!");
    }

    #[test]
    fn each_fault_is_told_once() {
        let text = format!(
            "[Interface]\nPrivateKey = {KEY}\nListenPort = 1\nListenPort = 2\nPostUp = a\nPostUp = b\n"
        );
        let codes = |client| -> Vec<(String, String)> {
            lint(&text, "f", client).into_iter().map(|p| (p.code, p.place)).collect()
        };
        let told = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(c, p)| ((*c).into(), (*p).into())).collect()
        };
        assert_eq!(codes(Client::WgQuick), told(&[("repeated-key", "f:4:1")]));
        assert_eq!(
            codes(Client::Apple),
            told(&[("repeated-key", "f:4:1"), ("refused-key", "f:5:1"), ("refused-key", "f:6:1")])
        );
        assert_eq!(
            codes(Client::Windows),
            told(&[("repeated-key", "f:4:1"), ("hook-not-run", "f:5:1"), ("repeated-key", "f:6:1")])
        );
    }

    #[test]
    fn keys_of_a_document() {
        let text = format!("[Interface]\nPrivateKey = {KEY}\nFwMark = 1\nMTU = 1400\nPostUp = a\n");
        let document = super::super::parse(&text, "f").unwrap();
        assert_eq!(rejected_keys(Client::WgQuick, &document), []);
        assert_eq!(rejected_keys(Client::Windows, &document), [Key::FwMark]);
        assert_eq!(rejected_keys(Client::Apple, &document), [Key::FwMark, Key::PostUp]);
        assert_eq!(rejected_keys(Client::Wg, &document), [Key::Mtu, Key::PostUp]);
    }

    #[test]
    fn a_tunnels_name_is_judged_by_whoever_takes_the_file() {
        let told = |stem, client| lint_name(stem, "x.conf", client).map(|p| p.message);
        assert_eq!(told("wg0", Client::WgQuick), None);
        assert_eq!(
            told("office-in-helsinki", Client::WgQuick).unwrap(),
            "wg-quick refuses a tunnel called office-in-helsinki: 18 characters, and 15 is the most"
        );
        assert_eq!(told("office-in-helsinki", Client::Windows), None);
        assert_eq!(told("office-in-helsinki", Client::Wg), None);
        assert!(told("CON", Client::Windows).is_some());
    }
}
