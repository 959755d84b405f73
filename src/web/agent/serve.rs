//! Hears the other half: one user's processes alone, so many at once, each with a bounded question in a bounded time.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::export::Bounds;
use super::perform::{perform, refused};
use super::socket::{QUESTION, Reply, TRANSFER, receive, send};
use crate::app::unprivileged::Account;
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
    /// Binds the socket, for processes of this account alone. Its folder is the account's, who may have put links there: what is done
    /// in it is done with his rights.
    ///
    /// # Errors
    /// It cannot be made there.
    pub fn meet(path: &Path, account: Account) -> Result<Self, Fault> {
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
            Ok(listener)
        };
        let listener = account.with_its_rights(bind).map_err(|e| {
            let hint = "its folder has to be that of the account which speaks HTTP";
            Fault::failed(format!("cannot listen at {}: {e}", path.display()), hint)
        })?;
        Ok(Self { listener, uid: account.uid })
    }
}

/// Hears and answers until the process ends.
///
/// # Errors
/// The socket fails.
pub fn serve(halves: &Halves, session: &Session) -> Result<(), Fault> {
    let (busy, bounds) = (Arc::new(AtomicUsize::new(0)), Arc::new(Bounds::default()));
    bounds.kept.look(session);
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
        let (session, busy, bounds) = (session.later(), Busy::with(&busy), Arc::clone(&bounds));
        let work = move || {
            let _busy = busy;
            if let Err(error) = answer(&stream, &session, &bounds) {
                tracing::debug!("a question was not answered: {error}");
            }
        };
        // Where no thread is to be had, the caller is not answered, and the next one may be.
        if let Err(error) = std::thread::Builder::new().name("procedure".into()).spawn(work) {
            tracing::warn!("cannot make a thread: {error}");
        }
    }
    Ok(())
}

/// One that is at work; however that ends, it counts no more.
struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn with(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(all))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Says whether the process at the other end is of this user.
fn is_of(stream: &UnixStream, uid: u32) -> bool {
    getsockopt(stream, PeerCredentials).is_ok_and(|peer| peer.uid() == uid)
}

fn answer(stream: &UnixStream, session: &Session, bounds: &Bounds) -> io::Result<()> {
    stream.set_read_timeout(Some(TRANSFER))?;
    stream.set_write_timeout(Some(TRANSFER))?;
    let procedure: Procedure = receive(stream, QUESTION)?;
    let reply = match perform(session, &procedure, bounds) {
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

    #[test]
    fn whoever_fails_at_work_counts_no_more() {
        let all = Arc::new(AtomicUsize::new(0));
        let busy = Busy::with(&all);
        assert_eq!(all.load(Ordering::SeqCst), 1);
        let _ = std::thread::spawn(move || {
            let _busy = busy;
            panic!("as a fault of ours would");
        })
        .join();
        assert_eq!(all.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn in_the_folder_of_another_account_root_is_that_account() {
        if !nix::unistd::geteuid().is_root() {
            // Whoever is no root lends nobody his rights.
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let nobody = Account { uid: 65_534, gid: 65_534 };
        let refused = Halves::meet(&dir.path().join("agent"), nobody).err().unwrap();
        assert!(refused.message.contains("Permission denied"), "{}", refused.message);
        std::os::unix::fs::chown(dir.path(), Some(nobody.uid), Some(nobody.gid)).unwrap();
        let path = dir.path().join("agent");
        let halves = Halves::meet(&path, nobody).unwrap();
        let about = std::fs::metadata(&path).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&about), nobody.uid);
        assert_eq!(about.permissions().mode() & 0o777, 0o600);
        drop(halves);
    }
}
