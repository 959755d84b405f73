//! wgrelay with real packets, in namespaces: the whole of it, and the rig that it is tested with.
//!
//! `WGRELAY_BACKEND=kernel` runs the same tests with WireGuard in the kernel; `tests/vm.rs` does so in a guest.
#![expect(clippy::disallowed_methods, reason = "tests make namespaces, files, sockets and processes")]

#[path = "../rig/mod.rs"]
mod rig;
mod rig_works;
