//! What a command of iptables, nft, firewalld or ufw says about forwarding: a rule, as far as it matters here.

use ipnet::IpNet;

use super::command::{is_iptables, program};

/// A link in a rule, or any but that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub name: String,
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
    pub source: Option<String>,
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
}

impl Filter {
    /// Reads a command that adds a rule; `None`: it is none, or is not understood.
    pub(super) fn read(words: &[String]) -> Option<Self> {
        let (name, rest) = program(words);
        match name {
            "nft" if rest.join(" ").contains("policy drop") => {
                Some(Self { verdict: "DROP".into(), ..Self::default() })
            }
            "nft" => Self::nft(rest),
            "firewall-cmd" if rest.iter().any(|w| w.contains("masquerade") && !w.starts_with("--remove")) => {
                let source = rest.iter().find(|w| w.contains("source")).cloned();
                Some(Self { verdict: "MASQUERADE".into(), source, ..Self::default() })
            }
            "ufw" if rest.first().is_some_and(|w| w == "route") => Self::ufw(rest),
            _ if is_iptables(name) => Self::iptables(rest),
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

    /// What it leads to another host, as `[[forward]]` has it: the port, and where it goes.
    pub(super) fn leads(&self) -> Option<(String, &str)> {
        let (protocol, ports, to) = (self.protocol.as_ref()?, self.ports.as_ref()?, self.to.as_ref()?);
        let has_port = to.rsplit_once(':').is_some_and(|(_, p)| p.bytes().all(|b| b.is_ascii_digit()));
        (self.verdict == "DNAT" && has_port && ports.bytes().all(|b| b.is_ascii_digit()))
            .then(|| (format!("{protocol}/{ports}"), to.as_str()))
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
                text.parse::<IpNet>()
                    .ok()
                    .or_else(|| Some(IpNet::from(text.parse::<std::net::IpAddr>().ok()?)))
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
                "-s" | "--source" | "--src" => rule.source = Some(value().to_owned()),
                "-d" | "--destination" | "--dst" => {
                    let text = value();
                    rule.other |= inverted;
                    rule.destination = net(text).filter(|_| !inverted).map(|n| n.trunc());
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
                "--random" | "--random-fully" | "--clamp-mss-to-pmtu" => {}
                "-p" | "--protocol" => {
                    rule.protocol = Some(value().to_owned());
                    rule.other = true;
                }
                "--dport" | "--dports" | "--destination-port" => {
                    rule.ports = Some(value().to_owned());
                    rule.other = true;
                }
                "--to-destination" => rule.to = Some(value().to_owned()),
                "--to-source" | "--to" | "--set-mss" => drop(value()),
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
        if ["ip", "ip6", "inet"].contains(rest.first()?) {
            rest = &rest[1..];
        }
        let mut rule = Self { chain: (*rest.get(1)?).to_owned(), ..Self::default() };
        let link = |names: [&str; 2]| {
            let at = rest.iter().position(|w| names.contains(w))?;
            let inverted = rest.get(at + 1) == Some(&"!=");
            let name = rest.get(at + 1 + usize::from(inverted))?.trim_matches('"');
            Some(Link { name: name.to_owned(), inverted })
        };
        (rule.from, rule.out) = (link(["iifname", "iif"]), link(["oifname", "oif"]));
        let after = |word: &str| rest.iter().position(|w| *w == word).and_then(|i| rest.get(i + 1));
        rule.source = after("saddr").map(ToString::to_string);
        rule.destination = after("daddr").and_then(|t| t.parse::<IpNet>().ok()).map(|n| n.trunc());
        rule.answers_only = after("state").is_some_and(|s| !s.contains("new"));
        rule.verdict = match *rest.last()? {
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
        Some(Self { chain: "FORWARD".into(), verdict: verdict.into(), from, out, other, ..Self::default() })
    }
}
