//! Up: look, plan, record, apply, verify, and keep or undo.

use std::collections::{BTreeMap, BTreeSet};

use super::floating::wanted_here;
use super::refused::{Restricted, restrict_to};
use super::target::Target;
use super::transaction::{Failure, apply_plan};
use crate::config::reread_network;
use crate::firewall::forwarding_v4;
use crate::host::agent_process::Runtime;
use crate::host::configuration::Configuration;
use crate::host::host_lock::HostLock;
use crate::host::owner_of;
use crate::host::runtime::Applied;
use crate::host::{Host, HostError, Scope};
use crate::model::{PortSpec, Problem, Timestamp};
use crate::plan::bridge::Links;
use crate::plan::{Backend, Change, Facts, HostState, Plan, Wanted, bridge, diff, preflight};

/// What `up` did.
#[derive(Debug)]
pub struct Up {
    /// What was changed; empty: nothing had to be.
    pub plan: Plan,
    /// The data plane.
    pub backend: Backend,
    /// Warnings: the network is up without this.
    pub problems: Vec<Problem>,
}

/// Why `up` did not.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The network or the host forbids it; nothing was added.
    #[error("nothing was added")]
    Problems(Vec<Problem>, Box<Restricted>),
    /// It was tried.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The host could not be read or the record not written; nothing was changed.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// What there is and what there should be.
pub(super) struct Comparison {
    pub(super) scope: Scope,
    pub(super) before: HostState,
    pub(super) wanted: HostState,
    /// Of the wanted links, without what others put there.
    given: Links,
    /// An error among them forbids to add anything.
    pub(super) problems: Vec<Problem>,
    pub(super) applied: Option<Applied>,
}

impl Comparison {
    /// Refuses where an error forbids to make the host so.
    fn without_errors(self) -> Result<Self, Refusal> {
        if self.problems.iter().any(Problem::is_error) {
            return Err(Refusal::Problems(self.problems, Box::default()));
        }
        Ok(self)
    }

    /// Returns the values that switches had before they were first set.
    pub(super) fn saved_sysctls(&self) -> BTreeMap<String, String> {
        self.applied.as_ref().map(|a| a.saved_sysctls.clone()).unwrap_or_default()
    }
}

/// Says what [`up`] would do.
///
/// # Errors
/// See [`Refusal`].
pub fn plan<H: Host>(
    host: &mut H,
    target: &Target,
    runtime: &Runtime,
    backend: Backend,
    now: Timestamp,
) -> Result<(Plan, Vec<Problem>), Refusal> {
    let c = compare(host, target, runtime, backend, now)?.without_errors()?;
    Ok((diff(&c.before, &c.wanted), c.problems))
}

/// Does what restricts, where a plan was refused for what is wrong with the host or the network on it.
pub(super) fn refused<H: Host>(
    host: &mut H,
    refusal: Refusal,
    target: &Target,
    runtime: &Runtime,
    now: Timestamp,
    on_host: &HostLock,
) -> Refusal {
    match refusal {
        Refusal::Problems(problems, nothing) if nothing.is_nothing() => {
            let restricted = restrict_to(host, target, runtime, now, on_host)
                .unwrap_or_else(|error| Restricted { failed: Some(error), ..Restricted::default() });
            Refusal::Problems(problems, Box::new(restricted))
        }
        other => other,
    }
}

/// Makes the host match the network. Where an error forbids that, what restricts is done all the same.
///
/// # Errors
/// See [`Refusal`].
pub fn up<H: Host>(
    host: &mut H,
    target: &Target,
    runtime: &Runtime,
    backend: Backend,
    now: Timestamp,
    on_host: &HostLock,
) -> Result<Up, Refusal> {
    match compare(host, target, runtime, backend, now)?.without_errors() {
        Ok(compared) => apply_comparison(host, compared, target, runtime, backend, on_host),
        Err(refusal) => Err(refused(host, refusal, target, runtime, now, on_host)),
    }
}

