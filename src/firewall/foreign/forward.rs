//! What another program's packet filter makes of a packet that this host forwards: its rules in the order in which packets
//! meet them, chains that are jumped to included. What is not understood decides nothing, and makes the answer uncertain.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The deepest jump that is followed, as nft's own (NFT_JUMP_STACK_SIZE).
const DEEPEST: usize = 16;

/// One of several values, or none of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OneOf<T> {
    /// The values.
    pub of: Vec<T>,
    /// Whether it is to be any other than these.
    pub not: bool,
}

/// What a rule asks of a packet; `None`: anything. `default()` asks nothing, of nobody surely.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Asks {
    /// The link that it came by; a `+` or `*` at the end stands for anything.
    pub iif: Option<OneOf<String>>,
    /// The link that it leaves by.
    pub oif: Option<OneOf<String>>,
    /// Where it is from.
    pub src: Option<OneOf<IpNet>>,
    /// Where it goes.
    pub dst: Option<OneOf<IpNet>>,
    /// States of its flow, as connection tracking names them.
    pub state: Option<OneOf<String>>,
    /// What it carries, by the names of nft and iptables: `tcp`, `udp`, `icmp`, `icmpv6`.
    pub protocol: Option<OneOf<String>>,
    /// The port that it goes to, first and last.
    pub port: Option<OneOf<(u16, u16)>>,
    /// Whether that is all: otherwise it may or may not meet the packet.
    pub sure: bool,
}

/// What a rule does with what meets it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Does {
    /// Lets it through this filter.
    Accept,
    /// Drops or rejects it.
    Drop,
    /// Goes back to the chain that jumped here.
    Return,
    /// Goes on in another chain, and comes back.
    Jump(String),
    /// Goes on in another chain, and does not come back.
    Goto(String),
    /// Sends it on to another address, and port where one is given.
    Dnat(IpAddr, Option<u16>),
    /// Something that is not known here.
    Unknown,
}

/// A rule that may decide; those that only count, log or change a packet are left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ForwardRule {
    /// What it asks.
    pub asks: Asks,
    /// What it does then.
    pub does: Does,
    /// Its words.
    pub text: String,
}

/// A base chain at the forward hook, and those that it jumps to. `default()` lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ForwardChain {
    /// The base chain's name.
    pub base: String,
    /// The rules of each chain.
    pub chains: BTreeMap<String, Vec<ForwardRule>>,
    /// Whether it drops what no rule decides about.
    pub drops: bool,
}

/// What a packet carries; of ICMP, an echo request or its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Carried {
    Icmp,
    Tcp(u16),
    Udp(u16),
}

impl Carried {
    const fn names(self, ipv6: bool) -> &'static [&'static str] {
        match self {
            Self::Icmp if ipv6 => &["icmpv6", "ipv6-icmp", "58"],
            Self::Icmp => &["icmp", "1"],
            Self::Tcp(_) => &["tcp", "6"],
            Self::Udp(_) => &["udp", "17"],
        }
    }
    const fn port(self) -> Option<u16> {
        match self {
            Self::Icmp => None,
            Self::Tcp(port) | Self::Udp(port) => Some(port),
        }
    }
}

/// A packet on its way through.
#[derive(Debug, Clone, Copy)]
pub struct Forwarded<'p> {
    /// Where it is from.
    pub src: IpAddr,
    /// Where it goes.
    pub dst: IpAddr,
    /// The link that it came by.
    pub iif: &'p str,
    /// The link that it leaves by.
    pub oif: &'p str,
    /// Whether it belongs to a flow that passed before.
    pub established: bool,
    /// What it carries; `None`: anything.
    pub carried: Option<Carried>,
}

