//! What another program's packet filter makes of a new UDP packet from outside to this host: its rules in the order in
//! which packets meet them, as data, and whether they surely keep a port closed. What is not understood may let in, and
//! may not drop: nobody is told that an open port is closed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The most rules that are looked at, those of a chain anew for each jump to it; past it nothing is sure.
const MOST: usize = 100_000;

/// What a rule asks of a new UDP packet. `default()` asks nothing, of nobody surely: see [`Asks::nothing`].
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Asks {
    /// Destination ports, first and last; empty: any.
    pub ports: Vec<(u16, u16)>,
    /// Destination; `None`: any.
    pub to: Option<IpNet>,
    /// The link that it comes by; a `+` at its end stands for anything. `None`: any.
    pub by: Option<String>,
    /// Whether that is all: otherwise it may or may not meet the packet.
    pub sure: bool,
}

impl Asks {
    /// Asks nothing: every packet meets it.
    pub fn nothing() -> Self {
        Self { sure: true, ..Self::default() }
    }

    fn is_nothing(&self) -> bool {
        *self == Self::nothing()
    }

    /// Asks both; `None`: no packet meets both.
    fn and(&self, other: &Self) -> Option<Self> {
        let mut both = Self { sure: self.sure && other.sure, ..self.clone() };
        both.ports = match (self.ports.as_slice(), other.ports.as_slice()) {
            (ports, []) | ([], ports) => ports.to_vec(),
            (a, b) => {
                let common = |(x, y): (&(u16, u16), &(u16, u16))| {
                    let (first, last) = (x.0.max(y.0), x.1.min(y.1));
                    (first <= last).then_some((first, last))
                };
                let all: Vec<_> =
                    a.iter().flat_map(|x| b.iter().map(move |y| (x, y))).filter_map(common).collect();
                if all.is_empty() {
                    return None;
                }
                all
            }
        };
        both.to = match (self.to, other.to) {
            (one, None) | (None, one) => one,
            (Some(a), Some(b)) if a.contains(&b) => Some(b),
            (Some(a), Some(b)) if b.contains(&a) => Some(a),
            _ => return None,
        };
        both.by = match (&self.by, &other.by) {
            (one, None) | (None, one) => one.clone(),
            (Some(a), Some(b)) if a == b => Some(a.clone()),
            (Some(a), Some(b)) if a.ends_with('+') || b.ends_with('+') => {
                both.sure = false;
                Some(a.clone())
            }
            _ => return None,
        };
        Some(both)
    }
}

/// What a rule does with what meets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Does {
    /// Lets it in.
    Accept,
    /// Drops or rejects it.
    Drop,
    /// Goes back to the chain that jumped here.
    Return,
    /// Goes on in another chain, and comes back.
    Jump(String),
    /// Goes on in another chain, and does not come back.
    Goto(String),
    /// Something that is not known here.
    Unknown,
}

/// A rule as it stands in its chain; those that decide nothing (a log, a counter) are left out, and those that no new UDP packet
/// meets.
pub type Steps = BTreeMap<String, Vec<(Asks, Does)>>;

/// A rule that decides, written out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InputRule {
    /// What it asks.
    #[serde(flatten)]
    pub asks: Asks,
    /// Whether it lets in; else it drops.
    pub accepts: bool,
}

/// A base chain at the input hook. `default()` lets everything in.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InputChain {
    /// Its rules.
    pub rules: Vec<InputRule>,
    /// Whether it drops what no rule decides about.
    pub drops: bool,
}

/// How packets for the endpoint come to this host, as far as that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrival {
    /// The link that surely every one comes by.
    pub link: Option<String>,
    /// Links by which surely none comes.
    pub never: BTreeSet<String>,
    /// Every link of this host; by one that is not there nothing comes.
    pub links: BTreeSet<String>,
    /// The addresses that they may be for.
    pub addresses: BTreeSet<IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Meets {
    Never,
    Maybe,
    Always,
}

impl Arrival {
    fn meets(&self, asks: &Asks, port: u16) -> Meets {
        let within = |(first, last): &(u16, u16)| (*first..=*last).contains(&port);
        if !asks.ports.is_empty() && !asks.ports.iter().any(within) {
            return Meets::Never;
        }
        let unsure = if asks.sure { Meets::Always } else { Meets::Maybe };
        let by = asks.by.as_deref().map_or(Meets::Always, |by| self.comes_by(by));
        let to = asks.to.map_or(Meets::Always, |to| self.is_for(&to));
        unsure.min(by).min(to)
    }

