//! What things are called: a file's name, or the comment above a peer, names a node; `NODE-wg0.conf` names the network, too.

use std::net::IpAddr;

use super::Source;
use super::finding::Findings;
use crate::model::{InterfaceName, Network, NodeName, Platform, could_be_key};

/// Words in a comment that say what a peer is and not who.
const KINDS: [&str; 6] = ["client", "peer", "node", "server", "config", "the"];
/// What a network is called whose files do not say.
const UNNAMED: &str = "wg0";
/// What `set` takes for the network itself.
const NETWORK: &str = "network";

/// The part behind the last folder.
pub(super) fn last_part(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

/// The last part without `.conf`.
pub(super) fn stem(name: &str) -> &str {
    let last = last_part(name);
    last.strip_suffix(".conf").unwrap_or(last)
}

/// Cuts `wsl-wg0` into a node and an interface; `wg0` alone is an interface.
fn parts(stem: &str) -> (&str, Option<&str>) {
    let is_interface =
        |t: &str| t.strip_prefix("wg").is_some_and(|n| n.len() <= 4 && n.bytes().all(|b| b.is_ascii_digit()));
    if is_interface(stem) {
        return ("", Some(stem));
    }
    match stem.rsplit_once(['-', '_', '.']) {
        Some((node, interface)) if is_interface(interface) && !node.is_empty() => (node, Some(interface)),
        _ => (stem, None),
    }
}

/// Returns the network's name: what the relay's file says, else any other.
pub(super) fn network(sources: &[Source<'_>], relay: usize) -> InterfaceName {
    let first = std::iter::once(&sources[relay]);
    let said = first.chain(sources).find_map(|s| parts(s.stem).1);
    said.unwrap_or(UNNAMED).parse().expect("wg and digits, at most six characters, are an interface's name")
}

/// Returns a node's name that no other node has: from its file, else from the comments above its peer, else `other`. A file
/// whose name it does not bear is told.
pub(super) fn node(
    source: Option<&Source<'_>>,
    comments: &[String],
    other: &str,
    network: &Network,
    told: &mut Findings,
) -> NodeName {
    let of_file = source.map(|s| parts(s.stem).0).filter(|name| !name.is_empty());
    let from_file = of_file.and_then(slug);
    let from_comment = || comments.iter().rev().find_map(|c| slug(of_comment(c)));
    let wanted = from_file.or_else(from_comment).unwrap_or_else(|| other.to_owned());
    let numbered = (2..).map(|n| format!("{wanted}-{n}"));
    let mut free = std::iter::once(wanted.clone()).chain(numbered).filter_map(|t| t.parse::<NodeName>().ok());
    let name = free
        .find(|name| !network.nodes.contains_key(name))
        .expect("there are more numbers than nodes, and a slug leaves room for them");
    if let (Some(source), Some(of_file)) = (source, of_file.filter(|f| *f != name.as_str())) {
        let why = why_not(of_file, network);
        told.add(
            "other-name",
            format!("{}:1:1", source.name),
            format!("{of_file} {why}: the node of this file is {name}"),
            format!("`wgrelay rename {name} NEW` calls it otherwise"),
        );
    }
    name
}

/// Says why a file's name is not its node's.
fn why_not(name: &str, network: &Network) -> &'static str {
    match name.parse::<NodeName>() {
        Ok(name) if network.nodes.contains_key(&name) => "is another node's name already",
        Ok(_) if name == NETWORK => {
            "cannot be a node's name, because `wgrelay set network` means the network itself"
        }
        Ok(_) => "cannot be a node's name, because it means something else in [[allow]]",
        Err(_) => "cannot be a node's name",
    }
}

/// `windows client` is windows; `friendly_name = laptop` is laptop.
fn of_comment(comment: &str) -> &str {
    let text = comment.rsplit_once(['=', ':']).map_or(comment, |(_, value)| value);
    let text = text.trim_matches(|c: char| c == '#' || c.is_whitespace());
    let is_kind = |w: &str| KINDS.iter().any(|k| k.eq_ignore_ascii_case(w));
    let mut words = text.split_whitespace().filter(|w| !is_kind(w));
    // A sentence is no name.
    match (words.next(), words.next()) {
        (Some(one), None) => one,
        _ => "",
    }
}

/// The text as a node's name; `None`: nothing of it can be one, or it means something else in a rule.
fn slug(text: &str) -> Option<String> {
    const LONGEST: usize = 56;
    let kept: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "_.".contains(c) { c } else { '-' }).collect();
    let kept: String = kept.trim_matches(['-', '.']).chars().take(LONGEST).collect();
    // A comment may be a line of keys that somebody took out of use.
    if could_be_key(text) {
        return None;
    }
    let is_taken = kept == "internet" || kept == NETWORK || kept.parse::<IpAddr>().is_ok();
    (!is_taken && kept.chars().any(|c| c.is_ascii_alphanumeric()) && kept.parse::<NodeName>().is_ok())
        .then_some(kept)
}

/// The platform that a name or a comment tells of.
pub(super) fn platform(name: &NodeName, comments: &[String]) -> Platform {
    let text = std::iter::once(name.as_str()).chain(comments.iter().map(String::as_str));
    let text = text.collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let also = [
        ("win", Platform::Windows),
        ("win10", Platform::Windows),
        ("win11", Platform::Windows),
        ("mac", Platform::Macos),
        ("macbook", Platform::Macos),
        ("iphone", Platform::Ios),
        ("ipad", Platform::Ios),
        ("routeros", Platform::Mikrotik),
    ];
    let named = |list: &[(&str, Platform)]| list.iter().find(|(w, _)| words.contains(w)).map(|(_, p)| *p);
    named(&Platform::ALL).or_else(|| named(&also)).unwrap_or(Platform::Linux)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_name_nodes_and_networks() {
        assert_eq!(parts(stem("/etc/wireguard/wg0.conf")), ("", Some("wg0")));
        assert_eq!(parts(stem("by-hand/wsl-wg0.conf")), ("wsl", Some("wg0")));
        assert_eq!(parts(stem("C:\\vpn\\windows.conf")), ("windows", None));
        assert_eq!(parts("wgtest1"), ("wgtest1", None));
    }

    #[test]
    fn comments_name_peers() {
        assert_eq!(of_comment(" windows client"), "windows");
        assert_eq!(of_comment("friendly_name = laptop"), "laptop");
        assert_eq!(of_comment("## Client laptop"), "laptop");
        assert_eq!(of_comment("the one in the attic"), "");
        assert_eq!(slug("ändern"), Some("ndern".into()));
        for none in ["", "-", "…", "internet", "network", "10.0.0.1", "all"] {
            assert_eq!(slug(none), None, "{none}");
        }
    }
}
