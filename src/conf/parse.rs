//! Text to document, with every fault of the text at once.
//!
//! One walk serves [`parse`], [`read`] and [`super::lint`]: it notes each fault together with the clients that take
//! the line all the same, and each key with its place, so that lint can judge with one client's rules.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::scan::{self, Kind, Line, is_space, squash, trim};
use super::value::{self, Bad, shown};
use super::{Client, Document, Key, Peer, Section};
use crate::model::{Problem, PublicKey, Severity};

/// What could be read, and what was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Everything that could be understood.
    pub document: Document,
    /// Errors and warnings in the order of the file.
    pub problems: Vec<Problem>,
}

/// Reads a text whatever is wrong with it: what cannot be understood is left out and told.
///
/// `file` is how problems call the text. Repeated keys and sections count as in `wg-quick(8)`: the last value wins,
/// addresses, DNS, AllowedIPs and hooks add up.
pub fn read(text: &str, file: &str) -> Reading {
    let walk = Walk::through(text);
    let problems = walk.faults.iter().map(|f| f.problem(file, f.severity)).collect();
    Reading { document: walk.document, problems }
}

/// Reads a text that must be right; [`read`] tells the warnings of such a text, too.
///
/// # Errors
/// Every error and warning, where there is at least one error.
pub fn parse(text: &str, file: &str) -> Result<Document, Vec<Problem>> {
    let Reading { document, problems } = read(text, file);
    if problems.iter().any(Problem::is_error) { Err(problems) } else { Ok(document) }
}

/// A fault in the text.
pub(super) struct Fault {
    pub code: &'static str,
    /// For a reader that is no client in particular.
    pub severity: Severity,
    /// Clients that take it all the same.
    pub taken_by: &'static [Client],
    pub line: usize,
    pub column: usize,
    pub message: String,
    pub hint: String,
}

impl Fault {
    pub fn problem(&self, file: &str, severity: Severity) -> Problem {
        let place = format!("{file}:{}:{}", self.line, self.column);
        match severity {
            Severity::Error => Problem::error(self.code, place, &self.message, &self.hint),
            Severity::Warning => Problem::warning(self.code, place, &self.message, &self.hint),
        }
    }
}

/// A key where it stands.
pub(super) struct Entry {
    pub key: Key,
    pub line: usize,
    pub column: usize,
    /// Index of its section; several `[Interface]` count as several.
    section: usize,
    /// The line of the same key before it in the section, where only one of them can count.
    pub earlier: Option<usize>,
    /// `PersistentKeepalive = off`, and whether in lower case.
    pub off: Option<bool>,
}

/// A section where it starts.
pub(super) struct Header {
    pub section: Section,
    pub line: usize,
    pub column: usize,
}

/// A peer being read: its key may come last, or never.
#[derive(Default)]
struct Draft {
    public_key: Option<PublicKey>,
    /// Whether a `PublicKey` line was there, right or wrong.
    has_key: bool,
    rest: Option<Peer>,
    header: (usize, usize),
}

/// Everything that one walk through a text finds.
#[derive(Default)]
pub(super) struct Walk {
    pub document: Document,
    pub faults: Vec<Fault>,
    pub entries: Vec<Entry>,
    pub headers: Vec<Header>,
    drafts: Vec<Draft>,
    /// Comment lines since the last blank line or key.
    comments: Vec<String>,
    /// Whether a key has been seen in the section.
    in_body: bool,
    lost: bool,
    /// Who has claimed a prefix: index of the peer.
    claims: BTreeMap<IpNet, usize>,
}

impl Walk {
    pub fn through(text: &str) -> Self {
        let mut walk = Self::default();
        if text.starts_with(scan::BYTE_ORDER_MARK) {
            walk.fault(
                (1, 1),
                Bad::new(
                    "byte-order-mark",
                    "the file starts with a byte order mark",
                    "save it as UTF-8 without BOM",
                )
                .taken_by(&[Client::Windows]),
                "",
            );
        }
        for line in scan::lines(text) {
            walk.line(&line);
        }
        walk.finish();
        walk
    }

    fn fault(&mut self, (line, column): (usize, usize), bad: Bad, key: &str) {
        let message = if key.is_empty() { bad.message } else { format!("{key}: {}", bad.message) };
        self.faults.push(Fault {
            code: bad.code,
            severity: Severity::Error,
            taken_by: bad.taken_by,
            line,
            column,
            message,
            hint: bad.hint.into(),
        });
    }

