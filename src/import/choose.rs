//! Which file is the relay's: the one that listens, is called, forwards, and has a peer for each client.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::finding::Findings;
use super::{Source, names};
use crate::model::{Problem, PublicKey, quoted};

/// Finds the relay's file: the one that was named, else the one that most speaks for.
pub(super) fn find(
    sources: &[Source<'_>],
    named: Option<&str>,
    told: &mut Findings,
) -> Result<usize, Problem> {
    if let Some(name) = named {
        let found = sources.iter().position(|s| s.name == name);
        return found.ok_or_else(|| {
            let message = format!("{name} was named as the relay's and is none of the files");
            Problem::error("no-relay", format!("{name}:1:1"), message, "")
        });
    }
    let points: Vec<i32> = sources.iter().map(|s| points(s, sources)).collect();
    // Of equals the first one.
    let best = (0..sources.len()).rev().max_by_key(|i| points[*i]);
    match best {
        Some(i) if can_be(&sources[i], sources) => {
            let equal = (0..sources.len()).find(|j| *j != i && points[*j] == points[i]);
            if let Some(other) = equal.filter(|j| can_be(&sources[*j], sources)) {
                told.add(
                    "which-relay",
                    format!("{}:1:1", sources[i].name),
                    format!(
                        "{} could be the relay's as well; this one is taken, as it comes first",
                        sources[other].name
                    ),
                    format!("import --relay {} takes that one", quoted(sources[other].name)),
                );
            }
            Ok(i)
        }
        _ => Err(none(sources)),
    }
}

fn none(sources: &[Source<'_>]) -> Problem {
    let first = sources.first().map_or("", |s| s.name);
    let (message, hint) = if sources.iter().all(|s| s.reading.document.peers.is_empty()) {
        let first = if first.is_empty() { "FILE" } else { first };
        (
            "none of these files has a [Peer]: there is nothing that a network could be made from",
            format!("`wgrelay lint {}` says what is wrong in it, line by line", quoted(first)),
        )
    } else {
        (
            "none of these files is a relay's: each has one peer and calls it",
            "name the relay's file, too: the one with a [Peer] for each client; --relay FILE says which it is".into(),
        )
    };
    Problem::error("no-relay", format!("{first}:1:1"), message, hint)
}

fn is_named(source: &Source<'_>, sources: &[Source<'_>]) -> bool {
    let has =
        |other: &Source<'_>, key: PublicKey| other.reading.document.peers.iter().any(|p| p.public_key == key);
    let mut others = sources.iter().filter(|o| !std::ptr::eq(*o, source));
    source.key.is_some_and(|key| others.any(|o| has(o, key)))
}

fn forwards(source: &Source<'_>) -> bool {
    source.hooks.own || source.hooks.forwards_everything.is_some() || !source.hooks.masquerades.is_empty()
}

/// Whether there is more to a file than one peer that it calls.
fn can_be(source: &Source<'_>, sources: &[Source<'_>]) -> bool {
    let document = &source.reading.document;
    let listens = document.interface.listen_port.is_some_and(|p| p > 0);
    document.peers.len() > 1
        || document.peers.iter().any(|p| p.endpoint.is_none())
        || (!document.peers.is_empty() && (is_named(source, sources) || (listens && forwards(source))))
}

/// Whether others send to it what is for somebody else: that is what a relay is for.
fn carries(source: &Source<'_>, sources: &[Source<'_>]) -> bool {
    let is_own = |key: PublicKey| source.key == Some(key);
    let named: BTreeMap<PublicKey, Vec<IpAddr>> = source.reading.document.peers.iter().fold(
        BTreeMap::new(),
        |mut all: BTreeMap<PublicKey, Vec<IpAddr>>, peer| {
            let hosts = peer.allowed_ips.iter().filter(|n| n.prefix_len() == n.max_prefix_len());
            all.entry(peer.public_key).or_default().extend(hosts.map(IpNet::addr));
            all
        },
    );
    sources.iter().filter(|other| !std::ptr::eq(*other, source)).any(|other| {
        let to_it = other.reading.document.peers.iter().filter(|p| is_own(p.public_key));
        let nets: Vec<IpNet> = to_it.flat_map(|p| p.allowed_ips.iter().copied()).collect();
        let mut third = named.iter().filter(|(key, _)| other.key.is_some() && other.key != Some(**key));
        third.any(|(_, hosts)| hosts.iter().any(|ip| nets.iter().any(|net| net.contains(ip))))
    })
}

