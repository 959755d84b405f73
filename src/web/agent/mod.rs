//! The half that has rights: it hears procedures over a socket of this host from one user alone, and never sees HTTP.
#![expect(clippy::disallowed_methods, reason = "sockets between the halves, and the clock")]

mod export;
mod kept;
mod perform;
mod serve;
mod socket;

pub use perform::perform;
pub use serve::{Halves, serve};
pub use socket::Socket;
