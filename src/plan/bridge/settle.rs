//! What stood on the ports, handed over to their bridges; and what others put there, left alone.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{LinkAddress, LinkRoute, LinkState, Links};

/// Returns the links to look at: those that are wanted, and those that have something to get back.
pub fn names(wanted: &Links, saved_sysctls: &Links) -> BTreeSet<String> {
    wanted.keys().chain(saved_sysctls.keys()).cloned().collect()
}

/// Completes the wanted links by what was found.
///
/// `saved_sysctls` is what links had before they were first changed (`None`: there was no such link), `observed` what they have
/// now. A link that is not wanted any more gets back what it had; one that is gone has nothing to get back.
pub fn settle(wanted: &mut Links, saved_sysctls: &Links, observed: &Links) {
    let bridges: Vec<String> = wanted
        .iter()
        .filter(|(_, state)| state.as_ref().is_some_and(|s| s.stp.is_some()))
        .map(|(name, _)| name.clone())
        .collect();
    for name in &bridges {
        hand_over(name, wanted, saved_sysctls, observed);
    }
    for (name, before) in saved_sysctls {
        if wanted.contains_key(name) {
            continue;
        }
        match (before, observed.get(name).and_then(Option::as_ref)) {
            (Some(before), Some(now)) if before.index == now.index => {
                wanted.insert(name.clone(), Some(before.clone()));
            }
            (None, Some(now)) if now.stp.is_some() => _ = wanted.insert(name.clone(), None),
            _ => {}
        }
    }
}

/// Leaves on links what is there now, is not wanted, and is not among what was `given` to them before.
///
/// A port of a bridge of ours has nothing by itself, whoever put it there.
pub fn keep_others(wanted: &mut Links, observed: &Links, given: &Links) {
    let at = |links: &Links, name: &String| links.get(name).cloned().flatten();
    for (name, state) in wanted {
        if let (Some(state), Some(now)) = (state, at(observed, name))
            && (state.stp.is_some() || state.master.is_none())
        {
            keep(state, &now, at(given, name).as_ref());
        }
    }
}

/// Returns both: what may have been given where a change was cut short.
pub fn either(one: &Links, other: &Links) -> Links {
    let mut all = one.clone();
    for (name, state) in other {
        match (all.get_mut(name), state) {
            (Some(Some(known)), Some(state)) => keep(known, state, None),
            (Some(Some(_)), None) => {}
            _ => _ = all.insert(name.clone(), state.clone()),
        }
    }
    all
}

/// Gives a bridge what its ports had, where the table says nothing else.
fn hand_over(bridge: &str, wanted: &mut Links, saved_sysctls: &Links, observed: &Links) {
    let is_port =
        |state: &Option<LinkState>| state.as_ref().and_then(|s| s.master.as_deref()) == Some(bridge);
    let before = |port: &String| -> Option<LinkState> {
        let now = observed.get(port).and_then(Option::as_ref);
        let recorded = saved_sysctls.get(port).and_then(Option::as_ref);
        // A link of the same name that was made anew brings its own.
        recorded.filter(|r| now.is_none_or(|n| n.index == r.index)).or(now).cloned()
    };
    let ports: Vec<LinkState> =
        wanted.iter().filter(|(_, state)| is_port(state)).filter_map(|(port, _)| before(port)).collect();
    let Some(Some(state)) = wanted.get_mut(bridge) else { return };
    let given: Vec<IpNet> = state.addresses.iter().map(|a| a.net).collect();
    let is_given = |ip: IpAddr| given.iter().any(|net| net.addr().is_ipv4() == ip.is_ipv4());
    for port in &ports {
        for address in &port.addresses {
            match state.addresses.iter_mut().find(|a| a.net == address.net) {
                // The same address, with the port's broadcast address and the like.
                Some(same) => *same = unlabelled(address),
                None if !is_given(address.net.addr()) => state.addresses.push(unlabelled(address)),
                None => {}
            }
        }
    }
    for route in ports.iter().flat_map(|port| &port.routes) {
        let reached = route.onlink || route.gateway.is_none_or(|gateway| state.reaches(gateway));
        let has_source = route.src.is_none_or(|src| state.addresses.iter().any(|a| a.net.addr() == src));
        let known = state.routes.iter().any(|r| r.key() == route.key());
        if reached && !known {
            let src = route.src.filter(|_| has_source);
            state.routes.push(LinkRoute { src, ..route.clone() });
        }
    }
}

/// A label begins with its link's name.
fn unlabelled(address: &LinkAddress) -> LinkAddress {
    LinkAddress { label: None, ..address.clone() }
}

/// Adds what there is now and was not given.
fn keep(wanted: &mut LinkState, now: &LinkState, given: Option<&LinkState>) {
    for address in &now.addresses {
        let is_known = |state: &LinkState| state.addresses.iter().any(|a| a.key() == address.key());
        if !is_known(wanted) && !given.is_some_and(is_known) {
            wanted.addresses.push(address.clone());
        }
    }
    for route in &now.routes {
        let is_known = |state: &LinkState| state.routes.iter().any(|r| r.key() == route.key());
        if !is_known(wanted) && !given.is_some_and(is_known) {
            wanted.routes.push(route.clone());
        }
    }
}
