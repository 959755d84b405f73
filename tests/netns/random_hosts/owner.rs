//! What a host's owner has besides: a script of `ip`, `sysctl`, `nft` and `iptables`, by chance.

use crate::rig::inet::Inet;
use crate::rig::net::{End, cable, up};
use crate::rig::node::Node;

/// A host's own affairs.
pub struct Owner {
    /// Of the relay; otherwise of the laptop, which is a site's gateway.
    pub is_relay: bool,
    /// A second way to the Internet: the metric of its default route.
    second: Option<u64>,
    /// What the owner has run.
    pub script: String,
}

/// The same number comes out the same everywhere (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn of<'l>(&mut self, list: &[&'l str]) -> &'l str {
        list[self.below(list.len() as u64) as usize]
    }
}

const NETS: [&str; 7] = [
    "10.88.0.0/24",
    "10.88.0.2",
    "10.88.0.3",
    "10.20.0.0/24",
    "192.168.16.64/26",
    "10.0.0.0/8",
    "192.168.0.0/16",
];
const LINKS: [&str; 3] = ["eth0", "eth1", "wg0"];

impl Owner {
    /// What an owner has, by a seed.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            dice.below(2);
        }
        let is_relay = dice.below(3) > 0;
        let second = dice.one_in(5).then(|| 50 + 100 * dice.below(2));
        let kinds: [fn(&mut Dice, bool) -> String; 7] =
            [switches, forwarding, mtu, policy, chains, iptables, dnat];
        let mut script = String::new();
        let mut had = Vec::new();
        for _ in 0..=dice.below(3) {
            let kind = dice.below(kinds.len() as u64) as usize;
            if !had.contains(&kind) {
                had.push(kind);
                script += &kinds[kind](&mut dice, is_relay);
            }
        }
        Self { is_relay, second, script }
    }

    /// Lays the cable of a second way to the Internet.
    pub fn cables(&self, t: &Inet, host: &Node) {
        let Some(metric) = self.second else { return };
        cable(End { node: host, link: "eth7" }, End { node: &t.inet, link: "to-second" });
        t.inet.ip(&up("to-second", &["203.0.114.1/24"]));
        host.ip(&(up("eth7", &["203.0.114.7/24"])
            + &format!("route replace default via 203.0.114.1 metric {metric}\n")));
    }
}

fn gateway(is_relay: bool) -> &'static str {
    if is_relay { "203.0.113.1" } else { "198.51.100.1" }
}

fn switches(dice: &mut Dice, _: bool) -> String {
    let mut script = String::new();
    for link in ["all", "default", "eth0", "eth1"] {
        if dice.one_in(2) {
            let value = dice.of(&["0", "1", "2"]);
            script += &format!("echo {value} >/proc/sys/net/ipv4/conf/{link}/rp_filter\n");
        }
    }
    if dice.one_in(3) {
        script += "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6\n";
    }
    script
}

fn forwarding(dice: &mut Dice, _: bool) -> String {
    let value = dice.of(&["0", "1"]);
    format!("echo {value} >/proc/sys/net/ipv4/ip_forward\n")
}

fn mtu(dice: &mut Dice, _: bool) -> String {
    let value = dice.of(&["1492", "1460", "1400", "1300"]);
    format!("ip link set eth0 mtu {value}\n")
}

fn policy(dice: &mut Dice, is_relay: bool) -> String {
    let gateway = gateway(is_relay);
    let route = [
        format!("ip route add default via {gateway} table 77"),
        "ip route add unreachable default table 77".into(),
        format!("ip route add {} via {gateway} table 77", dice.of(&NETS)),
        format!("ip route add throw {} table 77", dice.of(&NETS)),
    ];
    let mut script = format!("{}\n", route[dice.below(route.len() as u64) as usize]);
    for _ in 0..=dice.below(2) {
        let (from, to) = (dice.of(&NETS), dice.of(&NETS));
        let pref = dice.of(&["90", "900", "5200", "32770"]);
        let what = match dice.below(6) {
            0 => format!("from {from}"),
            1 => format!("to {to}"),
            2 => format!("from {from} to {to}"),
            3 => format!("iif {}", dice.of(&["eth0", "eth1", "lo"])),
            4 => "fwmark 0x77".into(),
            _ => format!("to {to} ipproto tcp dport 22"),
        };
        script += &format!("ip rule add pref {pref} {what} lookup 77 || :\n");
    }
    script
}

