//! A hook's commands as words, and what some of them do: nothing, undo, switch, route.

use std::net::IpAddr;

use ipnet::IpNet;

/// Cuts a line into commands at `;`, `&&`, `||` and `&`, and each into words, as a shell does: quotes, `\` and `$(…)` hold
/// together.
pub(super) fn split(line: &str) -> Vec<Vec<String>> {
    let mut out = vec![Vec::new()];
    let (mut word, mut quote, mut begun, mut inner) = (String::new(), None, false, 0usize);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None | Some('"'), '$') if chars.peek() == Some(&'(') => {
                inner += 1;
                word.push_str("$(");
                chars.next();
            }
            (_, '(' | ')') if inner > 0 => {
                inner = if c == '(' { inner + 1 } else { inner - 1 };
                word.push(c);
            }
            _ if inner > 0 => word.push(c),
            (Some(q), _) if c == q => {
                quote = None;
                if q == '`' {
                    word.push(q);
                }
            }
            (Some('"'), '\\') if chars.peek().is_some_and(|next| "\"\\$`".contains(*next)) => {
                word.extend(chars.next());
            }
            (None, '\\') => word.extend(chars.next()),
            (Some(_), _) => word.push(c),
            (None, '`') => {
                quote = Some(c);
                word.push(c);
            }
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
    out.into_iter().flat_map(of_shell).flat_map(of_nft).collect()
}

/// The commands of `sh -c TEXT`.
fn of_shell(words: Vec<String>) -> Vec<Vec<String>> {
    let (name, rest) = program(&words);
    let is_shell = ["sh", "bash", "dash", "ash"].contains(&name);
    match rest {
        [options, text, ..] if is_shell && options.starts_with('-') && options.ends_with('c') => split(text),
        _ => vec![words],
    }
}

