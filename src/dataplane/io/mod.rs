//! The effects of the data plane: the interface, the sockets, the loop between them, and the thread that runs it.

#![expect(
    clippy::disallowed_methods,
    reason = "this is where the data plane touches the machine: /dev/net/tun, sockets, its thread"
)]

mod address;
mod event_loop;
mod handle;
mod sys;
mod tun;
mod uapi_socket;
mod udp;

pub use handle::{ConfigureError, Dataplane, EndReason, Ended, Options, StartError};
pub use tun::TunError;
pub use uapi_socket::SocketError;