/// What a filter makes of a packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// The rule, or policy, that drops it; `None`: it passes.
    pub drop: Option<String>,
    /// Rules that may decide otherwise.
    pub doubts: BTreeSet<String>,
    /// Where it is sent on to, and the rule that does.
    pub led: Option<(IpAddr, Option<u16>, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Meets {
    Never,
    Maybe,
    Always,
}

/// Rules that may decide: what would not pass then, and what would.
#[derive(Default)]
struct Doubts {
    closing: BTreeSet<String>,
    opening: BTreeSet<String>,
}

enum End {
    Accepted,
    Dropped(String),
    Led(IpAddr, Option<u16>, String),
}

impl<T> OneOf<T> {
    fn holds(&self, is: impl Fn(&T) -> bool) -> bool {
        self.of.iter().any(is) != self.not
    }
}

/// Reads where a DNAT leads: an address, with a port or without; `None`: to one of several.
pub(crate) fn destination(text: &str) -> Option<Does> {
    let with_port = |at: SocketAddr| Does::Dnat(at.ip(), Some(at.port()));
    text.parse().map(with_port).ok().or_else(|| Some(Does::Dnat(text.parse().ok()?, None)))
}

fn names(pattern: &str, link: &str) -> bool {
    match pattern.strip_suffix(['+', '*']) {
        Some(start) => link.starts_with(start),
        None => pattern == link,
    }
}

impl Asks {
    fn meets(&self, packet: Forwarded<'_>) -> Meets {
        let link = |asked: &Option<OneOf<String>>, is: &str| {
            asked.as_ref().is_none_or(|one| one.holds(|pattern| names(pattern, is)))
        };
        let net = |asked: &Option<OneOf<IpNet>>, is: IpAddr| {
            asked.as_ref().is_none_or(|one| {
                // A rule about the other family's addresses meets nothing of this one, either way.
                one.of.iter().any(|n| n.addr().is_ipv6() == is.is_ipv6()) && one.holds(|n| n.contains(&is))
            })
        };
        let state = if packet.established { "established" } else { "new" };
        let is_met = link(&self.iif, packet.iif)
            && link(&self.oif, packet.oif)
            && net(&self.src, packet.src)
            && net(&self.dst, packet.dst)
            && self.state.as_ref().is_none_or(|one| one.holds(|s| s.eq_ignore_ascii_case(state)));
        match (is_met, self.carries(packet)) {
            (false, _) | (_, Meets::Never) => Meets::Never,
            (true, Meets::Always) if self.sure => Meets::Always,
            (true, _) => Meets::Maybe,
        }
    }

    fn carries(&self, packet: Forwarded<'_>) -> Meets {
        if self.protocol.is_none() && self.port.is_none() {
            return Meets::Always;
        }
        let Some(carried) = packet.carried else { return Meets::Maybe };
        let is_it = self
            .protocol
            .as_ref()
            .is_none_or(|one| one.holds(|p| carried.names(packet.dst.is_ipv6()).contains(&p.as_str())));
        let is_port = self.port.as_ref().is_none_or(|one| {
            carried.port().is_some_and(|port| one.holds(|(first, last)| (*first..=*last).contains(&port)))
        });
        if is_it && is_port { Meets::Always } else { Meets::Never }
    }
}

impl ForwardChain {
    /// Says whether it has neither rules nor a policy that drops.
    pub fn is_open(&self) -> bool {
        !self.drops && self.chains.values().all(Vec::is_empty)
    }

    /// Says whether its policy or any rule drops.
    pub fn may_drop(&self) -> bool {
        self.drops || self.chains.values().flatten().any(|rule| rule.does == Does::Drop)
    }

    /// Says whether any rule sends a packet on.
    pub fn leads_on(&self) -> bool {
        self.chains.values().flatten().any(|rule| matches!(rule.does, Does::Dnat(..)))
    }

    /// Sends a packet through.
    pub fn judge(&self, packet: Forwarded<'_>) -> Judged {
        let (mut judged, mut doubts) = (Judged::default(), Doubts::default());
        match self.run(&self.base, packet, 0, &mut doubts) {
            Some(End::Dropped(by)) => judged.drop = Some(by),
            Some(End::Led(to, port, by)) => judged.led = Some((to, port, by)),
            Some(End::Accepted) => {}
            None if self.drops => judged.drop = Some(format!("{} (policy drop)", self.base)),
            None => {}
        }
        judged.doubts = doubts.closing;
        // What passes all the same is none the worse for a rule that may let it through before.
        if judged.drop.is_some() || judged.led.is_some() {
            judged.doubts.extend(doubts.opening);
        }
        judged
    }

    fn run(&self, chain: &str, packet: Forwarded<'_>, depth: usize, doubts: &mut Doubts) -> Option<End> {
        for rule in self.chains.get(chain).into_iter().flatten() {
            let meets = rule.asks.meets(packet);
            let words = || format!("{chain} ({})", rule.text);
            match (meets, &rule.does) {
                (Meets::Never, _) => {}
                (Meets::Maybe, Does::Jump(to) | Does::Goto(to)) => {
                    // Only what could end there is a doubt.
                    let mut inside = Doubts::default();
                    let end =
                        if depth < DEEPEST { self.run(to, packet, depth + 1, &mut inside) } else { None };
                    if depth >= DEEPEST
                        || matches!(end, Some(End::Dropped(_) | End::Led(..)))
                        || !inside.closing.is_empty()
                    {
                        doubts.closing.insert(words());
                    } else if end.is_some() || !inside.opening.is_empty() {
                        doubts.opening.insert(words());
                    }
                }
                (Meets::Maybe, Does::Accept) => {
                    doubts.opening.insert(words());
                }
                (Meets::Maybe, _) | (_, Does::Unknown) => {
                    doubts.closing.insert(words());
                }
                (Meets::Always, Does::Accept) => return Some(End::Accepted),
                (Meets::Always, Does::Dnat(to, port)) => return Some(End::Led(*to, *port, words())),
                (Meets::Always, Does::Drop) => return Some(End::Dropped(words())),
                (Meets::Always, Does::Return) => return None,
                (Meets::Always, Does::Jump(_) | Does::Goto(_)) if depth >= DEEPEST => {
                    doubts.closing.insert(words());
                }
                (Meets::Always, Does::Jump(to)) => {
                    if let Some(end) = self.run(to, packet, depth + 1, doubts) {
                        return Some(end);
                    }
                }
                (Meets::Always, Does::Goto(to)) => return self.run(to, packet, depth + 1, doubts),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::foreign::iptables::forward::forward as of_iptables;
    use crate::firewall::foreign::iptables::save::parse;
    use crate::firewall::foreign::nft::forward::forward as of_nft;

    fn packet<'p>(iif: &'p str, oif: &'p str, dst: &str, established: bool) -> Forwarded<'p> {
        Forwarded {
            src: "10.88.0.2".parse().unwrap(),
            dst: dst.parse().unwrap(),
            iif,
            oif,
            established,
            carried: None,
        }
    }

    #[test]
    fn protocols_and_ports_are_compared() {
        let text = r#"table inet hard {
	chain output {
		type filter hook output priority filter; policy drop;
		ct state vmap { invalid : drop, established : accept, related : accept }
		oifname "lo" accept
		udp dport { 53, 123 } accept
		meta l4proto { tcp } tcp dport 8000-8100 accept
		icmp type { destination-unreachable, time-exceeded } accept
		icmpv6 type { echo-request, nd-neighbor-solicit } accept
		tcp sport 22 accept
	}
}
"#;
        let iptables = "*filter\n:OUTPUT DROP [0:0]\n-A OUTPUT -o lo -j ACCEPT\n-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
            -A OUTPUT -p udp -m multiport --dports 53,123 -j ACCEPT\n-A OUTPUT -p tcp -m tcp --dport 8000:8100 -j ACCEPT\n\
            -A OUTPUT -p icmp -m icmp --icmp-type 3 -j ACCEPT\n-A OUTPUT -p tcp -m tcp --sport 22 -j ACCEPT\nCOMMIT\n";
        for chain in [
            of_nft(text, "output"),
            crate::firewall::foreign::iptables::forward::of_base(&parse(iptables), "OUTPUT"),
        ] {
            let judged = |carried, established| {
                let sent = packet("", "wg0", "10.88.0.1", established);
                let judged = chain.judge(Forwarded { carried: Some(carried), ..sent });
                (judged.drop.is_some(), judged.doubts.len())
            };
            for (carried, expected) in [
                (Carried::Udp(123), (false, 0)),
                (Carried::Udp(124), (true, 0)),
                (Carried::Tcp(8080), (false, 0)),
                (Carried::Tcp(22), (true, 1)),
                (Carried::Icmp, (true, 0)),
            ] {
                assert_eq!(judged(carried, false), expected, "{carried:?} {}", chain.base);
                assert_eq!(judged(carried, true), (false, 0), "{carried:?} {}", chain.base);
            }
        }
    }

    /// What libvirt 9 makes for its network `default`, by iptables.
    const LIBVIRT: &str = "*filter\n:FORWARD ACCEPT [0:0]\n:LIBVIRT_FWI - [0:0]\n:LIBVIRT_FWO - [0:0]\n:LIBVIRT_FWX - [0:0]\n\
        -A FORWARD -j LIBVIRT_FWX\n-A FORWARD -j LIBVIRT_FWI\n-A FORWARD -j LIBVIRT_FWO\n\
        -A LIBVIRT_FWI -d 192.168.122.0/24 -o virbr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
        -A LIBVIRT_FWI -o virbr0 -j REJECT --reject-with icmp-port-unreachable\n\
        -A LIBVIRT_FWO -s 192.168.122.0/24 -i virbr0 -j ACCEPT\n\
        -A LIBVIRT_FWO -i virbr0 -j REJECT --reject-with icmp-port-unreachable\n\
        -A LIBVIRT_FWX -i virbr0 -o virbr0 -j ACCEPT\nCOMMIT\n";

    /// What Tailscale keeps in FORWARD (util/linuxfw/iptables_runner.go, AddBase4).
    const TAILSCALE: &str = "*filter\n:FORWARD ACCEPT [0:0]\n:ts-forward - [0:0]\n-A FORWARD -j ts-forward\n\
        -A ts-forward -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000\n\
        -A ts-forward -m mark --mark 0x40000/0xff0000 -j ACCEPT\n\
        -A ts-forward -s 100.64.0.0/10 -o tailscale0 -j DROP\n-A ts-forward -o tailscale0 -j ACCEPT\nCOMMIT\n";

    #[test]
    fn a_rule_that_may_let_through_is_no_doubt_of_what_passes_anyway() {
        for (policy, drops, doubts) in [("ACCEPT", false, 0), ("DROP", true, 1)] {
            let text = TAILSCALE.replace("FORWARD ACCEPT", &format!("FORWARD {policy}"));
            let judged = of_iptables(&parse(&text)).judge(packet("wg0", "eth1", "192.168.1.5", false));
            assert_eq!((judged.drop.is_some(), judged.doubts.len()), (drops, doubts), "{judged:?}");
        }
        // By Tailscale's own link it is its matter, and what may drop is a doubt as ever.
        let may_drop = TAILSCALE.replace("0xff0000 -j ACCEPT", "0xff0000 -j DROP");
        let judged = of_iptables(&parse(&may_drop)).judge(packet("wg0", "eth1", "192.168.1.5", false));
        assert_eq!((judged.drop.is_some(), judged.doubts.len()), (false, 1), "{judged:?}");
        // The mark is a condition of one of its jumps as well as of its end.
        let jumps = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m mark --mark 1 -j one\n-A one -j ACCEPT\n\
            -A FORWARD -m mark --mark 2 -j two\n-A two -j DROP\nCOMMIT\n";
        let judged = of_iptables(&parse(jumps)).judge(packet("wg0", "eth1", "192.168.1.5", false));
        assert_eq!(judged.doubts.len(), 1, "{judged:?}");
        assert!(judged.doubts.iter().all(|doubt| doubt.contains("two")), "{judged:?}");
    }

    #[test]
    fn libvirts_chains_are_followed() {
        let chain = of_iptables(&parse(LIBVIRT));
        let dst = "192.168.122.50";
        let judged = chain.judge(packet("wg0", "virbr0", dst, false));
        assert_eq!(
            judged.drop.as_deref(),
            Some("LIBVIRT_FWI (-o virbr0 -j REJECT --reject-with icmp-port-unreachable)")
        );
        assert!(judged.doubts.is_empty());
        for open in [packet("wg0", "virbr0", dst, true), packet("wg0", "wg0", "10.88.0.3", false)] {
            assert_eq!(chain.judge(open), Judged::default());
        }
    }

    #[test]
    fn what_is_not_understood_is_a_doubt_where_it_may_decide() {
        let text = "*filter\n:FORWARD DROP [0:0]\n:mine - [0:0]\n-A FORWARD -m set --match-set good src -j ACCEPT\n\
            -A FORWARD -i wg+ -o eth0 -j mine\n-A mine -m limit --limit 3/min -j LOG\n-A mine ! -d 10.0.0.0/8 -j ACCEPT\nCOMMIT\n";
        let chain = of_iptables(&parse(text));
        let out = chain.judge(packet("wg0", "eth0", "192.0.2.80", false));
        assert!(out.drop.is_none() && out.doubts.is_empty(), "{out:?}");
        let inside = chain.judge(packet("wg0", "eth0", "10.1.1.1", false));
        assert_eq!((inside.drop.as_deref(), inside.doubts.len()), (Some("FORWARD (policy drop)"), 1));
    }

    #[test]
    fn nftables_own_are_followed() {
        let text = r#"table inet filter {
	set good {
		type ipv4_addr
		elements = { 10.0.0.1, 10.0.0.2 }
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state established,related counter accept
		iifname "lan*" accept
		oifname { "virbr0", "virbr1" } jump guests
		ip saddr @good drop
		iifname "wg0" oifname != "wg0" counter packets 3 bytes 252 reject with icmpx admin-prohibited
		log prefix "fwd " flags all
		ct state vmap { invalid : drop }
	}
	chain guests {
		ip daddr 192.168.122.0/24 ip saddr != { 10.9.0.0/16, 10.10.0.0/16 } return
		reject
	}
	chain input {
		type filter hook input priority filter; policy drop;
	}
}
"#;
        let chain = of_nft(text, "forward");
        let drop = |iif, oif, dst, established| {
            let judged = chain.judge(packet(iif, oif, dst, established));
            (judged.drop.map(|d| d.split(' ').next().unwrap_or_default().to_owned()), judged.doubts.len())
        };
        assert_eq!(drop("wg0", "eth0", "192.0.2.1", true), (None, 0));
        assert_eq!(drop("lan3", "eth0", "192.0.2.1", false), (None, 0));
        // The set is not listed here, and may hold it.
        assert_eq!(drop("wg0", "eth0", "192.0.2.1", false), (Some("forward".into()), 1));
        assert_eq!(drop("wg0", "virbr1", "192.168.9.1", false), (Some("guests".into()), 0));
        assert_eq!(drop("wg0", "virbr0", "192.168.122.9", false), (Some("forward".into()), 1));
        assert_eq!(drop("wg0", "wg0", "10.88.0.3", false), (None, 1));
    }
}
