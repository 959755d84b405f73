//! Rolls random networks: the same seed gives the same network everywhere, and what this can roll is what `lab check` is
//! held to.
//!
//! Every choice is rare enough that most networks are mostly plain: a network in which everything is odd has no flow that
//! gets anywhere. What the file's own rules refuse is rolled again.

use wgrelay::config::parse_network;
use wgrelay::lab::topology;
use wgrelay::model::Timestamp;

use super::dice::Dice;
use super::network::{Absent, Allow, Forward, Interface, NAME, Node, Random, Routes, Site};

/// The most nodes of a network.
const NODES: u64 = 12;
/// How often a network that the file's rules refuse is rolled again.
const ROLLS: u64 = 100;
/// The port rules: single ports, ranges, edges, and each protocol.
const PORTS: [&[&str]; 10] = [
    &[],
    &[],
    &[],
    &["icmp"],
    &["tcp/22"],
    &["tcp/8000-8100"],
    &["udp/5353", "tcp/22"],
    &["udp/53-60"],
    &["icmp", "udp/1-65535"],
    &["tcp/1", "tcp/65535", "udp/4000-4001"],
];

/// Rolls the network of a seed.
pub fn generate(seed: u64) -> Random {
    let rolls = (0..ROLLS).map(|roll| rolled(seed.wrapping_add(roll << 40)));
    rolls.into_iter().find(is_valid).expect("one of many rolls is a network")
}

/// Rolls once: a network, valid or not.
pub fn rolled(seed: u64) -> Random {
    let mut roll = Roll {
        dice: Dice::new(seed),
        net: Random {
            dual: false,
            keepalive: 25,
            nodes: Vec::new(),
            allow: Vec::new(),
            forwards: Vec::new(),
        },
        sites: Vec::new(),
    };
    roll.network();
    roll.net
}

/// Says whether a network can be built at all.
pub fn is_valid(net: &Random) -> bool {
    let parsed = parse_network(net.text().as_bytes(), NAME);
    parsed.value.is_some_and(|network| topology(&network, Timestamp(1_795_478_400)).is_ok())
}

struct Roll {
    dice: Dice,
    net: Random,
    /// Whose site each prefix is.
    sites: Vec<(usize, String)>,
}

impl Roll {
    fn network(&mut self) {
        self.net.dual = self.dice.one_in(2);
        if self.dice.one_in(12) {
            self.net.keepalive = 0;
        }
        let full = self.dice.one_in(3);
        // Small networks are faster to build and to read, large ones meet more: the smaller of two dice, half of the time.
        let (a, b) = (1 + self.dice.below(NODES), 1 + self.dice.below(NODES));
        let count = if self.dice.one_in(2) { a.min(b) } else { a.min(7) };
        for number in 0..usize::try_from(count).unwrap() {
            self.node(number, full);
        }
        // Afterwards, so that a node may be attached to the site of any other.
        for number in 1..self.net.nodes.len() {
            self.ways(number, full);
        }
        if self.dice.one_in(2) {
            self.policy();
        }
        if self.dice.one_in(3) {
            self.relays();
        }
        // Last, so that a seed's network is what it was but for this.
        if self.dice.one_in(3) {
            self.second_gateways();
        }
        if self.dice.one_in(4) {
            self.exits();
        }
        if self.dice.one_in(3) {
            self.forwards();
        }
        if self.dice.one_in(3) {
            self.aliases();
        }
    }

