//! The `.conf` of one node: what it needs to take part with its platform's own WireGuard client, and no key more.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::hooks::written;
use crate::config::network_as_comments;
pub use crate::firewall::Hooks;
use crate::firewall::hooks::plain::{IPV6_BACK, IPV6_ON, into_own_table};
use crate::model::{
    DEFAULT_MTU, Derivation, Endpoint, EndpointHost, FULL_TUNNEL, Network, Node, NodeName, Platform,
    PresharedKey, PrivateKey, Problem, Timestamp, ascii_domain, conf_mark, has_own_table,
};
use crate::plan::{ExitHooks, exit_hooks};
use crate::wgconf::{self, Client, Comments, Dns, Document, HookError, Interface};

/// The secrets that one node's file needs.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// The node's own private key; `None`: it was never here, and the node's owner fills it in.
    pub private_key: Option<&'a PrivateKey>,
    /// The key of a relay (first) and a spoke (second).
    pub preshared_key: &'a dyn Fn(&NodeName, &NodeName) -> Option<PresharedKey>,
}

/// A node's file, and what its reader should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// What the file says.
    pub document: Document,
    /// The program that it is for.
    pub client: Client,
    /// Whether it works as it is; otherwise a problem `no-private-key` says what to fill in.
    pub complete: bool,
    /// Warnings; the place is `node.NAME`.
    pub problems: Vec<Problem>,
}

impl Exported {
    /// Returns the file, comments included.
    pub fn text(&self) -> zeroize::Zeroizing<String> {
        wgconf::render(&self.document, Comments::Keep)
    }
    /// Returns the shortest text that says the same: for a QR code.
    pub fn short_text(&self) -> zeroize::Zeroizing<String> {
        wgconf::render(&self.document, Comments::Drop)
    }
}

/// Why a node has no file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// A spoke without anybody to connect to.
    #[error("{node} has no relay to connect to: none that it may use is enabled")]
    NoRelay {
        /// The spoke.
        node: NodeName,
    },
    /// The stored private key is another node's.
    #[error("the private key stored for {node} does not belong to its public_key")]
    WrongPrivateKey {
        /// The node.
        node: NodeName,
    },
    /// The network wants preshared keys and this pair has none.
    #[error("no preshared key is stored for relay {relay} and {spoke}")]
    NoPresharedKey {
        /// The relay.
        relay: NodeName,
        /// The spoke.
        spoke: NodeName,
    },
    /// A firewall line that wg-quick would not read whole.
    #[error("a firewall line for {node} cannot be written: {source}")]
    Hook {
        /// The node.
        node: NodeName,
        /// What is wrong with it.
        source: HookError,
    },
}

impl ExportError {
    /// Says what to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoRelay { .. } => {
                "give the network a node with role = \"relay\", enabled and not expired; where a spoke lists its `relays`, among these"
                    .into()
            }
            Self::WrongPrivateKey { node } | Self::NoPresharedKey { spoke: node, .. } => {
                format!(
                    "`wgrelay rotate {node}` makes new keys; or put back the secrets.toml of this network"
                )
            }
            Self::Hook { .. } => "leave the firewall to wgrelay up on this node".into(),
        }
    }
}

/// Makes a node's file: a spoke's with its home relay as the peer, a relay's with the spokes at home there and the other relays.
///
/// A node that is disabled or expired gets its file all the same, with a warning; relays do not list it.
///
/// # Errors
/// See [`ExportError`]; nothing is written that would connect with less protection than the network asks for.
pub fn node_conf(
    network: &Network,
    keys: Keys<'_>,
    node: &Node,
    hooks: &Hooks,
    now: Timestamp,
) -> Result<Exported, ExportError> {
    node_conf_of(network, &Derivation::of(network, now), keys, node, hooks, now)
}

