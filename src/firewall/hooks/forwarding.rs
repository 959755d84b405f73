//! The lines of PostUp that switch forwarding on, and keep others from what it opens.

use ipnet::IpNet;

use super::{NOTES, TABLE};
use crate::firewall::Family;
use crate::model::{Network, Node, SiteInterface};

/// Switches forwarding on for the interfaces concerned, never globally for IPv4. Where nothing was forwarded before, the
/// rules first get one that keeps it so for what is not the network's.
pub(super) fn forwarding(network: &Network, node: &Node) -> Vec<String> {
    let mut lines = Vec::new();
    let has_v6 = network.subnet6.is_some() || node.sites.iter().any(|s| matches!(s.subnet, IpNet::V6(_)));
    lines.push(format!(
        "if cat /proc/sys/net/bridge/bridge-nf-call-* 2>/dev/null | grep -q 1; then for b in /sys/class/net/*/bridge; do \
         if [ -e $b ]; then b=$(basename ${{b%/bridge}}); {}; fi; done; fi",
        either(
            "nft insert rule inet TABLE opened iifname \\\"$b\\\" oifname \\\"$b\\\" accept",
            &both(has_v6, "-I TABLE-o -i $b -o $b -j RETURN"),
        )
    ));
    for family in Family::BOTH.into_iter().filter(|f| *f == Family::V4 || has_v6) {
        let word = family.nft();
        let addresses = match family {
            Family::V4 => "$(ip -4 -o addr show | sed -n 's/.* inet \\([0-9.]*\\).*/\\1/p')",
            Family::V6 => "$(ip -6 -o addr show | sed -n 's/.* inet6 \\([0-9a-f:]*\\).*/\\1/p')",
        };
        let service = either(
            &format!("nft add rule inet TABLE services ct status dnat ct original {word} daddr $a accept"),
            &format!(
                "{} -w -A TABLE-v -m conntrack --ctstate DNAT --ctorigdst $a -j ACCEPT",
                program(family)
            ),
        );
        let is_on = network.forward.iter().any(|f| {
            f.is_on(node) && f.targets(network).iter().any(|t| t.is_ipv6() == (family == Family::V6))
        });
        let leads = if is_on {
            let rule = |chain: &str| format!("nft add rule inet TABLE {chain} {word} daddr $a jump forwards");
            let nft = format!("{}; {}", rule("dstnat"), rule("output"));
            let iptables = format!("{} -w -t nat -A TABLE-d -d $a -j TABLE-w", program(family));
            format!("; case $a in 127.*|::1) ;; *) {} ;; esac", either(&nft, &iptables))
        } else {
            String::new()
        };
        lines.push(format!("for a in {addresses}; do {service}{leads}; done"));
        if network.is_exit(node) && !node.egress_all {
            let routes = match family {
                Family::V4 => {
                    "$(ip -4 -o route show | sed -n 's/^\\([0-9][0-9./]*\\) .*/\\1/p' | grep -v '/[01]$' | sort -u)"
                }
                Family::V6 => {
                    "$(ip -6 -o route show | sed -n 's/^\\([0-9a-f:]*:[0-9a-f:/]*\\) .*/\\1/p' | sort -u)"
                }
            };
            let near = either(
                &format!("nft add rule inet TABLE near ct reply {word} saddr $n drop"),
                &format!("{} -w -A TABLE-e -m conntrack --ctreplsrc $n -j DROP", program(family)),
            );
            lines.push(format!("for n in {routes}; do {near}; done"));
        }
    }
    let ends = node.sites.iter().map(|s| (s.subnet, s.interface.as_ref(), true));
    for (net, interface, opens) in ends.chain(node.local.iter().map(|net| (net.trunc(), None, false))) {
        let family = Family::of(&net);
        let links = match interface {
            Some(SiteInterface::Link(link)) => link.clone(),
            // IPv6 routes have no scope.
            _ if family == Family::V6 => links_of(&format!("ip -6 -o route show {net}")),
            _ => links_of(&format!("ip -4 -o route show {net} scope link")),
        };
        let word = family.nft();
        let known = either(
            &format!(
                "nft add rule inet TABLE from_site iifname \\\"$d\\\" {word} saddr {net} jump to_site; \
                 nft add rule inet TABLE to_site oifname \\\"$d\\\" {word} daddr {net} ct state invalid,untracked jump strays; \
                 nft add rule inet TABLE to_site oifname \\\"$d\\\" {word} daddr {net} jump pairs"
            ),
            &format!(
                "{0} -w -A TABLE-s -i $d -s {net} -j TABLE-t; {0} -w -A TABLE-t -o $d -d {net} -m conntrack --ctstate INVALID,UNTRACKED -j TABLE-u; {0} -w -A TABLE-t -o $d -d {net} -j TABLE-p",
                program(family)
            ),
        );
        let opened = if opens && family == Family::V4 { format!("; {}", open_link()) } else { String::new() };
        lines.push(format!("for d in {links}; do {known}{opened}; done"));
    }
    let site_egress = node.sites.iter().any(|s| s.egress);
    if network.is_exit(node) || site_egress || network.forward.iter().any(|f| f.is_on(node)) {
        // Answers from outside come in by the uplink.
        lines.push(format!("for d in {}; do {}; done", links_of("ip -4 -o route show default"), open_link()));
    }
    if network.is_exit(node) && node.egress_all {
        lines.push(format!("for d in {}; do {}; done", links_of("ip -4 -o route show"), open_link()));
    }
    if site_egress {
        // Outside are the networks on the node's other bridges, too.
        lines.extend(node.bridges.iter().map(|b| format!("d={}; {}", b.name, open_link())));
    }
    if has_v6 {
        // A forwarding host stops listening to router advertisements unless told 2.
        lines.push(format!(
            "for d in {}; do f=/proc/sys/net/ipv6/conf/$d/accept_ra; {}; done",
            links_of("ip -6 -o route show default proto ra"),
            to(2, ":")
        ));
        let kept = either(
            "for c in opened answered; do nft add rule inet TABLE $c meta nfproto ipv6 drop; done",
            "for c in o a; do ip6tables -w -A TABLE-$c -j DROP; done",
        );
        lines.push(format!("f=/proc/sys/net/ipv6/conf/all/forwarding; {}", to(1, &kept)));
    }
    // The interface takes its own switch along.
    lines.push(
        "if [ $(cat /proc/sys/net/ipv4/conf/%i/forwarding) != 1 ]; then echo 1 > /proc/sys/net/ipv4/conf/%i/forwarding; fi"
            .to_string(),
    );
    lines.into_iter().map(|line| line.replace("TABLE", TABLE)).collect()
}

