//! One request to somebody's page, over TLS or to this host itself: what `wgrelay enroll` needs, and no more.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::web::procedure::Refused;
use crate::web::trust::{Trust, trust};

/// So long may a connection take to stand.
const CONNECT: Duration = Duration::from_secs(20);
/// And an answer: the relay may apply its network first.
const ANSWER: Duration = Duration::from_secs(120);
/// An answer may be so long.
const MOST: usize = 1 << 20;
/// A link to enrol by, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Whether by TLS.
    pub is_tls: bool,
    /// The host, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What is before `/enroll`: empty, or the path of a proxy.
    pub base: String,
    /// The secret.
    pub secret: String,
}

impl Link {
    /// Reads one, as it was sent.
    ///
    /// # Errors
    /// It is none; or it goes over a network without TLS.
    pub fn read(url: &str) -> Result<Self, Refused> {
        let none = || {
            Refused::new(400, "this is no link to enrol by", "such as https://relay.example/enroll?link=…")
        };
        let (scheme, rest) = url.trim().split_once("://").ok_or_else(none)?;
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(none()),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (address, query) = rest.split_once('?').ok_or_else(none)?;
        let at = address.find('/').ok_or_else(none)?;
        let (authority, path) = address.split_at(at);
        let base = path.strip_suffix("/enroll").ok_or_else(none)?;
        let plain =
            |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
        let usual = if is_tls { 443 } else { 80 };
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(none)?;
                let _: std::net::Ipv6Addr = host.parse().map_err(|_| none())?;
                (host, port.strip_prefix(':'))
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(usual), str::parse).map_err(|_| none())?;
        let secret = form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "link")
            .map(|(_, value)| value.into_owned())
            .ok_or_else(none)?;
        let is_host = !host.is_empty() && plain(host, ".-:_");
        if !is_host || !plain(base, "/._-~") || secret.is_empty() || !plain(&secret, "-_") {
            return Err(none());
        }
        let ip = host.parse::<std::net::IpAddr>();
        if !is_tls && !ip.map_or(host.eq_ignore_ascii_case("localhost"), |ip| ip.is_loopback()) {
            return Err(Refused::new(
                400,
                "this link goes over a network without TLS: whoever is on the way could read the preshared key, and enrol himself",
                "ask for one that begins with https://",
            ));
        }
        Ok(Self { is_tls, host: host.to_ascii_lowercase(), port, base: base.into(), secret })
    }

    /// The host and port, as HTTP has them.
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.is_tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// Enrols with a public key, and returns what the page answers.
    ///
    /// # Errors
    /// Nobody is there, it is somebody else, or it says no. Status 0: it may have been heard, and no answer came.
    pub fn enroll(&self, public_key: &str, ca: Option<&Path>) -> Result<Value, Refused> {
        let tls = if self.is_tls { Some(trust(ca.map_or(Trust::System, Trust::Only))?) } else { None };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Refused::new(500, format!("cannot start: {e}"), ""))?;
        runtime.block_on(self.ask(public_key, tls))
    }

    async fn ask(&self, public_key: &str, tls: Option<Arc<rustls::ClientConfig>>) -> Result<Value, Refused> {
        let at = self.authority();
        let unreachable =
            |why: &dyn std::fmt::Display| Refused::new(503, format!("cannot reach {at}: {why}"), "");
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let stream = tokio::time::timeout(CONNECT, connect)
            .await
            .map_err(|_| unreachable(&"no answer"))?
            .map_err(|e| unreachable(&e))?;
        match tls {
            None => self.send(stream, public_key).await,
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone()).map_err(|e| unreachable(&e))?;
                let connect = tokio_rustls::TlsConnector::from(tls).connect(name, stream);
                let stream = tokio::time::timeout(CONNECT, connect)
                    .await
                    .map_err(|_| unreachable(&"no answer"))?
                    .map_err(|e| {
                        let hint = "is it the right host? `--ca FILE` trusts a certificate, or who signed it";
                        Refused::new(503, format!("{at} does not prove who it is: {e}"), hint)
                    })?;
                self.send(stream, public_key).await
            }
        }
    }

    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        public_key: &str,
    ) -> Result<Value, Refused> {
        let at = self.authority();
        let scheme = if self.is_tls { "https" } else { "http" };
        let body = serde_json::json!({"link": self.secret, "public_key": public_key}).to_string();
        let request = hyper::Request::post(format!("{}/api/v1/enroll", self.base))
            .header("host", &at)
            // As its own page would say: there is no cookie that a stranger could misuse.
            .header("origin", format!("{scheme}://{at}"))
            .header("content-type", "application/json")
            .header("connection", "close")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| Refused::new(400, format!("this link cannot be asked: {e}"), ""))?;
        let lost = |why: &dyn std::fmt::Display| {
            Refused::new(0, format!("{at} may have enrolled this device, and no answer came: {why}"), "")
        };
        let exchange = async {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let answered = async {
                let answer = sender.send_request(request).await?;
                let status = answer.status().as_u16();
                Ok::<_, hyper::Error>((status, Limited::new(answer.into_body(), MOST).collect().await))
            };
            tokio::pin!(answered);
            tokio::select! {
                answered = &mut answered => answered,
                // It drives the answer; where it ends first, what came is there.
                ended = connection => { ended?; answered.await }
            }
        };
        let (status, body) = tokio::time::timeout(ANSWER, exchange)
            .await
            .map_err(|_| lost(&"it took too long"))?
            .map_err(|e| lost(&e))?;
        let body = body.map_err(|e| lost(&e))?.to_bytes();
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        match value {
            Some(value) if status == 200 => Ok(value),
            value => {
                let said = |key: &str| {
                    let text =
                        value.as_ref().and_then(|value| value["error"][key].as_str()).unwrap_or_default();
                    text.chars().take(500).collect::<String>()
                };
                let message = match said("message") {
                    none if none.is_empty() => format!("{at} answers {status}, and no page of wgrelay's"),
                    message => format!("{at} says no: {message}"),
                };
                Err(Refused::new(if status == 200 { 0 } else { status.max(400) }, message, said("hint")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_taken_apart() {
        let link = Link::read("https://Relay.example/wg/enroll?link=abc-_9#x").unwrap();
        assert_eq!((link.authority().as_str(), link.base.as_str()), ("relay.example", "/wg"));
        assert_eq!((link.port, link.secret.as_str()), (443, "abc-_9"));
        let link = Link::read("https://[2001:db8::1]:8443/enroll?link=a").unwrap();
        assert_eq!((link.authority().as_str(), link.host.as_str()), ("[2001:db8::1]:8443", "2001:db8::1"));
        for own in [
            "http://127.0.0.1:8480/enroll?link=a",
            "http://[::1]:8480/enroll?link=a",
            "http://localhost/enroll?link=a",
        ] {
            assert!(Link::read(own).is_ok(), "{own}");
        }
    }

    #[test]
    fn what_goes_in_clear_or_is_no_link_is_refused() {
        for clear in [
            "http://relay.example/enroll?link=a",
            "http://10.0.0.1:8480/enroll?link=a",
            "http://127.0.0.1.attacker.example/enroll?link=a",
            "http://localhost.attacker.example/enroll?link=a",
            "HTTP://[fd00::1]/enroll?link=a",
        ] {
            assert!(Link::read(clear).unwrap_err().message.contains("without TLS"), "{clear}");
        }
        for none in [
            "",
            "relay.example/enroll?link=a",
            "ftp://relay.example/enroll?link=a",
            "https://relay.example/init?link=a",
            "https://relay.example/enroll",
            "https://relay.example/enroll?link=",
            "https://relay.example/enroll?link=a%0d%0ab",
            "https://anna@relay.example/enroll?link=a",
            "https://relay.example:port/enroll?link=a",
            "https://relay.example:99999/enroll?link=a",
            "https://re lay/enroll?link=a",
            "https:///enroll?link=a",
            "https://[::1/enroll?link=a",
            "https://relay.example/a b/enroll?link=a",
        ] {
            assert!(Link::read(none).unwrap_err().message.contains("no link"), "{none}");
        }
    }
}