/// The same with what AllowedIPs are derived from, where many nodes of one network are asked for.
///
/// # Errors
/// As [`node_conf`].
pub fn node_conf_of(
    network: &Network,
    derivation: &Derivation,
    keys: Keys<'_>,
    node: &Node,
    hooks: &Hooks,
    now: Timestamp,
) -> Result<Exported, ExportError> {
    let sends: BTreeSet<IpNet> = if node.is_relay() {
        network.peers_of(node, now).flat_map(|peer| network.allowed_ips(node, peer, now)).collect()
    } else {
        derivation.for_spoke(node)
    };
    let mut problems = Vec::new();
    let exit = exit_hooks(network, node, &sends, now).filter(|_| node.platform.is_linux());
    let (interface, script) = interface(network, keys, node, (hooks, exit.as_ref()), &sends, &mut problems)?;
    let mut peers = Vec::new();
    if node.is_relay() {
        for other in network.peers_of(node, now) {
            // wg-quick makes a route of each: what the relay is attached to itself has one already.
            let mut allowed = network.allowed_ips(node, other, now);
            allowed.retain(|net| !node.local.contains(net));
            if exit.is_none() && allowed.iter().any(|net| net.prefix_len() == 0) {
                // A default route of its own is all that another system would make of it.
                allowed.retain(|net| net.prefix_len() > 0);
                problems.push(without_exit(node, other));
            }
            let allowed = allowed_ips_as_read(network, allowed);
            peers.push(peer(network, keys, (node, other), allowed)?);
        }
    } else {
        let home = derivation.home_of(network, node);
        let relay = home.ok_or_else(|| ExportError::NoRelay { node: node.name.clone() })?;
        let allowed = allowed_ips_as_read(network, carried(network, node, sends));
        warn_of_endpoint(node, relay, &allowed, &mut problems);
        peers.push(peer(network, keys, (node, relay), allowed)?);
    }
    warn_of_absence(node, now, &mut problems);
    Ok(Exported {
        document: Document { interface, peers, script },
        client: Client::of(node.platform),
        complete: keys.private_key.is_some(),
        problems,
    })
}

/// Makes the section of the node itself, and the script that its hooks call.
fn interface(
    network: &Network,
    keys: Keys<'_>,
    node: &Node,
    (hooks, exit): (&Hooks, Option<&ExitHooks>),
    sends: &BTreeSet<IpNet>,
    problems: &mut Vec<Problem>,
) -> Result<(Interface, Vec<String>), ExportError> {
    let mut script = Vec::new();
    let mut out = Interface {
        comments: comments(network, node),
        private_key: keys.private_key.cloned(),
        addresses: carried(network, node, network.interface_addresses(node)),
        // Every client takes it; on a spoke only where the network file asks for it.
        listen_port: node.listen_port(),
        dns: dns(node, problems),
        mtu: mtu(network, node),
        ..Interface::default()
    };
    match keys.private_key {
        Some(key) if key.public_key() != node.public_key => {
            return Err(ExportError::WrongPrivateKey { node: node.name.clone() });
        }
        Some(_) => {}
        None => {
            out.notes = vec!["PrivateKey = (this node's own: wgrelay never had it; fill it in)".into()];
            problems.push(Problem::warning(
                "no-private-key",
                place(node),
                format!("the file is not complete: the private key of {} is not stored here", node.name),
                format!(
                    "put PrivateKey = … under [Interface]: the key whose public key is {}",
                    node.public_key
                ),
            ));
        }
    }
    if node.platform.is_linux() {
        out.notes.extend(hooks.about.iter().cloned());
        let Hooks { functions, mut pre_up, mut post_up, mut post_down, .. } = hooks.clone();
        if needs_ipv6(network, node, sends) {
            pre_up.push(IPV6_ON.to_owned());
            post_up.insert(0, IPV6_BACK.to_owned());
        }
        out.fwmark = conf_mark(node);
        out.table = has_own_table(node).then(|| wgconf::Table::Named(FULL_TUNNEL.to_string()));
        if out.table.is_some() {
            post_up.extend(into_own_table(true));
            post_down.extend(into_own_table(false));
        }
        if let Some(exit) = exit {
            // The Internet among the AllowedIPs is no default route of this host's.
            out.notes.push("Table = off: the Internet is among the AllowedIPs of the node by which others leave, and no default route of".into());
            out.notes.push("this host. PostUp makes the routes, and `ip rule` leads to that node what is from those who leave by it.".into());
            out.table = Some(wgconf::Table::Off);
            pre_up.extend(exit.pre_up.iter().cloned());
            post_up.extend(exit.post_up.iter().cloned());
            post_down.extend(exit.post_down.iter().cloned());
        }
        let fault = |source| ExportError::Hook { node: node.name.clone(), source };
        script = written(&functions, [pre_up, post_up, post_down], &mut out).map_err(fault)?;
    } else if node.has_sites() || node.is_relay() || network.is_exit(node) {
        let platform = node.platform.as_str();
        problems.push(Problem::warning(
            "forwarding-by-hand",
            place(node),
            format!("a .conf cannot make {platform} forward packets, as {} has to", node.name),
            format!("switch forwarding (and NAT, where a site needs it) on in {platform} itself"),
        ));
    }
    Ok((out, script))
}

