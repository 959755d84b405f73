//! One packet's way there, and its answer's way back.
//!
//! Every question is put to the host where the packet is: its routes, its AllowedIPs, its switches, its rules. What a packet
//! leaves behind (connection tracking, sessions) is kept, because the answer lives by it.

mod filters;
mod link;
mod nat;
mod outer;
mod outside;
mod tunnel;

use std::net::IpAddr;

use super::assume::is_assumed;
use super::cause::{Cause, Failure, Silence};
use super::compared::{Compared, Comparison};
use super::hop::{Hop, Step, shown};
use super::host::{Dev, Host, Sought, Way};
use super::rules::{Decision, Packet, Protocol, Tracking, evaluate};
use super::world::{NodeId, SiteId, Spot, World};
use crate::firewall::Hook;
use crate::model::{PortRange, PortSpec};

/// More nodes than this are never on a path: spokes meet at a relay.
const MAX_NODES: usize = 12;

/// What came of a walk.
#[derive(Debug)]
pub(super) struct Walked {
    pub result: Result<(), Failure>,
    /// The sessions that the packet and its answer used, each by its two nodes.
    pub sessions: Vec<(NodeId, NodeId)>,
    /// What the protocol was compared with: where nothing, every other would have fared the same.
    pub compared: Compared,
    pub forward: Vec<Hop>,
    pub reply: Vec<Hop>,
    pub notes: Vec<String>,
    /// What may decide otherwise and is not known.
    pub uncertain: Vec<String>,
}

/// Where the packet is now, and how it came there.
enum Next {
    Node(NodeId, Dev),
    Host(SiteId, IpAddr),
    Neighbour(NodeId, IpAddr),
    Outside(NodeId),
}

/// Where it ended well.
#[derive(Clone, Copy)]
enum Delivered {
    Node(NodeId),
    Host(SiteId, IpAddr),
    Neighbour(NodeId, IpAddr),
    Outside(NodeId),
}

/// A flow that a node's connection tracking knows.
struct Entry {
    node: NodeId,
    /// The links that it comes by and leaves by where it is only passed on; otherwise it starts there.
    passes: Option<(Dev, Dev)>,
    /// Whether the answer was seen there, too.
    answered: bool,
    original: (IpAddr, IpAddr),
    /// The port that is called behind whatever this node rewrote.
    protocol: Protocol,
    /// Source and destination of the answer, before it is restored.
    answer: (IpAddr, IpAddr),
}

#[derive(Clone, Copy)]
struct Addresses {
    src: IpAddr,
    dst: IpAddr,
}

struct Walk<'w> {
    world: &'w World,
    protocol: Protocol,
    entries: Vec<Entry>,
    sessions: Vec<(NodeId, NodeId)>,
    /// The start's own addresses, which the answer must come back with.
    asked: Addresses,
    /// Whether this is the answer.
    answer: bool,
    /// The node that rewrote the packet's destination, and what it was.
    rewritten: Option<(NodeId, IpAddr)>,
    compared: Compared,
    /// `None`: nobody reads them.
    hops: Option<Vec<Hop>>,
    mtu: Option<u32>,
    notes: Vec<String>,
    uncertain: Vec<String>,
}

/// Sends a packet from one spot to another and its answer back. A bound source keeps its address; otherwise the host picks
/// one. Hops are written only where `record` asks for them.
pub(super) fn walk(
    world: &World,
    (from, bound): (Spot, bool),
    to: Spot,
    protocol: Protocol,
    record: bool,
) -> Walked {
    let (src, dst) = world.as_sent(from, to);
    let mut at = Addresses { src, dst };
    let mut walk = Walk {
        world,
        asked: at,
        protocol,
        entries: Vec::new(),
        sessions: Vec::new(),
        answer: false,
        rewritten: None,
        compared: Compared::default(),
        hops: record.then(Vec::new),
        mtu: None,
        notes: Vec::new(),
        uncertain: Vec::new(),
    };
    let there = walk.there(from, bound, to, &mut at);
    let forward = walk.hops.replace(Vec::new()).unwrap_or_default();
    if !record {
        walk.hops = None;
    }
    let result = there.and_then(|landing| {
        walk.is_meant(to, landing, at.dst)?;
        walk.answer = true;
        walk.mtu = None;
        walk.back(from, landing, at)
    });
    let (mut notes, mut uncertain) = (walk.notes, walk.uncertain);
    notes.dedup();
    uncertain.sort();
    uncertain.dedup();
    Walked {
        result: result.map_err(|cause| Failure { cause, answer: walk.answer }),
        compared: walk.compared,
        sessions: walk.sessions,
        forward,
        reply: walk.hops.unwrap_or_default(),
        notes,
        uncertain,
    }
}

