//! One walk through a text: the document, every fault with the clients that take the line all the same, and each key
//! with its place, so that [`super::parse`] and [`super::lint`] can judge, each with its own rules.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::parse::KeyPlace;
use super::scan::{self, Kind, Line, is_space, squash, trim};
use super::value::{self, Bad, shown};
use super::{Client, Document, Key, Peer, Section};
use crate::model::{Problem, PublicKey, Severity};

/// A fault in the text.
pub(super) struct Fault {
    pub code: &'static str,
    /// For a reader that is no client in particular.
    pub severity: Severity,
    /// Of wg and wg-quick, those that take it all the same.
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
    pub section: usize,
    /// The line of the same key before it in the section, where only one of them can count.
    pub earlier: Option<usize>,
    /// `PersistentKeepalive = off`, and whether in lower case.
    pub off: Option<bool>,
}

/// A section where it starts.
pub(super) struct Header {
    pub section: Section,
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

/// Whether a name is a key of AmneziaWG, a WireGuard that looks like something else on the wire.
fn is_amneziawg(name: &str) -> bool {
    const KEYS: [&str; 19] = [
        "jc", "jmin", "jmax", "s1", "s2", "s3", "s4", "h1", "h2", "h3", "h4", "i1", "i2", "i3", "i4", "i5",
        "j1", "j2", "itime",
    ];
    KEYS.iter().any(|key| key.eq_ignore_ascii_case(name))
}

/// Everything that one walk through a text finds.
#[derive(Default)]
pub(super) struct Walk {
    pub document: Document,
    pub faults: Vec<Fault>,
    pub entries: Vec<Entry>,
    pub headers: Vec<Header>,
    /// Where the hooks of the document stand, in its order of each key.
    pub hooks: Vec<KeyPlace>,
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
                ),
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
            Kind::Script(text) => self.document.script.push(text.into()),
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
        self.headers.push(Header { section });
        match section {
            Section::Interface => self.document.interface.comments.extend(comments),
            Section::Peer => {
                let mut draft = Draft { header: place, ..Draft::default() };
                draft.peer().comments = comments;
                self.drafts.push(draft);
            }
        }
        if let Some(comment) = line.comment {
            self.note(comment);
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
            self.headers.push(Header { section: Section::Interface });
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
            let refused = key.is_of_wg() || key == Key::SaveConfig;
            let taken_by: &[Client] = if refused { &[] } else { &[Client::WgQuick] };
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
            None if is_amneziawg(name) => {
                let message =
                    format!("{name} is a key of AmneziaWG, which hides itself; WireGuard has none such");
                self.fault(place, Bad::new("amneziawg-key", message, "only AmneziaWG reads this file"), "");
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
                    let section = self.headers.len() - 1;
                    self.hooks.push(KeyPlace { key, section, line: place.0, column: place.1 });
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
                Key::ListenPort => return put(&mut i.listen_port, value::port(text)),
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
            Key::Endpoint => return put(&mut peer.endpoint, value::endpoint(text)),
            _ => peer.keepalive = Some(value::keepalive(text)?),
        }
        Ok(())
    }

    fn list(&mut self, line: &Line<'_>, key: Key, value: &str) {
        for item in value.split(',').map(trim) {
            let place = (line.number, line.column(item));
            if item.is_empty() {
                let taken_by: &[Client] = if key == Key::AllowedIps { &[] } else { &[Client::WgQuick] };
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
            Key::Address => match value::address(item) {
                Ok(net) => {
                    i.addresses.push(net);
                    Ok(())
                }
                Err((bad, meant)) => {
                    i.addresses.extend(meant);
                    Err(bad)
                }
            },
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

/// Keeps a value, also one that was meant by a text with a fault.
fn put<T>(place: &mut Option<T>, value: Result<T, (Bad, Option<T>)>) -> Result<(), Bad> {
    match value {
        Ok(value) => *place = Some(value),
        Err((bad, meant)) => {
            *place = meant;
            return Err(bad);
        }
    }
    Ok(())
}

impl Draft {
    fn peer(&mut self) -> &mut Peer {
        // The key is filled in when the section is complete.
        self.rest.get_or_insert_with(|| Peer::new(PublicKey::from_bytes([0; 32])))
    }
}
