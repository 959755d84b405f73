//! secrets.toml: private keys and preshared keys, and whether they fit the network.
//!
//! No problem told here quotes a value: a line of this file may be a key even where it should not be.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use zeroize::Zeroizing;

use super::network::format_is_known;
use super::render::key_text;
use super::section::{At, Section};
use super::source::{Holds, Parsed, Source};
use crate::model::validate::Mark;
use crate::model::{KEY_LEN, Network, Node, NodeName, PresharedKey, PrivateKey, Problem, PublicKey};

/// The keys of a network that stay on this host.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Private keys by node; a node that made its own has none here.
    pub private_keys: BTreeMap<NodeName, PrivateKey>,
    /// Preshared keys by relay, then by spoke.
    pub preshared_keys: BTreeMap<NodeName, BTreeMap<NodeName, PresharedKey>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whose keys there are is no secret, and the keys print themselves as "…".
        f.debug_struct("Secrets")
            .field("private_keys", &self.private_keys.keys())
            .field("preshared_keys", &self.preshared_keys)
            .finish()
    }
}

impl Secrets {
    /// Reads secrets.toml. `file` is what places call it.
    pub fn parse(bytes: &[u8], file: &str) -> Parsed<Self> {
        Self::read(bytes, file, None)
    }

    /// The same for a command that uses few of the keys. Of thousands only the relays' are held against their public keys:
    /// each costs a multiplication on the curve, and whatever uses another key holds that one against its own.
    pub fn parse_to_use(bytes: &[u8], file: &str, network: &Network) -> Parsed<Self> {
        Self::read(bytes, file, Some((network, KeyPairs::OfRelays)))
    }

    /// Reads secrets.toml and holds it against the network, as [`check_secrets`] does, each problem at its line.
    pub fn parse_for(bytes: &[u8], file: &str, network: &Network) -> Parsed<Self> {
        Self::read(bytes, file, Some((network, KeyPairs::All)))
    }

    fn read(bytes: &[u8], file: &str, network: Option<(&Network, KeyPairs)>) -> Parsed<Self> {
        let mut source = match Source::new(bytes, file, Holds::Keys) {
            Ok(source) => source,
            Err(problem) => return Parsed { value: None, problems: vec![problem] },
        };
        let Some(document) = source.document() else { return source.finish(None) };
        let top = Section::new(&document, String::new(), Mark(0));
        if !format_is_known(&top, &mut source) {
            return source.finish(None);
        }
        top.known(&["format", "private_keys", "preshared_keys"], &mut source);
        let (secrets, places) = read_secrets(&top, &mut source);
        if let Some((network, pairs)) = network.filter(|_| source.is_sound()) {
            for (key, problem) in misfits(network, &secrets, pairs) {
                source.put(places.get(&key).copied().unwrap_or_default(), problem);
            }
        }
        source.finish(Some(secrets))
    }

    /// Returns the preshared key between two nodes: the same whichever of them asks, also where a file has two by mistake.
    pub fn preshared_key(&self, a: &NodeName, b: &NodeName) -> Option<&PresharedKey> {
        let below = |a: &NodeName, b: &NodeName| self.preshared_keys.get(a)?.get(b);
        let (first, second) = (a.min(b), a.max(b));
        below(first, second).or_else(|| below(second, first))
    }

    /// Puts the preshared key between a relay and another node in, in the place of the one that is there.
    pub fn set_preshared_key(&mut self, relay: &NodeName, other: &NodeName, key: PresharedKey) {
        if let Some(keys) = self.preshared_keys.get_mut(other) {
            keys.remove(relay);
        }
        self.preshared_keys.retain(|_, keys| !keys.is_empty());
        self.preshared_keys.entry(relay.clone()).or_default().insert(other.clone(), key);
    }

    /// Says whether these bytes are one of the keys.
    pub fn hold(&self, key: &[u8; KEY_LEN]) -> bool {
        self.private_keys.values().any(|k| k.expose() == key)
            || self.preshared_keys.values().flat_map(BTreeMap::values).any(|k| k.expose() == key)
    }

