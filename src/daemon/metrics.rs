//! Metrics over HTTP: one request, one answer, and nobody may hold the agent up.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::socket::sockopt::{IpFreebind, ReuseAddr};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage};
use nix::sys::socket::{bind, listen, setsockopt, socket};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// Makes the text; blocking. An error is told to whoever asked.
pub type Render = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Where metrics are served, and what makes them.
pub struct Metrics {
    /// Bound before anything is changed on the host: an address that is taken is told first.
    pub listener: std::net::TcpListener,
    /// The text.
    pub render: Render,
}

/// Listens at an address; also at one that this host does not have yet: the tunnel's own, or one that comes after the
/// boot. The second says whether it is there.
///
/// # Errors
/// The port is taken, or this is no address to listen at.
pub fn listen_at(at: SocketAddr) -> io::Result<(std::net::TcpListener, bool)> {
    match std::net::TcpListener::bind(at) {
        Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => Ok((listen_beforehand(at)?, false)),
        other => Ok((other?, true)),
    }
}

fn listen_beforehand(at: SocketAddr) -> io::Result<std::net::TcpListener> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    setsockopt(&socket, IpFreebind, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(at))?;
    listen(&socket, Backlog::new(128)?)?;
    Ok(socket.into())
}

/// How long a conversation may take, the making of the text included.
const WITHIN: Duration = Duration::from_secs(10);
/// The longest request, in bytes: Prometheus sends about 300.
const MAX_REQUEST: usize = 8 << 10;
/// How many texts are made at a time; who asks for more is told to come again.
const AT_A_TIME: usize = 4;
/// How many connections there are at a time. Past it one goes: see [`makes_room`].
const CONNECTIONS: usize = 64;

/// A conversation, whom it is with, and whether he has asked for something.
struct Conversation {
    task: AbortHandle,
    with: IpAddr,
    has_asked: Arc<AtomicBool>,
}

/// Says which conversation makes room for the next one: that which has said nothing for the longest; where all have asked, and do not
/// read their answers, the oldest of whoever has the most.
fn makes_room(open: &VecDeque<Conversation>) -> Option<usize> {
    let silent = open.iter().position(|one| !one.has_asked.load(Ordering::Relaxed));
    silent.or_else(|| {
        let count = |with| open.iter().filter(|one| one.with == with).count();
        let (greedy, _) = open.iter().map(|one| (one.with, count(one.with))).max_by_key(|(_, n)| *n)?;
        open.iter().position(|one| one.with == greedy)
    })
}

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener, render: Render) {
    let free = Arc::new(Semaphore::new(AT_A_TIME));
    let mut open: VecDeque<Conversation> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                open.retain(|one| !one.task.is_finished());
                if open.len() >= CONNECTIONS
                    && let Some(one) = makes_room(&open).and_then(|at| open.remove(at))
                {
                    one.task.abort();
                }
                let has_asked = Arc::new(AtomicBool::new(false));
                let conversation =
                    converse(stream, Arc::clone(&render), Arc::clone(&free), Arc::clone(&has_asked));
                // Whoever is slower is hung up on.
                let task = tokio::spawn(async { drop(tokio::time::timeout(WITHIN, conversation).await) });
                open.push_back(Conversation { task: task.abort_handle(), with: from.ip(), has_asked });
            }
            Err(error) => {
                // Out of descriptors, most likely: it passes.
                tracing::warn!("metrics: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Reads a request and answers it.
async fn converse(
    mut stream: TcpStream,
    render: Render,
    free: Arc<Semaphore>,
    has_asked: Arc<AtomicBool>,
) -> io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    // To the end of its head: closing with unread bytes would reset the connection before the answer is read.
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        let n = stream.read(&mut piece).await?;
        if n == 0 || request.len() + n > MAX_REQUEST {
            return Ok(());
        }
        request.extend_from_slice(&piece[..n]);
    }
    has_asked.store(true, Ordering::Relaxed);
    let (question, wants_body) = question(&request);
    let (status, text) = match (question, Arc::clone(&free).try_acquire_owned()) {
        (Question::Metrics, Err(_)) => {
            ("503 Service Unavailable\r\nRetry-After: 1", "others are being answered; come again\n".into())
        }
        (Question::Metrics, Ok(permit)) => {
            let make = move || {
                let _permit = permit;
                render()
            };
            match tokio::task::spawn_blocking(make).await {
                Ok(Ok(text)) => ("200 OK", text),
                Ok(Err(error)) => ("500 Internal Server Error", format!("{error}\n")),
                Err(_) => ("500 Internal Server Error", "the look at the host ended badly\n".into()),
            }
        }
        (Question::Elsewhere, _) => ("404 Not Found", "metrics are at /metrics\n".into()),
        (Question::Unknown, _) => ("405 Method Not Allowed\r\nAllow: GET, HEAD", "GET /metrics\n".into()),
    };
    let head = format!(
        "HTTP/1.0 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if wants_body {
        stream.write_all(text.as_bytes()).await?;
    }
    stream.shutdown().await
}

#[derive(Debug, PartialEq, Eq)]
enum Question {
    Metrics,
    Elsewhere,
    Unknown,
}

