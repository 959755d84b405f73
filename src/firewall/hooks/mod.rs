//! What gives a host under `wg-quick(8)` what `up` would give it: commands of bash for PreUp, PostUp and PostDown, and the functions
//! that they call.
//!
//! What closes comes before the interface is up, what opens after it.
//! They name the interface as `%i` and sites by their subnets, so that they survive a Docker network
//! that comes back with another bridge.

mod about;
mod bridges;
mod forwarding;
pub(crate) mod plain;
pub(crate) mod shell;

use super::Surroundings;
use super::compile::{SiteMatch, compile};
use super::rule::{Family, Match, Table};
use super::{iptables_text, nft_text};
use crate::model::{Derivation, Network, Node, Site, Timestamp};
use ipnet::IpNet;
use std::collections::BTreeSet;

/// What a node's file does besides the tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// What they do, as the lines of a comment.
    pub about: Vec<String>,
    /// Functions of bash that the commands call.
    pub functions: Vec<String>,
    /// Commands before the interface is up.
    pub pre_up: Vec<String>,
    /// Commands after the interface is up.
    pub post_up: Vec<String>,
    /// Commands after it is gone.
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
    if let Some(bridges) = bridges::bridges(node) {
        // What the rules and switches are about is there before them, and goes after them.
        hooks.functions.splice(0..0, bridges.functions);
        hooks.pre_up.insert(0, bridges.make);
        hooks.post_down.push(bridges.undo);
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
    let mut functions = vec![shell::function("has_nft", "command -v nft >/dev/null")];
    functions.extend(forwarding::functions(network, node));
    functions.push(shell::told("The rules.", &shell::printer("nft_rules", &nft_text::text(&table))));
    let (mut iptables_up, mut iptables_down) = (Vec::new(), Vec::new());
    let (mut accepts_up, mut accepts_down) = (Vec::new(), Vec::new());
    for family in [Family::V4, Family::V6] {
        if family == Family::V6 && !table.sets.values().any(|s| s.family == Family::V6) {
            continue;
        }
        let program = forwarding::program(family);
        if let Some(restore) = iptables_text::restore(&table, family) {
            let rules = shell::printer(&format!("{program}_rules"), &restore.up);
            functions.push(shell::told(
                "The same where there is no nft; it has no sets, and so more chains.",
                &rules,
            ));
            functions.push(shell::printer(&format!("{program}_rules_away"), &restore.down));
            let away = format!("{program}_rules_away | {program}-restore -n");
            // A `wg-quick up` that failed half-way left its chains.
            iptables_up.push(format!("{away} 2>/dev/null || :\n{program}_rules | {program}-restore -n"));
            iptables_down.push(away);
        }
        let (up, down) = accepts(network, node, family);
        accepts_up.push(up);
        accepts_down.push(down);
    }
    let load = shell::either("nft_rules | nft -f -", &iptables_up.join("\n"));
    let away = shell::either(&format!("nft delete table inet {TABLE}"), &iptables_down.join("\n"));
    let mut post_up = forwarding::forwarding(network, node);
    post_up.extend(accepts_up);
    let (own_up, mut post_down) = to_own_address(network, &derived, node);
    post_up.extend(own_up);
    post_down.extend(accepts_down);
    post_down.extend([restore_forwarding(), shell::told("The rules.", &away)]);
    let pre_up = vec![shell::told("The rules that drop what the network does not allow.", &load)];
    Hooks { about: Vec::new(), functions, pre_up, post_up, post_down }
}

