//! The socket that `wg(8)` finds a userspace device by: `/var/run/wireguard/NAME.sock`.
//!
//! Clients are served from the device's loop without ever waiting for one. A file that nobody serves any more is
//! taken over; one that somebody does is left alone.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, socket,
};
use nix::sys::stat::{Mode, fchmod};
use zeroize::Zeroizing;

use crate::dataplane::uapi::{self, MAX_REQUEST, Request};
use crate::model::InterfaceName;
use crate::store::unix_socket::connect_within;

/// Where `wg(8)` looks.
const DIRECTORY: &str = "/var/run/wireguard";
/// Clients at once; one more, and the one that has been silent longest is shown out.
const MAX_CLIENTS: usize = 16;
/// Bytes taken from a client in one turn.
const READ_CHUNK: usize = 64 << 10;
/// How long no client is let in after that has failed, as for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// How long whoever has the socket may take to accept: one that has no room is somebody all the same.
const LOOK: Duration = Duration::from_secs(1);

/// Tells why there is no UAPI socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process serves this name.
    #[error("another WireGuard process serves {}", .0.display())]
    InUse(PathBuf),
    /// Anything else.
    #[error("cannot make the socket {}: {source}", path.display())]
    Failed {
        /// The socket file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A listening socket, its file, and its clients.
pub(super) struct UapiServer {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, to tell it from a later one of the same name.
    identity: Option<(u64, u64)>,
    clients: Vec<Client>,
    closed_until: Duration,
}

struct Client {
    stream: UnixStream,
    received: Zeroizing<Vec<u8>>,
    /// How much of `received` holds no end of a request.
    scanned: usize,
    answer: Zeroizing<Vec<u8>>,
    sent: usize,
    last_heard: Duration,
    /// Whether `received` may hold another whole request.
    more: bool,
    closing: bool,
}

impl UapiServer {
    /// Makes the socket of an interface, mode 0600, and its directory if need be, mode 0700.
    pub(super) fn bind(name: &InterfaceName) -> Result<Self, SocketError> {
        let path = Path::new(DIRECTORY).join(format!("{name}.sock"));
        let failed = |source: io::Error| SocketError::Failed { path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(DIRECTORY).map_err(failed)?;
        match connect_within(&path, LOOK) {
            Ok(_) => return Err(SocketError::InUse(path)),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(&path).map_err(failed)?;
                tracing::info!(path = %path.display(), "took over a stale socket");
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            // Its queue is full: somebody serves it, if slowly.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(SocketError::InUse(path)),
            Err(e) => return Err(failed(e)),
        }
        let listener = Self::listen(&path).map_err(|e| {
            if e == nix::errno::Errno::EADDRINUSE {
                SocketError::InUse(path.clone())
            } else {
                failed(e.into())
            }
        })?;
        let identity = fs::symlink_metadata(&path).ok().map(|m| (m.dev(), m.ino()));
        Ok(Self { listener, path, identity, clients: Vec::new(), closed_until: Duration::ZERO })
    }

    fn listen(path: &Path) -> nix::Result<UnixListener> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        // On Linux the file that bind makes has the socket's mode: there is no moment at which others can connect.
        fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
        bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        listen(&fd, Backlog::new(16)?)?;
        Ok(fd.into())
    }

    /// Adds what is to be polled for.
    pub(super) fn poll_fds<'a>(&'a self, now: Duration, fds: &mut Vec<PollFd<'a>>) {
        if now >= self.closed_until {
            fds.push(PollFd::new(self.listener.as_fd(), PollFlags::POLLIN));
        }
        for client in &self.clients {
            // A client that does not take its answer is not listened to either.
            let events = if client.answer.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLOUT };
            fds.push(PollFd::new(client.stream.as_fd(), events));
        }
    }

    /// Tells whether a client that listens has asked for more than has been answered.
    pub(super) fn has_more(&self) -> bool {
        self.clients.iter().any(|client| client.more && client.answer.is_empty())
    }

    /// Lets clients in, takes what they send, and answers one request of each, as far as they listen.
    pub(super) fn serve(
        &mut self,
        now: Duration,
        mut handle: impl FnMut(Request, &UnixStream) -> Zeroizing<String>,
    ) {
        self.accept(now);
        self.clients.retain_mut(|client| client.serve(now, &mut handle).is_ok());
    }

    fn accept(&mut self, now: Duration) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if stream.set_nonblocking(true).is_err() {
                        continue;
                    }
                    if self.clients.len() >= MAX_CLIENTS
                        && let Some(i) = (0..self.clients.len()).min_by_key(|i| self.clients[*i].last_heard)
                    {
                        self.clients.swap_remove(i);
                    }
                    self.clients.push(Client::new(stream, now));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e)
                    if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot let a client in");
                    self.closed_until = now + ACCEPT_PAUSE;
                    return;
                }
            }
        }
    }
}

