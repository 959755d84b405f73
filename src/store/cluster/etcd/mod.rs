//! etcd by its JSON gateway (docs/adr/0020): ranges, transactions, leases, watches and sign-in, over the HTTP and TLS that are
//! here already. Every call asks one member after the other; a transaction that was asked twice compares what it replaces.

mod connection;
mod endpoint;
#[cfg(test)]
mod hostile;
mod shapes;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use connection::{Connection, Failed, Tls};
pub use endpoint::{Endpoint, NoEndpoint};
pub use shapes::{Check, KeyValue, Put, Seen};
use shapes::{number, seen, text_of};

/// After so long no other member is asked.
const ALL: Duration = Duration::from_secs(7);

/// A line of a watch may be so long: a head is some kilobytes. Of a longer one nothing is kept, and the head is asked for.
const LINE: usize = 4 << 20;
/// So much of what a member says is told.
const SAID: usize = 300;

/// How a store is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Access {
    /// The members.
    pub endpoints: Vec<Endpoint>,
    /// Who signed their certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The client's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Who signs in; `None`: nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file with the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

/// Why etcd did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// No member answers, or none has a majority behind it.
    #[error("etcd is not reached: {0}")]
    Unreachable(String),
    /// A member refused.
    #[error("etcd refuses: {0}")]
    Refused(String),
    /// What is needed to ask cannot be read or is not allowed.
    #[error("{0}")]
    Setup(String),
}

/// A client. Its calls block.
pub struct Client {
    runtime: tokio::runtime::Runtime,
    access: Access,
    tls: Option<Arc<rustls::ClientConfig>>,
    forbidden: Box<connection::Forbidden>,
    /// Which member is asked first.
    at: usize,
    connection: Option<Connection>,
    token: Option<Zeroizing<String>>,
    /// How long each member may take for one answer, where that is less than usual.
    patience: Duration,
}

/// A watch on one key.
pub struct KeyWatch {
    body: Incoming,
    read: Vec<u8>,
    /// So much of that has no end of a line.
    looked: usize,
}

/// What a watch has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The key changed, or is gone.
    Changed,
    /// Nothing within that time.
    Quiet,
    /// The watch is over: the member is gone, or what was asked for was compacted. Look, and watch anew.
    Over,
}

impl Client {
    /// Makes one; asks nobody yet. `forbidden` says of a member's address, and of ours towards it, why they are not to be used.
    ///
    /// # Errors
    /// A file cannot be read, or a password would travel in clear.
    pub fn new(
        access: &Access,
        forbidden: impl Fn(IpAddr, Option<IpAddr>) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, EtcdError> {
        if access.endpoints.is_empty() {
            return Err(EtcdError::Setup("no member of etcd is named".into()));
        }
        let is_tls = access.endpoints.iter().any(|endpoint| endpoint.is_tls);
        let tls = Tls { ca: access.ca.clone(), cert: access.cert.clone(), key: access.key.clone() };
        let tls = is_tls.then(|| tls.config()).transpose().map_err(EtcdError::Setup)?;
        if access.user.is_some()
            && let Some(clear) = access.endpoints.iter().find(|e| !e.is_tls && !e.is_local())
        {
            return Err(EtcdError::Setup(format!("the password would travel in clear to {clear}")));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| EtcdError::Setup(format!("cannot start: {e}")))?;
        let (access, forbidden) = (access.clone(), Box::new(forbidden));
        Ok(Self { runtime, access, tls, forbidden, at: 0, connection: None, token: None, patience: ALL })
    }

    /// Has it ask the next member after so long: for whoever must know soon.
    #[must_use]
    pub fn hasty(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Reads keys from `key` up to `end`, which is not among them; `None`: that key alone. All of one revision.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub fn range(&mut self, key: &str, end: Option<&str>) -> Result<Seen, EtcdError> {
        let mut body = json!({ "key": text_of(key) });
        if let Some(end) = end {
            body["range_end"] = text_of(end);
        }
        seen(&self.call("/v3/kv/range", &body)?)
    }

    /// The same without the values.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub fn names(&mut self, key: &str, end: &str) -> Result<Seen, EtcdError> {
        let body = json!({ "key": text_of(key), "range_end": text_of(end), "keys_only": true });
        seen(&self.call("/v3/kv/range", &body)?)
    }

    /// Writes and removes where every check holds, as one. Returns whether it did, and the store's revision. Where one member did
    /// not answer, the next is asked the same: it may answer no although the first had done it.
    ///
    /// # Errors
    /// See [`EtcdError`]. Of one that was not reached it is not known whether it did.
    pub fn transact(
        &mut self,
        checks: &[Check],
        puts: &[Put<'_>],
        removed: &[String],
    ) -> Result<(bool, i64), EtcdError> {
        let puts = puts.iter().map(Put::request);
        let removed = removed.iter().map(|key| json!({"request_delete_range": {"key": text_of(key)}}));
        let body = json!({
            "compare": checks.iter().map(Check::compare).collect::<Vec<_>>(),
            "success": puts.chain(removed).collect::<Vec<_>>(),
        });
        let answer = self.call("/v3/kv/txn", &body)?;
        Ok((answer["succeeded"].as_bool().unwrap_or_default(), number(&answer["header"]["revision"])))
    }

    /// Grants a lease of so many seconds, and returns its number.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub fn grant(&mut self, seconds: u32) -> Result<i64, EtcdError> {
        let answer = self.call("/v3/lease/grant", &json!({ "TTL": seconds.to_string(), "ID": "0" }))?;
        match number(&answer["ID"]) {
            // What is written under no lease never ends.
            0 => Err(EtcdError::Refused("its lease has no number".into())),
            lease => Ok(lease),
        }
    }

    /// Ends a lease, and all keys with it.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub fn revoke(&mut self, lease: i64) -> Result<(), EtcdError> {
        self.call("/v3/lease/revoke", &json!({ "ID": lease.to_string() })).map(drop)
    }

