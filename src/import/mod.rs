//! Files made by hand in, a network out: one relay's `.conf` with any of its clients', and what was wrong in them.
//!
//! Files are matched to peers by key. What a file cannot say (a prefix's link, say) is taken from its hooks where they tell,
//! and what was wrong is kept visible: a client whose AllowedIPs are too narrow keeps them as `routes`. Pure.

mod addresses;
mod choose;
mod command;
mod comments;
mod direct;
mod docker;
mod filter;
mod finding;
mod hooks;
mod kept;
pub mod manager;
mod masquerade;
mod mesh;
mod names;
mod own;
mod preshared;
mod relay;
mod routes;
mod running;
mod spokes;
mod subnet;
mod switched_off;

use std::collections::BTreeMap;

use crate::config::{Secrets, parse_network, render_network};
use crate::firewall::foreign::docker::DockerNetwork;
use crate::model::validate::validate_network;
use crate::model::{
    InterfaceName, Network, Node, NodeName, Platform, PresharedKey, Problem, PublicKey, Role, Timestamp,
    masked_to_pieces,
};
use crate::wgconf::{Document, Key, Reading};
use finding::Findings;
use hooks::Hooks;
use spokes::Spoke;

/// The least MTU of IPv4 and of IPv6 in the tunnel, in bytes.
const MIN_MTU: u16 = 576;
const MIN_MTU6: u16 = 1280;

/// A file as given.
#[derive(Debug, Clone, Copy)]
pub struct File<'f> {
    /// How problems call it; its last part without `.conf` names the node.
    pub name: &'f str,
    /// What is in it. A secret: it holds a private key.
    pub text: &'f str,
}

/// What no file says.
pub struct ImportOptions<'w> {
    /// The network's name; `None`: the files' names tell.
    pub name: Option<InterfaceName>,
    /// The relay's file, as it is called among the files; `None`: they tell.
    pub relay: Option<&'w str>,
    /// Nodes that are in the files and switched off.
    pub disabled: &'w [PublicKey],
    /// Until when nodes are good, where something else than their files says so.
    pub expires: &'w [(PublicKey, Timestamp)],
    /// A file of an interface that runs, as it is called among the files, and what it runs with.
    pub running: Option<(&'w str, &'w Document)>,
    /// The moment at which nodes of an export are members or not.
    pub now: Timestamp,
    /// Docker's networks on this host, by name.
    pub docker: &'w BTreeMap<String, DockerNetwork>,
    /// Makes a preshared key for a node of an export that none of the files has.
    pub preshared_key: &'w mut dyn FnMut() -> PresharedKey,
}

/// What came of it.
#[derive(Debug)]
pub struct Imported {
    /// The network.
    pub network: Network,
    /// Its network.toml.
    pub text: String,
    /// The keys that the files hold.
    pub secrets: Secrets,
    /// What was wrong in the files, and what was left out; all of them warnings.
    pub findings: Vec<Problem>,
}

/// A file, read.
struct Source<'f> {
    name: &'f str,
    stem: &'f str,
    reading: Reading,
    /// From its private key.
    key: Option<PublicKey>,
    hooks: Hooks,
    /// Peers whose sections are commented out.
    off: Vec<PublicKey>,
    /// The comments that the file begins with.
    head: Vec<String>,
    /// Comments behind a peer's lines, by its section.
    behind: BTreeMap<usize, String>,
    /// Whether there is nothing in it but spaces.
    is_empty: bool,
}

