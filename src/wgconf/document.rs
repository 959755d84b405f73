//! What a `.conf` says, typed: one interface and its peers.
//!
//! Values that would break out of their line (a hook or a search domain with a line break or a `#`) cannot be built.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::{Key, Section};
use crate::model::{Endpoint, PresharedKey, PrivateKey, PublicKey};

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// This end.
    pub interface: Interface,
    /// The other ends, in the order of the file.
    pub peers: Vec<Peer>,
    /// The lines of the script that its hooks call, each without its mark; see [`super::script`].
    pub script: Vec<String>,
}

/// The `[Interface]` section; `None` and empty mean that the line is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// Comment lines above the section's header, without `#`.
    pub comments: Vec<String>,
    /// Comment lines below the header, before the first key, without `#`.
    pub notes: Vec<String>,
    /// Its private key.
    pub private_key: Option<PrivateKey>,
    /// Its addresses with their prefix lengths; host bits are kept.
    pub addresses: Vec<IpNet>,
    /// The UDP port to listen on; 0: the kernel's choice.
    pub listen_port: Option<u16>,
    /// The mark on encrypted packets; 0: none.
    pub fwmark: Option<u32>,
    /// Name servers and search domains.
    pub dns: Vec<Dns>,
    /// MTU in bytes.
    pub mtu: Option<u16>,
    /// Where the routes go.
    pub table: Option<Table>,
    /// Commands before the interface is up.
    pub pre_up: Vec<Hook>,
    /// Commands after the interface is up.
    pub post_up: Vec<Hook>,
    /// Commands before the interface goes down.
    pub pre_down: Vec<Hook>,
    /// Commands after the interface is down.
    pub post_down: Vec<Hook>,
    /// Whether `wg-quick down` writes the running state into the file.
    pub save_config: Option<bool>,
}

/// A `[Peer]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Comment lines above the section's header, without `#`.
    pub comments: Vec<String>,
    /// Comment lines below the header, before the first key, without `#`.
    pub notes: Vec<String>,
    /// Its identity.
    pub public_key: PublicKey,
    /// The key shared with it.
    pub preshared_key: Option<PresharedKey>,
    /// What is sent to it and taken from it; host bits are zero.
    pub allowed_ips: Vec<IpNet>,
    /// Where it is reached.
    pub endpoint: Option<Endpoint>,
    /// Seconds between keepalives; 0: none.
    pub keepalive: Option<u16>,
}

impl Peer {
    /// Makes a peer with nothing but its identity.
    pub const fn new(public_key: PublicKey) -> Self {
        Self {
            comments: Vec::new(),
            notes: Vec::new(),
            public_key,
            preshared_key: None,
            allowed_ips: Vec::new(),
            endpoint: None,
            keepalive: None,
        }
    }
}

impl Document {
    /// Returns the keys that it uses, sorted, each once.
    pub fn keys(&self) -> Vec<Key> {
        Key::ALL.into_iter().map(|(key, ..)| key).filter(|key| self.uses(*key)).collect()
    }

    fn uses(&self, key: Key) -> bool {
        let i = &self.interface;
        if key.section() == Section::Peer {
            return self.peers.iter().any(|p| match key {
                Key::PresharedKey => p.preshared_key.is_some(),
                Key::AllowedIps => !p.allowed_ips.is_empty(),
                Key::Endpoint => p.endpoint.is_some(),
                Key::PersistentKeepalive => p.keepalive.is_some(),
                _ => true,
            });
        }
        match key {
            Key::PrivateKey => i.private_key.is_some(),
            Key::Address => !i.addresses.is_empty(),
            Key::ListenPort => i.listen_port.is_some(),
            Key::FwMark => i.fwmark.is_some(),
            Key::Dns => !i.dns.is_empty(),
            Key::Mtu => i.mtu.is_some(),
            Key::Table => i.table.is_some(),
            Key::PreUp => !i.pre_up.is_empty(),
            Key::PostUp => !i.post_up.is_empty(),
            Key::PreDown => !i.pre_down.is_empty(),
            Key::PostDown => !i.post_down.is_empty(),
            Key::SaveConfig => i.save_config.is_some(),
            _ => false,
        }
    }
}

/// One entry of `DNS`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dns {
    /// A name server.
    Server(IpAddr),
    /// A search domain.
    Search(String),
}

/// Tells that a text is neither a name server nor a search domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address of a name server nor a search domain")]
pub struct DnsError(pub String);

impl FromStr for Dns {
    type Err = DnsError;
    fn from_str(text: &str) -> Result<Self, DnsError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Server(ip));
        }
        let is_domain = !text.is_empty()
            && text.len() <= 253
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            // Digits and dots alone are a mistyped address.
            && text.bytes().any(|b| b.is_ascii_alphabetic());
        if is_domain { Ok(Self::Search(text.into())) } else { Err(DnsError(text.into())) }
    }
}

impl fmt::Display for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(ip) => write!(f, "{ip}"),
            Self::Search(domain) => f.write_str(domain),
        }
    }
}

/// Which routing table `wg-quick(8)` fills.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The main table, with policy routing for a default route.
    Auto,
    /// None.
    Off,
    /// This one: a number, or a name of rt_tables.
    Named(String),
}

impl Table {
    /// Reads `auto`, `off`, a number or a name; anything else is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("auto") {
            return Some(Self::Auto);
        }
        if text.eq_ignore_ascii_case("off") {
            return Some(Self::Off);
        }
        let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        fits.then(|| Self::Named(text.into()))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::Named(name) => name,
        })
    }
}

/// A shell command on one line. It may hold a secret and does not print itself for debugging.
#[derive(Clone, PartialEq, Eq)]
pub struct Hook(String);

/// Tells why a text cannot be a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// Nothing in it.
    #[error("the command is empty")]
    Empty,
    /// A line break or another control character.
    #[error("the command has a line break or another control character")]
    Control,
    /// A `#`.
    #[error(
        "the command has a \"#\", and wg-quick takes the rest of the line for a comment, also within quotes"
    )]
    Hash,
}

impl Hook {
    /// Returns the command.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Hook {
    type Err = HookError;
    fn from_str(text: &str) -> Result<Self, HookError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(HookError::Empty);
        }
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(HookError::Control);
        }
        if text.contains('#') {
            return Err(HookError::Hash);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_its_line() {
        assert_eq!("a\nPostUp = x".parse::<Hook>(), Err(HookError::Control));
        assert_eq!("a # b".parse::<Hook>(), Err(HookError::Hash));
        assert_eq!(" \t".parse::<Hook>(), Err(HookError::Empty));
        assert!("1.1.1.1\nPostUp".parse::<Dns>().is_err());
        assert!("1.1.1.1, x".parse::<Dns>().is_err());
        assert!("1.1.1.300".parse::<Dns>().is_err());
        assert_eq!("lan".parse(), Ok(Dns::Search("lan".into())));
        assert_eq!(Table::parse("OFF"), Some(Table::Off));
        assert_eq!(Table::parse("1 2"), None);
    }

    #[test]
    fn secrets_do_not_print() {
        let mut document = Document::default();
        document.interface.private_key = Some(PrivateKey::from_bytes([7; 32]));
        document.interface.post_up = vec!["echo secret".parse().unwrap()];
        let text = format!("{document:?}");
        assert!(
            !text.contains("secret") && !text.contains("BwcH") && text.contains("PrivateKey(…)"),
            "{text}"
        );
    }
}
