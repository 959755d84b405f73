//! The keys of a `.conf`, and the section that each belongs to.

use std::fmt;

/// The two kinds of section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// `[Interface]`: this end.
    Interface,
    /// `[Peer]`: one other end.
    Peer,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Interface => "[Interface]",
            Self::Peer => "[Peer]",
        })
    }
}

/// A key, in the order in which [`super::render`] writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are those of wg(8), wg-quick(8) and the Android client")]
pub enum Key {
    PrivateKey,
    Address,
    ListenPort,
    FwMark,
    Dns,
    Mtu,
    Table,
    PreUp,
    PostUp,
    PreDown,
    PostDown,
    SaveConfig,
    IncludedApplications,
    ExcludedApplications,
    PublicKey,
    PresharedKey,
    AllowedIps,
    Endpoint,
    PersistentKeepalive,
}

impl Key {
    /// Every key with its usual spelling and its section.
    pub const ALL: [(Self, &'static str, Section); 19] = [
        (Self::PrivateKey, "PrivateKey", Section::Interface),
        (Self::Address, "Address", Section::Interface),
        (Self::ListenPort, "ListenPort", Section::Interface),
        (Self::FwMark, "FwMark", Section::Interface),
        (Self::Dns, "DNS", Section::Interface),
        (Self::Mtu, "MTU", Section::Interface),
        (Self::Table, "Table", Section::Interface),
        (Self::PreUp, "PreUp", Section::Interface),
        (Self::PostUp, "PostUp", Section::Interface),
        (Self::PreDown, "PreDown", Section::Interface),
        (Self::PostDown, "PostDown", Section::Interface),
        (Self::SaveConfig, "SaveConfig", Section::Interface),
        (Self::IncludedApplications, "IncludedApplications", Section::Interface),
        (Self::ExcludedApplications, "ExcludedApplications", Section::Interface),
        (Self::PublicKey, "PublicKey", Section::Peer),
        (Self::PresharedKey, "PresharedKey", Section::Peer),
        (Self::AllowedIps, "AllowedIPs", Section::Peer),
        (Self::Endpoint, "Endpoint", Section::Peer),
        (Self::PersistentKeepalive, "PersistentKeepalive", Section::Peer),
    ];

    /// Finds a key by its name, in any case.
    pub fn lookup(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, s, _)| s.eq_ignore_ascii_case(name)).map(|(k, ..)| *k)
    }
    /// Returns the usual spelling.
    pub const fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }
    /// Returns the section that it belongs to.
    pub const fn section(self) -> Section {
        Self::ALL[self as usize].2
    }
    /// Says whether the value is a shell command of `wg-quick(8)`.
    pub const fn is_hook(self) -> bool {
        matches!(self, Self::PreUp | Self::PostUp | Self::PreDown | Self::PostDown)
    }
    /// Says whether several lines add up, for every client.
    pub const fn accumulates(self) -> bool {
        matches!(
            self,
            Self::Address
                | Self::Dns
                | Self::AllowedIps
                | Self::IncludedApplications
                | Self::ExcludedApplications
        )
    }
    /// Says whether `wg(8)` itself reads it; the others are `wg-quick(8)`'s and the applications'.
    pub const fn is_of_wg(self) -> bool {
        matches!(self, Self::PrivateKey | Self::ListenPort | Self::FwMark)
            || matches!(self.section(), Section::Peer)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_keys() {
        for (index, (key, name, section)) in Key::ALL.into_iter().enumerate() {
            assert_eq!(key as usize, index);
            assert_eq!((key.as_str(), key.section()), (name, section));
            assert_eq!(Key::lookup(&name.to_uppercase()), Some(key));
        }
        assert_eq!(Key::lookup("Private Key"), None);
    }
}