    fn comes_by(&self, name: &str) -> Meets {
        if let Some(start) = name.strip_suffix('+') {
            let surely = self.link.as_ref().is_some_and(|link| link.starts_with(start));
            return if surely { Meets::Always } else { Meets::Maybe };
        }
        match &self.link {
            Some(link) if link == name => Meets::Always,
            Some(_) => Meets::Never,
            None if self.never.contains(name) || !self.links.contains(name) => Meets::Never,
            None => Meets::Maybe,
        }
    }

    fn is_for(&self, net: &IpNet) -> Meets {
        let count = self.addresses.iter().filter(|a| net.contains(*a)).count();
        match (count, self.addresses.len()) {
            (_, 0) => Meets::Maybe,
            (0, _) => Meets::Never,
            (n, all) if n == all => Meets::Always,
            _ => Meets::Maybe,
        }
    }
}

impl InputChain {
    /// Writes a base chain out.
    pub fn new(steps: &Steps, base: &str, drops: bool) -> Self {
        let mut chain = Self { rules: Vec::new(), drops };
        let mut writer = Writer { steps, above: Vec::new(), left: MOST, rules: &mut chain.rules };
        writer.expand(base, &Asks::nothing());
        chain
    }

    /// Says whether it surely keeps a UDP port closed to all who come from outside.
    pub fn is_closed(&self, port: u16, arrival: &Arrival) -> bool {
        for rule in &self.rules {
            match (arrival.meets(&rule.asks, port), rule.accepts) {
                (Meets::Never, _) | (Meets::Maybe, false) => {}
                (Meets::Always, false) => return true,
                (_, true) => return false,
            }
        }
        self.drops
    }
}

/// Writes chains out.
struct Writer<'s> {
    steps: &'s Steps,
    /// The chains that are being written, the base chain first.
    above: Vec<&'s str>,
    /// How many rules may still be looked at.
    left: usize,
    rules: &'s mut Vec<InputRule>,
}

impl<'s> Writer<'s> {
    fn expand(&mut self, chain: &'s str, asked: &Asks) {
        let mut asked = asked.clone();
        let known = self.steps.get(chain).filter(|_| !self.above.contains(&chain));
        let Some(known) = known else {
            // Nobody's chain, or a circle: it may let in.
            self.unknown(asked);
            return;
        };
        self.above.push(chain);
        for (asks, does) in known {
            let Some(left) = self.left.checked_sub(1) else {
                // Too much of it: the rest may let in.
                self.unknown(asked);
                break;
            };
            self.left = left;
            let Some(both) = asked.and(asks) else { continue };
            match does {
                Does::Accept => self.rules.push(InputRule { asks: both, accepts: true }),
                Does::Drop => self.rules.push(InputRule { asks: both, accepts: false }),
                Does::Unknown => self.unknown(both),
                Does::Jump(to) => self.expand(to, &both),
                Does::Return | Does::Goto(_) => {
                    if let Does::Goto(to) = does {
                        self.expand(to, &both);
                    }
                    if asks.is_nothing() {
                        break;
                    }
                    // Some have left by here: whether the rest of the chain is met is not sure any more.
                    asked.sure = false;
                }
            }
        }
        self.above.pop();
    }

