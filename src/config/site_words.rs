//! A site as people write it in a line: `CIDR[@IFACE]`, and after it keys of network.toml as `key=value`, with commas or spaces between.
//! Commands, forms and the API take the same.

use std::net::IpAddr;

use ipnet::IpNet;

use super::document::Setting;
use crate::model::{Nat, Site, SiteInterface, nearest};

/// What is said of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteWords {
    /// Which one.
    pub subnet: IpNet,
    /// Its keys as in network.toml, each once; `None`: it is taken out.
    pub keys: Vec<(&'static str, Option<Setting>)>,
}

/// Why a text is no site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NoSite {
    /// What is wrong with it.
    pub message: String,
    /// What to do.
    pub hint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Flag,
    Number,
}

const KEYS: [(&str, Kind); 7] = [
    ("interface", Kind::Text),
    ("nat", Kind::Text),
    ("gateway", Kind::Flag),
    ("address", Kind::Text),
    ("egress", Kind::Flag),
    ("preference", Kind::Number),
    ("alias", Kind::Text),
];

const EXAMPLE: &str = "such as 10.20.0.0/16@eth1,alias=10.99.0.0/16";

impl SiteWords {
    /// Reads sites. A word with `=` is about the site before it; nothing behind the `=` takes the key out.
    ///
    /// # Errors
    /// A word is no prefix, no key, or there is no site before it.
    pub fn read<T: AsRef<str>>(texts: &[T]) -> Result<Vec<Self>, NoSite> {
        let mut sites: Vec<Self> = Vec::new();
        let words = texts.iter().flat_map(|text| text.as_ref().split([',', ' ']));
        for word in words.filter(|word| !word.is_empty()) {
            match word.split_once('=') {
                Some((key, value)) => {
                    let no = || NoSite {
                        message: format!("{word:?} is about no site: its subnet stands before it"),
                        hint: EXAMPLE.into(),
                    };
                    let site = sites.last_mut().ok_or_else(no)?;
                    let (key, kind) = known(key)?;
                    site.put(key, read(key, kind, value)?);
                }
                None => sites.push(Self::first(word)?),
            }
        }
        Ok(sites)
    }

    fn first(word: &str) -> Result<Self, NoSite> {
        let (subnet, interface) = word.split_once('@').map_or((word, None), |(s, i)| (s, Some(i)));
        let subnet = subnet.parse().map_err(|_| NoSite {
            message: format!("site {word:?}: {subnet:?} is no prefix"),
            hint: EXAMPLE.into(),
        })?;
        let interface = interface.map(|name| ("interface", Some(Setting::Text(name.into()))));
        Ok(Self { subnet, keys: interface.into_iter().collect() })
    }

    fn put(&mut self, key: &'static str, value: Option<Setting>) {
        self.keys.retain(|(known, _)| *known != key);
        self.keys.push((key, value));
    }

    /// Takes keys of a site out, by their names.
    ///
    /// # Errors
    /// One is none.
    pub fn without<T: AsRef<str>>(mut self, keys: &[T]) -> Result<Self, NoSite> {
        for key in keys {
            let (key, _) = known(key.as_ref())?;
            self.put(key, None);
        }
        Ok(self)
    }

    /// Returns its keys, and those to be taken out that it had before.
    pub fn since(&self, before: Option<&Self>) -> Vec<(&'static str, Option<Setting>)> {
        let had = before.into_iter().flat_map(|before| &before.keys);
        let gone = had.filter(|(key, _)| self.keys.iter().all(|(own, _)| own != key));
        self.keys.iter().cloned().chain(gone.map(|(key, _)| (*key, None))).collect()
    }

    /// Writes a site so that it can be read again; what it has by default is left out.
    pub fn of(site: &Site) -> String {
        let mut text = site.subnet.to_string();
        if let Some(interface) = &site.interface {
            text += &format!("@{interface}");
        }
        let mut put = |key: &str, value: String| text += &format!(" {key}={value}");
        match site.nat {
            Nat::Auto => {}
            Nat::Masquerade => put("nat", "masquerade".into()),
            Nat::None => put("nat", "none".into()),
        }
        for (key, is_set) in [("gateway", site.gateway), ("egress", site.egress)] {
            if is_set {
                put(key, "true".into());
            }
        }
        if let Some(address) = site.address {
            put("address", address.to_string());
        }
        if let Some(preference) = site.preference {
            put("preference", preference.to_string());
        }
        if let Some(alias) = site.alias {
            put("alias", alias.to_string());
        }
        text
    }

