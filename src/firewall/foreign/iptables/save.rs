//! What `iptables-save` prints: tables, policies and rules; and what of it concerns us.

use std::collections::{BTreeMap, BTreeSet};

use super::input::input;
use crate::firewall::Family;
use crate::firewall::foreign::{
    Accept, ForeignChain, ForeignRule, Iptables, IptablesFacts, Says, parse_comment,
};

/// A rule as printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SavedRule {
    pub table: String,
    pub chain: String,
    /// Its words, without `-A CHAIN`.
    pub words: Vec<String>,
    /// Its text, without `-A CHAIN`: what `-D CHAIN` takes.
    pub text: String,
}

/// The output of one `iptables-save`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    /// Policies by table and base chain.
    pub policies: BTreeMap<(String, String), String>,
    /// Every chain, with its table.
    pub chains: BTreeSet<(String, String)>,
    pub rules: Vec<SavedRule>,
}

/// A rule with our tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tagged {
    /// `wgrelay:NETWORK`
    pub tag: String,
    pub rule: ForeignRule,
    /// Its text as printed, without `-A CHAIN`.
    pub text: String,
}

impl SavedRule {
    fn value_of(&self, flag: &str) -> Option<&str> {
        self.words.iter().position(|w| w == flag).and_then(|i| self.words.get(i + 1)).map(String::as_str)
    }
    pub(crate) fn target(&self) -> &str {
        self.value_of("-j").or_else(|| self.value_of("-g")).unwrap_or_default()
    }
    /// The words without the comment.
    pub(crate) fn plain_words(&self) -> Vec<&str> {
        let mut plain = Vec::new();
        let mut rest = self.words.as_slice();
        while let [first, tail @ ..] = rest {
            rest = match (first.as_str(), tail) {
                ("-m", [module, tail @ ..]) if module == "comment" => tail,
                ("--comment", [_, tail @ ..]) => tail,
                (word, tail) => {
                    plain.push(word);
                    tail
                }
            };
        }
        plain
    }
    /// Says whether it is about every packet.
    fn is_unconditional(&self) -> bool {
        matches!(self.plain_words().as_slice(), ["-j" | "-g", _] | ["-j", "REJECT", "--reject-with", _])
    }
    fn is_in(&self, table: &str, chain: &str) -> bool {
        self.table == table && self.chain == chain
    }
    pub(crate) fn is_ours(&self) -> bool {
        self.value_of("--comment").and_then(parse_comment).is_some()
    }
}

/// Reads the output. Lines that are none of its own are passed over.
pub(crate) fn parse(text: &str) -> Saved {
    let mut saved = Saved::default();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim().to_string();
        } else if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split(' ');
            if let (Some(name), Some(policy)) = (words.next(), words.next()) {
                saved.chains.insert((table.clone(), name.into()));
                if policy != "-" {
                    saved.policies.insert((table.clone(), name.into()), policy.into());
                }
            }
        } else if let Some((chain, text)) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(' ')) {
            let (table, chain, text) = (table.clone(), chain.to_string(), text.trim().to_string());
            saved.rules.push(SavedRule { table, chain, words: words(&text), text });
        }
    }
    saved
}

/// Splits a rule at its spaces, as iptables quotes them.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut escaped, mut some) =
        (Vec::new(), String::new(), false, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => {
                word.push(c);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => {
                quoted = !quoted;
                some = true;
            }
            ' ' if !quoted => {
                if some {
                    words.push(std::mem::take(&mut word));
                }
                some = false;
            }
            _ => {
                word.push(c);
                some = true;
            }
        }
    }
    if some {
        words.push(word);
    }
    words
}

impl Saved {
    /// Returns what decides about our packets.
    pub(crate) fn facts(&self, iptables: Iptables, family: Family) -> IptablesFacts {
        let policy = |table: &str, chain: &str| self.policies.get(&(table.into(), chain.into()));
        let foreign = |table: &'static str, chain: &'static str| {
            self.rules.iter().filter(move |r| r.is_in(table, chain) && !r.is_ours())
        };
        let ends = |r: &SavedRule| r.is_unconditional() && matches!(r.target(), "DROP" | "REJECT");
        let guards = foreign("raw", "PREROUTING").filter(|r| r.target() == "DROP");
        let guarded = guards.filter_map(|r| {
            let not = r.words.windows(3).find(|w| w[0] == "!" && w[1] == "-i")?;
            Some(not[2].clone())
        });
        let raw_made = self.rules.iter().filter(|r| r.is_in("raw", "PREROUTING"));
        let raw_made = raw_made.filter_map(|r| parse_comment(r.value_of("--comment")?)).any(|(_, made)| made);
        IptablesFacts {
            iptables,
            family,
            forward_drops: policy("filter", "FORWARD").is_some_and(|p| p == "DROP")
                || foreign("filter", "FORWARD").any(ends),
            docker_user: foreign("filter", "FORWARD")
                .any(|r| r.is_unconditional() && r.target() == "DOCKER-USER"),
            raw_prerouting: policy("raw", "PREROUTING").is_some(),
            raw_made,
            raw_guarded: guarded.collect::<BTreeSet<String>>(),
            ufw: foreign("filter", "FORWARD").any(|r| r.target().starts_with("ufw-"))
                || foreign("filter", "FORWARD").any(|r| r.target().starts_with("ufw6-")),
            forward: super::forward::forward(self),
            input: input(self),
        }
    }

