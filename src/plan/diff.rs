//! The difference of two states of one host, in the order that keeps packets safe and sessions alive.
//!
//! Up: firewall, what stands beside it in others' chains, bridges, interface, peers, addresses, link, routes, then what is to go, then forwarding. Down: the reverse.

use std::collections::BTreeSet;

use super::bridge;
use super::change::{Change, Plan};
use super::name_servers::NameServers;
use super::state::{Carried, Device, HostState};
use crate::firewall::foreign::ForeignRule;
use crate::firewall::foreign::firewalld::FirewalldPolicy;

/// Returns what turns `from` into `to`. Empty where the two are the same.
/// Switches and links that only `from` names are left alone: they are somebody's, but no longer ours to set.
pub fn diff(from: &HostState, to: &HostState) -> Plan {
    let mut plan = Plan::default();
    let replaced = match (&from.device, &to.device) {
        (Some(a), Some(b)) => a.backend != b.backend,
        _ => false,
    };
    // With the interface go its routes; rules of ours would then lead nowhere.
    let going_down = from.device.is_some() && to.device.is_none();

    // The fence stands before there is anything behind it, and goes after all of that.
    let carry = |from: Option<&Carried>, to: Option<&Carried>| {
        let of = |carried: Option<&Carried>| carried.cloned().map(Box::new);
        Change::Carry { from: of(from), to: of(to) }
    };
    if let Some(new) = to.carried.as_ref().filter(|new| from.carried.as_ref() != Some(new)) {
        plan.changes.push(carry(from.carried.as_ref(), Some(new)));
    }
    if going_down {
        foreign_rules(from, to, &mut plan, |_| true);
        firewalld(from, to, &mut plan);
    }
    // Names are asked beside the tunnel before it goes, and through it once it stands.
    let servers_before = if going_down || replaced {
        name_servers(from.name_servers.as_ref(), None, &mut plan);
        None
    } else {
        from.name_servers.as_ref()
    };
    grow_firewall(from, to, &mut plan);
    if !going_down {
        // A reload has Docker make its chains anew: what stands in them comes after it.
        firewalld(from, to, &mut plan);
    }
    // A rule that has no effect where it stands goes first: what removes it would find the new one at the top.
    foreign_rules(from, to, &mut plan, |rule| rule.shadowed && !going_down);
    let new = to.foreign_rules.difference(&from.foreign_rules);
    plan.changes.extend(new.cloned().map(|rule| Change::AddForeign { rule }));
    if !going_down {
        bridge::grow(&from.links, &to.links, &mut plan);
    }
    sysctls(from, to, &mut plan, |path| path.ends_with("/accept_ra"));
    if replaced || going_down {
        plan.changes
            .extend(from.rules.difference(&to.rules).cloned().map(|rule| Change::RemoveRule { rule }));
        plan.changes.extend(from.routes.iter().cloned().map(|route| Change::RemoveRoute { route }));
        if let Some(device) = &from.device {
            plan.changes.push(Change::DeleteDevice { from: Box::new(device.clone()) });
        }
    }
    let before = if replaced { None } else { from.device.as_ref() };
    if let Some(device) = &to.device {
        grow_device(before, device, &mut plan);
    }
    let routes_before = if replaced || going_down { &Default::default() } else { &from.routes };
    plan.changes.extend(to.routes.difference(routes_before).cloned().map(|route| Change::AddRoute { route }));
    plan.changes.extend(to.rules.difference(&from.rules).cloned().map(|rule| Change::AddRule { rule }));
    if !(replaced || going_down) {
        plan.changes
            .extend(from.rules.difference(&to.rules).cloned().map(|rule| Change::RemoveRule { rule }));
        plan.changes
            .extend(from.routes.difference(&to.routes).cloned().map(|route| Change::RemoveRoute { route }));
    }
    name_servers(servers_before, to.name_servers.as_ref(), &mut plan);
    if let (Some(a), Some(b)) = (before, &to.device) {
        shrink_device(a, b, &mut plan);
    }
    if going_down {
        bridge::grow(&from.links, &to.links, &mut plan);
    }
    sysctls(from, to, &mut plan, |path| !path.ends_with("/accept_ra"));
    // A link takes its switches along.
    bridge::shrink(&from.links, &to.links, &mut plan);
    if !going_down {
        foreign_rules(from, to, &mut plan, |rule| !rule.shadowed);
    }
    shrink_firewall(from, to, &mut plan);
    if let (Some(old), None) = (&from.carried, &to.carried) {
        plan.changes.push(carry(Some(old), None));
    }
    plan
}

fn foreign_rules(from: &HostState, to: &HostState, plan: &mut Plan, which: impl Fn(&ForeignRule) -> bool) {
    let old = from.foreign_rules.difference(&to.foreign_rules).filter(|rule| which(rule));
    plan.changes.extend(old.cloned().map(|rule| Change::RemoveForeign { rule }));
}