    /// Returns only what this node may know: its private key, and its preshared keys.
    pub fn of(&self, node: &NodeName) -> Self {
        let private_keys =
            self.private_keys.get(node).map(|k| (node.clone(), k.clone())).into_iter().collect();
        let mut preshared_keys = BTreeMap::new();
        for (relay, spokes) in &self.preshared_keys {
            let own: BTreeMap<_, _> = spokes
                .iter()
                .filter(|(spoke, _)| relay == node || *spoke == node)
                .map(|(s, k)| (s.clone(), k.clone()))
                .collect();
            if !own.is_empty() {
                preshared_keys.insert(relay.clone(), own);
            }
        }
        Self { private_keys, preshared_keys }
    }

    /// Gives a node's keys to its new name.
    pub fn rename(&mut self, old: &NodeName, new: &NodeName) {
        if let Some(key) = self.private_keys.remove(old) {
            self.private_keys.insert(new.clone(), key);
        }
        if let Some(spokes) = self.preshared_keys.remove(old) {
            self.preshared_keys.insert(new.clone(), spokes);
        }
        for spokes in self.preshared_keys.values_mut() {
            if let Some(key) = spokes.remove(old) {
                spokes.insert(new.clone(), key);
            }
        }
    }

    /// Forgets a node's keys.
    pub fn remove(&mut self, node: &NodeName) {
        self.private_keys.remove(node);
        self.preshared_keys.remove(node);
        for spokes in self.preshared_keys.values_mut() {
            spokes.remove(node);
        }
        self.preshared_keys.retain(|_, spokes| !spokes.is_empty());
    }

    /// Writes secrets.toml whole; the text is wiped when dropped.
    pub fn render(&self) -> Zeroizing<String> {
        let mut out = self.buffer();
        out.push_str("# Keys of this network. Whoever reads this file can be any of its nodes: keep it at mode 0600.\nformat = 1\n");
        self.render_tables(&mut out);
        out
    }

    /// A text with room for everything, so that growing leaves no copy behind in freed memory.
    pub(super) fn buffer(&self) -> Zeroizing<String> {
        let lines =
            self.private_keys.len() + self.preshared_keys.values().map(|s| s.len() + 2).sum::<usize>() + 8;
        Zeroizing::new(String::with_capacity(lines * 160 + 4096))
    }

    pub(super) fn render_tables(&self, out: &mut Zeroizing<String>) {
        out.push_str("\n[private_keys]\n");
        for (node, key) in &self.private_keys {
            push_key(out, node, &key.expose_base64());
        }
        for (relay, spokes) in &self.preshared_keys {
            out.push_str("\n[preshared_keys.");
            out.push_str(&key_text(relay.as_str()));
            out.push_str("]\n");
            for (spoke, key) in spokes {
                push_key(out, spoke, &key.expose_base64());
            }
        }
    }
}

fn push_key(out: &mut Zeroizing<String>, name: &NodeName, key: &str) {
    out.push_str(&key_text(name.as_str()));
    out.push_str(" = \"");
    out.push_str(key);
    out.push_str("\"\n");
}

/// A key of the file: the relay, of a preshared key; and the node on whose line it is.
pub(super) type KeyOf = (Option<NodeName>, NodeName);

/// Reads `[private_keys]` and `[preshared_keys.RELAY]` of a file, also of a bundle, and where each key's line is.
pub(super) fn read_secrets(top: &Section<'_>, source: &mut Source<'_>) -> (Secrets, BTreeMap<KeyOf, Mark>) {
    let mut secrets = Secrets::default();
    let mut places = BTreeMap::new();
    if let Some(section) = top.table("private_keys", source) {
        secrets.private_keys = keys(&section, None, &mut places, source);
    }
    if let Some(section) = top.table("preshared_keys", source) {
        for (relay, section) in section.tables_by_name(source) {
            let name = At { value: relay, mark: section.mark };
            if let Some(relay) = name_of(&name, source) {
                places.insert(
                    (None, relay.clone()),
                    places.get(&(None, relay.clone())).copied().unwrap_or(name.mark),
                );
                let spokes = keys(&section, Some(&relay), &mut places, source);
                secrets.preshared_keys.insert(relay, spokes);
            }
        }
    }
    (secrets, places)
}

