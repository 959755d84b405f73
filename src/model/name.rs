//! Names: of networks (which are interface names too) and of nodes.

use std::fmt;
use std::str::FromStr;

use super::could_be_key;

/// Tells why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No character at all.
    #[error("a name cannot be empty")]
    Empty,
    /// Longer than the kernel, or a table, takes.
    #[error("a name has at most {max} characters; this has {len}")]
    Long {
        /// The limit in bytes.
        max: usize,
        /// The length found.
        len: usize,
    },
    /// A character outside the allowed set.
    #[error("{0:?} cannot be in a name: use letters, digits, \"_\", \".\" and \"-\"")]
    Character(char),
    /// What is more likely a key than a name, and would be shown wherever names are.
    #[error("this could be a key, and names are shown everywhere")]
    Key,
    /// A name that the kernel or a file system keeps for itself.
    #[error("{0:?} cannot be a name")]
    Reserved(String),
}

/// So many letters and digits in a row, mixed as in a key, are no name: a key's text has 43 before its "=".
const KEY_LIKE: usize = 40;

fn check(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(c) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "_.-".contains(*c))) {
        return Err(NameError::Character(c));
    }
    if text.len() > max {
        return Err(NameError::Long { max, len: text.len() });
    }
    if text.split(['_', '.', '-']).any(|run| run.len() >= KEY_LIKE && could_be_key(run)) {
        return Err(NameError::Key);
    }
    if matches!(text, "." | ".." | "all" | "default") || text.starts_with('-') {
        return Err(NameError::Reserved(text.into()));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text, $max)?;
                Ok(Self(text.into()))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// The name of a network, and of its interface on Linux: `[A-Za-z0-9_.-]{1,15}` (IFNAMSIZ less the final NUL).
    InterfaceName, 15
}
name! {
    /// The name of a node: `[A-Za-z0-9_.-]{1,63}`.
    NodeName, 63
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        assert!("wg0".parse::<InterfaceName>().is_ok());
        assert!("abcdefghijklmno".parse::<InterfaceName>().is_ok());
        assert_eq!("abcdefghijklmnop".parse::<InterfaceName>(), Err(NameError::Long { max: 15, len: 16 }));
        assert_eq!("a/b".parse::<InterfaceName>(), Err(NameError::Character('/')));
        assert_eq!("".parse::<NodeName>(), Err(NameError::Empty));
        assert!("..".parse::<InterfaceName>().is_err());
        assert!("-rf".parse::<NodeName>().is_err());
    }

    #[test]
    fn keys_are_no_names() {
        let key = "GtL7fZcibLnqZldpVofMCD6hDjrK28SsdLxevJaqtKU";
        assert_eq!(key.parse::<NodeName>(), Err(NameError::Key));
        assert_eq!(format!("a-{key}").parse::<NodeName>(), Err(NameError::Key));
        assert!(key[..20].parse::<NodeName>().is_ok(), "it may be anything");
        assert!("the-laptop-of-somebody-with-a-long-name-in-the-third-floor-2".parse::<NodeName>().is_ok());
    }
}