fn name_servers(from: Option<&NameServers>, to: Option<&NameServers>, plan: &mut Plan) {
    // Another resolver does not know what the last one has.
    let is_another = matches!((from, to), (Some(a), Some(b)) if a.resolver != b.resolver);
    let mut change = |from: Option<&NameServers>, to: Option<&NameServers>| {
        if from != to {
            let of = |servers: Option<&NameServers>| servers.cloned().map(Box::new);
            plan.changes.push(Change::NameServers { from: of(from), to: of(to) });
        }
    };
    if is_another {
        change(from, None);
    }
    change(from.filter(|_| !is_another), to);
}

/// A policy says what passes by prefixes, and flows that pass already go on: what goes need not wait.
fn firewalld(from: &HostState, to: &HostState, plan: &mut Plan) {
    let names: BTreeSet<&String> = from.firewalld.keys().chain(to.firewalld.keys()).collect();
    for name in names {
        let (old, new) = (from.firewalld.get(name), to.firewalld.get(name));
        if old != new {
            let of = |policy: Option<&FirewalldPolicy>| policy.cloned().map(Box::new);
            plan.changes.push(Change::Firewalld { name: name.clone(), from: of(old), to: of(new) });
        }
    }
}

fn sysctls(from: &HostState, to: &HostState, plan: &mut Plan, which: impl Fn(&str) -> bool) {
    for (path, value) in to.sysctls.iter().filter(|(path, _)| which(path)) {
        let old = from.sysctls.get(path);
        if old != Some(value) {
            plan.changes.push(Change::Sysctl { path: path.clone(), from: old.cloned(), to: value.clone() });
        }
    }
}

fn grow_firewall(from: &HostState, to: &HostState, plan: &mut Plan) {
    let Some(new) = &to.firewall else { return };
    match &from.firewall {
        Some(old) if old.same_structure(new) => {
            for (name, set) in &new.sets {
                let none = BTreeSet::new();
                let old = old.sets.get(name).map_or(&none, |s| &s.elements);
                if *old == set.elements {
                    continue;
                }
                let add = set.elements.difference(old).copied().collect();
                let remove = old.difference(&set.elements).copied().collect();
                let (table, set) = (new.name.clone(), name.clone());
                plan.changes.push(Change::Elements { table, set, add, remove });
            }
        }
        old => plan
            .changes
            .push(Change::LoadTable { from: old.clone().map(Box::new), to: Box::new(new.clone()) }),
    }
}

fn shrink_firewall(from: &HostState, to: &HostState, plan: &mut Plan) {
    if let (Some(old), None) = (&from.firewall, &to.firewall) {
        plan.changes.push(Change::DeleteTable { from: Box::new(old.clone()) });
    }
}

fn grow_device(from: Option<&Device>, to: &Device, plan: &mut Plan) {
    if from.is_none() {
        plan.changes.push(Change::CreateDevice { backend: to.backend, mtu: to.mtu });
    }
    let private_key =
        to.private_key.as_ref().filter(|k| from.and_then(|d| d.private_key.as_ref()) != Some(k));
    let old_port = from.and_then(|d| d.listen_port);
    // A wanted port of `None` is content with any.
    let listen_port =
        (to.listen_port.is_some() && to.listen_port != old_port).then_some((old_port, to.listen_port));
    let old_mark = from.map_or(0, |d| d.fwmark);
    let fwmark = (to.fwmark != old_mark).then_some((old_mark, to.fwmark));
    if private_key.is_some() || listen_port.is_some() || fwmark.is_some() {
        plan.changes.push(Change::Configure { private_key: private_key.cloned(), listen_port, fwmark });
    }
    // Both are sorted by key, so one walk along both finds each pair.
    let mut olds = from.into_iter().flat_map(|d| &d.peers).peekable();
    for (key, peer) in &to.peers {
        while olds.next_if(|(old, _)| *old < key).is_some() {}
        let old = olds.next_if(|(old, _)| *old == key).map(|(_, peer)| peer);
        if old != Some(peer) {
            plan.changes.push(Change::Peer {
                key: *key,
                from: old.cloned().map(Box::new),
                to: Some(Box::new(peer.clone())),
            });
        }
    }
    if let Some(old) = from.map(|d| d.mtu).filter(|m| *m != to.mtu) {
        plan.changes.push(Change::Mtu { from: old, to: to.mtu });
    }
    let none = Default::default();
    for address in to.addresses.difference(from.map_or(&none, |d| &d.addresses)) {
        plan.changes.push(Change::AddAddress { address: *address });
    }
    if to.up && !from.is_some_and(|d| d.up) {
        plan.changes.push(Change::LinkUp);
    }
    // Those of addresses that go, go with them.
    let detached = from.into_iter().flat_map(|d| &d.detached).filter(|a| to.addresses.contains(*a));
    plan.changes.extend(detached.map(|address| Change::Attach { address: *address }));
}

fn shrink_device(from: &Device, to: &Device, plan: &mut Plan) {
    for address in from.addresses.difference(&to.addresses) {
        plan.changes.push(Change::RemoveAddress { address: *address });
    }
    for (key, peer) in from.peers.iter().filter(|(key, _)| !to.peers.contains_key(*key)) {
        plan.changes.push(Change::Peer { key: *key, from: Some(Box::new(peer.clone())), to: None });
    }
}
