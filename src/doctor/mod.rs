//! From a recorded host to findings: what is as it should be, what is not, and what to do about it.

mod addresses;
mod data_plane;
mod filters;
pub mod kernel;
mod observed;
mod upkeep;

use serde::{Deserialize, Serialize};

pub use observed::observed;
pub use upkeep::Upkeep;

use crate::firewall::foreign::Iptables;
use crate::model::{Network, Node, Problem, Timestamp};
use crate::plan::{Backend, Facts, Keys, preflight, wanted};

/// A host as examined. Everything is a fact; what it means is [`findings`]' work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Whether root examined it: others cannot read packet filters.
    pub root: bool,
    /// Whether a WireGuard interface of the kernel can be made.
    pub kernel_wireguard: bool,
    /// Whether `/dev/net/tun` can be opened.
    pub tun: bool,
    /// What `nft --version` says; `None`: there is no nft.
    pub nft: Option<String>,
    /// Which one `iptables` is; `None`: there is no iptables.
    pub iptables: Option<Iptables>,
    /// What there is of the network that this host is asked about; `None`: of none.
    pub upkeep: Option<Upkeep>,
    /// What else there is.
    pub facts: Facts,
}

/// How good a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be, or taken care of.
    Ok,
    /// Something will be missing.
    Warning,
    /// wgrelay cannot work so.
    Error,
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A short name that programs can rely on.
    pub code: String,
    /// How good it is.
    pub verdict: Verdict,
    /// One sentence.
    pub message: String,
    /// What to do; empty where nothing is to be done.
    pub fix: String,
}

impl Finding {
    fn new(verdict: Verdict, code: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code: code.into(), verdict, message: message.into(), fix: fix.into() }
    }
    fn ok(code: &str, message: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, code, message, "")
    }
    fn warning(code: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(Verdict::Warning, code, message, fix)
    }
    fn error(code: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(Verdict::Error, code, message, fix)
    }
}

impl From<Problem> for Finding {
    fn from(problem: Problem) -> Self {
        let verdict = if problem.is_error() { Verdict::Error } else { Verdict::Warning };
        Self::new(verdict, &problem.code, problem.message, problem.hint)
    }
}

/// Tells what is found on a host, and with it what the host makes of a network, as a node of it.
pub fn findings(record: &Record, member: Option<(&Network, &Node)>, now: Timestamp) -> Vec<Finding> {
    let mut found = data_plane::findings(record);
    found.extend(filters::findings(record));
    found.extend(addresses::findings(record, member.map(|(network, _)| network)));
    if let Some((network, node)) = member {
        let wanted = wanted(network, node, &Keys::default(), Backend::Embedded, &record.facts, now);
        if let Some(there) = &record.upkeep {
            found.extend(upkeep::findings(there, network, &record.facts, wanted.state.firewall.is_some()));
        }
        found.extend(wanted.problems.into_iter().map(Finding::from));
        let refused = preflight(network, node, &record.facts).into_iter().map(Finding::from);
        found.extend(refused.filter(|finding| !finding.code.starts_with("wsl")));
    }
    found
}

/// The answer in a line: the worst verdict, and what it says about a network, or about this host where there is none.
pub fn answer(findings: &[Finding], network: Option<&Network>) -> (Verdict, String) {
    let verdict = findings.iter().map(|f| f.verdict).max().unwrap_or(Verdict::Ok);
    let count = findings.iter().filter(|f| f.verdict == verdict).count();
    let things = |one: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") };
    let what = network.map_or_else(|| "wgrelay".into(), |n| n.name.to_string());
    let text = match verdict {
        Verdict::Ok => format!("{what}: nothing to put right was found"),
        Verdict::Warning => format!("{what}: {}", things("warning")),
        Verdict::Error => format!("{what} does not work here: {} to put right", things("error")),
    };
    (verdict, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_worst_of_it() {
        let (ok, warning) = (Finding::ok("a", "a"), Finding::warning("b", "b", ""));
        let error = Finding::error("c", "c", "");
        let text =
            |found: &[&Finding]| answer(&found.iter().map(|f| (*f).clone()).collect::<Vec<_>>(), None).1;
        assert_eq!(text(&[]), "wgrelay: nothing to put right was found");
        assert_eq!(text(&[&ok, &warning]), "wgrelay: 1 warning");
        assert_eq!(
            text(&[&warning, &error, &ok, &error]),
            "wgrelay does not work here: 2 errors to put right"
        );
    }
}
