//! PreUp, PostUp and PostDown lines that give a host under `wg-quick(8)` what `up` would give it.
//!
//! What closes comes before the interface is up, what opens after it.
//! They name the interface as `%i` and sites by their subnets, so that they survive a Docker network
//! that comes back with another bridge. `#` would begin a comment and appears nowhere.

mod about;
mod bridges;
mod forwarding;
mod short;

use super::Surroundings;
use super::compile::{SiteMatch, compile};
use super::rule::{Family, Match, Table};
use super::{iptables_text, nft_text};
use crate::model::{Derivation, Network, Node, Site, Timestamp};
use ipnet::IpNet;
use std::collections::BTreeSet;

/// Lines for the `[Interface]` section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// What they do, as the lines of a comment.
    pub about: Vec<String>,
    /// Run by bash before the interface is up.
    pub pre_up: Vec<String>,
    /// Run by bash after the interface is up.
    pub post_up: Vec<String>,
    /// Run by bash after it is gone.
    pub post_down: Vec<String>,
}

/// Makes the hooks of a node; empty for one that forwards nothing and has no bridges.
pub fn hooks(network: &Network, node: &Node, now: Timestamp) -> Hooks {
    hooks_of(network, &Derivation::of(network, now), node, now)
}

/// The same with what AllowedIPs are derived from, where many nodes of one network are asked for.
pub fn hooks_of(network: &Network, derivation: &Derivation, node: &Node, now: Timestamp) -> Hooks {
    let node = &*node.ready();
    let mut hooks = of_the_firewall(network, derivation, node, now);
    if let Some((made, undone)) = bridges::bridges(node) {
        // What the rules and switches are about is there before them, and goes after them.
        hooks.pre_up.splice(0..0, short::short(vec![made]));
        hooks.post_down.push(undone);
    }
    hooks.about = about::about(node, &hooks);
    hooks
}

fn of_the_firewall(network: &Network, derivation: &Derivation, node: &Node, now: Timestamp) -> Hooks {
    let derived = || derivation.for_spoke(node);
    let sites: Vec<(&Site, SiteMatch)> = node.sites.iter().map(|s| (s, SiteMatch::Subnet)).collect();
    let Some(table) = compile(network, &derived, node, &sites, &Surroundings::later(), now) else {
        return Hooks::default();
    };
    let table = with_placeholder(table, network.name.as_str());
    let mut iptables_up = Vec::new();
    let mut iptables_down = Vec::new();
    let (mut beside_up, mut beside_down) = (Vec::new(), Vec::new());
    for (family, program) in [(Family::V4, "iptables"), (Family::V6, "ip6tables")] {
        if family == Family::V6 && !table.sets.values().any(|s| s.family == Family::V6) {
            continue;
        }
        if let Some(restore) = iptables_text::restore(&table, family) {
            // A `wg-quick up` that failed half-way left its chains.
            iptables_up.push(format!(
                "{program}-restore -n <<< {} 2>/dev/null || :; {program}-restore -n <<< {}",
                ansi_c(&restore.down),
                ansi_c(&restore.up)
            ));
            iptables_down.push(format!("{program}-restore -n <<< {}", ansi_c(&restore.down)));
        }
        let (up, down) = accepts(network, node, family, program);
        beside_up.push(up);
        beside_down.push(down);
    }
    let pre_up = vec![format!(
        "if command -v nft >/dev/null; then nft -f - <<< '{}'; else {}; fi",
        nft_text::one_line(&table),
        iptables_up.join("; ")
    )];
    let mut post_up = forwarding::forwarding(network, node);
    post_up.extend(beside_up);
    let (own_up, mut post_down) = to_own_address(network, &derived, node);
    post_up.extend(own_up);
    post_down.extend(beside_down);
    post_down.extend([
        restore_forwarding(),
        format!(
            "if command -v nft >/dev/null; then nft delete table inet {}; else {}; fi",
            table.name,
            iptables_down.join("; ")
        ),
    ]);
    let [pre_up, post_up, post_down] = [pre_up, post_up, post_down].map(short::short);
    Hooks { about: Vec::new(), pre_up, post_up, post_down }
}

