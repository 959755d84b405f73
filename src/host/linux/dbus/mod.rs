//! As much of D-Bus as firewalld and systemd are asked with: one connection to the system's bus, calls one after the other.
//!
//! `firewall-cmd` would do as well and takes 0.4 s a call; a library for the bus is twenty packages.

mod wire;

use std::io::{self, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::store::unix_socket::connect_within;
pub(super) use wire::{Arg, Setting, Value};
use wire::{Reader, Writer};

/// The bus itself, as one that can be called.
pub(super) const BUS: &str = "org.freedesktop.DBus";
/// Where the system's bus is, unless `DBUS_SYSTEM_BUS_ADDRESS` says otherwise (D-Bus Specification, "System message bus").
const SOCKET: &str = "/run/dbus/system_bus_socket";
/// How long an answer may take: firewalld does one thing at a time, and a reload of a large configuration is seconds.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// The longest message, in bytes (D-Bus Specification, "Message protocol").
const MAX_BYTES: usize = 128 * 1024 * 1024;
/// How much is read at a time, in bytes.
const PIECE: usize = 64 << 10;
/// Never start who is called: a firewalld that is not running is to stay so.
const NO_AUTO_START: u8 = 0x2;
const CALL: u8 = 1;
const ANSWER: u8 = 2;
const REFUSAL: u8 = 3;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum DbusError {
    /// The bus is not there, or broke off.
    #[error("D-Bus: {0}")]
    Io(#[from] io::Error),
    /// Whoever was called refused.
    #[error("{message}")]
    Refused {
        /// The error's name, `org.freedesktop.DBus.Error.…`.
        name: String,
        /// In words.
        message: String,
    },
}

fn malformed() -> DbusError {
    io::Error::new(io::ErrorKind::InvalidData, "a message is not what the protocol promises").into()
}

/// A connection.
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// How long an answer may take.
    limit: Duration,
}

/// What is in the head of an answer.
#[derive(Default)]
struct Head {
    /// The number of the call that it answers.
    answers: u32,
    signature: String,
    sender: String,
    /// An error's name.
    name: String,
}

impl Bus {
    /// Connects to the system's bus; an answer may take as long as a firewall's reload.
    pub(super) fn system() -> Result<Self, DbusError> {
        Self::system_within(TIME_LIMIT)
    }

    /// The same where nobody may be kept waiting.
    pub(super) fn system_within(limit: Duration) -> Result<Self, DbusError> {
        let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_default();
        let path = address
            .split(';')
            .filter_map(|a| a.strip_prefix("unix:"))
            .find_map(|a| a.split(',').find_map(|pair| pair.strip_prefix("path=")));
        Self::connect(path.unwrap_or(SOCKET), limit)
    }

    fn connect(path: &str, limit: Duration) -> Result<Self, DbusError> {
        let mut stream = connect_within(Path::new(path), limit)?;
        // The bus compares the number with what the kernel says of this process.
        let user: String =
            nix::unistd::geteuid().to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            if line.len() > 1024 {
                return Err(malformed());
            }
            line.extend(byte);
        }
        if !line.starts_with(b"OK ") {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the bus refuses this user").into());
        }
        stream.write_all(b"BEGIN\r\n")?;
        let mut bus = Self { stream, serial: 0, limit };
        bus.call([BUS, "/org/freedesktop/DBus", BUS, "Hello"], &[])?;
        Ok(bus)
    }

    /// Calls `[destination, object, interface, method]` and waits for the answer.
    pub(super) fn call(&mut self, method: [&str; 4], args: &[Arg<'_>]) -> Result<Vec<Value>, DbusError> {
        let sender = match method[0] {
            BUS => BUS.to_owned(),
            // Who has the name, as one connection: anybody may send anything to this one. Nobody: the bus itself says so.
            name => {
                let owner = [BUS, "/org/freedesktop/DBus", BUS, "GetNameOwner"];
                let owner = self.ask(owner, &[Arg::Text(name)], BUS);
                owner.ok().and_then(|v| v.first()?.text().map(str::to_owned)).unwrap_or_default()
            }
        };
        self.ask(method, args, &sender)
    }

    /// The same where the answer is to come from this connection.
    fn ask(&mut self, method: [&str; 4], args: &[Arg<'_>], sender: &str) -> Result<Vec<Value>, DbusError> {
        let end = Instant::now() + self.limit;
        self.serial += 1;
        self.stream.write_all(&call_message(self.serial, method, args))?;
        loop {
            let Some((kind, head, body)) = self.receive(end)? else { continue };
            // A refusal may be the bus's own: nobody of that name, not allowed, no answer in time.
            let is_from = head.sender == sender || (kind == REFUSAL && head.sender == BUS);
            if head.answers != self.serial || !is_from {
                continue;
            }
            let values = Reader { bytes: &body, at: 0 }.values(&head.signature).ok_or_else(malformed)?;
            if kind == ANSWER {
                return Ok(values);
            }
            let message = values.first().and_then(Value::text).unwrap_or(&head.name).to_string();
            return Err(DbusError::Refused { name: head.name, message });
        }
    }

    /// Receives a message, and returns an answer's kind, head and body; `None`: it is none, or makes no sense. Any user of the bus
    /// may send one, so only its length has to be right, which the bus sees to.
    fn receive(&mut self, end: Instant) -> Result<Option<(u8, Head, Vec<u8>)>, DbusError> {
        let mut start = [0; 16];
        self.read(&mut start, end)?;
        // Each sender has the order of bytes that he likes.
        let number = |at: usize| {
            let bytes = [start[at], start[at + 1], start[at + 2], start[at + 3]];
            let number = if start[0] == b'B' { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
            usize::try_from(number).unwrap_or(usize::MAX)
        };
        let (body, fields) = (number(4), number(12));
        if !matches!(start[0], b'l' | b'B') || body > MAX_BYTES || fields > MAX_BYTES {
            return Err(malformed());
        }
        let head = (16 + fields).next_multiple_of(8);
        let kind = start[1];
        // Who answers is on this host, and all that it runs on are little-endian.
        if start[0] != b'l' || !matches!(kind, ANSWER | REFUSAL) {
            self.skip(head - 16 + body, end)?;
            return Ok(None);
        }
        let mut bytes = start.to_vec();
        self.read_more(&mut bytes, head - 16, end)?;
        let Some(read) = read_head(&bytes, 16 + fields) else {
            self.skip(body, end)?;
            return Ok(None);
        };
        let mut content = Vec::new();
        self.read_more(&mut content, body, end)?;
        Ok(Some((kind, read, content)))
    }

    /// Reads as much as `bytes` holds.
    fn read(&mut self, bytes: &mut [u8], end: Instant) -> Result<(), DbusError> {
        let mut at = 0;
        while at < bytes.len() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut bytes[at..]) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(n) => at += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Reads `count` bytes behind those that are there, taking memory as they come.
    fn read_more(&mut self, bytes: &mut Vec<u8>, mut count: usize, end: Instant) -> Result<(), DbusError> {
        while count > 0 {
            let at = bytes.len();
            let piece = count.min(PIECE);
            bytes.resize(at + piece, 0);
            self.read(&mut bytes[at..], end)?;
            count -= piece;
        }
        Ok(())
    }

    fn skip(&mut self, mut count: usize, end: Instant) -> Result<(), DbusError> {
        let mut piece = vec![0; count.min(PIECE)];
        while count > 0 {
            let length = count.min(piece.len());
            self.read(&mut piece[..length], end)?;
            count -= length;
        }
        Ok(())
    }
}

fn call_message(
    serial: u32,
    [destination, object, interface, method]: [&str; 4],
    args: &[Arg<'_>],
) -> Vec<u8> {
    let mut body = Writer::default();
    args.iter().for_each(|arg| body.arg(arg));
    let signature: String = args.iter().map(Arg::signature).collect();
    let mut message = Writer { bytes: vec![b'l', CALL, NO_AUTO_START, 1] };
    message.number(u32::try_from(body.bytes.len()).unwrap_or(u32::MAX));
    message.number(serial);
    message.array(8, |w| {
        for (code, kind, text) in [
            (1, "o", object),
            (2, "s", interface),
            (3, "s", method),
            (6, "s", destination),
            (8, "g", &*signature),
        ] {
            w.align(8);
            w.bytes.push(code);
            w.signature(kind);
            if kind == "g" { w.signature(text) } else { w.text(text) }
        }
    });
    message.align(8);
    message.bytes.append(&mut body.bytes);
    message.bytes
}

/// Reads the fields of a head, which end at `end`.
fn read_head(bytes: &[u8], end: usize) -> Option<Head> {
    let mut fields = Reader { bytes: bytes.get(..end)?, at: 16 };
    let mut head = Head::default();
    while fields.at < end {
        let Value::Struct(field) = fields.value(&mut "(yv)", 0)? else { return None };
        match field.as_slice() {
            [Value::Number(4), Value::Text(text)] => head.name.clone_from(text),
            [Value::Number(5), Value::Number(serial)] => head.answers = u32::try_from(*serial).ok()?,
            [Value::Number(7), Value::Text(text)] => head.sender.clone_from(text),
            [Value::Number(8), Value::Text(text)] => head.signature.clone_from(text),
            _ => {}
        }
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A message as the bus passes it on.
    fn from(sender: &str, kind: u8, answers: u32, texts: &[&str], error: Option<&str>) -> Vec<u8> {
        let mut body = Writer::default();
        texts.iter().for_each(|t| body.text(t));
        let mut w = Writer { bytes: vec![b'l', kind, 0, 1] };
        w.number(u32::try_from(body.bytes.len()).unwrap());
        w.number(77);
        w.array(8, |w| {
            w.bytes.push(5);
            w.signature("u");
            w.number(answers);
            for (code, text) in [(4, error), (7, Some(sender))] {
                if let Some(text) = text {
                    w.align(8);
                    w.bytes.push(code);
                    w.signature("s");
                    w.text(text);
                }
            }
            w.align(8);
            w.bytes.push(8);
            w.signature("g");
            w.signature(&"s".repeat(texts.len()));
        });
        w.align(8);
        w.bytes.append(&mut body.bytes);
        w.bytes
    }

    fn read_call(stream: &mut UnixStream) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let n = stream.read(&mut bytes).unwrap();
        bytes.truncate(n);
        bytes
    }

    /// A bus on which `:1.7` has the name `a.b`: after Hello, each call to it is answered by one of `answers`, which is given the
    /// call's number. Returns the bytes of those calls.
    fn bus(answers: Vec<fn(u32) -> Vec<u8>>) -> (Bus, std::thread::JoinHandle<Vec<Vec<u8>>>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bus");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let hello = read_call(&mut stream);
            assert!(hello.starts_with(b"\0AUTH EXTERNAL 3"), "{hello:?}");
            stream.write_all(b"OK 0123456789abcdef\r\n").unwrap();
            let mut asked = read_call(&mut stream);
            // BEGIN and the first call may come in one piece.
            if asked.len() < 32 {
                asked.extend(read_call(&mut stream));
            }
            stream.write_all(&from(BUS, ANSWER, 1, &[":1.42"], None)).unwrap();
            let mut calls = Vec::new();
            let mut serial = 1;
            for answer in answers {
                let owner = read_call(&mut stream);
                assert!(owner.windows(12).any(|w| w == b"GetNameOwner"));
                stream.write_all(&from(BUS, ANSWER, serial + 1, &[":1.7"], None)).unwrap();
                calls.push(read_call(&mut stream));
                serial += 2;
                stream.write_all(&answer(serial)).unwrap();
            }
            // Held open until the other side hangs up.
            let _ = stream.read(&mut [0]);
            calls
        });
        (Bus::connect(path.to_str().unwrap(), Duration::from_secs(2)).unwrap(), server)
    }

    const METHOD: [&str; 4] = ["a.b", "/c", "a.b.zone", "getZones"];

    #[test]
    fn calls_and_their_answers() {
        let (mut bus, server) = bus(vec![
            |n| from(":1.7", ANSWER, n, &["public"], None),
            |n| {
                from(":1.7", REFUSAL, n, &["INVALID_ZONE: x"], Some("org.fedoraproject.FirewallD1.Exception"))
            },
            |n| from(BUS, REFUSAL, n, &["nobody"], Some("org.freedesktop.DBus.Error.ServiceUnknown")),
            |_| vec![b'x'; 64],
        ]);
        assert_eq!(bus.call(METHOD, &[]).unwrap(), [Value::Text("public".into())]);
        let refused = bus.call(METHOD, &[Arg::Text("x")]).unwrap_err();
        assert_eq!(refused.to_string(), "INVALID_ZONE: x");
        assert!(matches!(refused, DbusError::Refused { name, .. } if name.ends_with("Exception")));
        assert_eq!(bus.call(METHOD, &[]).unwrap_err().to_string(), "nobody");
        assert!(matches!(bus.call(METHOD, &[]), Err(DbusError::Io(_))));
        drop(bus);
        let calls = server.join().unwrap();
        assert_eq!(calls[0][..4], [b'l', CALL, NO_AUTO_START, 1]);
        assert!(calls[0].windows(8).any(|w| w == b"getZones"));
    }

    /// What any user of the bus may send to any connection.
    #[test]
    fn whatever_others_send_changes_nothing() {
        const NOISE: [fn(u32) -> Vec<u8>; 9] = [
            |_| from(":1.66", 4, 0, &["news"], None),
            // Somebody else's answer to this call, to another one, and a refusal that is not the bus's.
            |n| from(":1.66", ANSWER, n, &["evil"], None),
            |n| from(":1.7", ANSWER, n - 1, &["late"], None),
            |n| from(":1.66", REFUSAL, n, &["evil"], Some("org.freedesktop.DBus.Error.Failed")),
            // A signal in the other order of bytes; one whose body is no value of its signature; one of a megabyte.
            |_| {
                let mut bytes = vec![b'B', 4, 0, 1, 0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0, 3];
                bytes.extend([0xff; 8 + 5]);
                bytes
            },
            |_| {
                let mut bytes = from(":1.66", 4, 0, &["body"], None);
                let at = bytes.len() - 9;
                bytes[at..at + 4].fill(0xff);
                bytes
            },
            |_| from(":1.66", 4, 0, &[&"x".repeat(1 << 20)], None),
            // An answer whose head is nonsense, and a kind of message that there is not.
            |n| {
                let mut bytes = from(":1.7", ANSWER, n, &["evil"], None);
                bytes[17..30].fill(0xff);
                bytes
            },
            |n| from(":1.7", 99, n, &["evil"], None),
        ];
        let answers: Vec<fn(u32) -> Vec<u8>> = vec![
            |n| {
                [
                    NOISE.iter().flat_map(|noise| noise(n)).collect(),
                    from(":1.7", ANSWER, n, &["public"], None),
                ]
                .concat()
            },
            |n| {
                [
                    NOISE.iter().flat_map(|noise| noise(n)).collect(),
                    from(":1.7", ANSWER, n, &["public"], None),
                ]
                .concat()
            },
        ];
        let (mut bus, server) = bus(answers);
        for _ in 0..2 {
            assert_eq!(bus.call(METHOD, &[]).unwrap(), [Value::Text("public".into())]);
        }
        drop(bus);
        server.join().unwrap();
    }

    #[test]
    fn nobody_who_keeps_talking_keeps_a_call_waiting() {
        let (mut bus, server) = bus(vec![|_| from(":1.66", 4, 0, &["news"], None).repeat(100)]);
        let began = Instant::now();
        assert!(
            matches!(bus.call(METHOD, &[]), Err(DbusError::Io(e)) if e.kind() == io::ErrorKind::TimedOut)
        );
        assert!(began.elapsed() >= Duration::from_secs(2));
        drop(bus);
        server.join().unwrap();
    }

    #[test]
    fn no_bus_is_an_error_and_no_wait() {
        assert!(Bus::connect("/nonexistent/bus", TIME_LIMIT).is_err());
    }
}
