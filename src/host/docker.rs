//! Asks the Docker engine for its networks, over its Unix socket; it is nobody's trouble where there is none.

use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::Deserialize;

use crate::doctor::Container;
use crate::plan::{DockerEngine, DockerNetwork};

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
        Self::from_docker_host(std::env::var("DOCKER_HOST").ok().as_deref())
    }

    /// Returns the bridge networks by name; `None`: no engine answers.
    pub fn networks(&self) -> Option<BTreeMap<String, DockerNetwork>> {
        parse_networks(&self.answer("/networks")?)
    }

    /// Returns the engine's version; `None`: no engine answers.
    pub fn version(&self) -> Option<DockerEngine> {
        parse_version(&self.answer("/version")?)
    }

    /// Returns the running containers; `None`: no engine answers.
    pub fn containers(&self) -> Option<Vec<Container>> {
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

    fn ask(&self, path: &str) -> io::Result<Vec<u8>> {
        let end = Instant::now() + TIME_LIMIT;
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_write_timeout(Some(TIME_LIMIT))?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut buffer)? {
                0 => break,
                n => answer.extend_from_slice(&buffer[..n]),
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

struct Head<'a> {
    status: u16,
    chunked: bool,
    length: Option<usize>,
    rest: &'a [u8],
}

fn head_of(answer: &[u8]) -> Option<Head<'_>> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = text.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut head = Head { status, chunked: false, length: None, rest: &answer[end + 4..] };
    for line in lines {
        let (name, value) = line.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "transfer-encoding" => head.chunked = value.trim().eq_ignore_ascii_case("chunked"),
            "content-length" => head.length = Some(value.trim().parse().ok()?),
            _ => {}
        }
    }
    Some(head)
}

fn is_complete(answer: &[u8]) -> bool {
    // The last chunk of JSON that is chunked ends so; JSON itself has no carriage return outside of strings.
    head_of(answer).is_some_and(|head| match head.length {
        _ if head.chunked => head.rest.ends_with(b"\r\n0\r\n\r\n"),
        Some(length) => head.rest.len() >= length,
        None => false,
    })
}

