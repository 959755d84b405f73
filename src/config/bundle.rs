//! A bundle: the network as one node needs it, with that node's own secrets, in one file that can be carried there.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::network::{format_is_known, read_network};
use super::render::{render_network, text};
use super::secrets::{KeyPairs, Secrets, misfits, read_secrets};
use super::section::Section;
use super::source::{Holds, Parsed, Source};
use crate::model::validate::Mark;
use crate::model::{Network, Node, NodeName, Nodes};

/// What one host gets to take part in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The node that this host is.
    pub this: NodeName,
    /// The network as that node needs it: see [`network_for`].
    pub network: Network,
    /// The same as text, for network.toml on that host.
    pub network_text: String,
    /// That node's own private key and preshared keys, no other node's.
    pub secrets: Secrets,
    /// What [`Bundle::digest_of`] said when the bundle was made; another value later means that the bundle is stale.
    pub made_from: String,
    /// For another host of the same relay: the relay's keys in its cluster, as text.
    pub member_keys: Option<MemberKeysText>,
}

/// The keys of a cluster's member as text, which nobody reads but the store.
#[derive(Clone, PartialEq, Eq)]
pub struct MemberKeysText(pub Zeroizing<String>);

impl std::fmt::Debug for MemberKeysText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemberKeysText(..)")
    }
}

impl Bundle {
    /// Makes the bundle of one node; `None`: the network has no such node.
    pub fn make(network: &Network, secrets: &Secrets, this: &NodeName) -> Option<Self> {
        let part = network_for(network, this)?;
        let made_from = Self::digest_of(network, this)?;
        let network_text = installed_text(&part, this);
        Some(Self {
            this: this.clone(),
            network: part,
            network_text,
            secrets: secrets.of(this),
            made_from,
            member_keys: None,
        })
    }

    /// Returns 16 hexadecimal digits that change when something changes that this node needs to know; `None`: no such node.
    /// They tell staleness and protect against nothing.
    pub fn digest_of(network: &Network, this: &NodeName) -> Option<String> {
        let part = render_network(&network_for(network, this)?, None);
        // FNV-1a, 64 bits: stable between releases, which the standard library's hasher does not promise.
        let hash = part
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Some(format!("{hash:016x}"))
    }

    /// Says whether a network that came in a bundle is not what was put into it; `made_from` is what the bundle said.
    pub fn is_edited(network: &Network, this: &NodeName, made_from: &str) -> bool {
        !made_from.is_empty() && Self::digest_of(network, this).is_some_and(|now| now != made_from)
    }

    /// Writes the bundle; the text is wiped when dropped.
    pub fn render(&self) -> Zeroizing<String> {
        let body = render_network(&self.network, None);
        let body = body.strip_prefix("format = 1\n").unwrap_or(&body);
        let mut out = self.secrets.buffer();
        out.reserve(body.len());
        write!(
            out,
            "# Node {this} of network {name}: everything that host needs, its private key included. Mode 0600.\n\
             # Install it there: wgrelay up --bundle FILE. Made by wgrelay export; edit the network, not this file.\n\
             format = 1\nthis = {quoted}\nmade_from = {digest}\n",
            this = self.this,
            name = self.network.name,
            quoted = text(self.this.as_str()),
            digest = text(&self.made_from),
        )
        .expect("a String takes every write");
        if let Some(keys) = &self.member_keys {
            out.reserve(keys.0.len() + 32);
            writeln!(out, "member_keys = {}", &*Zeroizing::new(text(&keys.0)))
                .expect("a String takes every write");
        }
        out.push_str(body);
        self.secrets.render_tables(&mut out);
        out
    }

