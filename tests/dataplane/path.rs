//! A path to a device that loses, repeats, swaps, corrupts and replays datagrams by a seed, and counts what goes by.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::rig::{PORT, Rig};

/// The port on which a path takes what is for the device behind it.
pub const PATH_PORT: u16 = 9000;

/// How bad a path is: datagrams in a thousand, each way.
#[derive(Clone, Copy, Default)]
pub struct Weather {
    pub lost: u32,
    pub doubled: u32,
    pub swapped: u32,
    pub corrupted: u32,
    pub replayed: u32,
}

/// What went by in one direction.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Messages that came in, by their first byte: 1 initiation, 2 response, 3 cookie, 4 data.
    pub types: [u64; 5],
    /// Initiations with a second MAC, as a cookie allows.
    pub proved: u64,
    /// Delivered datagrams that the device must drop: copies, corrupted ones, replays.
    pub bad: u64,
}

/// A path that runs until dropped.
pub struct Path {
    ends: Arc<AtomicBool>,
    tally: Arc<Mutex<[Tally; 2]>>,
    thread: Option<JoinHandle<()>>,
}

impl Path {
    /// Leads from [`PATH_PORT`] of one side's namespace to the device there.
    pub fn start(rig: &Rig, side: char, weather: Weather, seed: u64) -> Self {
        let (front, back) = rig.inside(side, || {
            let front = UdpSocket::bind(("0.0.0.0", PATH_PORT)).expect("the port is free");
            let back = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
            back.connect(("127.0.0.1", PORT)).expect("lo is up");
            (front, back)
        });
        for socket in [&front, &back] {
            socket.set_nonblocking(true).expect("a socket can");
        }
        let (ends, tally) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut work = Work {
            sockets: [front, back],
            client: None,
            weather,
            random: seed | 1,
            held: Vec::new(),
            seen: [VecDeque::new(), VecDeque::new()],
            tally: Arc::clone(&tally),
        };
        let told = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                work.round();
            }
        });
        Self { ends, tally, thread: Some(thread) }
    }

    /// What went towards the device, and what came from it.
    pub fn tally(&self) -> [Tally; 2] {
        *self.tally.lock().expect("nobody panicked")
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Work {
    /// Towards the network, towards the device.
    sockets: [UdpSocket; 2],
    client: Option<SocketAddr>,
    weather: Weather,
    random: u64,
    /// Held back: direction, after how many others, what.
    held: Vec<(usize, u32, Vec<u8>)>,
    seen: [VecDeque<Vec<u8>>; 2],
    tally: Arc<Mutex<[Tally; 2]>>,
}

impl Work {
    fn round(&mut self) {
        let mut buffer = [0; 65536];
        let mut idle = true;
        for direction in 0..2 {
            for _ in 0..64 {
                match self.sockets[direction].recv_from(&mut buffer) {
                    Ok((length, from)) => {
                        idle = false;
                        if direction == 0 {
                            self.client = Some(from);
                        }
                        self.carry(direction, &buffer[..length]);
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    // Nobody listens, for a moment.
                    Err(_) => break,
                }
            }
        }
        if idle {
            for (direction, _, datagram) in std::mem::take(&mut self.held) {
                self.deliver(direction, &datagram);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Tells whether something happens that happens so many times in a thousand (xorshift64).
    fn happens(&mut self, in_a_thousand: u32) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 16) % 1000 < in_a_thousand.into()
    }

    fn carry(&mut self, direction: usize, datagram: &[u8]) {
        let kind = usize::from(datagram[0]);
        self.note(direction, |tally| {
            tally.types[kind.min(4)] += 1;
            tally.proved += u64::from(kind == 1 && datagram[datagram.len() - 16..] != [0; 16]);
        });
        let seen = &mut self.seen[direction];
        seen.push_back(datagram.to_vec());
        if seen.len() > 200 {
            seen.pop_front();
        }
        let weather = self.weather;
        if self.happens(weather.lost) {
            return;
        }
        if self.happens(weather.corrupted) {
            let mut bytes = datagram.to_vec();
            // A handshake's second MAC is looked at under load only.
            let end = if kind == 4 { bytes.len() } else { bytes.len() - 32 };
            let at = (self.random >> 20) as usize % end;
            bytes[at] ^= 1 << (self.random % 8);
            self.deliver(direction, &bytes);
            return self.note(direction, |tally| tally.bad += 1);
        }
        if self.happens(weather.swapped) {
            let after = 1 + (self.random >> 24) as u32 % 8;
            self.held.push((direction, after, datagram.to_vec()));
            return;
        }
        self.deliver(direction, datagram);
        if self.happens(weather.doubled) {
            self.deliver(direction, datagram);
            self.note(direction, |tally| tally.bad += 1);
        }
        if self.happens(weather.replayed) {
            // One that went by long enough ago not to be held back any more; it may have been lost, and is good then.
            let old = self.seen[direction][0].clone();
            self.deliver(direction, &old);
        }
        for i in (0..self.held.len()).rev() {
            if self.held[i].0 == direction {
                self.held[i].1 -= 1;
                if self.held[i].1 == 0 {
                    let (_, _, datagram) = self.held.remove(i);
                    self.deliver(direction, &datagram);
                }
            }
        }
    }

    fn deliver(&self, direction: usize, datagram: &[u8]) {
        let _a_loss_is_a_loss = match (direction, self.client) {
            (0, _) => self.sockets[1].send(datagram),
            (_, Some(client)) => self.sockets[0].send_to(datagram, client),
            (_, None) => Ok(0),
        };
    }

    fn note(&self, direction: usize, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().expect("nobody panicked")[direction]);
    }
}
