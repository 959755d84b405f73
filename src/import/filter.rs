//! What a command of iptables, nft, firewalld or ufw says about forwarding: a rule, as far as it matters here.

use std::net::IpAddr;

use ipnet::IpNet;

use super::command::{is_iptables, program};

/// For IPv4 and for IPv6.
const BOTH: [bool; 2] = [true, true];

/// A link in a rule, or any but that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub name: String,
    pub inverted: bool,
}

/// The sources of a rule as written, or any but those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct From {
    pub text: String,
    pub inverted: bool,
}

/// A rule of a packet filter, as far as it matters here.
#[derive(Debug, Default)]
pub(super) struct Filter {
    chain: String,
    /// In iptables' words.
    pub verdict: String,
    pub from: Option<Link>,
    pub out: Option<Link>,
    pub source: Option<From>,
    pub destination: Option<IpNet>,
    /// Whether it matches established flows alone.
    pub answers_only: bool,
    /// Whether it matches something else, too.
    other: bool,
    /// The protocol and the ports that it matches.
    protocol: Option<String>,
    ports: Option<String>,
    /// What it gives packets as another end.
    to: Option<String>,
    /// What it gives packets as another source.
    pub gives: Option<String>,
    /// Whether it is for IPv4, and for IPv6.
    pub families: [bool; 2],
}

impl Filter {
    /// Reads a command that adds a rule; `None`: it is none, or is not understood.
    pub(super) fn read(words: &[String]) -> Option<Self> {
        let (name, rest) = program(words);
        match name {
            "nft" if rest.join(" ").contains("policy drop") => {
                Some(Self { verdict: "DROP".into(), families: BOTH, ..Self::default() })
            }
            "nft" => Self::nft(rest),
            "firewall-cmd" if rest.iter().any(|w| w.contains("masquerade") && !w.starts_with("--remove")) => {
                Some(Self {
                    verdict: "MASQUERADE".into(),
                    source: source_of_rich_rule(rest),
                    families: families_of_firewalld(rest),
                    ..Self::default()
                })
            }
            "ufw" if rest.first().is_some_and(|w| w == "route") => Self::ufw(rest),
            _ if is_iptables(name) => {
                let ipv6 = name.starts_with("ip6");
                Some(Self { families: [!ipv6, ipv6], ..Self::iptables(rest)? })
            }
            _ => None,
        }
    }

    /// Whether it speaks of what is forwarded.
    pub(super) fn forwards(&self) -> bool {
        let chain = self.chain.to_ascii_lowercase();
        chain.contains("forward") || chain == "docker-user"
    }

    /// Whether it matches by more than links.
    pub(super) fn is_limited(&self) -> bool {
        self.source.is_some() || self.destination.is_some() || self.other
    }

    /// Whether it lets something into the host itself.
    pub(super) fn opens(&self) -> bool {
        self.chain.eq_ignore_ascii_case("input") && self.verdict == "ACCEPT"
    }

    /// Whether it matches by more than links, sources and destinations.
    pub(super) const fn matches_more(&self) -> bool {
        self.other
    }

    /// What it leads to another host, as `[[forward]]` has it: the ports, and where they go.
    pub(super) fn leads(&self) -> Option<(Vec<String>, &str)> {
        let (protocol, ports, to) = (self.protocol.as_ref()?, self.ports.as_ref()?, self.to.as_ref()?);
        let number = |text: &str| text.parse::<u16>().is_ok();
        let port = |text: &str| {
            let (first, last) = text.split_once([':', '-']).unwrap_or((text, text));
            (number(first) && number(last)).then(|| {
                if first == last {
                    format!("{protocol}/{first}")
                } else {
                    format!("{protocol}/{first}-{last}")
                }
            })
        };
        let ports: Vec<String> = ports.split(',').map(|text| port(text.trim())).collect::<Option<_>>()?;
        let is_address = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let has_port = to.rsplit_once(':').is_some_and(|(host, port)| is_address(host) && number(port));
        // A range of ports there begins where the range of those that are called does: the forward says so by naming none.
        let is_said = is_address(to) || (has_port && ports.len() == 1 && !ports[0].contains('-'));
        (self.verdict == "DNAT" && is_said).then_some((ports, to.as_str()))
    }

