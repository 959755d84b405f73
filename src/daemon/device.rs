//! The embedded device in this process, shared by the control socket and the reconciling thread.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use crate::dataplane::{ConfigureError, Dataplane, DeviceChange, DeviceReport, Options};
use crate::host::HostError;
use crate::host::wireguard::WireGuard;
use crate::model::InterfaceName;

/// A handle on the device; every clone means the same one.
#[derive(Clone, Default)]
pub struct LocalDevice(Arc<Mutex<Option<Dataplane>>>);

impl LocalDevice {
    /// Starts the device.
    ///
    /// # Errors
    /// What the data plane says, with what to do.
    pub fn start(name: &InterfaceName, mtu: u16) -> Result<Self, HostError> {
        let device = Self::default();
        device.start_in_place(name, mtu)?;
        Ok(device)
    }

    fn start_in_place(&self, name: &InterfaceName, mtu: u16) -> Result<(), HostError> {
        let plane = Dataplane::start(&Options { name: name.clone(), mtu, uapi: true })
            .map_err(|e| HostError::new("start the embedded data plane for", name.to_string(), e))?;
        *self.lock() = Some(plane);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Dataplane>> {
        // The device is whole after a panic elsewhere: its own thread does the work.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Returns a descriptor that is readable when the device has ended.
    pub(super) fn ended(&self) -> io::Result<OwnedFd> {
        let guard = self.lock();
        let plane = guard.as_ref().ok_or_else(|| io::Error::other("the embedded device has ended"))?;
        plane.ended_fd().try_clone_to_owned()
    }

    /// Says why the device ended.
    pub(super) fn why_ended(&self) -> String {
        let reason = self.lock().as_ref().and_then(Dataplane::end_reason);
        reason.map_or_else(|| "it was stopped".into(), |r| r.to_string())
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