impl<'w> Walk<'w> {
    fn hop(&mut self, node: &impl ToString, step: Step, at: Addresses, detail: impl FnOnce() -> String) {
        if let Some(hops) = &mut self.hops {
            hops.push(Hop { node: node.to_string(), step, detail: detail(), src: at.src, dst: at.dst });
        }
    }

    fn there(&mut self, from: Spot, bound: bool, to: Spot, at: &mut Addresses) -> Result<Delivered, Cause> {
        let world = self.world;
        let first = match from {
            Spot::Internet(_) | Spot::Lan(..) => self.sent_from_outside(from, to, at)?,
            Spot::Host(site, _) => {
                if !world.is_active(site.node) {
                    return Err(Cause::Inactive(site.node));
                }
                self.host_sends(site, at.src, at.dst)?
            }
            Spot::Neighbour(id, host) => self.neighbour_sends(id, host, at.dst)?,
            Spot::Node(id, _) => {
                self.usable(id)?;
                let host = world.host(id);
                if host.owns(at.dst).is_some() {
                    self.hop(world.name(id), Step::Deliver, *at, || "its own address".into());
                    return Ok(Delivered::Node(id));
                }
                self.has_its_address(id, at.src)?;
                let src = bound.then_some(at.src);
                let mut way = self.way(id, Sought { dst: at.dst, src, came_by: None })?;
                let picked = if bound { Some(at.src) } else { host.source(&way, at.dst) };
                at.src = picked.ok_or(Cause::NoAddress { node: id, dst: at.dst })?;
                self.asked = *at;
                if !bound && !host.facts.rules.is_empty() {
                    way = self.way_of_connected(id, way, *at)?;
                }
                self.routed(id, host, &way, *at);
                self.pass_output(id, host, &way, *at)?;
                self.leave(id, None, &way, at, Tracking::New)?
            }
        };
        self.forward(first, at)
    }

    /// Sends the answer to what landed. It must come back to the start with the addresses that the start spoke to.
    fn back(&mut self, start: Spot, landing: Delivered, there: Addresses) -> Result<(), Cause> {
        let world = self.world;
        let mut at = Addresses { src: there.dst, dst: there.src };
        let first = match landing {
            Delivered::Node(id) => {
                let host = world.host(id);
                if host.owns(at.dst).is_some() {
                    return Ok(());
                }
                let way = self.way(id, Sought { dst: at.dst, src: Some(at.src), came_by: None })?;
                self.routed(id, host, &way, at);
                self.pass_output(id, host, &way, at)?;
                self.pass_postrouting(id, host, (None, &way), at, true)?;
                self.restore_source(id, &mut at);
                self.emit(id, host, &way, at)?
            }
            Delivered::Host(site, host) => self.host_sends(site, host, at.dst)?,
            Delivered::Neighbour(id, host) => self.neighbour_sends(id, host, at.dst)?,
            Delivered::Outside(id) => {
                let link = outside_link(world.host(id), at.src);
                let own = world.host(id).owns(at.dst);
                match own.filter(|own| **own == link || world.host(id).leads_out(own, at.dst.is_ipv6())) {
                    Some(own) => Next::Node(id, own.clone()),
                    None => return Err(Cause::NoAnswerFromOutside { node: id, src: at.dst }),
                }
            }
        };
        let landing = self.forward(first, &mut at)?;
        let is_right = (at.src, at.dst) == (self.asked.dst, self.asked.src);
        let is_home = match (start, landing) {
            (Spot::Node(start, _), Delivered::Node(end)) => start == end,
            (Spot::Host(start, _), Delivered::Host(end, _)) => start == end,
            (Spot::Internet(_) | Spot::Lan(..), Delivered::Outside(_)) => true,
            _ => false,
        };
        if is_right && is_home {
            return self.third_packet();
        }
        let at_end = match landing {
            Delivered::Node(id) => world.name(id).to_string(),
            Delivered::Host(_, ip) | Delivered::Neighbour(_, ip) => ip.to_string(),
            Delivered::Outside(_) => "internet".into(),
        };
        if is_right {
            return Err(Cause::Namesake { at: at_end, dst: at.dst });
        }
        Err(Cause::Mistaken { at: at_end, asked: self.asked.dst, answered: at.src })
    }