    /// Has ports of relays lead to nodes and to hosts of sites.
    fn forwards(&mut self) {
        let dice = &mut self.dice;
        let relays: Vec<usize> = self.net.nodes.iter().filter(|n| n.is_relay()).map(|n| n.number).collect();
        let spokes = self.net.nodes.iter().filter(|n| !n.is_relay());
        let mut targets: Vec<String> = spokes.map(Node::name).collect();
        for (_, net) in self.sites.iter().filter(|(_, net)| !net.ends_with("/30")) {
            let head = net.split_once('/').unwrap().0;
            let host = head.strip_suffix("::").map_or_else(
                || {
                    let (front, last) = head.rsplit_once('.').unwrap();
                    format!("{front}.{}", last.parse::<u64>().unwrap() + 10)
                },
                |front| format!("[{front}::a]"),
            );
            targets.push(host);
        }
        if targets.is_empty() {
            return;
        }
        for number in 0..=dice.below(3) {
            let to = dice.pick(&targets).clone();
            let (port, to) = match dice.below(4) {
                0 => (
                    format!("tcp/{0}-{1}", 18000 + 10 * number, 18003 + 10 * number),
                    to.trim_matches(['[', ']']).to_owned(),
                ),
                1 => (format!("udp/{}", 18000 + 10 * number), format!("{to}:{}", 18100 + number)),
                _ => (format!("tcp/{}", 18000 + 10 * number), format!("{to}:{}", 18100 + number)),
            };
            let from: &[&str] = match dice.below(6) {
                0 => &["10.77.0.0/24"],
                1 => &["10.77.0.0/28", "10.100.0.0/14"],
                2 => &["198.18.0.0/15", "100.64.0.0/10"],
                _ => &[],
            };
            self.net.forwards.push(Forward {
                on: *dice.pick(&relays),
                port,
                to,
                from: from.iter().map(ToString::to_string).collect(),
                source: *dice.pick(&[None, None, Some("auto"), Some("keep"), Some("masquerade")]),
            });
        }
    }

    /// Has some spokes leave by another one, or by a relay; two exits now and then, which relays may have a way to each.
    fn exits(&mut self) {
        let dice = &mut self.dice;
        for _ in 0..=u64::from(dice.one_in(4)) {
            let can = |n: &&Node| n.is_relay() || n.routes == Routes::Split && n.via.is_none();
            let able: Vec<usize> = self.net.nodes.iter().filter(can).map(|n| n.number).collect();
            let exit = *dice.pick(&able);
            self.net.nodes[exit].egress = !dice.one_in(8);
            for node in self.net.nodes.iter_mut().filter(|n| !n.is_relay() && n.number != exit && !n.egress) {
                if dice.one_in(2) {
                    (node.via, node.routes) = (Some(exit), Routes::Full);
                }
            }
        }
    }

    /// Puts some sites behind another node as well, or two, each with a preference.
    fn second_gateways(&mut self) {
        let mut shared = self.sites.clone();
        shared.retain(|(_, subnet)| !subnet.ends_with("/30"));
        for (owner, subnet) in shared {
            if self.net.nodes.len() < 2 || !self.dice.one_in(2) {
                continue;
            }
            let mut numbers: Vec<u64> = (0..4).collect();
            let dice = &mut self.dice;
            let mut preference =
                || Some(numbers.remove(usize::try_from(dice.below(numbers.len() as u64)).unwrap()));
            let own = self.net.nodes[owner].sites.iter_mut().find(|site| site.subnet == subnet);
            own.expect("whoever owns it has it").preference = preference();
            let extra = (preference(), preference());
            for preference in [extra.0, extra.1] {
                let dice = &mut self.dice;
                let at = usize::try_from(dice.below(self.net.nodes.len() as u64)).unwrap();
                let node = &mut self.net.nodes[at];
                if preference == extra.1 && !dice.one_in(4)
                    || node.sites.iter().any(|site| site.subnet == subnet)
                    || node.local.contains(&subnet)
                {
                    continue;
                }
                let number = node.sites.len();
                node.sites.push(Site {
                    interface: match dice.below(6) {
                        0 => Interface::Unset,
                        1 if !subnet.contains(':') => Interface::Docker(number),
                        _ => Interface::Link(number),
                    },
                    nat: *dice.pick(&[None, None, Some("none"), Some("masquerade")]),
                    gateway: dice.one_in(2),
                    egress: dice.one_in(8),
                    address: None,
                    preference,
                    alias: None,
                    subnet: subnet.clone(),
                });
            }
        }
    }

