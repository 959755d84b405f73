//! The embedded WireGuard: a device in this process, for hosts where the kernel has none or hears nothing.
//!
//! `core` is the device without effects, datagrams and packets in and out; around it stand what it is made of
//! (`allowed_ips`, `peer`, `guard`) and pure helpers for packets (`split`, `coalesce`, `icmp`, `checksum`, `vnet`).
//! `uapi` is the text that `wg(8)` speaks. `io` owns the interface, the sockets and the one thread of a device.
//!
//! The noise protocol, its timers and replay window come from `gotatun::noise`; nothing else of that crate is used.

mod allowed_ips;
mod checksum;
mod coalesce;
mod core;
mod device;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod guard;
mod icmp;
mod initiation;
mod io;
mod memory;
mod packet;
mod peer;
mod split;
mod uapi;
mod vnet;

pub use device::{DeviceChange, DeviceReport, Dropped, HandshakeTime, PeerChange, PeerReport};
pub use io::{
    ConfigureError, Dataplane, EndReason, Ended, Ledger, Options, SocketError, StartError, TunError,
};
