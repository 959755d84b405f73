//! A network as data that is easy to make smaller: what the generator rolls, and the text that it becomes.
//!
//! Nodes keep their number, and with it name, address and key, when others go; what a list says of somebody who is gone is
//! left out of the text.

use std::fmt::Write as _;

/// The name of every network here, and of its interface.
pub const NAME: &str = "wlcrand";

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    /// Whether the tunnel has IPv6.
    pub dual: bool,
    /// Seconds between keepalives of spokes that say nothing else.
    pub keepalive: u16,
    /// The first is a relay.
    pub nodes: Vec<Node>,
    /// Who may talk to whom.
    pub allow: Vec<Allow>,
    /// Ports of relays that lead on.
    pub forwards: Vec<Forward>,
}

/// A port that leads on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The relay.
    pub on: usize,
    /// The port.
    pub port: String,
    /// A node's name, or an address in a site; with a port or without.
    pub to: String,
    /// Who may call; empty: everybody.
    pub from: Vec<String>,
    /// `source`; `None`: unset.
    pub source: Option<&'static str>,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Its number: 0 is a relay.
    pub number: usize,
    /// Whether it is a further relay.
    pub relay: bool,
    /// `relays`, by number; empty: unset.
    pub relays: Vec<usize>,
    /// Whether it has an IPv6 address, where the tunnel has IPv6.
    pub v6: bool,
    /// Whether the others know where it is.
    pub endpoint: bool,
    /// Whether full tunnels leave by it.
    pub egress: bool,
    /// By which spoke's egress it leaves, by number.
    pub via: Option<usize>,
    /// What keeps it out of the network.
    pub absent: Option<Absent>,
    /// `keepalive`; `None`: as the network says.
    pub keepalive: Option<u16>,
    /// `routes`.
    pub routes: Routes,
    /// `local`.
    pub local: Vec<String>,
    /// Its sites.
    pub sites: Vec<Site>,
    /// The addresses of its bridges, by the bridge's number.
    pub bridges: Vec<Vec<String>>,
}

/// Why a node is no member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// `enabled = false`.
    Disabled,
    /// Past its `expires`.
    Expired,
}

/// What a spoke sends into the tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Routes {
    /// The network.
    #[default]
    Split,
    /// Everything.
    Full,
    /// These.
    Only(Vec<String>),
}

/// A site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its prefix.
    pub subnet: String,
    /// What it is behind.
    pub interface: Interface,
    /// `nat`; `None`: unset.
    pub nat: Option<&'static str>,
    /// `gateway = true`.
    pub gateway: bool,
    /// `egress = true`.
    pub egress: bool,
    /// The node's own address there.
    pub address: Option<String>,
    /// `preference`, where others have the site as well.
    pub preference: Option<u64>,
    /// `alias`.
    pub alias: Option<String>,
}

/// A site's `interface`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// Unset.
    Unset,
    /// A link of this number; sites may share it.
    Link(usize),
    /// The node's bridge of this number.
    Bridge(usize),
    /// A Docker network of this number.
    Docker(usize),
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    /// Places that may start.
    pub from: Vec<String>,
    /// Places that may be asked for.
    pub to: Vec<String>,
    /// With which ports.
    pub ports: Vec<&'static str>,
}