    /// Asks each member by itself whether it answers with a majority behind it.
    pub fn each(&mut self) -> Vec<(Endpoint, Result<(), EtcdError>)> {
        let all = self.access.endpoints.clone();
        let asked = all.iter().map(|endpoint| {
            let access = Access { endpoints: vec![endpoint.clone()], ..self.access.clone() };
            let whole = std::mem::replace(&mut self.access, access);
            let at = std::mem::take(&mut self.at);
            (self.connection, self.token) = (None, None);
            let answer = self.call("/v3/kv/range", &json!({ "key": text_of("\0") })).map(drop);
            (self.access, self.at) = (whole, at);
            (self.connection, self.token) = (None, None);
            // A user who may not read that key was heard by a majority all the same.
            let heard = matches!(&answer, Err(EtcdError::Refused(why)) if why.contains("permission denied"));
            (endpoint.clone(), if heard { Ok(()) } else { answer })
        });
        asked.collect()
    }

    /// Watches a key from a revision on.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub fn watch(&mut self, key: &str, from: i64) -> Result<KeyWatch, EtcdError> {
        self.watch_range(key, None, from)
    }

    /// The same of all keys from `key` up to `end`, which is not among them.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub fn watch_range(&mut self, key: &str, end: Option<&str>, from: i64) -> Result<KeyWatch, EtcdError> {
        let mut request = json!({ "key": text_of(key), "start_revision": from.to_string() });
        if let Some(end) = end {
            request["range_end"] = text_of(end);
        }
        let body = json!({ "create_request": request });
        // On a connection of its own: it has no end.
        let endpoint = self.access.endpoints[self.at].clone();
        let unreachable = |why: String| EtcdError::Unreachable(format!("{endpoint}: {why}"));
        let token = self.token.as_ref().map(|token| token.as_str());
        let body = self.runtime.block_on(async {
            let opened = Connection::open(&endpoint, self.tls.clone(), &*self.forbidden).await;
            let mut connection = opened.map_err(unreachable)?;
            connection.stream("/v3/watch", token, body.to_string()).await.map_err(|f| unreachable(f.into()))
        })?;
        Ok(KeyWatch { body, read: Vec::new(), looked: 0 })
    }

    /// Waits for what a watch has to tell.
    pub fn next(&mut self, watch: &mut KeyWatch, within: Duration) -> News {
        self.runtime.block_on(async {
            let news = tokio::time::timeout(within, watch.next()).await;
            news.unwrap_or(News::Quiet)
        })
    }

    fn call(&mut self, path: &str, body: &Value) -> Result<Value, EtcdError> {
        let body = body.to_string();
        let mut told = Vec::new();
        let end = Instant::now() + ALL;
        // Once more than there are members: a connection that was kept may be closed by now.
        for _ in 0..=self.access.endpoints.len() {
            let endpoint = self.access.endpoints[self.at % self.access.endpoints.len()].clone();
            match self.ask(&endpoint, path, &body) {
                Ok(value) => return Ok(value),
                Err(Asked::No(error)) => return Err(error),
                Err(Asked::Next(why)) => {
                    told.push(format!("{endpoint}: {why}"));
                    self.connection = None;
                    self.token = None;
                    self.at = (self.at + 1) % self.access.endpoints.len();
                }
            }
            if Instant::now() > end {
                break;
            }
        }
        told.dedup();
        told.truncate(self.access.endpoints.len());
        Err(EtcdError::Unreachable(told.join("; ")))
    }

    fn ask(&mut self, endpoint: &Endpoint, path: &str, body: &str) -> Result<Value, Asked> {
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            let open = Connection::open(endpoint, self.tls.clone(), &*self.forbidden);
            let open = async { tokio::time::timeout(self.patience, open).await };
            let opened = self.runtime.block_on(open).unwrap_or_else(|_| Err("no answer".into()));
            self.connection = Some(opened.map_err(Asked::Next)?);
        }
        for attempt in 0..2 {
            if self.access.user.is_some() && self.token.is_none() {
                self.sign_in()?;
            }
            let (status, answer) = self.post(path, body.to_owned())?;
            let said = said(&answer);
            match status {
                200 => return Ok(answer),
                // Tokens end by themselves, after minutes.
                _ if said.contains("auth token") && attempt == 0 && self.access.user.is_some() => {
                    self.token = None;
                }
                _ if said.is_empty() => return Err(Asked::Next(format!("it answers {status}"))),
                _ if is_passing(&said) => return Err(Asked::Next(said)),
                _ => return Err(Asked::No(EtcdError::Refused(said))),
            }
        }
        Err(Asked::No(EtcdError::Refused("it takes no token that it gave".into())))
    }

    fn post(&mut self, path: &str, body: String) -> Result<(u16, Value), Asked> {
        let token = self.token.as_ref().map(|token| token.as_str());
        let connection = self.connection.as_mut().expect("it was opened");
        let patience = self.patience;
        let ask = async { tokio::time::timeout(patience, connection.ask(path, token, body)).await };
        let answer = self.runtime.block_on(ask);
        let answer = answer.unwrap_or_else(|_| Err(Failed::Unanswered("it took too long".into())));
        let (status, bytes) = answer.map_err(|failed| Asked::Next(failed.into()))?;
        // What the gateway itself has to say is plain text.
        let plain = || json!({ "message": String::from_utf8_lossy(&bytes).trim() });
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_else(|_| plain())))
    }

    fn sign_in(&mut self) -> Result<(), Asked> {
        let no = |why: String| Asked::No(EtcdError::Setup(why));
        let file =
            self.access.password_file.as_ref().ok_or_else(|| no("a user needs --password-file".into()))?;
        let text = crate::store::files::read_secret(file).map_err(|e| no(e.to_string()))?;
        let password = text.trim_end_matches(['\r', '\n']);
        let user = self.access.user.clone().unwrap_or_default();
        let body = Zeroizing::new(json!({ "name": user, "password": password }).to_string());
        let (status, answer) = self.post("/v3/auth/authenticate", body.to_string())?;
        match answer["token"].as_str() {
            Some(token) if status == 200 => self.token = Some(Zeroizing::new(token.to_owned())),
            _ => {
                let said = said(&answer);
                if said.is_empty() {
                    return Err(Asked::Next(format!("to a sign-in it answers {status}")));
                }
                if is_passing(&said) {
                    return Err(Asked::Next(said));
                }
                return Err(Asked::No(EtcdError::Refused(format!("{user} may not sign in: {said}"))));
            }
        }
        Ok(())
    }
}

