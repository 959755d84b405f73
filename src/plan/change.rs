//! One change to a host: it knows old and new, prints as one line, and can be carried out on a [`HostState`].

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::bridge::LinkChange;
use super::name_servers::NameServers;
use super::state::{Backend, Carried, Device, HostState, MAIN_TABLE, Peer, PolicyRule, Route, RuleSelector};
use crate::firewall::Table;
use crate::firewall::foreign::ForeignRule;
use crate::firewall::foreign::firewalld::FirewalldPolicy;
use crate::model::{PrivateKey, PublicKey};

/// What `up` does to a host, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are carried out.
    pub changes: Vec<Change>,
}

impl Plan {
    /// Says whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
    /// Returns the plan as lines for people and for JSON.
    pub fn lines(&self) -> Vec<Line> {
        self.changes.iter().map(Change::line).collect()
    }
    /// Carries the plan out on a state in memory.
    pub fn apply_to(&self, state: &mut HostState) {
        for change in &self.changes {
            change.apply_to(state);
        }
    }
}

/// A change as text: `{kind, target, from, to}` of `plan --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What sort of thing changes: `interface`, `peer`, `route`, …
    pub kind: String,
    /// Which one.
    pub target: String,
    /// What it was; `None`: it was not there.
    pub from: Option<String>,
    /// What it will be; `None`: it will be gone.
    pub to: Option<String>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what HostState documents, old and new")]
pub enum Change {
    /// Replaces the nft table whole, in one transaction.
    LoadTable { from: Option<Box<Table>>, to: Box<Table> },
    /// Changes elements of one set.
    Elements { table: String, set: String, add: BTreeSet<IpNet>, remove: BTreeSet<IpNet> },
    /// Takes the nft table away.
    DeleteTable { from: Box<Table> },
    /// Puts a rule at the top of somebody else's chain.
    AddForeign { rule: ForeignRule },
    /// Takes a rule of ours out of somebody else's chain.
    RemoveForeign { rule: ForeignRule },
    /// Makes, changes or removes a policy of ours in firewalld.
    Firewalld { name: String, from: Option<Box<FirewalldPolicy>>, to: Option<Box<FirewalldPolicy>> },
    /// Changes a bridge of ours, or a port of one.
    Link { change: Box<LinkChange> },
    /// Sets a switch.
    Sysctl { path: String, from: Option<String>, to: String },
    /// Makes the interface, down and without addresses.
    CreateDevice { backend: Backend, mtu: u16 },
    /// Sets what concerns the whole interface; `None`: left alone.
    Configure {
        private_key: Option<PrivateKey>,
        listen_port: Option<(Option<u16>, Option<u16>)>,
        fwmark: Option<(u32, u32)>,
    },
    /// Adds, changes or removes one peer.
    Peer { key: PublicKey, from: Option<Box<Peer>>, to: Option<Box<Peer>> },
    /// Sets the MTU.
    Mtu { from: u16, to: u16 },
    /// Adds an address.
    AddAddress { address: IpNet },
    /// Removes an address.
    RemoveAddress { address: IpNet },
    /// Brings the interface up.
    LinkUp,
    /// Puts back the route that an address of ours has by itself.
    Attach { address: IpNet },
    /// Adds a route.
    AddRoute { route: Route },
    /// Removes a route.
    RemoveRoute { route: Route },
    /// Adds a policy rule.
    AddRule { rule: PolicyRule },
    /// Removes a policy rule.
    RemoveRule { rule: PolicyRule },
    /// Puts the floating address on its link, behind its fence, or takes both away.
    Carry { from: Option<Box<Carried>>, to: Option<Box<Carried>> },
    /// Gives this host's resolver name servers for the interface, or takes them back.
    NameServers { from: Option<Box<NameServers>>, to: Option<Box<NameServers>> },
    /// Takes the interface away, with its peers and addresses.
    DeleteDevice { from: Box<Device> },
}

fn peer_text(peer: &Peer) -> String {
    let list: Vec<String> = peer.allowed_ips.iter().map(ToString::to_string).collect();
    let mut text = format!("allowed ips {}", if list.is_empty() { "(none)".into() } else { list.join(", ") });
    if let Some(endpoint) = peer.endpoint {
        text += &format!(", endpoint {endpoint}");
    }
    if let Some(seconds) = peer.keepalive {
        text += &format!(", keepalive {seconds} s");
    }
    if peer.preshared_key.is_some() {
        text += ", preshared key";
    }
    text
}

