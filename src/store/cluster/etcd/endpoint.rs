//! Where etcd is, as `--etcd` has it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// etcd's port for clients.
const PORT: u16 = 2379;

/// A member of etcd: `https://HOST[:PORT]`, or `http://` of a network that is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    /// Whether by TLS.
    pub is_tls: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no endpoint of etcd, such as https://192.0.2.10:2379")]
pub struct NoEndpoint(String);

impl Endpoint {
    /// Returns the address, where it is not a name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
    /// Says whether it is on this host.
    pub fn is_local(&self) -> bool {
        self.ip().map_or(self.host.eq_ignore_ascii_case("localhost"), |ip| ip.is_loopback())
    }
    /// Returns the host and port as HTTP has them.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
    /// Reads several, with commas between.
    ///
    /// # Errors
    /// One of them is none, or there is none.
    pub fn list(text: &str) -> Result<Vec<Self>, NoEndpoint> {
        let found: Vec<Self> = text
            .split(',')
            .map(str::trim)
            .filter(|one| !one.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        if found.is_empty() { Err(NoEndpoint(text.into())) } else { Ok(found) }
    }
}

impl FromStr for Endpoint {
    type Err = NoEndpoint;
    fn from_str(text: &str) -> Result<Self, NoEndpoint> {
        let none = || NoEndpoint(text.into());
        let (is_tls, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(none()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(none)?;
                let _: std::net::Ipv6Addr = host.parse().map_err(|_| none())?;
                (host, (!port.is_empty()).then(|| port.strip_prefix(':').unwrap_or("no port")))
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let is_name = host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:".contains(c));
        if host.is_empty() || !is_name {
            return Err(none());
        }
        let port = port.map_or(Ok(PORT), str::parse).map_err(|_| none())?;
        Ok(Self { is_tls, host: host.to_ascii_lowercase(), port })
    }
}

impl TryFrom<String> for Endpoint {
    type Error = NoEndpoint;
    fn try_from(text: String) -> Result<Self, NoEndpoint> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_they_are_written() {
        for (text, host, port) in [
            ("https://192.0.2.10:2379", "192.0.2.10", 2379),
            ("https://etcd-1.example/", "etcd-1.example", 2379),
            ("http://[2001:db8::1]:4001", "2001:db8::1", 4001),
            ("https://[2001:db8::1]", "2001:db8::1", 2379),
        ] {
            let read: Endpoint = text.parse().unwrap();
            assert_eq!((read.host.as_str(), read.port), (host, port));
            assert_eq!(read.to_string().parse(), Ok(read));
        }
        assert_eq!(Endpoint::list("http://a:1, https://b:2,").unwrap().len(), 2);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "a:2379",
            "ftp://a",
            "https://",
            "https://u:p@a:1",
            "https://a:b",
            "https://[::1",
            "https://[::1]x",
            "https://a/b",
        ] {
            assert!(Endpoint::list(text).is_err(), "{text}");
        }
    }
}