/// What a file cannot do that has no rules by source.
pub(super) fn without_exit(relay: &Node, exit: &Node) -> Problem {
    Problem::warning(
        "no-exit",
        place(relay),
        format!(
            "such a file of {} cannot lead to {} what is from the spokes that leave there: it is left out, and whatever forwards on that \
             host decides where it goes",
            relay.name, exit.name
        ),
        "run wgrelay itself on that host, or wg-quick on Linux with its .conf",
    )
}

fn needs_ipv6(network: &Network, node: &Node, sends: &BTreeSet<IpNet>) -> bool {
    let own = network.interface_addresses(node);
    own.iter().chain(sends).any(|net| is_carried(network, node, net) && matches!(net, IpNet::V6(_)))
}

fn is_carried(network: &Network, node: &Node, net: &IpNet) -> bool {
    matches!(net, IpNet::V4(_)) || network.mtu_of(node) >= LEAST_MTU_OF_IPV6
}

/// What an interface of that MTU can have: a link of less than 1280 bytes has no IPv6.
fn carried<C: IntoIterator<Item = IpNet> + FromIterator<IpNet>>(
    network: &Network,
    node: &Node,
    prefixes: C,
) -> C {
    prefixes.into_iter().filter(|net| is_carried(network, node, net)).collect()
}

/// RFC 8200, section 5.
const LEAST_MTU_OF_IPV6: u16 = 1280;

/// Says whose file it is; a relay's tells its network, too, so that `import` need not guess what no key of it says.
fn comments(network: &Network, node: &Node) -> Vec<String> {
    let whose = format!("{} in {}", node.name, network.name);
    let network = if node.is_relay() { network_as_comments(network) } else { Vec::new() };
    std::iter::once(whose).chain(network).collect()
}

/// A node's name servers and search domains, without those for which its client would refuse the whole file.
fn dns(node: &Node, problems: &mut Vec<Problem>) -> Vec<Dns> {
    let mut out = Vec::new();
    for text in &node.dns {
        match text.parse() {
            Ok(Dns::Search(domain)) if node.platform == Platform::Android && domain.contains('_') => {}
            Ok(dns) => {
                out.push(dns);
                continue;
            }
            Err(_) => {}
        }
        problems.push(Problem::warning(
            "bad-search-domain",
            place(node),
            format!("{text:?} in dns of {} is not in the file: its client would refuse it", node.name),
            match ascii_domain(text) {
                Some(ascii) if !text.is_ascii() => format!("write it as DNS does: {ascii}"),
                _ => "write a name of letters, digits and hyphens".into(),
            },
        ));
    }
    out
}

