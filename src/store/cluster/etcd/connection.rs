//! One HTTP/1.1 connection to a member of etcd: TCP, TLS where asked for, one request after the other.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::endpoint::Endpoint;

/// So long may a connection take to stand.
const CONNECT: Duration = Duration::from_secs(2);
/// And an answer. A member without a leader answers by itself after some seconds more.
const ANSWER: Duration = Duration::from_secs(3);
/// An answer may be so long: a chunk is half a megabyte, and its base64 a third more.
const MOST: usize = 64 << 20;

/// What proves who both ends are.
#[derive(Debug, Clone, Default)]
pub(super) struct Tls {
    /// Who signed the members' certificates.
    pub ca: Option<PathBuf>,
    /// The client's certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// Why an address of a member is not to be used, with ours towards it once that is known; `None`: it is.
pub(super) type Forbidden = dyn Fn(IpAddr, Option<IpAddr>) -> Option<String> + Send + Sync;

/// A connection that stands.
pub(super) struct Connection {
    authority: String,
    sender: SendRequest<Full<Bytes>>,
}

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// It never left.
    Unsent(String),
    /// It may have been heard.
    Unanswered(String),
}

impl Tls {
    /// Reads the files.
    pub fn config(&self) -> Result<Arc<rustls::ClientConfig>, String> {
        let told = |path: &PathBuf, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let certificates = |path: &PathBuf| -> Result<Vec<CertificateDer<'static>>, String> {
            let found: Result<Vec<_>, _> =
                CertificateDer::pem_file_iter(path).map_err(|e| told(path, &e))?.collect();
            let found = found.map_err(|e| told(path, &e))?;
            if found.is_empty() { Err(told(path, &"there is no certificate in it")) } else { Ok(found) }
        };
        let ca = self.ca.as_ref().ok_or("https needs --ca: who signed the certificates of etcd")?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(|e| told(ca, &e))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots);
        let config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let private = PrivateKeyDer::from_pem_file(key).map_err(|e| told(key, &e))?;
                config.with_client_auth_cert(certificates(cert)?, private).map_err(|e| told(cert, &e))?
            }
            (None, None) => config.with_no_client_auth(),
            _ => return Err("--cert and --key belong together".into()),
        };
        Ok(Arc::new(config))
    }
}

impl Connection {
    /// Connects, to the first address that answers and is not forbidden.
    pub async fn open(
        endpoint: &Endpoint,
        tls: Option<Arc<rustls::ClientConfig>>,
        forbidden: &Forbidden,
    ) -> Result<Self, String> {
        let stand = async {
            let stream = connect(endpoint, forbidden).await?;
            let _ = stream.set_nodelay(true);
            match tls.filter(|_| endpoint.is_tls) {
                None => Self::speak(endpoint, stream).await,
                Some(tls) => {
                    let name = ServerName::try_from(endpoint.host.clone()).map_err(|e| e.to_string())?;
                    let connector = tokio_rustls::TlsConnector::from(tls);
                    let stream = connector.connect(name, stream).await;
                    let stream = stream.map_err(|e| format!("it does not prove who it is: {e}"))?;
                    Self::speak(endpoint, stream).await
                }
            }
        };
        tokio::time::timeout(CONNECT, stand).await.unwrap_or_else(|_| Err("no answer".into()))
    }

    async fn speak(
        endpoint: &Endpoint,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Self, String> {
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        // It ends with the connection, and what it says the request's answer says, too.
        tokio::spawn(connection);
        Ok(Self { authority: endpoint.authority(), sender })
    }

    /// Says whether the other end has hung up, as far as is known.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Asks, and returns the status and the whole answer.
    pub async fn ask(
        &mut self,
        path: &str,
        token: Option<&str>,
        body: String,
    ) -> Result<(u16, Bytes), Failed> {
        let answer = async {
            let answer = self.send(path, token, body).await?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), MOST).collect().await;
            Ok((status, body.map_err(|e| Failed::Unanswered(e.to_string()))?.to_bytes()))
        };
        tokio::time::timeout(ANSWER, answer)
            .await
            .unwrap_or_else(|_| Err(Failed::Unanswered("it took too long".into())))
    }

    /// Asks, and returns an answer that has no end.
    pub async fn stream(
        &mut self,
        path: &str,
        token: Option<&str>,
        body: String,
    ) -> Result<Incoming, Failed> {
        let answer = tokio::time::timeout(ANSWER, self.send(path, token, body)).await;
        let answer = answer.unwrap_or_else(|_| Err(Failed::Unanswered("it took too long".into())))?;
        match answer.status().as_u16() {
            200 => Ok(answer.into_body()),
            status => Err(Failed::Unanswered(format!("it answers {status}"))),
        }
    }

    async fn send(
        &mut self,
        path: &str,
        token: Option<&str>,
        body: String,
    ) -> Result<hyper::Response<Incoming>, Failed> {
        let mut request = hyper::Request::post(path)
            .header("host", &self.authority)
            .header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let request =
            request.body(Full::new(Bytes::from(body))).map_err(|e| Failed::Unsent(e.to_string()))?;
        let hung_up = || Failed::Unsent("it hung up: does it ask for a certificate (--cert, --key)?".into());
        self.sender.ready().await.map_err(|_| hung_up())?;
        self.sender.send_request(request).await.map_err(|error| {
            if error.is_canceled() { hung_up() } else { Failed::Unanswered(error.to_string()) }
        })
    }
}

async fn connect(endpoint: &Endpoint, forbidden: &Forbidden) -> Result<TcpStream, String> {
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
    let addresses: Vec<SocketAddr> = found.map_err(|e| e.to_string())?.collect();
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        if let Some(why) = forbidden(address.ip(), None) {
            last = why;
            continue;
        }
        match TcpStream::connect(address).await {
            Err(error) => last = error.to_string(),
            Ok(stream) => {
                let own = stream.local_addr().map_err(|e| e.to_string())?;
                match forbidden(address.ip(), Some(own.ip())) {
                    None => return Ok(stream),
                    Some(why) => last = why,
                }
            }
        }
    }
    Err(last)
}
