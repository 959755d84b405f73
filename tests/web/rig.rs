//! A page with a network in a folder: both halves, the one with the rights over its socket.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use wgrelay::app::{self, Nobody, Session};
use wgrelay::model::Timestamp;
use wgrelay::web::agent::{Halves, Socket, serve};
use wgrelay::web::database::{Database, TokenScope};
use wgrelay::web::guard::Place;
use wgrelay::web::procedure::{Agent, Procedure, Refused};
use wgrelay::web::view::Role;
use wgrelay::web::{Asked, Outgoing, Web, hash_password};

pub const HOST: &str = "relay.example:8480";
pub const PASSWORD: &str = "correct horse battery staple";
pub const NOW: u64 = 1_800_000_000;

/// Counts what is asked of the other half, and passes it on.
struct Counting(Socket, Arc<AtomicUsize>);

impl Agent for Counting {
    fn call(&self, procedure: &Procedure) -> Result<Value, Refused> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.call(procedure)
    }
}

pub struct Rig {
    pub web: Web,
    pub dir: tempfile::TempDir,
    calls: Arc<AtomicUsize>,
}

/// Who asks, by cookie and form token or by token.
#[derive(Debug, Clone, Default)]
pub struct Who {
    pub cookie: Option<String>,
    pub csrf: String,
    pub token: Option<String>,
}

/// Copies the network of the screens, as wgrelay keeps one.
pub fn network(dir: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let own = dir.join("screens0");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::set_permissions(&own, PermissionsExt::from_mode(0o700)).unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/screens/network");
    for (name, mode) in [("network.toml", 0o644), ("secrets.toml", 0o600)] {
        std::fs::copy(from.join(name), own.join(name)).unwrap();
        std::fs::set_permissions(own.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    own
}

fn clock() -> Timestamp {
    Timestamp(NOW)
}

impl Rig {
    pub fn new() -> Self {
        Self::at("http")
    }

    pub fn at(scheme: &'static str) -> Self {
        Self::in_place(Place { scheme, hosts: vec![HOST.into()], ..Place::default() })
    }

    pub fn in_place(place: Place) -> Self {
        let dir = tempfile::tempdir().unwrap();
        network(dir.path());
        let asked = app::Asked {
            dir: dir.path().to_owned(),
            dir_is_named: true,
            network: Some("screens0".into()),
            node: None,
            command: None,
            clock,
        };
        let path = dir.path().join("agent");
        let halves = Halves::meet(&path, app::unprivileged::Account::own()).unwrap();
        let session = Session::new(asked, Arc::new(Nobody));
        std::thread::spawn(move || serve(&halves, &session));
        let calls = Arc::new(AtomicUsize::new(0));
        let database = Database::in_memory().unwrap();
        let agent = Box::new(Counting(Socket(path), Arc::clone(&calls)));
        Self { web: Web::new(agent, database, place, "screens0".into()), dir, calls }
    }

    /// How often the other half was asked since this was last called.
    pub fn calls(&self) -> usize {
        self.calls.swap(0, Ordering::SeqCst)
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("screens0/network.toml")).unwrap()
    }

    /// Every private and preshared key of the network.
    pub fn secrets(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("screens0/secrets.toml")).unwrap();
        let keys: Vec<String> = text
            .lines()
            .filter_map(|line| Some(line.split_once('"')?.1.split('"').next()?.to_owned()))
            .collect();
        assert!(keys.len() > 3 && keys.iter().all(|key| key.len() == 44), "{keys:?}");
        keys
    }

    /// Adds a user and signs him in.
    pub fn signed_in(&self, name: &str, role: Role) -> Who {
        self.web.database.add_user(name, role, Some(&hash_password(PASSWORD).unwrap()), NOW).unwrap();
        let id = self.web.database.user(name).unwrap().unwrap().id;
        let opened = self.web.database.open_session(id, "10.0.0.9", NOW).unwrap();
        Who { cookie: Some(opened.cookie.to_string()), csrf: opened.csrf, token: None }
    }

    pub fn token(&self, name: &str, scope: TokenScope, node: Option<&str>) -> Who {
        let token = self.web.database.add_token(name, scope, node, NOW + 1000, NOW).unwrap();
        Who { token: Some(token.to_string()), ..Who::default() }
    }

    /// A request as a browser of ours, or a program, would send it.
    pub fn request(&self, who: &Who, method: &str, url: &str, body: &[u8]) -> Asked {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let mut headers = vec![("host".to_owned(), HOST.to_owned())];
        let kind =
            if path.starts_with("/api/") { "application/json" } else { "application/x-www-form-urlencoded" };
        headers.push(("content-type".into(), kind.into()));
        if let Some(cookie) = &who.cookie {
            headers.push(("cookie".into(), format!("{}={cookie}", self.web.cookie_name(Some(HOST)))));
            headers.push(("x-csrf".into(), who.csrf.clone()));
        }
        if who.token.is_none() && method != "GET" {
            headers.push(("origin".into(), format!("{}://{HOST}", self.web.place.scheme)));
        }
        if let Some(token) = &who.token {
            headers.push(("authorization".into(), format!("Bearer {token}")));
        }
        Asked {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            headers,
            body: body.to_vec(),
            local_user: None,
            called: None,
        }
    }

    pub fn send(&self, asked: &Asked) -> Outgoing {
        self.send_from(asked, IpAddr::from([10, 0, 0, 9]), NOW)
    }

    pub fn send_from(&self, asked: &Asked, from: IpAddr, now: u64) -> Outgoing {
        self.web.answer(asked, from, now)
    }

    pub fn get(&self, who: &Who, url: &str) -> Outgoing {
        self.send(&self.request(who, "GET", url, b""))
    }

    pub fn post(&self, who: &Who, url: &str, body: &str) -> Outgoing {
        self.send(&self.request(who, "POST", url, body.as_bytes()))
    }
}

pub fn body(outgoing: &Outgoing) -> String {
    String::from_utf8_lossy(&outgoing.body).into_owned()
}

pub fn json(outgoing: &Outgoing) -> Value {
    serde_json::from_slice(&outgoing.body).unwrap_or_else(|e| panic!("{e}: {}", body(outgoing)))
}

pub fn header<'o>(outgoing: &'o Outgoing, name: &str) -> Option<&'o str> {
    outgoing.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
}

/// Writes over what was sent of a header.
pub fn with(mut asked: Asked, name: &str, value: Option<&str>) -> Asked {
    asked.headers.retain(|(own, _)| own != name);
    asked.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    asked
}