fn table_text(table: &Table) -> String {
    let rules: usize = table.chains.iter().map(|c| c.rules.len()).sum();
    let elements: usize = table.sets.values().map(|s| s.elements.len()).sum();
    format!("{rules} rules, {} sets with {elements} prefixes", table.sets.len())
}

fn route_text(route: &Route) -> String {
    match route.table {
        MAIN_TABLE => "into the tunnel".into(),
        table => format!("into the tunnel, table {table}"),
    }
}

pub(super) fn rule_text(rule: &PolicyRule) -> String {
    match rule.selector {
        RuleSelector::NotMarked { mark, table } => format!("not fwmark {mark:#x} lookup {table}"),
        RuleSelector::MainWithoutDefault => "lookup main suppress_prefixlength 0".into(),
        RuleSelector::Outside { net } => format!("to {net} lookup main"),
        RuleSelector::FromWithoutDefault { net } => {
            format!("from {net} lookup main suppress_prefixlength 0")
        }
        RuleSelector::From { net, table } => format!("from {net} lookup {table}"),
        RuleSelector::FromRefused { net } => format!("from {net} unreachable"),
        RuleSelector::Refused { mark } => format!("not fwmark {mark:#x} unreachable"),
    }
}

fn rule_target(rule: &PolicyRule) -> String {
    format!("{} priority {}", if rule.ipv6 { "ipv6" } else { "ipv4" }, rule.priority)
}

fn count(n: usize) -> String {
    match n {
        1 => "1 prefix".into(),
        n => format!("{n} prefixes"),
    }
}

