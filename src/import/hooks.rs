//! What a file's hooks do to the host, as far as `iptables(8)` lines tell: what they forward, what they masquerade.

use crate::wgconf::{Hook, Key, Reading};

/// One `-j MASQUERADE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Masquerade {
    /// The link that packets leave by; `None`: any.
    pub link: Option<String>,
    /// Whether it is limited to sources.
    pub limited: bool,
}

/// What the commands that run when the interface comes up do.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    /// Whether FORWARD accepts whatever comes from the tunnel or goes into it.
    pub forwards_everything: bool,
    /// In the order of the file.
    pub masquerades: Vec<Masquerade>,
    /// Whether there is a command of another kind, and under which key.
    pub other: bool,
    pub other_key: Option<Key>,
}

impl Hooks {
    pub(super) fn of(reading: &Reading) -> Self {
        let interface = &reading.document.interface;
        let mut hooks = Self::default();
        let up = [(Key::PreUp, &interface.pre_up), (Key::PostUp, &interface.post_up)];
        for (key, list) in up {
            for command in list.iter().flat_map(commands) {
                hooks.command(key, &command);
            }
        }
        // What undoes iptables' lines needs no word.
        let down = [(Key::PreDown, &interface.pre_down), (Key::PostDown, &interface.post_down)];
        for (key, list) in down {
            if list.iter().flat_map(commands).any(|c| !is_filter(&c) && !switches_forwarding(&c)) {
                hooks.unknown(key);
            }
        }
        hooks
    }

    fn unknown(&mut self, key: Key) {
        self.other = true;
        self.other_key = self.other_key.or(Some(key));
    }

    fn command(&mut self, key: Key, words: &[String]) {
        if switches_forwarding(words) {
            return;
        }
        if !is_filter(words) {
            return self.unknown(key);
        }
        let value = |flags: &[&str]| {
            let at = words.iter().position(|w| flags.contains(&w.as_str()))?;
            words.get(at + 1).map(String::as_str)
        };
        let limited = value(&["-s", "--source", "-d", "--destination", "-m", "--match"]).is_some();
        let chain = value(&["-A", "-I", "--append", "--insert"]);
        match (chain, value(&["-j", "--jump"])) {
            (Some("POSTROUTING"), Some("MASQUERADE")) => {
                let link = value(&["-o", "--out-interface"]).map(str::to_owned);
                self.masquerades.push(Masquerade { link, limited });
            }
            (Some("FORWARD" | "DOCKER-USER"), Some("ACCEPT")) => self.forwards_everything |= !limited,
            _ => self.unknown(key),
        }
    }

    /// The one link that a site may be behind: what is masqueraded there, unless several are.
    pub(super) fn only_link(&self) -> Option<&str> {
        let mut links: Vec<&str> = self.masquerades.iter().filter_map(|m| m.link.as_deref()).collect();
        links.sort_unstable();
        links.dedup();
        match links.as_slice() {
            [one] if *one != "%i" => Some(one),
            _ => None,
        }
    }
}

/// A hook's commands, each as words.
fn commands(hook: &Hook) -> Vec<Vec<String>> {
    let text = hook.as_str().replace("&&", ";").replace("||", ";");
    let split = text.split(';').map(|c| c.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    split.filter(|words| !words.is_empty()).collect()
}

fn is_filter(words: &[String]) -> bool {
    let program = words.iter().map(String::as_str).find(|w| *w != "sudo").unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    ["iptables", "ip6tables"].iter().any(|p| {
        program.strip_prefix(p).is_some_and(|rest| rest.is_empty() || rest == "-nft" || rest == "-legacy")
    })
}

fn switches_forwarding(words: &[String]) -> bool {
    let text = words.join(" ");
    (text.contains("sysctl") || text.contains("/proc/sys")) && text.contains("forward")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &str) -> Hooks {
        Hooks::of(&crate::wgconf::read(&format!("[Interface]\n{lines}"), "f"))
    }

    #[test]
    fn the_usual_lines_are_understood() {
        let hooks = of(
            "PostUp = iptables -A FORWARD -i %i -j ACCEPT; iptables -t nat -A POSTROUTING -o br-6a -j MASQUERADE\n\
                        PostDown = iptables -D FORWARD -i %i -j ACCEPT\nPreUp = sysctl -w net.ipv4.ip_forward=1\n",
        );
        assert!(hooks.forwards_everything && !hooks.other);
        assert_eq!(hooks.masquerades, [Masquerade { link: Some("br-6a".into()), limited: false }]);
        assert_eq!(hooks.only_link(), Some("br-6a"));
    }

    #[test]
    fn limits_and_strangers_are_told_apart() {
        let hooks =
            of("PostUp = iptables -t nat -A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE && curl x\n\
                        PostUp = iptables -t nat -A POSTROUTING -o eth1 -j MASQUERADE\n");
        assert!(hooks.other && !hooks.forwards_everything);
        assert!(hooks.masquerades[0].limited && !hooks.masquerades[1].limited);
        assert_eq!(hooks.only_link(), None);
        assert!(of("PostDown = reboot\n").other);
        assert!(of("PostUp = iptables -A FORWARD -i %i -s 10.0.0.0/8 -j ACCEPT\n").masquerades.is_empty());
    }
}
