//! The running data plane as the rest of the program sees it: start, configure, report, stop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::event_loop::{Command, EventLoop};
use super::ledger::Ledger;
use super::tun::{Tun, TunError};
use super::uapi_socket::{SocketError, UapiServer};
use crate::dataplane::{DeviceChange, DeviceReport};
use crate::model::InterfaceName;

/// How a data plane is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The interface to make. It must not exist.
    pub name: InterfaceName,
    /// Its MTU in bytes; changes made to the interface later are followed.
    pub mtu: u16,
    /// Whether `wg(8)` can reach it, through `/var/run/wireguard/NAME.sock`.
    pub uapi: bool,
}

/// Tells why a data plane did not start. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is an interface of this name.
    #[error("there is already an interface {0}")]
    Exists(String),
    /// The interface could not be made.
    #[error(transparent)]
    Tun(TunError),
    /// The UAPI socket could not be made.
    #[error(transparent)]
    Uapi(#[from] SocketError),
    /// No thread or event descriptor is to be had.
    #[error("cannot start the data plane's thread: {0}")]
    Thread(#[source] io::Error),
}

impl From<TunError> for StartError {
    fn from(error: TunError) -> Self {
        match error {
            TunError::Exists(name) => Self::Exists(name),
            other => Self::Tun(other),
        }
    }
}

/// Tells why a change was not made. The device is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// Another socket has the UDP port.
    #[error("UDP port {0} is in use")]
    PortInUse(u16),
    /// CAP_NET_ADMIN is missing for a firewall mark, or CAP_NET_BIND_SERVICE for a low port.
    #[error("not permitted to set the port or the firewall mark")]
    NotPermitted,
    /// The socket could not be made for another reason.
    #[error("cannot open the UDP socket: {0}")]
    Socket(#[source] io::Error),
    /// The data plane is no more.
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// Tells that the data plane is no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the data plane has ended: {0}")]
pub struct Ended(pub EndReason);

/// Why a data plane ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndReason {
    /// It was asked to.
    #[error("stopped")]
    Stopped,
    /// The interface was deleted, or its network namespace is gone.
    #[error("the interface was taken away")]
    InterfaceGone,
    /// The interface or the system fails again and again.
    #[error("{0}")]
    Failed(String),
    /// A fault of the program.
    #[error("its thread panicked")]
    Panicked,
}

/// The end of a data plane, as told to all who wait for it.
struct End {
    reason: Mutex<Option<EndReason>>,
    told: Condvar,
    /// Readable from then on.
    fd: EventFd,
}

impl End {
    fn tell(&self, reason: EndReason) {
        let mut slot = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(reason);
        self.told.notify_all();
        // Its counter is at 0 or 1: the write cannot block.
        let _ = self.fd.write(1);
    }
}

/// Tells the end even where the thread unwinds.
struct NotifyOnDrop {
    end: Arc<End>,
    reason: EndReason,
}

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.end.tell(self.reason.clone());
    }
}

/// An embedded WireGuard device: an interface, its sockets, and the thread that serves them.
///
/// Dropping it takes all of them away. Several can run in one process.
pub struct Dataplane {
    commands: mpsc::Sender<Command>,
    wake: Arc<EventFd>,
    end: Arc<End>,
    thread: Option<JoinHandle<()>>,
}

impl Dataplane {
    /// Makes the interface and starts to serve it, all in the calling thread's network namespace. The interface is
    /// down and has no addresses; the UDP socket is opened by the first change that sets a key or a port.
    ///
    /// # Errors
    /// An interface of this name, a live UAPI socket of this name, missing rights, no TUN driver.
    pub fn start(options: &Options) -> Result<Self, StartError> {
        Self::start_telling(options, || {})
    }

    /// Does the same, and calls `touched` whenever somebody changed the device through its UAPI socket, as `wg set` does. It
    /// is called from the device's thread, and must not wait for anything.
    ///
    /// # Errors
    /// See [`Dataplane::start`].
    pub fn start_telling(options: &Options, touched: impl Fn() + Send + 'static) -> Result<Self, StartError> {
        Self::start_with(options, None, move |_| touched())
    }

    /// The same for a device that goes on with what the one before knew of its peers, and keeps what it learns. `touched` is told
    /// the process that changed it, where that can be known.
    ///
    /// # Errors
    /// See [`Dataplane::start`].
    pub fn start_with(
        options: &Options,
        ledger: Option<Ledger>,
        touched: impl Fn(Option<String>) + Send + 'static,
    ) -> Result<Self, StartError> {
        let event = || {
            EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(|e| StartError::Thread(e.into()))
        };
        let wake = Arc::new(event()?);
        let end = Arc::new(End { reason: Mutex::new(None), told: Condvar::new(), fd: event()? });
        // The socket first: where another process serves this name, its interface is not to be touched.
        let uapi = if options.uapi { Some(UapiServer::bind(&options.name)?) } else { None };
        let tun = Tun::create(&options.name, options.mtu)?;
        let (commands, inbox) = mpsc::channel();
        let event_loop =
            EventLoop::new(tun, options.mtu, uapi, inbox, Arc::clone(&wake), Box::new(touched), ledger);
        let mut told = NotifyOnDrop { end: Arc::clone(&end), reason: EndReason::Panicked };
        let thread = std::thread::Builder::new()
            .name(options.name.to_string())
            .spawn(move || {
                // The loop, and with it interface and sockets, is gone before the end is told.
                told.reason = event_loop.run();
                tracing::info!(reason = %told.reason, "the data plane has ended");
            })
            .map_err(StartError::Thread)?;
        Ok(Self { commands, wake, end, thread: Some(thread) })
    }

    /// Applies a change and returns when it is in force: whole, or not at all.
    ///
    /// # Errors
    /// The port is in use or not permitted, the firewall mark is not permitted, the data plane has ended.
    pub fn configure(&self, change: DeviceChange) -> Result<(), ConfigureError> {
        self.ask(|reply| Command::Configure(Box::new(change), reply))?
    }

    /// Describes the device and its peers as they are now.
    ///
    /// # Errors
    /// The data plane has ended.
    pub fn report(&self) -> Result<DeviceReport, Ended> {
        self.ask(Command::Report)
    }

    fn ask<T>(&self, command: impl FnOnce(mpsc::SyncSender<T>) -> Command) -> Result<T, Ended> {
        let (reply, answer) = mpsc::sync_channel(1);
        if self.commands.send(command(reply)).is_ok() {
            let _ = self.wake.write(1);
        }
        // The loop drops its end of both channels when it ends.
        answer.recv().map_err(|_| Ended(self.wait_ended()))
    }

    /// Returns a descriptor that becomes readable, and stays so, when the data plane has ended.
    pub fn ended_fd(&self) -> BorrowedFd<'_> {
        self.end.fd.as_fd()
    }

    /// Returns why the data plane has ended; `None` while it runs.
    pub fn end_reason(&self) -> Option<EndReason> {
        self.end.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the data plane has ended, and tells why.
    pub fn wait_ended(&self) -> EndReason {
        let mut slot = self.end.reason.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(reason) = &*slot {
                return reason.clone();
            }
            slot = self.end.told.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the data plane. When it returns, the interface, the sockets and the socket file are gone.
    pub fn stop(mut self) -> EndReason {
        self.shut_down();
        self.wait_ended()
    }

    fn shut_down(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.commands.send(Command::Stop);
            let _ = self.wake.write(1);
            // A panic has been told as the reason already.
            let _ = thread.join();
        }
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl std::fmt::Debug for Dataplane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dataplane").field("end_reason", &self.end_reason()).finish_non_exhaustive()
    }
}
