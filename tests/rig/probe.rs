//! Probes: what a packet's two ends see. Sockets are made by threads inside the nodes, so a probe starts no process.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::node::Node;

/// Longest wait for an answer: a first handshake in the guest, with its retries of a second each, fits well.
const PATIENCE: Duration = Duration::from_secs(25);
/// Longest wait where no answer is expected: the retry of a first packet comes after a second.
const IMPATIENCE: Duration = Duration::from_millis(2500);
/// Bytes sent and echoed over TCP: many segments, more than a socket's buffers of either end hold at first.
const PAYLOAD: usize = 300_000;
/// The port of the echo servers.
const PORT: u16 = 7007;
/// The port of the flows.
const FLOW_PORT: u16 = 7008;
/// Longest that a flow waits for its last echoes.
const FLOW_PATIENCE: Duration = Duration::from_secs(3);

/// Pings until an answer comes, at most [`PATIENCE`].
#[must_use]
pub fn ping(from: &Node, to: &str) -> bool {
    ping_within(PATIENCE, from, to)
}

/// The same with a limit of its own.
#[must_use]
pub fn ping_within(limit: Duration, from: &Node, to: &str) -> bool {
    let began = Instant::now();
    while began.elapsed() < limit {
        if from.run(&["ping", "-n", "-c", "1", "-W", "2", to]).code == Some(0) {
            return true;
        }
    }
    false
}

/// Says that no ping is answered, for as long as a handshake and a retry would take.
#[must_use]
pub fn no_ping(from: &Node, to: &str) -> bool {
    from.run(&["ping", "-n", "-c", "3", "-i", "0.5", "-W", "1", to]).code != Some(0)
}

/// Sends [`PAYLOAD`] bytes over TCP from one node to an address of another and has them echoed. Returns the address
/// that the server saw as its client's.
pub fn tcp(from: &Node, to: &Node, address: &str) -> io::Result<IpAddr> {
    tcp_within(PATIENCE, from, to, (address, address))
}

/// The same where who is called has another address than the one that is called: it is translated on the way.
pub fn tcp_known_as(from: &Node, to: &Node, called: &str, own: &str) -> io::Result<IpAddr> {
    tcp_within(PATIENCE, from, to, (called, own))
}

/// The same where a failure is expected: gives up sooner.
pub fn no_tcp_known_as(from: &Node, to: &Node, called: &str, own: &str) -> bool {
    tcp_within(IMPATIENCE, from, to, (called, own)).is_err()
}

/// The same where a failure is expected: gives up sooner.
pub fn no_tcp(from: &Node, to: &Node, address: &str) -> bool {
    tcp_within(IMPATIENCE, from, to, (address, address)).is_err()
}

fn tcp_within(limit: Duration, from: &Node, to: &Node, (called, own): (&str, &str)) -> io::Result<IpAddr> {
    let address = SocketAddr::new(parsed(called), PORT);
    let listener = to.inside(|| TcpListener::bind((parsed(own), PORT)))?;
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let (mut stream, client) = accept(&listener, limit)?;
            stream.set_read_timeout(Some(limit))?;
            stream.set_write_timeout(Some(limit))?;
            let mut bytes = vec![0; PAYLOAD];
            stream.read_exact(&mut bytes)?;
            stream.write_all(&bytes)?;
            Ok(client.ip())
        });
        let sent: Vec<u8> = (0..PAYLOAD).map(|i| (i * 31 % 251) as u8).collect();
        let echo = from.inside(|| -> io::Result<Vec<u8>> {
            let mut stream = TcpStream::connect_timeout(&address, limit)?;
            stream.set_read_timeout(Some(limit))?;
            stream.set_write_timeout(Some(limit))?;
            stream.write_all(&sent)?;
            let mut echo = vec![0; PAYLOAD];
            stream.read_exact(&mut echo)?;
            Ok(echo)
        });
        let client = server.join().expect("the server does not panic");
        assert!(echo? == sent, "{address}: the echo differs from what was sent");
        client
    })
}

/// Waits for one client, at most `limit`.
fn accept(listener: &TcpListener, limit: Duration) -> io::Result<(TcpStream, SocketAddr)> {
    listener.set_nonblocking(true)?;
    let began = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, client)) => {
                stream.set_nonblocking(false)?;
                return Ok((stream, client));
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && began.elapsed() < limit => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(e) => return Err(e),
        }
    }
}

/// Sends a datagram of `size` bytes from one node to an address of another and has it echoed, up to three times.
/// Returns the address that the server saw.
pub fn udp(from: &Node, to: &Node, address: &str, size: usize) -> io::Result<IpAddr> {
    let any = if address.contains(':') { "::" } else { "0.0.0.0" };
    udp_as(any, from, to, address, size)
}

/// The same, from one of the sender's addresses.
pub fn udp_as(source: &str, from: &Node, to: &Node, address: &str, size: usize) -> io::Result<IpAddr> {
    echoed(source, from, to, (address, address), size)
}

