//! The embedded device with real packets: namespaces, a veth between them, `wg(8)`, and other implementations.
//!
//! Needs root, /dev/net/tun and iproute2. Where these are missing each test says so and passes, unless WGRELAY_REAL=1
//! asks for it: then it fails.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "tests on the machine")]

mod device;
mod interop;
mod rig;
mod uapi;
