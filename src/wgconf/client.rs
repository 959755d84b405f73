//! The programs that read a `.conf`, and what each of them accepts, as data.
//!
//! Taken from their parsers: wireguard-tools (config.c, wg-quick's linux.bash), wireguard-windows (conf/parser.go, name.go),
//! wireguard-apple (TunnelConfiguration+WgQuickConfig.swift), wireguard-android (Interface.java, Peer.java, Tunnel.java).
//! What they make of values is in [`super::grammar`].

use std::fmt;
use std::str::FromStr;

use super::Key;
use crate::model::Platform;

/// A program that reads `.conf` files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Client {
    /// `wg setconf`, `syncconf` and `addconf`.
    Wg,
    /// `wg-quick` of Linux.
    WgQuick,
    /// WireGuard for Windows.
    Windows,
    /// WireGuard for macOS and iOS.
    Apple,
    /// WireGuard for Android.
    Android,
}

/// What a second line with the same hook does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookRepeats {
    /// Both run, in the order of the file.
    Accumulate,
    /// Only the last one runs.
    LastWins,
}

/// What one client accepts.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Keys of `[Interface]`; those of `[Peer]` are the same everywhere.
    pub interface_keys: &'static [Key],
    /// A second line of the same hook.
    pub hook_repeats: HookRepeats,
    /// Whether a file without an `[Interface]` and a private key is refused.
    pub needs_private_key: bool,
    /// Longest name of a tunnel, in characters.
    pub max_name: usize,
}

const WG: Rules = Rules {
    interface_keys: &[Key::PrivateKey, Key::ListenPort, Key::FwMark],
    hook_repeats: HookRepeats::Accumulate,
    needs_private_key: false,
    max_name: 15,
};

const WG_QUICK: Rules = Rules {
    interface_keys: &[
        Key::PrivateKey,
        Key::Address,
        Key::ListenPort,
        Key::FwMark,
        Key::Dns,
        Key::Mtu,
        Key::Table,
        Key::PreUp,
        Key::PostUp,
        Key::PreDown,
        Key::PostDown,
        Key::SaveConfig,
    ],
    ..WG
};

const WINDOWS: Rules = Rules {
    interface_keys: &[
        Key::PrivateKey,
        Key::Address,
        Key::ListenPort,
        Key::Dns,
        Key::Mtu,
        Key::Table,
        Key::PreUp,
        Key::PostUp,
        Key::PreDown,
        Key::PostDown,
    ],
    hook_repeats: HookRepeats::LastWins,
    needs_private_key: true,
    max_name: 32,
};

const APPLE: Rules = Rules {
    interface_keys: &[Key::PrivateKey, Key::Address, Key::ListenPort, Key::Dns, Key::Mtu],
    hook_repeats: HookRepeats::LastWins,
    needs_private_key: true,
    max_name: 15,
};

const ANDROID: Rules = Rules {
    interface_keys: &[
        Key::PrivateKey,
        Key::Address,
        Key::ListenPort,
        Key::Dns,
        Key::Mtu,
        Key::IncludedApplications,
        Key::ExcludedApplications,
    ],
    hook_repeats: HookRepeats::LastWins,
    needs_private_key: true,
    max_name: 15,
};

/// Names that Windows keeps for devices, whatever follows the first dot.
const WINDOWS_DEVICES: [&str; 22] = [
    "CON", "PRN", "AUX", "NUL", "COM1", "COM2", "COM3", "COM4", "COM5", "COM6", "COM7", "COM8", "COM9",
    "LPT1", "LPT2", "LPT3", "LPT4", "LPT5", "LPT6", "LPT7", "LPT8", "LPT9",
];

