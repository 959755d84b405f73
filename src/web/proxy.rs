//! Behind a proxy: the address under which browsers call it, with its path; and whose word counts on where a request came from.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::procedure::Refused;

/// How browsers call the page through a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// `https` or `http`.
    pub scheme: &'static str,
    /// As browsers write them in lower case: with the port, and without where it is the scheme's own.
    pub hosts: Vec<String>,
    /// What every path begins with: `/wg`; empty at the root.
    pub base: String,
}

impl Public {
    /// Reads an address: `https://relay.example/wg`.
    ///
    /// # Errors
    /// 400: it is none.
    pub fn read(url: &str) -> Result<Self, Refused> {
        let none = |what: &str| {
            let message = format!("{url:?} is no address of a page: {what}");
            Refused::new(400, message, "such as https://relay.example/wg")
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| none("it has no scheme"))?;
        let (scheme, usual) = match scheme.to_ascii_lowercase().as_str() {
            "https" => ("https", ":443"),
            "http" => ("http", ":80"),
            _ => return Err(none("a scheme is https or http")),
        };
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let host = host.to_ascii_lowercase();
        let is_plain =
            |text: &str, more: &[u8]| text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b));
        if host.is_empty() || !is_plain(&host, b".-:[]") {
            return Err(none("its host is none"));
        }
        let base = path.trim_end_matches('/');
        let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && is_plain(part, b"._-");
        if !base.is_empty() && !base[1..].split('/').all(is_part) {
            return Err(none("its path has letters, digits, and . _ - between slashes"));
        }
        let name = host.strip_suffix(usual).unwrap_or(&host).to_owned();
        let has_port = name.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let hosts = if has_port { vec![name] } else { vec![format!("{name}{usual}"), name] };
        Ok(Self { scheme, hosts, base: base.to_owned() })
    }

    /// Returns a path as it is without what all begin with; `None`: it does not begin so.
    pub fn inside<'p>(&self, path: &'p str) -> Option<&'p str> {
        match path.strip_prefix(self.base.as_str())? {
            "" => Some("/"),
            rest => rest.starts_with('/').then_some(rest),
        }
    }
}

/// The proxies that are believed.
#[derive(Debug, Clone, Default)]
pub struct Proxies(pub Vec<IpNet>);

impl Proxies {
    /// Says whether one is.
    pub fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }

    /// Returns whose request it is: the last address of `X-Forwarded-For` that is no proxy of ours, as far as each before it was said by
    /// one of them. `said`: that header, as often as it came. What anybody else says counts for nothing, nor what is no address.
    pub fn client<'h>(&self, peer: IpAddr, said: impl DoubleEndedIterator<Item = &'h str>) -> IpAddr {
        let mut from = peer.to_canonical();
        for word in said.rev().flat_map(|line| line.rsplit(',')) {
            if !self.has(from) {
                break;
            }
            let Some(before) = address(word.trim()) else { break };
            from = before.to_canonical();
        }
        from
    }
}

/// Reads an address as proxies write it: alone, in brackets, or with a port.
fn address(word: &str) -> Option<IpAddr> {
    let bare = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word);
    bare.parse().ok().or_else(|| word.parse::<SocketAddr>().ok().map(|at| at.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_page_is_read_whole_or_not_at_all() {
        let read = |url: &str| Public::read(url).unwrap();
        let plain = read("https://Relay.example/wg/");
        assert_eq!((plain.scheme, plain.base.as_str()), ("https", "/wg"));
        assert_eq!(plain.hosts, ["relay.example:443", "relay.example"]);
        assert_eq!(read("https://relay.example:443").hosts, plain.hosts);
        assert_eq!(read("http://relay.example:8080/a/b.c").hosts, ["relay.example:8080"]);
        assert_eq!(read("http://[fd00::1]").hosts, ["[fd00::1]:80", "[fd00::1]"]);
        for bad in [
            "",
            "relay.example",
            "ftp://relay.example",
            "https://",
            "https:///wg",
            "https://user@relay.example/",
            "https://relay.example/../wg",
            "https://relay.example//wg",
            "https://relay.example/wg?x",
            "https://relay.example/w g",
            "https://relay.example\r\nx/",
        ] {
            assert!(Public::read(bad).is_err(), "{bad:?}");
        }
        for (path, inside) in [("/wg", Some("/")), ("/wg/", Some("/")), ("/wg/nodes", Some("/nodes"))] {
            assert_eq!(plain.inside(path), inside);
        }
        for other in ["/", "/nodes", "/wgx", "/wgx/nodes", "/WG/nodes", "//wg/nodes", ""] {
            assert_eq!(plain.inside(other), None, "{other}");
        }
    }

    #[test]
    fn whose_request_it_is_is_said_by_listed_proxies_alone() {
        let proxies = Proxies(vec!["10.0.0.2/32".parse().unwrap(), "fd00::/64".parse().unwrap()]);
        let client = |peer: &str, said: &[&str]| {
            proxies.client(peer.parse().unwrap(), said.iter().copied()).to_string()
        };
        for (peer, said, expected) in [
            ("10.0.0.2", &["192.0.2.7"][..], "192.0.2.7"),
            // What a stranger wrote stands before what the proxy wrote.
            ("10.0.0.2", &["127.0.0.1, 192.0.2.7"], "192.0.2.7"),
            ("10.0.0.2", &["127.0.0.1", "192.0.2.7"], "192.0.2.7"),
            ("10.0.0.2", &["192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            ("10.0.0.2", &["127.0.0.1, 192.0.2.7, fd00::9"], "192.0.2.7"),
            ("fd00::9", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.2", &["192.0.2.7:5555"], "192.0.2.7"),
            ("::ffff:10.0.0.2", &["::ffff:192.0.2.7"], "192.0.2.7"),
            // Nobody's word.
            ("10.0.0.3", &["127.0.0.1"], "10.0.0.3"),
            ("192.0.2.7", &["10.0.0.2"], "192.0.2.7"),
            // What is no address says nothing, and nothing before it counts.
            ("10.0.0.2", &["127.0.0.1, unknown"], "10.0.0.2"),
            ("10.0.0.2", &["127.0.0.1,"], "10.0.0.2"),
            ("10.0.0.2", &[""], "10.0.0.2"),
            ("10.0.0.2", &[], "10.0.0.2"),
        ] {
            assert_eq!(client(peer, said), expected, "{peer} {said:?}");
        }
        let nobody = Proxies::default();
        assert_eq!(nobody.client([127, 0, 0, 1].into(), ["10.1.1.1"].into_iter()).to_string(), "127.0.0.1");
    }
}
