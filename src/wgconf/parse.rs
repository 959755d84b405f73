//! Text to document: [`read`] whatever is wrong, [`parse`] what must be right.

use super::walk::Walk;
use super::{Document, Key};
use crate::model::Problem;

/// What could be read, and what was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Everything that could be understood.
    pub document: Document,
    /// Errors and warnings in the order of the file.
    pub problems: Vec<Problem>,
    /// Where each key stands, in the order of the file.
    pub places: Vec<KeyPlace>,
    /// Where the values of the document's hooks stand, in its order of each key.
    pub hooks: Vec<KeyPlace>,
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPlace {
    /// The key.
    pub key: Key,
    /// Its section, counted from 0 in the order of the file.
    pub section: usize,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
}

/// Reads a text whatever is wrong with it: what cannot be understood is left out and told.
///
/// `file` is how problems call the text. Repeated keys and sections count as in `wg-quick(8)`: the last value wins,
/// addresses, DNS, AllowedIPs and hooks add up.
pub fn read(text: &str, file: &str) -> Reading {
    let walk = Walk::through(text);
    let problems = walk.faults.iter().map(|f| f.problem(file, f.severity)).collect();
    let place =
        |e: &super::walk::Entry| KeyPlace { key: e.key, section: e.section, line: e.line, column: e.column };
    let places = walk.entries.iter().map(place).collect();
    Reading { document: walk.document, problems, places, hooks: walk.hooks }
}

