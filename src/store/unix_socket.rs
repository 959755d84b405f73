//! A connection to a socket's file, with a limit on all that is waited for: a program that is stopped, or hangs, takes no
//! connections, and once its queue is full connect(2) waits for ever.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// Connects to the socket at `path`. Connecting, and each read and write afterwards, takes `limit` at most, and ends with
/// [`io::ErrorKind::WouldBlock`] then; a limit is longer than 1 ms.
///
/// # Errors
/// Nobody listens there, or takes no more connections.
pub fn connect_within(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let descriptor = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // To the microsecond, because 0 would mean no limit.
    let limit = TimeVal::microseconds(i64::try_from(limit.as_micros()).unwrap_or(i64::MAX).max(1));
    setsockopt(&descriptor, sockopt::SendTimeout, &limit)?;
    setsockopt(&descriptor, sockopt::ReceiveTimeout, &limit)?;
    let address = UnixAddr::new(path)?;
    loop {
        match connect(descriptor.as_raw_fd(), &address) {
            Err(Errno::EINTR) => {}
            told => break told?,
        }
    }
    Ok(descriptor.into())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use nix::sys::socket::{Backlog, bind, listen};

    use super::*;

    #[test]
    fn a_program_that_takes_no_connections_is_not_waited_for_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert_eq!(
            connect_within(&path, Duration::from_secs(5)).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );

        let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        let limit = Duration::from_millis(200);
        assert_eq!(connect_within(&path, limit).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);

        listen(&listener, Backlog::new(1).unwrap()).unwrap();
        let begin = Instant::now();
        // Two are in its queue, and it answers none.
        let mut first = connect_within(&path, limit).unwrap();
        let _second = connect_within(&path, limit).unwrap();
        assert_eq!(connect_within(&path, limit).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let read = io::Read::read(&mut first, &mut [0]).unwrap_err();
        assert_eq!(read.kind(), io::ErrorKind::WouldBlock);
        assert!(begin.elapsed() >= limit * 2, "it waits as long as it was told");
    }
}