/// What asking one member came to.
enum Asked {
    /// No.
    No(EtcdError),
    /// Another one may know.
    Next(String),
}

/// What a member says of why not: a short text on one line, whatever it sends.
fn said(answer: &Value) -> String {
    let text = ["message", "error"].iter().find_map(|key| answer[*key].as_str()).unwrap_or_default();
    text.chars().take(SAID).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What passes, or another member does not say.
fn is_passing(said: &str) -> bool {
    [
        "no leader",
        "timed out",
        "leader changed",
        "unhealthy",
        "stopped",
        "Unavailable",
        "not connected",
        "transport",
        "connection",
    ]
    .iter()
    .any(|word| said.contains(word))
        || ["deadline exceeded", "context canceled", "too many requests"]
            .iter()
            .any(|word| said.contains(word))
}

impl From<Failed> for String {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Unsent(why) | Failed::Unanswered(why) => why,
        }
    }
}

impl KeyWatch {
    async fn next(&mut self) -> News {
        loop {
            while let Some(end) = self.read[self.looked..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=self.looked + end).collect();
                self.looked = 0;
                let Ok(value) = serde_json::from_slice::<Value>(&line) else { continue };
                let result = &value["result"];
                if !value["error"].is_null() || result["canceled"].as_bool() == Some(true) {
                    return News::Over;
                }
                if result["events"].as_array().is_some_and(|events| !events.is_empty()) {
                    return News::Changed;
                }
            }
            self.looked = self.read.len();
            match self.body.frame().await {
                Some(Ok(frame)) => self.read.extend(frame.into_data().unwrap_or_default()),
                _ => return News::Over,
            }
            if self.read.len() > LINE {
                return News::Over;
            }
        }
    }
}
