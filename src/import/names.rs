//! What things are called: a file's name, or the comment above a peer, names a node; `NODE-wg0.conf` names the network, too.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Source;
use super::finding::Findings;
use crate::model::{InterfaceName, Network, NodeName, Platform, masked};

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

/// Whether a text is what an interface of WireGuard is usually called.
pub(super) fn is_interface(text: &str) -> bool {
    text.strip_prefix("wg").is_some_and(|n| n.len() <= 4 && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether a link in the hooks of a file is the tunnel itself, whatever it is called by whoever wrote them.
pub(super) fn is_tunnel(link: &str, stem: &str) -> bool {
    link == "%i" || link == "wg+" || link == stem || parts(stem).1 == Some(link) || is_interface(link)
}

/// Cuts `wsl-wg0` into a node and an interface; `wg0` alone is an interface, and `wg0-client-phone` is angristan's phone.
fn parts(stem: &str) -> (&str, Option<&str>) {
    if is_interface(stem) {
        return ("", Some(stem));
    }
    if let Some((interface, node)) = stem.split_once("-client-")
        && is_interface(interface)
        && !node.is_empty()
    {
        return (node, Some(interface));
    }
    match stem.rsplit_once(['-', '_', '.']) {
        // pfSense's tun_wg0 is an interface.
        Some(("tun", interface)) if is_interface(interface) => ("", Some(interface)),
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
    (place, comments): (String, &[String]),
    other: &str,
    network: &Network,
    told: &mut Findings,
) -> NodeName {
    let of_file = source.map(|s| parts(s.stem).0).filter(|name| !name.is_empty());
    let from_file = of_file.and_then(slug);
    let from_comment = || of_comments(comments);
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
    } else if let (true, Some(words)) = (of_file.is_none() && wanted == other, words_of(comments)) {
        told.add(
            "other-name",
            place,
            format!("{words:?} cannot be a node's name: the node is {name}"),
            format!("`wgrelay rename {name} NEW` calls it otherwise"),
        );
    }
    name
}

/// What comments say that names nobody, short.
fn words_of(comments: &[String]) -> Option<String> {
    const LONGEST: usize = 48;
    let texts = comments.iter().rev().filter_map(|c| match said(c) {
        Said::Name(name) => Some(name.into_owned()),
        Said::Words(words) => Some(words.join(" ")),
        Said::Nothing => None,
    });
    // A line of dashes is no word, nor is a line of keys that somebody took out of use.
    let mut texts = texts.filter(|t| t.chars().any(char::is_alphanumeric) && masked(t) == *t);
    let text = texts.next()?;
    Some(match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    })
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

/// The name that the comments of a peer tell: one that says it is the name, else the nearest word, else a few words.
fn of_comments(comments: &[String]) -> Option<String> {
    let said = || comments.iter().rev().map(|c| said(c));
    let word = |said: Said| match said {
        Said::Words(words) => match words.as_slice() {
            [one] => slug(one),
            _ => None,
        },
        _ => None,
    };
    // A sentence is no name.
    let words = |said: Said| match said {
        Said::Words(words) if (2..=4).contains(&words.len()) => slug(&words.join(" ")),
        _ => None,
    };
    let name = |said: Said| if let Said::Name(name) = said { slug(&name) } else { None };
    said().find_map(name).or_else(|| said().find_map(word)).or_else(|| said().find_map(words))
}

/// What a comment says.
enum Said<'c> {
    /// This is its name.
    Name(Cow<'c, str>),
    /// Something.
    Words(Vec<&'c str>),
    /// Something that is no name.
    Nothing,
}

/// Labels of names: wg-easy's `Client: x (id)`, wireguard-ui's `Name: x`, wg-portal's `-WGP- Display name: x`, and others.
const OF_NAMES: [&str; 17] = [
    "name",
    "client",
    "peer",
    "client name",
    "friendly_name",
    "friendly name",
    "display name",
    "-wgp- display name",
    "-wgp- peer",
    "-wgp- peer identifier",
    "-wgp- peer display name",
    "peer name",
    "username",
    "user",
    "device",
    "node",
    "host",
];
/// Labels of what is no name.
const OF_OTHERS: [&str; 20] = [
    "endpoint",
    "id",
    "uuid",
    "email",
    "e-mail",
    "mail",
    "update at",
    "updated",
    "updated at",
    "create at",
    "created",
    "created at",
    "expires",
    "address",
    "ip",
    "notes",
    "telegram",
    "allocated ips",
    "public key",
    "private key",
];
/// Ends of such labels: wireguard-ui's `Private Key updated at`.
const ENDS_OF_OTHERS: [&str; 3] = [" at", " on", " date"];

fn value_of(text: &str) -> &str {
    text.split_once([':', '=']).map_or("", |(_, value)| value.trim())
}

fn said(comment: &str) -> Said<'_> {
    // `#=== alice ===#` and `# [alice]`: what is drawn around a name is none of it.
    let text = comment.trim_matches(|c: char| c == '#' || c.is_whitespace());
    let is_drawn = text.starts_with(['=', '*', '~', '[', '<']) || text.starts_with("--");
    let text = text.trim_matches(|c: char| is_drawn && (c.is_whitespace() || "=*~_-[]<>#".contains(c)));
    // Nyr's BEGIN_PEER alice and PiVPN's begin alice, with their ends.
    if let Some((first, rest)) = text.split_once(char::is_whitespace) {
        match first {
            "BEGIN_PEER" | "begin" => return Said::Name(rest.trim().into()),
            "END_PEER" | "end" => return Said::Nothing,
            _ => {}
        }
    }
    if let Some((label, value)) = text.split_once([':', '=']) {
        let label = label.trim_matches(|c: char| c == '#' || c.is_whitespace()).to_ascii_lowercase();
        let value = value.split(" (").next().unwrap_or_default().trim();
        if OF_NAMES.contains(&label.as_str()) {
            // What follows a comma with a number in it is a date, or a room.
            let name = value.split_once(',').filter(|(_, rest)| rest.contains(|c: char| c.is_ascii_digit()));
            return Said::Name(name.map_or(value, |(name, _)| name).into());
        }
        // prometheus-wireguard-exporter's: a map.
        if label == "friendly_json" {
            let map = serde_json::from_str::<serde_json::Value>(value_of(text)).ok();
            let name = map.and_then(|m| Some(m.get("name")?.as_str()?.to_owned()));
            return name.map_or(Said::Nothing, |name| Said::Name(name.into()));
        }
        if OF_OTHERS.contains(&label.as_str())
            || label.starts_with("-wgp-")
            || ENDS_OF_OTHERS.iter().any(|end| label.ends_with(end))
        {
            return Said::Nothing;
        }
    }
    // `wgrelay export` writes NODE in NETWORK above an interface, and a relay's network below that.
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        [name, "in", _] => return Said::Name((*name).into()),
        ["|", ..] => return Said::Nothing,
        _ => {}
    }
    // wg-gen-web: NAME / E-MAIL / Updated: … / Created: …
    if let Some((name, rest)) = text.split_once(" / ")
        && rest.contains('@')
    {
        return Said::Name(name.into());
    }
    let text = text.rsplit_once(['=', ':']).map_or(text, |(_, value)| value);
    let is_kind = |w: &str| KINDS.iter().any(|k| k.eq_ignore_ascii_case(w));
    let words: Vec<&str> = text.split_whitespace().filter(|w| !is_kind(w)).collect();
    // An address, an e-mail or a date beside a name is none of it.
    let plain = |w: &&str| w.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
    let is_beside = |w: &&str| {
        let word = plain(w);
        w.contains('@')
            || word.parse::<IpNet>().is_ok()
            || word.parse::<IpAddr>().is_ok()
            || (word.len() >= 8 && word.chars().all(|c| c.is_ascii_digit() || "-./".contains(c)))
    };
    let named: Vec<&str> = words.iter().copied().filter(|w| !is_beside(w)).collect();
    Said::Words(if named.is_empty() { words } else { named })
}

/// The text as a node's name; `None`: nothing of it can be one, or it means something else in a rule.
fn slug(text: &str) -> Option<String> {
    const LONGEST: usize = 56;
    let mut kept = String::new();
    for c in text.chars().filter(|c| !"'’`\"".contains(*c)) {
        match c {
            _ if plain(c).is_some() => kept.push_str(plain(c).unwrap_or_default()),
            _ if c.is_ascii_alphanumeric() || "_.".contains(c) => kept.push(c),
            _ if kept.ends_with('-') => {}
            _ => kept.push('-'),
        }
    }
    let kept: String = kept.trim_matches(['-', '.']).chars().take(LONGEST).collect();
    // A comment may be a line of keys that somebody took out of use.
    if masked(text) != text {
        return None;
    }
    let is_taken = kept == "internet" || kept == NETWORK || kept.parse::<IpAddr>().is_ok();
    (!is_taken && kept.chars().any(|c| c.is_ascii_alphanumeric()) && kept.parse::<NodeName>().is_ok())
        .then_some(kept)
}

/// A letter of Latin with what stands above or below it, without: a node's name has none.
fn plain(c: char) -> Option<&'static str> {
    const LETTERS: [(&str, &str); 52] = [
        ("ÀÁÂÃÅĀĂĄ", "A"),
        ("àáâãåāăą", "a"),
        ("Ä", "Ae"),
        ("ä", "ae"),
        ("Æ", "Ae"),
        ("æ", "ae"),
        ("ÇĆĈĊČ", "C"),
        ("çćĉċč", "c"),
        ("ĎĐÐ", "D"),
        ("ďđð", "d"),
        ("ÈÉÊËĒĔĖĘĚ", "E"),
        ("èéêëēĕėęě", "e"),
        ("ĜĞĠĢ", "G"),
        ("ĝğġģ", "g"),
        ("ĤĦ", "H"),
        ("ĥħ", "h"),
        ("ÌÍÎÏĨĪĬĮİ", "I"),
        ("ìíîïĩīĭįı", "i"),
        ("Ĵ", "J"),
        ("ĵ", "j"),
        ("Ķ", "K"),
        ("ķ", "k"),
        ("ĹĻĽĿŁ", "L"),
        ("ĺļľŀł", "l"),
        ("ÑŃŅŇ", "N"),
        ("ñńņň", "n"),
        ("ÒÓÔÕŌŎŐØ", "O"),
        ("òóôõōŏőø", "o"),
        ("Ö", "Oe"),
        ("ö", "oe"),
        ("Œ", "Oe"),
        ("œ", "oe"),
        ("ŔŖŘ", "R"),
        ("ŕŗř", "r"),
        ("ŚŜŞŠȘ", "S"),
        ("śŝşšș", "s"),
        ("ß", "ss"),
        ("ŢŤŦȚ", "T"),
        ("ţťŧț", "t"),
        ("ÙÚÛŨŪŬŮŰŲ", "U"),
        ("ùúûũūŭůűų", "u"),
        ("Ü", "Ue"),
        ("ü", "ue"),
        ("Ŵ", "W"),
        ("ŵ", "w"),
        ("ÝŶŸ", "Y"),
        ("ýÿŷ", "y"),
        ("ŹŻŽ", "Z"),
        ("źżž", "z"),
        ("Þ", "Th"),
        ("þ", "th"),
        ("ẞ", "Ss"),
    ];
    LETTERS.iter().find(|(from, _)| from.contains(c)).map(|(_, to)| *to)
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
        assert_eq!(parts("tun_wg0"), ("", Some("wg0")));
        assert_eq!(parts("wg0-client-phone"), ("phone", Some("wg0")));
        assert!(
            is_tunnel("%i", "x")
                && is_tunnel("gw", "gw")
                && is_tunnel("wg0", "gw")
                && !is_tunnel("eth0", "gw")
        );
    }

    fn named(comments: &[&str]) -> Option<String> {
        of_comments(&comments.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn comments_name_peers() {
        for (comments, name) in [
            (&["windows client"][..], "windows"),
            (&["friendly_name = laptop"], "laptop"),
            (&["## Client laptop"], "laptop"),
            (&["BEGIN_PEER alice"], "alice"),
            (&["END_PEER alice", "BEGIN_PEER bob"], "bob"),
            (&["## begin alice ###"], "alice"),
            (&["## end alice ###", "## begin bob ###"], "bob"),
            (&["Client: alice (0f2b6c1e-1111-4c1b-9a2e-000000000001)"], "alice"),
            (&["Client: Alice's phone (0f2b6c1e-1111-4c1b-9a2e-000000000001)"], "Alices-phone"),
            (
                &[
                    "ID:           cf5hk0000000000001",
                    "Name:         Alice",
                    "Email:        alice@example.com",
                    "Update at: x",
                ],
                "Alice",
            ),
            (&["-WGP- Peer: abc", "-WGP- Display name: Alice"], "Alice"),
            (&["-WGP- Peer identifier: jane", "-WGP- Peer email: jane@example.com"], "jane"),
            (&["-WGP- Peer: x / Updated: 2023", "-WGP- Peer display name: Jane D"], "Jane-D"),
            (&["Alice / alice@example.com / Updated: 2023-01-20 / Created: x"], "Alice"),
            (&["Name# = alice"], "alice"),
            (&["Bob's iPhone"], "Bobs-iPhone"),
            (&["friendly_json={\"name\": \"dave\", \"id\": 7}"], "dave"),
            (&["bob", "Private Key updated at: 2024-03-01 08:00:00 +0000 UTC"], "bob"),
            (&["the big printer upstairs"], "big-printer-upstairs"),
            (&["=== alice ==="], "alice"),
            (&["[bob]"], "bob"),
            (&["-- judy's phone --"], "judys-phone"),
            (&["10.50.0.4 carol"], "carol"),
            (&["carol (10.50.0.4/32)"], "carol"),
            (&["user=dave, added 2024-03-01"], "dave"),
            (&["Name: Miller, Anna"], "Miller-Anna"),
            (&["Eve <eve@example.com>"], "Eve"),
            (&["heidi 2024-03-01"], "heidi"),
            (
                &["Name:         Team: Vertrieb/Nord", "Email:        ", "Additional notes: Erika's second"],
                "Team-Vertrieb-Nord",
            ),
            (&["alice", "moved here in the spring of last year"], "alice"),
        ] {
            assert_eq!(named(comments).as_deref(), Some(name), "{comments:?}");
        }
        for none in
            ["the one in the attic of the house", "END_PEER alice", "Email: alice@example.com", "", "#"]
        {
            assert_eq!(named(&[none]), None, "{none}");
        }
    }

    #[test]
    fn texts_become_names() {
        assert_eq!(slug("ändern"), Some("aendern".into()));
        assert_eq!(slug("Łódź café"), Some("Lodz-cafe".into()));
        assert_eq!(slug("a  -- b"), Some("a-b".into()));
        for none in ["", "-", "…", "internet", "network", "10.0.0.1", "all"] {
            assert_eq!(slug(none), None, "{none}");
        }
    }
}
