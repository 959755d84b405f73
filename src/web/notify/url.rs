//! Where messages go, as it is typed: a scheme, a host, a port, and for HTTP a path. Nothing is decoded and nothing is guessed.

use std::fmt;
use std::net::Ipv6Addr;

use crate::web::procedure::Refused;

/// What is spoken there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP in clear: to addresses that were allowed alone.
    Http,
    /// HTTP by TLS.
    Https,
    /// Mail, handed in by a connection that begins in clear and has to change to TLS (STARTTLS).
    Smtp,
    /// The same, by TLS from the beginning.
    Smtps,
}

impl Scheme {
    const ALL: [(&'static str, Self, u16); 4] = [
        ("http", Self::Http, 80),
        ("https", Self::Https, 443),
        ("smtp", Self::Smtp, 587),
        ("smtps", Self::Smtps, 465),
    ];

    fn about(self) -> (&'static str, u16) {
        let found = Self::ALL.iter().find(|(_, scheme, _)| *scheme == self);
        found.map_or(("", 0), |(name, _, port)| (*name, *port))
    }
}

/// An address of the web, or of a server that takes mail.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// What is spoken.
    pub scheme: Scheme,
    /// A name or an address, without brackets, in lower case.
    pub host: String,
    /// The port.
    pub port: u16,
    /// For HTTP: path and query, which may be a secret. Else empty.
    pub path: String,
}

/// What may be told of it: everything but its path.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.about().0, self.authority())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

impl Url {
    /// Reads one.
    ///
    /// # Errors
    /// It is none, of another scheme, or has a user, a fragment, or letters that have to be escaped.
    pub fn read(text: &str) -> Result<Self, Refused> {
        let no = |hint: &str| Refused::new(400, "this is no address that messages can be sent to", hint);
        let usual = || no("such as https://hooks.example/path, or smtps://mail.example");
        let (scheme, rest) = text.split_once("://").ok_or_else(usual)?;
        let scheme = scheme.to_ascii_lowercase();
        let (_, scheme, usual_port) =
            *Scheme::ALL.iter().find(|(name, ..)| *name == scheme).ok_or_else(usual)?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%?".contains(&b)) {
            return Err(no("other letters are written as %20 and so on; there is no fragment"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(usual)?;
                let _: Ipv6Addr = host.parse().map_err(|_| usual())?;
                let port =
                    if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(usual)?) };
                (host, port)
            }
            None => {
                let (host, port) = authority.split_once(':').map_or((authority, None), |(h, p)| (h, Some(p)));
                let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
                if host.is_empty() || host.len() > 253 || !host.bytes().all(is_plain) {
                    return Err(no("a host is a name or an address, without a user before it"));
                }
                (host, port)
            }
        };
        let is_number = |port: &&str| port.bytes().all(|b| b.is_ascii_digit());
        let port = match port {
            None => usual_port,
            Some(port) => Some(port)
                .filter(is_number)
                .and_then(|port| port.parse().ok())
                .filter(|port| *port > 0)
                .ok_or_else(|| no("a port is 1 to 65535"))?,
        };
        let is_http = matches!(scheme, Scheme::Http | Scheme::Https);
        if !is_http && !path.trim_end_matches('/').is_empty() {
            return Err(no("a server that takes mail has no path"));
        }
        let path = match path {
            _ if !is_http => "",
            "" => "/",
            path => path,
        };
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port, path: path.into() })
    }

    /// Writes it as it was typed: with what may be a secret.
    pub fn whole(&self) -> String {
        format!("{self}{}", self.path)
    }

    /// Returns host and port, as HTTP has them: the usual port is left out.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.about().1 { host } else { format!("{host}:{}", self.port) }
    }

    /// Says whether HTTP is spoken there.
    pub fn is_http(&self) -> bool {
        matches!(self.scheme, Scheme::Http | Scheme::Https)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_told_without_their_path() {
        let url = Url::read("https://Hooks.Example/services/T0/secret?x=1").unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.path.as_str()),
            ("hooks.example", 443, "/services/T0/secret?x=1")
        );
        assert_eq!(
            (url.to_string(), format!("{url:?}")),
            ("https://hooks.example".into(), "Url(https://hooks.example)".into())
        );
        assert_eq!(Url::read(&url.whole()).unwrap(), url);
        let url = Url::read("http://[fd00::7]:8080").unwrap();
        assert_eq!((url.authority().as_str(), url.path.as_str()), ("[fd00::7]:8080", "/"));
        let url = Url::read("smtp://mail.example").unwrap();
        assert_eq!((url.scheme, url.port, url.path.as_str()), (Scheme::Smtp, 587, ""));
        assert_eq!(Url::read("smtps://mail.example:465/").unwrap().authority(), "mail.example");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for bad in [
            "",
            "hooks.example",
            "file:///etc/passwd",
            "gopher://hooks.example/",
            "https://",
            "https:///x",
            "https://anna:pw@hooks.example/",
            "https://hooks.example@127.0.0.1/",
            "https://hooks.example#@127.0.0.1/",
            "https://hooks.example\\@127.0.0.1/",
            "https://hooks.example/a b",
            "https://hooks.example/a\r\nHost: x",
            "https://hooks.example:0/",
            "https://hooks.example:+443/",
            "https://hooks.example:443:443/",
            "https://hooks.example:99999/",
            "https://[::1/",
            "https://[::1]x/",
            "https://[fe80::1%25eth0]/",
            "https://ho\u{17f}t.example/",
            "https://hooks.example/#x",
            "smtp://mail.example/path",
        ] {
            assert!(Url::read(bad).is_err(), "{bad:?}");
        }
    }
}