    /// A connection's third packet goes the way of the first. A host that forwarded that one and never saw the answer holds
    /// this one for invalid, and its rules drop it.
    fn third_packet(&mut self) -> Result<(), Cause> {
        let one_sided = self.entries.iter().filter(|e| !e.answered);
        let Some((entry, links)) = one_sided.filter_map(|e| Some((e, e.passes.as_ref()?))).next() else {
            return Ok(());
        };
        let (node, host) = (entry.node, self.world.host(entry.node));
        let dropped = matches!(self.protocol, Protocol::Tcp(_)) && {
            let packet = Packet {
                src: entry.original.0,
                dst: entry.answer.0,
                protocol: self.protocol,
                flow: self.protocol,
                iif: Some(host.name_of(&links.0)),
                oif: host.name_of(&links.1),
                tracking: Tracking::Invalid,
                dnatted: None,
            };
            let table = host.state.firewall.as_ref();
            table.is_some_and(|t| evaluate(t, Hook::Forward, &packet).decision == Decision::Drop)
        };
        self.compared.push(Comparison::Kind);
        if !dropped {
            return Ok(());
        }
        self.answer = false;
        Err(Cause::OneSided { node, src: self.asked.src, dst: self.asked.dst })
    }

    fn forward(&mut self, first: Next, at: &mut Addresses) -> Result<Delivered, Cause> {
        let mut next = first;
        for _ in 0..MAX_NODES {
            match next {
                Next::Host(site, ip) => {
                    self.hop(&ip, Step::Deliver, *at, || "a host of the site".into());
                    return Ok(Delivered::Host(site, ip));
                }
                Next::Neighbour(id, ip) => {
                    let name = self.world.name(id);
                    self.hop(&ip, Step::Deliver, *at, || format!("a host on a link of {name}"));
                    return Ok(Delivered::Neighbour(id, ip));
                }
                Next::Outside(id) => {
                    self.hop(&"internet", Step::Deliver, *at, || "outside the network".into());
                    return Ok(Delivered::Outside(id));
                }
                Next::Node(id, came_by) => match self.arrive(id, &came_by, at)? {
                    None => return Ok(Delivered::Node(id)),
                    Some(further) => next = further,
                },
            }
        }
        match next {
            Next::Node(id, _) | Next::Outside(id) | Next::Neighbour(id, _) => Err(Cause::Loop(id)),
            Next::Host(site, _) => Err(Cause::Loop(site.node)),
        }
    }

    fn usable(&self, id: NodeId) -> Result<(), Cause> {
        if !self.world.is_active(id) {
            return Err(Cause::Inactive(id));
        }
        let host = self.world.host(id);
        if !host.refused.is_empty() {
            return Err(Cause::Refused(id));
        }
        if host.is_up() { Ok(()) } else { Err(Cause::NotUp(id)) }
    }

    /// Says no where an address is the node's in the tunnel, and its host does not have it: somebody took it away.
    fn has_its_address(&self, id: NodeId, address: IpAddr) -> Result<(), Cause> {
        let (node, host) = (self.world.node(id), self.world.host(id));
        let is_its = match address {
            IpAddr::V4(v4) => v4 == node.address,
            IpAddr::V6(v6) => Some(v6) == node.address6,
        };
        if is_its && host.is_up() && host.owns(address).is_none() {
            return Err(Cause::AddressMissing { node: id, address });
        }
        Ok(())
    }