    fn warn(&mut self, (line, column): (usize, usize), code: &'static str, message: String, hint: &str) {
        self.faults.push(Fault {
            code,
            severity: Severity::Warning,
            taken_by: &[],
            line,
            column,
            message,
            hint: hint.into(),
        });
    }

    fn line(&mut self, line: &Line<'_>) {
        match line.kind {
            Kind::Blank => {
                self.comments.clear();
                // A comment further down speaks of what follows it.
                self.in_body = true;
            }
            Kind::Comment(text) if self.in_body || self.headers.is_empty() => self.comments.push(text.into()),
            Kind::Comment(text) => self.note(text),
            Kind::Header(text) => self.header(line, text),
            Kind::Entry { name, value } => {
                self.comments.clear();
                self.in_body = true;
                self.entry(line, name, value);
            }
            Kind::Other(text) => {
                self.comments.clear();
                let hint =
                    if text.starts_with(';') { "comments start with \"#\"" } else { "write KEY = VALUE" };
                let message = format!("{} is neither a section nor KEY = VALUE", shown(text));
                self.fault((line.number, line.column(text)), Bad::new("syntax", message, hint), "");
            }
        }
    }

    /// Keeps a comment line between a header and its first key.
    fn note(&mut self, text: &str) {
        let notes = match (self.headers.last().map(|h| h.section), self.drafts.last_mut()) {
            (Some(Section::Peer), Some(draft)) => &mut draft.peer().notes,
            _ => &mut self.document.interface.notes,
        };
        notes.push(text.into());
    }

    fn header(&mut self, line: &Line<'_>, text: &str) {
        let place = (line.number, line.column(text));
        let comments = std::mem::take(&mut self.comments);
        let squashed = squash(text);
        let section = match squashed.to_ascii_lowercase().as_str() {
            "[interface]" => Section::Interface,
            "[peer]" => Section::Peer,
            _ => {
                let message = format!("{} is not a section", shown(text));
                self.fault(place, Bad::new("unknown-section", message, "use [Interface] or [Peer]"), "");
                // What follows belongs to nothing: one fault is enough for it.
                self.lost = true;
                return;
            }
        };
        if squashed != text {
            let message = format!("{} has spaces in it, and only wg takes that", shown(text));
            // wg-quick looks for [Interface] itself and leaves the peers to wg.
            let taken_by: &[Client] = match section {
                Section::Interface => &[Client::Wg],
                Section::Peer => &[Client::Wg, Client::WgQuick],
            };
            self.fault(place, Bad::new("syntax", message, "write it without").taken_by(taken_by), "");
        }
        self.lost = false;
        self.in_body = false;
        self.headers.push(Header { section, line: place.0, column: place.1 });
        match section {
            Section::Interface => self.document.interface.comments.extend(comments),
            Section::Peer => {
                let mut draft = Draft { header: place, ..Draft::default() };
                draft.peer().comments = comments;
                self.drafts.push(draft);
            }
        }
    }

    fn entry(&mut self, line: &Line<'_>, name: &str, value: &str) {
        let place = (line.number, line.column(name));
        if self.lost {
            return;
        }
        let Some(section) = self.headers.last().map(|h| h.section) else {
            let message = "a key stands before any section; it is taken as [Interface]'s".to_owned();
            self.fault(place, Bad::new("missing-section", message, "write [Interface] above it"), "");
            self.headers.push(Header { section: Section::Interface, line: place.0, column: place.1 });
            self.in_body = true;
            return self.entry(line, name, value);
        };
        let Some(key) = self.key(place, section, name) else { return };
        let mut entry = Entry {
            key,
            line: place.0,
            column: place.1,
            section: self.headers.len() - 1,
            earlier: self.earlier(key),
            off: None,
        };
        if key == Key::PersistentKeepalive && squash(value).eq_ignore_ascii_case("off") {
            entry.off = Some(squash(value) == "off");
        }
        if let Some(line) = entry.earlier.filter(|_| !key.is_hook()) {
            let message = format!("{key} is already in line {line}; the last one counts");
            self.warn(place, "repeated-key", message, "keep one of them");
        }
        self.entries.push(entry);
        if value.is_empty() {
            if key == Key::PublicKey
                && let Some(draft) = self.drafts.last_mut()
            {
                draft.has_key = true;
            }
            let taken_by: &[Client] = if key.is_of_wg() { &[] } else { &[Client::WgQuick] };
            let bad = Bad::new("empty-value", "the value is missing", "write one, or leave the line out");
            return self.fault(place, bad.taken_by(taken_by), key.as_str());
        }
        self.value(line, key, value);
    }

