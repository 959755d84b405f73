//! iptables' programs: what they keep, and our rules put into it and taken out again.
//!
//! Legacy and nft are asked apart, because a host may have rules in both, and only where there are tables:
//! asking iptables-legacy for a table would make it.

mod extent;

pub use extent::legacy_extent;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use crate::firewall::foreign::iptables::forward::{dnat, of_base};
use crate::firewall::foreign::iptables::save::{self, Saved, Tagged};

use super::program;
use crate::firewall::Family;
use crate::firewall::foreign::{ForeignRule, Iptables, IptablesFacts, LocalFilter};
use crate::host::HostError;
use crate::model::InterfaceName;

/// Seconds that iptables waits for another one to finish: less than it may take in all.
const LOCK_WAIT: &str = "3";

/// What one iptables keeps.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    iptables: Iptables,
    family: Family,
    saved: Saved,
}

impl Kept {
    /// Reads all tables of one iptables.
    pub(super) fn read(iptables: Iptables, family: Family) -> Result<Self, HostError> {
        let output = call(iptables, family, "-save", &[], None)?;
        Ok(Self { iptables, family, saved: save::parse(&output) })
    }
    /// Returns what decides about our packets.
    pub(super) fn facts(&self) -> IptablesFacts {
        self.saved.facts(self.iptables, self.family)
    }
    /// Returns what the filter's INPUT or OUTPUT makes of what is for this host, or from it; `None`: it lets all through.
    pub(super) fn local(&self, base: &str) -> Option<LocalFilter> {
        let rules = of_base(&self.saved, base);
        let place = format!("{} filter", self.iptables.program(self.family));
        (!rules.is_open()).then_some(LocalFilter { place, family: Some(self.family), rules })
    }
    /// Returns what sends on what is for this host; `None`: nothing does.
    pub(super) fn dnat(&self) -> Option<LocalFilter> {
        let rules = dnat(&self.saved);
        let place = format!("{} nat", self.iptables.program(self.family));
        rules.leads_on().then_some(LocalFilter { place, family: Some(self.family), rules })
    }
    /// Returns our rules of one network.
    pub(super) fn rules(&self, network: &InterfaceName) -> impl Iterator<Item = ForeignRule> {
        let tag = crate::plan::ifalias(network);
        self.saved
            .tagged(self.iptables, self.family)
            .into_iter()
            .filter(move |t| t.tag == tag)
            .map(|t| t.rule)
    }
    fn tagged(&self, tag: &str) -> impl Iterator<Item = Tagged> {
        self.saved.tagged(self.iptables, self.family).into_iter().filter(move |t| t.tag == tag)
    }
}

/// Returns the families that iptables-legacy has tables for in this network namespace.
pub(super) fn legacy_families() -> Vec<Family> {
    Family::BOTH.into_iter().filter(|family| !legacy_tables(*family).is_empty()).collect()
}

/// Returns the tables of iptables-legacy that packets of ours meet, as far as this network namespace has them.
fn legacy_tables(family: Family) -> Vec<String> {
    let path = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    let names = std::fs::read_to_string(path).unwrap_or_default();
    names.lines().filter(|n| matches!(*n, "filter" | "raw" | "nat")).map(str::to_owned).collect()
}

/// Puts rules at the top of their chains: one transaction for each iptables, family and table.
pub(super) fn insert(network: &InterfaceName, rules: &[&ForeignRule]) -> Result<(), HostError> {
    for ((iptables, family), rules) in by_program(rules) {
        let mut tables: BTreeMap<&str, String> = BTreeMap::new();
        for rule in rules {
            let chain = rule.chain.chain();
            let text = tables.entry(rule.chain.table()).or_default();
            // The target comes last in a rule, the comment before it, as in iptables' own order.
            let (matches, target) = rule_parts(rule);
            let comment = rule.comment(network);
            let _ = writeln!(text, "-I {chain} 1 {matches}-m comment --comment \"{comment}\" -j {target}");
        }
        restore(iptables, family, &tables)?;
    }
    Ok(())
}

/// Takes rules out, every copy of each; those that are gone already are no error.
pub(super) fn remove(network: &InterfaceName, rules: &[&ForeignRule]) -> Result<(), HostError> {
    for ((iptables, family), rules) in by_program(rules) {
        let kept = Kept::read(iptables, family)?;
        let tag = crate::plan::ifalias(network);
        let mut tables: BTreeMap<&str, String> = BTreeMap::new();
        let ours: Vec<Tagged> = kept.tagged(&tag).filter(|t| rules.contains(&&t.rule)).collect();
        for found in &ours {
            let text = tables.entry(found.rule.chain.table()).or_default();
            let _ = writeln!(text, "-D {} {}", found.rule.chain.chain(), found.text);
        }
        if !tables.is_empty() {
            restore(iptables, family, &tables)?;
        }
        if iptables == Iptables::Nft {
            for found in ours.iter().filter(|t| t.rule.made_chain) {
                super::nft::delete_if_empty(family, found.rule.chain.table(), found.rule.chain.chain())?;
            }
        }
    }
    Ok(())
}

fn rule_parts(rule: &ForeignRule) -> (String, String) {
    let text = match &rule.says {
        crate::firewall::foreign::Says::Accept(accept) => accept.to_string(),
        crate::firewall::foreign::Says::Other(text) => text.clone(),
    };
    match text.rsplit_once("-j ") {
        Some((matches, target)) => (matches.to_string(), target.to_string()),
        None => (String::new(), text),
    }
}

fn by_program<'a>(rules: &[&'a ForeignRule]) -> BTreeMap<(Iptables, Family), Vec<&'a ForeignRule>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for rule in rules {
        groups.entry((rule.iptables, rule.family)).or_default().push(*rule);
    }
    groups
}

fn restore(iptables: Iptables, family: Family, tables: &BTreeMap<&str, String>) -> Result<(), HostError> {
    let mut input = String::new();
    for (table, lines) in tables {
        let _ = write!(input, "*{table}\n{lines}COMMIT\n");
    }
    call(iptables, family, "-restore", &["--noflush", "-w", LOCK_WAIT], Some(input.as_bytes())).map(drop)
}

/// Runs `iptables-legacy-save` and the like; where a host has no program of that name, plain iptables if it is that one.
fn call(
    iptables: Iptables,
    family: Family,
    suffix: &str,
    args: &[&str],
    input: Option<&[u8]>,
) -> Result<String, HostError> {
    let name = format!("{}{suffix}", iptables.program(family));
    let failed = |cause: String| HostError::new("run", &name, cause);
    let output = match program::run(&name, args, input) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let plain = format!("{}{suffix}", if family == Family::V4 { "iptables" } else { "ip6tables" });
            let version = program::run(&plain, &["-V"], None).map_err(|e| missing(&name, &e))?;
            let is_nft = String::from_utf8_lossy(&version.stdout).contains("nf_tables");
            if is_nft != (iptables == Iptables::Nft) {
                return Err(missing(&name, &error));
            }
            program::run(&plain, args, input)
        }
        other => other,
    };
    let output = output.map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let line = words.lines().find(|l| !l.trim().is_empty()).unwrap_or_default();
    let hint = if words.contains("Permission denied") { "run as root" } else { "" };
    let cause = if line.is_empty() { format!("it ended with {}", output.status) } else { line.to_string() };
    Err(failed(cause).hint(hint))
}

fn missing(name: &str, error: &io::Error) -> HostError {
    HostError::new("run", name, error)
        .hint("its tables decide about forwarded packets here: install it (`apt-get install iptables`)")
}
