//! Peers whose sections are commented out in a relay's file, as PiVPN switches a client off (`#[disabled] [Peer]`) and people do: whoever
//! has the file of such a one still is not let in by that.

use std::collections::BTreeSet;

use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::model::PublicKey;
use crate::wgconf::{self, Document};

/// Puts back the sections that are commented out, as far as nobody else has their keys or prefixes, and returns the keys of all of them.
/// Lines stay where they are. A client's own file says nothing of the others: it is left as it is.
pub(super) fn sections(text: &str) -> (Option<Zeroizing<String>>, Vec<PublicKey>) {
    let is_comment = |line: &str| line.trim_start().starts_with('#');
    if !text.lines().any(|line| is_comment(line) && key_of(uncommented(line)).is_some()) {
        return (None, Vec::new());
    }
    let document = wgconf::read(text, "").document;
    if document.interface.listen_port.is_none() {
        return (None, Vec::new());
    }
    let listed: BTreeSet<PublicKey> = document.peers.iter().map(|p| p.public_key).collect();
    let mut lines: Vec<&str> = text.split('\n').collect();
    let mut off = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let is_head = |line: &str| uncommented(line).trim().eq_ignore_ascii_case("[peer]");
        if !is_comment(lines[at]) || !is_head(lines[at]) {
            at += 1;
            continue;
        }
        let own = |line: &&&str| is_comment(line) && !is_head(line);
        let end = at + 1 + lines[at + 1..].iter().take_while(own).count();
        // What is said above it is commented out with it.
        let marked = |line: &&&str| mark(line).is_some_and(|m| m.len() > 1);
        let start = at - lines[..at].iter().rev().take_while(marked).count();
        let section: Vec<&str> = lines[at..end].iter().map(|l| uncommented(l)).collect();
        let section = Zeroizing::new(section.join("\n"));
        let peers = wgconf::read(&section, "").document.peers;
        if let [peer] = peers.as_slice()
            && !listed.contains(&peer.public_key)
            && !off.contains(&peer.public_key)
        {
            off.push(peer.public_key);
            if !is_taken(&document, &peer.allowed_ips) {
                // A comment among them stays one: it may speak of who comes next.
                let is_said = |line: &str| is_head(line) || uncommented(line).contains('=');
                for line in &mut lines[start..end] {
                    if mark(line).is_some_and(|m| m.len() > 1) || is_said(line) {
                        *line = uncommented(line);
                    }
                }
            }
        }
        at = end;
    }
    // A key alone is enough to keep its owner out.
    let keys = text.lines().filter(|line| is_comment(line)).filter_map(|line| key_of(uncommented(line)));
    for key in keys {
        if !listed.contains(&key) && !off.contains(&key) {
            off.push(key);
        }
    }
    (Some(Zeroizing::new(lines.join("\n"))), off)
}

/// What a manager begins a line with that it takes out of use, else `#`.
fn mark(line: &str) -> Option<&str> {
    const DISABLED: &str = "#[disabled]";
    let line = line.trim_start();
    if line.starts_with(DISABLED) { Some(DISABLED) } else { line.starts_with('#').then_some("#") }
}

fn uncommented(line: &str) -> &str {
    let line = line.trim_start();
    mark(line).map_or(line, |mark| line[mark.len()..].trim_start_matches([' ', '\t']))
}

fn key_of(line: &str) -> Option<PublicKey> {
    let (name, value) = line.split_once('=')?;
    let last = name.split_whitespace().next_back()?;
    last.eq_ignore_ascii_case("publickey").then(|| value.trim().parse().ok()).flatten()
}

/// Whether a peer that counts has one of these prefixes.
fn is_taken(document: &Document, prefixes: &[IpNet]) -> bool {
    document.peers.iter().flat_map(|p| &p.allowed_ips).any(|net| prefixes.contains(net))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> PublicKey {
        PublicKey::from_bytes([n; 32])
    }

    fn hub(rest: &str) -> String {
        format!(
            "[Interface]\nListenPort = 1\n[Peer]\nPublicKey = {}\nAllowedIPs = 10.0.0.2/32\n{rest}",
            key(1)
        )
    }

    #[test]
    fn a_section_that_is_commented_out_is_read_and_is_off() {
        let two = key(2);
        for (lines, comment) in [
            (format!("# bob\n#[Peer]\n#PublicKey = {two}\n#AllowedIPs = 10.0.0.3/32\n# carol\n"), "bob"),
            (
                format!(
                    "#[disabled] ### begin bob ###\r\n#[disabled] [Peer]\r\n#[disabled] PublicKey = {two}\r\n\
                     #[disabled] AllowedIPs = 10.0.0.3/32\r\n#[disabled] ### end bob ###\r\n"
                ),
                "## begin bob ###",
            ),
            (format!("# bob\n# [Peer]\n# publickey={two}\n# AllowedIPs = 10.0.0.3/32\n\n# more\n"), "bob"),
        ] {
            let text = hub(&lines);
            let (back, off) = sections(&text);
            let back = back.unwrap();
            assert_eq!(off, [two], "{lines}");
            assert_eq!(back.lines().count(), text.lines().count());
            let peers = wgconf::read(&back, "").document.peers;
            assert_eq!((peers.len(), peers[1].allowed_ips.len()), (2, 1), "{back:?}");
            assert_eq!(peers[1].comments, [comment], "{back:?}");
        }
    }

    #[test]
    fn whoever_has_its_prefixes_now_keeps_them() {
        let two = key(2);
        let text = hub(&format!("#[Peer]\n#PublicKey = {two}\n#AllowedIPs = 10.0.0.2/32\n"));
        let (back, off) = sections(&text);
        assert_eq!((wgconf::read(&back.unwrap(), "").document.peers.len(), off), (1, vec![two]));
        // Who is listed is not off, and a key of a header's comment is.
        for (line, off) in [(key(1), vec![]), (two, vec![two])] {
            assert_eq!(sections(&hub(&format!("# PublicKey = {line}\n"))).1, off);
        }
        // A client's own file has one peer, and no port.
        let text = format!("[Interface]\n[Peer]\nPublicKey = {}\n#[Peer]\n#PublicKey = {two}\n", key(1));
        assert_eq!(sections(&text), (None, vec![]));
    }
}