fn element_text(list: &BTreeSet<IpNet>) -> Option<String> {
    match list.len() {
        0 => None,
        1..=8 => Some(list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        n => Some(count(n)),
    }
}

impl Change {
    /// Returns the change as one line.
    pub fn line(&self) -> Line {
        let line = |kind: &str, target: String, from: Option<String>, to: Option<String>| Line {
            kind: kind.into(),
            target,
            from,
            to,
        };
        match self {
            Self::LoadTable { from, to } => line(
                "nft-table",
                format!("inet {}", to.name),
                from.as_deref().map(table_text),
                Some(table_text(to)),
            ),
            Self::Elements { table, set, add, remove } => {
                line("nft-set", format!("inet {table} {set}"), element_text(remove), element_text(add))
            }
            Self::DeleteTable { from } => {
                line("nft-table", format!("inet {}", from.name), Some(table_text(from)), None)
            }
            Self::AddForeign { rule } => line("iptables-rule", rule.place(), None, Some(rule.text())),
            Self::RemoveForeign { rule } => line("iptables-rule", rule.place(), Some(rule.text()), None),
            Self::Firewalld { name, from, to } => {
                let words = |policy: &FirewalldPolicy| policy.words();
                let mut text = to.as_deref().map(words);
                if let (None, Some(text)) = (from, &mut text) {
                    *text += "; firewalld reloads for it";
                }
                line("firewalld-policy", name.clone(), from.as_deref().map(words), text)
            }
            Self::Link { change } => change.line(),
            Self::Sysctl { path, from, to } => {
                line("sysctl", path.replace('/', "."), from.clone(), Some(to.clone()))
            }
            Self::CreateDevice { backend, mtu } => {
                line("interface", "wireguard".into(), None, Some(format!("{backend}, mtu {mtu}")))
            }
            Self::Configure { private_key, listen_port, fwmark } => {
                let port = |p: Option<u16>| p.map_or("any port".into(), |n| format!("port {n}"));
                let (mut from, mut to) = (Vec::new(), Vec::new());
                if let Some((old, new)) = listen_port {
                    from.push(port(*old));
                    to.push(port(*new));
                }
                if let Some((old, new)) = fwmark {
                    from.push(format!("fwmark {old:#x}"));
                    to.push(format!("fwmark {new:#x}"));
                }
                if let Some(key) = private_key {
                    to.push(format!("key {}", key.public_key()));
                }
                let text = |list: Vec<String>| (!list.is_empty()).then(|| list.join(", "));
                line("interface", "settings".into(), text(from), text(to))
            }
            Self::Peer { key, from, to } => {
                line("peer", key.to_string(), from.as_deref().map(peer_text), to.as_deref().map(peer_text))
            }
            Self::Mtu { from, to } => {
                line("interface", "mtu".into(), Some(from.to_string()), Some(to.to_string()))
            }
            Self::AddAddress { address } => {
                line("address", address.to_string(), None, Some("on the interface".into()))
            }
            Self::RemoveAddress { address } => {
                line("address", address.to_string(), Some("on the interface".into()), None)
            }
            Self::LinkUp => line("interface", "link".into(), Some("down".into()), Some("up".into())),
            Self::Attach { address } => line(
                "route",
                address.trunc().to_string(),
                None,
                Some(format!("attached, from {}", address.addr())),
            ),
            Self::AddRoute { route } => line("route", route.dst.to_string(), None, Some(route_text(route))),
            Self::RemoveRoute { route } => {
                line("route", route.dst.to_string(), Some(route_text(route)), None)
            }
            Self::AddRule { rule } => line("rule", rule_target(rule), None, Some(rule_text(rule))),
            Self::RemoveRule { rule } => line("rule", rule_target(rule), Some(rule_text(rule)), None),
            Self::Carry { from, to } => {
                let one = to.as_deref().or(from.as_deref());
                let text = |carried: &Carried| format!("on {}, fenced", carried.link);
                line(
                    "floating-address",
                    one.map(|carried| carried.address.to_string()).unwrap_or_default(),
                    from.as_deref().map(text),
                    to.as_deref().map(text),
                )
            }
            Self::NameServers { from, to } => {
                let owner = to.as_ref().or(from.as_ref()).map(|n| n.resolver.to_string());
                let words = |servers: &NameServers| servers.words();
                line("dns", owner.unwrap_or_default(), from.as_deref().map(words), to.as_deref().map(words))
            }
            Self::DeleteDevice { from } => {
                let text = format!("{}, {} peers", from.backend, from.peers.len());
                line("interface", "wireguard".into(), Some(text), None)
            }
        }
    }

    /// Carries the change out on a state in memory.
    pub fn apply_to(&self, state: &mut HostState) {
        match self {
            Self::LoadTable { to, .. } => state.firewall = Some((**to).clone()),
            Self::Elements { set, add, remove, .. } => {
                if let Some(set) = state.firewall.as_mut().and_then(|t| t.sets.get_mut(set)) {
                    set.elements.retain(|e| !remove.contains(e));
                    set.elements.extend(add);
                }
            }
            Self::DeleteTable { .. } => state.firewall = None,
            Self::AddForeign { rule } => {
                state.foreign_rules.insert(rule.clone());
            }
            Self::RemoveForeign { rule } => {
                state.foreign_rules.remove(rule);
            }
            Self::Firewalld { name, to: Some(to), .. } => {
                state.firewalld.insert(name.clone(), (**to).clone());
            }
            Self::Firewalld { name, to: None, .. } => {
                state.firewalld.remove(name);
            }
            Self::Link { change } => change.apply_to(&mut state.links),
            Self::Sysctl { path, to, .. } => {
                state.sysctls.insert(path.clone(), to.clone());
            }
            Self::CreateDevice { backend, mtu } => {
                state.device = Some(Device {
                    backend: *backend,
                    private_key: None,
                    listen_port: None,
                    fwmark: 0,
                    mtu: *mtu,
                    up: false,
                    addresses: BTreeSet::new(),
                    detached: BTreeSet::new(),
                    peers: [].into(),
                });
            }
            Self::DeleteDevice { .. } => state.device = None,
            Self::Carry { to, .. } => state.carried = to.as_deref().cloned(),
            Self::NameServers { to, .. } => state.name_servers = to.as_deref().cloned(),
            Self::AddRoute { route } => {
                state.routes.insert(route.clone());
            }
            Self::RemoveRoute { route } => {
                state.routes.remove(route);
            }
            Self::AddRule { rule } => {
                state.rules.insert(rule.clone());
            }
            Self::RemoveRule { rule } => {
                state.rules.remove(rule);
            }
            _ => {
                if let Some(device) = &mut state.device {
                    self.apply_to_device(device);
                }
            }
        }
    }

    fn apply_to_device(&self, device: &mut Device) {
        match self {
            Self::Configure { private_key, listen_port, fwmark } => {
                if let Some(key) = private_key {
                    device.private_key = Some(key.clone());
                }
                if let Some((_, port)) = listen_port {
                    device.listen_port = *port;
                }
                if let Some((_, mark)) = fwmark {
                    device.fwmark = *mark;
                }
            }
            Self::Peer { key, to: Some(peer), .. } => {
                device.peers.insert(*key, (**peer).clone());
            }
            Self::Peer { key, to: None, .. } => {
                device.peers.remove(key);
            }
            Self::Mtu { to, .. } => device.mtu = *to,
            Self::AddAddress { address } => {
                device.addresses.insert(*address);
            }
            Self::RemoveAddress { address } => {
                device.addresses.remove(address);
                device.detached.remove(address);
            }
            Self::LinkUp => device.up = true,
            Self::Attach { address } => {
                device.detached.remove(address);
            }
            _ => {}
        }
    }
}
