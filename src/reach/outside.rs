//! What somebody outside reaches: by the ports that lead on, and, where he has a route, past them.

use serde::Serialize;

use super::cause::Reason;
use super::flow::{Flow, probes};
use super::hop::Step;
use super::matrix::{Pair, SMALL, pair, places};
use super::place::Place;
use super::trace::trace;
use super::world::World;
use crate::model::{Network, Timestamp, Verdict};

/// What comes of a `[[forward]]`, called from the Internet by somebody who may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Led {
    /// The relay.
    pub on: String,
    /// The port that is called.
    pub port: String,
    /// Where it leads.
    pub to: String,
    /// Whether the call gets there, and the answer back.
    pub verdict: Verdict,
    /// Why not.
    pub reason: Option<Reason>,
}

/// Judges every `[[forward]]`.
pub(super) fn led(network: &Network, now: Timestamp) -> Vec<Led> {
    if network.forward.is_empty() {
        return Vec::new();
    }
    // Who may call is somewhere: here he is whoever calls.
    let mut open = network.clone();
    open.forward.iter_mut().for_each(|f| f.from.clear());
    let world = World::assumed(&open, now);
    let of = |relay: &crate::model::Node| Place::Node(relay.name.clone());
    let judged = open.forward.iter().filter_map(|forward| {
        let relay = open.relays().find(|r| forward.is_on(r))?;
        let flow = Flow { from: Place::Internet, to: of(relay), port: Some(forward.port) };
        let traced = trace(&world, &flow);
        let is_led = traced.forward.iter().any(|hop| hop.step == Step::Dnat);
        let verdict = if is_led { traced.verdict } else { Verdict::Blocked };
        Some(Led {
            on: relay.name.to_string(),
            port: forward.port.to_string(),
            to: forward.to.to_string(),
            verdict,
            reason: traced.reason,
        })
    });
    judged.collect()
}

/// What a host beside the uplink of a node that forwards reaches behind it: nothing, unless somebody opened it. Of a
/// network of very many places nobody is asked.
pub(super) fn intrusions(world: &World) -> Vec<Pair> {
    let network = world.network();
    let all = places(network);
    if all.len() > SMALL {
        return Vec::new();
    }
    let probes = probes(network);
    let forwards = network.nodes.values().filter(|n| n.is_relay() || !n.sites.is_empty());
    let mut found = Vec::new();
    for node in forwards {
        let from = Place::Lan(node.name.clone());
        let others = all.iter().filter(|p| **p != Place::Internet && **p != Place::Node(node.name.clone()));
        found.extend(
            others.map(|to| pair(world, &probes, &from, to)).filter(|p| p.verdict == Verdict::Reaches),
        );
    }
    found
}