    /// Gives hosts of some sites the addresses that hosts of others have: what they were known by becomes their alias, so that
    /// rules, routes and forwards name it still. Now and then one has none.
    fn aliases(&mut self) {
        let sites = self.sites.clone();
        let net = |text: &str| text.parse::<ipnet::IpNet>().unwrap();
        let overlap = |a: &str, b: &str| net(a).contains(&net(b)) || net(b).contains(&net(a));
        let locals: Vec<String> = self.net.nodes.iter().flat_map(|n| n.local.clone()).collect();
        for (at, (owner, seen)) in sites.iter().enumerate() {
            let is_shared =
                sites.iter().enumerate().any(|(other, (_, net))| other != at && overlap(net, seen))
                    || locals.iter().any(|local| overlap(local, seen));
            let dice = &mut self.dice;
            let (skips, kept, third) = (dice.one_in(4), dice.one_in(10), 1 + dice.below(2));
            let length = seen.split_once('/').unwrap().1;
            let (front, own) = if seen.contains(':') {
                (format!("fd66:0:0:{third}::"), format!("fd66:0:0:{third}::/64"))
            } else {
                (format!("192.168.{third}."), format!("192.168.{third}.0/{length}"))
            };
            let node = &mut self.net.nodes[*owner];
            if is_shared || skips || node.sites.iter().any(|s| overlap(&s.subnet, &own)) {
                continue;
            }
            let before = seen.split_once('/').unwrap().0;
            let before =
                before.strip_suffix('0').filter(|_| !before.contains(':')).unwrap_or(before).to_owned();
            let moved = |address: &String| address.replacen(&before, &front, 1);
            let Some(site) = node.sites.iter_mut().find(|s| s.subnet == *seen && s.preference.is_none())
            else {
                continue;
            };
            site.address = site.address.as_ref().map(moved);
            (site.subnet, site.alias) = (own, (!kept).then(|| seen.clone()));
            node.bridges.iter_mut().flatten().for_each(|address| *address = moved(address));
        }
    }

    /// Makes up to three of the nodes relays beside the first, and gives some of the others a home of their own.
    fn relays(&mut self) {
        let dice = &mut self.dice;
        let mut relays = vec![0];
        for node in self.net.nodes.iter_mut().skip(1).take(3) {
            if dice.one_in(3) {
                continue;
            }
            relays.push(node.number);
            node.relay = true;
            (node.routes, node.local, node.keepalive) = (Routes::Split, Vec::new(), None);
            (node.endpoint, node.egress) = (!dice.one_in(12), dice.one_in(3));
        }
        for node in self.net.nodes.iter_mut().filter(|n| !n.is_relay()) {
            if dice.one_in(3) {
                continue;
            }
            let mut left = relays.clone();
            for _ in 0..=dice.below(relays.len() as u64) {
                if !left.is_empty() {
                    let at = usize::try_from(dice.below(left.len() as u64)).unwrap();
                    node.relays.push(left.remove(at));
                }
            }
        }
    }

    fn node(&mut self, number: usize, full: bool) {
        let dice = &mut self.dice;
        let relay = number == 0;
        let mut node = Node {
            number,
            v6: relay || !dice.one_in(3),
            // A relay that nobody can find is found by nobody, but may call spokes that have an endpoint.
            endpoint: if relay { !dice.one_in(20) } else { dice.one_in(8) },
            egress: relay && full && !dice.one_in(4),
            ..Node::default()
        };
        if !relay {
            node.absent = match dice.below(16) {
                0 => Some(Absent::Disabled),
                1 => Some(Absent::Expired),
                _ => None,
            };
            node.keepalive = match dice.below(9) {
                0 => Some(0),
                1 => Some(15),
                _ => None,
            };
        }
        for s in 0..dice.below(9).saturating_sub(5) {
            self.site(&mut node, usize::try_from(s).unwrap());
        }
        self.net.nodes.push(node);
    }

