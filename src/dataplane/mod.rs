//! The embedded WireGuard.

mod device;

pub use device::{DeviceChange, DeviceReport, Dropped, HandshakeTime, PeerChange, PeerReport};
