//! As much of D-Bus as firewalld and systemd are asked with: one connection to the system's bus, calls one after the other.
//!
//! `firewall-cmd` would do as well and takes 0.4 s a call; a library for the bus is twenty packages.

mod wire;

use std::io::{self, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

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
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        // The bus compares the number with what the kernel says of this process.
        let user: String =
            nix::unistd::geteuid().to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            if line.len() > 1024 || stream.read(&mut byte)? == 0 {
                return Err(malformed());
            }
            line.extend(byte);
        }
        if !line.starts_with(b"OK ") {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the bus refuses this user").into());
        }
        stream.write_all(b"BEGIN\r\n")?;
        let mut bus = Self { stream, serial: 0 };
        bus.call([BUS, "/org/freedesktop/DBus", BUS, "Hello"], &[])?;
        Ok(bus)
    }

    /// Calls `[destination, object, interface, method]` and waits for the answer.
    pub(super) fn call(&mut self, method: [&str; 4], args: &[Arg<'_>]) -> Result<Vec<Value>, DbusError> {
        self.serial += 1;
        self.stream.write_all(&call_message(self.serial, method, args))?;
        loop {
            let (kind, answers, values, name) = self.receive()?;
            match kind {
                ANSWER if answers == self.serial => return Ok(values),
                REFUSAL if answers == self.serial => {
                    let message = values.first().and_then(Value::text).unwrap_or(&name).to_string();
                    return Err(DbusError::Refused { name, message });
                }
                // News that nobody asked for.
                _ => {}
            }
        }
    }

    /// Receives a message: its kind, the number of the call that it answers, its values, and an error's name.
    fn receive(&mut self) -> Result<(u8, u32, Vec<Value>, String), DbusError> {
        let mut bytes = vec![0; 16];
        self.stream.read_exact(&mut bytes)?;
        let number = |at| Reader { bytes: &bytes, at }.number().and_then(|n| usize::try_from(n).ok());
        let (Some(body), Some(fields)) = (number(4), number(12)) else { return Err(malformed()) };
        // Both sides are on this host, and all that it runs on are little-endian.
        if bytes[0] != b'l' || body > MAX_BYTES || fields > MAX_BYTES {
            return Err(malformed());
        }
        let header = (16 + fields).next_multiple_of(8);
        bytes.resize(header + body, 0);
        self.stream.read_exact(&mut bytes[16..])?;
        message(&bytes, header).ok_or_else(malformed)
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

fn message(bytes: &[u8], body_at: usize) -> Option<(u8, u32, Vec<Value>, String)> {
    let (head, body) = bytes.split_at_checked(body_at)?;
    let mut fields = Reader { bytes: head, at: 12 };
    let end = 16 + usize::try_from(fields.number()?).ok()?;
    let (mut answers, mut signature, mut name) = (0, String::new(), String::new());
    while fields.at < end {
        let Value::Struct(field) = fields.value(&mut "(yv)", 0)? else { return None };
        match field.as_slice() {
            [Value::Number(4), Value::Text(text)] => name.clone_from(text),
            [Value::Number(5), Value::Number(serial)] => answers = u32::try_from(*serial).ok()?,
            [Value::Number(8), Value::Text(text)] => signature.clone_from(text),
            _ => {}
        }
    }
    let values = Reader { bytes: body, at: 0 }.values(&signature)?;
    Some((head[1], answers, values, name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A message of the bus: `fields` are code, type and value.
    fn from_bus(kind: u8, answers: u32, texts: &[&str], error: Option<&str>) -> Vec<u8> {
        let mut body = Writer::default();
        texts.iter().for_each(|t| body.text(t));
        let mut w = Writer { bytes: vec![b'l', kind, 0, 1] };
        w.number(u32::try_from(body.bytes.len()).unwrap());
        w.number(77);
        w.array(8, |w| {
            w.bytes.push(5);
            w.signature("u");
            w.number(answers);
            w.align(8);
            w.bytes.push(8);
            w.signature("g");
            w.signature(&"s".repeat(texts.len()));
            if let Some(name) = error {
                w.align(8);
                w.bytes.push(4);
                w.signature("s");
                w.text(name);
            }
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

    #[test]
    fn calls_and_their_answers() {
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
            stream.write_all(&from_bus(ANSWER, 1, &[":1.7"], None)).unwrap();
            let call = read_call(&mut stream);
            assert_eq!(call[..4], [b'l', CALL, NO_AUTO_START, 1]);
            assert!(call.windows(8).any(|w| w == b"getZones"));
            // A signal and the answer to somebody else's call come first.
            stream.write_all(&from_bus(4, 0, &["news"], None)).unwrap();
            stream.write_all(&from_bus(ANSWER, 1, &["late"], None)).unwrap();
            stream.write_all(&from_bus(ANSWER, 2, &["public"], None)).unwrap();
            read_call(&mut stream);
            let error = Some("org.fedoraproject.FirewallD1.Exception");
            stream.write_all(&from_bus(REFUSAL, 3, &["INVALID_ZONE: x"], error)).unwrap();
            read_call(&mut stream);
            stream.write_all(&[b'B'; 64]).unwrap();
        });
        let mut bus = Bus::connect(path.to_str().unwrap(), TIME_LIMIT).unwrap();
        let method = ["a.b", "/c", "a.b.zone", "getZones"];
        assert_eq!(bus.call(method, &[]).unwrap(), [Value::Text("public".into())]);
        let refused = bus.call(method, &[Arg::Text("x")]).unwrap_err();
        assert_eq!(refused.to_string(), "INVALID_ZONE: x");
        assert!(matches!(refused, DbusError::Refused { name, .. } if name.ends_with("Exception")));
        assert!(matches!(bus.call(method, &[]), Err(DbusError::Io(_))));
        server.join().unwrap();
    }

    #[test]
    fn no_bus_is_an_error_and_no_wait() {
        assert!(Bus::connect("/nonexistent/bus", TIME_LIMIT).is_err());
    }
}