    /// Reads a bundle. `file` is what places call it.
    pub fn parse(bytes: &[u8], file: &str) -> Parsed<Self> {
        let mut source = match Source::new(bytes, file, Holds::Keys) {
            Ok(source) => source,
            Err(problem) => return Parsed { value: None, problems: vec![problem] },
        };
        let Some(document) = source.document() else { return source.finish(None) };
        let top = Section::new(&document, String::new(), Mark(0));
        if !format_is_known(&top, &mut source) {
            return source.finish(None);
        }
        let known = [
            "format",
            "this",
            "made_from",
            "member_keys",
            "network",
            "node",
            "allow",
            "forward",
            "expect",
            "private_keys",
            "preshared_keys",
        ];
        top.known(&known, &mut source);
        let this = top.parsed::<NodeName>("this", "bad-name", &mut source);
        if !top.has("this") {
            source.error_in_own_words(
                Mark(0),
                "missing-key",
                "the file has no this: it is no bundle",
                "wgrelay export NAME --format bundle makes one",
            );
        }
        let made_from = top.text("made_from", &mut source).map_or_else(String::new, |t| t.value.to_owned());
        let member_keys = top.text("member_keys", &mut source);
        let member_keys = member_keys.map(|text| MemberKeysText(Zeroizing::new(text.value.to_owned())));
        let (network, _) = read_network(&top, &mut source);
        let (secrets, places) = read_secrets(&top, &mut source);
        let Some(this) = this else { return source.finish(None) };
        if !network.nodes.contains_key(&this.value) {
            source.error_in_own_words(
                this.mark,
                "unknown-node",
                "the bundle is for a node that it does not have",
                "export it again",
            );
        }
        if source.is_sound() {
            for (key, problem) in misfits(&network, &secrets, KeyPairs::All) {
                let (relay, node) = &key;
                let own = *node == this.value || relay.as_ref() == Some(&this.value);
                // Of the others a bundle has no keys, and that is the point of it.
                if own || problem.code != "missing-preshared-key" {
                    source.tell(places.get(&key).copied().unwrap_or(this.mark), problem);
                }
            }
        }
        let network_text = installed_text(&network, &this.value);
        source.finish(Some(Self { this: this.value, network, network_text, secrets, made_from, member_keys }))
    }
}

fn installed_text(network: &Network, this: &NodeName) -> String {
    let header =
        format!("The network as node {this} needs it, from a bundle. Change it where the bundle was made.");
    render_network(network, Some(&header))
}

/// Returns the network as one node needs it. Whole: itself, and every relay. Of the other spokes: names, addresses, keys,
/// sites, and whether they take part, which AllowedIPs, routes and firewall derive from. Promises stay behind: they are about
/// the whole network. `None`: no such node.
pub fn network_for(network: &Network, this: &NodeName) -> Option<Network> {
    let whole = network.nodes.get(this)?;
    // A relay forwards for all, so nothing can be left out of what it knows.
    if whole.is_relay() {
        return Some(network.clone());
    }
    // A spoke has no part in the relays' store.
    let relay = |node: &Node| Node { sealing_key: None, signing_key: None, ..node.clone() };
    let nodes: Nodes = network
        .nodes
        .values()
        .map(|node| if node.name == *this || node.is_relay() { relay(node) } else { as_listed(node) })
        .map(|node| (node.name.clone(), node))
        .collect();
    Some(Network { nodes, expect: Vec::new(), ..network.clone() })
}

fn as_listed(node: &Node) -> Node {
    let mut out = Node::new(node.name.clone(), node.role, node.address, node.public_key);
    out.platform = node.platform;
    out.address6 = node.address6;
    out.groups.clone_from(&node.groups);
    out.relays.clone_from(&node.relays);
    // Who leaves by whom, whichever of the two this is for.
    out.via.clone_from(&node.via);
    if node.via.is_some() {
        out.routes.clone_from(&node.routes);
    }
    (out.egress, out.egress_all) = (node.egress, node.egress_all);
    out.enabled = node.enabled;
    out.expires = node.expires;
    out.sites = node.written_sites().into_iter().cloned().collect();
    out
}