    fn arrive(&mut self, id: NodeId, came_by: &Dev, at: &mut Addresses) -> Result<Option<Next>, Cause> {
        let world = self.world;
        let host = world.host(id);
        let name = world.name(id);
        if world.is_dead(id) {
            return Err(Cause::NotUp(id));
        }
        let asked = at.dst;
        let tracking = self.track(id, at);
        let restored = at.dst != asked;
        if host.owns(at.src).is_some() {
            return Err(Cause::OwnSource { node: id, src: at.src });
        }
        let established = tracking == Tracking::Established;
        self.pass_prerouting(id, host, came_by, Addresses { dst: asked, ..*at }, established)?;
        if !self.answer {
            self.lead_on(id, host, came_by, at);
        }
        if host.owns(at.dst).is_some() {
            self.pass_input(id, host, came_by, *at, established)?;
            if let Some((_, asked)) = self.rewritten.filter(|(node, _)| *node == id && !self.answer) {
                self.entries.push(Entry {
                    node: id,
                    passes: None,
                    answered: false,
                    original: (at.src, asked),
                    protocol: self.protocol,
                    answer: (at.dst, at.src),
                });
            }
            self.hop(name, Step::Deliver, *at, || "its own address".into());
            return Ok(None);
        }
        self.has_its_address(id, at.dst)?;
        let way = self.way(id, Sought { dst: at.dst, src: Some(at.src), came_by: Some(came_by) })?;
        let ipv6 = at.dst.is_ipv6();
        if !host.forwards(came_by, ipv6) {
            self.usable(id)?;
            return Err(Cause::ForwardDisabled { node: id, came_by: came_by.clone(), ipv6 });
        }
        self.routed(id, host, &way, *at);
        self.pass(id, host, came_by, &way, *at, tracking)?;
        self.pass_others(id, host, (came_by, &way), *at, (established, restored))?;
        self.leave(id, Some(came_by), &way, at, tracking).map(Some)
    }

    /// Finds the packet's flow in the node's connection tracking, and gives an answer its address back.
    fn track(&mut self, id: NodeId, at: &mut Addresses) -> Tracking {
        if !self.answer {
            return Tracking::New;
        }
        let entry = self.entries.iter_mut().find(|e| e.node == id && e.answer == (at.src, at.dst));
        let original = entry.map(|e| {
            e.answered = true;
            e.original
        });
        let Some(original) = original else {
            // An answer to a flow that never passed here: a SYN-ACK or echo reply is invalid, a datagram a new flow.
            self.compared.push(Comparison::Kind);
            return match self.protocol {
                Protocol::Udp(_) => Tracking::New,
                Protocol::Tcp(_) | Protocol::Icmp => Tracking::Invalid,
            };
        };
        if at.dst != original.0 {
            let before = at.dst;
            at.dst = original.0;
            self.hop(self.world.name(id), Step::Restore, *at, || {
                format!("connection tracking: {} stood for {}", shown(before), shown(original.0))
            });
        }
        Tracking::Established
    }

    /// The protocol as a rule sees it: an answer goes to the port that the client chose.
    const fn seen_protocol(&self) -> Protocol {
        /// The first port that clients choose from (`ip_local_port_range` and RFC 6335 agree on this range).
        const CLIENT: u16 = 49152;
        match self.protocol {
            Protocol::Tcp(_) if self.answer => Protocol::Tcp(CLIENT),
            Protocol::Udp(_) if self.answer => Protocol::Udp(CLIENT),
            same => same,
        }
    }

    /// The protocol of a packet's flow as this node's connection tracking has it; one that it does not know begins with it.
    fn flow(&self, id: NodeId, at: Addresses) -> Protocol {
        if !self.answer {
            return self.protocol;
        }
        let of_flow = |e: &&Entry| e.node == id && e.answer.0 == at.src && e.original.0 == at.dst;
        self.entries.iter().find(of_flow).map_or_else(|| self.seen_protocol(), |e| e.protocol)
    }

