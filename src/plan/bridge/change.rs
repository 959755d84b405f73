//! One change to a bridge or a port, and the changes that turn links into others.
//!
//! What moves is there twice for a moment rather than not at all: a bridge has the address before its port loses it, and
//! a route is replaced, never taken away first. So a session through a port lives on, whichever way it moves.

use std::collections::BTreeSet;

use super::super::change::{Change, Line, Plan};
use super::{LinkAddress, LinkRoute, LinkState, Links};

/// A change to one link.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what LinkState documents, old and new")]
pub enum LinkChange {
    /// Makes a bridge, down and without ports.
    Create { bridge: String, stp: bool, mtu: Option<u32> },
    /// Takes a bridge away that we made.
    Delete { bridge: String, from: Box<LinkState> },
    /// Sets whether a bridge speaks the spanning tree protocol.
    Stp { bridge: String, to: bool },
    /// Sets the MTU.
    Mtu { link: String, from: Option<u32>, to: u32 },
    /// Brings a link up or down.
    Up { link: String, to: bool },
    /// Makes a link the port of a bridge, or of none.
    Master { port: String, from: Option<String>, to: Option<String> },
    /// Adds an address.
    AddAddress { link: String, address: LinkAddress },
    /// Removes an address.
    RemoveAddress { link: String, address: LinkAddress },
    /// Has a route leave by this link, whichever link it left by.
    SetRoute { link: String, route: LinkRoute, from: Option<String> },
    /// Removes a route.
    RemoveRoute { link: String, route: LinkRoute },
}

impl LinkChange {
    /// The link that changes.
    pub fn link(&self) -> &str {
        match self {
            Self::Create { bridge, .. } | Self::Delete { bridge, .. } | Self::Stp { bridge, .. } => bridge,
            Self::Mtu { link, .. }
            | Self::Up { link, .. }
            | Self::AddAddress { link, .. }
            | Self::RemoveAddress { link, .. }
            | Self::SetRoute { link, .. }
            | Self::RemoveRoute { link, .. } => link,
            Self::Master { port, .. } => port,
        }
    }
    /// Says whether it only takes away, so that what is gone already is as good.
    pub const fn is_removal(&self) -> bool {
        matches!(
            self,
            Self::Delete { .. }
                | Self::RemoveAddress { .. }
                | Self::RemoveRoute { .. }
                | Self::Master { to: None, .. }
        )
    }
    /// Returns the change as one line.
    pub fn line(&self) -> Line {
        let line = |kind: &str, target: String, from: Option<String>, to: Option<String>| Line {
            kind: kind.into(),
            target,
            from,
            to,
        };
        let on = |link: &str| Some(format!("on {link}"));
        let state = |up: bool| Some(if up { "up" } else { "down" }.to_string());
        match self {
            Self::Create { bridge, stp, mtu } => {
                line("bridge", bridge.clone(), None, Some(settings(*stp, *mtu)))
            }
            Self::Delete { bridge, from } => {
                line("bridge", bridge.clone(), Some(settings(from.stp == Some(true), from.mtu)), None)
            }
            Self::Stp { bridge, to } => {
                let text = |on: bool| Some(if on { "stp on" } else { "stp off" }.to_string());
                line("bridge", bridge.clone(), text(!to), text(*to))
            }
            Self::Mtu { link, from, to } => {
                let text = |mtu: u32| format!("mtu {mtu}");
                line("link", link.clone(), from.map(text), Some(text(*to)))
            }
            Self::Up { link, to } => line("link", link.clone(), state(!to), state(*to)),
            Self::Master { port, from, to } => {
                let text = |bridge: &String| format!("port of {bridge}");
                line("bridge-port", port.clone(), from.as_ref().map(text), to.as_ref().map(text))
            }
            Self::AddAddress { link, address } => line("address", address.net.to_string(), None, on(link)),
            Self::RemoveAddress { link, address } => line("address", address.net.to_string(), on(link), None),
            Self::SetRoute { link, route, from } => {
                let from = from.as_ref().map(|link| format!("by {link}"));
                line("route", route.text(), from, Some(format!("by {link}")))
            }
            Self::RemoveRoute { link, route } => {
                line("route", route.text(), Some(format!("by {link}")), None)
            }
        }
    }
    /// Carries the change out on links in memory.
    pub(in super::super) fn apply_to(&self, links: &mut Links) {
        match self {
            Self::Create { bridge, stp, mtu } => {
                let made = LinkState { up: false, ..LinkState::bridge(*stp, *mtu) };
                links.insert(bridge.clone(), Some(made));
            }
            Self::Delete { bridge, .. } => {
                links.insert(bridge.clone(), None);
            }
            Self::SetRoute { link, route, .. } => {
                for state in links.values_mut().flatten() {
                    state.routes.retain(|r| r.key() != route.key());
                }
                if let Some(Some(state)) = links.get_mut(link) {
                    state.routes.push(route.clone());
                }
            }
            _ => {
                if let Some(Some(state)) = links.get_mut(self.link()) {
                    self.apply_to_link(state);
                }
            }
        }
    }
    fn apply_to_link(&self, state: &mut LinkState) {
        match self {
            Self::Stp { to, .. } => state.stp = Some(*to),
            Self::Mtu { to, .. } => state.mtu = Some(*to),
            Self::Up { to, .. } => state.up = *to,
            Self::Master { to, .. } => state.master.clone_from(to),
            Self::AddAddress { address, .. } => state.addresses.push(address.clone()),
            Self::RemoveAddress { address, .. } => state.addresses.retain(|a| a.key() != address.key()),
            Self::RemoveRoute { route, .. } => state.routes.retain(|r| r.key() != route.key()),
            _ => {}
        }
    }
}