/// Makes the host as it should be, or leaves it as it was.
///
/// # Errors
/// See [`Refusal`].
pub(super) fn apply_comparison<H: Host>(
    host: &mut H,
    c: Comparison,
    target: &Target,
    runtime: &Runtime,
    backend: Backend,
    _on_host: &HostLock,
) -> Result<Up, Refusal> {
    let plan = diff(&c.before, &c.wanted);
    tracing::debug!("{} changes to make", plan.changes.len());
    let mut saved_links = c.applied.as_ref().map(|a| a.saved_links.clone()).unwrap_or_default();
    save_links(&plan, &c.before.links, &mut saved_links);
    let record =
        |state: &HostState, links: Links, saved_sysctls: &BTreeMap<String, String>, text: &str| Applied {
            place: runtime.place(),
            dir: target.dir.clone(),
            configuration: Configuration {
                node: target.node.clone(),
                backend,
                network_text: text.to_string(),
            },
            state: HostState { links, ..state.to_record() },
            saved_sysctls: saved_sysctls.clone(),
            saved_links: saved_links.clone(),
            attached: c.applied.as_ref().map(|a| a.attached.clone()).unwrap_or_default(),
            given_over: c.applied.as_ref().map(|a| a.given_over.clone()).unwrap_or_default(),
            drains: c.applied.as_ref().is_some_and(|a| a.drains),
            carries: c.applied.as_ref().is_some_and(|a| a.carries),
        };
    let mut saved_sysctls = c.saved_sysctls();
    if plan.is_empty() {
        let unchanged = c.applied.as_ref().is_some_and(|a| {
            a.configuration.network_text == *target.text
                && a.configuration.node == target.node
                && a.dir == target.dir
        });
        if !unchanged {
            runtime.write_applied(record(&c.wanted, c.given.clone(), &saved_sysctls, &target.text))?;
        }
        return Ok(Up { plan, backend, problems: c.problems });
    }
    // The record goes first: whatever moment the power fails at, `down` knows what to put back.
    save_sysctls(&plan, host, &mut saved_sysctls)?;
    save_of_new(&plan, &saved_links, &mut saved_sysctls);
    let old_text = c.applied.as_ref().map(|a| a.configuration.network_text.clone()).unwrap_or_default();
    let links = c.applied.as_ref().map(|a| bridge::either(&a.state.links, &c.given));
    let mut before = record(&c.before, links.unwrap_or_default(), &saved_sysctls, &old_text);
    // An address on somebody's link is known as ours before it is there.
    let mut scope = c.scope;
    if let Some(carried) = &c.wanted.carried {
        before.state.carried.get_or_insert_with(|| carried.clone());
        scope
            .applied
            .iter_mut()
            .for_each(|applied| _ = applied.carried.get_or_insert_with(|| carried.clone()));
    }
    if c.applied.as_ref() != Some(&before) {
        runtime.write_applied(before)?;
    }
    match apply_plan(host, &scope, &c.before, &c.wanted, plan, backend) {
        Ok(outcome) => {
            runtime.write_applied(record(&c.wanted, c.given, &saved_sysctls, &target.text))?;
            let mut problems = c.problems;
            if outcome.plan.changes.iter().any(|change| matches!(change, Change::Link { .. })) {
                // A name may be out of reach now that was not before.
                problems.extend(bridge::silent_resolvers(target.this(), &host.silent_resolvers()));
            }
            Ok(Up { plan: outcome.plan, backend, problems })
        }
        Err(failure) => {
            match (c.applied, &failure) {
                (_, Failure::Stuck { .. }) => {}
                (Some(applied), _) => runtime.write_applied(applied)?,
                (None, _) if c.before.device.is_none() => runtime.remove()?,
                (None, _) => {}
            }
            Err(failure.into())
        }
    }
}

/// Says what [`up`] would refuse with, without a look at what is ours: enough of a network that is down.
///
/// # Errors
/// The host, or the record, cannot be read.
pub fn preflight_errors<H: Host>(
    host: &mut H,
    target: &Target,
    runtime: &Runtime,
    backend: Backend,
    now: Timestamp,
) -> Result<Vec<Problem>, HostError> {
    let applied = runtime.read_applied(&target.dir)?;
    let facts = facts_of(host, target, applied.as_ref())?;
    let facts = behind(target, applied.as_ref(), facts);
    let mut problems = desired(target, applied.as_ref(), backend, &facts, now).problems;
    problems.retain(Problem::is_error);
    Ok(problems)
}

