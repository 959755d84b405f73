//! A hook's commands as words, and what those of iptables, nft, firewalld, ufw and ip(8) say about forwarding.

use ipnet::IpNet;

/// Cuts a line into commands at `;`, `&&`, `||` and `&`, and each into words; quotes hold together.
pub(super) fn split(line: &str) -> Vec<Vec<String>> {
    let mut out = vec![Vec::new()];
    let (mut word, mut quote, mut begun) = (String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (Some(_), _) => word.push(c),
            (None, '\'' | '"') => (quote, begun) = (Some(c), true),
            (None, ';' | '&' | '|' | '\n') => {
                end(&mut word, &mut begun, &mut out);
                out.push(Vec::new());
            }
            (None, c) if c.is_whitespace() => end(&mut word, &mut begun, &mut out),
            (None, _) => word.push(c),
        }
    }
    end(&mut word, &mut begun, &mut out);
    out.retain(|words| !words.is_empty());
    out
}

fn end(word: &mut String, begun: &mut bool, out: &mut [Vec<String>]) {
    if (!word.is_empty() || *begun)
        && let Some(last) = out.last_mut()
    {
        last.push(std::mem::take(word));
    }
    *begun = false;
}

/// A command for a message: short, and without anything that could be a key.
pub(super) fn quoted(words: &[String]) -> String {
    const LONGEST: usize = 160;
    let safe = |word: &String| {
        let of_key = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
        let is_path = word.starts_with(['/', '.']) && !word.contains(['+', '=']);
        let long = word.split(|c| !of_key(c)).any(|run| run.len() >= 40);
        if long && !is_path { "…".to_owned() } else { word.clone() }
    };
    let text = words.iter().map(safe).collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// The program's name, and what it is given.
fn program(words: &[String]) -> (&str, &[String]) {
    let skipped = words.iter().take_while(|w| *w == "sudo" || w.contains('=') && !w.starts_with('-')).count();
    let rest = &words[skipped..];
    let name = rest.first().map_or("", |w| w.rsplit('/').next().unwrap_or(w));
    (name, rest.get(1..).unwrap_or_default())
}

fn is_iptables(name: &str) -> bool {
    ["ip6tables", "iptables"].iter().any(|p| {
        name.strip_prefix(p).is_some_and(|rest| rest.is_empty() || rest == "-nft" || rest == "-legacy")
    })
}

pub(super) fn switches_forwarding(words: &[String]) -> bool {
    let text = words.join(" ");
    (text.contains("sysctl") || text.contains("/proc/sys")) && text.contains("forward")
}

pub(super) fn does_nothing(words: &[String]) -> bool {
    matches!(program(words).0, "true" | ":" | "sleep" | "echo") && !words.iter().any(|w| w.contains('>'))
}

/// Whether a command takes away what one of the usual ones made.
pub(super) fn undoes(words: &[String]) -> bool {
    let (name, rest) = program(words);
    let says = |list: &[&str]| rest.iter().any(|w| list.iter().any(|l| w.starts_with(l)));
    match name {
        "nft" | "ufw" => says(&["delete", "flush"]),
        "firewall-cmd" => says(&["--remove"]),
        "ip" => says(&["del", "flush"]),
        _ => is_iptables(name) || does_nothing(words),
    }
}

/// `ip route add NET … dev LINK`.
pub(super) fn route(words: &[String]) -> Option<(IpNet, Option<String>)> {
    let (name, rest) = program(words);
    let at = rest.iter().position(|w| ["route", "ro", "r"].contains(&w.as_str()))?;
    if name != "ip" || !["add", "replace", "append"].contains(&rest.get(at + 1)?.as_str()) {
        return None;
    }
    let net: IpNet = rest.get(at + 2)?.parse().ok()?;
    let dev = rest.iter().position(|w| w == "dev").and_then(|i| rest.get(i + 1)).cloned();
    Some((net.trunc(), dev))
}

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
}

impl Filter {
    /// Reads a command that adds a rule; `None`: it is none, or is not understood.
    pub(super) fn read(words: &[String]) -> Option<Self> {
        let (name, rest) = program(words);
        match name {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_cut_outside_quotes() {
        let words = |line: &str| split(line);
        assert_eq!(words("a 'b; c' && d || e"), [vec!["a", "b; c"], vec!["d"], vec!["e"]]);
        assert_eq!(words(" ; && "), Vec::<Vec<String>>::new());
        assert_eq!(words("a \"\" 'it"), [vec!["a", "", "it"]]);
    }

    #[test]
    fn keys_are_not_quoted() {
        let key = "GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=";
        let text = quoted(&[
            String::from("wg"),
            format!("--key={key}"),
            "/etc/wireguard/a/very/long/path/to/a/script/up".into(),
        ]);
        assert_eq!(text, "wg … /etc/wireguard/a/very/long/path/to/a/script/up");
        assert!(quoted(&["x ".repeat(500)]).chars().count() < 170);
    }
}
