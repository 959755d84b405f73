//! Asks a provider of sign-ins: one question, one answer of bounded length in bounded time, and nothing leads elsewhere. What the
//! provider names besides itself is called where it is public alone, so that it has nobody ask what only this host can reach.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::connect::{connect, secure};
use crate::web::notify::{Reach, Scheme, Url};
use crate::web::oidc::{ClientSecret, Fetch, Question, Settings};
use crate::web::procedure::Refused;
use crate::web::trust::{Trust, trust};

/// So long may an answer take in all.
const WHOLE: Duration = Duration::from_secs(10);
/// So long may an answer be, and its head, and so many lines have.
const BODY: usize = 256 << 10;
const HEAD: usize = 32 << 10;
const LINES: usize = 100;
/// So long may a secret be, in bytes.
const SECRET: u64 = 4096;

/// What asks one provider.
pub struct Asking {
    issuer: Url,
    tls: Arc<ClientConfig>,
}

impl Asking {
    /// Makes it ready. `ca`: certificates that are trusted besides the system's.
    ///
    /// # Errors
    /// There are no certificates to trust.
    pub fn new(settings: &Settings, ca: Option<&Path>) -> Result<Self, Refused> {
        Ok(Self { issuer: settings.url.clone(), tls: trust(ca.map_or(Trust::System, Trust::Besides))? })
    }

    fn reach(&self, url: &Url) -> Reach {
        let nets = |all: [&str; 2]| all.into_iter().filter_map(|net| net.parse().ok()).collect();
        let allowed = match url.scheme {
            // In clear, and so on this host, whatever its name leads to.
            Scheme::Http => nets(["127.0.0.0/8", "::1/128"]),
            // Whoever starts the page named it.
            _ if url.host == self.issuer.host && url.port == self.issuer.port => nets(["0.0.0.0/0", "::/0"]),
            _ => Vec::new(),
        };
        Reach { allowed, ..Reach::default() }
    }

    async fn answer(&self, question: &Question) -> Result<Vec<u8>, String> {
        let Question { url, authorization, form } = question;
        let mut request = match form {
            Some(_) => Request::post(&url.path).header("content-type", "application/x-www-form-urlencoded"),
            None => Request::get(&url.path),
        };
        request = request
            .header("host", url.authority())
            .header("user-agent", concat!("wgrelay/", env!("CARGO_PKG_VERSION")))
            .header("accept", "application/json")
            .header("connection", "close");
        if let Some(said) = authorization {
            request = request.header("authorization", said.as_str());
        }
        let body = form.as_ref().map_or_else(Bytes::new, |form| Bytes::copy_from_slice(form.as_bytes()));
        // What is in it is said to nobody: there is a secret.
        let request = request.body(Full::new(body)).map_err(|_| "this cannot be asked".to_owned())?;
        let stream = connect(url, &self.reach(url), "").await?;
        match url.scheme {
            Scheme::Https => exchange(secure(stream, url, &self.tls).await?, request).await,
            _ => exchange(stream, request).await,
        }
    }
}

impl Fetch for Asking {
    fn fetch(&self, question: &Question) -> Result<Vec<u8>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .map_err(|e| format!("cannot ask: {e}"))?;
        let answered = runtime.block_on(async { tokio::time::timeout(WHOLE, self.answer(question)).await });
        // A resolver that does not answer is not waited for.
        runtime.shutdown_background();
        let answered = answered.unwrap_or_else(|_| Err("it took too long".into()));
        answered.map_err(|why| format!("{}: {why}", question.url))
    }
}

/// Asks, and returns the body of an answer that says 200.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Vec<u8>, String> {
    let lost = |_: hyper::Error| "no answer".to_owned();
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(HEAD).max_headers(LINES);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(lost)?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(lost)?;
        match answer.status().as_u16() {
            200 => {}
            status @ 300..=399 => {
                return Err(format!("it answers {status}: it leads elsewhere, and that is not followed"));
            }
            status => return Err(format!("it answers {status}")),
        }
        let whole = Limited::new(answer.into_body(), BODY).collect().await;
        Ok(whole.map_err(|_| "its answer is too long, or ends too early".to_owned())?.to_bytes().to_vec())
    };
    let driven = async {
        // It drives the answer; where it ends first, what came is there.
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answered => answer,
        () = driven => Err("no answer".into()),
    }
}