/// Lets packets pass where iptables drops what is forwarded: accepts at the top of Docker's DOCKER-USER, else of a FORWARD
/// with policy drop, and of raw PREROUTING, where Docker ≥ 28 drops. Nothing where neither is there. The policy is held by
/// the table, whose drops are final; without nft, its chain of iptables is what accepts.
fn accepts(network: &Network, node: &Node, family: Family) -> (String, String) {
    let program = forwarding::program(family);
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
        if lines.is_empty() { ":".to_string() } else { lines.join("\n") }
    };
    let made = format!("{NOTES}.raw.{program}");
    let in_raw = format!(
        "case $s in\n    *\\*raw*) ;;\n    *) touch {made} ;;\nesac\n{}",
        each(&raw, "-t raw -I PREROUTING", "")
    );
    let up = format!(
        "s=$({program}-save 2>/dev/null || :)\nc=\ncase $s in\n    *:DOCKER-USER\\ *) c=DOCKER-USER ;;\n    \
         *:FORWARD\\ DROP*) c=FORWARD ;;\nesac\nif [ -n \"$c\" ] && has_nft; then\n{}\nelif [ \"$c\" = DOCKER-USER ]; then\n    \
         {program} -w -I $c -j wgrelay-q-%i-f\nfi\n{}",
        shell::indented(&each(&accepts, "-I $c", "")),
        shell::when("[ \"$c\" = DOCKER-USER ]", &in_raw),
    );
    let table = format!("{} raw", family.nft());
    let gone = " 2>/dev/null || :";
    let ours = [
        shell::each("c", "DOCKER-USER FORWARD", &each(&accepts, "-D $c", gone)),
        format!("{program} -w -D DOCKER-USER -j wgrelay-q-%i-f{gone}"),
        each(&raw, "-t raw -D PREROUTING", gone),
    ]
    .join("\n");
    // The table goes where the rules here have made it, and nobody counts in it since.
    let emptied = format!(
        "rm {made}\ncase $(nft list table {table} 2>/dev/null || :) in\n    *counter*) ;;\n    *) nft delete table {table} 2>/dev/null || : ;;\nesac"
    );
    let down = format!(
        "s=$({program}-save 2>/dev/null || :)\ncase $s in\n    *wgrelay-q-%i*)\n{}\n        ;;\nesac\n{}",
        shell::indented(&shell::indented(&ours)),
        shell::when(&format!("[ -e {made} ]"), &emptied),
    );
    (
        shell::told(&format!("Where {program} drops what is forwarded, for Docker or by its policy."), &up),
        shell::told(&format!("What passes {program}."), &down),
    )
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
            let passes = shell::either(
                &format!(
                    "nft insert rule {ip} {table} preraw {ip} saddr {site} {ip} daddr {own} accept 2>/dev/null || :"
                ),
                &format!("{program} -w -t raw -I PREROUTING {rule}"),
            );
            up.push(shell::told(
                &format!("Hosts of {site} may call {own}, which wg-quick keeps from them."),
                &passes,
            ));
            down.push(format!("has_nft || {program} -w -t raw -D PREROUTING {rule} 2>/dev/null || :"));
        }
    }
    (up, down)
}

/// Puts the switches back, but IPv4's not where somebody has turned forwarding on for the whole host since.
fn restore_forwarding() -> String {
    let one = "case $switch in\n    */ipv4/*) whole=$(cat /proc/sys/net/ipv4/ip_forward) ;;\n    *) whole=0 ;;\nesac\n\
               if [ -e $switch ] && [ $whole = 0 ]; then\n    echo $value > $switch\nfi";
    let all = format!("while read -r value switch; do\n{}\ndone < {NOTES}\nrm {NOTES}", shell::indented(one));
    shell::told(
        "The switches, but IPv4's not where somebody has turned forwarding on for the whole host since.",
        &shell::when(&format!("[ -e {NOTES} ]"), &all),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::fixture::relay_alone;

    #[test]
    fn what_is_not_the_tunnels_is_left_to_others() {
        let (network, relay) = relay_alone();
        let now = Timestamp::from(std::time::UNIX_EPOCH);
        let hooks = hooks(&network, &network.nodes[&relay], now);
        let rules = hooks.functions.join("\n");
        assert!(rules.contains("-A wgrelay-q-%i-f ! -i %i ! -o %i -j RETURN\n"), "iptables: {rules}");
        assert!(rules.contains("iifname != \"%i\" oifname != \"%i\" accept\n"), "nft: {rules}");
        let up = hooks.post_up.join("\n");
        assert!(up.contains("-I $c -i %i -o %i -m comment --comment wgrelay-q-%i -j ACCEPT"), "{up}");
        assert!(!up.contains("-t raw"), "no site, no container: {up}");
    }
}