    fn key(&mut self, place: (usize, usize), section: Section, name: &str) -> Option<Key> {
        let key = Key::lookup(name).or_else(|| {
            // wg(8) strips white space everywhere before it compares.
            let key = Key::lookup(&squash(name)).filter(|k| k.is_of_wg())?;
            let message = format!("{} has spaces in it, and only wg takes that", shown(name));
            self.fault(
                place,
                Bad::new("syntax", message, "write it without").taken_by(&[Client::Wg, Client::WgQuick]),
                "",
            );
            Some(key)
        });
        match key {
            Some(key) if key.section() == section => return Some(key),
            Some(key) => {
                let message = format!("{key} belongs in {}, not in {section}", key.section());
                self.fault(place, Bad::new("wrong-section", message, "move the line"), "");
            }
            None => {
                let message = format!("{} is no key of {section}", shown(name));
                self.fault(
                    place,
                    Bad::new("unknown-key", message, "correct the spelling, or take the line out"),
                    "",
                );
            }
        }
        None
    }

    /// Finds the line where the key of an entry is already; `None` for keys whose lines add up for every client.
    fn earlier(&self, key: Key) -> Option<usize> {
        if key.accumulates() {
            return None;
        }
        let section = self.headers.len() - 1;
        let mut entries = self.entries.iter().rev();
        // The sections of [Interface] are one; each [Peer] is its own.
        let found = match key.section() {
            Section::Interface => entries.find(|e| e.key == key),
            Section::Peer => entries.take_while(|e| e.section == section).find(|e| e.key == key),
        };
        found.map(|e| e.line)
    }

    fn value(&mut self, line: &Line<'_>, key: Key, value: &str) {
        let place = (line.number, line.column(value));
        if key.accumulates() {
            return self.list(line, key, value);
        }
        if key.is_hook() {
            match value::hook(value) {
                Ok(hook) => {
                    let i = &mut self.document.interface;
                    match key {
                        Key::PreUp => i.pre_up.push(hook),
                        Key::PostUp => i.post_up.push(hook),
                        Key::PreDown => i.pre_down.push(hook),
                        _ => i.post_down.push(hook),
                    }
                }
                Err(bad) => self.fault(place, bad, key.as_str()),
            }
            return;
        }
        // Keys are secrets: a squashed copy of one would stay in memory, so only a text that needs it is copied.
        let squashed;
        let mut text = value;
        if key.is_of_wg() && value.contains(is_space) {
            squashed = zeroize::Zeroizing::new(squash(value));
            text = &squashed;
            let bad =
                Bad::new("syntax", "the value has spaces in it, and only wg takes that", "write it without");
            self.fault(place, bad.taken_by(&[Client::Wg, Client::WgQuick]), key.as_str());
        }
        if let Err(bad) = self.single(key, text) {
            self.fault(place, bad, key.as_str());
        }
    }

    fn single(&mut self, key: Key, text: &str) -> Result<(), Bad> {
        if key.section() == Section::Interface {
            let i = &mut self.document.interface;
            match key {
                Key::PrivateKey => i.private_key = Some(value::key(text)?),
                Key::ListenPort => i.listen_port = Some(value::port(text)?),
                Key::FwMark => i.fwmark = Some(value::fwmark(text)?),
                Key::Mtu => i.mtu = Some(value::mtu(text)?),
                Key::Table => i.table = Some(value::table(text)?),
                _ => i.save_config = Some(value::boolean(text)?),
            }
            return Ok(());
        }
        let draft = self.drafts.last_mut().expect("a key of [Peer] is read only below its header");
        if key == Key::PublicKey {
            draft.has_key = true;
            draft.public_key = Some(value::key(text)?);
            return Ok(());
        }
        let peer = draft.peer();
        match key {
            Key::PresharedKey => peer.preshared_key = Some(value::key(text)?),
            Key::Endpoint => peer.endpoint = Some(value::endpoint(text)?),
            _ => peer.keepalive = Some(value::keepalive(text)?),
        }
        Ok(())
    }

