//! Into the tunnel and out of it: cryptokey routing, sessions, and what the path carries.

use super::{Addresses, Cause, Next, Silence, Step, Walk};
use crate::reach::host::{Dev, Host};
use crate::reach::world::NodeId;

impl Walk<'_> {
    /// Cryptokey routing on both sides: the destination picks the peer, and the source must be that peer's over there.
    pub(super) fn encrypt(&mut self, id: NodeId, host: &Host, at: Addresses) -> Result<Next, Cause> {
        let world = self.world;
        let Some((prefix, key)) = host.allowed(at.dst) else { return Err(self.not_allowed(id, at.dst)) };
        let Some(peer) = world.by_key(&key) else { return Err(self.not_allowed(id, at.dst)) };
        self.usable(peer)?;
        self.session(id, peer)?;
        self.carried_over(id, peer)?;
        let mtu = host.tunnel_mtu();
        self.narrow(mtu, || format!("{} of {}", world.network().name, world.name(id)));
        self.hop(world.name(id), Step::Encrypt, at, || {
            let endpoint = host.peer(&key).and_then(|p| p.endpoint);
            let endpoint = endpoint.map_or_else(|| "the endpoint learned".into(), |e| e.to_string());
            format!("{prefix} in AllowedIPs of peer {}, at {endpoint}", world.name(peer))
        });
        let own = &world.node(id).public_key;
        let allowed = world.host(peer).allowed(at.src);
        let Some((net, _)) = allowed.filter(|(_, k)| k == own) else {
            return Err(Cause::SourceNotAllowed { node: peer, from: id, src: at.src });
        };
        self.hop(world.name(peer), Step::Decrypt, at, || {
            format!("{net} in AllowedIPs of peer {} holds the source", world.name(id))
        });
        Ok(Next::Node(peer, Dev::Tunnel))
    }

    /// A session carries the packet if one is there already, if this side can start one, or if the other keeps one alive.
    pub(super) fn session(&mut self, id: NodeId, peer: NodeId) -> Result<(), Cause> {
        let pair = (id.min(peer), id.max(peer));
        if self.sessions.contains(&pair) {
            return Ok(());
        }
        let world = self.world;
        let seen_from = |a: NodeId, b: NodeId| world.host(a).peer(&world.node(b).public_key);
        let fail = |why| Err(Cause::NoSession { node: id, peer, why });
        if !world.host(peer).is_up() {
            return fail(Silence::Down);
        }
        let (Some(there), Some(here)) = (seen_from(id, peer), seen_from(peer, id)) else {
            return fail(Silence::UnknownPeer);
        };
        for (side, other) in [(id, peer), (peer, id)] {
            if world.host(side).drops_answers() {
                return Err(Cause::NoSession { node: side, peer: other, why: Silence::Strict });
            }
        }
        for (side, other) in [(id, peer), (peer, id)] {
            let Some(endpoint) = &world.node(side).endpoint else { continue };
            let at = endpoint.socket_addr().map(|a| a.ip());
            let given = seen_from(side, other).and_then(|p| p.endpoint).map(|e| e.ip());
            // Whom it does not know may be anybody.
            let rule = match given {
                Some(ip) => world.host(side).diverts_answers(at, ip),
                None => world.anybody().into_iter().find_map(|ip| world.host(side).diverts_answers(at, ip)),
            };
            if let Some(rule) = rule {
                return Err(Cause::AnswersDiverted { node: side, rule: Box::new(rule) });
            }
        }
        let reaches = |from: NodeId, endpoint: std::net::SocketAddr| {
            world.node(from).platform.binds_to_uplink() || !world.host(from).swallows(endpoint.ip())
        };
        let can_start = there.endpoint.is_some_and(|e| reaches(id, e));
        let is_kept = here.keepalive.is_some() && here.endpoint.is_some_and(|e| reaches(peer, e));
        if can_start || is_kept {
            self.sessions.push(pair);
            return Ok(());
        }
        fail(match (there.endpoint, here.endpoint) {
            (Some(e), _) => Silence::Swallowed(e.ip()),
            (None, Some(e)) if !reaches(peer, e) => {
                return Err(Cause::NoSession { node: peer, peer: id, why: Silence::Swallowed(e.ip()) });
            }
            (None, Some(_)) => Silence::NoKeepalive,
            (None, None) => Silence::NobodyKnows,
        })
    }

    /// Tells where the path carries less than before.
    pub(super) fn narrow(&mut self, mtu: u32, place: impl FnOnce() -> String) {
        match self.mtu {
            Some(before) if mtu < before => {
                if self.hops.is_some() {
                    let way = if self.answer { "back" } else { "there" };
                    self.notes.push(format!(
                        "the way {way} narrows from {before} to {mtu} bytes at {}: TCP is clamped where a node forwards, \
                         larger datagrams need path MTU discovery",
                        place()
                    ));
                }
                self.mtu = Some(mtu);
            }
            Some(_) => {}
            None => self.mtu = Some(mtu),
        }
    }
}
