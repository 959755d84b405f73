//! `check`: the matrix, what is odd about the network, and whether its promises hold.

use serde::Serialize;

use super::flow::probes;
use super::judge::judge;
use super::lint::lint;
use super::loss::without;
use super::matrix::{Matrix, Pair, Unlisted, matrix};
use super::outside::{Led, intrusions, led};
use super::place::{Place, place};
use super::world::World;
use crate::model::{Expectation, Network, Node, PlaceRef, Problem, Site, Timestamp, Verdict};

/// What `check` says; serialises as the program's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The version of this form: 1.
    pub version: u32,
    /// Places with the same answers.
    pub classes: Vec<Vec<Place>>,
    /// The answers, over the first members of the classes.
    pub pairs: Vec<Pair>,
    /// What is blocked beside these pairs, where they are too many; empty: they are all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unlisted: Vec<Unlisted>,
    /// What comes of the ports that lead on.
    pub forwards: Vec<Led>,
    /// What somebody reaches who stands outside and has a route: empty where nobody does.
    pub outside: Vec<Pair>,
    /// Warnings, and an error for each promise that is broken.
    pub problems: Vec<Problem>,
}

impl Check {
    /// Says whether a promise is broken.
    pub fn is_broken(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }
}

/// Checks a network as it would be everywhere.
pub fn check(network: &Network, now: Timestamp) -> Check {
    let network = &*network.settled(now);
    let world = World::assumed(network, now);
    let matrix = matrix(&world);
    let mut problems = lint(network, now);
    problems.extend(expectations(&world, &matrix));
    problems.extend(survivals(network, now));
    let Matrix { classes, pairs, unlisted } = matrix;
    let (forwards, outside) = (led(network, now), intrusions(&world));
    Check { version: 1, classes, pairs, unlisted, forwards, outside, problems }
}

/// Judges every `[[expect]]`; an error `expectation-broken` for each that does not hold.
pub fn expectations(world: &World, matrix: &Matrix) -> Vec<Problem> {
    let network = world.network();
    network.expect.iter().enumerate().filter_map(|(i, e)| broken(world, matrix, i, e, None)).collect()
}

/// Judges the promises that are to survive the death of any one relay, once its spokes are at home elsewhere; not those that
/// speak of the dead one itself.
fn survivals(network: &Network, now: Timestamp) -> Vec<Problem> {
    let survivors: Vec<(usize, &Expectation)> =
        network.expect.iter().enumerate().filter(|(_, promise)| promise.survives).collect();
    if survivors.is_empty() {
        return Vec::new();
    }
    let relays = network.relays().filter(|relay| relay.is_active(now));
    let of_relay = |relay: &Node| {
        let left = without(network, &relay.name);
        let world = World::assumed(&left, now).with_dead(&relay.name);
        let matrix = matrix(&world);
        let dead = Place::Node(relay.name.clone());
        let broken = |(index, promise): &(usize, &Expectation)| {
            let mut problem = broken(&world, &matrix, *index, promise, Some(&dead))?;
            problem.message = format!("without {}: {}", relay.name, problem.message);
            problem.hint = format!(
                "another relay that leads there, listed in `relays` of the spokes concerned; `wgrelay check --without {}` tells \
                 who loses whom",
                relay.name
            );
            Some(problem)
        };
        survivors.iter().filter_map(broken).collect::<Vec<_>>()
    };
    relays.flat_map(of_relay).collect()
}

fn broken(
    world: &World,
    matrix: &Matrix,
    index: usize,
    promise: &Expectation,
    but: Option<&Place>,
) -> Option<Problem> {
    let at = format!("expect[{index}]");
    let (from, to) = (expand(world, matrix, &promise.from), expand(world, matrix, &promise.to));
    let (from, to) = match but {
        Some(dead) if from.contains(dead) || to.contains(dead) => {
            let rest = |places: Vec<Place>| places.into_iter().filter(|p| p != dead).collect::<Vec<_>>();
            let (from, to) = (rest(from), rest(to));
            if from.is_empty() || to.is_empty() {
                return None;
            }
            (from, to)
        }
        _ => (from, to),
    };
    if from.is_empty() || to.is_empty() {
        let missing = if from.is_empty() { &promise.from } else { &promise.to };
        return Some(Problem::error(
            "expectation-broken",
            at,
            format!("nothing can be promised of {missing}: it is no place of the network"),
            "a place is a node, a site, an address in one, \"*\" or \"internet\"",
        ));
    }
    for a in &from {
        for b in to.iter().filter(|b| *b != a) {
            let (holds, why) = holds(world, promise, a, b);
            if holds {
                continue;
            }
            let port = promise.port.map_or_else(String::new, |p| format!(" with {p}"));
            let option = promise.port.map_or_else(String::new, |p| format!(" --port {p}"));
            let (is, hint) = match why {
                Some(reason) => (format!("it is blocked at {}: {}", reason.0, reason.1), reason.2),
                None => (
                    "it reaches".into(),
                    format!("see `wgrelay trace {a} {b}{option}`; [[allow]] refuses what no rule allows"),
                ),
            };
            return Some(Problem::error(
                "expectation-broken",
                at,
                format!("{a} -> {b}{port} is promised as {}, and {is}", promise.verdict),
                hint,
            ));
        }
    }
    None
}

type Why = Option<(String, String, String)>;

fn holds(world: &World, promise: &Expectation, from: &Place, to: &Place) -> (bool, Why) {
    let (verdict, reason) = match promise.port {
        None => {
            let judgement = judge(world, &probes(world.network()), from, to);
            (judgement.verdict(), judgement.death.map(|d| d.reason(world, from, to)))
        }
        Some(port) => {
            let flow = super::Flow { from: from.clone(), to: to.clone(), port: Some(port) };
            let trace = super::trace(world, &flow);
            (trace.verdict, trace.reason)
        }
    };
    let why = reason.filter(|_| verdict == Verdict::Blocked).map(|r| (r.node, r.message, r.fix));
    (verdict == promise.verdict, why)
}

/// The places that a promise speaks of; of every class the first member speaks for all.
fn expand(world: &World, matrix: &Matrix, place_ref: &PlaceRef) -> Vec<Place> {
    let network = world.network();
    let of_classes = || matrix.classes.iter().flat_map(|c| c.iter().take(2)).cloned();
    match place_ref {
        PlaceRef::Any => of_classes().filter(|p| *p != Place::Internet).collect(),
        PlaceRef::Internet => vec![Place::Internet],
        PlaceRef::Group(name) => network.group(name).map(|n| Place::Node(n.name.clone())).collect(),
        PlaceRef::Lan(name) => {
            network.nodes.get(name).map(|n| Place::Lan(n.name.clone())).into_iter().collect()
        }
        PlaceRef::Node(name) => {
            network.nodes.get(name).map(|n| Place::Node(n.name.clone())).into_iter().collect()
        }
        PlaceRef::Address(ip) => place(network, &ip.to_string()).into_iter().collect(),
        PlaceRef::Prefix(net) => match place(network, &net.to_string()) {
            Ok(place) => vec![place],
            // A wider prefix speaks of everything inside.
            Err(_) => network
                .nodes
                .values()
                .flat_map(|n| {
                    let own = n
                        .host_prefixes()
                        .iter()
                        .any(|p| net.contains(p))
                        .then(|| Place::Node(n.name.clone()));
                    let sites = n.sites.iter().map(Site::prefix).filter(|s| net.contains(s)).map(Place::Site);
                    own.into_iter().chain(sites).collect::<Vec<_>>()
                })
                .collect(),
        },
    }
}
