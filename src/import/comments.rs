//! Comments in a style that WireGuard does not have, `; alice` and `// alice`: they are read as what they were meant for, and told,
//! because WireGuard refuses a file for them.

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::File;
use super::finding::Findings;
use crate::wgconf::{Interface, Key};

/// Beginnings of comments elsewhere, each with what stands in its place: no column moves.
const FOREIGN: [(&str, &str); 2] = [(";", "#"), ("//", "# ")];

/// Returns the text with such comments as WireGuard has them; `None`: it has none. Lines and columns stay.
pub(super) fn own(file: &File<'_>, told: &mut Findings) -> Option<Zeroizing<String>> {
    let at = |line: &str| foreign(line);
    let mut places = file.text.split('\n').enumerate().filter_map(|(i, line)| Some((i + 1, line, at(line)?)));
    let (number, line, (start, _, _)) = places.next()?;
    let more = places.count();
    let lines = match more {
        0 => "this line".to_owned(),
        more => format!("this line and {more} more"),
    };
    told.add(
        "foreign-comment",
        format!("{}:{number}:{}", file.name, line[..start].chars().count() + 1),
        format!(
            "WireGuard's comments start with \"#\": it refuses the file for {lines}, read as a comment here"
        ),
        "write \"#\" where the file is used as it is",
    );
    let mut text = Zeroizing::new(String::with_capacity(file.text.len() + 1));
    for (i, line) in file.text.split('\n').enumerate() {
        if i > 0 {
            text.push('\n');
        }
        match at(line) {
            Some((start, sign, instead)) => {
                text.push_str(&line[..start]);
                text.push_str(instead);
                text.push_str(&line[start + sign.len()..]);
            }
            None => text.push_str(line),
        }
    }
    Some(text)
}

/// Gives an interface the addresses that a comment of its file says, where no line does: whatever reads it with `wg` alone, as
/// OPNsense does, keeps them there.
pub(super) fn addresses(file: &str, head: &[String], interface: &mut Interface, told: &mut Findings) {
    if !interface.addresses.is_empty() {
        return;
    }
    let comments = head.iter().chain(&interface.comments).chain(&interface.notes);
    let Some(found) = comments.filter_map(|comment| address(comment)).next() else { return };
    let list: Vec<String> = found.iter().map(ToString::to_string).collect();
    told.add(
        "no-address",
        format!("{file}:1:1"),
        format!("the file has no Address but in a comment, which is taken: {}", list.join(", ")),
        "",
    );
    interface.addresses = found;
}

fn address(comment: &str) -> Option<Vec<IpNet>> {
    let (label, value) = comment.split_once(['=', ':'])?;
    let is_label =
        label.trim_matches(|c: char| c == '#' || c.is_whitespace()).eq_ignore_ascii_case("address");
    let nets: Option<Vec<IpNet>> = value.split(',').map(|text| text.trim().parse().ok()).collect();
    nets.filter(|_| is_label)
}

/// Where such a comment begins in a line: in front, behind a header, or behind a value that is no command.
fn foreign(line: &str) -> Option<(usize, &'static str, &'static str)> {
    let content = line.trim_start();
    let indent = line.len() - content.len();
    if let Some((sign, instead)) = FOREIGN.iter().find(|(sign, _)| content.starts_with(sign)) {
        return Some((indent, sign, instead));
    }
    let has_one = match (content.starts_with('['), content.split_once('=')) {
        (true, _) => content.contains(']'),
        (false, Some((name, _))) => Key::lookup(name.trim()).is_some_and(|key| !key.is_hook()),
        (false, None) => false,
    };
    // What stands behind a "#" is a comment already.
    let value = content.split('#').next().filter(|_| has_one)?;
    let behind = FOREIGN.iter().flat_map(|(sign, instead)| {
        [' ', '\t', ']'].iter().filter_map(move |before| {
            let found = value.find(&format!("{before}{sign}"))?;
            Some((indent + found + before.len_utf8(), *sign, *instead))
        })
    });
    behind.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<String>, Vec<String>) {
        let mut told = Findings::default();
        let own = own(&File { name: "f", text }, &mut told).map(|text| text.to_string());
        (own, told.finish().into_iter().map(|p| p.place).collect())
    }

    #[test]
    fn comments_of_other_files_become_comments() {
        for (text, own, place) in [
            ("; alice\n[Peer]", "# alice\n[Peer]", "f:1:1"),
            ("[Peer]\n  // alice", "[Peer]\n  #  alice", "f:2:3"),
            ("[Peer] ; alice\r\n;x", "[Peer] # alice\r\n#x", "f:1:8"),
            ("[Peer]; alice", "[Peer]# alice", "f:1:7"),
            ("AllowedIPs = 10.0.0.2/32 ; alice", "AllowedIPs = 10.0.0.2/32 # alice", "f:1:26"),
            ("MTU = 1400\t// ä ; b", "MTU = 1400\t#  ä ; b", "f:1:12"),
        ] {
            assert_eq!(read(text), (Some(own.into()), vec![place.into()]), "{text}");
        }
    }

    #[test]
    fn an_address_in_a_comment_is_taken_where_no_line_has_one() {
        for (comment, found) in [
            ("Address =  10.10.10.1/24,fd10::1/64", 2),
            ("#address: 10.0.0.1/24", 1),
            ("Address updated at:     2024-05-01", 0),
            ("Address = 10.0.0.1/24 or so", 0),
            ("Address =", 0),
        ] {
            let (mut interface, mut told) = (Interface::default(), Findings::default());
            addresses("f", &[comment.to_owned()], &mut interface, &mut told);
            assert_eq!(
                (interface.addresses.len(), told.finish().len()),
                (found, usize::from(found > 0)),
                "{comment}"
            );
            let own = vec!["10.9.9.9/24".parse().unwrap()];
            let mut interface = Interface { addresses: own.clone(), ..Interface::default() };
            addresses("f", &[comment.to_owned()], &mut interface, &mut Findings::default());
            assert_eq!(interface.addresses, own);
        }
    }

    #[test]
    fn commands_keys_and_own_comments_stay() {
        for text in [
            "PostUp = a ; b // c",
            "# a ; b",
            "[Peer] # a ; b",
            "PrivateKey = a//b/c=",
            "Endpoint = h:1 # see http://x ; y",
            "nonsense ; x",
            "",
        ] {
            assert_eq!(read(text), (None, vec![]), "{text}");
        }
    }
}
