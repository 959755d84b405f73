//! Who hears everything: on every host, in every tunnel, and on the Internet's side of every uplink.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt::RcvBufForce,
};

use super::flows::{Flow, From, PORT, of_payload, recognised};
use super::lab::Lab;
use super::windows::{Guard, Windows};

/// `ARPHRD_NONE`: a link without a link layer, which here is the tunnel's.
const TUNNEL: u16 = 0xfffe;
/// `PACKET_OUTGOING`.
const OUTGOING: u8 = 4;
/// Room for what comes in between two looks.
const ROOM: usize = 8 << 20;

/// All of them.
pub struct Sniffers {
    /// By space.
    links: Vec<OwnedFd>,
    /// What nodes accept, by space.
    nodes: Vec<(usize, UdpSocket)>,
    /// The nodes at the far end of the Internet's links, by the link's number.
    uplinks: BTreeMap<usize, usize>,
}

/// What came of a look.
#[derive(Debug, Default)]
pub struct Heard {
    /// What should not have arrived.
    pub wrong: Vec<String>,
    /// How many arrived because somebody had opened.
    pub excused: u64,
}

impl Sniffers {
    /// Listens everywhere in a lab.
    pub fn of(lab: &Lab) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let listen = |space: usize| {
            lab.inside(space, || {
                let ear = socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll)?;
                setsockopt(&ear, RcvBufForce, &ROOM)?;
                Ok(ear)
            })
        };
        let accepts = |space: usize| {
            lab.inside(space, || {
                let socket = UdpSocket::bind(("::", PORT)).or_else(|_| UdpSocket::bind(("0.0.0.0", PORT)))?;
                socket.set_nonblocking(true)?;
                Ok((space, socket))
            })
        };
        let mut numbers = BTreeMap::new();
        let shown = lab.run(0, "ip -o link show");
        for line in String::from_utf8(shown.stdout).unwrap().lines() {
            let mut words = line.split(": ");
            let number = words.next().and_then(|n| n.trim().parse::<usize>().ok());
            let name = words.next().and_then(|n| n.split('@').next()).unwrap_or_default().to_owned();
            let cable = lab.topology.cables.iter().find(|c| c.0.space == 0 && c.0.link == name);
            if let (Some(number), Some(cable)) = (number, cable) {
                numbers.insert(number, cable.1.space);
            }
        }
        Self {
            links: (0..lab.spaces.len()).map(listen).collect(),
            nodes: lab.nodes().map(|(space, _)| accepts(space)).collect(),
            uplinks: numbers,
        }
    }

    /// What arrived since the last look.
    pub fn heard(&self, lab: &Lab, flows: &[Flow], windows: &Windows) -> Heard {
        let mut heard = Heard::default();
        let mut note = |flow: &Flow, guards: &[Guard], sent: Duration, place: String| {
            if guards.iter().any(|guard| windows.was_open(*guard, sent)) {
                heard.excused += 1;
            } else {
                heard.wrong.push(format!("{}: {place}, sent at {sent:?}, {guards:?}", flow.what));
            }
        };
        let mut bytes = [0; 256];
        for (space, ear) in self.links.iter().enumerate() {
            while let Ok((length, from)) = recvfrom::<LinkAddr>(ear.as_raw_fd(), &mut bytes) {
                let (Some(from), Some((number, sent))) = (from, recognised(&bytes[..length])) else {
                    continue;
                };
                let Some(flow) = flows.get(number) else { continue };
                if let Some(guards) = self.judged(lab, flow, space, &from) {
                    note(flow, &guards, sent, format!("seen in {}", lab.topology.spaces[space].name));
                }
            }
        }
        for (space, socket) in &self.nodes {
            while let Ok((length, _)) = socket.recv_from(&mut bytes) {
                let Some((number, sent)) = of_payload(&bytes[..length]) else { continue };
                let flow = &flows[number];
                if flow.at == Some(*space) {
                    note(flow, &flow.guards, sent, "accepted".into());
                }
            }
        }
        heard
    }

    /// What should have kept a packet from being seen there, if anything.
    fn judged(&self, lab: &Lab, flow: &Flow, space: usize, seen: &LinkAddr) -> Option<Vec<Guard>> {
        let is_node = lab.topology.spaces[space].node.is_some();
        match &flow.from {
            // What a spoke without sites forwards is its owner's matter; the relay refuses it.
            From::Outsider(link) if is_node => {
                let own = space != link.node || has_rules(lab, space);
                // Also by whoever let him in at the other end.
                (seen.hatype() == TUNNEL && own).then(|| vec![Guard::Tunnel(link.node), Guard::Tunnel(space)])
            }
            _ if is_node || seen.pkttype() == OUTGOING => None,
            // The Internet's end of the link that it came from is where it was sent.
            From::Outsider(link) if space == 0 => {
                let far = self.uplinks.get(&seen.ifindex());
                (link.bridge.is_some() || far != Some(&link.node)).then(|| flow.guards.clone())
            }
            From::Outsider(link) => {
                let attached = lab.attached(space);
                let by: Vec<_> = attached.iter().filter(|(node, _)| *node == link.node).collect();
                match by[..] {
                    // It went through a tunnel, or through other nodes.
                    [] => {
                        let ends = attached.iter().map(|(node, _)| Guard::Tunnel(*node));
                        Some(ends.chain([Guard::Tunnel(link.node)]).collect())
                    }
                    // It is on the very segment.
                    _ if by.iter().any(|(_, name)| Some(name) == link.bridge.as_ref()) => None,
                    _ => Some(flow.guards.clone()),
                }
            }
            From::Place(_) if flow.at != Some(space) => None,
            From::Place(_) if space == 0 => {
                let Some(Guard::Full(node) | Guard::Beside(node)) = flow.guards.first() else { return None };
                (self.uplinks.get(&seen.ifindex()) == Some(node)).then(|| flow.guards.clone())
            }
            From::Place(_) => Some(flow.guards.clone()),
        }
    }
}

/// Whether a node has rules of ours: one that has neither sites nor spokes forwards nothing of the network's.
fn has_rules(lab: &Lab, space: usize) -> bool {
    let name = lab.topology.spaces[space].node.as_ref();
    name.and_then(|name| lab.network.nodes.get(name)).is_some_and(|n| n.is_relay() || !n.sites.is_empty())
}