/// The host as it is once bridges are gone that the network has no more.
fn behind(target: &Target, applied: Option<&Applied>, facts: Facts) -> Facts {
    match applied.filter(|a| !a.saved_links.is_empty()) {
        Some(applied) => bridge::behind(target.this(), &facts, &applied.saved_links),
        None => facts,
    }
}

/// Says what is wanted, and what stands in its way.
fn desired(
    target: &Target,
    applied: Option<&Applied>,
    backend: Backend,
    facts: &Facts,
    now: Timestamp,
) -> Wanted {
    let mut desired = wanted_here(target, applied, backend, facts, now);
    // With a record, what has our names here is ours, whatever state it is in.
    if applied.is_none() {
        desired.problems.extend(preflight(&target.network, target.this(), facts));
    }
    desired.problems.extend(taken_ports(target, applied, facts));
    desired
}

/// Tells of ports that are to lead on and that somebody on this host has. One that leads on already stays: who came later
/// is not heard there, and that is not for a repair to change.
fn taken_ports(target: &Target, applied: Option<&Applied>, facts: &Facts) -> Vec<Problem> {
    let own = target.network.forward.iter().enumerate().filter(|(_, f)| f.is_on(target.this()));
    let old = applied
        .filter(|_| !target.network.forward.is_empty())
        .and_then(|a| reread_network(&a.configuration.network_text));
    let is_new = |f: &crate::model::Forward| old.as_ref().is_none_or(|n| !n.forward.contains(f));
    own.filter(|(_, f)| is_new(f))
        .filter_map(|(i, forward)| {
            let (protocol, taken) = match forward.port {
                PortSpec::Udp(_) => ("udp", &facts.udp_ports),
                _ => ("tcp", &facts.tcp_ports),
            };
            let range = forward.called();
            let port = *taken.range(range.first..=range.last).next()?;
            let owner = owner_of(protocol, port).unwrap_or_else(|| "somebody".into());
            Some(Problem::error(
                "port-taken",
                format!("forward[{i}]"),
                format!("{owner} has {protocol}/{port} on this host, which is to lead to {}", forward.to),
                format!("stop {owner}, or lead another port"),
            ))
        })
        .collect()
}

/// Reads a host's facts, with the values that its switches had before this network set them.
fn facts_of<H: Host>(host: &mut H, target: &Target, applied: Option<&Applied>) -> Result<Facts, HostError> {
    let saved_sysctls = applied.map(|a| a.saved_sysctls.clone()).unwrap_or_default();
    Ok(Facts { saved_sysctls, ..host.facts(&target.names(), &BTreeSet::new())? })
}

/// Compares what is wanted with what is there, whatever is wrong with it.
pub(super) fn compare<H: Host>(
    host: &mut H,
    target: &Target,
    runtime: &Runtime,
    backend: Backend,
    now: Timestamp,
) -> Result<Comparison, HostError> {
    let applied = runtime.read_applied(&target.dir)?;
    let target = &*target.with_attached(applied.as_ref());
    let facts = facts_of(host, target, applied.as_ref())?;
    let facts = behind(target, applied.as_ref(), facts);
    let Wanted { state: mut wanted, mut problems } = desired(target, applied.as_ref(), backend, &facts, now);
    let missing = target.missing(now);
    problems.extend(missing.problems.iter().cloned());
    keep_endpoints(&mut wanted, applied.as_ref());
    release(&mut wanted, &facts.saved_sysctls, &facts);
    let saved_links = applied.as_ref().map(|a| a.saved_links.clone()).unwrap_or_default();
    let scope = Scope {
        network: target.network.name.clone(),
        sysctls: wanted.sysctls.keys().cloned().collect(),
        links: bridge::names(&wanted.links, &saved_links),
        resolver: wanted.name_servers.as_ref().map(|n| n.resolver),
        applied: applied.as_ref().map(|a| a.state.clone()),
    };
    let before = host.observe(&scope)?;
    target.keep_keys(&mut wanted, &before, &missing);
    bridge::settle(&mut wanted.links, &saved_links, &before.links);
    let given = wanted.links.clone();
    let known = applied.as_ref().map(|a| a.state.links.clone()).unwrap_or_default();
    bridge::keep_others(&mut wanted.links, &before.links, &known);
    Ok(Comparison { scope, before, wanted, given, problems, applied })
}

