//! What the filters on a host make of a packet: our own table, and those of others, where it passes, starts and ends.

use std::net::SocketAddr;

use super::{Addresses, Cause, Step, Walk, port_text};
use crate::firewall::foreign::forward::{Carried, Forwarded};
use crate::firewall::{Hook, nft_text};
use crate::reach::cause::Code;
use crate::reach::foreign::{self, Passing};
use crate::reach::host::{Dev, Host, Way};
use crate::reach::rules::{Decision, Packet, Protocol, Tracking, evaluate};
use crate::reach::world::NodeId;

impl Walk<'_> {
    /// Asks the rules for forwarded packets.
    pub(super) fn pass(
        &mut self,
        id: NodeId,
        host: &Host,
        came_by: &Dev,
        way: &Way,
        at: Addresses,
        tracking: Tracking,
    ) -> Result<(), Cause> {
        let Some(table) = &host.state.firewall else { return Ok(()) };
        let packet = Packet {
            src: at.src,
            dst: at.dst,
            protocol: self.seen_protocol(),
            flow: self.flow(id, at),
            iif: Some(host.name_of(came_by)),
            oif: host.name_of(&way.dev),
            tracking,
            dnatted: self.dnatted(id, at),
        };
        let result = evaluate(table, Hook::Forward, &packet);
        if tracking == Tracking::Established {
            self.compared.extend(&result.compared);
        } else {
            self.was_compared(&result.compared);
        }
        let text = || result.rule.map_or_else(|| "no rule speaks of it".into(), nft_text::rule_text);
        if result.decision == Decision::Drop {
            let network = self.world.network();
            let untracked = self.answer && tracking != Tracking::Established;
            return Err(Cause::Dropped {
                node: id,
                src: self.world.seen_at(id, at.src),
                dst: self.world.seen_at(id, at.dst),
                port: if result.compared.is_empty() { String::new() } else { port_text(self.protocol) },
                rule: text(),
                // Without a way out there is nothing to allow.
                policy: !network.allow.is_empty()
                    && !untracked
                    && (result.not_in_policy || network.nodes.values().any(|n| n.egress)),
                untracked,
            });
        }
        self.hop(self.world.name(id), Step::Forward, at, text);
        Ok(())
    }

    /// Asks other programs' filters.
    pub(super) fn pass_others(
        &mut self,
        id: NodeId,
        host: &Host,
        (came_by, way): (&Dev, &Way),
        at: Addresses,
        (established, restored): (bool, bool),
    ) -> Result<(), Cause> {
        let packet = Passing {
            src: at.src,
            dst: at.dst,
            iif: host.name_of(came_by),
            oif: host.name_of(&way.dev),
            established,
            restored,
            dnatted: self.dnatted(id, at).is_some(),
            carried: self.carried(),
        };
        self.outcome(id, at, foreign::pass(host, packet))
    }

    /// Asks the filters of a host's owner for what it sends itself.
    pub(super) fn pass_output(
        &mut self,
        id: NodeId,
        host: &Host,
        way: &Way,
        at: Addresses,
    ) -> Result<(), Cause> {
        let Addresses { src, dst } = at;
        let (oif, established) = (host.name_of(&way.dev), self.answer);
        let carried = Some(self.carried());
        let packet = Forwarded { src, dst, iif: "", oif, established, carried };
        self.outcome(id, at, foreign::pass_local(host, Code::OutputDropped, packet))
    }

    /// Asks them for the tunnel's own datagrams, which carry the packet to a peer's endpoint.
    pub(super) fn pass_outer(&mut self, id: NodeId, host: &Host, to: SocketAddr) -> Result<(), Cause> {
        if host.facts.foreign.local_output.is_empty() {
            return Ok(());
        }
        let mark = host.state.device.as_ref().map_or(0, |d| d.fwmark);
        let Some(way) = host.route(to.ip(), None, mark) else { return Ok(()) };
        let Some(src) = host.source(&way, to.ip()) else { return Ok(()) };
        let at = Addresses { src, dst: to.ip() };
        let carried = Some(Carried::Udp(to.port()));
        let packet =
            Forwarded { src, dst: at.dst, iif: "", oif: host.name_of(&way.dev), established: false, carried };
        self.outcome(id, at, foreign::pass_local(host, Code::OutputDropped, packet))
    }

    /// Asks them for what is for this host.
    pub(super) fn pass_input(
        &mut self,
        id: NodeId,
        host: &Host,
        came_by: &Dev,
        at: Addresses,
        established: bool,
    ) -> Result<(), Cause> {
        let Addresses { src, dst } = at;
        let established = established || self.answer;
        let carried = Some(self.carried());
        let packet = Forwarded { src, dst, iif: host.name_of(came_by), oif: "", established, carried };
        self.outcome(id, at, foreign::pass_local(host, Code::InputDropped, packet))
    }

    pub(super) const fn carried(&self) -> Carried {
        match self.seen_protocol() {
            Protocol::Icmp => Carried::Icmp,
            Protocol::Tcp(port) => Carried::Tcp(port),
            Protocol::Udp(port) => Carried::Udp(port),
        }
    }

    fn outcome(&mut self, id: NodeId, at: Addresses, outcome: foreign::Outcome) -> Result<(), Cause> {
        self.uncertain
            .extend(outcome.uncertain.iter().map(|doubt| format!("{}: {doubt}", self.world.name(id))));
        match outcome.drop {
            Some(by) => Err(Cause::Foreign { node: id, src: at.src, dst: at.dst, by }),
            None => Ok(()),
        }
    }
}
