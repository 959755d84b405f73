//! The embedded device in this process, shared by the control socket and the reconciling thread.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::Notify;

use crate::dataplane::{ConfigureError, Dataplane, DeviceChange, DeviceReport, EndReason, Ledger, Options};
use crate::host::HostError;
use crate::host::agent_process::Runtime;
use crate::host::wireguard::WireGuard;
use crate::model::InterfaceName;

/// A handle on the device; every clone means the same one.
#[derive(Clone, Default)]
pub struct LocalDevice {
    plane: Arc<Mutex<Option<Dataplane>>>,
    /// Somebody changed it through its UAPI socket.
    touched: Arc<Notify>,
    /// Which process that was, the last time.
    author: Arc<Mutex<Option<String>>>,
    /// It ended; another one may have taken its place since.
    ended: Arc<Notify>,
    /// The file in which what is known of peers outlives each device, and which boot and network namespace it is about.
    ledger: Option<Arc<(PathBuf, String)>>,
}

impl LocalDevice {
    /// Makes a handle on a device that does not run yet, and that goes on where one of this network before it was.
    pub fn of(runtime: &Runtime) -> Self {
        let place = runtime.place();
        let about = format!("{} {}", place.boot_id, place.netns);
        Self { ledger: Some(Arc::new((runtime.ledger_path(), about))), ..Self::default() }
    }

    /// Starts the device.
    ///
    /// # Errors
    /// What the data plane says, with what to do.
    pub fn start(&self, name: &InterfaceName, mtu: u16) -> Result<(), HostError> {
        self.start_in_place(name, mtu)
    }

    fn start_in_place(&self, name: &InterfaceName, mtu: u16) -> Result<(), HostError> {
        let failed = |e: &dyn std::fmt::Display| {
            HostError::new("start the embedded data plane for", name.to_string(), e)
        };
        let (touched, author) = (Arc::clone(&self.touched), Arc::clone(&self.author));
        let options = Options { name: name.clone(), mtu, uapi: true };
        let ledger = self.ledger.as_ref().and_then(|ledger| {
            let (path, place) = &**ledger;
            Ledger::open(path, place)
                .inspect_err(|e| tracing::warn!("{}: {e}: peers are not remembered", path.display()))
                .ok()
        });
        let plane = Dataplane::start_with(&options, ledger, move |process| {
            *author.lock().unwrap_or_else(PoisonError::into_inner) = process;
            touched.notify_one();
        })
        .map_err(|e| failed(&e))?;
        let end = plane.ended_fd().try_clone_to_owned().map_err(|e| failed(&e))?;
        tell_end(end, Arc::clone(&self.ended));
        *self.lock() = Some(plane);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Dataplane>> {
        // The device is whole after a panic elsewhere: its own thread does the work.
        self.plane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a change; what failed and what to do otherwise.
    pub(super) fn configure(&self, change: DeviceChange) -> Result<(), (String, String)> {
        let port = change.listen_port.unwrap_or_default();
        match self.lock().as_ref().map(|d| d.configure(change)) {
            Some(Ok(())) => Ok(()),
            Some(Err(e @ ConfigureError::PortInUse(_))) => {
                Err((e.to_string(), format!("see who has it: ss -ulpn 'sport = :{port}'")))
            }
            Some(Err(e)) => Err((e.to_string(), String::new())),
            None => Err(("the embedded device has ended".into(), "`wgrelay up` starts it again".into())),
        }
    }

    /// Reads the device.
    pub(super) fn report(&self) -> Result<DeviceReport, String> {
        match self.lock().as_ref().map(Dataplane::report) {
            Some(report) => report.map_err(|e| e.to_string()),
            None => Err("the embedded device has ended".into()),
        }
    }

    /// Returns when somebody has changed the device through its UAPI socket.
    pub(super) async fn touched(&self) {
        self.touched.notified().await;
    }

    /// Returns the process that changed it last, and forgets it; `None`: nobody has since, or it is not known who.
    pub(super) fn take_author(&self) -> Option<String> {
        self.author.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns when a device has ended: the one that is here, or one before it.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Says why the device that is here has ended; `None`: it has not, or there is none.
    pub(super) fn end_reason(&self) -> Option<EndReason> {
        self.lock().as_ref().and_then(Dataplane::end_reason)
    }

    /// Ends the device: when this returns, the interface and its sockets are gone.
    pub fn stop(&self) {
        if let Some(plane) = self.lock().take() {
            plane.stop();
        }
    }
}

impl WireGuard for LocalDevice {
    fn create(&mut self, name: &InterfaceName, mtu: u16) -> Result<(), HostError> {
        self.stop();
        self.start_in_place(name, mtu)
    }

    fn configure(&mut self, name: &InterfaceName, change: &DeviceChange) -> Result<(), HostError> {
        LocalDevice::configure(self, change.clone())
            .map_err(|(message, hint)| HostError::new("configure", name.to_string(), message).hint(hint))
    }

    fn report(&mut self, name: &InterfaceName) -> Result<Option<DeviceReport>, HostError> {
        if self.lock().is_none() {
            return Ok(None);
        }
        LocalDevice::report(self).map(Some).map_err(|e| HostError::new("read", name.to_string(), e))
    }

    fn delete(&mut self, _name: &InterfaceName) -> Result<(), HostError> {
        self.stop();
        Ok(())
    }
}

/// Waits on a thread of its own for a device's end: one wait in a device's life is not worth an event loop's trust in the
/// descriptor.
fn tell_end(end: OwnedFd, tell: Arc<Notify>) {
    let wait = move || {
        let mut fds = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
        tell.notify_one();
    };
    if let Err(error) = std::thread::Builder::new().spawn(wait) {
        tracing::warn!(
            "no thread that waits for the interface's end: {error}; whoever looks at it next finds it"
        );
    }
}
