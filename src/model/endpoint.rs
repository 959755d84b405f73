//! Where a peer is reached from outside the tunnel: a host and a UDP port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The UDP port that a relay listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 51820;

/// The host part: an address, or a name that the edge resolves when it applies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointHost {
    /// A literal address.
    Ip(IpAddr),
    /// A DNS name, not resolved here.
    Name(String),
}

/// A host and a UDP port, as `wg(8)` writes it: `host:port`, IPv6 addresses in brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Address or name.
    pub host: EndpointHost,
    /// UDP port, 1 to 65535.
    pub port: u16,
}

/// Tells why a text is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No `:port`.
    #[error("an endpoint is HOST:PORT; the port is missing")]
    NoPort,
    /// Not a number of 1 to 65535.
    #[error("{0:?} is not a UDP port: use 1 to 65535")]
    Port(String),
    /// A URL.
    #[error("{0:?} is a URL: an endpoint is a host and a UDP port, without http://")]
    Url(String),
    /// Neither an address nor a name.
    #[error(
        "{0:?} is neither an address nor a host name (write an IPv6 address in brackets: [2001:db8::1]:51820)"
    )]
    Host(String),
}

impl Endpoint {
    /// Returns the socket address where the host is a literal address.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self.host {
            EndpointHost::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            EndpointHost::Name(_) => None,
        }
    }

    /// Parses `HOST` or `HOST:PORT`, with [`DEFAULT_PORT`] where none is given.
    pub fn parse_with_default_port(text: &str) -> Result<Self, EndpointError> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self { host: EndpointHost::Ip(ip), port: DEFAULT_PORT });
        }
        match text.parse() {
            Err(EndpointError::NoPort) => format!("{text}:{DEFAULT_PORT}").parse(),
            other => other,
        }
    }

    /// Returns the endpoint that somebody meant who wrote a URL, with [`DEFAULT_PORT`] where it has no port.
    pub fn of_url(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Self::parse_with_default_port(host).ok()
    }
}

fn is_host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    !text.is_empty()
        && text.len() <= 253
        // A dotted text of digits only is a mistyped address, not a name.
        && text.chars().any(|c| c.is_ascii_alphabetic())
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        })
}

impl FromStr for Endpoint {
    type Err = EndpointError;
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.contains("://") {
            return Err(EndpointError::Url(text.into()));
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, tail) = rest.split_once(']').ok_or_else(|| EndpointError::Host(text.into()))?;
            let ip: Ipv6Addr = host.parse().map_err(|_| EndpointError::Host(host.into()))?;
            (EndpointHost::Ip(ip.into()), tail.strip_prefix(':').ok_or(EndpointError::NoPort)?)
        } else {
            let (host, port) = text.rsplit_once(':').ok_or(EndpointError::NoPort)?;
            let host = match host.parse::<IpAddr>() {
                Ok(IpAddr::V4(ip)) => EndpointHost::Ip(ip.into()),
                Err(_) if is_host_name(host) => EndpointHost::Name(host.to_ascii_lowercase()),
                _ => return Err(EndpointError::Host(host.into())),
            };
            (host, port)
        };
        match port.parse::<u16>() {
            Ok(n) if n > 0 && port.bytes().all(|b| b.is_ascii_digit()) => Ok(Self { host, port: n }),
            _ => Err(EndpointError::Port(port.into())),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(at: SocketAddr) -> Self {
        Self { host: EndpointHost::Ip(at.ip()), port: at.port() }
    }
}

impl fmt::Display for EndpointHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            EndpointHost::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for text in ["192.168.39.45:51820", "[2001:db8::1]:443", "vpn.example.org:51820"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("1.2.3.4".parse::<Endpoint>(), Err(EndpointError::NoPort));
        assert_eq!("1.2.3.4:0".parse::<Endpoint>(), Err(EndpointError::Port("0".into())));
        assert_eq!("1.2.3.4:65536".parse::<Endpoint>(), Err(EndpointError::Port("65536".into())));
        assert_eq!("1.2.3.4:+1".parse::<Endpoint>(), Err(EndpointError::Port("+1".into())));
        assert!("2001:db8::1:51820".parse::<Endpoint>().is_err());
        assert!("300.1.1.1:51820".parse::<Endpoint>().is_err());
        assert!("a b:1".parse::<Endpoint>().is_err());
        for url in ["http://vpn.example.org", "https://vpn.example.org:51820/x"] {
            assert_eq!(Endpoint::parse_with_default_port(url), Err(EndpointError::Url(url.into())));
        }
        for (url, meant) in [
            ("http://vpn.example.org", Some("vpn.example.org:51820")),
            ("https://me@vpn.example.org:4500/x?y", Some("vpn.example.org:4500")),
            ("udp://[2001:db8::1]:7", Some("[2001:db8::1]:7")),
            ("http://", None),
            ("vpn.example.org", None),
        ] {
            assert_eq!(Endpoint::of_url(url).map(|e| e.to_string()).as_deref(), meant, "{url}");
        }
        assert_eq!(
            Endpoint::parse_with_default_port("2001:db8::1").unwrap().to_string(),
            "[2001:db8::1]:51820"
        );
        assert_eq!(Endpoint::parse_with_default_port("relay").unwrap().to_string(), "relay:51820");
    }
}
