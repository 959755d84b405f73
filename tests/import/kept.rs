//! Files of a relay and its clients as people write them: whoever reached somebody by them still does, or it is told.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use proptest::prelude::*;
use wgrelay::model::{PrivateKey, Verdict};
use wgrelay::reach::{Place, check};

use super::{NOW, run, told};

/// A client: what its file and the relay's [Peer] say.
#[derive(Debug, Clone)]
struct Client {
    address: Ipv4Addr,
    /// A second one.
    other: Option<Ipv4Addr>,
    site: Option<Ipv4Net>,
    allowed: Vec<Ipv4Net>,
    keepalive: bool,
    /// Whether the relay has its second address, too.
    has_other: bool,
}

fn key(index: usize) -> PrivateKey {
    PrivateKey::from_random([u8::try_from(index).unwrap() + 1; 32])
}

fn client(index: u8) -> impl Strategy<Value = Client> {
    let allowed = prop_oneof![
        3 => Just(vec!["10.8.0.0/24"]),
        1 => Just(vec!["10.0.0.0/8"]),
        1 => Just(vec!["0.0.0.0/0"]),
        1 => Just(vec!["10.8.0.1/32"]),
        1 => Just(vec!["10.8.0.0/24", "192.168.50.0/24", "192.168.51.0/24"]),
        1 => Just(vec!["10.8.0.2/31", "192.168.52.0/24", "10.8.0.32/27"]),
        1 => Just(vec!["10.8.0.0/25", "10.9.0.0/24", "192.168.0.0/16"]),
    ];
    let other = prop_oneof![
        3 => Just(None),
        1 => Just(Some(Ipv4Addr::new(10, 8, 0, 32 + index))),
        1 => Just(Some(Ipv4Addr::new(10, 9, 0, 32 + index))),
    ];
    let site = prop::option::of(Just(Ipv4Net::new([192, 168, 50 + index, 0].into(), 24).unwrap()));
    (other, site, allowed, any::<bool>(), any::<bool>()).prop_map(
        move |(other, site, allowed, keepalive, has_other)| Client {
            address: [10, 8, 0, 2 + index].into(),
            other,
            site,
            allowed: allowed.into_iter().map(|n| n.parse().unwrap()).collect(),
            keepalive,
            has_other,
        },
    )
}

impl Client {
    /// What the relay sends to it.
    fn claims(&self) -> Vec<Ipv4Net> {
        let hosts = std::iter::once(self.address).chain(self.other.filter(|_| self.has_other));
        hosts.map(Ipv4Net::from).chain(self.site).collect()
    }

    fn addresses(&self) -> Vec<Ipv4Addr> {
        std::iter::once(self.address).chain(self.other).collect()
    }

    fn sends(&self, to: Ipv4Addr) -> bool {
        self.allowed.iter().any(|n| n.contains(&to))
    }

    fn is_held(&self, address: Ipv4Addr) -> bool {
        self.claims().iter().any(|n| n.contains(&address))
    }
}

const HUB: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn files(clients: &[Client]) -> Vec<(String, String)> {
    let mut hub = format!(
        "[Interface]\nAddress = {HUB}/24\nListenPort = 51820\nPrivateKey = {}\n\
         PostUp = iptables -A FORWARD -i %i -j ACCEPT; iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE\n",
        key(0).expose_base64().as_str()
    );
    let mut files = Vec::new();
    for (i, client) in clients.iter().enumerate() {
        let key = key(i + 1);
        hub +=
            &format!("[Peer]\nPublicKey = {}\nAllowedIPs = {}\n", key.public_key(), list(&client.claims()));
        let addresses: Vec<String> = client.addresses().iter().map(|a| format!("{a}/24")).collect();
        let keepalive = if client.keepalive { "PersistentKeepalive = 25\n" } else { "" };
        let text = format!(
            "[Interface]\nPrivateKey = {}\nAddress = {}\n[Peer]\nPublicKey = {}\nAllowedIPs = {}\n\
             Endpoint = 198.51.100.7:51820\n{keepalive}",
            key.expose_base64().as_str(),
            list(&addresses),
            self::key(0).public_key(),
            list(&client.allowed),
        );
        files.push((format!("c{i}.conf"), text));
    }
    files.push(("wg0.conf".to_owned(), hub));
    files
}

/// Pairs of nodes and sites of which the first gets an answer from the second, by WireGuard's own rules.
fn reached(clients: &[Client]) -> BTreeSet<(String, String)> {
    let mut pairs = BTreeSet::new();
    let name = |i: usize| format!("c{i}");
    for (i, a) in clients.iter().enumerate() {
        let from: Vec<Ipv4Addr> = a.addresses().into_iter().filter(|ip| a.is_held(*ip)).collect();
        if !from.is_empty() && a.sends(HUB) {
            pairs.insert((name(i), "relay".to_owned()));
            if a.keepalive {
                pairs.insert(("relay".to_owned(), name(i)));
            }
        }
        for (j, b) in clients.iter().enumerate().filter(|(j, b)| *j != i && b.keepalive) {
            let answers = |to: Ipv4Addr| a.sends(to) && from.iter().any(|ip| b.sends(*ip));
            if b.addresses().into_iter().any(|ip| b.is_held(ip) && answers(ip)) {
                pairs.insert((name(i), name(j)));
            }
            if let Some(site) = b.site.filter(|s| answers(s.hosts().nth(70).unwrap())) {
                pairs.insert((name(i), site.to_string()));
            }
        }
    }
    pairs
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn what_was_reachable_still_is_or_is_told(clients in (client(0), client(1), client(2), client(3), 1..5usize)
        .prop_map(|(a, b, c, d, n)| [a, b, c, d][..n].to_vec()))
    {
        let files = files(&clients);
        let made = run(&files).map_err(|p| TestCaseError::fail(told(&p)))?;
        let kept: BTreeSet<(String, String)> = check(&made.network, NOW)
            .pairs
            .iter()
            .filter(|p| p.verdict == Verdict::Reaches)
            .map(|p| (p.from.to_string(), p.to.to_string()))
            .collect();
        let named = made.findings.iter().find(|p| p.code == "reached-before").map(|p| p.message.as_str());
        for (from, to) in reached(&clients).difference(&kept) {
            let is_told = named.is_some_and(|text| text.contains(&format!("{from} to {to}")) || text.contains("more pairs"));
            prop_assert!(is_told, "{} to {} is lost\n{}\n{}", from, to, made.text, told(&made.findings));
        }
        // Where each has one address and sends to the subnet, nothing is lost at all.
        let is_plain = |c: &Client| c.other.is_none();
        if clients.iter().all(is_plain) {
            prop_assert!(named.is_none(), "{:?}\n{}", named, made.text);
        }
        // And what is said is so.
        if let Some(text) = named {
            let place = |n: &str| Place::Node(n.parse().unwrap()).to_string();
            let lost: Vec<(String, String)> = reached(&clients).difference(&kept).cloned().collect();
            prop_assert!(lost.iter().any(|(a, b)| text.contains(&format!("{a} to {b}")) || *b == place("relay")), "{}", text);
        }
    }
}
