//! The effects of the data plane: the interface, the sockets, the loop between them, and the thread that runs it.

#![expect(
    clippy::disallowed_methods,
    reason = "this is where the data plane touches the machine: /dev/net/tun, sockets, its thread"
)]

mod address;
mod event_loop;
mod handle;
mod ledger;
mod sys;
mod tun;
mod uapi_socket;
mod udp;

pub use handle::{ConfigureError, Dataplane, EndReason, Ended, Options, StartError};
pub use ledger::Ledger;
pub use tun::TunError;
pub use uapi_socket::SocketError;

/// Reads a sender's address and control data, for the fuzzers.
#[cfg(any(test, fuzzing))]
pub(super) fn read_ancillary(bytes: &[u8]) {
    if let Some((name, control)) = bytes.split_first_chunk() {
        let ancillary = address::Ancillary::parse(control);
        if let Some(from) = address::decode(name) {
            address::encode(ancillary.remote(from).address, address::Family::Dual);
        }
    }
}