impl Client {
    /// Every client, as the command line spells it.
    pub const ALL: [(&'static str, Self); 5] = [
        ("wg", Self::Wg),
        ("wg-quick", Self::WgQuick),
        ("windows", Self::Windows),
        ("apple", Self::Apple),
        ("android", Self::Android),
    ];

    /// Returns what it accepts.
    pub const fn rules(self) -> &'static Rules {
        match self {
            Self::Wg => &WG,
            Self::WgQuick => &WG_QUICK,
            Self::Windows => &WINDOWS,
            Self::Apple => &APPLE,
            Self::Android => &ANDROID,
        }
    }
    /// Returns the program that reads a node's file on that platform. OpenWrt and RouterOS import what the
    /// applications read; the strictest of these stands for them.
    pub const fn of(platform: Platform) -> Self {
        match platform {
            Platform::Linux | Platform::Docker => Self::WgQuick,
            Platform::Windows => Self::Windows,
            Platform::Android => Self::Android,
            Platform::Macos | Platform::Ios | Platform::Openwrt | Platform::Mikrotik => Self::Apple,
        }
    }
    /// Says whether its verdicts come from a port of its own parser.
    pub(super) const fn has_grammar(self) -> bool {
        matches!(self, Self::Windows | Self::Apple | Self::Android)
    }
    /// Says whether it accepts a key.
    pub fn accepts(self, key: Key) -> bool {
        key.section() == super::Section::Peer || self.rules().interface_keys.contains(&key)
    }
    /// Says whether it takes a file name, without `.conf`, as the name of a tunnel.
    pub fn accepts_name(self, name: &str) -> bool {
        // Apple's keeps whatever it is called, unless there is nothing, or another tunnel of that name.
        if self == Self::Apple {
            return !name.trim().is_empty();
        }
        let max = self.rules().max_name;
        let device = name.split('.').next().unwrap_or_default();
        (1..=max).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_=+.-".contains(&b))
            && (self != Self::Windows
                || !(name.starts_with('.')
                    || name.ends_with('.')
                    || WINDOWS_DEVICES.iter().any(|d| d.eq_ignore_ascii_case(device))))
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Wg => "wg",
            Self::WgQuick => "wg-quick",
            Self::Windows => "WireGuard for Windows",
            Self::Apple => "WireGuard for macOS and iOS",
            Self::Android => "WireGuard for Android",
        })
    }
}

/// Tells why a text is no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Nobody is called so.
    #[error(
        "{0:?} is not a client: use wg, wg-quick, windows, apple or android, or a platform: linux, macos, ios, docker"
    )]
    Unknown(String),
    /// It has WireGuard, and a grammar of its own.
    #[error("what {0} takes is not known here: it reads {1} and has no parser that was held against")]
    NotKnown(&'static str, &'static str),
}

/// What has WireGuard and is not answered for, with what it reads.
const NOT_KNOWN: [(&str, &str); 4] = [
    ("openwrt", "/etc/config/network"),
    ("mikrotik", "commands of RouterOS"),
    ("networkmanager", "its own keyfiles, and .conf files by a reader of its own"),
    ("networkd", ".netdev and .network files"),
];

impl FromStr for Client {
    type Err = ClientError;
    /// Reads a client's name, or that of a platform that it runs on.
    fn from_str(text: &str) -> Result<Self, ClientError> {
        if let Some((name, reads)) = NOT_KNOWN.iter().find(|(name, _)| *name == text) {
            return Err(ClientError::NotKnown(name, reads));
        }
        let by_name = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, client)| *client);
        let by_platform = || Platform::ALL.iter().find(|(name, _)| *name == text).map(|(_, p)| Self::of(*p));
        by_name.or_else(by_platform).ok_or_else(|| ClientError::Unknown(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_takes_the_common_subset() {
        for (_, client) in Client::ALL.into_iter().skip(1) {
            for key in [Key::PrivateKey, Key::Address, Key::Dns, Key::Mtu, Key::ListenPort, Key::Endpoint] {
                assert!(client.accepts(key), "{client}: {key}");
            }
        }
        assert!(!Client::Windows.accepts(Key::FwMark));
        assert!(!Client::Apple.accepts(Key::PostUp));
        assert!(!Client::Wg.accepts(Key::Address));
    }

    #[test]
    fn tunnel_names() {
        assert!(Client::WgQuick.accepts_name("wg0"));
        assert!(!Client::WgQuick.accepts_name("a-name-of-16-chr"));
        assert!(Client::Windows.accepts_name("a-name-of-16-chr"));
        for name in ["", "a b", "a/b"] {
            assert!(!Client::WgQuick.accepts_name(name) && !Client::Windows.accepts_name(name), "{name:?}");
        }
        for name in ["Mein Büro", "a-name-that-is-longer-than-any-other-32"] {
            assert!(Client::Apple.accepts_name(name) && !Client::Windows.accepts_name(name), "{name:?}");
        }
        assert!(!Client::Apple.accepts_name(" "));
        for name in ["NUL", "com1", "con.x", ".a", "a."] {
            assert!(Client::WgQuick.accepts_name(name) && !Client::Windows.accepts_name(name), "{name:?}");
        }
    }

    #[test]
    fn names_of_clients() {
        for (name, client) in Client::ALL {
            assert_eq!(name.parse(), Ok(client));
        }
        for (name, platform) in
            Platform::ALL.into_iter().filter(|(name, _)| NOT_KNOWN.iter().all(|(n, _)| n != name))
        {
            assert_eq!(name.parse(), Ok(Client::of(platform)), "{name}");
        }
        for (name, _) in NOT_KNOWN {
            let told = name.parse::<Client>().unwrap_err().to_string();
            assert!(told.starts_with(&format!("what {name} takes is not known here")), "{told}");
        }
        assert_eq!("macos".parse(), Ok(Client::Apple));
        assert!("Windows ".parse::<Client>().is_err());
    }
}