/// Returns the name and number of the process at the other end; `None`: it is gone, or the kernel does not tell.
pub(super) fn process_of(client: &UnixStream) -> Option<String> {
    let number = getsockopt(client, PeerCredentials).ok()?.pid();
    let name = fs::read_to_string(format!("/proc/{number}/comm")).ok()?;
    Some(format!("{} (process {number})", name.trim_end()))
}

impl Drop for UapiServer {
    fn drop(&mut self) {
        let present = fs::symlink_metadata(&self.path).ok().map(|m| (m.dev(), m.ino()));
        if present.is_some() && present == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Client {
    fn new(stream: UnixStream, now: Duration) -> Self {
        Self {
            stream,
            received: Zeroizing::default(),
            scanned: 0,
            answer: Zeroizing::default(),
            sent: 0,
            last_heard: now,
            more: false,
            closing: false,
        }
    }

    /// Goes as far as the client lets it; an error means that the client is done with.
    fn serve(
        &mut self,
        now: Duration,
        handle: &mut impl FnMut(Request, &UnixStream) -> Zeroizing<String>,
    ) -> io::Result<()> {
        self.push_answer()?;
        if !self.answer.is_empty() {
            return Ok(());
        }
        // What has come is answered first: a client cannot make us hold more than one answer.
        if !self.more && !self.read(now)? {
            return Ok(());
        }
        self.answer_request(handle);
        self.push_answer()
    }

    /// Takes what the client has sent, and tells whether there was anything.
    fn read(&mut self, now: Duration) -> io::Result<bool> {
        let mut chunk = Zeroizing::new([0u8; READ_CHUNK]);
        match self.stream.read(chunk.as_mut_slice()) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.last_heard = now;
                self.received.extend_from_slice(&chunk[..n]);
                Ok(true)
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn answer_request(&mut self, handle: &mut impl FnMut(Request, &UnixStream) -> Zeroizing<String>) {
        if let Some((length, request)) = uapi::next_request(&self.received, self.scanned) {
            let answer = match request {
                Ok(request) => handle(request, &self.stream),
                Err(errno) => {
                    self.closing = errno == uapi::Errno::Protocol;
                    uapi::render_outcome(Err(errno)).into()
                }
            };
            self.answer.extend_from_slice(answer.as_bytes());
            self.received.drain(..length);
            self.scanned = 0;
            self.more = !self.closing && !self.received.is_empty();
            return;
        }
        self.scanned = self.received.len();
        self.more = false;
        if self.received.len() > MAX_REQUEST {
            self.answer.extend_from_slice(uapi::render_outcome(Err(uapi::Errno::Invalid)).as_bytes());
            self.closing = true;
        }
    }

    fn push_answer(&mut self) -> io::Result<()> {
        while self.sent < self.answer.len() {
            match self.stream.write(&self.answer[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.answer = Zeroizing::default();
        self.sent = 0;
        if self.closing { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_is_answered_at_a_time() {
        let (mut client, ours) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        client.set_nonblocking(true).unwrap();
        let mut served = Client::new(ours, Duration::ZERO);
        client.write_all(&b"get=1\n\n".repeat(20)).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let (mut asked, mut taken, mut most) = (0, Vec::new(), 0);
        let answer = "x".repeat(1 << 19);
        let mut turn = |served: &mut Client| {
            let before = asked;
            let outcome = served.serve(Duration::ZERO, &mut |_, _| {
                asked += 1;
                answer.clone().into()
            });
            assert!(asked <= before + 1, "one in a turn");
            most = most.max(served.answer.len());
            outcome.map(|()| asked)
        };
        // One that does not listen gets no further than its first answer, which waits.
        for _ in 0..5 {
            assert_eq!(turn(&mut served).unwrap(), 1);
        }
        assert!(!served.answer.is_empty());
        // One that listens gets them all, though it will not say more.
        while turn(&mut served).is_ok() {
            let _ = client.read_to_end(&mut taken);
        }
        assert_eq!((asked, most), (20, 1 << 19));
        let _ = client.read_to_end(&mut taken);
        assert_eq!(taken.len(), 20 << 19);
    }
}