/// The same where who is called has another address than the one that is called.
pub fn udp_known_as(from: &Node, to: &Node, called: &str, own: &str, size: usize) -> io::Result<IpAddr> {
    echoed("0.0.0.0", from, to, (called, own), size)
}

fn echoed(
    source: &str,
    from: &Node,
    to: &Node,
    (called, own): (&str, &str),
    size: usize,
) -> io::Result<IpAddr> {
    let address = SocketAddr::new(parsed(called), PORT);
    let server = to.inside(|| UdpSocket::bind((parsed(own), PORT)))?;
    server.set_read_timeout(Some(PATIENCE))?;
    let source = SocketAddr::new(parsed(source), 0);
    let client = from.inside(|| UdpSocket::bind(source))?;
    client.connect(address)?;
    client.set_read_timeout(Some(Duration::from_secs(2)))?;
    let sent: Vec<u8> = (0..size).map(|i| (i * 7 % 253) as u8).collect();
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for _ in 0..3 {
        client.send(&sent)?;
        let mut bytes = vec![0; size + 1];
        let seen = server
            .recv_from(&mut bytes)
            .and_then(|(n, seen)| server.send_to(&bytes[..n], seen).map(|_| seen));
        match seen.and_then(|seen| client.recv(&mut bytes).map(|n| (n, seen))) {
            Ok((n, seen)) => {
                assert!(bytes[..n] == sent, "{address}: the echo differs from what was sent");
                return Ok(seen.ip());
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn parsed(address: &str) -> IpAddr {
    address.parse().unwrap_or_else(|e| panic!("{address}: {e}"))
}

/// A hundred datagrams a second from one node to an address of another, each echoed, until stopped.
#[derive(Debug)]
pub struct Flow {
    ends: Arc<AtomicBool>,
    server: JoinHandle<()>,
    client: JoinHandle<Tally>,
}

/// What became of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Datagrams sent.
    pub sent: u32,
    /// Echoes received.
    pub received: u32,
}

impl Flow {
    /// Starts the flow.
    pub fn start(from: &Node, to: &Node, address: &str) -> Self {
        let address = SocketAddr::new(parsed(address), FLOW_PORT);
        let server =
            to.inside(|| UdpSocket::bind(address)).unwrap_or_else(|e| panic!("{}: {address}: {e}", to.name));
        let client = from.inside(|| UdpSocket::bind(("0.0.0.0", 0))).expect("a port is free");
        client.connect(address).unwrap_or_else(|e| panic!("{}: {address}: {e}", from.name));
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(Duration::from_millis(1))).expect("the time is not zero");
        }
        let ends = Arc::new(AtomicBool::new(false));
        let echo = {
            let ends = Arc::clone(&ends);
            move || {
                let mut bytes = [0; 64];
                // The client's patience after the end is the server's too: it holds the other end of the flag.
                while !ends.load(Ordering::Relaxed) || Arc::strong_count(&ends) > 1 {
                    if let Ok((size, from)) = server.recv_from(&mut bytes) {
                        let _an_error_shows_as_a_loss = server.send_to(&bytes[..size], from);
                    }
                }
            }
        };
        let call = {
            let ends = Arc::clone(&ends);
            move || run(&client, &ends)
        };
        Self { ends, server: std::thread::spawn(echo), client: std::thread::spawn(call) }
    }

    /// Sends no more, waits for what is under way, and counts.
    pub fn stop(self) -> Tally {
        let Self { ends, server, client } = self;
        ends.store(true, Ordering::Relaxed);
        drop(ends);
        let tally = client.join().expect("the client does not panic");
        server.join().expect("the server does not panic");
        tally
    }
}

/// Sends every 10 ms until told to end, then waits for the rest of the echoes, at most [`FLOW_PATIENCE`].
fn run(client: &UdpSocket, ends: &AtomicBool) -> Tally {
    let mut tally = Tally { sent: 0, received: 0 };
    let mut bytes = [0; 64];
    let began = Instant::now();
    let mut ended = None;
    loop {
        if ended.is_none() && ends.load(Ordering::Relaxed) {
            ended = Some(Instant::now());
        }
        match ended {
            None if began.elapsed() >= Duration::from_millis(10) * tally.sent => {
                tally.sent += 1;
                let _an_error_shows_as_a_loss = client.send(&tally.sent.to_be_bytes());
            }
            Some(ended) if tally.received == tally.sent || ended.elapsed() > FLOW_PATIENCE => return tally,
            _ => {}
        }
        if client.recv(&mut bytes).is_ok() {
            tally.received += 1;
        }
    }
}

impl Tally {
    /// Returns the datagrams that were not answered.
    #[must_use]
    pub fn lost(self) -> u32 {
        self.sent.abs_diff(self.received)
    }
}
