//! Asks the Docker engine for its networks, over its Unix socket; it is nobody's trouble where there is none.

mod events;
mod http;

use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::firewall::foreign::docker::answers::{
    parse_containers, parse_networks, parse_unbridged, parse_version,
};
use http::{body_of, is_complete};

pub use events::Events;

use crate::plan::{DockerContainer, DockerEngine, DockerNetwork};
use crate::store::unix_socket::connect_within;

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// How long the engine may take, all in all.
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// The largest answer that is read: a thousand networks with their containers are some 2 MB.
const MAX_ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// Where the engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    socket: PathBuf,
}

impl Engine {
    /// Reads the value of `DOCKER_HOST`. `None`: it names an engine that is not on this host, whose bridges are
    /// not here either.
    pub fn from_docker_host(value: Option<&str>) -> Option<Self> {
        match value.filter(|v| !v.is_empty()) {
            None => Some(Self { socket: DEFAULT_SOCKET.into() }),
            Some(url) => url.strip_prefix("unix://").map(|path| Self { socket: path.into() }),
        }
    }

    /// Reads `DOCKER_HOST` of this process.
    pub fn here() -> Option<Self> {
        Self::from_docker_host(docker_host().as_deref())
    }

    /// Returns the value of `DOCKER_HOST` where it names an engine that is not on this host.
    pub fn elsewhere() -> Option<String> {
        docker_host().filter(|value| Self::from_docker_host(Some(value)).is_none())
    }

    /// Returns the bridge networks by name; `None`: no engine answers.
    pub fn networks(&self) -> Option<BTreeMap<String, DockerNetwork>> {
        self.all_networks().map(|(bridges, _)| bridges)
    }

    /// Returns the bridge networks by name, and the drivers of the others; `None`: no engine answers.
    pub fn all_networks(&self) -> Option<(BTreeMap<String, DockerNetwork>, BTreeMap<String, String>)> {
        let body = self.answer("/networks")?;
        Some((parse_networks(&body)?, parse_unbridged(&body)))
    }

    /// Returns the engine's version; `None`: no engine answers.
    pub fn version(&self) -> Option<DockerEngine> {
        parse_version(&self.answer("/version")?)
    }

    /// Returns the running containers; `None`: no engine answers.
    pub fn containers(&self) -> Option<Vec<DockerContainer>> {
        parse_containers(&self.answer("/containers/json")?)
    }

    fn answer(&self, path: &str) -> Option<Vec<u8>> {
        match self.ask(path) {
            Ok(body) => Some(body),
            Err(error) => {
                tracing::debug!("docker: {}: {path}: {error}", self.socket.display());
                None
            }
        }
    }

    /// Sends a request and returns the connection, where the answer is to be read.
    fn request(&self, path: &str) -> io::Result<UnixStream> {
        let mut stream = connect_within(&self.socket, TIME_LIMIT)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        Ok(stream)
    }

    fn ask(&self, path: &str) -> io::Result<Vec<u8>> {
        let end = Instant::now() + TIME_LIMIT;
        let mut stream = self.request(path)?;
        let mut answer = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => answer.extend_from_slice(&buffer[..n]),
                // A socket with a time limit is not restarted: the end of a child is enough.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if answer.len() as u64 > MAX_ANSWER_BYTES {
                return Err(io::Error::other("the answer is too long"));
            }
            // An engine may keep the connection open all the same.
            if is_complete(&answer) {
                break;
            }
        }
        body_of(&answer).ok_or_else(|| io::Error::other("the answer is not what HTTP promises"))
    }
}

fn docker_host() -> Option<String> {
    std::env::var("DOCKER_HOST").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"[{"Name":"bridge","Id":"aa00","Driver":"bridge"},{"Name":"six","Id":"0123456789abcdef","Driver":"bridge"}]"#;

    #[test]
    fn docker_host() {
        let socket = |v: Option<&str>| Engine::from_docker_host(v).map(|e| e.socket);
        assert_eq!(socket(None), Some(DEFAULT_SOCKET.into()));
        assert_eq!(
            socket(Some("unix:///run/user/1000/docker.sock")),
            Some("/run/user/1000/docker.sock".into())
        );
        assert_eq!(socket(Some("tcp://192.0.2.1:2375")), None);
        assert_eq!(socket(Some("ssh://root@192.0.2.1")), None);
    }

    #[test]
    fn an_engine_that_answers_and_none_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let engine = Engine { socket: path.clone() };
        assert_eq!(engine.networks(), None);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let n = stream.read(&mut request).unwrap();
            assert!(request[..n].starts_with(b"GET /networks HTTP/1.1\r\n"));
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BODY.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(BODY.as_bytes()).unwrap();
            // The connection stays open until the other side has what it came for.
            let _ = stream.read(&mut request);
        });
        assert_eq!(engine.networks().map(|n| n.len()), Some(2));
        server.join().unwrap();
    }
}
