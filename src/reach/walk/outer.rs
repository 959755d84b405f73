//! The tunnel's own datagrams, which carry packets to a peer: what the filters on both hosts make of them.

use std::net::{IpAddr, SocketAddr};

use super::{Cause, Walk};
use crate::firewall::foreign::forward::{Carried, Forwarded};
use crate::model::Endpoint;
use crate::reach::cause::Code;
use crate::reach::foreign::{self, At};
use crate::reach::host::{Dev, Host, Sought};
use crate::reach::world::NodeId;

/// A port that somebody chose by chance, and no rule names.
const ANY_PORT: u16 = 50_001;

/// One side's datagrams on a host.
#[derive(Clone, Copy)]
struct Outer {
    /// The other end.
    far: SocketAddr,
    /// The port on this host.
    near: u16,
    /// Whether the other end spoke first.
    is_called: bool,
}

impl Walk<'_> {
    /// Asks the filters of both hosts for the datagrams of a session there and back: of two that could begin it, whoever sends.
    pub(super) fn carried_over(&mut self, id: NodeId, peer: NodeId) -> Result<(), Cause> {
        let world = self.world;
        let known = |from: NodeId, to: NodeId| {
            world.host(from).peer(&world.node(to).public_key).and_then(|p| p.endpoint)
        };
        let (caller, called, to) = match (known(id, peer), known(peer, id)) {
            (Some(to), _) => (id, peer, to),
            (None, Some(to)) => (peer, id, to),
            (None, None) => return Ok(()),
        };
        let port = |node: NodeId| world.node(node).listen_port().unwrap_or(ANY_PORT);
        // Where the caller is known by an address, it has that; else it may have any.
        let from = known(called, caller).unwrap_or_else(|| {
            let any = world.anybody();
            SocketAddr::new(any[usize::from(to.is_ipv6())], port(caller))
        });
        self.leads_to(caller, to.ip())?;
        self.outer(caller, Outer { far: to, near: port(caller), is_called: false })?;
        self.outer(called, Outer { far: from, near: to.port(), is_called: true })
    }

    /// Says no where others' policy rules leave the datagrams of whoever calls no way to where it calls.
    fn leads_to(&mut self, id: NodeId, to: IpAddr) -> Result<(), Cause> {
        let host = self.world.host(id);
        let mark = host.state.device.as_ref().map_or(0, |d| d.fwmark);
        let chosen = host.choose(Sought { dst: to, src: None, came_by: None }, mark);
        match (chosen.way, chosen.rule) {
            (None, Some(rule)) => {
                let (priority, rule) = (rule.priority, rule.to_string());
                Err(Cause::Ruled { node: id, dst: to, rule, priority, by: None })
            }
            _ => Ok(()),
        }
    }

    /// Asks one host's filters for what it sends there and gets from there.
    fn outer(&mut self, id: NodeId, outer: Outer) -> Result<(), Cause> {
        let host = self.world.host(id);
        let foreign = &host.facts.foreign;
        let (sent, got) = (&foreign.local_output, &foreign.local_input);
        if [sent, got, &foreign.prerouting, &foreign.postrouting].iter().all(|filters| filters.is_empty()) {
            return Ok(());
        }
        let Some((links, own)) = self.outside_of(id, host, outer.far.ip()) else { return Ok(()) };
        let Outer { far, near, is_called } = outer;
        let out = Forwarded {
            src: own,
            dst: far.ip(),
            iif: "",
            oif: &links[0],
            established: is_called,
            carried: Some(Carried::Udp(far.port())),
        };
        let back = Forwarded {
            src: far.ip(),
            dst: own,
            iif: &links[1],
            oif: "",
            established: !is_called,
            carried: Some(Carried::Udp(near)),
        };
        for (at, code, packet) in [
            (At::Output, Code::OutputDropped, out),
            (At::Postrouting, Code::OutputDropped, out),
            (At::Prerouting, Code::InputDropped, back),
            (At::Input, Code::InputDropped, back),
        ] {
            let outcome = foreign::pass_local(host, at, code, packet);
            self.doubted(id, &outcome);
            if let Some(by) = outcome.drop {
                return Err(Cause::Outer { node: id, by });
            }
        }
        Ok(())
    }

    /// The links by which a host sends to the outside and gets from there, and its address there: what the file calls it by, where
    /// it has that.
    fn outside_of(&self, id: NodeId, host: &Host, far: IpAddr) -> Option<([String; 2], IpAddr)> {
        let mark = host.state.device.as_ref().map_or(0, |d| d.fwmark);
        let way = host.route(far, None, mark)?;
        let Dev::Link(sends) = &way.dev else { return None };
        let written = self.world.node(id).endpoint.as_ref().and_then(Endpoint::socket_addr).map(|a| a.ip());
        let own = written.and_then(|own| Some((own, host.owns(own)?)));
        Some(match own {
            Some((own, Dev::Link(gets))) => ([sends.clone(), gets.clone()], own),
            Some((own, Dev::Tunnel)) => ([sends.clone(), sends.clone()], own),
            None => ([sends.clone(), sends.clone()], host.source(&way, far)?),
        })
    }
}