/// Says what is asked for, and whether its text is wanted or its head alone.
fn question(request: &[u8]) -> (Question, bool) {
    let line = request.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    let method = words.next();
    let question = match (method, words.next()) {
        (Some(b"GET" | b"HEAD"), Some(path)) => match path.split(|b| *b == b'?').next() {
            Some(b"/metrics" | b"/") => Question::Metrics,
            _ => Question::Elsewhere,
        },
        _ => Question::Unknown,
    };
    (question, method != Some(b"HEAD"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn questions() {
        let asked = |request: &[u8]| question(request).0;
        assert_eq!(asked(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), Question::Metrics);
        assert_eq!(asked(b"GET /metrics?x=1 HTTP/1.1\r\n\r\n"), Question::Metrics);
        assert_eq!(question(b"HEAD /metrics HTTP/1.1\r\n\r\n"), (Question::Metrics, false));
        assert_eq!(asked(b"GET /secrets.toml HTTP/1.1\r\n\r\n"), Question::Elsewhere);
        assert_eq!(asked(b"POST /metrics HTTP/1.1\r\n\r\n"), Question::Unknown);
        assert_eq!(asked(b"\r\n\r\n"), Question::Unknown);
    }

    #[test]
    fn an_address_may_come_later_and_a_port_may_not_be_somebody_elses() {
        // Documentation's own addresses (RFC 5737, RFC 3849): no host has them.
        for later in ["192.0.2.1:0", "[2001:db8::1]:0"] {
            let (listener, is_there) = listen_at(later.parse().unwrap()).unwrap();
            assert!(!is_there && listener.local_addr().unwrap().port() > 0, "{later}");
        }
        let (taken, is_there) = listen_at("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(is_there);
        let refused = listen_at(taken.local_addr().unwrap()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn an_answer_comes_back_and_who_says_nothing_holds_up_nobody() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = listener.local_addr().unwrap();
            tokio::spawn(serve(listener, Arc::new(|| Ok("wgrelay_up 1\n".into()))));
            let silent = TcpStream::connect(at).await.unwrap();
            let ask = |words: &'static [u8]| async move {
                let mut stream = TcpStream::connect(at).await.unwrap();
                stream.write_all(words).await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                answer
            };
            let answer = ask(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert!(
                answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nwgrelay_up 1\n"),
                "{answer}"
            );
            assert!(
                answer.contains("version=0.0.4") && answer.contains("Content-Length: 13\r\n"),
                "{answer}"
            );
            assert!(ask(b"GET /x HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.0 404"));
            let head = ask(b"HEAD /metrics HTTP/1.1\r\n\r\n").await;
            assert!(
                head.starts_with("HTTP/1.0 200")
                    && head.ends_with("Content-Length: 13\r\nConnection: close\r\n\r\n"),
                "{head}"
            );
            assert!(ask(b"POST /metrics HTTP/1.1\r\n\r\n").await.contains("\r\nAllow: GET, HEAD\r\n"));
            drop(silent);
        });
    }

    #[test]
    fn silent_ones_hold_up_nobody_and_slow_looks_are_few() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = listener.local_addr().unwrap();
            let (go, gone) = std::sync::mpsc::channel::<()>();
            let gone = std::sync::Mutex::new(gone);
            let started = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&started);
            let render = move || {
                // The first one is quick.
                if count.fetch_add(1, Ordering::SeqCst) > 0 {
                    let _ = gone.lock().unwrap().recv();
                }
                Ok("wgrelay_up 1\n".into())
            };
            tokio::spawn(serve(listener, Arc::new(render)));
            let request = |mut stream: TcpStream| async move {
                stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                answer
            };
            // Some that say nothing, some that say half of it; many more than there is room for.
            let mut others = Vec::new();
            for n in 0..3 * CONNECTIONS {
                let mut stream = TcpStream::connect(at).await.unwrap();
                if n % 2 == 0 {
                    stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
                }
                others.push(stream);
            }
            let answer = request(TcpStream::connect(at).await.unwrap()).await;
            assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");

            // Whoever comes while as many looks as may be are made is told to come again.
            let mut asked = Vec::new();
            for _ in 0..AT_A_TIME {
                asked.push(tokio::spawn(request(TcpStream::connect(at).await.unwrap())));
            }
            while started.load(Ordering::SeqCst) < 1 + AT_A_TIME {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let busy = request(TcpStream::connect(at).await.unwrap()).await;
            assert!(busy.starts_with("HTTP/1.0 503") && busy.contains("\r\nRetry-After: 1\r\n"), "{busy}");
            drop(go);
            for answer in asked {
                assert!(!answer.await.unwrap().is_empty());
            }
        });
    }

    #[test]
    fn whoever_asks_and_reads_nothing_holds_up_nobody() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = listener.local_addr().unwrap();
            // More than the sockets of both sides take.
            let long = "x".repeat(8 << 20);
            let render = move || Ok(long.clone());
            tokio::spawn(serve(listener, Arc::new(render)));
            let mut others = Vec::new();
            for _ in 0..CONNECTIONS {
                let mut stream = TcpStream::connect(at).await.unwrap();
                stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
                // Answered, and so no longer silent; it reads no more.
                stream.read_exact(&mut [0; 9]).await.unwrap();
                others.push(stream);
            }
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(b"HEAD /metrics HTTP/1.1\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        });
    }
}