/// Returns the body of a complete answer with status 200.
fn body_of(answer: &[u8]) -> Option<Vec<u8>> {
    let head = head_of(answer).filter(|h| h.status == 200)?;
    if head.chunked {
        return unchunk(head.rest);
    }
    match head.length {
        Some(length) => head.rest.get(..length).map(<[u8]>::to_vec),
        None => Some(head.rest.to_vec()),
    }
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedNetwork {
    name: String,
    id: String,
    driver: String,
    #[serde(default, rename = "IPAM")]
    ipam: Option<Ipam>,
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam {
    #[serde(default)]
    config: Option<Vec<IpamConfig>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IpamConfig {
    #[serde(default)]
    subnet: Option<String>,
}

/// Reads the engine's list of containers (`GET /containers/json`); `None`: it is none.
fn parse_containers(body: &[u8]) -> Option<Vec<Container>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Listed {
        #[serde(default)]
        names: Vec<String>,
        network_settings: Settings,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Settings {
        #[serde(default)]
        networks: BTreeMap<String, serde::de::IgnoredAny>,
    }
    let list: Vec<Listed> = serde_json::from_slice(body).ok()?;
    let container = |listed: Listed| Container {
        name: listed.names.first().map(|n| n.trim_start_matches('/').to_string()).unwrap_or_default(),
        networks: listed.network_settings.networks.into_keys().collect(),
    };
    Some(list.into_iter().map(container).collect())
}

/// Reads what the engine says of itself (`GET /version`); `None`: it says nothing.
fn parse_version(body: &[u8]) -> Option<DockerEngine> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Version {
        version: String,
        #[serde(default)]
        platform: Option<Platform>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Platform {
        #[serde(default)]
        name: String,
    }
    let said: Version = serde_json::from_slice(body).ok()?;
    Some(DockerEngine { version: said.version, platform: said.platform.map(|p| p.name).unwrap_or_default() })
}

/// Reads the engine's list of networks (`GET /networks`); `None`: it is none.
fn parse_networks(body: &[u8]) -> Option<BTreeMap<String, DockerNetwork>> {
    let list: Vec<ListedNetwork> = serde_json::from_slice(body).ok()?;
    let bridges = list.into_iter().filter(|n| n.driver == "bridge").map(|n| {
        let named = n.options.as_ref().and_then(|o| o.get("com.docker.network.bridge.name"));
        let bridge = match named {
            Some(name) => name.clone(),
            None if n.name == "bridge" => "docker0".into(),
            // The engine names a bridge after the first half of the network's short id.
            None => format!("br-{}", n.id.chars().take(12).collect::<String>()),
        };
        let subnets: Vec<IpNet> = n
            .ipam
            .and_then(|i| i.config)
            .into_iter()
            .flatten()
            .filter_map(|c| c.subnet?.parse().ok())
            .collect();
        (n.name, DockerNetwork { bridge, subnets })
    });
    Some(bridges.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"[
      {"Name":"webvirtcloud_default","Id":"6a7541fe74a1c0ffee00aa11bb22cc33dd44ee55ff6677889900aabbccddeeff","Driver":"bridge",
       "IPAM":{"Driver":"default","Options":null,"Config":[{"Subnet":"172.19.0.0/16","Gateway":"172.19.0.1"}]},"Options":{}},
      {"Name":"bridge","Id":"aa00","Driver":"bridge","IPAM":{"Config":[{"Subnet":"172.17.0.0/16"}]},
       "Options":{"com.docker.network.bridge.default_bridge":"true","com.docker.network.bridge.name":"docker0"}},
      {"Name":"six","Id":"0123456789abcdef","Driver":"bridge","Options":null,
       "IPAM":{"Config":[{"Subnet":"10.9.0.0/24"},{"Subnet":"fd00:9::/64"}]}},
      {"Name":"host","Id":"bb","Driver":"host","IPAM":{"Driver":"default","Options":null,"Config":null},"Options":{}},
      {"Name":"none","Id":"cc","Driver":"null","IPAM":{"Config":[]}}]"#;

    #[test]
    fn bridges_and_their_subnets() {
        let networks = parse_networks(BODY.as_bytes()).unwrap();
        let bridges: Vec<(&str, &str)> =
            networks.iter().map(|(name, n)| (name.as_str(), n.bridge.as_str())).collect();
        assert_eq!(
            bridges,
            [("bridge", "docker0"), ("six", "br-0123456789ab"), ("webvirtcloud_default", "br-6a7541fe74a1")]
        );
        assert_eq!(networks["six"].subnets.len(), 2);
        assert_eq!(networks["webvirtcloud_default"].subnets, ["172.19.0.0/16".parse().unwrap()]);
        assert_eq!(parse_networks(b"{\"message\":\"no\"}"), None);
    }

    #[test]
    fn versions_and_containers() {
        let body =
            r#"{"Platform":{"Name":"Docker Desktop 4.34.0 (165256)"},"Version":"27.2.0","Os":"linux"}"#;
        let engine = parse_version(body.as_bytes()).unwrap();
        assert!(engine.is_desktop());
        assert_eq!(engine.major(), Some(27));
        let plain = parse_version(br#"{"Version":"20.10.24+dfsg1"}"#).unwrap();
        assert!(!plain.is_desktop());
        assert_eq!(plain.major(), Some(20));
        assert_eq!(parse_version(b"[]"), None);
        let body = r#"[{"Id":"a","Names":["/compute"],"NetworkSettings":{"Networks":
            {"bridge":{"IPAddress":"172.17.0.2"},"cloud":{"IPAddress":"172.19.0.9"}}}}]"#;
        let container = Container { name: "compute".into(), networks: vec!["bridge".into(), "cloud".into()] };
        assert_eq!(parse_containers(body.as_bytes()), Some(vec![container]));
    }

    #[test]
    fn bodies_by_length_and_in_chunks() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert!(is_complete(plain));
        assert_eq!(body_of(plain).unwrap(), b"hello");
        assert!(!is_complete(&plain[..plain.len() - 1]));
        assert_eq!(body_of(&plain[..plain.len() - 1]), None);
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n";
        assert!(is_complete(chunked));
        assert_eq!(body_of(chunked).unwrap(), b"hello");
        assert_eq!(body_of(b"HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n"), None);
        for cut in 0..chunked.len() {
            let _ = body_of(&chunked[..cut]);
        }
    }

    #[test]
    fn docker_host() {
        let socket = |v: Option<&str>| Engine::from_docker_host(v).map(|e| e.socket);
        assert_eq!(socket(None), Some(DEFAULT_SOCKET.into()));
        assert_eq!(
            socket(Some("unix:///run/user/1000/docker.sock")),
            Some("/run/user/1000/docker.sock".into())
        );
        assert_eq!(socket(Some("tcp://192.0.2.1:2375")), None);
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
        assert_eq!(engine.networks().map(|n| n.len()), Some(3));
        server.join().unwrap();
    }
}
