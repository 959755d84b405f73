//! `wgrelay run`: hosts the embedded data plane and holds the host to the network last applied.
//!
//! One thread of tokio: a control socket, the device's end, signals, and a tick. Looking at the host and
//! changing it is blocking work and runs beside it, under the same lock that `up` and `down` take.

#![expect(
    clippy::disallowed_methods,
    reason = "the agent lives on the machine: sockets, processes, the clock"
)]

pub mod agent;
mod control_socket;
mod device;
mod failover;
mod floating;
mod follow;
mod metrics;
mod pace;
pub mod protocol;
pub mod supervise;
mod traffic;
mod untold;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};

pub use device::LocalDevice;
pub use metrics::{Metrics, listen_at};
pub use pace::Looked;

use crate::app::Extent;
use crate::dataplane::EndReason;
use crate::host::HostError;
use crate::host::agent_process::Runtime;
use crate::host::docker::{Engine, Events};
use crate::host::netlink_monitor::{Concern, LastAuthor, NetlinkMonitor};
use crate::model::{InterfaceName, NodeName};
use crate::plan::table_name;
use crate::status::State;

use self::pace::Pace;
use self::untold::LookedAt;

/// How often the host is compared with what was applied, in seconds. A rule of iptables-legacy that somebody
/// replaced by one of its size, for one, nobody tells of, so something has to look.
const TICK: Duration = Duration::from_secs(30);

/// How often it is glanced at what nobody tells of.
const GLANCE: Duration = Duration::from_secs(1);

/// How long links and rules are left to settle after a change before the host is looked at.
const SETTLE: Duration = Duration::from_millis(200);

/// How long an engine that is not there, or gone, is left alone. Its start is news of the kernel's anyway.
const ENGINE_PAUSE: Duration = Duration::from_secs(5);

/// Why the agent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It was asked to, over its socket: whoever asked takes care of the rest.
    Stopped,
    /// A signal: the network is to be taken down.
    Signal,
    /// The data plane ended by itself.
    Device(String),
}

/// What the agent does at each look: compares and repairs. Blocking; what fails is logged and tried again.
/// Says also whether anything was changed.
pub type Reconcile = Arc<dyn Fn(Extent) -> (Looked, bool) + Send + Sync>;

/// Sums up what nobody tells of; blocking, and cheap. Whether it is news, `untold` says.
pub type Glance = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A status as `status --json` prints it.
pub struct StatusReply {
    /// In one word.
    pub state: State,
    /// The text.
    pub json: Vec<u8>,
}

/// Looks at the host for `status`, for networks of this folder; blocking. Where it cannot, whoever asks looks himself.
pub type StatusProvider = Arc<dyn Fn(&Path) -> Result<StatusReply, String> + Send + Sync>;

/// Has spokes leave a relay, this one or another, or has it carry again; what failed and what to do otherwise. Blocking.
pub type Drain = Arc<dyn Fn(&NodeName, bool) -> Result<(), (String, String)> + Send + Sync>;

/// What an agent serves.
pub struct Serving {
    /// The network.
    pub network: InterfaceName,
    /// Its runtime folder.
    pub runtime: Runtime,
    /// The embedded device, where there is one.
    pub device: Option<LocalDevice>,
    /// The work of a tick.
    pub reconcile: Reconcile,
    /// Which routes of others are news.
    pub concern: Concern,
    /// Hears who changes our table.
    pub author: LastAuthor,
    /// What is looked at each second.
    pub glance: Glance,
    /// Follows the store that the network may be in, as long as the process lives.
    pub follow: Box<dyn FnOnce() + Send>,
    /// What `status` asks for.
    pub status: StatusProvider,
    /// What `drain` asks for.
    pub drain: Drain,
    /// Metrics, where somebody asked for them.
    pub metrics: Option<Metrics>,
    /// Whether it ends with its terminal. An agent of `up` has none, and does not care.
    pub hangs_up: bool,
}

/// Serves until it is stopped.
///
/// # Errors
/// The control socket cannot be made, or a signal handler cannot be installed, or the metrics' address is taken.
pub fn serve(mut serving: Serving) -> Result<End, HostError> {
    let fault = |e: std::io::Error| HostError::new("run", "the agent", e);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fault)?;
    runtime.block_on(async {
        let metered = match serving.metrics.take() {
            None => None,
            Some(Metrics { listener, render }) => {
                listener.set_nonblocking(true).map_err(fault)?;
                let listener = tokio::net::TcpListener::from_std(listener).map_err(fault)?;
                Some(tokio::spawn(metrics::serve(listener, render)))
            }
        };
        let end = events(serving).await.map_err(fault);
        if let Some(task) = metered {
            task.abort();
        }
        end
    })
}

