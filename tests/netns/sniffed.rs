//! Strangers who try all the time, and who hears them: what must not arrive is counted, whatever else goes on.
#![expect(clippy::print_stdout, reason = "how much there was is worth knowing")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::rig::drive::Wgrelay;
use crate::rig::node::Node;
use crate::rig::topology::{Families, Topology};
use crate::strangers::{BESIDE, BESIDE6, CONTAINER, CONTAINER6, relay};

const PORT: u16 = 7300;

/// Datagrams from those who may not, every few milliseconds, and how many arrived.
pub struct Strangers {
    sockets: Vec<(UdpSocket, SocketAddr)>,
    hosts: Vec<(String, UdpSocket)>,
    sent: AtomicUsize,
    ended: AtomicBool,
}

impl Strangers {
    fn of(t: &Topology) -> Self {
        let flows: [(&Node, &Node, &'static str); 6] = [
            (&t.internet, &t.container, CONTAINER),
            (&t.internet, &t.container, CONTAINER6),
            (&t.internet, &t.docker, BESIDE),
            (&t.internet, &t.docker, BESIDE6),
            (&t.container, &t.internet, "203.0.113.1"),
            (&t.container, &t.internet, "2001:db8:1::1"),
        ];
        let mut this = Self {
            sockets: Vec::new(),
            hosts: Vec::new(),
            sent: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        };
        for (from, to, address) in flows {
            let address = SocketAddr::new(address.parse().expect("an address"), PORT);
            let any = if address.is_ipv6() { "::" } else { "0.0.0.0" };
            let caller = from.inside(|| UdpSocket::bind((any, 0))).expect("a port is free");
            let host = to.inside(|| UdpSocket::bind(address)).expect("the port is free");
            host.set_nonblocking(true).expect("it is a socket");
            this.sockets.push((caller, address));
            this.hosts.push((to.name.clone(), host));
        }
        this
    }

    fn send(&self) {
        while !self.ended.load(Ordering::Relaxed) {
            for (socket, address) in &self.sockets {
                let _unreachable = socket.send_to(b"let me in", address);
                self.sent.fetch_add(1, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// What arrived since the last time: where, and from whom.
    pub fn arrived(&self) -> Vec<String> {
        let mut bytes = [0; 64];
        let mut all = Vec::new();
        for (name, host) in &self.hosts {
            while let Ok((_, from)) = host.recv_from(&mut bytes) {
                all.push(format!("{name} hears {from}"));
            }
        }
        all
    }
}

/// A relay that serves its network alone, with strangers on every side; work has it in hand.
pub fn with_strangers(work: impl FnOnce(&Topology, &Wgrelay<'_>, &Strangers)) {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let relay = relay(&t);
    let strangers = Strangers::of(&t);
    std::thread::scope(|scope| {
        scope.spawn(|| strangers.send());
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&t, &relay, &strangers)));
        strangers.ended.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    println!("{} datagrams of strangers, none arrived", strangers.sent.load(Ordering::Relaxed));
}