/// What one call of nft does, command by command: they may stand in one text, `;` between them.
fn of_nft(words: Vec<String>) -> Vec<Vec<String>> {
    let (name, rest) = program(&words);
    if name != "nft" || rest.first().is_some_and(|w| w == "-f" || w == "--file") {
        return vec![words];
    }
    let text = rest.join(" ");
    let (mut depth, mut commands) = (0usize, vec![String::new()]);
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ';' | '\n' if depth == 0 => {
                commands.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = commands.last_mut() {
            last.push(c);
        }
    }
    let words = |c: &String| std::iter::once("nft").chain(c.split_whitespace()).map(Into::into).collect();
    commands.iter().filter(|c| !c.trim().is_empty()).map(words).collect()
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
pub(super) fn program(words: &[String]) -> (&str, &[String]) {
    // What a shell has before a command: its own words, and variables.
    const BEFORE: [&str; 6] = ["sudo", "do", "then", "else", "exec", "!"];
    let is_before = |w: &&String| BEFORE.contains(&w.as_str()) || w.contains('=') && !w.starts_with('-');
    let skipped = words.iter().take_while(is_before).count();
    let rest = &words[skipped..];
    let name = rest.first().map_or("", |w| w.rsplit('/').next().unwrap_or(w));
    (name, rest.get(1..).unwrap_or_default())
}

pub(super) fn is_iptables(name: &str) -> bool {
    ["ip6tables", "iptables"].iter().any(|p| {
        name.strip_prefix(p).is_some_and(|rest| rest.is_empty() || rest == "-nft" || rest == "-legacy")
    })
}

/// Whether a command switches forwarding, and nothing else.
pub(super) fn switches_forwarding(words: &[String]) -> bool {
    let (name, rest) = program(words);
    let text = words.join(" ");
    match name {
        "sysctl" => {
            let mut switches = rest.iter().filter(|w| w.contains('='));
            switches.clone().next().is_some() && switches.all(|w| w.contains("forward"))
        }
        _ => text.contains("/proc/sys") && text.contains("forward"),
    }
}

/// Whether a command alone changes nothing: a table or a chain of nft without rules, say.
pub(super) fn does_nothing(words: &[String]) -> bool {
    let (name, rest) = program(words);
    match name {
        "true" | ":" | "sleep" | "echo" => !words.iter().any(|w| w.contains('>')),
        "nft" => match rest {
            [verb, what, ..] if ["add", "create"].contains(&verb.as_str()) => {
                ["table", "chain"].contains(&what.as_str()) && !rest.join(" ").contains("policy drop")
            }
            [verb, ..] => verb == "list",
            [] => true,
        },
        _ => false,
    }
}

/// Whether a command of another kind than a filter's rule keeps packets out.
pub(super) fn keeps_out(words: &[String]) -> bool {
    let (name, rest) = program(words);
    let text = rest.join(" ");
    let has = |list: &[&str]| rest.iter().any(|w| list.contains(&w.as_str()));
    match name {
        "firewall-cmd" => {
            let refuses = text.ends_with(" drop")
                || text.ends_with(" reject")
                || has(&["drop", "reject", "DROP", "REJECT"]);
            let zone = ["--zone=drop", "--zone=block", "--set-target=DROP", "--set-target=REJECT"];
            refuses || has(&zone)
        }
        "ip" => has(&["add", "replace"]) && has(&["prohibit", "blackhole", "unreachable"]),
        "ebtables" | "arptables" => has(&["DROP"]) && has(&["-A", "-I", "-P"]),
        "ufw" => has(&["deny", "reject"]),
        _ => false,
    }
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

/// Whether `ip rule add … table T` leads what this host sends to a table of its own, and not only what comes from somewhere or is marked.
pub(super) fn leads_everything(words: &[String]) -> bool {
    const LIMITS: [&str; 11] =
        ["from", "to", "iif", "oif", "fwmark", "uidrange", "ipproto", "sport", "dport", "tos", "dsfield"];
    let (name, rest) = program(words);
    let Some(at) = rest.iter().position(|w| ["rule", "ru"].contains(&w.as_str())) else { return false };
    let rule = &rest[at + 1..];
    let has = |list: &[&str]| rule.iter().any(|w| list.contains(&w.as_str()));
    // `from all` limits nothing, and `not from 192.168.1.0/24` is nearly everything.
    let from_all = rule
        .windows(2)
        .any(|w| w[0] == "from" && ["all", "0/0", "0.0.0.0/0", "::/0"].contains(&w[1].as_str()));
    let is_limited = has(&LIMITS[1..]) || (has(&["from"]) && !from_all);
    name == "ip" && has(&["add"]) && has(&["table", "lookup"]) && (!is_limited || has(&["not"]))
}

/// `ip route add NET … dev LINK`, in the main table; `default` is everything.
pub(super) fn route(words: &[String]) -> Option<(IpNet, Option<String>)> {
    let (name, rest) = program(words);
    let at = rest.iter().position(|w| ["route", "ro", "r"].contains(&w.as_str()))?;
    if name != "ip" || !["add", "replace", "append"].contains(&rest.get(at + 1)?.as_str()) {
        return None;
    }
    let to = rest.get(at + 2)?;
    let everything = if rest.iter().any(|w| w == "-6") { "::/0" } else { "0.0.0.0/0" };
    let net: IpNet = if to == "default" { everything } else { to }.parse().ok()?;
    let table = rest.iter().position(|w| w == "table").and_then(|i| rest.get(i + 1));
    if table.is_some_and(|t| !["main", "254"].contains(&t.as_str())) {
        return None;
    }
    let dev = rest.iter().position(|w| w == "dev").and_then(|i| rest.get(i + 1)).cloned();
    Some((net.trunc(), dev))
}

/// The neighbour that such a route leads to.
pub(super) fn via(words: &[String]) -> Option<IpAddr> {
    let at = words.iter().position(|w| w == "via")? + 1;
    let is_family = |w: &String| ["inet", "inet6"].contains(&w.as_str());
    words.get(at..)?.iter().find(|w| !is_family(w))?.parse().ok()
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
        assert_eq!(words("a b\\; c \"d\\\"; e\" '\\'; f"), [vec!["a", "b;", "c", "d\"; e", "\\"], vec!["f"]]);
        assert_eq!(
            words("W=$(ip r | awk '{print $5}'); x -o `y; z` \"$(a; b)\""),
            [vec!["W=$(ip r | awk '{print $5}')"], vec!["x", "-o", "`y; z`", "$(a; b)"]]
        );
        assert_eq!(
            words("nft 'add table ip t; add chain ip t c { policy drop; }; add rule ip t c drop'"),
            ["nft add table ip t", "nft add chain ip t c { policy drop; }", "nft add rule ip t c drop"]
                .map(|c| c.split(' ').collect::<Vec<_>>())
        );
    }

    #[test]
    fn routes_and_rules_are_told_apart() {
        let words = |line: &str| split(line).remove(0);
        for (line, net, link) in [
            ("ip route add 10.2.0.0/16 via 10.0.0.1 dev eth1", "10.2.0.0/16", Some("eth1")),
            ("ip -6 route add default dev wg0", "::/0", Some("wg0")),
            ("ip r add default dev wg0 table main", "0.0.0.0/0", Some("wg0")),
        ] {
            assert_eq!(route(&words(line)), Some((net.parse().unwrap(), link.map(str::to_owned))), "{line}");
        }
        assert_eq!(route(&words("ip route add default dev wg0 table 200")), None);
        for (line, leads) in [
            ("ip rule add not from 192.168.1.0/24 table 1234", true),
            ("ip rule add not fwmark 51820 table 51820", true),
            ("ip -4 rule add from all lookup 200", true),
            ("ip rule add table 200 priority 9", true),
            ("ip rule add from 10.0.0.2 table 200", false),
            ("ip rule add fwmark 7 table 200", false),
            ("ip rule add iif lan0 lookup 200", false),
            ("ip rule del table 200", false),
            ("ip route add 10.2.0.0/16 dev wg0 table 200", false),
        ] {
            assert_eq!(leads_everything(&words(line)), leads, "{line}");
        }
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