    fn iptables(words: &[String]) -> Option<Self> {
        let mut rule = Self::default();
        let mut words = words.iter().map(String::as_str).peekable();
        let (mut inverted, mut adds) = (false, false);
        while let Some(word) = words.next() {
            if word == "!" {
                inverted = true;
                continue;
            }
            // Both `! -o wg0` and the older `-o ! wg0`.
            if words.peek() == Some(&"!") && word.starts_with('-') {
                inverted = true;
                words.next();
            }
            let (word, joined) = match word.split_once('=') {
                Some((option, value)) if option.starts_with("--") => (option, Some(value)),
                _ => (word, None),
            };
            let mut value = || joined.or_else(|| words.next()).unwrap_or_default();
            let net = |text: &str| {
                text.parse::<IpNet>().ok().or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)))
            };
            match word {
                "-A" | "--append" | "-I" | "--insert" => {
                    rule.chain = value().to_owned();
                    adds = true;
                    if words.peek().is_some_and(|w| w.bytes().all(|b| b.is_ascii_digit())) {
                        words.next();
                    }
                }
                "-P" | "--policy" => {
                    rule.chain = value().to_owned();
                    rule.verdict = value().to_owned();
                    adds = true;
                }
                "-t" | "--table" => drop(value()),
                "-j" | "--jump" => rule.verdict = value().to_owned(),
                "-i" | "--in-interface" => rule.from = Some(Link { name: value().to_owned(), inverted }),
                "-o" | "--out-interface" => rule.out = Some(Link { name: value().to_owned(), inverted }),
                "-s" | "--source" | "--src" => {
                    let text = value().to_owned();
                    rule.source = Some(From { text, inverted }).filter(|from| !from.is_everything());
                }
                "-d" | "--destination" | "--dst" => {
                    let text = value();
                    rule.other |= inverted;
                    rule.destination =
                        net(text).filter(|n| !inverted && n.prefix_len() > 0).map(|n| n.trunc());
                }
                "-m" | "--match" | "--comment" => drop(value()),
                "-w" | "--wait" => {
                    if words.peek().is_some_and(|w| w.bytes().all(|b| b.is_ascii_digit())) {
                        words.next();
                    }
                }
                "--ctstate" | "--state" => {
                    rule.answers_only = !inverted && !value().split(',').any(|s| s == "NEW");
                }
                "--random" | "--random-fully" | "--persistent" | "--clamp-mss-to-pmtu" => {}
                "-p" | "--protocol" => {
                    rule.protocol = Some(value().to_owned());
                    rule.other = true;
                }
                "--dport" | "--dports" | "--destination-port" => {
                    rule.ports = Some(value().to_owned());
                    rule.other = true;
                }
                "--to-destination" => rule.to = Some(value().to_owned()),
                "--to-source" => rule.gives = Some(value().to_owned()),
                // As iptables takes the beginning of an option for it.
                "--to" => rule.to = Some(value().to_owned()),
                "--set-mss" => drop(value()),
                _ => rule.other = true,
            }
            inverted = false;
        }
        adds.then_some(rule)
    }

    /// `nft add rule FAMILY TABLE CHAIN …`, also `insert`.
    fn nft(words: &[String]) -> Option<Self> {
        let text = words.join(" ");
        let words: Vec<&str> = text.split_whitespace().map(|w| w.trim_matches(['"', '\''])).collect();
        let at = words.iter().position(|w| *w == "rule")?;
        let mut rest = words.get(at + 1..)?;
        // Without a family it is IPv4's.
        let mut families = [true, false];
        if let Some(family) = rest.first().filter(|f| ["ip", "ip6", "inet"].contains(f)) {
            families = [*family != "ip6", *family != "ip"];
            rest = &rest[1..];
        }
        let mut rule = Self { chain: (*rest.get(1)?).to_owned(), families, ..Self::default() };
        let link = |names: [&str; 2]| {
            let at = rest.iter().position(|w| names.contains(w))?;
            let inverted = rest.get(at + 1) == Some(&"!=");
            let name = rest.get(at + 1 + usize::from(inverted))?.trim_matches('"');
            Some(Link { name: name.to_owned(), inverted })
        };
        (rule.from, rule.out) = (link(["iifname", "iif"]), link(["oifname", "oif"]));
        let after = |word: &str| rest.iter().position(|w| *w == word).and_then(|i| rest.get(i + 1));
        let set = |word: &str| {
            let at = rest.iter().position(|w| *w == word)? + 1;
            let inverted = rest.get(at) == Some(&"!=");
            let at = at + usize::from(inverted);
            let text = match rest.get(at)?.strip_prefix('{') {
                Some(_) => rest[at..].join(" ").split_once('}')?.0.trim_start_matches('{').trim().to_owned(),
                None => (*rest.get(at)?).to_owned(),
            };
            Some(From { text, inverted })
        };
        rule.source = set("saddr").filter(|from| !from.is_everything());
        rule.destination = after("daddr")
            .and_then(|t| t.parse::<IpNet>().ok())
            .filter(|n| n.prefix_len() > 0)
            .map(|n| n.trunc());
        if let Some((protocol, ports)) = ["tcp", "udp"].iter().find_map(|p| {
            let at = rest.windows(2).position(|w| w[0] == *p && w[1] == "dport")? + 2;
            let list = rest[at..].join(" ");
            let list = match list.strip_prefix('{') {
                Some(set) => set.split_once('}')?.0.replace(' ', ""),
                None => (*rest.get(at)?).to_owned(),
            };
            Some((*p, list))
        }) {
            (rule.protocol, rule.ports, rule.other) = (Some(protocol.into()), Some(ports), true);
        }
        rule.other |=
            ["meta", "l4proto", "mark", "ct"].iter().any(|w| after(w).is_some_and(|v| *v != "state"));
        rule.answers_only = after("state").is_some_and(|s| !s.contains("new"));
        let nat = |verdict: &str| {
            let at = rest.iter().position(|w| *w == verdict)?;
            rest[at + 1..].iter().find(|w| !["ip", "ip6", "to"].contains(w))
        };
        if let Some(to) = nat("dnat") {
            rule.to = Some((*to).to_owned());
            rule.verdict = "DNAT".into();
            return Some(rule);
        }
        if let Some(gives) = nat("snat") {
            rule.gives = Some((*gives).to_owned());
            rule.verdict = "SNAT".into();
            return Some(rule);
        }
        // `masquerade random,persistent` and `masquerade random persistent` are one.
        let is_flag =
            |w: &&&str| w.split(',').all(|flag| ["random", "fully-random", "persistent", ""].contains(&flag));
        rule.verdict = match *rest.iter().rev().find(|w| !is_flag(w))? {
            "masquerade" => "MASQUERADE",
            "accept" => "ACCEPT",
            "drop" | "reject" => "DROP",
            _ => return None,
        }
        .into();
        Some(rule)
    }

    /// `ufw route allow in on LINK out on LINK`.
    fn ufw(words: &[String]) -> Option<Self> {
        let link = |way: &str| {
            let at = words.iter().position(|w| w == way)?;
            let name = words.get(at + 2).filter(|_| words.get(at + 1).is_some_and(|w| w == "on"))?;
            Some(Link { name: name.clone(), inverted: false })
        };
        let verdict = match words.get(1)?.as_str() {
            "allow" => "ACCEPT",
            "deny" | "reject" => "DROP",
            _ => return None,
        };
        let other = words.iter().any(|w| ["to", "from", "port", "proto"].contains(&w.as_str()));
        let (from, out) = (link("in"), link("out"));
        let (chain, verdict) = ("FORWARD".into(), verdict.into());
        Some(Self { chain, verdict, from, out, other, families: BOTH, ..Self::default() })
    }
}

impl From {
    /// Whether it is no limit at all.
    fn is_everything(&self) -> bool {
        !self.inverted && self.text.parse::<IpNet>().is_ok_and(|net| net.prefix_len() == 0)
    }
}

/// The source of `rule family=ipv4 source address=10.8.0.0/24 masquerade`.
fn source_of_rich_rule(words: &[String]) -> Option<From> {
    let text = words.join(" ");
    let (before, after) = text.split_once("source ")?;
    let inverted = before.trim_end().ends_with("NOT") || after.trim_start().starts_with("NOT");
    let (_, address) = after.split_once("address=")?;
    let text = address.split_whitespace().next()?.trim_matches(['"', '\'']).to_owned();
    Some(From { text, inverted })
}

/// A zone masquerades IPv4 alone, a rich rule the family that it names.
fn families_of_firewalld(words: &[String]) -> [bool; 2] {
    let text = words.join(" ").replace('"', "");
    if text.contains("family=ipv6") { [false, true] } else { [true, false] }
}