/// One command where there is nft, another where there is not.
fn either(nft: &str, iptables: &str) -> String {
    format!("if command -v nft >/dev/null; then {nft}; else {iptables}; fi")
}

/// A rule of iptables in each family.
fn both(has_v6: bool, rule: &str) -> String {
    let v6 = if has_v6 { format!("; ip6tables -w {rule}") } else { String::new() };
    format!("iptables -w {rule}{v6}")
}

pub(super) const fn program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// Lets the link `$d` forward IPv4.
fn open_link() -> String {
    let kept = either(
        "nft add rule inet TABLE opened iifname \\\"$d\\\" meta nfproto ipv4 drop; \
         nft add rule inet TABLE answered oifname \\\"$d\\\" meta nfproto ipv4 drop",
        "iptables -w -A TABLE-o -i $d -j DROP; iptables -w -A TABLE-a -o $d -j DROP",
    );
    format!("f=/proc/sys/net/ipv4/conf/$d/forwarding; {}", to(1, &kept))
}

/// Sets the switch `$f` where it is another, and notes it, after what keeps others out. What is right already is neither
/// written, as a container may not, nor noted: two sites of one link would put back what the first of them set.
fn to(value: u8, kept: &str) -> String {
    format!(
        "if [ -e $f ] && [ $(cat $f) != {value} ]; then {kept}; echo $(cat $f) $f >> {NOTES}; echo {value} > $f; fi"
    )
}

/// The links of routes.
fn links_of(routes: &str) -> String {
    format!("$({routes} | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p')")
}