/// Lets packets pass where iptables drops what is forwarded: accepts at the top of Docker's DOCKER-USER, else of a FORWARD
/// with policy drop, and of raw PREROUTING, where Docker ≥ 28 drops. Nothing where neither is there. The policy is held by
/// the table, whose drops are final; without nft, its chain of iptables is what accepts.
fn accepts(network: &Network, node: &Node, family: Family, program: &str) -> (String, String) {
    let sites: Vec<IpNet> =
        node.sites.iter().map(|s| s.subnet).filter(|net| Family::of(net) == family).collect();
    let mark = "-m comment --comment wgrelay-q-%i";
    let mut accepts: Vec<String> = Vec::new();
    if node.is_relay() {
        accepts.push(format!("-i %i -o %i {mark} -j ACCEPT"));
    }
    for net in &sites {
        accepts.push(format!("-d {net} -i %i {mark} -j ACCEPT"));
        accepts.push(format!("-s {net} -o %i {mark} -j ACCEPT"));
    }
    let answers = "-m conntrack --ctstate RELATED,ESTABLISHED";
    if network.is_exit(node) {
        accepts.push(format!("-i %i ! -o %i {mark} -j ACCEPT"));
        accepts.push(format!("! -i %i -o %i {answers} {mark} -j ACCEPT"));
    }
    for site in node.sites.iter().filter(|s| s.egress && Family::of(&s.subnet) == family) {
        let net = site.subnet;
        accepts.push(format!("-s {net} ! -i %i ! -o %i {mark} -j ACCEPT"));
        accepts.push(format!("-d {net} ! -i %i ! -o %i {answers} {mark} -j ACCEPT"));
    }
    let raw: Vec<String> = sites.iter().map(|net| format!("-d {net} -i %i {mark} -j ACCEPT")).collect();
    let each = |rules: &[String], command: &str, after: &str| {
        let lines: Vec<String> =
            rules.iter().map(|rule| format!("{program} -w {command} {rule}{after}")).collect();
        if lines.is_empty() { ":".to_string() } else { lines.join("; ") }
    };
    let made = format!("{NOTES}.raw.{program}");
    let up = format!(
        "s=$({program}-save 2>/dev/null || :); c=; case $s in *:DOCKER-USER\\ *) c=DOCKER-USER ;; *:FORWARD\\ DROP*) c=FORWARD ;; esac; \
         if [ -n \"$c\" ] && command -v nft >/dev/null; then {}; \
         elif [ \"$c\" = DOCKER-USER ]; then {program} -w -I $c -j wgrelay-q-%i-f; fi; \
         if [ \"$c\" = DOCKER-USER ]; then case $s in *\\*raw*) ;; *) touch {made} ;; esac; {}; fi",
        each(&accepts, "-I $c", ""),
        each(&raw, "-t raw -I PREROUTING", ""),
    );
    let table = format!("{} raw", family.nft());
    let gone = " 2>/dev/null || :";
    let down = format!(
        "s=$({program}-save 2>/dev/null || :); case $s in *wgrelay-q-%i*) for c in DOCKER-USER FORWARD; do {}; \
         done; {program} -w -D DOCKER-USER -j wgrelay-q-%i-f{gone}; {} ;; esac; \
         if [ -e {made} ]; then rm {made}; case $(nft list table {table} 2>/dev/null || :) in *counter*) ;; \
         *) nft delete table {table} 2>/dev/null || : ;; esac; fi",
        each(&accepts, "-D $c", gone),
        each(&raw, "-t raw -D PREROUTING", gone),
    );
    (up, down)
}

/// The table's name, and what its chains' begin with where there is no nft.
const TABLE: &str = "wgrelay-q-%i";
/// Where the hooks note the values that switches had, so that they can be put back.
const NOTES: &str = "/run/wgrelay-q-%i";