/// Each client works out an MTU from the path that it sees, which is better than the default of a file that does
/// not see it; only a wish of the network file's author goes over that.
fn mtu(network: &Network, node: &Node) -> Option<u16> {
    node.mtu.or_else(|| Some(network.mtu).filter(|mtu| *mtu != DEFAULT_MTU))
}

fn preshared_key(
    network: &Network,
    keys: Keys<'_>,
    relay: &Node,
    spoke: &Node,
) -> Result<Option<PresharedKey>, ExportError> {
    if !network.preshared_keys {
        return Ok(None);
    }
    match (keys.preshared_key)(&relay.name, &spoke.name) {
        None => Err(ExportError::NoPresharedKey { relay: relay.name.clone(), spoke: spoke.name.clone() }),
        Some(key) => Ok(Some(key).filter(PresharedKey::is_some)),
    }
}

/// What a node's file says of a peer of its.
fn peer(
    network: &Network,
    keys: Keys<'_>,
    (node, other): (&Node, &Node),
    allowed_ips: Vec<IpNet>,
) -> Result<wgconf::Peer, ExportError> {
    let (relay, spoke) = if node.is_relay() { (node, other) } else { (other, node) };
    let mut peer = wgconf::Peer::new(other.public_key);
    peer.comments = vec![other.name.to_string()];
    peer.preshared_key = preshared_key(network, keys, relay, spoke)?;
    peer.allowed_ips = allowed_ips;
    peer.endpoint = node.calls(other).cloned();
    peer.keepalive = network.keepalive_towards(node, other);
    Ok(peer)
}

/// Sorts prefixes as people look for them: the tunnel's first, then the sites', IPv4 before IPv6.
fn allowed_ips_as_read(network: &Network, prefixes: BTreeSet<IpNet>) -> Vec<IpNet> {
    let tunnel = network.subnets();
    let (mut first, rest): (Vec<_>, Vec<_>) =
        prefixes.into_iter().partition(|net| tunnel.iter().any(|t| t.contains(net)));
    first.extend(rest);
    first
}

fn place(node: &Node) -> String {
    format!("node.{}", node.name)
}

fn warn_of_absence(node: &Node, now: Timestamp, problems: &mut Vec<Problem>) {
    if node.is_active(now) {
        return;
    }
    let (code, what, hint) = if node.enabled {
        ("expired", "has expired", "give it a later expires".to_owned())
    } else {
        ("disabled", "is disabled", format!("`wgrelay enable {}`", node.name))
    };
    let message = format!("{} {what}: no relay will answer it", node.name);
    problems.push(Problem::warning(code, place(node), message, hint));
}

fn warn_of_endpoint(spoke: &Node, relay: &Node, allowed: &[IpNet], problems: &mut Vec<Problem>) {
    let Some(endpoint) = spoke.calls(relay) else {
        if spoke.endpoint.is_none() {
            problems.push(Problem::warning(
                "no-endpoint",
                place(spoke),
                format!(
                    "neither {} nor {} has an endpoint: neither can start a session",
                    relay.name, spoke.name
                ),
                format!("`wgrelay set {} endpoint HOST:PORT`", relay.name),
            ));
        }
        return;
    };
    // With a default route every client sees to it that its own packets stay outside, and some always do.
    let Endpoint { host: EndpointHost::Ip(ip), .. } = endpoint else { return };
    let has_default = allowed.iter().any(|net| net.prefix_len() == 0 && net.addr().is_ipv4() == ip.is_ipv4());
    // So do the rules of a table of its own.
    if !has_default
        && !has_own_table(spoke)
        && !spoke.platform.binds_to_uplink()
        && let Some(net) = allowed.iter().find(|net| net.contains::<&IpAddr>(ip))
    {
        problems.push(Problem::warning(
            "endpoint-in-tunnel",
            place(spoke),
            format!("{net} goes into the tunnel and contains {ip}, where {} itself is reached", relay.name),
            format!("add a prefix around {ip} to local of {}, or take it out of its routes", spoke.name),
        ));
    }
}