/// What a rule asks of a packet.
fn matches(dice: &mut Dice) -> String {
    let mut all = Vec::new();
    for _ in 0..dice.below(3) {
        all.push(match dice.below(9) {
            0 => format!("iifname {}", dice.of(&LINKS)),
            1 => format!("oifname {}", dice.of(&LINKS)),
            2 => format!("ip saddr {}", dice.of(&NETS)),
            3 => format!("ip daddr {}", dice.of(&NETS)),
            4 => format!("tcp dport {}", dice.of(&["22", "8080", "{ 22, 80, 443 }", "1-1023"])),
            5 => format!("udp dport {}", dice.of(&["53", "51820", "1-1023"])),
            6 => "meta l4proto icmp".into(),
            7 => format!("ct state {}", dice.of(&["established,related", "new", "invalid"])),
            _ => format!("iifname != {}", dice.of(&LINKS)),
        });
    }
    all.join(" ")
}

fn chains(dice: &mut Dice, _: bool) -> String {
    let family = dice.of(&["inet", "ip"]);
    let mut script = format!("add table {family} own\nadd chain {family} own more\n");
    for n in 0..=dice.below(2) {
        let hook = dice.of(&["input", "forward", "forward", "output", "prerouting", "postrouting"]);
        let priority = dice.of(&["-150", "-10", "0", "5", "100"]);
        let drops = dice.one_in(4) && ["input", "forward"].contains(&hook);
        let policy = if drops { "drop" } else { "accept" };
        let chain = format!("{family} own c{n}");
        script += &format!(
            "add chain {chain} {{ type filter hook {hook} priority {priority} ; policy {policy} ; }}\n"
        );
        if drops || dice.one_in(3) {
            script += &format!("add rule {chain} ct state established,related accept\n");
        }
        if drops && dice.one_in(2) {
            script += &format!("add rule {chain} udp dport 51820 accept\n");
        }
        for _ in 0..dice.below(4) {
            let verdict = dice.of(&["accept", "accept", "drop", "reject", "jump more", "return", "counter"]);
            let verdict = if verdict == "reject" && ["prerouting", "postrouting"].contains(&hook) {
                "drop"
            } else {
                verdict
            };
            let verdict = if verdict == "jump more" && hook != "forward" { "accept" } else { verdict };
            script += &format!("add rule {chain} {} {verdict}\n", matches(dice));
        }
    }
    for _ in 0..dice.below(3) {
        let verdict = dice.of(&["accept", "drop", "return"]);
        script += &format!("add rule {family} own more {} {verdict}\n", matches(dice));
    }
    // iifname means nothing where a packet begins, nor oifname where it comes in; nft takes both.
    format!("nft -f - <<'END'\n{script}END\n")
}

fn iptables(dice: &mut Dice, _: bool) -> String {
    let program = dice.of(&["iptables-nft", "iptables-legacy"]);
    let mut script = String::new();
    let drops = dice.one_in(2);
    let chain = dice.of(&["FORWARD", "INPUT"]);
    if drops {
        script += &format!("{program} -P {chain} DROP\n");
    }
    if dice.one_in(2) {
        script += &format!("{program} -A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n");
    }
    if dice.one_in(2) {
        script += &format!("{program} -A INPUT -p udp --dport 51820 -j ACCEPT\n");
    }
    script += &format!("{program} -N own\n{program} -A {chain} -j own\n");
    for _ in 0..dice.below(4) {
        let chain = dice.of(&[chain, "own"]);
        let what = match dice.below(6) {
            0 => format!("-i {}", dice.of(&LINKS)),
            1 => format!("! -i {}", dice.of(&LINKS)),
            2 => format!("-s {}", dice.of(&NETS)),
            3 => format!("-d {}", dice.of(&NETS)),
            4 => "-p tcp --dport 22".into(),
            _ => "-p icmp".into(),
        };
        let verdict = dice.of(&["ACCEPT", "DROP", "REJECT", "RETURN"]);
        script += &format!("{program} -A {chain} {what} -j {verdict}\n");
    }
    script
}

fn dnat(dice: &mut Dice, is_relay: bool) -> String {
    let to = if is_relay { "10.20.0.5" } else { "192.168.16.77" };
    let what = match dice.below(4) {
        0 => format!("iifname wg0 tcp dport 8080 dnat to {to}:22"),
        1 => format!("iifname eth0 tcp dport 8080 dnat to {to}:22"),
        2 => format!(
            "ip daddr {} tcp dport 8080 dnat to {to}",
            if is_relay { "10.88.0.1" } else { "10.88.0.2" }
        ),
        _ => "oifname eth0 masquerade".into(),
    };
    let hook =
        if what.ends_with("masquerade") { "postrouting priority 100" } else { "prerouting priority -100" };
    format!(
        "nft -f - <<'END'\nadd table ip owners\nadd chain ip owners n {{ type nat hook {hook} ; }}\nadd rule ip owners n {what}\nEND\n"
    )
}
