//! The thread that keeps a spoke with a relay that answers, and a relay in the know of where spokes are. It is there in every agent:
//! a node may become either while its agent runs. What is decided is decided in `failover`; here are the clock, the socket and the
//! device.

mod applier;
mod drain;
mod relay;
mod site_links;
mod sites;
mod spoke;
mod told;

use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::applier::Applier;
pub(super) use self::drain::drain;
use self::relay::RelaySide;
use self::sites::SiteSide;
use self::spoke::SpokeSide;
pub(super) use self::told::Told;
use super::agent::Looking;
use crate::app::Target;
use crate::failover::{Message, PORT};
use crate::host::link_local::{self, LinkLocal};
use crate::model::{Network, NodeName, Timestamp};
use crate::store::folder::Folder;

/// How often it is looked which network is applied, and how its sessions are.
const REFRESH: Duration = Duration::from_secs(1);
/// A socket waits no longer than this, so that what others ask of this agent is heard.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// So many datagrams are read before it is looked what is due: thousands of spokes ask in the same second.
const AT_ONCE: usize = 256;

/// What is to be sent to whom.
type Letters = Vec<(NodeName, Message)>;

/// What this node is.
enum Side {
    Spoke(Box<SpokeSide>),
    Relay(Box<RelaySide>),
}

/// Begins, on a thread that ends with the process.
pub(super) fn keep(looking: Looking) {
    sites::keep(looking.clone());
    let applier = Applier::begin(looking.clone());
    let work = move || {
        Agent {
            looking,
            applier,
            link: None,
            side: None,
            sites: None,
            began: Instant::now(),
            why: String::new(),
            has_left: false,
        }
        .run();
    };
    if let Err(error) = std::thread::Builder::new().name("failover".into()).spawn(work) {
        tracing::warn!("no thread that asks relays whether they are well: {error}");
    }
}

struct Agent {
    looking: Looking,
    applier: Applier,
    link: Option<LinkLocal>,
    side: Option<Side>,
    /// On a relay.
    sites: Option<SiteSide>,
    began: Instant,
    /// Why it does not work, as it was told last.
    why: String,
    /// Whether it was looked that nothing of failover is here, since it was last needed.
    has_left: bool,
}

impl Agent {
    fn run(mut self) {
        loop {
            let target = self.target();
            let network = target.as_ref().map(|target| Arc::clone(&target.network));
            if let Some(target) = &target {
                self.refresh(target);
            } else {
                (self.side, self.sites, self.link) = (None, None, None);
                self.leave();
            }
            match network.filter(|_| self.side.is_some() && self.link.is_some()) {
                Some(network) => self.serve(&network, self.began.elapsed() + REFRESH),
                None => std::thread::sleep(REFRESH),
            }
        }
    }

    /// The network that is applied, where this node takes part in failover.
    fn target(&self) -> Option<Target> {
        let Looking { session, name, runtime, cache, .. } = &self.looking;
        let (_, target) = cache.recorded(&session.dir, &Folder::new(&session.dir, name), runtime).ok()??;
        let now = session.later().now;
        let (network, this) = (&target.network, target.this());
        // Of a relay that another host carries there is no interface here to ask by.
        let is_elsewhere = this.floating.is_some() && link_local::index_of(name).is_none();
        let takes_part = match this.is_relay() {
            _ if is_elsewhere => false,
            true => network.failover && network.relays().nth(1).is_some(),
            false => network.can_fail_over(this, now),
        };
        takes_part.then_some(target)
    }

    /// Takes back what is for failover alone: it may have been switched off while the network is up.
    fn leave(&mut self) {
        if std::mem::replace(&mut self.has_left, true) {
            return;
        }
        self.why.clear();
        self.looking.told.cannot("");
        let Some(target) = self.looking.target() else { return };
        if let Err(error) = link_local::close(&self.looking.name, target.this().public_key.link_local()) {
            tracing::warn!("{error}");
        }
    }

