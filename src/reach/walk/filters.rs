//! What the filters on a host make of a packet: our own table, and those of others, where it passes, starts and ends.

use super::{Addresses, Cause, Step, Walk, port_text};
use crate::firewall::foreign::forward::{Carried, Forwarded};
use crate::firewall::{Hook, nft_text};
use crate::reach::cause::Code;
use crate::reach::foreign::{self, At, Passing};
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
        self.outcome(id, at, foreign::pass_local(host, At::Output, Code::OutputDropped, packet))
    }

    /// Asks them for whatever comes in, for this host or for others, with the addresses that it came with.
    pub(super) fn pass_prerouting(
        &mut self,
        id: NodeId,
        host: &Host,
        came_by: &Dev,
        at: Addresses,
        established: bool,
    ) -> Result<(), Cause> {
        if host.facts.foreign.prerouting.is_empty() {
            return Ok(());
        }
        let code = if host.owns(at.dst).is_some() { Code::InputDropped } else { Code::ForwardDropped };
        let (iif, carried) = (host.name_of(came_by), Some(self.carried()));
        let packet = Forwarded { src: at.src, dst: at.dst, iif, oif: "", established, carried };
        self.outcome(id, at, foreign::pass_local(host, At::Prerouting, code, packet))
    }

    /// Asks them for whatever leaves, before its source is rewritten.
    pub(super) fn pass_postrouting(
        &mut self,
        id: NodeId,
        host: &Host,
        (came_by, way): (Option<&Dev>, &Way),
        at: Addresses,
        established: bool,
    ) -> Result<(), Cause> {
        if host.facts.foreign.postrouting.is_empty() {
            return Ok(());
        }
        let code = if came_by.is_none() { Code::OutputDropped } else { Code::ForwardDropped };
        let (iif, oif) = (came_by.map_or("", |dev| host.name_of(dev)), host.name_of(&way.dev));
        let packet =
            Forwarded { src: at.src, dst: at.dst, iif, oif, established, carried: Some(self.carried()) };
        self.outcome(id, at, foreign::pass_local(host, At::Postrouting, code, packet))
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
        self.outcome(id, at, foreign::pass_local(host, At::Input, Code::InputDropped, packet))
    }

    pub(super) const fn carried(&self) -> Carried {
        match self.seen_protocol() {
            Protocol::Icmp => Carried::Icmp,
            Protocol::Tcp(port) => Carried::Tcp(port),
            Protocol::Udp(port) => Carried::Udp(port),
        }
    }

    /// Remembers what may decide otherwise.
    pub(super) fn doubted(&mut self, id: NodeId, outcome: &foreign::Outcome) {
        self.uncertain
            .extend(outcome.uncertain.iter().map(|doubt| format!("{}: {doubt}", self.world.name(id))));
    }

    fn outcome(&mut self, id: NodeId, at: Addresses, outcome: foreign::Outcome) -> Result<(), Cause> {
        self.doubted(id, &outcome);
        match outcome.drop {
            Some(by) => Err(Cause::Foreign { node: id, src: at.src, dst: at.dst, by }),
            None => Ok(()),
        }
    }
}