fn points(source: &Source<'_>, sources: &[Source<'_>]) -> i32 {
    let document = &source.reading.document;
    let interface = &document.interface;
    let port = interface.listen_port.filter(|p| *p > 0);
    let others = || sources.iter().filter(|o| !std::ptr::eq(*o, source));
    let named_by =
        others().filter(|o| o.reading.document.peers.iter().any(|p| Some(p.public_key) == source.key));
    let called = others().flat_map(|o| &o.reading.document.peers).any(|p| {
        Some(p.public_key) == source.key && p.endpoint.as_ref().is_some_and(|e| Some(e.port) == port)
    });
    let sends_everything = document.peers.iter().any(|p| p.allowed_ips.iter().any(|n| n.prefix_len() <= 1));
    let several = document.peers.len() > 1;
    let waits = document.peers.iter().any(|p| p.endpoint.is_none());
    let keeps_alive = document.peers.iter().any(|p| p.keepalive.is_some_and(|k| k > 0));
    let first = interface.addresses.first().is_some_and(|a| match a.addr() {
        IpAddr::V4(ip) => ip.octets()[3] <= 1,
        IpAddr::V6(ip) => ip.segments()[7] <= 1,
    });
    let signs = [
        (several, 12),
        (waits, 8),
        (carries(source, sources), 10),
        (called, 4),
        (port.is_some(), 3),
        (forwards(source), 3),
        (interface.save_config == Some(true), 2),
        (first, 1),
        (names::is_interface(source.stem), 1),
        (sends_everything, -8),
        (!interface.dns.is_empty(), -2),
        (keeps_alive, -1),
        (document.peers.is_empty(), -100),
    ];
    let named_by = i32::try_from(named_by.count()).unwrap_or(i32::MAX / 100);
    signs.iter().filter(|(is, _)| *is).map(|(_, points)| points).sum::<i32>() + named_by.min(1_000_000) * 4
}

/// Finds the files that have nothing to do with the relay: neither knows the other's key, so they are no part of its network.
pub(super) fn strangers<'s, 'f>(
    sources: &'s [Source<'f>],
    hubs: &[usize],
    key: Option<PublicKey>,
) -> Vec<&'s Source<'f>> {
    let peers = || hubs.iter().flat_map(|hub| &sources[*hub].reading.document.peers);
    let is_hubs = |k: PublicKey| Some(k) == key || hubs.iter().any(|hub| sources[*hub].key == Some(k));
    let addresses = |s: &Source<'_>| -> bool {
        s.key.is_none()
            && s.reading.document.interface.addresses.iter().any(|a| {
                peers()
                    .flat_map(|p| &p.allowed_ips)
                    .any(|n| n.prefix_len() == n.max_prefix_len() && n.addr() == a.addr())
            })
    };
    let is_known = |s: &Source<'_>| {
        s.key.is_some_and(|k| is_hubs(k) || peers().any(|p| p.public_key == k))
            || s.reading.document.peers.iter().any(|p| is_hubs(p.public_key))
            || addresses(s)
    };
    let others = sources.iter().enumerate().filter(|(i, _)| !hubs.contains(i)).map(|(_, s)| s);
    others.filter(|s| !is_known(s)).collect()
}

/// Tells of such a file. One with faults of its own, or without a word, may only look so.
pub(super) fn stranger(source: &Source<'_>, relay: &Source<'_>) -> Problem {
    let is_whole = !source.is_empty && !source.reading.problems.iter().any(Problem::is_error);
    let (why, hint) = if is_whole {
        (": it belongs to another network", "leave it out")
    } else {
        ("", "mend what is wrong in it, or leave it out")
    };
    let message = format!("{} has no key in common with {}, the relay's{why}", source.name, relay.name);
    Problem::error("foreign-file", format!("{}:1:1", source.name), message, hint)
}
