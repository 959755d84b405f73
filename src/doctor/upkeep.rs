//! What a network that should be up lacks: its interface, its nft table, its agent, the record of what was applied.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Finding;
use crate::model::{Network, quoted};
use crate::plan::{Backend, Facts, ifalias, table_name};

/// What there is of a network on its host, besides what the kernel lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Upkeep {
    /// Whether the last `up` or `down` was an `up`.
    pub was_up: bool,
    /// The data plane in the record of what was applied; `None`: there is no record.
    pub record: Option<Backend>,
    /// The folder that the network was brought up from, where that is another one.
    pub elsewhere: Option<PathBuf>,
    /// The tables of nftables with a mark of ours; `None`: they cannot be read.
    pub tables: Option<BTreeSet<String>>,
    /// Whether an agent lives, and answers.
    pub agent: bool,
    /// Whether systemd is to run the agent.
    pub unit: bool,
}

/// Tells what is missing; `filters`: whether the network needs a table.
pub(super) fn findings(there: &Upkeep, network: &Network, facts: &Facts, filters: bool) -> Vec<Finding> {
    let name = &network.name;
    if let Some(dir) = &there.elsewhere {
        let why =
            format!("{name} is up from another folder, {}: this one is not what is applied", dir.display());
        let dir = quoted(&dir.display().to_string());
        let fix = format!("`wgrelay --dir {dir} --network {name} doctor` tells of that one");
        return vec![Finding::error("up-elsewhere", why, fix)];
    }
    let link = facts.links.get(name.as_str()).filter(|l| l.alias == ifalias(name));
    let Some(link) = link else {
        if !there.was_up && there.record.is_none() {
            return vec![Finding::ok(
                "down",
                format!("{name} is down: it was not brought up, or was taken down"),
            )];
        }
        let agent =
            if there.record == Some(Backend::Embedded) && !there.agent { ", and its agent" } else { "" };
        let why = format!("{name} should be up, and its interface{agent} is gone");
        return vec![Finding::error("interface-gone", why, "`wgrelay up` brings it back")];
    };
    let embedded = link.kind != "wireguard";
    let mut found = Vec::new();
    if !link.up {
        let why = format!("the interface {name} is there, and was set down");
        found.push(Finding::error("interface-down", why, "`wgrelay up` sets it up"));
    }
    if there.record.is_none() {
        let why = format!(
            "the interface {name} stands, and the record of what was applied is missing: nothing holds it to that"
        );
        found.push(Finding::warning("no-record", why, "`wgrelay up` writes it anew"));
    }
    let table = table_name(name);
    if filters && there.tables.as_ref().is_some_and(|tables| !tables.contains(&table)) {
        let why =
            format!("{name} is up, and its nft table {table} is missing: its rules and masquerades are gone");
        found.push(Finding::error("table-missing", why, "`wgrelay up` loads it again"));
    }
    if embedded && !there.agent {
        let why = format!("the agent of {name} does not answer, and it carries the packets");
        found.push(Finding::error(
            "agent-missing",
            why,
            "`wgrelay up` ends it, with its sessions, and starts another",
        ));
    } else if there.unit && !there.agent {
        let why = format!("systemd is to run the agent of {name}, and it does not run: what drifts stays so");
        found.push(Finding::warning("agent-missing", why, format!("`systemctl start wgrelay@{name}`")));
    }
    if found.is_empty() {
        let agent = if there.agent { ", and its agent holds it so" } else { "" };
        found.push(Finding::ok("up", format!("{name} is up{agent}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::fixture::relay_alone;
    use crate::plan::Link;

    fn codes(there: &Upkeep, kind: Option<&str>) -> Vec<String> {
        let (network, _) = relay_alone();
        let link = kind.map(|kind| Link {
            kind: kind.into(),
            alias: ifalias(&network.name),
            up: true,
            ..Link::default()
        });
        let facts =
            Facts { links: link.map(|l| ("wg0".into(), l)).into_iter().collect(), ..Facts::default() };
        findings(there, &network, &facts, true).into_iter().map(|f| f.code).collect()
    }

    #[test]
    fn what_should_be_there_and_is_not() {
        let up = Upkeep {
            was_up: true,
            record: Some(Backend::Kernel),
            tables: Some(["wgrelay-wg0".into()].into()),
            ..Upkeep::default()
        };
        let (kernel, embedded) = (Some("wireguard"), Some("tun"));
        assert_eq!(codes(&up, kernel), ["up"]);
        assert_eq!(codes(&up, None), ["interface-gone"]);
        assert_eq!(codes(&Upkeep::default(), None), ["down"]);
        assert_eq!(codes(&up, embedded), ["agent-missing"]);
        assert_eq!(codes(&Upkeep { agent: true, ..up.clone() }, embedded), ["up"]);
        assert_eq!(codes(&Upkeep { unit: true, ..up.clone() }, kernel), ["agent-missing"]);
        assert_eq!(codes(&Upkeep { record: None, ..up.clone() }, kernel), ["no-record"]);
        assert_eq!(codes(&Upkeep { tables: Some([].into()), ..up.clone() }, kernel), ["table-missing"]);
        assert_eq!(
            codes(&Upkeep { tables: None, ..up.clone() }, kernel),
            ["up"],
            "not readable is not missing"
        );
        assert_eq!(codes(&Upkeep { elsewhere: Some("/srv".into()), ..up }, kernel), ["up-elsewhere"]);
    }
}