impl Node {
    /// Its name.
    pub fn name(&self) -> String {
        format!("n{}", self.number)
    }
    /// Its address in the tunnel.
    pub fn address(&self) -> String {
        format!("10.77.0.{}", self.number + 1)
    }
    /// Where it is outside.
    fn endpoint(&self) -> String {
        format!("192.0.2.{}:{}", self.number + 7, 51820 + self.number)
    }
    /// A key that no two nodes share; the lab makes its own.
    fn key(&self) -> String {
        let letter = char::from(b'A' + u8::try_from(self.number).unwrap());
        format!("{letter}BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    }

    /// Says whether it is a relay.
    pub fn is_relay(&self) -> bool {
        self.number == 0 || self.relay
    }

    fn text(&self, dual: bool, relays: &[usize], all: &[usize]) -> String {
        let mut text = format!("[node.{}]\npublic_key = \"{}\"\n", self.name(), self.key());
        let mut line = |l: String| writeln!(text, "{l}").unwrap();
        line(format!("address = \"{}\"", self.address()));
        if dual && self.v6 {
            line(format!("address6 = \"fd77::{}\"", self.number + 1));
        }
        if self.is_relay() {
            line("role = \"relay\"".into());
        }
        let listed: Vec<String> =
            self.relays.iter().filter(|n| relays.contains(n)).map(|n| format!("n{n}")).collect();
        if !listed.is_empty() && !self.is_relay() {
            line(format!("relays = {listed:?}"));
        }
        if self.endpoint {
            line(format!("endpoint = \"{}\"", self.endpoint()));
        }
        if self.egress {
            line("egress = true".into());
        }
        if let Some(exit) = self.via.filter(|exit| all.contains(exit) && !self.is_relay()) {
            line(format!("via = \"n{exit}\""));
        }
        match self.absent {
            Some(Absent::Disabled) => line("enabled = false".into()),
            Some(Absent::Expired) => line("expires = \"2026-01-31T00:00:00Z\"".into()),
            None => {}
        }
        if let Some(seconds) = self.keepalive {
            line(format!("keepalive = {seconds}"));
        }
        match &self.routes {
            Routes::Split => {}
            Routes::Full => line("routes = \"full\"".into()),
            Routes::Only(list) => line(format!("routes = {list:?}")),
        }
        if !self.local.is_empty() {
            line(format!("local = {:?}", self.local));
        }
        for (number, addresses) in self.bridges.iter().enumerate() {
            line(format!(
                "[[node.{}.bridge]]\nname = \"br{number}\"\naddresses = {addresses:?}",
                self.name()
            ));
        }
        for site in &self.sites {
            line(format!("[[node.{}.site]]\n{}", self.name(), site.text()));
        }
        text
    }
}

impl Site {
    fn text(&self) -> String {
        let mut text = format!("subnet = \"{}\"\n", self.subnet);
        text += &match self.interface {
            Interface::Unset => String::new(),
            Interface::Link(n) => format!("interface = \"lan{n}\"\n"),
            Interface::Bridge(n) => format!("interface = \"br{n}\"\n"),
            Interface::Docker(n) => format!("interface = \"docker:net{n}\"\n"),
        };
        if let Some(nat) = self.nat {
            writeln!(text, "nat = \"{nat}\"").unwrap();
        }
        if let Some(address) = &self.address {
            writeln!(text, "address = \"{address}\"").unwrap();
        }
        for (word, is) in [("gateway", self.gateway), ("egress", self.egress)] {
            if is {
                writeln!(text, "{word} = true").unwrap();
            }
        }
        if let Some(preference) = self.preference {
            writeln!(text, "preference = {preference}").unwrap();
        }
        if let Some(alias) = &self.alias {
            writeln!(text, "alias = \"{alias}\"").unwrap();
        }
        text.trim_end().to_owned()
    }
}

impl Random {
    /// The network's file.
    pub fn text(&self) -> String {
        let mut text = format!("[network]\nname = \"{NAME}\"\nsubnet = \"10.77.0.0/24\"\n");
        if self.dual {
            text += "subnet6 = \"fd77::/64\"\n";
        }
        if self.keepalive != 25 {
            writeln!(text, "keepalive = {}", self.keepalive).unwrap();
        }
        let relays: Vec<usize> = self.nodes.iter().filter(|n| n.is_relay()).map(|n| n.number).collect();
        let all: Vec<usize> = self.nodes.iter().map(|n| n.number).collect();
        for node in &self.nodes {
            text += &node.text(self.dual, &relays, &all);
        }
        let known =
            |place: &&String| !place.starts_with('n') || self.nodes.iter().any(|n| n.name() == **place);
        for forward in self.forwards.iter().filter(|f| relays.contains(&f.on)) {
            let target = forward.to.split(':').next().unwrap_or_default();
            if target.starts_with('n') && !self.nodes.iter().any(|n| n.name() == target) {
                continue;
            }
            writeln!(
                text,
                "[[forward]]\non = \"n{}\"\nport = \"{}\"\nto = \"{}\"",
                forward.on, forward.port, forward.to
            )
            .unwrap();
            if !forward.from.is_empty() {
                writeln!(text, "from = {:?}", forward.from).unwrap();
            }
            if let Some(source) = forward.source {
                writeln!(text, "source = \"{source}\"").unwrap();
            }
        }
        for rule in &self.allow {
            let of = |list: &[String]| list.iter().filter(known).cloned().collect::<Vec<String>>();
            let (from, to) = (of(&rule.from), of(&rule.to));
            if from.is_empty() || to.is_empty() {
                continue;
            }
            writeln!(text, "[[allow]]\nfrom = {from:?}\nto = {to:?}").unwrap();
            if !rule.ports.is_empty() {
                writeln!(text, "ports = {:?}", rule.ports).unwrap();
            }
        }
        text
    }
}