    fn unknown(&mut self, asks: Asks) {
        self.rules.push(InputRule { asks: Asks { sure: false, ..asks }, accepts: true });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::fixture::arrival;

    fn port(first: u16, last: u16) -> Asks {
        Asks { ports: vec![(first, last)], ..Asks::nothing() }
    }

    fn by(link: &str) -> Asks {
        Asks { by: Some(link.into()), ..Asks::nothing() }
    }

    fn to(net: &str) -> Asks {
        Asks { to: Some(net.parse().unwrap()), ..Asks::nothing() }
    }

    fn closed(rules: &[(Asks, Does)], drops: bool, arrival: &Arrival) -> bool {
        let steps = Steps::from([("INPUT".to_owned(), rules.to_vec())]);
        InputChain::new(&steps, "INPUT", drops).is_closed(51820, arrival)
    }

    #[test]
    fn only_what_is_sure_counts() {
        use Does::{Accept, Drop, Unknown};
        let at = arrival("192.0.2.1");
        for (rules, drops, expected) in [
            (vec![], false, false),
            (vec![], true, true),
            (vec![(port(51820, 51820), Accept)], true, false),
            (vec![(port(53, 53), Accept)], true, true),
            // One drop for the port is enough, and one that may not meet it is not.
            (vec![(port(51000, 52000), Drop)], false, true),
            (vec![(Asks { sure: false, ..port(51820, 51820) }, Drop)], false, false),
            (vec![(Asks { sure: false, ..port(51820, 51820) }, Accept)], true, false),
            // An accept for another address or link of this host lets nobody in from outside.
            (vec![(to("198.51.100.7/32"), Accept)], true, true),
            (vec![(to("192.0.2.0/24"), Accept)], true, false),
            (vec![(by("eth1"), Accept)], true, true),
            (vec![(by("eth0"), Accept)], true, false),
            (vec![(by("eth+"), Accept)], true, false),
            (vec![(by("eth0"), Drop)], false, true),
            (vec![(by("eth1"), Drop)], false, false),
            (vec![(port(51820, 51820), Accept), (Asks::nothing(), Drop)], false, false),
            (vec![(Asks::nothing(), Unknown)], true, false),
        ] {
            assert_eq!(closed(&rules, drops, &at), expected, "{rules:?}");
        }
        // Where nobody knows how packets come in, a link says nothing; one that is not there still lets nothing in.
        let somewhere = Arrival { link: None, addresses: BTreeSet::new(), ..at };
        assert!(!closed(&[(by("eth1"), Accept)], true, &somewhere));
        assert!(!closed(&[(by("eth0"), Drop)], false, &somewhere));
        assert!(!closed(&[(to("198.51.100.7/32"), Accept)], true, &somewhere));
        assert!(closed(&[(by("lo"), Accept), (by("ppp0"), Accept)], true, &somewhere));
    }

    #[test]
    fn chains_are_followed() {
        use Does::{Accept, Drop, Goto, Jump, Return};
        let steps = |user: Vec<(Asks, Does)>, how: Does| {
            Steps::from([("INPUT".to_owned(), vec![(Asks::nothing(), how)]), ("user".to_owned(), user)])
        };
        let closed = |user: Vec<(Asks, Does)>, how: Does, drops: bool| {
            InputChain::new(&steps(user, how), "INPUT", drops).is_closed(51820, &arrival("192.0.2.1"))
        };
        let jump = || Jump("user".into());
        assert!(!closed(vec![(port(51820, 51820), Accept)], jump(), true));
        assert!(closed(vec![(port(22, 22), Accept)], jump(), true));
        assert!(closed(vec![(port(51820, 51820), Drop)], jump(), false));
        assert!(closed(vec![(port(51820, 51820), Drop)], Goto("user".into()), false));
        // Past a return that everybody takes nothing is met, past one that some take nothing is sure.
        assert!(!closed(vec![(Asks::nothing(), Return), (Asks::nothing(), Drop)], jump(), false));
        assert!(!closed(vec![(by("eth0"), Return), (Asks::nothing(), Drop)], jump(), false));
        assert!(closed(vec![], jump(), true));
        // A circle, and a chain that is not there.
        assert!(!closed(vec![(Asks::nothing(), jump())], jump(), true));
        assert!(!closed(vec![], Jump("nowhere".into()), true));
    }

    #[test]
    fn chains_that_multiply_are_not_followed_to_the_end() {
        // Twenty chains, each of which jumps twice to the next: a million visits, and no rule that decides.
        let jump = |to: usize| (Asks::nothing(), Does::Jump(to.to_string()));
        let of = |chains: usize| {
            let mut steps: Steps =
                (0..chains).map(|n| (n.to_string(), vec![jump(n + 1), jump(n + 1)])).collect();
            steps.insert(chains.to_string(), Vec::new());
            InputChain::new(&steps, "0", true)
        };
        let at = arrival("192.0.2.1");
        assert!(of(10).is_closed(51820, &at));
        let many = of(20);
        assert!(!many.is_closed(51820, &at) && many.rules.len() < 100, "{}", many.rules.len());
    }

    #[test]
    fn conditions_narrow_each_other() {
        assert_eq!(port(1, 10).and(&port(5, 20)), Some(port(5, 10)));
        assert_eq!(port(1, 4).and(&port(5, 20)), None);
        assert_eq!(to("10.0.0.0/8").and(&to("10.1.0.0/16")), Some(to("10.1.0.0/16")));
        assert_eq!(to("10.0.0.0/8").and(&to("192.168.0.0/16")), None);
        assert_eq!(by("eth0").and(&by("eth1")), None);
        assert!(!by("eth0").and(&by("eth+")).unwrap().sure);
    }
}
