//! A status as Prometheus reads it: the text exposition format, version 0.0.4.

use std::fmt::Write as _;

use super::{State, Status};

/// Writes the metrics of a network. Times are Unix seconds, as Prometheus has them; a peer that was never heard has 0.
pub fn metrics(status: &Status) -> String {
    let mut out = String::new();
    let network = label(&status.network);
    let node = label(status.node.as_ref().map_or("", |n| n.as_str()));
    family(&mut out, "wgrelay_up", "gauge", "Whether the interface is there (1) or not (0).");
    let up = u8::from(status.state != State::Down);
    let _ = writeln!(out, "wgrelay_up{{network={network},node={node}}} {up}");
    family(
        &mut out,
        "wgrelay_healthy",
        "gauge",
        "Whether `wgrelay status` would exit with 0 (1) or not (0).",
    );
    let _ =
        writeln!(out, "wgrelay_healthy{{network={network},node={node}}} {}", u8::from(status.is_healthy()));
    family(&mut out, "wgrelay_drift", "gauge", "Things that differ from what was applied.");
    let _ = writeln!(out, "wgrelay_drift{{network={network}}} {}", status.drift.len());
    family(&mut out, "wgrelay_problems", "gauge", "What is wrong or pending, by its code.");
    let mut codes: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for problem in &status.problems {
        *codes.entry(problem.code.as_str()).or_default() += 1;
    }
    for (code, count) in codes {
        let _ = writeln!(out, "wgrelay_problems{{network={network},code={}}} {count}", label(code));
    }
    if let Some(times) = status.repairs_in_a_minute {
        let help = "How often the agent repaired this host in the last minute.";
        family(&mut out, "wgrelay_repairs_last_minute", "gauge", help);
        let _ = writeln!(out, "wgrelay_repairs_last_minute{{network={network}}} {times}");
    }
    if !status.repaired_after.is_empty() {
        let help = "The same, by the process after whose change it was.";
        family(&mut out, "wgrelay_repairs_last_minute_by_process", "gauge", help);
        for (process, times) in &status.repaired_after {
            let labels = format!("network={network},process={}", label(process));
            let _ = writeln!(out, "wgrelay_repairs_last_minute_by_process{{{labels}}} {times}");
        }
    }
    let peers: Vec<(String, &super::PeerStatus)> = status
        .peers
        .iter()
        .map(|peer| {
            let name = peer.name.as_ref().map_or("", |n| n.as_str());
            let key = label(&peer.public_key.to_string());
            (format!("network={network},peer={},public_key={key}", label(name)), peer)
        })
        .collect();
    family(&mut out, "wgrelay_peer_health", "gauge", "1 for the health that the peer has.");
    for (labels, peer) in &peers {
        let _ = writeln!(out, "wgrelay_peer_health{{{labels},health={}}} 1", label(peer.health.as_str()));
    }
    let last = "When the last handshake with the peer was completed, in Unix seconds; 0: never.";
    family(&mut out, "wgrelay_peer_last_handshake_seconds", "gauge", last);
    for (labels, peer) in &peers {
        let time = peer.last_handshake.unwrap_or(0);
        let _ = writeln!(out, "wgrelay_peer_last_handshake_seconds{{{labels}}} {time}");
    }
    family(&mut out, "wgrelay_peer_receive_bytes_total", "counter", "Bytes received from the peer.");
    for (labels, peer) in &peers {
        let _ = writeln!(out, "wgrelay_peer_receive_bytes_total{{{labels}}} {}", peer.rx_bytes);
    }
    family(&mut out, "wgrelay_peer_transmit_bytes_total", "counter", "Bytes sent to the peer.");
    for (labels, peer) in &peers {
        let _ = writeln!(out, "wgrelay_peer_transmit_bytes_total{{{labels}}} {}", peer.tx_bytes);
    }
    out
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A label's value, quoted: backslash, quotation mark and line feed are escaped.
fn label(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Problem, PublicKey};
    use crate::status::{Health, PeerStatus};

    fn status() -> Status {
        let peer = PeerStatus {
            name: Some("phone".parse().unwrap()),
            public_key: PublicKey::from_bytes([7; 32]),
            endpoint: None,
            last_handshake: Some(1_700_000_000),
            handshake_age: Some(12),
            health: Health::Online,
            rx_bytes: 10,
            tx_bytes: 20,
            allowed_ips: Vec::new(),
            matters: false,
            standby: false,
            send_error: None,
        };
        Status {
            version: 1,
            network: "wg0".into(),
            node: Some("wsl".parse().unwrap()),
            backend: None,
            state: State::Up,
            peers: vec![peer],
            drift: Vec::new(),
            problems: vec![Problem::warning("pending", "x", "x", "")],
            rolled_back_at: None,
            repairs_in_a_minute: Some(3),
            repaired_after: [("nft".to_string(), 2), ("unknown".to_string(), 1)].into(),
            store: None,
            relay: None,
            attached: Vec::new(),
            given_over: Vec::new(),
            drains: false,
            to_leave: Vec::new(),
            floating: None,
            rolls_back_in: None,
        }
    }

    #[test]
    fn a_status_as_prometheus_reads_it() {
        let text = metrics(&status());
        let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
        let of = "network=\"wg0\",peer=\"phone\",public_key=\"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\"";
        assert_eq!(
            lines,
            [
                "wgrelay_up{network=\"wg0\",node=\"wsl\"} 1".to_owned(),
                "wgrelay_healthy{network=\"wg0\",node=\"wsl\"} 1".into(),
                "wgrelay_drift{network=\"wg0\"} 0".into(),
                "wgrelay_problems{network=\"wg0\",code=\"pending\"} 1".into(),
                "wgrelay_repairs_last_minute{network=\"wg0\"} 3".into(),
                "wgrelay_repairs_last_minute_by_process{network=\"wg0\",process=\"nft\"} 2".into(),
                "wgrelay_repairs_last_minute_by_process{network=\"wg0\",process=\"unknown\"} 1".into(),
                format!("wgrelay_peer_health{{{of},health=\"online\"}} 1"),
                format!("wgrelay_peer_last_handshake_seconds{{{of}}} 1700000000"),
                format!("wgrelay_peer_receive_bytes_total{{{of}}} 10"),
                format!("wgrelay_peer_transmit_bytes_total{{{of}}} 20"),
            ]
        );
        for (number, line) in text.lines().enumerate().filter(|(_, l)| l.starts_with("# TYPE")) {
            assert!(text.lines().nth(number - 1).is_some_and(|l| l.starts_with("# HELP")), "{line}");
        }
        assert_eq!(label("a\"b\\c\nd"), r#""a\"b\\c\nd""#);
    }

    #[test]
    fn the_dashboard_asks_for_what_there_is() {
        let text = include_str!("../../packaging/grafana/wgrelay.json");
        let board: serde_json::Value = serde_json::from_str(text).unwrap();
        let told = metrics(&status());
        let families: std::collections::BTreeSet<&str> =
            told.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let asked: std::collections::BTreeSet<&str> =
            text.split(|c| !is_word(c)).filter(|word| word.starts_with("wgrelay_")).collect();
        assert_eq!(asked, families, "each metric is on it, and nothing else");
        // Labels, too: what is compared or shown by its name has it.
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let expr = target["expr"].as_str().unwrap();
                let family = expr.split(|c| !is_word(c)).find(|word| word.starts_with("wgrelay_")).unwrap();
                let line = told.lines().find(|line| line.starts_with(&format!("{family}{{"))).unwrap();
                let (_, labels) = expr.split_once(family).unwrap();
                let labels = labels.trim_start_matches('{').split('}').next().unwrap();
                let legend = target["legendFormat"].as_str().unwrap();
                let shown = legend.split("{{").skip(1).filter_map(|piece| piece.split("}}").next());
                let compared = labels.split(',').filter_map(|one| one.split(['=', '!']).next());
                for label in shown.chain(compared) {
                    assert!(line.contains(&format!("{label}=\"")), "{family} has no {label}: {line}");
                }
            }
        }
    }
}