    /// Returns the site that this makes where there was none.
    ///
    /// # Errors
    /// A value is none of its key.
    pub fn site(&self) -> Result<Site, NoSite> {
        let mut site = Site::new(self.subnet);
        for (key, value) in &self.keys {
            let wrong = |what: &str| NoSite {
                message: format!("{key} of site {}: {}", self.subnet, shown(value.as_ref(), what)),
                hint: EXAMPLE.into(),
            };
            match (*key, value) {
                ("interface", Some(Setting::Text(name))) => {
                    site.interface = Some(match name.strip_prefix("docker:") {
                        Some(network) => SiteInterface::Docker(network.into()),
                        None => SiteInterface::Link(name.clone()),
                    });
                }
                ("nat", Some(Setting::Text(word))) => {
                    site.nat = match word.as_str() {
                        "auto" => Nat::Auto,
                        "masquerade" => Nat::Masquerade,
                        "none" => Nat::None,
                        _ => return Err(wrong("none of auto, masquerade, none")),
                    }
                }
                ("address", Some(Setting::Text(text))) => {
                    site.address = Some(text.parse::<IpAddr>().map_err(|_| wrong("no address"))?);
                }
                ("alias", Some(Setting::Text(text))) => {
                    site.alias = Some(text.parse::<IpNet>().map_err(|_| wrong("no prefix"))?);
                }
                ("preference", Some(Setting::Number(n))) => {
                    site.preference = Some(u32::try_from(*n).map_err(|_| wrong("too large"))?);
                }
                ("gateway", Some(Setting::Flag(flag))) => site.gateway = *flag,
                ("egress", Some(Setting::Flag(flag))) => site.egress = *flag,
                _ => {}
            }
        }
        Ok(site)
    }
}

fn shown(value: Option<&Setting>, what: &str) -> String {
    match value {
        Some(Setting::Text(text)) => format!("{text:?} is {what}"),
        Some(Setting::Number(n)) => format!("{n} is {what}"),
        _ => format!("it is {what}"),
    }
}

fn known(typed: &str) -> Result<(&'static str, Kind), NoSite> {
    KEYS.into_iter().find(|(key, _)| *key == typed).ok_or_else(|| {
        let names = KEYS.map(|(key, _)| key);
        NoSite {
            message: format!("a site has no key {typed:?}"),
            hint: nearest(typed, names).map_or_else(
                || format!("there are {}", names.join(", ")),
                |near| format!("did you mean {near}?"),
            ),
        }
    })
}

fn read(key: &str, kind: Kind, value: &str) -> Result<Option<Setting>, NoSite> {
    let no = |what: &str| NoSite {
        message: format!("{key} of a site is {what}, not {value:?}"),
        hint: format!("`{key}=` takes it out"),
    };
    Ok(Some(match kind {
        _ if value.is_empty() => return Ok(None),
        Kind::Text => Setting::Text(value.into()),
        Kind::Number => Setting::Number(value.parse::<u32>().map_err(|_| no("a number from 0"))?.into()),
        Kind::Flag => Setting::Flag(match value {
            "true" | "yes" | "on" => true,
            "false" | "no" | "off" => false,
            _ => return Err(no("true or false")),
        }),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_read_as_it_is_written() {
        for text in [
            "192.168.1.0/24",
            "192.168.1.0/24@eth1 nat=none gateway=true egress=true address=192.168.1.1 preference=2",
            "fd00:1::/64@docker:lan nat=masquerade alias=fd00:2::/64",
        ] {
            let [words] = SiteWords::read(&[text]).unwrap().try_into().unwrap();
            assert_eq!(SiteWords::of(&words.site().unwrap()), text);
            // A form splits at commas, a command line gives words of their own.
            let pieces: Vec<&str> = text.split(' ').collect();
            assert_eq!(SiteWords::read(&pieces).unwrap(), std::slice::from_ref(&words));
            assert_eq!(SiteWords::read(&[text.replace(' ', ",")]).unwrap(), [words]);
        }
        let two = SiteWords::read(&["10.1.0.0/24,alias=10.9.0.0/24,alias=,10.2.0.0/24"]).unwrap();
        assert_eq!(two[0].keys, [("alias", None)]);
        assert_eq!((two.len(), two[1].keys.len()), (2, 0));
    }

    #[test]
    fn what_is_none_is_told() {
        for (text, message) in [
            ("10.0.0.0", "site \"10.0.0.0\": \"10.0.0.0\" is no prefix"),
            ("alias=10.0.0.0/8", "\"alias=10.0.0.0/8\" is about no site: its subnet stands before it"),
            ("10.0.0.0/8 aliass=1", "a site has no key \"aliass\""),
            ("10.0.0.0/8 preference=-1", "preference of a site is a number from 0, not \"-1\""),
            ("10.0.0.0/8 gateway=2", "gateway of a site is true or false, not \"2\""),
        ] {
            assert_eq!(SiteWords::read(&[text]).unwrap_err().message, message);
        }
        let of = |text: &str| SiteWords::read(&[text]).unwrap()[0].site().unwrap_err().message;
        assert_eq!(of("10.0.0.0/8 alias=x"), "alias of site 10.0.0.0/8: \"x\" is no prefix");
        assert_eq!(of("10.0.0.0/8 nat=x"), "nat of site 10.0.0.0/8: \"x\" is none of auto, masquerade, none");
    }
}