    fn refresh(&mut self, target: &Target) {
        self.has_left = false;
        let (now, at) = (self.looking.session.later().now, self.began.elapsed());
        let this = target.this();
        let attached = self.looking.attached();
        let side = match self.side.take() {
            Some(Side::Spoke(side)) if !this.is_relay() => Side::Spoke(side),
            Some(Side::Relay(side)) if this.is_relay() => Side::Relay(side),
            _ if this.is_relay() => Side::Relay(Box::new(RelaySide::new(attached.clone()))),
            _ => Side::Spoke(Box::new(SpokeSide::new(target, &attached, now))),
        };
        let side = self.side.insert(side);
        let state = match side {
            Side::Spoke(side) => side.refresh(target, self.looking.report().as_ref(), now, at),
            Side::Relay(side) => side.refresh(&target.network, &target.node, now, at),
        };
        let recorded = self.looking.given_over();
        self.sites = self.sites.take().filter(|_| this.is_relay());
        if this.is_relay() {
            self.sites.get_or_insert_with(|| SiteSide::new(recorded.clone(), at));
        }
        let given = self.sites.as_ref().map(|sites| sites.given().clone()).unwrap_or_default();
        if state != attached || given != recorded {
            self.applier.submit(state, given, self.looking.told.drains());
        }
        let why = self.open(target).err().map(|error| error.to_string()).unwrap_or_default();
        if !why.is_empty() && why != self.why {
            tracing::warn!("{why}");
        }
        self.looking.told.cannot(&why);
        self.why = why;
    }

    /// Opens the socket, and opens it anew where the interface is another one.
    fn open(&mut self, target: &Target) -> Result<(), crate::host::HostError> {
        let name = &self.looking.name;
        let index = link_local::index_of(name);
        if self.link.as_ref().is_some_and(|link| Some(link.index) != index || !link_local::has_address(link))
        {
            self.link = None;
        }
        if self.link.is_none() {
            self.link = Some(link_local::open(name, target.this().public_key.link_local(), PORT)?);
        }
        Ok(())
    }

    /// Hears and says what there is until then.
    fn serve(&mut self, network: &Network, until: Duration) {
        let (Some(side), Some(link)) = (&mut self.side, &self.link) else { return };
        let told = &self.looking.told;
        let mut buffer = [0; 2048];
        loop {
            let at = self.began.elapsed();
            if at >= until {
                return;
            }
            let now: Timestamp = self.looking.session.later().now;
            let (letters, state, next) = match side {
                Side::Spoke(side) => side.poll(now, at),
                Side::Relay(side) => side.poll(network, told, now, at),
            };
            let mut letters = letters;
            let mut state = state;
            if let (Some(sites), Side::Relay(side)) = (&mut self.sites, &*side)
                && let Some(this) = side.this()
            {
                let before = sites.given().clone();
                letters.extend(sites.poll(network, this, &told.sites, at));
                if *sites.given() != before {
                    state.get_or_insert_with(|| side.attached().clone());
                }
            }
            if let Some(state) = state {
                let given = self.sites.as_ref().map(|sites| sites.given().clone()).unwrap_or_default();
                self.applier.submit(state, given, told.drains());
            }
            send(link, network, &letters);
            if let Side::Spoke(side) = side {
                side.tell(told, at);
            }
            let wait = next.map_or(LONGEST_WAIT, |next| next.saturating_sub(at)).min(LONGEST_WAIT);
            let wait = wait.min(until.saturating_sub(at)).max(Duration::from_millis(1));
            if link.socket.set_read_timeout(Some(wait)).is_err() {
                return;
            }
            // What is due is looked at once for all that has come.
            for heard in 0..AT_ONCE {
                let received = match heard {
                    0 => link.socket.recv_from(&mut buffer),
                    _ => link_local::receive_now(&link.socket, &mut buffer),
                };
                match received {
                    Ok((length, SocketAddr::V6(from))) if from.port() == PORT => {
                        let Some(message) = Message::parse(&buffer[..length]) else { continue };
                        let at = self.began.elapsed();
                        let letters = match (&mut *side, message) {
                            (Side::Relay(side), Message::Sites { sites }) => {
                                if let (Some(from), Some(known)) = (side.speaker(from.ip()), &mut self.sites)
                                {
                                    known.heard(network, from, &sites, at);
                                }
                                Letters::new()
                            }
                            (Side::Spoke(side), message) => side.heard(network, *from.ip(), message, at),
                            (Side::Relay(side), message) => {
                                side.heard(network, told, *from.ip(), message, now, at)
                            }
                        };
                        send(link, network, &letters);
                    }
                    Ok(_) => {}
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                        ) =>
                    {
                        break;
                    }
                    // The interface is gone: the next round finds out.
                    Err(_) => return,
                }
            }
        }
    }
}

/// Sends what there is to send; what gets lost is said again.
fn send(link: &LinkLocal, network: &Network, letters: &Letters) {
    for (to, message) in letters {
        let Some(node) = network.nodes.get(to) else { continue };
        let to = SocketAddrV6::new(node.public_key.link_local(), PORT, 0, link.index);
        let _lost = link.socket.send_to(&message.to_bytes(), to);
    }
}
