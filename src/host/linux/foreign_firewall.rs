//! Reads the packet filters of others, and our rules in them. Little is run where there are none: one listing of
//! nftables' chains, which iptables-nft's show up in, and a look at which tables iptables-legacy has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::firewalld;
use super::iptables::{self, Kept};
use super::nft;
use crate::firewall::Family;
use crate::firewall::fingerprint::CHAIN;
use crate::firewall::foreign::docker::nftables_listing;
use crate::firewall::foreign::firewalld::FirewalldPolicy;
use crate::firewall::foreign::forward::ForwardChain;
use crate::firewall::foreign::nft as foreign_nft;
use crate::firewall::foreign::nft::ListedChain;
use crate::firewall::foreign::{
    FIREWALLD, ForeignFirewall, ForeignRule, Iptables, IptablesFacts, LocalFilter, NftForward, NftInput,
};
use crate::host::HostError;
use crate::model::InterfaceName;
use crate::plan::{DockerNftables, IFALIAS_PREFIX};

/// What was read.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    kept: Vec<Kept>,
    chains: Vec<ListedChain>,
    nft: Vec<NftForward>,
    nft_input: Vec<NftInput>,
    local: [Vec<LocalFilter>; 3],
    routing: [Vec<LocalFilter>; 2],
    docker_nft: Vec<DockerNftables>,
    firewalld: firewalld::Reading,
}

impl Reading {
    /// Reads all of it.
    pub(super) fn take() -> Result<Self, HostError> {
        let chains = nft::list_chains()?;
        let mut kept = Vec::new();
        for family in Family::BOTH {
            let is_iptables = |c: &&ListedChain| {
                c.family == family.nft()
                    && matches!(
                        (c.table.as_str(), c.name.as_str()),
                        ("filter", "FORWARD" | "INPUT" | "OUTPUT")
                            | ("raw", "PREROUTING" | "OUTPUT")
                            | ("nat", "PREROUTING")
                    )
            };
            if chains.iter().any(|c| is_iptables(&c)) {
                kept.push(Kept::read(Iptables::Nft, family)?);
            }
        }
        for family in iptables::legacy_families() {
            kept.push(Kept::read(Iptables::Legacy, family)?);
        }
        let mut nft = Vec::new();
        for chain in chains.iter().filter(|c| is_foreign_forward(c)) {
            let mut there = NftForward {
                family: chain.family.clone(),
                table: chain.table.clone(),
                chain: chain.name.clone(),
                drops: chain.policy == "drop",
                links: BTreeSet::new(),
                forward: None,
            };
            if !there.is_docker() && !there.is_firewalld() {
                // One that this nft cannot list was not read, and is said to be so.
                let text = nft::text_of(&there.family, &there.table).unwrap_or_default();
                if there.may_drop() {
                    there.links = foreign_nft::links_named_in(&text);
                }
                let read = || foreign_nft::forward::forward(&text, &there.chain);
                there.forward = (!text.is_empty()).then(read);
            } else if there.may_drop() && !there.is_docker() {
                there.links = foreign_nft::links_named_in(&nft::text_of(&there.family, &there.table)?);
            }
            nft.push(there);
        }
        let nft_input = inputs(&chains, nft::rules);
        let local = ["output", "input", "prerouting"].map(|hook| local_filters(&chains, &kept, hook));
        let routing = ["prerouting", "postrouting"]
            .map(|hook| nft_filters(&chains, hook, false, ForwardChain::may_drop));
        let mut docker_nft = Vec::new();
        for family in Family::BOTH {
            if nft.iter().any(|c| c.is_docker() && c.family == family.nft()) {
                let text = nft::text_of(family.nft(), nftables_listing::TABLE)?;
                docker_nft.push(nftables_listing::read(family, &text));
            }
        }
        let firewalld = firewalld::Reading::take(nft.iter().any(NftForward::is_firewalld));
        Ok(Self { kept, chains, nft, nft_input, local, routing, docker_nft, firewalld })
    }

