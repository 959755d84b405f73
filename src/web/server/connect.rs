//! A connection to others, to where a message goes or to a provider: its name is resolved once, and what was judged is what is connected to.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::web::notify::{Reach, Url};

/// So long may a connection take to stand.
const CONNECT: Duration = Duration::from_secs(8);
/// So many addresses of a name are looked at.
const ADDRESSES: usize = 8;

/// Connects to the first address that may be reached, and answers. `allowed_by`: what is said behind an address that may not.
///
/// # Errors
/// Why there is none.
pub(super) async fn connect(url: &Url, reach: &Reach, allowed_by: &str) -> Result<TcpStream, String> {
    let resolved =
        tokio::time::timeout(CONNECT, tokio::net::lookup_host((url.host.as_str(), url.port))).await;
    let found = resolved
        .map_err(|_| format!("{} is not resolved in time", url.host))?
        .map_err(|e| format!("{} is not resolved: {e}", url.host))?;
    let mut why = format!("{} has no address", url.host);
    for at in found.take(ADDRESSES) {
        let is_own = match is_own(at.ip()) {
            Ok(is_own) => is_own,
            Err(error) => {
                why = format!("{at}: {error}");
                continue;
            }
        };
        if let Err(no) = reach.may(at.ip(), at.port(), url.scheme, is_own) {
            why = format!("{at} is not sent to: {no}{allowed_by}");
            continue;
        }
        match tokio::time::timeout(CONNECT, TcpStream::connect(at)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = format!("{at}: {error}"),
            Err(_) => why = format!("{at}: no answer"),
        }
    }
    Err(why)
}

/// Says whether an address is this host's own: what is sent there would come from there. Nothing is sent for that.
fn is_own(address: IpAddr) -> std::io::Result<bool> {
    let address = address.to_canonical();
    let any: SocketAddr = match address {
        IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        IpAddr::V6(_) => ([0; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect((address, 9))?;
    // To a second address of its own the kernel speaks from the first.
    Ok(socket.local_addr()?.ip() == address || UdpSocket::bind((address, 0)).is_ok())
}

/// Has the other end prove that it is that host.
///
/// # Errors
/// It does not.
pub(super) async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    url: &Url,
    tls: &Arc<ClientConfig>,
) -> Result<TlsStream<S>, String> {
    let name = ServerName::try_from(url.host.clone()).map_err(|e| format!("{}: {e}", url.host))?;
    let secured =
        tokio::time::timeout(CONNECT, TlsConnector::from(Arc::clone(tls)).connect(name, stream)).await;
    secured
        .map_err(|_| "TLS takes too long".to_owned())?
        .map_err(|e| format!("{} does not prove who it is: {}", url.host, untrusted(&e)))
}

/// Says why the other end is not believed, in words of our own: what it sent is not repeated, the names in its certificate neither.
fn untrusted(error: &std::io::Error) -> String {
    use rustls::{CertificateError as Wrong, Error};
    let said = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match said {
        Some(Error::InvalidCertificate(wrong)) => match wrong {
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
                "its certificate is for another name"
            }
            Wrong::Expired | Wrong::ExpiredContext { .. } => "its certificate has expired",
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => "its certificate is not good yet",
            Wrong::UnknownIssuer => "its certificate is signed by nobody whom this host trusts",
            Wrong::Revoked => "its certificate was taken back",
            _ => "its certificate is not good",
        }
        .into(),
        Some(Error::AlertReceived(alert)) => format!("it ended TLS with {alert:?}"),
        Some(Error::NoCertificatesPresented) => "it has no certificate".into(),
        Some(_) => "it does not speak TLS as it should".into(),
        None => format!("the connection ended: {}", error.kind()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::notify::Scheme;

    #[test]
    fn an_address_of_this_host_is_known_as_one() {
        assert!(is_own([127, 0, 0, 1].into()).unwrap());
        assert!(is_own("::ffff:127.0.0.1".parse().unwrap()).unwrap());
        // One that the kernel speaks to from another of its own.
        assert!(is_own([127, 9, 9, 9].into()).unwrap() || cfg!(not(target_os = "linux")));
        // Documentation's (RFC 5737): nobody's, reached or not.
        assert!(!is_own([192, 0, 2, 1].into()).unwrap_or(false));
    }

    #[test]
    fn nothing_that_the_other_end_sent_is_repeated() {
        use rustls::{CertificateError, Error, OtherError};
        let name = ServerName::try_from("hooks.example").unwrap();
        let presented = vec!["evil.example\u{1b}[2J\u{202e}".to_owned(), "x".repeat(100_000)];
        let errors: Vec<Error> = vec![
            CertificateError::NotValidForNameContext { expected: name, presented }.into(),
            CertificateError::Other(OtherError(Arc::new(std::io::Error::other("evil\r\n")))).into(),
            Error::General("evil\u{1b}".into()),
            CertificateError::UnknownIssuer.into(),
        ];
        for error in errors {
            let told = untrusted(&std::io::Error::other(error));
            let is_plain = told.len() < 100 && !told.contains("evil") && !told.chars().any(char::is_control);
            assert!(is_plain, "{told:?}");
        }
        let told = untrusted(&std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "evil\u{1b}"));
        assert!(!told.contains("evil"), "{told}");
    }

    #[tokio::test]
    async fn whatever_a_name_leads_to_is_judged_before_anybody_is_connected_to() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        // Every way to write it that the system's resolver takes.
        for host in [
            "localhost",
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "[::ffff:127.0.0.1]",
            "0",
            "[::]",
        ] {
            for scheme in ["http", "https", "smtp", "smtps"] {
                let url = Url::read(&format!("{scheme}://{host}:{port}")).unwrap();
                let refused = connect(&url, &Reach::default(), "").await.unwrap_err();
                assert!(
                    refused.contains("not sent to") || refused.contains("not resolved"),
                    "{host}: {refused}"
                );
            }
        }
        assert_eq!(
            listener.accept().unwrap_err().kind(),
            std::io::ErrorKind::WouldBlock,
            "nobody was connected to"
        );
        let allowed = Reach { allowed: vec!["127.0.0.1/32".parse().unwrap()], ..Reach::default() };
        let url = Url::read(&format!("http://localhost:{port}/")).unwrap();
        assert_eq!(url.scheme, Scheme::Http);
        connect(&url, &allowed, "").await.unwrap();
        assert!(listener.accept().is_ok());
    }
}