    /// Remembers what a rule compared the protocol with. An answer's port is no question of the flow's own.
    fn was_compared(&mut self, with: &Compared) {
        if !self.answer {
            self.compared.extend(with);
        } else if !with.is_empty() {
            self.compared.push(Comparison::Kind);
        }
    }

    /// Masquerades where the rules say so, remembers the flow, and sends the packet on.
    fn leave(
        &mut self,
        id: NodeId,
        came_by: Option<&Dev>,
        way: &Way,
        at: &mut Addresses,
        tracking: Tracking,
    ) -> Result<Next, Cause> {
        let host = self.world.host(id);
        let before = *at;
        let established = self.answer || tracking == Tracking::Established;
        self.pass_postrouting(id, host, (came_by, way), *at, established)?;
        // NAT looks at the first packet of a flow only.
        if tracking == Tracking::New {
            if let Some((src, rule)) = self.aliased(id, host, came_by, way, *at) {
                at.src = src;
                self.hop(self.world.name(id), Step::Netmap, *at, || rule);
            } else if let Some(rule) = self.masquerade(id, host, came_by, way, *at) {
                at.src = host.source(way, at.dst).ok_or(Cause::NoAddress { node: id, dst: at.dst })?;
                self.hop(self.world.name(id), Step::Masquerade, *at, || rule);
            }
        }
        self.restore_source(id, at);
        let first = self.rewritten.filter(|(node, _)| *node == id && !self.answer);
        self.entries.push(Entry {
            node: id,
            passes: came_by.map(|dev| (dev.clone(), way.dev.clone())),
            answered: self.answer,
            original: (before.src, first.map_or(before.dst, |(_, asked)| asked)),
            protocol: self.protocol,
            answer: (at.dst, at.src),
        });
        self.emit(id, host, way, *at)
    }

    fn routed(&mut self, id: NodeId, host: &Host, way: &Way, at: Addresses) {
        self.hop(self.world.name(id), Step::Route, at, || {
            let known = way.gateway.filter(|gateway| !is_assumed(*gateway));
            let via = known.map_or_else(String::new, |g| format!(" via {g}"));
            format!("{}{via} dev {}", way.prefix, host.name_of(&way.dev))
        });
    }

    fn emit(&mut self, id: NodeId, host: &Host, way: &Way, at: Addresses) -> Result<Next, Cause> {
        match &way.dev {
            Dev::Tunnel => self.encrypt(id, host, at),
            Dev::Link(_) if self.world.is_internet(at.dst) => Ok(Next::Outside(id)),
            Dev::Link(link) => {
                // What starts outside the tunnel is used to the larger packets of its own link.
                let mtu = host.facts.links.get(link).map(|l| l.mtu).filter(|m| *m > 0 && self.mtu.is_some());
                if let Some(mtu) = mtu {
                    self.narrow(mtu, || format!("{link} of {}", self.world.name(id)));
                }
                if way.gateway.is_some() {
                    return self
                        .by_gateway(id, way)
                        .ok_or_else(|| self.unroutable(id, host, Some(way), at.dst));
                }
                self.over_link(id, host, link, way, at.dst)
            }
        }
    }
}

/// The link by which a host's packets to an address outside leave it.
fn outside_link(host: &Host, outside: IpAddr) -> Dev {
    host.route(outside, None, 0).map_or(Dev::Tunnel, |way| way.dev)
}

/// Writes a protocol as `[[allow]]` does.
pub(super) fn port_text(protocol: Protocol) -> String {
    let one = |p| PortRange { first: p, last: p };
    match protocol {
        Protocol::Tcp(p) => PortSpec::Tcp(one(p)).to_string(),
        Protocol::Udp(p) => PortSpec::Udp(one(p)).to_string(),
        Protocol::Icmp => PortSpec::Icmp.to_string(),
    }
}