    /// Returns what decides about our packets.
    pub(super) fn facts(&self) -> ForeignFirewall {
        let chain = |family: Family, table: &str, name: &str| {
            self.chains.iter().any(|c| c.family == family.nft() && c.table == table && c.name == name)
        };
        let facts = |kept: &Kept| {
            let facts = kept.facts();
            // iptables-nft prints every chain that a table could have, there or not.
            let is_there = facts.iptables == Iptables::Legacy || chain(facts.family, "raw", "PREROUTING");
            IptablesFacts { raw_prerouting: facts.raw_prerouting && is_there, ..facts }
        };
        ForeignFirewall {
            iptables: self.kept.iter().map(facts).collect(),
            nft: self.nft.clone(),
            nft_input: self.nft_input.clone(),
            local_output: self.local[0].clone(),
            local_input: self.local[1].clone(),
            prerouting: self.routing[0].clone(),
            postrouting: self.routing[1].clone(),
            dnat: self.local[2].clone(),
            docker_nft: self.docker_nft.clone(),
            firewalld: self.firewalld.facts.clone(),
            firewalld_asleep: self.firewalld.asleep.clone(),
            lookalikes: lookalikes(&self.chains),
            unread: None,
        }
    }

    /// Returns our policies in firewalld.
    pub(super) fn policies(&self, network: &InterfaceName) -> BTreeMap<String, FirewalldPolicy> {
        self.firewalld.policies(network)
    }

    /// Returns our rules.
    pub(super) fn rules(&self, network: &InterfaceName) -> BTreeSet<ForeignRule> {
        self.kept.iter().flat_map(|kept| kept.rules(network)).collect()
    }
}

/// Returns the tables with a name of ours that lack the chain with our mark.
fn lookalikes(chains: &[ListedChain]) -> BTreeSet<String> {
    let tables = |with: fn(&ListedChain) -> bool| {
        let inet = chains.iter().filter(|c| c.family == "inet").filter(move |c| with(c));
        inet.map(|c| c.table.clone()).collect::<BTreeSet<_>>()
    };
    let named = tables(|c| c.table.starts_with(&IFALIAS_PREFIX.replace(':', "-")));
    &named - &tables(|c| c.name == CHAIN)
}

fn is_foreign_forward(chain: &ListedChain) -> bool {
    let is_iptables = chain.table == "filter" && chain.name == "FORWARD" && chain.family != "inet";
    let is_ours = chain.table.starts_with(&IFALIAS_PREFIX.replace(':', "-"));
    chain.hook == "forward"
        && matches!(chain.family.as_str(), "ip" | "ip6" | "inet")
        && !is_iptables
        && !is_ours
}

fn is_foreign_input(chain: &ListedChain) -> bool {
    // iptables-nft's own, of any of its tables.
    let is_iptables = chain.name == "INPUT" && chain.family != "inet";
    let is_ours = chain.table.starts_with(&IFALIAS_PREFIX.replace(':', "-"));
    chain.hook == "input"
        && matches!(chain.family.as_str(), "ip" | "ip6" | "inet")
        && !is_iptables
        && !is_ours
        && chain.table != FIREWALLD
        && chain.table != nftables_listing::TABLE
}

/// Reads what others make of what this host itself sends, or gets, or is to send on.
fn local_filters(chains: &[ListedChain], kept: &[Kept], hook: &str) -> Vec<LocalFilter> {
    let base = hook.to_uppercase();
    let leads_on = hook == "prerouting";
    let of = |kept: &Kept| if leads_on { kept.dnat() } else { kept.local(&base) };
    let mut filters: Vec<LocalFilter> = kept.iter().filter_map(of).collect();
    let decides = |rules: &ForwardChain| if leads_on { rules.leads_on() } else { !rules.is_open() };
    filters.extend(nft_filters(chains, hook, leads_on, decides));
    filters
}