fn keys<K: std::str::FromStr<Err = crate::model::KeyError>>(
    section: &Section<'_>,
    relay: Option<&NodeName>,
    places: &mut BTreeMap<KeyOf, Mark>,
    source: &mut Source<'_>,
) -> BTreeMap<NodeName, K> {
    let mut keys = BTreeMap::new();
    for (name, text) in section.texts(source) {
        let node = name_of(&name, source);
        match text.value.parse::<K>() {
            Ok(key) => {
                if let Some(node) = node {
                    places.insert((relay.cloned(), node.clone()), name.mark);
                    keys.insert(node, key);
                }
            }
            Err(why) => {
                source.error_in_own_words(
                    text.mark,
                    "bad-key",
                    format!("this is not a valid key: {why}"),
                    "`wgrelay genkey` makes one",
                );
            }
        }
    }
    keys
}

fn name_of(name: &At<&str>, source: &mut Source<'_>) -> Option<NodeName> {
    let parsed = name.value.parse().ok();
    if parsed.is_none() {
        // A key and a name may have been swapped.
        source.error_in_own_words(
            name.mark,
            "bad-name",
            "this is not the name of a node",
            "a line is NAME = \"KEY\"",
        );
    }
    parsed
}

/// Tells where keys and network do not fit: a private key of another node, keys of unknown nodes, and preshared keys that
/// are missing. A relay or spoke without a private key here made its own: nothing is wrong with that. Every problem is at the
/// start of the file; [`Secrets::parse_for`] knows the lines.
pub fn check_secrets(network: &Network, secrets: &Secrets, file: &str) -> Vec<Problem> {
    let place = format!("{file}:1:1");
    let mut problems: Vec<Problem> = misfits(network, secrets, KeyPairs::All)
        .into_iter()
        .map(|(_, problem)| Problem { place: place.clone(), ..problem })
        .collect();
    problems.sort();
    problems.dedup();
    problems
}

/// Which private keys are held against the public keys of their nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyPairs {
    /// All of them.
    All,
    /// Where they are more than [`MANY`], those of relays.
    OfRelays,
}

/// So many take some 20 ms.
const MANY: usize = 1_000;

impl KeyPairs {
    fn holds(self, secrets: &Secrets, node: &Node) -> bool {
        self == Self::All || secrets.private_keys.len() <= MANY || node.is_relay()
    }
}

/// The problems of [`check_secrets`], each with the key that it is about and without a place.
pub(super) fn misfits(network: &Network, secrets: &Secrets, pairs: KeyPairs) -> Vec<(KeyOf, Problem)> {
    let mut found = Vec::new();
    let owners: HashMap<PublicKey, &NodeName> =
        network.nodes.values().map(|n| (n.public_key, &n.name)).collect();
    for (name, key) in &secrets.private_keys {
        let Some(node) = network.nodes.get(name) else {
            found.push(((None, name.clone()), unknown("private_keys")));
            continue;
        };
        if !pairs.holds(secrets, node) {
            continue;
        }
        let public = key.public_key();
        if public == node.public_key {
            continue;
        }
        let (message, hint) = match owners.get(&public) {
            Some(other) => (
                format!("the private key of node {name} belongs to the public key of node {other}"),
                format!("swap the private keys of {name} and {other}, or their public keys in the network"),
            ),
            // A private key in the place of a public one is no text to repeat.
            None if key.expose() == node.public_key.as_bytes() => (
                format!("what the network has as the public key of node {name} is its private key"),
                format!("whoever reads the network knows it: `wgrelay rotate {name}` makes a new pair"),
            ),
            None => (
                format!("the private key of node {name} does not belong to its public key"),
                format!("its public key would be {public}; `wgrelay rotate {name}` makes a new pair"),
            ),
        };
        found.push(((None, name.clone()), Problem::error("key-mismatch", "", message, hint)));
    }
    for (relay, spokes) in &secrets.preshared_keys {
        if !network.nodes.contains_key(relay) {
            found.push(((None, relay.clone()), unknown("preshared_keys")));
        }
        for name in spokes.keys().filter(|name| !network.nodes.contains_key(*name)) {
            found.push(((Some(relay.clone()), name.clone()), unknown("preshared_keys")));
        }
    }
    if network.preshared_keys {
        let missing: Vec<(&Node, &Node)> = network
            .key_pairs()
            .filter(|(relay, other)| secrets.preshared_key(&relay.name, &other.name).is_none())
            .collect();
        let mut lacking: HashMap<&NodeName, usize> = HashMap::new();
        for (relay, other) in &missing {
            *lacking.entry(&relay.name).or_default() += 1;
            *lacking.entry(&other.name).or_default() += 1;
        }
        for (relay, other) in missing {
            let message = format!("relay {} and node {} have no preshared key", relay.name, other.name);
            // Who lacks most is new: nobody else's keys need to change.
            let is_relay = lacking[&relay.name] > lacking[&other.name] && network.relays().nth(1).is_some();
            let new = if is_relay { &relay.name } else { &other.name };
            let hint = format!("`wgrelay rotate {new}` makes one; preshared_keys = false does without");
            let problem = Problem::error("missing-preshared-key", "", message, hint);
            found.push(((Some(relay.name.clone()), other.name.clone()), problem));
        }
    }
    found
}

