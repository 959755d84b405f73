//! A kernel's configuration as text: `CONFIG_NAME=y`, `=m`, a value, or a comment that says `is not set`. Packed files
//! (`/proc/config.gz`) are unpacked, up to a bound.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use serde::Serialize;

/// The largest configuration that is read, unpacked, in bytes. A distribution's kernel has some 300 kB.
const LARGEST: u64 = 4 << 20;
/// What a packed file begins with (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What a configuration says of one option. In the order of how good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Setting {
    /// Built into the kernel.
    #[serde(rename = "y")]
    BuiltIn,
    /// A module, which must be at hand when it is asked for.
    #[serde(rename = "m")]
    Module,
    /// Neither.
    #[serde(rename = "absent")]
    Absent,
}

impl Setting {
    /// The word for it, as in the configuration itself.
    pub const fn word(self) -> &'static str {
        match self {
            Self::BuiltIn => "y",
            Self::Module => "m",
            Self::Absent => "absent",
        }
    }
}

/// A kernel's release: major and minor number, and the whole as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    major: u32,
    minor: u32,
    text: String,
}

impl Version {
    /// Says whether it is this release or a later one.
    pub const fn is_at_least(&self, major: u32, minor: u32) -> bool {
        self.major > major || (self.major == major && self.minor >= minor)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(['.', '-']).map(str::parse);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        let plain = text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-+_".contains(c));
        plain.then(|| Self { major, minor, text: text.into() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a file is no kernel configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It begins like a packed file, and cannot be unpacked.
    #[error("it is packed by gzip and damaged")]
    Damaged,
    /// Unpacked, it is larger than any configuration.
    #[error("it is larger than {} MiB, which no kernel configuration is", LARGEST >> 20)]
    TooLarge,
    /// No line of it sets an option.
    #[error("no line of it is like CONFIG_NET=y")]
    NoConfig,
}

/// The options of a kernel that are set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelConfig {
    options: BTreeMap<String, Setting>,
    version: Option<Version>,
    is_for_arm: bool,
}

impl KernelConfig {
    /// Reads a configuration, plain or packed by gzip.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut unpacked = Vec::new();
        let bytes = if bytes.starts_with(&GZIP) {
            let mut reader = flate2::read::MultiGzDecoder::new(bytes).take(LARGEST + 1);
            reader.read_to_end(&mut unpacked).map_err(|_| Unreadable::Damaged)?;
            unpacked.as_slice()
        } else {
            bytes
        };
        if bytes.len() as u64 > LARGEST {
            return Err(Unreadable::TooLarge);
        }
        let mut config = Self::default();
        for line in String::from_utf8_lossy(bytes).lines() {
            config.line(line.trim());
        }
        if config.options.values().all(|s| *s == Setting::Absent) {
            Err(Unreadable::NoConfig)
        } else {
            Ok(config)
        }
    }

    fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix('#') {
            // "# Linux/x86 6.6.87.2 Kernel Configuration", in the head of each file that kconfig writes.
            let mut words = rest.split_whitespace();
            match words.next().unwrap_or_default().split_once('/') {
                Some(("Linux", architecture)) => {
                    self.is_for_arm = !["x86", "x86_64", "i386"].contains(&architecture);
                    self.version = words.next().and_then(Version::parse);
                }
                _ => {
                    // The last line wins, a comment of this kind included.
                    let unset =
                        rest.trim().strip_prefix("CONFIG_").and_then(|r| r.strip_suffix(" is not set"));
                    if let Some(name) = unset {
                        self.options.insert(name.into(), Setting::Absent);
                    }
                }
            }
            return;
        }
        let Some((name, value)) = line.strip_prefix("CONFIG_").and_then(|rest| rest.split_once('=')) else {
            return;
        };
        // The last line wins, as for kconfig; what has a number or a text is there.
        let setting = match value {
            "m" => Setting::Module,
            "n" => Setting::Absent,
            _ => Setting::BuiltIn,
        };
        self.options.insert(name.into(), setting);
    }

    /// Returns what it says of an option, which is named without `CONFIG_`.
    pub fn get(&self, option: &str) -> Setting {
        self.options.get(option).copied().unwrap_or(Setting::Absent)
    }

    /// Says whether it is for ARM, by its head: any other processor than those of x86.
    pub const fn is_for_arm(&self) -> bool {
        self.is_for_arm
    }

    /// Which kernel it configures, where its head says so.
    pub const fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &str = "#\n# Linux/x86 6.6.87.2 Kernel Configuration\n#\nCONFIG_TUN=m\r\n# CONFIG_VETH is not set\n\
                        CONFIG_BRIDGE=n\nCONFIG_HZ=250\nCONFIG_TUN_X=y\n";

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn plain_and_packed_say_the_same() {
        let plain = KernelConfig::parse(TEXT.as_bytes()).expect("a configuration");
        assert_eq!(KernelConfig::parse(&packed(TEXT.as_bytes())).as_ref(), Ok(&plain));
        let of = |option| plain.get(option).word();
        assert_eq!(
            ["TUN", "VETH", "BRIDGE", "HZ", "NOBODY"].map(of),
            ["m", "absent", "absent", "y", "absent"]
        );
        let version = plain.version().expect("a version");
        assert_eq!(version.to_string(), "6.6.87.2");
        assert!(version.is_at_least(6, 6) && !version.is_at_least(6, 7) && version.is_at_least(5, 15));
    }

    #[test]
    fn what_is_no_configuration_is_told() {
        let of = |bytes: &[u8]| KernelConfig::parse(bytes).expect_err("not one");
        assert_eq!(of(b""), Unreadable::NoConfig);
        assert_eq!(of(b"[network]\nname = \"wg0\"\n"), Unreadable::NoConfig);
        let half = packed(TEXT.as_bytes());
        assert_eq!(of(&half[..half.len() / 2]), Unreadable::Damaged);
        // A few kB that unpack to more than there is memory for.
        assert_eq!(of(&packed(&vec![b'\n'; (LARGEST + 1) as usize])), Unreadable::TooLarge);
        assert_eq!(of(&vec![b'\n'; (LARGEST + 1) as usize]), Unreadable::TooLarge);
    }

    #[test]
    fn the_last_line_wins_whatever_it_says() {
        let of =
            |text: &str| KernelConfig::parse(text.as_bytes()).expect("a configuration").get("TUN").word();
        assert_eq!(of("CONFIG_NET=y\nCONFIG_TUN=m\n# CONFIG_TUN is not set\n"), "absent");
        assert_eq!(of("# CONFIG_TUN is not set\nCONFIG_TUN=m\n"), "m");
    }

    #[test]
    fn escapes_in_a_version_are_none() {
        let config = KernelConfig::parse(b"# Linux/x86 6.6\x1b[31m Kernel Configuration\nCONFIG_NET=y\n");
        assert_eq!(config.expect("a configuration").version(), None);
    }
}
