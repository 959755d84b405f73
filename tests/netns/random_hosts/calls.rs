//! Calls through the network, all at once, and servers that echo on every node.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::rig::node::Node;

/// Longest wait for one answer, and how often it is asked.
const WAIT: Duration = Duration::from_millis(900);
const TRIES: usize = 2;
/// How often a server looks whether it is at its end.
const LOOK: Duration = Duration::from_millis(300);

/// Somebody calls somebody.
pub struct Call<'t> {
    /// The place that calls, as `trace` knows it.
    pub from: &'t str,
    /// Where that is.
    pub node: &'t Node,
    /// The place that is called.
    pub to: &'t str,
    /// Its address.
    pub address: &'t str,
    /// `icmp`, `tcp/N` or `udp/N`.
    pub port: &'t str,
}

impl Call<'_> {
    fn is_answered(&self) -> bool {
        let Some((protocol, port)) = self.port.split_once('/') else {
            let words = ["ping", "-n", "-c", "2", "-i", "0.3", "-W", "1", self.address];
            return self.node.run(&words).code == Some(0);
        };
        let address: IpAddr = self.address.parse().expect("it is one");
        let called = SocketAddr::new(address, port.parse().expect("it is one"));
        (0..TRIES)
            .any(|_| self.node.inside(|| if protocol == "tcp" { tcp(called) } else { udp(called) }).is_ok())
    }
}

fn tcp(called: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&called, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.write_all(b"call")?;
    stream.read_exact(&mut [0; 4])
}

fn udp(called: SocketAddr) -> std::io::Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(called)?;
    socket.set_read_timeout(Some(WAIT))?;
    socket.send(b"call")?;
    socket.recv(&mut [0; 4]).map(drop)
}

/// Says of each call whether it is answered; a few are under way at a time.
pub fn answered(calls: &[Call<'_>]) -> Vec<bool> {
    std::thread::scope(|scope| {
        let shares: Vec<_> = calls
            .chunks(calls.len().div_ceil(16).max(1))
            .map(|share| scope.spawn(move || share.iter().map(Call::is_answered).collect::<Vec<_>>()))
            .collect();
        shares.into_iter().flat_map(|share| share.join().expect("a call does not panic")).collect()
    })
}

/// Echoes on every node: TCP on ports 22 and 8080, UDP on 53 and each address of the node by itself.
pub struct Servers {
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Servers {
    /// Starts them; addresses that come later have no UDP.
    pub fn start(nodes: &[&Node]) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for node in nodes {
            for port in [22, 8080] {
                let listener =
                    node.inside(|| TcpListener::bind(("0.0.0.0", port))).expect("the port is free");
                listener.set_nonblocking(true).expect("it is a socket");
                let ends = Arc::clone(&ends);
                threads.push(std::thread::spawn(move || serve(&listener, &ends)));
            }
            let listed = node.run(&["ip", "-4", "-o", "addr"]).ok().stdout;
            let addresses =
                listed.lines().filter_map(|line| line.split_whitespace().nth(3)?.split('/').next());
            let sockets: Vec<UdpSocket> =
                node.inside(|| addresses.filter_map(|a| UdpSocket::bind((a, 53)).ok()).collect());
            for socket in sockets {
                socket.set_read_timeout(Some(LOOK)).expect("it is more than nothing");
                let ends = Arc::clone(&ends);
                threads.push(std::thread::spawn(move || echo(&socket, &ends)));
            }
        }
        Self { ends, threads }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _a_panic_was_shown = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, ends: &AtomicBool) {
    while !ends.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(40));
            continue;
        };
        std::thread::spawn(move || {
            let mut bytes = [0; 4];
            let _an_error_is_no_answer = stream
                .set_nonblocking(false)
                .and_then(|()| stream.set_read_timeout(Some(WAIT)))
                .and_then(|()| stream.read_exact(&mut bytes))
                .and_then(|()| stream.write_all(&bytes));
        });
    }
}

fn echo(socket: &UdpSocket, ends: &AtomicBool) {
    let mut bytes = [0; 4];
    while !ends.load(Ordering::Relaxed) {
        if let Ok((size, from)) = socket.recv_from(&mut bytes) {
            let _an_error_is_no_answer = socket.send_to(&bytes[..size], from);
        }
    }
}