/// Keeps the endpoint that was given to a peer whose name does not resolve right now.
fn keep_endpoints(wanted: &mut HostState, applied: Option<&Applied>) {
    let recorded = applied.and_then(|a| a.state.device.as_ref());
    if let (Some(device), Some(recorded)) = (&mut wanted.device, recorded) {
        for (key, peer) in &mut device.peers {
            peer.endpoint = peer.endpoint.or_else(|| recorded.peers.get(key)?.endpoint);
        }
    }
}

/// Wants back the values of switches that are not ours to set any more.
pub(super) fn release(wanted: &mut HostState, saved_sysctls: &BTreeMap<String, String>, facts: &Facts) {
    for (path, value) in saved_sysctls {
        if !wanted.sysctls.contains_key(path) && may_restore(path, facts) {
            wanted.sysctls.insert(path.clone(), value.clone());
        }
    }
}

/// Says whether a switch may go back: not where somebody has turned IPv4 forwarding on for the whole host since,
/// as dockerd does, because its containers would be cut.
pub(super) fn may_restore(path: &str, facts: &Facts) -> bool {
    let is_ipv4_forwarding = path.starts_with("net/ipv4/conf/") && path.ends_with("/forwarding");
    let global = facts.sysctl("net/ipv4/ip_forward") == Some("1");
    // A link that is gone took its switches along.
    let link_is_there = match path.split('/').collect::<Vec<_>>().as_slice() {
        ["net", _, "conf", "all" | "default", _] => true,
        ["net", _, "conf", link, _] => facts.links.contains_key(*link),
        _ => true,
    };
    link_is_there && !(is_ipv4_forwarding && global)
}

/// Notes what links have now, before they are changed; what is noted already stays, but of a link that was made anew.
fn save_links(plan: &Plan, before: &Links, saved_sysctls: &mut Links) {
    for change in &plan.changes {
        let Change::Link { change } = change else { continue };
        let Some(now) = before.get(change.link()) else { continue };
        let is_known = match (saved_sysctls.get(change.link()), now) {
            (None, _) => false,
            (Some(Some(noted)), Some(now)) => noted.index == now.index,
            (Some(_), _) => true,
        };
        if !is_known {
            saved_sysctls.insert(change.link().to_string(), now.clone());
        }
    }
}

/// Notes that a bridge of ours forwarded nothing before it was made.
fn save_of_new(plan: &Plan, links: &Links, saved_sysctls: &mut BTreeMap<String, String>) {
    for change in &plan.changes {
        if let Change::Sysctl { path, from: None, .. } = change
            && links.iter().any(|(name, before)| before.is_none() && *path == forwarding_v4(name))
        {
            saved_sysctls.entry(path.clone()).or_insert_with(|| "0".into());
        }
    }
}

/// Notes the values that switches have now, before they are set; what is noted already stays.
pub(super) fn save_sysctls<H: Host>(
    plan: &Plan,
    host: &mut H,
    saved_sysctls: &mut BTreeMap<String, String>,
) -> Result<(), HostError> {
    const ALL_V6: &str = "net/ipv6/conf/all/forwarding";
    for change in &plan.changes {
        let Change::Sysctl { path, from: Some(from), .. } = change else { continue };
        if saved_sysctls.contains_key(path) {
            continue;
        }
        saved_sysctls.insert(path.clone(), from.clone());
        if path == ALL_V6 {
            // Setting it sets every interface's own, so those that differ are noted too.
            let facts = host.facts(&BTreeSet::new(), &BTreeSet::new())?;
            let each: BTreeSet<String> =
                facts.links.keys().map(|link| format!("net/ipv6/conf/{link}/forwarding")).collect();
            let facts = host.facts(&BTreeSet::new(), &each)?;
            for path in each {
                if let Some(value) = facts.sysctl(&path).filter(|v| *v != from) {
                    saved_sysctls.entry(path).or_insert_with(|| value.to_string());
                }
            }
        }
    }
    Ok(())
}