/// Reads a text that must be right; [`read`] tells the warnings of such a text, too.
///
/// # Errors
/// Every error and warning, where there is at least one error.
pub fn parse(text: &str, file: &str) -> Result<Document, Vec<Problem>> {
    let Reading { document, problems, .. } = read(text, file);
    if problems.iter().any(Problem::is_error) { Err(problems) } else { Ok(document) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use ipnet::IpNet;

    use crate::model::{Endpoint, EndpointHost, PresharedKey, PrivateKey, PublicKey};
    use crate::wgconf::{Client, Comments, Dns, Hook, Interface, Peer, Table, render};

    const KEY: &str = "GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=";

    fn places(text: &str) -> Vec<(String, String)> {
        read(text, "f").problems.into_iter().map(|p| (p.code, p.place)).collect()
    }

    fn expect(text: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(c, p)| ((*c).to_owned(), (*p).to_owned())).collect();
        assert_eq!(places(text), expected, "{text:?}");
    }

    #[test]
    fn every_fault_at_once_with_its_place() {
        let text = format!(
            "Address = 10.0.0.1/24\nPrivateKey = oops\n[Interface\n[Interface]\n  MTU = big\nPublicKey = {KEY}\nnonsense\n\
             [Peer]\nAllowedIPs = 10.0.0.0/8, 10.0.0.0/99\nEndpoint = host\n"
        );
        expect(
            &text,
            &[
                ("missing-section", "f:1:1"),
                ("bad-key", "f:2:14"),
                ("unknown-section", "f:3:1"),
                ("bad-mtu", "f:5:9"),
                ("wrong-section", "f:6:1"),
                ("syntax", "f:7:1"),
                ("missing-public-key", "f:8:1"),
                ("bad-prefix", "f:9:26"),
                ("bad-endpoint", "f:10:12"),
            ],
        );
        // What can be understood is there all the same.
        assert_eq!(read(&text, "f").document.interface.addresses.len(), 1);
    }

    #[test]
    fn spelling_does_not_matter() {
        let text = format!(
            "[INTERFACE]\r\n\tprivatekey={KEY}\r\n[pEER]\r\n  PUBLICKEY\t=\t{KEY} # me\r\nallowedips=10.0.0.0/8,::/0"
        );
        let document = parse(&text, "f").unwrap();
        assert!(document.interface.private_key.is_some());
        assert_eq!(document.peers[0].allowed_ips.len(), 2);
    }

    #[test]
    fn repeats_add_up_or_the_last_wins() {
        let text = format!(
            "[Interface]\nAddress = 10.0.0.1/24\nListenPort = 1\nPostUp = a\n[Peer]\nPublicKey = {KEY}\nEndpoint = h:1\n\
             Endpoint = h:2\nAllowedIPs = 10.1.0.0/16\nAllowedIPs = 10.2.0.0/16\n[Interface]\nAddress = 10.0.0.2/24\n\
             ListenPort = 2\nPostUp = b\n"
        );
        let Reading { document, problems, .. } = read(&text, "f");
        assert_eq!(document.interface.addresses.len(), 2);
        assert_eq!(document.interface.listen_port, Some(2));
        assert_eq!(document.interface.post_up.len(), 2);
        assert_eq!(document.peers[0].endpoint.as_ref().map(|e| e.port), Some(2));
        assert_eq!(document.peers[0].allowed_ips.len(), 2);
        let codes: Vec<_> =
            problems.iter().map(|p| (p.code.as_str(), p.place.as_str(), p.is_error())).collect();
        assert_eq!(codes, [("repeated-key", "f:8:1", false), ("repeated-key", "f:13:1", false)]);
    }

    #[test]
    fn a_comment_behind_a_header_is_a_note() {
        let text = format!("[Interface] # me\n[Peer]# alice\nPublicKey = {KEY} # not this\n");
        let document = parse(&text, "f").unwrap();
        assert_eq!(
            (&*document.interface.notes, &*document.peers[0].notes),
            (&["me".into()][..], &["alice".into()][..])
        );
    }

    #[test]
    fn prefixes_that_move_are_told() {
        let other = PublicKey::from_bytes([1; 32]);
        let text = format!(
            "[Peer]\nPublicKey = {KEY}\nAllowedIPs = 10.0.0.1/8\n[Peer]\nPublicKey = {other}\nAllowedIPs = 10.0.0.0/8\n\
             [Peer]\nPublicKey = {other}\n"
        );
        expect(
            &text,
            &[("host-bits", "f:3:14"), ("moved-allowed-ips", "f:6:14"), ("duplicate-peer", "f:7:1")],
        );
    }

    #[test]
    fn secrets_stay_out_of_problems() {
        for text in [
            format!("{KEY}\n"),
            format!("[Interface]\n{KEY}\n"),
            format!("[Interface]\n{}\n", KEY.trim_end_matches('=')),
            format!("[Interface]\nPrivateKey = {KEY}x\n"),
            format!("[Interface]\nPrivateKey = {}\n", KEY.replace('=', "")),
            format!("[Interface]\nPrivateKey {KEY}\n"),
            format!("[Interface]\nPrivatKey = {KEY}\n"),
            format!(
                "[Interface]\nAddress = {KEY}\nDNS = {KEY}\nMTU = {KEY}\nListenPort = {KEY}\nTable = {KEY}/\n"
            ),
            format!(
                "[Peer]\nPublicKey = {KEY}\nEndpoint = {KEY}:1\nEndpoint = h:{KEY}\nAllowedIPs = {KEY}\n"
            ),
            format!("[Peer]\nPresharedKey = {KEY} {KEY}\nPersistentKeepalive = {KEY}\n[{KEY}]\n"),
        ] {
            let problems = read(&text, "f").problems;
            assert!(!problems.is_empty(), "{text}");
            for problem in problems {
                assert!(!problem.to_string().contains(&KEY[..12]), "{problem}");
            }
        }
    }

    #[test]
    fn huge_lines_are_read() {
        let prefixes: Vec<String> =
            (0..60_000u32).map(|n| format!("10.{}.{}.0/24", n >> 8, n & 255)).collect();
        let text = format!("[Peer]\nPublicKey = {KEY}\nAllowedIPs = {}", prefixes.join(","));
        assert_eq!(parse(&text, "f").unwrap().peers[0].allowed_ips.len(), 60_000);
        let text = format!("[Interface]\n# {}\n{} = 1", "x".repeat(1 << 20), "y".repeat(1 << 20));
        let problems = read(&text, "f").problems;
        assert!(problems.len() == 1 && problems[0].to_string().len() < 300);
    }

    fn word() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9]([a-zA-Z0-9 %;'={}.\\[\\]-]{0,20}[a-zA-Z0-9])?"
    }

    fn words() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(word(), 0..3)
    }

    fn hooks() -> impl Strategy<Value = Vec<Hook>> {
        words().prop_map(|all| all.iter().map(|w| w.parse().unwrap()).collect())
    }

    fn net() -> impl Strategy<Value = IpNet> {
        prop_oneof![
            (any::<[u8; 4]>(), 0..=32u8).prop_map(|(a, len)| IpNet::new(a.into(), len).unwrap()),
            (any::<[u8; 16]>(), 0..=128u8).prop_map(|(a, len)| IpNet::new(a.into(), len).unwrap()),
        ]
    }

    fn dns() -> impl Strategy<Value = Dns> {
        prop_oneof![
            net().prop_map(|n| Dns::Server(n.addr())),
            "[a-z]{1,8}(\\.[a-z]{1,8})?".prop_map(Dns::Search)
        ]
    }

    fn script_line() -> impl Strategy<Value = String> {
        "( {0,4}[!-~]([ -~]{0,20}[!-~])?)?"
    }

    fn table() -> impl Strategy<Value = Table> {
        prop_oneof![Just(Table::Auto), Just(Table::Off), "[1-9][0-9]{0,4}".prop_map(Table::Named)]
    }

    fn endpoint() -> impl Strategy<Value = Endpoint> {
        let host = prop_oneof![
            net().prop_map(|n| EndpointHost::Ip(n.addr())),
            "[a-z][a-z0-9]{0,8}(\\.[a-z]{1,8})?".prop_map(EndpointHost::Name)
        ];
        (host, 1..=u16::MAX).prop_map(|(host, port)| Endpoint { host, port })
    }

    fn peer() -> impl Strategy<Value = Peer> {
        (
            (words(), words(), any::<[u8; 32]>(), prop::option::of(any::<[u8; 32]>())),
            (
                prop::collection::btree_set(net().prop_map(|n| n.trunc()), 0..5),
                prop::option::of(endpoint()),
                prop::option::of(any::<u16>()),
            ),
        )
            .prop_map(|((comments, notes, key, shared), (nets, endpoint, keepalive))| Peer {
                comments,
                notes,
                public_key: PublicKey::from_bytes(key),
                preshared_key: shared.map(PresharedKey::from_bytes),
                allowed_ips: nets.into_iter().collect(),
                endpoint,
                keepalive,
            })
    }

    fn interface() -> impl Strategy<Value = Interface> {
        (
            (words(), words(), prop::option::of(any::<[u8; 32]>()), prop::collection::vec(net(), 0..3)),
            (
                prop::option::of(any::<u16>()),
                prop::option::of(any::<u32>()),
                prop::collection::vec(dns(), 0..3),
            ),
            (prop::option::of(1..=u16::MAX), prop::option::of(table()), prop::option::of(any::<bool>())),
            (hooks(), hooks(), hooks(), hooks()),
        )
            .prop_map(|(a, b, c, d)| Interface {
                comments: a.0,
                notes: a.1,
                private_key: a.2.map(PrivateKey::from_bytes),
                addresses: a.3,
                listen_port: b.0,
                fwmark: b.1,
                dns: b.2,
                mtu: c.0,
                table: c.1,
                save_config: c.2,
                pre_up: d.0,
                post_up: d.1,
                pre_down: d.2,
                post_down: d.3,
            })
    }

    proptest! {
        #[test]
        fn what_is_rendered_reads_back(
            interface in interface(),
            peers in prop::collection::vec(peer(), 0..4),
            script in prop::collection::vec(script_line(), 0..4),
            crlf in any::<bool>(),
            cut in any::<bool>(),
        ) {
            let document = Document { interface, peers, script };
            let mut text = render(&document, Comments::Keep).to_string();
            if crlf {
                text = text.replace('\n', "\r\n");
            }
            if cut {
                text.truncate(text.trim_end().len());
            }
            prop_assert_eq!(parse(&text, "f"), Ok(document));
        }

        #[test]
        fn no_text_breaks_the_reader(text in "([ \\t]?(\\[Interface\\]|\\[Peer\\]|PublicKey|AllowedIPs|PostUp|DNS|Endpoint|=|,|#|\\PC{0,5}|\\n)){0,40}") {
            let Reading { document, problems, .. } = read(&text, "f");
            // What was understood of any text is a text of its own.
            let again = parse(&render(&document, Comments::Keep), "f");
            prop_assert_eq!(again.map_err(drop), Ok(document));
            for problem in problems {
                let (line, column) = problem.place.strip_prefix("f:").unwrap().split_once(':').unwrap();
                let line: usize = line.parse().unwrap();
                let column: usize = column.parse().unwrap();
                let text = text.split('\n').nth(line - 1).unwrap();
                prop_assert!((1..=text.chars().count() + 1).contains(&column), "{}", problem);
            }
            for (_, client) in Client::ALL {
                crate::wgconf::lint(&text, "f", client);
            }
        }
    }
}
