//! What comes from outside the network, and what a host leads on by its own DNAT.

use std::net::{IpAddr, SocketAddr};

use super::{Addresses, Cause, Next, Step, Walk};
use crate::firewall::foreign::LocalFilter;
use crate::firewall::foreign::forward::Forwarded;
use crate::firewall::{Action, Family, Hook, nft_text};
use crate::reach::host::{Dev, Host};
use crate::reach::rules::{Decision, Packet, Protocol, Tracking, evaluate};
use crate::reach::world::{NodeId, Spot};

impl Walk<'_> {
    /// Somebody outside sends. What is for a node with an endpoint he calls by its address outside; anything else he has a
    /// route for, by the node that it is behind: nobody is to be safe only because others have no route.
    pub(super) fn sent_from_outside(
        &mut self,
        from: Spot,
        to: Spot,
        at: &mut Addresses,
    ) -> Result<Next, Cause> {
        let world = self.world;
        let home = |id| world.home(world.node(id)).and_then(|relay| world.id(&relay.name));
        let relay = || world.ids().find(|id| world.node(*id).is_relay());
        let by = match (from, to) {
            (Spot::Lan(id, _), _) => id,
            (_, Spot::Host(site, _)) => site.node,
            (_, Spot::Neighbour(id, _)) => id,
            (_, Spot::Node(id, _)) if world.node(id).endpoint.is_some() => id,
            (_, Spot::Node(id, _)) => home(id).or_else(relay).ok_or(Cause::NothingInCommon)?,
            _ => relay().ok_or(Cause::NothingInCommon)?,
        };
        if !world.is_active(by) {
            return Err(Cause::Inactive(by));
        }
        let host = world.host(by);
        let uplink = host.uplink(at.dst.is_ipv6()).ok_or(Cause::NothingInCommon)?;
        if let Spot::Node(id, tunnel) = to
            && id == by
            && tunnel == at.dst
            && let Some(own) = host.address_on(&uplink, at.dst.is_ipv6())
        {
            at.dst = own;
        }
        self.asked = *at;
        Ok(Next::Node(by, uplink))
    }

    /// Rewrites the destination where a rule of ours says so: of what is for this host's own address, and for an alias of its sites.
    pub(super) fn lead_on(&mut self, id: NodeId, host: &Host, came_by: &Dev, at: &mut Addresses) {
        let Some(table) = &host.state.firewall else { return };
        if !table.chains.iter().any(|chain| chain.hook == Hook::Dstnat) && host.owns(at.dst).is_none() {
            return;
        }
        let packet = Packet {
            src: at.src,
            dst: at.dst,
            protocol: self.seen_protocol(),
            flow: self.seen_protocol(),
            iif: Some(host.name_of(came_by)),
            oif: "",
            tracking: Tracking::New,
            dnatted: None,
        };
        let result = evaluate(table, Hook::Dstnat, &packet);
        self.was_compared(&result.compared);
        let Decision::Dnat(to, port) = result.decision else {
            if host.owns(at.dst).is_some() {
                self.led_by_others(id, host, came_by, at);
            }
            return;
        };
        let is_alias = result.rule.is_some_and(|rule| matches!(rule.action, Action::DnatPrefix(_)));
        let step = if is_alias { Step::Netmap } else { Step::Dnat };
        let rule = result.rule.map(nft_text::rule_text).unwrap_or_default();
        self.rewrite(id, at, (to, port), step, rule);
    }

    fn rewrite(
        &mut self,
        id: NodeId,
        at: &mut Addresses,
        (to, port): (IpAddr, Option<u16>),
        step: Step,
        rule: String,
    ) {
        self.rewritten = Some((id, at.dst));
        at.dst = to;
        self.protocol = match (self.protocol, port) {
            (Protocol::Tcp(_), Some(port)) => Protocol::Tcp(port),
            (Protocol::Udp(_), Some(port)) => Protocol::Udp(port),
            (same, _) => same,
        };
        self.hop(self.world.name(id), step, *at, || rule);
    }

    /// Does the same where a rule of the host's owner, or of Docker, says so. What Docker sends on it lets through itself; what goes
    /// to no place of the network is not followed.
    fn led_by_others(&mut self, id: NodeId, host: &Host, came_by: &Dev, at: &mut Addresses) {
        let ipv6 = at.dst.is_ipv6();
        let is_of = |filter: &&LocalFilter| filter.family.is_none_or(|f| (f == Family::V6) == ipv6);
        for filter in host.facts.foreign.dnat.iter().filter(is_of) {
            let Addresses { src, dst } = *at;
            let carried = Some(self.carried());
            let iif = host.name_of(came_by);
            let judged =
                filter.rules.judge(Forwarded { src, dst, iif, oif: "", established: false, carried });
            let name = self.world.name(id);
            let doubt = |rule: &String| format!("{name}: {} {rule} may send it on", filter.place);
            self.uncertain.extend(judged.doubts.iter().map(doubt));
            let Some((to, port, rule)) = judged.led else { continue };
            let rule = format!("{} {rule}", filter.place);
            let is_dockers = rule.contains("DOCKER") || rule.contains("docker-bridges");
            let shown = port.map_or_else(|| to.to_string(), |port| SocketAddr::new(to, port).to_string());
            if is_dockers {
                self.notes
                    .push(format!("Docker of {name} sends it on to {shown}, and lets it through itself"));
            } else if self.world.is_place(self.world.seen_at(id, to)) {
                self.rewrite(id, at, (to, port), Step::Dnat, rule);
            } else {
                self.uncertain.push(format!(
                    "{name} sends it on to {shown} ({rule}), which is no place of the network"
                ));
            }
            return;
        }
    }

    /// Where the packet's flow was going before this node rewrote its destination.
    pub(super) fn dnatted(&self, id: NodeId, at: Addresses) -> Option<IpAddr> {
        if !self.answer {
            return self.rewritten.filter(|(node, _)| *node == id).map(|(_, asked)| asked);
        }
        let of_flow = |e: &&super::Entry| e.node == id && e.answer.0 == at.src && e.original.0 == at.dst;
        let entry = self.entries.iter().find(of_flow)?;
        (entry.original.1 != entry.answer.0).then_some(entry.original.1)
    }
}