async fn events(serving: Serving) -> std::io::Result<End> {
    let is_ending = Arc::default();
    let mut signalled = until_a_signal(serving.hangs_up, Arc::clone(&is_ending))?;
    let (wake, mut woken) = mpsc::channel(4);
    let (stop, mut stopped) = mpsc::channel(1);
    let socket = control_socket::Served {
        network: serving.network.to_string(),
        device: serving.device.clone(),
        status: Arc::clone(&serving.status),
        drain: Arc::clone(&serving.drain),
        client_id: serving.runtime.client_id(),
        is_ending,
        looks: Arc::new(Semaphore::new(control_socket::LOOKS)),
        wake,
        stop,
    };
    let listener = control_socket::listen(&serving.runtime)?;
    let accept = tokio::spawn(control_socket::accept(listener, socket));
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + TICK, TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (changed, mut changes) = mpsc::channel(1);
    watch_kernel(NetlinkMonitor::of_links(Arc::clone(&serving.concern))?, changed.clone());
    // A kernel without nftables has no news of it.
    if let Ok(news) = NetlinkMonitor::of_filters(table_name(&serving.network), serving.author.clone()) {
        watch_kernel(news, changed.clone());
    }
    let looked_at = LookedAt::default();
    watch_the_untold(Arc::clone(&serving.glance), looked_at.clone(), changed.clone());
    watch("a shared store", serving.follow);
    if let Some(engine) = Engine::here() {
        watch_engine(engine, changed);
    }
    let began = tokio::time::Instant::now();
    let mut pace = Pace::default();
    let mut told = String::new();
    // Without a device nothing is ever heard of it.
    let device = serving.device.clone().unwrap_or_default();
    let end = loop {
        tokio::select! {
            Some(()) = signalled.recv() => break End::Signal,
            Some(()) = stopped.recv() => break End::Stopped,
            () = device.ended() => match device.end_reason() {
                // Another one has taken its place already, or is to.
                None | Some(EndReason::InterfaceGone) => {}
                Some(why) => break End::Device(why.to_string()),
            },
            Some(()) = woken.recv() => {}
            Some(()) = changes.recv() => settle(&mut changes).await,
            () = device.touched() => settle(&mut changes).await,
            () = tokio::time::sleep_until(began + pace.next().unwrap_or_default()), if pace.next().is_some() => {}
            _ = tick.tick() => {}
        }
        let (reconcile, glance) = (Arc::clone(&serving.reconcile), Arc::clone(&serving.glance));
        let extent = pace.extent(began.elapsed());
        let looked_at = looked_at.clone();
        let look = move || {
            let before = glance();
            let (looked, repaired) = reconcile(extent);
            if looked != Looked::Busy {
                looked_at.looked(before, repaired);
            }
            looked
        };
        let looked = tokio::task::spawn_blocking(look).await.unwrap_or_else(|error| Looked::Failed {
            why: format!("a look at the host ended badly: {error}"),
            restricted: false,
        });
        match &looked {
            // What goes on failing is told once.
            Looked::Failed { why, .. } if *why != told => {
                tracing::warn!("{why}");
                told.clone_from(why);
            }
            Looked::Right => told.clear(),
            _ => {}
        }
        pace.looked(extent, &looked, began.elapsed());
    };
    accept.abort();
    if let Some(device) = &serving.device {
        device.stop();
    }
    serving.runtime.remove_control_socket();
    Ok(end)
}

/// Hears the signals that end an agent, also while it looks at the host. From then on it answers nobody, who would be told of a network
/// that is about to go.
fn until_a_signal(hangs_up: bool, is_ending: Arc<AtomicBool>) -> std::io::Result<mpsc::Receiver<()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (tell, told) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => if hangs_up { break },
            }
        }
        is_ending.store(true, Ordering::Relaxed);
        let _ = tell.send(()).await;
    });
    Ok(told)
}

/// Waits for what changes together: it is looked at together, and our own changes come back as news, too.
async fn settle(changes: &mut mpsc::Receiver<()>) {
    tokio::time::sleep(SETTLE).await;
    while changes.try_recv().is_ok() {}
}

/// Watches on a thread of its own. Where there is none to be had, the look at each tick finds what it would have told of.
fn watch(what: &'static str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().spawn(work) {
        tracing::warn!("no thread that watches {what}: {error}; it is looked for every {} s", TICK.as_secs());
    }
}

/// Tells when something of this network namespace changes that may be ours to follow: a site's interface appears,
/// somebody takes an address off ours, Docker writes its rules anew.
fn watch_kernel(news: NetlinkMonitor, tell: mpsc::Sender<()>) {
    watch("the kernel's news", move || {
        while news.wait().is_ok() {
            // A full queue means that a look at the host is coming anyway.
            if let Err(mpsc::error::TrySendError::Closed(())) = tell.try_send(()) {
                return;
            }
        }
    });
}

/// Tells when a glance sees something that no look was made of.
fn watch_the_untold(glance: Glance, looked_at: LookedAt, tell: mpsc::Sender<()>) {
    watch("what nobody announces", move || {
        loop {
            std::thread::sleep(GLANCE);
            if looked_at.is_news(glance())
                && let Err(mpsc::error::TrySendError::Closed(())) = tell.try_send(())
            {
                return;
            }
        }
    });
}

/// Tells when a network of Docker's is made or taken away: the kernel's news of its bridge may come before the engine
/// has the network in its list, and iptables-legacy has none of its rules.
fn watch_engine(engine: Engine, tell: mpsc::Sender<()>) {
    watch("Docker's networks", move || {
        while !tell.is_closed() {
            if let Ok(mut events) = Events::of_networks(&engine) {
                loop {
                    if let Err(mpsc::error::TrySendError::Closed(())) = tell.try_send(()) {
                        return;
                    }
                    if events.wait().is_err() {
                        break;
                    }
                }
            }
            std::thread::sleep(ENGINE_PAUSE);
        }
    });
}