    /// Returns the rules with a tag of ours.
    pub(crate) fn tagged(&self, iptables: Iptables, family: Family) -> Vec<Tagged> {
        let mut decided = BTreeSet::new();
        let mut tagged = Vec::new();
        for rule in &self.rules {
            let place = (rule.table.as_str(), rule.chain.as_str());
            let Some((tag, made_chain)) = rule.value_of("--comment").and_then(parse_comment) else {
                let target = rule.target();
                let ends = rule.is_unconditional() && matches!(target, "DROP" | "REJECT" | "RETURN");
                if ends || (rule.is_in("raw", "PREROUTING") && target == "DROP") {
                    decided.insert(place);
                }
                continue;
            };
            let plain = rule.plain_words();
            let says = Accept::parse(&plain).map_or_else(|| Says::Other(plain.join(" ")), Says::Accept);
            let chain = ForeignChain::of(&rule.table, &rule.chain);
            let shadowed = decided.contains(&place);
            let is = ForeignRule { iptables, family, chain, says, made_chain, shadowed };
            tagged.push(Tagged { tag: tag.into(), rule: is, text: rule.text.clone() });
        }
        tagged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Docker Engine 28.5 with one container, as iptables-nft 1.8.9 prints it.
    const DOCKER: &str = r#"# Generated by iptables-save v1.8.9 (nf_tables)
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -d 172.19.0.0/16 -i wg0 -m comment --comment "wgrelay:wg0 made-chain" -j ACCEPT
-A PREROUTING -d 172.19.0.2/32 ! -i br-6a7541fe74a1 -j DROP
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [3:252]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER ! -i br-6a7541fe74a1 -o br-6a7541fe74a1 -j DROP
-A DOCKER-USER -s 192.168.3.0/24 -i wg0 -o wg0 -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment "wgrelay:wg0" -j ACCEPT
-A DOCKER-USER -i wg1 -m comment --comment wgrelay:wg1 -j DROP
-A DOCKER-USER -m comment --comment "not \"ours\"" -j RETURN
-A DOCKER-USER -i wg0 -o br-6a7541fe74a1 -m comment --comment "wgrelay:wg0" -j ACCEPT
COMMIT
"#;

    #[test]
    fn docker_28_is_read() {
        let saved = parse(DOCKER);
        let facts = saved.facts(Iptables::Nft, Family::V4);
        assert!(
            facts.forward_drops && facts.docker_user && facts.raw_prerouting && facts.raw_made && !facts.ufw
        );
        assert_eq!(facts.raw_guarded, BTreeSet::from(["br-6a7541fe74a1".to_string()]));
    }

    #[test]
    fn rules_of_ours_are_found_by_their_tag() {
        let tagged = parse(DOCKER).tagged(Iptables::Nft, Family::V4);
        let lines: Vec<String> =
            tagged.iter().map(|t| format!("{} {}: {}", t.tag, t.rule.chain.chain(), t.rule.text())).collect();
        assert_eq!(
            lines,
            [
                "wgrelay:wg0 PREROUTING: -d 172.19.0.0/16 -i wg0 -j ACCEPT",
                "wgrelay:wg0 DOCKER-USER: -s 192.168.3.0/24 -i wg0 -o wg0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                "wgrelay:wg1 DOCKER-USER: -i wg1 -j DROP",
                "wgrelay:wg0 DOCKER-USER: -i wg0 -o br-6a7541fe74a1 -j ACCEPT (below a rule that decides first)",
            ]
        );
        assert!(tagged[0].rule.made_chain && !tagged[0].rule.shadowed);
        assert!(matches!(tagged[2].rule.says, Says::Other(_)));
    }

    #[test]
    fn a_host_without_docker() {
        let open = parse("*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n").facts(Iptables::Legacy, Family::V6);
        assert_eq!(open, IptablesFacts::open(Iptables::Legacy, Family::V6));
        let last = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j REJECT --reject-with icmp-host-prohibited\nCOMMIT\n";
        assert!(parse(last).facts(Iptables::Legacy, Family::V4).forward_drops);
        let some = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i eth0 -j DROP\nCOMMIT\n";
        assert!(!parse(some).facts(Iptables::Legacy, Family::V4).forward_drops);
        // DOCKER-USER that nothing leads to is no place for a rule.
        let stale = "*filter\n:FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\nCOMMIT\n";
        assert!(!parse(stale).facts(Iptables::Legacy, Family::V4).docker_user);
    }
}