/// Makes a network of files.
///
/// # Errors
/// No file is a relay's, the relay's lacks what nothing else tells, or what came out is no valid network.
pub fn import(files: &[File<'_>], mut options: ImportOptions<'_>) -> Result<Imported, Vec<Problem>> {
    let mut told = Findings::default();
    let mut sources: Vec<Source<'_>> = files.iter().map(|file| Source::read(file, &mut told)).collect();
    if let Some((name, document)) = options.running
        && let Some(source) = sources.iter_mut().find(|s| s.name == name)
    {
        running::take_over(source, document, &mut told);
    }
    let mesh = options.relay.is_none().then(|| mesh::members(&sources)).flatten();
    let relay = match &mesh {
        Some(members) => members[0],
        None => choose::find(&sources, options.relay, &mut told)
            .map_err(|problem| with_own_faults(&sources.iter().collect::<Vec<_>>(), vec![problem]))?,
    };
    for source in &sources {
        told.of_file(source, options.running.is_some_and(|(name, _)| name == source.name));
    }
    let own = own::network(&sources, relay, &mut options, &mut told).map_err(|problem| vec![problem])?;
    if let Some((network, secrets)) = own {
        return finished(files, network, secrets, told);
    }
    let hubs = mesh.unwrap_or_else(|| vec![relay]);
    let strangers = choose::strangers(&sources, &hubs, relay::key(&sources, relay));
    if !strangers.is_empty() {
        let told = strangers.iter().map(|s| choose::stranger(s, &sources[relay])).collect();
        return Err(with_own_faults(&strangers, told));
    }
    let (network, secrets) = made(&sources, &hubs, options, &mut told).map_err(|problem| vec![problem])?;
    finished(files, network, secrets, told)
}

/// Makes the network of one relay's file and its clients', or of several relays that all know each other.
fn made(
    sources: &[Source<'_>],
    hubs: &[usize],
    options: ImportOptions<'_>,
    told: &mut Findings,
) -> Result<(Network, Secrets), Problem> {
    let (mut network, origin) = empty(sources, hubs[0], options.name);
    let mut secrets = Secrets::default();
    let mut relays: Vec<(usize, NodeName)> = Vec::new();
    for hub in hubs {
        let node = relay::node(sources, *hub, &network, told)?;
        subnet::tell(&sources[*hub], &network, origin, node.address, told);
        if let Some(key) = &sources[*hub].reading.document.interface.private_key {
            secrets.private_keys.insert(node.name.clone(), key.clone());
        }
        relays.push((*hub, node.name.clone()));
        network.nodes.insert(node.name.clone(), node);
    }
    let mut spokes: Vec<Vec<Spoke>> = Vec::new();
    for hub in hubs {
        let own = spokes::collect(sources, (*hub, hubs), &network, origin, told);
        for spoke in &own {
            network.nodes.insert(spoke.node.name.clone(), spoke.node.clone());
            if let Some(key) = spoke.private_key(sources) {
                secrets.private_keys.insert(spoke.node.name.clone(), key.clone());
            }
        }
        spokes.push(own);
    }
    let is_mesh = hubs.len() > 1;
    if is_mesh {
        mesh::tell(sources, &relays, told);
        mesh::sites(sources, &relays, &mut network, told);
        mesh::homes(sources, &relays, &mut network);
    }
    let keys: Vec<PublicKey> = network.relays().map(|r| r.public_key).collect();
    for own in &spokes {
        direct::tell(sources, own, &keys, &network, told);
        direct::sites(sources, own, &mut network);
    }
    for ((hub, name), own) in relays.iter().zip(&spokes) {
        relay::sites(sources, *hub, own, &mut network, name, docker::Engine(options.docker), told);
    }
    for own in &spokes {
        routes::keep(sources, own, &mut network, origin, told);
    }
    for ((hub, name), own) in relays.iter().zip(&spokes) {
        preshared::preshared_keys(sources, (*hub, name), own, &mut network, &mut secrets, told);
    }
    if is_mesh {
        mesh::preshared_keys(sources, &relays, &mut network, &mut secrets, told);
    }
    for source in sources {
        told.routes_left_out(source, &network);
    }
    let is_off = |n: &Node| {
        options.disabled.contains(&n.public_key)
            || hubs.iter().any(|h| sources[*h].off.contains(&n.public_key))
    };
    for node in network.nodes.values_mut() {
        node.expires =
            options.expires.iter().find(|(key, _)| *key == node.public_key).map(|(_, moment)| *moment);
    }
    platforms(sources, hubs[0], &network, told);
    // A relay's key in a comment is what somebody noted beside the private one.
    for node in network.nodes.values_mut().filter(|n| !n.is_relay() && is_off(n)) {
        node.enabled = false;
        told.add(
            "switched-off",
            format!("{}:1:1", sources[hubs[0]].name),
            format!("{} is switched off where it comes from, and is so here", node.name),
            format!("`wgrelay enable {}` lets it in", node.name),
        );
    }
    if validate_network(&network).iter().all(|p| !p.is_error()) {
        for (hub, own) in hubs.iter().zip(&spokes) {
            kept::tell_lost(sources, *hub, own, &network, options.now, told);
        }
    }
    Ok((network, secrets))
}

/// Why files make no network, behind what is wrong in the files themselves: a header that is misspelt hides all below it.
fn with_own_faults(sources: &[&Source<'_>], why: Vec<Problem>) -> Vec<Problem> {
    let own = sources.iter().flat_map(|source| {
        let faults = source.reading.problems.iter().filter(|p| p.is_error()).cloned();
        let empty = source.is_empty.then(|| {
            let message = format!("{} is empty", source.name);
            Problem::error(
                "empty-file",
                format!("{}:1:1", source.name),
                message,
                "leave it out, or write it again",
            )
        });
        empty.into_iter().chain(faults)
    });
    own.chain(why).collect()
}

fn finished(
    files: &[File<'_>],
    network: Network,
    secrets: Secrets,
    told: Findings,
) -> Result<Imported, Vec<Problem>> {
    let errors = |problems: Vec<Problem>| -> Vec<Problem> {
        let errors = problems.into_iter().filter(Problem::is_error);
        errors
            .map(|p| Problem { message: masked_to_pieces(&p.message), hint: masked_to_pieces(&p.hint), ..p })
            .collect()
    };
    let broken = errors(validate_network(&network));
    if !broken.is_empty() {
        return Err(broken);
    }
    // A name may hold what no comment does.
    let shown = |name: &str| name.replace(char::is_control, "?");
    let list: Vec<String> = files.iter().map(|f| shown(names::last_part(f.name))).collect();
    let text = render_network(&network, Some(&format!("Imported from {}.", list.join(", "))));
    let broken = errors(parse_network(text.as_bytes(), "network.toml").problems);
    if !broken.is_empty() {
        return Err(broken);
    }
    Ok(Imported { network, text, secrets, findings: told.finish() })
}

impl<'f> Source<'f> {
    fn read(file: &File<'f>, told: &mut Findings) -> Self {
        let own = comments::own(file, told);
        let text = own.as_ref().map_or(file.text, |text| text.as_str());
        let (put_back, off) = switched_off::sections(text);
        let text = put_back.as_ref().map_or(text, |text| text.as_str());
        let mut reading = crate::wgconf::read(text, file.name);
        let key = reading.document.interface.private_key.as_ref().map(crate::model::PrivateKey::public_key);
        let stem = names::stem(file.name);
        let hooks = Hooks::of(&reading, stem);
        let behind = behind(text, &reading);
        let head = text.lines().map_while(|line| line.trim().strip_prefix('#'));
        let head: Vec<String> = head.map(|c| c.trim().to_owned()).collect();
        comments::addresses(file.name, &head, &mut reading.document.interface, told);
        Self {
            name: file.name,
            stem,
            reading,
            key,
            hooks,
            off,
            head,
            behind,
            is_empty: file.text.trim().is_empty(),
        }
    }

    /// `FILE:1:1`: of the file as a whole.
    fn start(&self) -> String {
        format!("{}:1:1", self.name)
    }

    /// `FILE:LINE:COLUMN` of the first line with a key, else of the file's start.
    fn place(&self, key: Key) -> String {
        self.place_of(self.reading.places.iter().find(|p| p.key == key))
    }

    /// The section of a peer, counted from 0 in the order of the file.
    fn section(&self, peer: usize) -> Option<usize> {
        let places = &self.reading.places;
        // A section without a public key is no peer.
        let mut sections: Vec<usize> =
            places.iter().filter(|p| p.key == Key::PublicKey).map(|p| p.section).collect();
        sections.dedup();
        sections.get(peer).copied()
    }

    /// The place of a key in the section of a peer.
    fn place_in_peer(&self, peer: usize, key: Key) -> String {
        let places = &self.reading.places;
        let section = self.section(peer);
        let found = places.iter().find(|p| Some(p.section) == section && p.key == key);
        self.place_of(found.or_else(|| places.iter().find(|p| Some(p.section) == section)))
    }

    fn place_of(&self, place: Option<&crate::wgconf::KeyPlace>) -> String {
        let (line, column) = place.map_or((1, 1), |p| (p.line, p.column));
        format!("{}:{line}:{column}", self.name)
    }
}

/// The comments behind the lines of peers: of those with the key, else with the prefixes.
fn behind(text: &str, reading: &Reading) -> BTreeMap<usize, String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = BTreeMap::new();
    for key in [Key::AllowedIps, Key::PublicKey] {
        for place in reading.places.iter().filter(|p| p.key == key) {
            if let Some((_, comment)) = lines.get(place.line - 1).and_then(|line| line.split_once('#')) {
                found.insert(place.section, comment.trim().to_owned());
            }
        }
    }
    found
}

/// The network without its nodes.
fn empty(sources: &[Source<'_>], relay: usize, name: Option<InterfaceName>) -> (Network, subnet::Origin) {
    let (subnet, origin) = subnet::v4(sources, relay);
    let network = Network {
        subnet6: subnet::v6(sources, relay),
        preshared_keys: false,
        ..Network::new(name.unwrap_or_else(|| names::network(sources, relay)), subnet, [])
    };
    (network, origin)
}

/// A node with what its own file says of its interface.
fn with_interface(mut node: Node, source: &Source<'_>, network: &Network, told: &mut Findings) -> Node {
    let interface = &source.reading.document.interface;
    node.mtu = interface.mtu;
    if let Some(mtu) =
        interface.mtu.filter(|mtu| *mtu < MIN_MTU || (*mtu < MIN_MTU6 && network.subnet6.is_some()))
    {
        node.mtu = None;
        told.add(
            "mtu-left-out",
            source.place(Key::Mtu),
            format!("MTU = {mtu} is not taken over: it is less than the tunnel's addresses need"),
            "IPv6 needs 1280, IPv4 576",
        );
    }
    node.dns = interface.dns.iter().map(ToString::to_string).collect();
    // A full tunnel's is its own, and so is what an export of ours wrote.
    node.fwmark = interface.fwmark.filter(|mark| *mark > 0 && !source.hooks.own && !sends_everything(source));
    if node.role == Role::Spoke {
        node.listen_port = interface.listen_port.filter(|p| *p > 0);
    }
    node
}

/// Whether a file sends everything of a family into the tunnel, for which wg-quick has a mark and a table of its own.
fn sends_everything(source: &Source<'_>) -> bool {
    source.reading.document.peers.iter().flat_map(|p| &p.allowed_ips).any(|net| net.prefix_len() == 0)
}

/// Tells of spokes that are taken for Linux because nothing tells their platform, where that makes a difference in their files.
fn platforms(sources: &[Source<'_>], hub: usize, network: &Network, told: &mut Findings) {
    let own = |n: &Node| sources.iter().find(|s| s.key == Some(n.public_key));
    let is_told = |n: &Node| {
        own(n).is_some_and(|s| {
            let interface = &s.reading.document.interface;
            !s.reading.hooks.is_empty() || interface.table.is_some() || interface.fwmark.is_some()
        })
    };
    let has_ipv6 = |n: &Node| {
        let sends = own(n).into_iter().flat_map(|s| &s.reading.document.peers).flat_map(|p| &p.allowed_ips);
        n.address6.is_some() || sends.into_iter().any(|net| net.addr().is_ipv6())
    };
    let unknown: Vec<&str> = network
        .spokes()
        .filter(|n| n.platform == Platform::Linux && n.sites.is_empty() && !is_told(n) && has_ipv6(n))
        .map(|n| n.name.as_str())
        .collect();
    let Some(first) = unknown.first() else { return };
    let more = if unknown.len() > 3 { format!(" and {} more", unknown.len() - 3) } else { String::new() };
    let (run, are, them) =
        if unknown.len() == 1 { ("runs", "it is", "it") } else { ("run", "they are", "them") };
    told.add(
        "platform-unknown",
        sources[hub].start(),
        format!(
            "nothing tells what {}{more} {run} on: {are} taken for Linux, and a file that wgrelay exports for {them} has commands of \
             wg-quick, which apps refuse",
            unknown[..unknown.len().min(3)].join(", ")
        ),
        format!("`wgrelay set {first} platform android` (ios, macos, windows) where it is a phone or a PC"),
    );
}