    fn site(&mut self, node: &mut Node, s: usize) {
        let number = node.number;
        let dual = self.net.dual;
        let dice = &mut self.dice;
        let wider =
            self.sites.iter().find(|(owner, net)| *owner != number && net.ends_with(".0/24")).cloned();
        let subnet = match wider {
            // Inside another node's site, or around it.
            Some((_, outer)) if dice.one_in(5) => outer.replace(".0/24", ".64/26"),
            Some((_, outer)) if dice.one_in(12) => {
                let third =
                    outer.rsplit_once('.').and_then(|(head, _)| head.rsplit_once('.')).unwrap().0.to_owned();
                format!("{third}.0.0/16")
            }
            _ if dual && dice.one_in(3) => format!("fd88:{number}:{s}::/64"),
            _ => format!("10.{}.{s}.0/{}", 100 + number, dice.pick(&[24, 24, 24, 25, 28, 30])),
        };
        let interface = match dice.below(8) {
            0 => Interface::Unset,
            1 if !subnet.contains(':') => Interface::Docker(s),
            2 => Interface::Bridge(node.bridges.len()),
            // On one link with another site of the node.
            3 if s > 0 => Interface::Link(s - 1),
            _ => Interface::Link(s),
        };
        let (head, _) = subnet.split_once('/').unwrap();
        let host = |last: u64| {
            if head.contains(':') {
                return format!("{head}{last:x}");
            }
            let (net, first) = head.rsplit_once('.').unwrap();
            format!("{net}.{}", first.parse::<u64>().unwrap() + last)
        };
        if let Interface::Bridge(_) = interface {
            let length = subnet.split_once('/').unwrap().1;
            node.bridges.push(vec![format!("{}/{length}", host(1 + dice.below(2)))]);
        }
        let address = (dice.one_in(5) && !matches!(interface, Interface::Bridge(_))).then(|| host(2));
        node.sites.push(Site {
            interface,
            nat: *dice.pick(&[None, None, Some("none"), Some("masquerade"), Some("auto")]),
            gateway: dice.one_in(2),
            egress: dice.one_in(6),
            address,
            preference: None,
            alias: None,
            subnet: subnet.clone(),
        });
        self.sites.push((number, subnet));
    }

    /// What only a spoke has: `routes` and `local`.
    fn ways(&mut self, number: usize, full: bool) {
        let others: Vec<String> =
            self.sites.iter().filter(|(owner, _)| *owner != number).map(|(_, net)| net.clone()).collect();
        let (dice, node) = (&mut self.dice, &mut self.net.nodes[number]);
        if !others.is_empty() && dice.one_in(6) {
            node.local = vec![dice.pick(&others).clone()];
        }
        if full && dice.one_in(2) {
            node.routes = Routes::Full;
        } else if dice.one_in(6) {
            let mut list = vec!["10.77.0.1/32".to_owned()];
            if dice.one_in(3) {
                list = vec!["10.77.0.0/24".to_owned()];
            }
            if !others.is_empty() {
                list.push(dice.pick(&others).clone());
            }
            node.routes = Routes::Only(list);
        }
    }

    fn policy(&mut self) {
        let mut places: Vec<String> = vec!["*".into(), "10.77.0.0/24".into(), "internet".into()];
        places.extend(self.net.nodes.iter().flat_map(|n| [n.name(), n.name(), n.address()]));
        for (_, net) in &self.sites {
            let head = net.split_once('/').unwrap().0;
            places.extend([net.clone(), net.clone()]);
            // One host, a part of a site, and all sites of a node at once.
            if let Some((front, _)) = head.rsplit_once('.').filter(|(_, last)| *last == "0") {
                places.push(format!("{front}.10"));
                places.push(format!("{front}.8/29"));
                places.push(format!("{}.0.0/16", front.rsplit_once('.').unwrap().0));
            }
        }
        let dice = &mut self.dice;
        for _ in 0..=dice.below(4) {
            let mut ends = || -> Vec<String> {
                let mut list: Vec<String> = (0..=dice.below(2)).map(|_| dice.pick(&places).clone()).collect();
                list.dedup();
                list
            };
            let (mut from, to) = (ends(), ends());
            // Nothing comes from the Internet by a rule, and `up` says so.
            from.retain(|place| place != "internet");
            if from.is_empty() {
                from.push("*".into());
            }
            self.net.allow.push(Allow { from, to, ports: dice.pick(&PORTS).to_vec() });
        }
    }
}
