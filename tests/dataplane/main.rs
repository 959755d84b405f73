//! The embedded device with real packets: namespaces, a veth between them, `wg(8)`, and other implementations.
//!
//! Needs root, /dev/net/tun and iproute2. Where these are missing each test says so and passes, unless WGRELAY_REAL=1
//! asks for it: then it fails.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests on the machine"
)]

mod device;
mod faults;
mod flood;
mod in_guest;
mod interop;
mod netns_cases;
mod other;
mod path;
mod refused_calls;
mod renewal;
mod rig;
mod uapi;
mod uapi_beside;
mod weather;
