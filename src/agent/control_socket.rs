//! The agent's Unix socket: one line in, one line out, until the other side hangs up.

use std::os::unix::fs::PermissionsExt;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::device::LocalDevice;
use crate::control::{self, Answer, MAX_LINE, Request};
use crate::host::agent_process::Runtime;

/// What the socket speaks for.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) network: String,
    pub(super) device: Option<LocalDevice>,
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
        let answer = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => answer(request, &served).await,
            // What was said may hold a key, so it is not repeated.
            Err(_) => {
                Answer::Refused { message: "not a request of this version".into(), hint: String::new() }
            }
        };
        let Ok(bytes) = control::line(&answer).map(Zeroizing::new) else { return };
        if write.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn answer(request: Request, served: &Served) -> Answer {
    let none =
        || Answer::Refused { message: "this agent hosts no embedded device".into(), hint: String::new() };
    match request {
        Request::Hello => Answer::Hello {
            version: control::VERSION,
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
        Request::Wake => {
            // A full queue means that a look at the host is coming anyway.
            let _ = served.wake.try_send(());
            Answer::Done
        }
        Request::Stop => {
            let _ = served.stop.send(()).await;
            Answer::Done
        }
    }
}
