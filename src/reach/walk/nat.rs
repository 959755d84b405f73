//! What a host makes of a packet's source as it leaves: an alias, or its own address.

use std::net::IpAddr;

use super::{Addresses, Step, Walk};
use crate::firewall::{Hook, Table, nft_text};
use crate::reach::host::{Dev, Host, Way};
use crate::reach::rules::{Decision, Packet, Tracking, evaluate};
use crate::reach::world::NodeId;

impl Walk<'_> {
    /// The address under which the others know who sends, where his site has an alias.
    pub(super) fn aliased(
        &mut self,
        id: NodeId,
        host: &Host,
        came_by: Option<&Dev>,
        way: &Way,
        at: Addresses,
    ) -> Option<(IpAddr, String)> {
        let table = host.state.firewall.as_ref()?;
        match self.leaving(id, host, table, Hook::Srcnat, (came_by, way, at)) {
            Some((Decision::Snat(src), rule)) => Some((src, rule)),
            _ => None,
        }
    }

    /// The rule that has it leave with this host's address; `None`: it keeps its own.
    pub(super) fn masquerade(
        &mut self,
        id: NodeId,
        host: &Host,
        came_by: Option<&Dev>,
        way: &Way,
        at: Addresses,
    ) -> Option<String> {
        let found = host.state.firewall.as_ref();
        let found =
            found.and_then(|table| self.leaving(id, host, table, Hook::Postrouting, (came_by, way, at)));
        if let Some((Decision::Masquerade, rule)) = found {
            return Some(rule);
        }
        self.world
            .is_docker_masqueraded(id, at.src, host.name_of(&way.dev))
            .then(|| "Docker masquerades what its containers send elsewhere".into())
    }

    /// Gives an answer the source back that its question was sent to, where this host rewrote that.
    pub(super) fn restore_source(&mut self, id: NodeId, at: &mut Addresses) {
        let asked = if self.answer { self.dnatted(id, *at) } else { None };
        let Some(asked) = asked else { return };
        let before = std::mem::replace(&mut at.src, asked);
        self.hop(self.world.name(id), Step::Restore, *at, || {
            format!("connection tracking: {before} stood for {asked}")
        });
    }

    fn leaving(
        &mut self,
        id: NodeId,
        host: &Host,
        table: &Table,
        hook: Hook,
        (came_by, way, at): (Option<&Dev>, &Way, Addresses),
    ) -> Option<(Decision, String)> {
        let packet = Packet {
            src: at.src,
            dst: at.dst,
            protocol: self.seen_protocol(),
            flow: self.seen_protocol(),
            iif: came_by.map(|dev| host.name_of(dev)),
            oif: host.name_of(&way.dev),
            tracking: Tracking::New,
            dnatted: self.dnatted(id, at),
        };
        let result = evaluate(table, hook, &packet);
        self.was_compared(&result.compared);
        Some((result.decision, nft_text::rule_text(result.rule?)))
    }
}