/// Reads the file that has what proves to a provider that it is this page: one line.
///
/// # Errors
/// It cannot be read, others can, or it is empty.
pub fn client_secret(path: &Path) -> Result<ClientSecret, Refused> {
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;
    let wrong = |why: String, hint: &str| Refused::new(400, format!("{}: {why}", path.display()), hint);
    let unread =
        |e: std::io::Error| wrong(e.to_string(), "the account that speaks HTTP has to be able to read it");
    let file = std::fs::File::open(path).map_err(unread)?;
    let about = file.metadata().map_err(unread)?;
    if about.permissions().mode() & 0o007 != 0 {
        return Err(wrong(
            "anybody here can read it".into(),
            "chmod o= FILE, and give it to the group of the page's account",
        ));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(SECRET + 1).read_to_string(&mut text).map_err(unread)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    let is_one = !secret.is_empty() && text.len() as u64 <= SECRET && !secret.chars().any(char::is_control);
    if !is_one {
        return Err(wrong("there is no secret in it".into(), "one line, as the provider gives it"));
    }
    Ok(ClientSecret(Zeroizing::new(secret.to_owned())))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::web::oidc::Given;

    fn asking(issuer: &str) -> Asking {
        let roles = ["x=viewer".to_owned()];
        let settings =
            Settings::read(&Given { issuer, client: Some("c"), roles: &roles, ..Given::default() });
        Asking { issuer: settings.unwrap().url, tls: trust(Trust::System).unwrap() }
    }

    /// Somebody who answers each of so many with this.
    fn answers(what: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(what);
                for _ in 0..200 {
                    if stream.write_all(&[b'x'; 4096]).is_err() {
                        break;
                    }
                }
            }
        });
        port
    }

    fn asked(port: u16) -> Result<Vec<u8>, String> {
        let url = Url::read(&format!("http://127.0.0.1:{port}/keys")).unwrap();
        asking(&format!("http://127.0.0.1:{port}")).fetch(&Question { url, authorization: None, form: None })
    }

    #[test]
    fn answers_are_short_and_lead_nowhere() {
        assert_eq!(asked(answers(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")).unwrap(), b"{}");
        for (answer, why) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n"[..], "too long"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 900000000\r\n\r\n", "too long"),
            (b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n", "not followed"),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", "404"),
            (b"HTTP/1.1 404 \x1b[2J\r\n\r\n", "no answer"),
            (b"garbage\r\n\r\n", "no answer"),
        ] {
            let refused = asked(answers(answer)).unwrap_err();
            assert!(refused.contains(why) && !refused.contains('\u{1b}'), "{refused}");
        }
    }

    #[test]
    fn what_a_provider_names_is_called_where_everybody_could() {
        let asking = asking("https://id.internal:8443/realm");
        let may = |url: &str, address: &str| {
            let url = Url::read(url).unwrap();
            asking.reach(&url).may(address.parse().unwrap(), url.port, url.scheme, false).is_ok()
        };
        assert!(may("https://id.internal:8443/token", "10.0.0.7"), "whoever starts the page named it");
        assert!(may("https://oauth2.example/token", "8.8.8.8"));
        for (url, address) in [
            ("https://metadata.internal/token", "169.254.169.254"),
            ("https://other.internal/token", "10.0.0.7"),
            ("https://id.internal/token", "10.0.0.7"),
            ("https://id.internal:8080/token", "127.0.0.1"),
            ("http://localhost/token", "10.0.0.7"),
        ] {
            assert!(!may(url, address), "{url} {address}");
        }
    }

    #[test]
    fn a_secret_is_one_line_that_others_cannot_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let with = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            client_secret(&path)
        };
        let secret = with("hunter2 \n", 0o640).unwrap();
        assert_eq!((secret.0.as_str(), format!("{secret:?}").contains("hunter2")), ("hunter2 ", false));
        for (text, mode) in
            [("hunter2\n", 0o644), ("hunter2\n", 0o642), ("", 0o600), ("\n", 0o600), ("a\nb\n", 0o600)]
        {
            let refused = with(text, mode).unwrap_err();
            assert!(!refused.message.contains("hunter2"), "{}", refused.message);
        }
        assert!(with(&"x".repeat(5000), 0o600).is_err() && client_secret(dir.path()).is_err());
    }
}