/// Reads those chains of nftables at a hook that decide; one that cannot be listed decides nothing. What Docker's own drop is asked
/// bridge by bridge.
fn nft_filters(
    chains: &[ListedChain],
    hook: &str,
    with_docker: bool,
    decides: impl Fn(&ForwardChain) -> bool,
) -> Vec<LocalFilter> {
    let base = hook.to_uppercase();
    let is_foreign = |c: &&ListedChain| {
        c.hook == hook
            && matches!(c.family.as_str(), "ip" | "ip6" | "inet")
            && !(c.name == base && c.family != "inet")
            && !c.table.starts_with(&IFALIAS_PREFIX.replace(':', "-"))
            && c.table != FIREWALLD
            && (c.table != nftables_listing::TABLE || with_docker)
    };
    let mut filters = Vec::new();
    for chain in chains.iter().filter(is_foreign) {
        let text = nft::text_of(&chain.family, &chain.table).unwrap_or_else(|error| {
            tracing::debug!("{error}");
            String::new()
        });
        let rules = foreign_nft::forward::forward(&text, &chain.name);
        if decides(&rules) {
            let family = Family::BOTH.into_iter().find(|f| f.nft() == chain.family);
            filters.push(LocalFilter {
                place: format!("nft {} {}", chain.family, chain.table),
                family,
                rules,
            });
        }
    }
    filters
}

/// Reads what others' chains make of the packets of each family that they see; nothing where they cannot be listed: a newer
/// nft's table that this nft does not write is told by nobody.
fn inputs(
    chains: &[ListedChain],
    mut list: impl FnMut(&str, Option<&str>) -> Result<Option<Value>, HostError>,
) -> Vec<NftInput> {
    let mut listings = BTreeMap::new();
    let mut inputs = Vec::new();
    for chain in chains.iter().filter(|c| is_foreign_input(c)) {
        // Docker's tables are what an older nft stumbles over.
        let is_docker = |c: &ListedChain| c.family == chain.family && c.table == nftables_listing::TABLE;
        let table = chains.iter().any(is_docker).then_some(chain.table.as_str());
        let listing = listings.entry((chain.family.as_str(), table)).or_insert_with(|| {
            list(&chain.family, table).unwrap_or_else(|error| {
                tracing::debug!("{error}");
                None
            })
        });
        let Some(listing) = &*listing else { continue };
        let families = Family::BOTH.into_iter().filter(|f| chain.family == "inet" || chain.family == f.nft());
        inputs.extend(families.map(|family| NftInput {
            table_family: chain.family.clone(),
            table: chain.table.clone(),
            chain: chain.name.clone(),
            family,
            input: foreign_nft::input::input(listing, chain, family),
        }));
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_or_a_table_is_listed_once() {
        let chain = |family: &str, table: &str, name: &str, hook: &str| ListedChain {
            family: family.into(),
            table: table.into(),
            name: name.into(),
            hook: hook.into(),
            policy: "drop".into(),
        };
        let docker = chain("ip", nftables_listing::TABLE, "filter-FORWARD", "forward");
        let chains = [
            chain("inet", "mine", "early", "input"),
            chain("inet", "mine", "late", "input"),
            chain("inet", "other", "in", "input"),
            chain("ip", "mine", "early", "input"),
            chain("ip", "mine", "late", "input"),
            chain("ip6", "mine", "out", "output"),
            docker,
        ];
        let mut asked = Vec::new();
        let inputs = inputs(&chains, |family, table| {
            asked.push((family.to_owned(), table.map(str::to_owned)));
            Ok(Some(serde_json::json!({"nftables": []})))
        });
        // Docker's, which nft may not be able to list, are left out.
        assert_eq!(asked, [("inet".to_owned(), None), ("ip".to_owned(), Some("mine".to_owned()))]);
        assert_eq!(inputs.len(), 3 * 2 + 2);
    }
}
