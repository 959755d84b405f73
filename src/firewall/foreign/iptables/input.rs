//! iptables' INPUT as data: what each rule asks of a new UDP packet, and what it does with it.

use super::save::{Saved, SavedRule};
use crate::firewall::foreign::input::{Asks, Does, InputChain, Steps};

/// Targets that decide nothing.
const GOES_ON: [&str; 15] = [
    "LOG",
    "NFLOG",
    "ULOG",
    "MARK",
    "CONNMARK",
    "SECMARK",
    "CONNSECMARK",
    "SET",
    "TRACE",
    "AUDIT",
    "CLASSIFY",
    "DSCP",
    "TOS",
    "TTL",
    "",
];
/// Modules whose questions are read here, or that ask nothing.
const MODULES: [&str; 6] = ["udp", "multiport", "conntrack", "state", "addrtype", "comment"];
/// Below this no client has its port.
const FIRST_FREE_PORT: u16 = 1024;

/// Reads filter INPUT, with the chains that it jumps to.
pub(crate) fn input(saved: &Saved) -> InputChain {
    let mut steps: Steps = saved
        .chains
        .iter()
        .filter(|(table, _)| table == "filter")
        .map(|(_, c)| (c.clone(), Vec::new()))
        .collect();
    for rule in saved.rules.iter().filter(|r| r.table == "filter") {
        let Some(asks) = asks(rule) else { continue };
        if let Some(does) = does(rule, saved) {
            steps.entry(rule.chain.clone()).or_default().push((asks, does));
        }
    }
    let policy = saved.policies.get(&("filter".into(), "INPUT".into()));
    // Where nobody made the chain, it lets everything in.
    steps.entry("INPUT".into()).or_default();
    InputChain::new(&steps, "INPUT", policy.is_some_and(|p| p == "DROP"))
}

fn does(rule: &SavedRule, saved: &Saved) -> Option<Does> {
    let target = rule.target();
    let is_chain = saved.chains.contains(&("filter".into(), target.into()));
    match target {
        "ACCEPT" => Some(Does::Accept),
        "DROP" | "REJECT" => Some(Does::Drop),
        "RETURN" => Some(Does::Return),
        _ if is_chain && rule.words.iter().any(|w| w == "-g") => Some(Does::Goto(target.into())),
        _ if is_chain => Some(Does::Jump(target.into())),
        _ if GOES_ON.contains(&target) => None,
        _ => Some(Does::Unknown),
    }
}

/// Reads what a rule asks; `None`: no new UDP packet from elsewhere meets it.
fn asks(rule: &SavedRule) -> Option<Asks> {
    let mut asks = Asks::nothing();
    let words = rule.plain_words();
    let mut rest = words.as_slice();
    while let [flag, tail @ ..] = rest {
        let value = tail.first().copied().unwrap_or_default();
        rest = tail.get(1..).unwrap_or_default();
        match *flag {
            "-j" | "-g" | "--reject-with" => {}
            "-p" if matches!(value, "udp" | "all") => {}
            "-p" => return None,
            "-m" => asks.sure &= MODULES.contains(&value),
            "-i" if value == "lo" => return None,
            "-i" => asks.by = Some(value.into()),
            "-d" => match value.parse() {
                Ok(net) => asks.to = Some(net),
                Err(_) => asks.sure = false,
            },
            "--dport" | "--dports" => match (ports(value), asks.ports.is_empty()) {
                (Some(ports), true) => asks.ports = ports,
                _ => asks.sure = false,
            },
            "--sport" | "--sports" => match ports(value) {
                Some(ports) if ports.iter().all(|(_, last)| *last < FIRST_FREE_PORT) => return None,
                _ => asks.sure = false,
            },
            "--ctstate" | "--state" => {
                let mut states = value.split(',');
                if !value.split(',').any(|s| s == "NEW") {
                    if states.all(|s| matches!(s, "RELATED" | "ESTABLISHED" | "INVALID")) {
                        return None;
                    }
                    asks.sure = false;
                }
            }
            "--dst-type" if value.split(',').any(|t| t == "LOCAL") => {}
            "--dst-type" => return None,
            // Whatever comes by anything but the loopback comes from elsewhere.
            "!" if value == "-i" && rest.first() == Some(&"lo") => rest = &rest[1..],
            "!" => {
                asks.sure = false;
                rest = rest.get(1..).unwrap_or_default();
            }
            // A question that is not known here: its words ask on.
            _ => {
                asks.sure = false;
                rest = tail;
            }
        }
    }
    Some(asks)
}