    fn list(&mut self, line: &Line<'_>, key: Key, value: &str) {
        for item in value.split(',').map(trim) {
            let place = (line.number, line.column(item));
            if item.is_empty() {
                let taken_by: &[Client] = match key {
                    Key::AllowedIps => &[Client::Apple],
                    _ => &[Client::WgQuick, Client::Apple],
                };
                let bad = Bad::new("syntax", "a comma with nothing beside it", "take the comma out");
                self.fault(place, bad.taken_by(taken_by), key.as_str());
                continue;
            }
            match key {
                Key::AllowedIps => self.allowed_ip(place, item),
                // wg-quick(8) splits these at white space, too.
                Key::Address | Key::Dns if item.contains(is_space) => {
                    let bad = Bad::new("syntax", "only wg-quick takes spaces between values", "use commas");
                    self.fault(place, bad.taken_by(&[Client::WgQuick]), key.as_str());
                    for word in item.split(is_space).filter(|w| !w.is_empty()) {
                        self.item(place, key, word);
                    }
                }
                _ => self.item(place, key, item),
            }
        }
    }

    fn item(&mut self, place: (usize, usize), key: Key, item: &str) {
        let i = &mut self.document.interface;
        let result = match key {
            Key::Address => value::prefix(item).map(|net| i.addresses.push(net)),
            Key::Dns => value::dns(item).map(|dns| i.dns.push(dns)),
            // Names of applications mean nothing here.
            _ => Ok(()),
        };
        if let Err(bad) = result {
            self.fault(place, bad, key.as_str());
        }
    }

    fn allowed_ip(&mut self, place: (usize, usize), item: &str) {
        let squashed = squash(item);
        if squashed != item {
            let bad = Bad::new(
                "syntax",
                "the value has spaces in it, and only wg takes that",
                "use commas between",
            );
            self.fault(place, bad.taken_by(&[Client::Wg, Client::WgQuick]), Key::AllowedIps.as_str());
        }
        let typed = match value::prefix(&squashed) {
            Ok(net) => net,
            Err(bad) => return self.fault(place, bad, Key::AllowedIps.as_str()),
        };
        let net = typed.trunc();
        if net != typed {
            let message = format!("AllowedIPs: {typed} has host bits; {net} is what counts");
            self.warn(place, "host-bits", message, "write the prefix itself");
        }
        let peer = self.drafts.len() - 1;
        match self.claims.insert(net, peer) {
            // Written twice.
            Some(earlier) if earlier == peer => return,
            Some(earlier) => {
                let message = format!(
                    "AllowedIPs: peer {} has {net} already (its section starts in line {}); the later peer takes it over",
                    earlier + 1,
                    self.drafts[earlier].header.0
                );
                self.warn(place, "moved-allowed-ips", message, "leave it with one peer");
            }
            None => {}
        }
        self.drafts[peer].peer().allowed_ips.push(net);
    }

    fn finish(&mut self) {
        let mut seen: BTreeMap<PublicKey, usize> = BTreeMap::new();
        for mut draft in std::mem::take(&mut self.drafts) {
            let Some(key) = draft.public_key else {
                if !draft.has_key {
                    let bad = Bad::new("missing-public-key", "this peer has no PublicKey", "add it");
                    self.fault(draft.header, bad, "");
                }
                continue;
            };
            if let Some(line) = seen.insert(key, draft.header.0) {
                let message = format!("the peer of line {line} has the same PublicKey");
                self.warn(draft.header, "duplicate-peer", message, "make one section of them");
            }
            draft.peer().public_key = key;
            self.document.peers.extend(draft.rest);
        }
        self.faults.sort_by_key(|f| (f.line, f.column));
    }
}

impl Draft {
    fn peer(&mut self) -> &mut Peer {
        // The key is filled in when the section is complete.
        self.rest.get_or_insert_with(|| Peer::new(PublicKey::from_bytes([0; 32])))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conf::{Comments, Dns, Hook, Interface, Table, render};
    use crate::model::{Endpoint, EndpointHost, PresharedKey, PrivateKey};

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
        let Reading { document, problems } = read(&text, "f");
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
            crlf in any::<bool>(),
            cut in any::<bool>(),
        ) {
            let document = Document { interface, peers };
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
            let Reading { document, problems } = read(&text, "f");
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
                crate::conf::lint(&text, "f", client);
            }
        }
    }
}
