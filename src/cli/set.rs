//! `set`: one key of a node, or of the network.

use super::args::Set;
use super::context::Context;
use super::edit::edit;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use crate::app::{find_node, set_sites, unset_site};
use crate::config::Setting;
use crate::model::{Network, nearest, quoted};

/// How a key's value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Flag,
    /// Or this word.
    FlagOr(&'static str),
    List,
    /// `split`, `full`, or a list of prefixes.
    Routes,
    /// A subnet, and keys of the site.
    Site,
    /// Not by `set`: what does it, with NAME and VALUE for what was typed.
    Elsewhere(&'static str),
}

/// The word that stands for the network as a whole; no node is called so where this is used.
const NETWORK: &str = "network";

const NODE_KEYS: &[(&str, Kind)] = &[
    ("address", Kind::Text),
    ("address6", Kind::Text),
    ("bridge", Kind::Elsewhere("edit [[node.NAME.bridge]] in the file")),
    ("dns", Kind::List),
    ("groups", Kind::List),
    ("egress", Kind::FlagOr("all")),
    ("enabled", Kind::Flag),
    ("endpoint", Kind::Text),
    ("endpoint_of", Kind::Elsewhere("write endpoint_of.RELAY = \"HOST:PORT\" under [node.NAME] in the file")),
    ("except", Kind::List),
    ("expires", Kind::Text),
    ("floating", Kind::Text),
    ("fwmark", Kind::Number),
    ("history", Kind::Flag),
    ("hosts", Kind::List),
    ("keepalive", Kind::Number),
    ("listen_port", Kind::Number),
    ("local", Kind::List),
    ("mtu", Kind::Number),
    ("name", Kind::Elsewhere("`wgrelay rename NAME VALUE` gives a node another name")),
    ("platform", Kind::Text),
    (
        "public_key",
        Kind::Elsewhere("`wgrelay rotate NAME --public-key VALUE` changes it, with what hangs on it"),
    ),
    ("relays", Kind::List),
    ("role", Kind::Text),
    ("routes", Kind::Routes),
    ("sealing_key", Kind::Text),
    ("signing_key", Kind::Elsewhere("`wgrelay cluster join` on that relay makes it")),
    ("site", Kind::Site),
    ("via", Kind::Text),
];

const NETWORK_KEYS: &[(&str, Kind)] = &[
    ("failover", Kind::Flag),
    ("keepalive", Kind::Number),
    ("mtu", Kind::Number),
    ("name", Kind::Elsewhere("`wgrelay down`, then rename its folder and correct `name` in the file")),
    ("preshared_keys", Kind::Flag),
    ("subnet", Kind::Text),
    ("subnet6", Kind::Text),
];

/// Sets a key, or takes it out.
pub fn set(ctx: &Context, args: &Set) -> Result<Exit, Fault> {
    edit(ctx, args.up, |loaded, document, _| {
        let of_network = is_network(&loaded.network, args);
        if !of_network {
            let node = find_node(&loaded.network, &args.name)?;
            if node.is_relay() && args.key == "keepalive" && !args.unset {
                return Err(Fault::usage(
                    format!(
                        "keepalive of {}, a relay, does nothing: spokes keep their sessions open",
                        node.name
                    ),
                    "`wgrelay set SPOKE keepalive SECONDS`, or `wgrelay set network keepalive SECONDS` for all of them",
                ));
            }
        }
        let keys = if of_network { NETWORK_KEYS } else { NODE_KEYS };
        let (key, kind) =
            *keys.iter().find(|(key, _)| *key == args.key).ok_or_else(|| unknown(keys, &args.key))?;
        if let Kind::Elsewhere(how) = kind {
            let value = args.value.first().map_or_else(|| "VALUE".into(), |value| quoted(value));
            let how = how.replace("NAME", args.name.as_str()).replace("VALUE", &value);
            return Err(Fault::usage(format!("{key} is not for `set`"), how));
        }
        let verb = ctx.out.paint(Role::Good, if args.unset { "unset" } else { "set" });
        if kind == Kind::Site {
            let edit = if args.unset { unset_site } else { set_sites };
            return Ok(format!("{verb} {}", edit(loaded, document, &args.name, &args.value)?));
        }
        if args.unset && !args.value.is_empty() {
            return Err(Fault::usage(
                format!("--unset takes {key} out, and a value was given as well"),
                "give one of the two",
            ));
        }
        let value = if args.unset { None } else { Some(setting(key, kind, &args.value)?) };
        let done = if of_network {
            document.set_network_value(key, value.as_ref())
        } else {
            document.set_value(&args.name, key, value.as_ref())
        };
        done?;
        let to = if args.unset { String::new() } else { format!(" to {}", args.value.join(", ")) };
        Ok(format!("{verb} {key} of {}{to}", args.name))
    })
}

fn is_network(network: &Network, args: &Set) -> bool {
    args.name.as_str() == NETWORK && !network.nodes.contains_key(&args.name)
}

fn unknown(keys: &[(&str, Kind)], typed: &str) -> Fault {
    let names: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
    let hint = nearest(typed, names.iter().copied())
        .map_or_else(|| format!("there are {}", names.join(", ")), |n| format!("did you mean {n}?"));
    Fault::usage(format!("there is no key {typed:?}"), hint)
}

fn setting(key: &str, kind: Kind, values: &[String]) -> Result<Setting, Fault> {
    let one = || match values {
        [only] => Ok(only.as_str()),
        _ => Err(Fault::usage(format!("{key} takes one value"), "only lists take more: dns, local, routes")),
    };
    let list = || values.iter().flat_map(|v| v.split(',')).map(|v| v.trim().to_string()).collect();
    Ok(match kind {
        Kind::Number => Setting::Number(one()?.parse().map_err(|_| {
            Fault::usage(
                format!("{key} is a number, not {:?}", values.join(" ")),
                format!("such as: {key} 25"),
            )
        })?),
        Kind::FlagOr(word) if values == [word] => Setting::Text(word.into()),
        Kind::Flag | Kind::FlagOr(_) => Setting::Flag(match one()? {
            "true" | "yes" | "on" => true,
            "false" | "no" | "off" => false,
            other => {
                return Err(Fault::usage(
                    format!("{key} is true or false, not {other:?}"),
                    format!("such as: {key} true"),
                ));
            }
        }),
        Kind::List => Setting::List(list()),
        Kind::Routes => match values {
            [word] if !word.contains('/') => Setting::Text(word.clone()),
            _ => Setting::List(list()),
        },
        Kind::Text | Kind::Site | Kind::Elsewhere(_) => Setting::Text(one()?.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Kind, values: &[&str]) -> Option<Setting> {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        setting("key", kind, &values).ok()
    }

    #[test]
    fn values_are_read_by_their_key() {
        assert_eq!(read(Kind::Number, &["25"]), Some(Setting::Number(25)));
        assert_eq!(read(Kind::Number, &["soon"]), None);
        assert_eq!(read(Kind::Flag, &["off"]), Some(Setting::Flag(false)));
        assert_eq!(read(Kind::Flag, &["maybe"]), None);
        assert_eq!(read(Kind::Text, &["a", "b"]), None);
        let both = Setting::List(vec!["9.9.9.9".into(), "1.1.1.1".into()]);
        assert_eq!(read(Kind::List, &["9.9.9.9,1.1.1.1"]), Some(both.clone()));
        assert_eq!(read(Kind::List, &["9.9.9.9", "1.1.1.1"]), Some(both));
        assert_eq!(read(Kind::Routes, &["full"]), Some(Setting::Text("full".into())));
        assert_eq!(read(Kind::Routes, &["10.0.0.0/8"]), Some(Setting::List(vec!["10.0.0.0/8".into()])));
    }

    #[test]
    fn a_misspelt_key_is_told() {
        assert_eq!(unknown(NODE_KEYS, "keepalife").hint, "did you mean keepalive?");
        assert!(unknown(NODE_KEYS, "colour").hint.starts_with("there are address,"));
    }
}
