//! What a request must be before anything is looked at: for this host by name, and, where it changes something, from our own pages.
//! And what every answer says to the browser.

use super::procedure::Refused;
use super::proxy::{Proxies, Public};

/// Where the page is, as its own addresses are written in a browser.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// `https` or `http`.
    pub scheme: &'static str,
    /// Each as `HOST:PORT`, in lower case, and as `HOST` alone where the port is the scheme's own.
    pub hosts: Vec<String>,
    /// How it is called through a proxy.
    pub public: Option<Public>,
    /// The proxies whose word counts on where a request came from.
    pub proxies: Proxies,
}

impl Place {
    /// Refuses a request that was sent to another name: a page of a stranger whose name leads here (DNS rebinding).
    ///
    /// # Errors
    /// 421, for none of ours.
    pub fn is_called(&self, host: Option<&str>) -> Result<(), Refused> {
        let host = host.unwrap_or_default().to_ascii_lowercase();
        if self.hosts.contains(&host) || self.is_public(&host) {
            return Ok(());
        }
        Err(Refused::new(
            421,
            "this page is not served under that name",
            "`wgrelay web --name HOST` adds one",
        ))
    }

    fn is_public(&self, host: &str) -> bool {
        self.public.as_ref().is_some_and(|public| public.hosts.iter().any(|own| own == host))
    }

    /// Says whether a browser that calls that name does so by TLS: with us, or with the proxy.
    pub fn is_tls(&self, host: Option<&str>) -> bool {
        let host = host.unwrap_or_default().to_ascii_lowercase();
        let scheme = self.public.as_ref().filter(|_| self.is_public(&host)).map(|public| public.scheme);
        scheme.unwrap_or(self.scheme) == "https"
    }

    /// Returns what every path begins with; empty at the root.
    pub fn base(&self) -> &str {
        self.public.as_ref().map_or("", |public| public.base.as_str())
    }

    /// Returns a path without that; `None`: it is not ours.
    pub fn inside<'p>(&self, path: &'p str) -> Option<&'p str> {
        self.public.as_ref().map_or(Some(path), |public| public.inside(path))
    }

    /// Refuses a change that a page of somebody else had the browser send. A browser says where a form was: one that says nothing
    /// is none, and has no cookie to misuse.
    ///
    /// # Errors
    /// 403.
    pub fn is_from_here(&self, origin: Option<&str>, fetch_site: Option<&str>) -> Result<(), Refused> {
        let is_at = |origin: &str, scheme: &str, hosts: &[String]| {
            let host = origin.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
            host.is_some_and(|host| hosts.iter().any(|own| own == host))
        };
        let own = |origin: &str| {
            is_at(origin, self.scheme, &self.hosts)
                || self.public.as_ref().is_some_and(|public| is_at(origin, public.scheme, &public.hosts))
        };
        let is_own = match (origin, fetch_site) {
            (Some(origin), None) => own(origin),
            (Some(origin), Some(site)) => own(origin) && site == "same-origin",
            (None, Some(site)) => site == "same-origin",
            (None, None) => false,
        };
        if is_own {
            Ok(())
        } else {
            Err(Refused::new(
                403,
                "this was not sent by a page of ours",
                "open the page, and try again there",
            ))
        }
    }
}

/// What every answer says.
pub const HEADERS: [(&str, &str); 9] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    // With no-referrer, browsers would not say where a form was.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
    ("x-robots-tag", "noindex"),
    ("cache-control", "no-store"),
];

/// Says whether a path that a request named is one of ours to go on to: on this host, and nowhere else.
pub fn is_own_path(path: &str) -> bool {
    let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.~?=&%".contains(&b));
    path.starts_with('/') && !path.starts_with("//") && plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            scheme: "https",
            hosts: vec!["relay.example:8443".into(), "10.0.0.1:8443".into()],
            ..Place::default()
        }
    }

    #[test]
    fn names_that_lead_here_are_not_ours_by_that() {
        let place = place();
        assert!(place.is_called(Some("Relay.example:8443")).is_ok());
        for other in [
            "attacker.example:8443",
            "relay.example",
            "relay.example:80",
            "10.0.0.1:8443.attacker.example",
            "",
        ] {
            assert_eq!(place.is_called(Some(other)).unwrap_err().status, 421, "{other}");
        }
        assert!(place.is_called(None).is_err());
    }

    #[test]
    fn a_change_comes_from_our_own_pages() {
        let place = place();
        let own = Some("https://relay.example:8443");
        assert!(place.is_from_here(own, None).is_ok());
        assert!(place.is_from_here(own, Some("same-origin")).is_ok());
        assert!(place.is_from_here(None, Some("same-origin")).is_ok());
        for (origin, site) in [
            (None, None),
            (Some("null"), None),
            (Some("http://relay.example:8443"), None),
            (Some("https://relay.example:8443.attacker.example"), None),
            (Some("https://relay.example:84430"), None),
            (Some("https://attacker.example"), Some("same-origin")),
            (own, Some("cross-site")),
            (own, Some("same-site")),
            (None, Some("none")),
        ] {
            assert_eq!(place.is_from_here(origin, site).unwrap_err().status, 403, "{origin:?} {site:?}");
        }
    }

    #[test]
    fn nobody_is_sent_elsewhere() {
        assert!(is_own_path("/nodes/phone?show=1"));
        for bad in [
            "",
            "//attacker.example",
            "https://attacker.example",
            "/\\attacker.example",
            "/a\r\nX: y",
            "javascript:x",
        ] {
            assert!(!is_own_path(bad), "{bad}");
        }
    }
}