/// A name that the network does not have is not told: it may be a key.
fn unknown(table: &str) -> Problem {
    let message = format!("this line of {table} is for a node that the network does not have");
    Problem::warning("unknown-node", "", message, "take the line away, or rename it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;

    fn key(n: u8) -> PrivateKey {
        PrivateKey::from_random([n; 32])
    }

    fn network() -> Network {
        let node = |name: &str, role, n: u8| {
            Node::new(name.parse().unwrap(), role, [10, 0, 0, n].into(), key(n).public_key())
        };
        let nodes = [node("hub", Role::Relay, 1), node("a", Role::Spoke, 2), node("b", Role::Spoke, 3)];
        Network::new("wg0".parse().unwrap(), "10.0.0.0/24".parse().unwrap(), nodes)
    }

    fn secrets() -> Secrets {
        let name = |n: &str| n.parse::<NodeName>().unwrap();
        let mut s = Secrets::default();
        s.private_keys.extend([(name("hub"), key(1)), (name("a"), key(2)), (name("b"), key(3))]);
        let spokes =
            [(name("a"), PresharedKey::from_bytes([8; 32])), (name("b"), PresharedKey::from_bytes([9; 32]))];
        s.preshared_keys.insert(name("hub"), spokes.into_iter().collect());
        s
    }

    #[test]
    fn round_trip_and_no_leak() {
        let s = secrets();
        let text = s.render();
        let back = Secrets::parse(text.as_bytes(), "secrets.toml");
        assert_eq!(back.problems, vec![]);
        assert_eq!(back.value.unwrap(), s);
        assert_eq!(check_secrets(&network(), &s, "f"), vec![]);
        let debug = format!("{s:?}");
        for k in s.private_keys.values() {
            assert!(!debug.contains(k.expose_base64().as_str()));
        }
        assert!(debug.contains("hub"));
    }

    #[test]
    fn only_ones_own() {
        let own = secrets().of(&"a".parse().unwrap());
        assert_eq!(own.private_keys.keys().map(NodeName::as_str).collect::<Vec<_>>(), ["a"]);
        assert_eq!(own.preshared_keys[&"hub".parse::<NodeName>().unwrap()].len(), 1);
    }

    #[test]
    fn misfits_are_told() {
        let (mut s, net) = (secrets(), network());
        let (a, b) = ("a".parse::<NodeName>().unwrap(), "b".parse::<NodeName>().unwrap());
        s.private_keys.insert(a.clone(), key(3));
        s.private_keys.insert(b.clone(), key(7));
        s.private_keys.insert("ghost".parse().unwrap(), key(8));
        s.preshared_keys.values_mut().for_each(|m| {
            m.remove(&b);
        });
        let problems = check_secrets(&net, &s, "secrets.toml");
        let codes: Vec<_> = problems.iter().map(|p| p.code.as_str()).collect();
        assert_eq!(codes, ["key-mismatch", "key-mismatch", "missing-preshared-key", "unknown-node"]);
        assert!(problems[0].message.contains("belongs to the public key of node b"), "{}", problems[0]);
        // The same with lines: header, format, blank, [private_keys], a, b, ghost, hub, blank, [preshared_keys.hub], a.
        let parsed = Secrets::parse_for(s.render().as_bytes(), "f", &net);
        assert!(parsed.value.is_none());
        let told: Vec<_> = parsed.problems.iter().map(|p| format!("{} {}", p.place, p.code)).collect();
        assert_eq!(
            told,
            ["f:1:1 missing-preshared-key", "f:5:1 key-mismatch", "f:6:1 key-mismatch", "f:7:1 unknown-node"]
        );
    }

    #[test]
    fn both_ends_of_a_pair_find_one_key() {
        let mut secrets = secrets();
        let (eu, us) = ("eu".parse::<NodeName>().unwrap(), "us".parse::<NodeName>().unwrap());
        let of = |n: u8| PresharedKey::from_bytes([n; 32]);
        // By hand somebody wrote a line for each of two relays.
        secrets.preshared_keys.entry(eu.clone()).or_default().insert(us.clone(), of(8));
        secrets.preshared_keys.entry(us.clone()).or_default().insert(eu.clone(), of(9));
        assert_eq!(secrets.preshared_key(&eu, &us), secrets.preshared_key(&us, &eu));
        secrets.set_preshared_key(&us, &eu, of(10));
        assert_eq!(secrets.preshared_key(&eu, &us), Some(&of(10)));
        assert_eq!(secrets.preshared_key(&us, &eu), Some(&of(10)));
        secrets.set_preshared_key(&eu, &us, of(11));
        assert_eq!(secrets.preshared_key(&us, &eu), Some(&of(11)));
        assert!(!secrets.preshared_keys.contains_key(&us));
    }

    #[test]
    fn of_thousands_of_keys_a_command_holds_the_relays_against_their_public_keys() {
        let mut network = network();
        let (mut secrets, spoke) = (secrets(), network.nodes["a"].clone());
        for n in 0..MANY {
            let name: NodeName = format!("s{n}").parse().unwrap();
            // Pairs that fit nowhere: each that is looked at is told.
            network.nodes.insert(name.clone(), Node { name: name.clone(), ..spoke.clone() });
            secrets.private_keys.insert(name.clone(), PrivateKey::from_random([9; 32]));
            secrets
                .preshared_keys
                .values_mut()
                .for_each(|m| drop(m.insert(name.clone(), PresharedKey::from_bytes([1; 32]))));
        }
        let mismatched = |pairs| misfits(&network, &secrets, pairs).len();
        assert_eq!((mismatched(KeyPairs::All), mismatched(KeyPairs::OfRelays)), (MANY, 0));
        let text = secrets.render();
        assert!(Secrets::parse_for(text.as_bytes(), "f", &network).value.is_none());
        assert!(Secrets::parse_to_use(text.as_bytes(), "f", &network).value.is_some());
        secrets.private_keys.insert("hub".parse().unwrap(), key(77));
        let parsed = Secrets::parse_to_use(secrets.render().as_bytes(), "f", &network);
        let codes: Vec<&str> = parsed.problems.iter().map(|p| p.code.as_str()).collect();
        assert_eq!(codes, ["key-mismatch"]);
    }

    #[test]
    fn faults_quote_no_key() {
        let secret = key(4).expose_base64();
        let text =
            format!("[private_keys]\n\"{}\" = \"hub\"\nhub = \"{}x\"\n[preshared_key]\n", *secret, *secret);
        let parsed = Secrets::parse(text.as_bytes(), "s");
        let told: String = parsed.problems.iter().map(ToString::to_string).collect();
        assert!(!told.contains(&secret[..20]), "{told}");
        let codes: Vec<_> = parsed.problems.iter().map(|p| p.code.as_str()).collect();
        assert_eq!(codes, ["bad-name", "bad-key", "bad-key", "unknown-key"]);
    }
}
