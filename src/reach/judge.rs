//! Whether a pair of places reaches each other: every family and protocol that could, summed up.

use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::cause::{Cause, Failure};
use super::compared::Sent;
use super::flow::{Probe, join, probes, within};
use super::place::Place;
use super::walk::{Walked, walk};
use super::world::{NodeId, Spot, World};
use crate::model::{PortSpec, Verdict};

/// What gets through.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ports {
    /// Everything.
    All,
    /// These, and nothing else; empty where nothing does.
    Some(Vec<PortSpec>),
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => s.serialize_str("all"),
            Self::Some(list) => s.collect_seq(list.iter().map(ToString::to_string)),
        }
    }
}

impl std::fmt::Display for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Some(list) => {
                let words: Vec<String> = list.iter().map(ToString::to_string).collect();
                f.write_str(&words.join(", "))
            }
        }
    }
}

/// IPv4 or IPv6, of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it all")]
pub enum PathFamily {
    Ipv4,
    Ipv6,
}

impl PathFamily {
    pub(super) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
    /// Returns the name as people write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }
}

/// The judgement of one pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    pub ports: Ports,
    /// The families that reach, IPv4 first.
    pub families: Vec<PathFamily>,
    /// Why the first way that was tried does not get through; `None`: something does.
    pub death: Option<Failure>,
}

impl Judgement {
    pub(super) const fn verdict(&self) -> Verdict {
        if self.death.is_none() { Verdict::Reaches } else { Verdict::Blocked }
    }
}

/// One way between two places: a family of addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    from: Spot,
    bound: bool,
    pub to: Spot,
}

impl Ends {
    /// The ways between two places, IPv4 first; `Err` where there is none.
    pub(super) fn between(world: &World, from: &Place, to: &Place) -> Result<Vec<Self>, Cause> {
        let (a, b) = (world.spots(from), world.spots(to));
        for (place, spots) in [(from, &a), (to, &b)] {
            if let (Place::Site(net), []) = (place, spots.as_slice()) {
                return Err(Cause::Shadowed(*net));
            }
        }
        let bound = !matches!(from, Place::Node(_));
        let of = |to: &Spot| {
            let same = |f: &&Spot| f.address().is_ipv6() == to.address().is_ipv6();
            // A node speaks with what its other links have where the tunnel gives it nothing of a family.
            let beside = || match a.first() {
                Some(Spot::Node(id, _))
                    if !bound && to.address().is_ipv6() && !matches!(to, Spot::Internet(_)) =>
                {
                    world.host(*id).any_v6().map(|ip| Spot::Node(*id, ip))
                }
                _ => None,
            };
            let from = a.iter().find(same).copied().or_else(beside)?;
            Some(Self { from, bound, to: *to })
        };
        let both: Vec<Self> = b.iter().filter_map(of).collect();
        if both.is_empty() {
            return Err(match (a.first(), b.first()) {
                (Some(Spot::Node(id, _)), Some(to)) => Cause::NoAddress { node: *id, dst: to.address() },
                _ => Cause::NothingInCommon,
            });
        }
        Ok(both)
    }

    pub(super) fn walk(self, world: &World, probe: Probe, record: bool) -> Walked {
        let mut walked = walk(world, (self.from, self.bound), self.to, probe.protocol, record);
        // A packet to a node that is no member ends wherever nobody knows it any more: what to change is the node.
        if let Err(death) = &mut walked.result
            && !death.answer
            && let Some(id) = owner(self.to).filter(|id| !world.is_active(*id))
        {
            death.cause = Cause::Inactive(id);
        }
        walked
    }
}

fn owner(spot: Spot) -> Option<NodeId> {
    match spot {
        Spot::Node(id, _) => Some(id),
        Spot::Host(site, _) => Some(site.node),
        Spot::Neighbour(id, _) => Some(id),
        Spot::Internet(_) | Spot::Lan(..) => None,
    }
}

/// Tries every family and every protocol that matters.
pub(super) fn judge(world: &World, probes: &[Probe], from: &Place, to: &Place) -> Judgement {
    let dead = |death| Judgement { ports: Ports::Some(Vec::new()), families: Vec::new(), death: Some(death) };
    let ways = match Ends::between(world, from, to) {
        Ok(ways) => ways,
        Err(cause) => return dead(Failure { cause, answer: false }),
    };
    let (mut all, mut open, mut families, mut first_death) = (false, Vec::new(), Vec::new(), None);
    for ends in ways {
        let family = PathFamily::of(ends.to.address());
        let before = open.len();
        let mut sent = Sent::default();
        for probe in probes {
            // A packet that compares like one that was sent fares as that did.
            let reaches = match sent.reaches(probe.protocol) {
                Some(reaches) => reaches,
                None => {
                    let Walked { result, compared, .. } = ends.walk(world, *probe, false);
                    let reaches = result.is_ok();
                    first_death = first_death.or(result.err());
                    sent.remember(probe.protocol, &compared, reaches);
                    reaches
                }
            };
            if reaches {
                open.push(probe.spec);
            }
        }
        if open.len() > before {
            families.push(family);
        }
        all |= open.len() - before == probes.len();
    }
    if families.is_empty() {
        let death = first_death.unwrap_or(Failure { cause: Cause::NothingInCommon, answer: false });
        return dead(death);
    }
    let ports = if all { Ports::All } else { Ports::Some(join(open)) };
    Judgement { ports, families, death: None }
}

/// A way with a packet that shows what a flow meets: one that gets through if it reaches, else the first that does not.
pub(super) fn telling(
    world: &World,
    from: &Place,
    to: &Place,
    port: Option<PortSpec>,
) -> Result<(Ends, Probe, Verdict), Cause> {
    let ways = Ends::between(world, from, to)?;
    let probes: Vec<Probe> = match port {
        None => probes(world.network()),
        Some(port) => probes(world.network()).into_iter().filter_map(|p| within(p, port)).collect(),
    };
    let mut first = None;
    for ends in ways {
        let mut shown = None;
        for probe in &probes {
            let reaches = ends.walk(world, *probe, false).result.is_ok();
            // Without a port any packet will do; with a range of ports every one has to get through.
            let settled = reaches == port.is_none();
            if settled || shown.is_none() {
                shown = Some((ends, *probe, if reaches { Verdict::Reaches } else { Verdict::Blocked }));
            }
            if settled {
                break;
            }
        }
        let Some(shown) = shown else { continue };
        if shown.2 == Verdict::Reaches {
            return Ok(shown);
        }
        first = first.or(Some(shown));
    }
    first.ok_or(Cause::NothingInCommon)
}