/// Lets a site's hosts call their gateway by its tunnel address. Where everything goes into the tunnel, wg-quick drops what
/// comes to that address by another link; the rule goes with wg-quick's own table, of iptables by its comment's name.
fn to_own_address(
    network: &Network,
    derived: &dyn Fn() -> BTreeSet<IpNet>,
    node: &Node,
) -> (Vec<String>, Vec<String>) {
    let (mut up, mut down) = (Vec::new(), Vec::new());
    if node.is_relay() {
        return (up, down);
    }
    let into_tunnel = derived();
    for own in network.interface_addresses(node).iter().map(IpNet::addr) {
        let family = if own.is_ipv6() { Family::V6 } else { Family::V4 };
        // Where something stays outside, the rules are the file's own, and none of wg-quick's drops anything.
        if !into_tunnel.iter().any(|net| net.prefix_len() == 0 && Family::of(net) == family) {
            continue;
        }
        let program = if own.is_ipv6() { "ip6tables" } else { "iptables" };
        let (ip, table) = (family.nft(), "wg-quick-%i");
        for site in node.sites.iter().map(|s| s.subnet).filter(|net| Family::of(net) == family) {
            let rule = format!("! -i %i -s {site} -d {own} -m comment --comment wgrelay-q-%i -j ACCEPT");
            up.push(format!(
                "if command -v nft >/dev/null; then nft insert rule {ip} {table} preraw {ip} saddr {site} {ip} daddr {own} \
                 accept 2>/dev/null || :; else {program} -w -t raw -I PREROUTING {rule}; fi"
            ));
            down.push(format!(
                "command -v nft >/dev/null || {program} -w -t raw -D PREROUTING {rule} 2>/dev/null || :"
            ));
        }
    }
    (up, down)
}

/// Puts the switches back, but IPv4's not where somebody has turned forwarding on for the whole host since.
fn restore_forwarding() -> String {
    format!(
        "if [ -e {NOTES} ]; then while read -r v f; do case $f in */ipv4/*) g=$(cat /proc/sys/net/ipv4/ip_forward) ;; \
         *) g=0 ;; esac; if [ -e $f ] && [ $g = 0 ]; then echo $v > $f; fi; done < {NOTES}; rm {NOTES}; fi"
    )
}

fn with_placeholder(mut table: Table, tunnel: &str) -> Table {
    // Not the name that `up` uses: what wg-quick made is wg-quick's to take away. With 15 characters of interface
    // it leaves 3 of iptables' 28 for the chains.
    table.name = TABLE.into();
    for m in table.chains.iter_mut().flat_map(|c| &mut c.rules).flat_map(|r| &mut r.matches) {
        if let Match::Iif { name, .. } | Match::Oif { name, .. } = m
            && name == tunnel
        {
            *name = "%i".into();
        }
    }
    table
}

/// Quotes a text of several lines for bash on one line.
fn ansi_c(text: &str) -> String {
    format!("$'{}'", text.trim_end().replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::fixture::relay_alone;

    #[test]
    fn what_is_not_the_tunnels_is_left_to_others() {
        let (network, relay) = relay_alone();
        let now = Timestamp::from(std::time::UNIX_EPOCH);
        let lines = hooks(&network, &network.nodes[&relay], now);
        let up = [&lines.pre_up[..], &lines.post_up[..]].concat().join("\n");
        // Long commands are written in pieces.
        let up = [">", ">>"]
            .iter()
            .fold(up, |up, to| up.replace(&format!("' {to} /run/wgrelay-q-%i.sh\nprintf %s '"), ""));
        assert!(up.contains("-A wgrelay-q-%i-f ! -i %i ! -o %i -j RETURN\\n"), "iptables: {up}");
        assert!(up.contains("iifname != \"%i\" oifname != \"%i\" accept;"), "nft: {up}");
        assert!(up.contains("-I $c -i %i -o %i -m comment --comment wgrelay-q-%i -j ACCEPT"), "{up}");
        assert!(!up.contains("-t raw"), "no site, no container: {up}");
    }
}