fn ports(text: &str) -> Option<Vec<(u16, u16)>> {
    let range = |text: &str| {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    text.split(',').map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::fixture::arrival;
    use crate::firewall::foreign::iptables::save::parse;

    /// Says whether the port is closed by these rules, below this policy.
    fn closed(policy: &str, rules: &str) -> bool {
        let chains = "a b limit ufw-before-input ufw-user-input ufw-not-local ufw-after-input";
        let chains: String = chains.split(' ').map(|c| format!(":{c} - [0:0]\n")).collect();
        let saved = parse(&format!("*filter\n:INPUT {policy} [0:0]\n{chains}{rules}\nCOMMIT\n"));
        input(&saved).is_closed(51820, &arrival("192.0.2.1"))
    }

    #[test]
    fn what_lets_a_port_in() {
        for (rule, expected) in [
            ("-p udp -m udp --dport 51820 -j ACCEPT", false),
            ("-p udp -m multiport --dports 22,51000:52000 -j ACCEPT", false),
            ("-s 203.0.113.0/24 -p udp -m udp --dport 51820 -j ACCEPT", false),
            ("-p udp -m udp --dport 53 -j ACCEPT", true),
            ("-p tcp -m tcp --dport 51820 -j ACCEPT", true),
            ("! -p tcp -j ACCEPT", false),
            ("-i lo -j ACCEPT", true),
            ("! -i lo -j ACCEPT", false),
            ("-i eth0 -j ACCEPT", false),
            ("-i eth1 -p udp -m udp --dport 51820 -j ACCEPT", true),
            ("! -i eth1 -j ACCEPT", false),
            ("-d 192.0.2.1/32 -p udp -m udp --dport 51820 -j ACCEPT", false),
            ("-d 198.51.100.1/32 -p udp -m udp --dport 51820 -j ACCEPT", true),
            ("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", true),
            ("-m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT", false),
            ("-m conntrack --ctstate DNAT -j ACCEPT", false),
            ("-m set --match-set friends src -j ACCEPT", false),
            ("-p udp -m udp --sport 53 -j ACCEPT", true),
            ("-p udp -m udp --sport 1024:65535 -j ACCEPT", false),
            ("-m addrtype --dst-type MULTICAST -j ACCEPT", true),
            ("-m addrtype --dst-type LOCAL -j ACCEPT", false),
            ("-p udp -j NFQUEUE --queue-num 0", false),
            ("-j LOG --log-prefix \"in: \"", true),
            ("-j nowhere", false),
        ] {
            assert_eq!(closed("DROP", &format!("-A INPUT {rule}")), expected, "{rule}");
        }
    }

    #[test]
    fn what_closes_a_port() {
        for (rule, expected) in [
            ("-p udp -m udp --dport 51820 -j DROP", true),
            ("-p udp -m udp --dport 51820 -j REJECT --reject-with icmp-port-unreachable", true),
            ("-i eth0 -p udp -m udp --dport 51820 -j DROP", true),
            ("-i eth1 -p udp -m udp --dport 51820 -j DROP", false),
            ("-s 203.0.113.0/24 -p udp -m udp --dport 51820 -j DROP", false),
            ("-p udp -m udp --dport 51820 -m limit --limit 5/sec -j DROP", false),
            ("-p udp -m udp --dport 53 -j DROP", false),
            ("-m conntrack --ctstate INVALID -j DROP", false),
            ("-j DROP", true),
        ] {
            assert_eq!(closed("ACCEPT", &format!("-A INPUT {rule}")), expected, "{rule}");
        }
        let first =
            "-A INPUT -p udp -m udp --dport 51820 -j ACCEPT\n-A INPUT -p udp -m udp --dport 51820 -j DROP";
        assert!(!closed("DROP", first));
    }

    #[test]
    fn ufw_is_followed() {
        let before = "-A INPUT -j ufw-before-input\n-A INPUT -j ufw-after-input\n\
             -A ufw-before-input -i lo -j ACCEPT\n\
             -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
             -A ufw-before-input -m conntrack --ctstate INVALID -j DROP\n\
             -A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT\n\
             -A ufw-before-input -j ufw-not-local\n\
             -A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT\n\
             -A ufw-before-input -j ufw-user-input\n\
             -A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN\n\
             -A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j LOG\n\
             -A ufw-not-local -j DROP\n\
             -A ufw-after-input -p udp -m udp --dport 137 -j DROP\n";
        assert!(closed("DROP", before));
        assert!(!closed("DROP", &format!("{before}-A ufw-user-input -p udp -m udp --dport 51820 -j ACCEPT")));
        let limit = "-A ufw-user-input -p udp -m udp --dport 51820 -m recent --update --seconds 30 -j limit\n\
                     -A ufw-user-input -p udp -m udp --dport 51820 -j ACCEPT\n-A limit -j REJECT";
        assert!(!closed("DROP", &format!("{before}{limit}")));
        assert!(!closed("DROP", "-A INPUT -j a\n-A a -j b\n-A b -j a"), "a circle");
        assert!(closed("DROP", "-A INPUT -p tcp -m tcp --dport 22 -j limit\n-A limit -j ACCEPT"));
    }
}
