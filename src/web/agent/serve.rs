//! Hears the other half: one user's processes alone, so many at once, each with a bounded question in a bounded time.

use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::export::Allowance;
use super::perform::{perform, refused};
use super::socket::{QUESTION, Reply, TRANSFER, receive, send};
use crate::app::{Fault, Session};
use crate::web::procedure::Procedure;

/// So many questions are answered at once; the next wait in the socket's own queue.
const AT_ONCE: usize = 16;

/// The place where the halves meet.
pub struct Halves {
    listener: UnixListener,
    uid: u32,
}

impl Halves {
    /// Binds the socket, for processes of this user alone.
    ///
    /// # Errors
    /// It cannot be made there.
    pub fn meet(path: &Path, uid: u32, gid: u32) -> Result<Self, Fault> {
        let bind = || -> io::Result<UnixListener> {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            if let Err(error) = std::fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
            if nix::unistd::geteuid().as_raw() != uid {
                chown(path, Some(uid), Some(gid))?;
            }
            Ok(listener)
        };
        let listener =
            bind().map_err(|e| Fault::failed(format!("cannot listen at {}: {e}", path.display()), ""))?;
        Ok(Self { listener, uid })
    }
}

/// Hears and answers until the process ends.
///
/// # Errors
/// The socket fails.
pub fn serve(halves: &Halves, session: &Session) -> Result<(), Fault> {
    let (busy, allowance) = (Arc::new(AtomicUsize::new(0)), Arc::new(Allowance::default()));
    for stream in halves.listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            // Out of descriptors, or a caller that went away: the next may do better.
            Err(error) => {
                tracing::debug!("a call did not come in: {error}");
                std::thread::sleep(std::time::Duration::from_millis(50));
                continue;
            }
        };
        if !is_of(&stream, halves.uid) {
            tracing::warn!("a process of another user called; it was not heard");
            continue;
        }
        while busy.load(Ordering::SeqCst) >= AT_ONCE {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        busy.fetch_add(1, Ordering::SeqCst);
        let (session, busy, allowance) = (session.later(), Arc::clone(&busy), Arc::clone(&allowance));
        let work = move || {
            if let Err(error) = answer(&stream, &session, &allowance) {
                tracing::debug!("a question was not answered: {error}");
            }
            drop(stream);
            busy.fetch_sub(1, Ordering::SeqCst);
        };
        let started = std::thread::Builder::new().name("procedure".into()).spawn(work);
        started.map_err(|e| Fault::failed(format!("cannot make a thread: {e}"), ""))?;
    }
    Ok(())
}

/// Says whether the process at the other end is of this user.
fn is_of(stream: &UnixStream, uid: u32) -> bool {
    getsockopt(stream, PeerCredentials).is_ok_and(|peer| peer.uid() == uid)
}

fn answer(stream: &UnixStream, session: &Session, allowance: &Allowance) -> io::Result<()> {
    stream.set_read_timeout(Some(TRANSFER))?;
    stream.set_write_timeout(Some(TRANSFER))?;
    let procedure: Procedure = receive(stream, QUESTION)?;
    let reply = match perform(session, &procedure, allowance) {
        Ok(value) => Reply::Done(value),
        Err(fault) => Reply::Refused(refused(fault)),
    };
    send(stream, &reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_another_user_are_not_heard() {
        let (one, _other) = UnixStream::pair().unwrap();
        let own = nix::unistd::geteuid().as_raw();
        assert!(is_of(&one, own));
        assert!(!is_of(&one, own + 1));
    }
}
