//! The agent's Unix socket: one line in, one line out, until the other side hangs up.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use zeroize::Zeroizing;

use super::device::LocalDevice;
use super::protocol::{self, Answer, MAX_LINE, Request};
use super::{Drain, StatusProvider};
use crate::host::agent_process::Runtime;

/// How many look at the host for a status at a time; others look themselves.
pub(super) const LOOKS: usize = 4;

const NO_DEVICE: &str = "this agent hosts no embedded device";

/// What the socket speaks for.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) network: String,
    pub(super) device: Option<LocalDevice>,
    pub(super) status: StatusProvider,
    /// Has spokes leave a relay.
    pub(super) drain: Drain,
    /// What whoever asks for a status has to call himself.
    pub(super) client_id: String,
    /// It was told to end.
    pub(super) is_ending: Arc<AtomicBool>,
    /// Who may be looking at the host at a time.
    pub(super) looks: Arc<Semaphore>,
    pub(super) wake: mpsc::Sender<()>,
    pub(super) stop: mpsc::Sender<()>,
}

/// Makes the socket, mode 0600, in a folder that only root enters. A stale one is removed: the pid file's lock,
/// which this process holds, says that nobody else serves it.
pub(super) fn listen(runtime: &Runtime) -> std::io::Result<UnixListener> {
    let path = runtime.control_socket();
    runtime.remove_control_socket();
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves connections side by side.
pub(super) async fn accept(listener: UnixListener, served: Served) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, served.clone()));
            }
            Err(error) => {
                // Out of descriptors, most likely: it passes.
                tracing::warn!("control socket: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, served: Served) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    loop {
        let mut line = Zeroizing::new(Vec::new());
        match (&mut lines).take(MAX_LINE as u64).read_until(b'\n', &mut line).await {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        // What is told to one that ends would end with it: whoever asks waits for its end, and starts another.
        if served.is_ending.load(Ordering::Relaxed) {
            return;
        }
        let (answer, rest) = match serde_json::from_slice::<Request>(&line) {
            Ok(Request::Status { dir, client_id }) => status(&served, dir, &client_id).await,
            Ok(Request::PackedReport) => packed(&served),
            Ok(request) => (answer(request, &served).await, Zeroizing::default()),
            // What was said may hold a key, so it is not repeated.
            Err(_) => (refused("not a request of this version"), Zeroizing::default()),
        };
        let Ok(bytes) = protocol::line(&answer).map(Zeroizing::new) else { return };
        if write.write_all(&bytes).await.is_err() || write.write_all(&rest).await.is_err() {
            return;
        }
    }
}

fn refused(message: &str) -> Answer {
    Answer::Refused { message: message.into(), hint: String::new() }
}

/// Looks at the host for whoever asks; where that goes wrong, they look themselves.
async fn status(served: &Served, dir: PathBuf, client_id: &str) -> (Answer, Zeroizing<Vec<u8>>) {
    if client_id != served.client_id {
        return (refused("another program or network namespace"), Zeroizing::default());
    }
    // Each look takes threads and programs, and this process has packets to carry.
    let Ok(permit) = Arc::clone(&served.looks).try_acquire_owned() else {
        return (refused("busy"), Zeroizing::default());
    };
    let tell = Arc::clone(&served.status);
    let look = move || {
        let _permit = permit;
        tell(&dir)
    };
    match tokio::task::spawn_blocking(look).await {
        Ok(Ok(told)) => {
            let length = told.json.len() as u64;
            (Answer::Status { length, state: told.state }, told.json.into())
        }
        Ok(Err(message)) => (refused(&message), Zeroizing::default()),
        Err(_) => (refused("the look at the host ended badly"), Zeroizing::default()),
    }
}

fn packed(served: &Served) -> (Answer, Zeroizing<Vec<u8>>) {
    match served.device.as_ref().map(LocalDevice::report) {
        None => (refused(NO_DEVICE), Zeroizing::default()),
        Some(Err(message)) => (refused(&message), Zeroizing::default()),
        Some(Ok(report)) => {
            let bytes = protocol::packed::pack(&report);
            (Answer::Packed { length: bytes.len() as u64 }, bytes)
        }
    }
}

async fn answer(request: Request, served: &Served) -> Answer {
    let none = || refused(NO_DEVICE);
    match request {
        Request::Hello => Answer::Hello {
            version: protocol::VERSION,
            pid: std::process::id(),
            network: served.network.clone(),
        },
        Request::Configure { change } => match &served.device {
            None => none(),
            Some(device) => match device.configure(*change) {
                Ok(()) => Answer::Done,
                Err((message, hint)) => Answer::Refused { message, hint },
            },
        },
        Request::Report => match served.device.as_ref().map(LocalDevice::report) {
            None => none(),
            Some(Ok(report)) => Answer::Report { report: Box::new(report) },
            Some(Err(message)) => Answer::Refused { message, hint: String::new() },
        },
        // They have answers of their own, with more behind them.
        Request::Status { .. } | Request::PackedReport => refused("not here"),
        Request::Drain { relay, drains } => {
            let drain = Arc::clone(&served.drain);
            match tokio::task::spawn_blocking(move || drain(&relay, drains)).await {
                Ok(Ok(())) => Answer::Done,
                Ok(Err((message, hint))) => Answer::Refused { message, hint },
                Err(_) => refused("it ended badly"),
            }
        }
        Request::Wake => {
            // A full queue means that a look at the host is coming anyway.
            let _ = served.wake.try_send(());
            Answer::Done
        }
        Request::Stop => {
            served.is_ending.store(true, Ordering::Relaxed);
            let _ = served.stop.send(()).await;
            Answer::Done
        }
    }
}