fn settings(stp: bool, mtu: Option<u32>) -> String {
    let stp = if stp { "stp on" } else { "stp off" };
    mtu.map_or_else(|| stp.into(), |mtu| format!("{stp}, mtu {mtu}"))
}

/// Both sides of each link that `to` says something of.
fn pairs<'l>(
    from: &'l Links,
    to: &'l Links,
) -> impl Iterator<Item = (&'l String, Option<&'l LinkState>, Option<&'l LinkState>)> {
    to.iter().map(|(name, new)| (name, from.get(name).and_then(Option::as_ref), new.as_ref()))
}

/// Makes and changes links, and moves what stands on them; a bridge that goes is left without its ports.
pub(in super::super) fn grow(from: &Links, to: &Links, plan: &mut Plan) {
    let mut put = |change: LinkChange| plan.changes.push(Change::Link { change: Box::new(change) });
    for (name, old, new) in pairs(from, to) {
        let Some(new) = new else { continue };
        match (old, new.stp) {
            (None, Some(stp)) => put(LinkChange::Create { bridge: name.clone(), stp, mtu: new.mtu }),
            (Some(old), Some(stp)) if old.stp != Some(stp) => {
                put(LinkChange::Stp { bridge: name.clone(), to: stp });
            }
            _ => {}
        }
        if let (Some(old), Some(mtu)) = (old, new.mtu)
            && old.mtu != Some(mtu)
        {
            put(LinkChange::Mtu { link: name.clone(), from: old.mtu, to: mtu });
        }
    }
    for (name, old, new) in pairs(from, to) {
        let Some(new) = new else { continue };
        // A port joins before it comes up, and a bridge is up before what is on it counts.
        let old_master = old.and_then(|o| o.master.as_ref());
        if let Some(bridge) = new.master.as_ref().filter(|m| old_master != Some(m)) {
            let (port, to) = (name.clone(), Some(bridge.clone()));
            put(LinkChange::Master { port, from: old_master.cloned(), to });
        }
        if new.up && !old.is_some_and(|o| o.up) {
            put(LinkChange::Up { link: name.clone(), to: true });
        }
        let known: Vec<_> = old.iter().flat_map(|o| &o.addresses).map(LinkAddress::key).collect();
        for address in new.addresses.iter().filter(|a| !known.contains(&a.key())) {
            put(LinkChange::AddAddress { link: name.clone(), address: address.clone() });
        }
    }
    // A port that is let go has its own addresses by now.
    for (name, old, new) in pairs(from, to) {
        let (Some(old), Some(new)) = (old, new) else { continue };
        if let (Some(bridge), None) = (&old.master, &new.master) {
            put(LinkChange::Master { port: name.clone(), from: Some(bridge.clone()), to: None });
        }
    }
    let mut moved = BTreeSet::new();
    let mut routes: Vec<(&String, Option<&LinkState>, &LinkRoute)> = Vec::new();
    for (name, old, new) in pairs(from, to) {
        routes.extend(new.iter().flat_map(|n| &n.routes).map(|route| (name, old, route)));
    }
    // A next hop has to be reachable when its route comes.
    routes.sort_by_key(|(_, _, route)| route.gateway.is_some());
    for (name, old, route) in routes {
        moved.insert(route.key());
        if old.is_some_and(|o| o.routes.contains(route)) {
            continue;
        }
        let holder = from.iter().find(|(other, state)| {
            *other != name && state.iter().flat_map(|s| &s.routes).any(|r| r.key() == route.key())
        });
        let from = holder.map(|(other, _)| other.clone());
        put(LinkChange::SetRoute { link: name.clone(), route: route.clone(), from });
    }
    for (name, old, new) in pairs(from, to) {
        let (Some(old), Some(new)) = (old, new) else { continue };
        for route in old.routes.iter().filter(|r| !moved.contains(&r.key())) {
            put(LinkChange::RemoveRoute { link: name.clone(), route: route.clone() });
        }
        let kept: Vec<_> = new.addresses.iter().map(LinkAddress::key).collect();
        for address in old.addresses.iter().filter(|a| !kept.contains(&a.key())) {
            put(LinkChange::RemoveAddress { link: name.clone(), address: address.clone() });
        }
        if old.up && !new.up {
            put(LinkChange::Up { link: name.clone(), to: false });
        }
    }
}

/// Takes bridges away, when nothing stands on them any more.
pub(in super::super) fn shrink(from: &Links, to: &Links, plan: &mut Plan) {
    for (name, old, new) in pairs(from, to) {
        if let (Some(old), None) = (old, new)
            && old.stp.is_some()
        {
            let change = LinkChange::Delete { bridge: name.clone(), from: Box::new(old.clone()) };
            plan.changes.push(Change::Link { change: Box::new(change) });
        }
    }
}
