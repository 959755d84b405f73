//! What an engine tells by itself: networks made, taken away, and containers joining them.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;

use super::Engine;
use super::http::head_of;

/// `{"type":["network"]}`, as an address has it.
const PATH: &str = "/events?filters=%7B%22type%22%3A%5B%22network%22%5D%7D";
/// The longest head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// A subscription, which ends with the engine.
pub struct Events {
    stream: UnixStream,
}

impl Events {
    /// Subscribes. Returns when the engine has agreed: what happens from here on is told.
    ///
    /// # Errors
    /// No engine listens, or it gives another answer.
    pub fn of_networks(engine: &Engine) -> io::Result<Self> {
        let mut stream = engine.request(PATH)?;
        stream.set_read_timeout(Some(super::TIME_LIMIT))?;
        let mut head = Vec::new();
        while head_of(&head).is_none() {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            if head.len() > MAX_HEAD_BYTES {
                return Err(io::Error::other("the answer is not what HTTP promises"));
            }
            head.extend(byte);
        }
        if head_of(&head).is_none_or(|h| h.status != 200) {
            return Err(io::Error::other("the engine tells nothing"));
        }
        stream.set_read_timeout(None)?;
        Ok(Self { stream })
    }

    /// Waits until something happened; what does not matter: whoever is told looks at the whole host.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn wait(&mut self) -> io::Result<()> {
        loop {
            match self.stream.read(&mut [0; 16 * 1024]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(drop),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn an_event_and_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let engine = Engine { socket: path.clone() };
        assert!(Events::of_networks(&engine).is_err());
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            for status in ["200 OK", "400 Bad Request"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let n = stream.read(&mut request).unwrap();
                assert!(request[..n].starts_with(b"GET /events?filters=%7B"));
                write!(stream, "HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
                std::thread::sleep(std::time::Duration::from_millis(20));
                let _ = stream.write_all(b"2\r\n{}\r\n");
            }
        });
        let mut events = Events::of_networks(&engine).unwrap();
        events.wait().unwrap();
        assert!(events.wait().is_err());
        assert!(Events::of_networks(&engine).is_err());
        server.join().unwrap();
    }
}
