//! What switches forwarding on after the interface is up, and keeps others from what it opens.

use ipnet::IpNet;

use super::NOTES;
use super::shell::{self, each, either, told, when};
use crate::firewall::Family;
use crate::model::{Network, Node, SiteInterface};

/// Lets a link forward IPv4; see [`functions`].
const OPEN: &str = "open_link $link";

/// The functions that [`forwarding`] calls. What is right already is neither written, as a container may not, nor noted: two
/// sites of one link would put back what the first of them set.
pub(super) fn functions(network: &Network, node: &Node) -> Vec<String> {
    let set = "if [ -e $2 ] && [ $(cat $2) != $1 ]; then\n    $3 $4\n    echo $(cat $2) $2 >> NOTES\n    echo $1 > $2\nfi";
    let kept = either(
        "nft add rule inet TABLE opened iifname \\\"$1\\\" meta nfproto ipv4 drop\n\
         nft add rule inet TABLE answered oifname \\\"$1\\\" meta nfproto ipv4 drop",
        "iptables -w -A TABLE-o -i $1 -j DROP\niptables -w -A TABLE-a -o $1 -j DROP",
    );
    let mut functions = vec![
        told(
            "Sets the switch $2 to $1 where it is another, and notes what it was, after the command $3 $4.",
            &shell::function("set_switch", &set.replace("NOTES", NOTES)),
        ),
        told(
            "Keeps out what comes by the link $1, or leaves by it, and is not the network's.",
            &shell::function("keep_out", &kept),
        ),
        told(
            "Lets the link $1 forward IPv4. Where it did not before, only what is the network's.",
            &shell::function("open_link", "set_switch 1 /proc/sys/net/ipv4/conf/$1/forwarding keep_out $1"),
        ),
    ];
    if has_v6(network, node) {
        let kept = either(
            "nft add rule inet TABLE opened meta nfproto ipv6 drop\nnft add rule inet TABLE answered meta nfproto ipv6 drop",
            "ip6tables -w -A TABLE-o -j DROP\nip6tables -w -A TABLE-a -j DROP",
        );
        functions.push(told("The same for all of IPv6.", &shell::function("keep_out6", &kept)));
    }
    functions.iter().map(|f| shell::with_table(f)).collect()
}

fn has_v6(network: &Network, node: &Node) -> bool {
    network.subnet6.is_some() || node.sites.iter().any(|s| matches!(s.subnet, IpNet::V6(_)))
}

/// Switches forwarding on for the interfaces concerned, never globally for IPv4. Where nothing was forwarded before, the
/// rules first get one that keeps it so for what is not the network's.
pub(super) fn forwarding(network: &Network, node: &Node) -> Vec<String> {
    let has_v6 = has_v6(network, node);
    let mut parts = vec![within_bridges(has_v6)];
    for family in Family::BOTH.into_iter().filter(|f| *f == Family::V4 || has_v6) {
        parts.push(services(network, node, family));
        if network.is_exit(node) && !node.egress_all {
            parts.push(near(family));
        }
    }
    let ends = node.sites.iter().map(|s| (s.subnet, s.interface.as_ref(), true));
    for (net, interface, opens) in ends.chain(node.local.iter().map(|net| (net.trunc(), None, false))) {
        parts.push(place(net, interface, opens));
    }
    let site_egress = node.sites.iter().any(|s| s.egress);
    if network.is_exit(node) || site_egress || network.forward.iter().any(|f| f.is_on(node)) {
        let links = links_of("ip -4 -o route show default");
        parts.push(told("The uplink: answers from outside come in by it.", &each("link", &links, OPEN)));
    }
    if network.is_exit(node) && node.egress_all {
        parts.push(each("link", &links_of("ip -4 -o route show"), OPEN));
    }
    if site_egress {
        // Outside are the networks on the node's other bridges, too.
        parts.extend(node.bridges.iter().map(|b| OPEN.replace("$link", b.name.as_ref())));
    }
    if has_v6 {
        parts.extend(ipv6());
    }
    // The interface takes its own switch along.
    let own = "/proc/sys/net/ipv4/conf/%i/forwarding";
    parts.push(told(
        "The interface itself, whose switch goes with it.",
        &when(&format!("[ $(cat {own}) != 1 ]"), &format!("echo 1 > {own}")),
    ));
    parts.into_iter().map(|part| shell::with_table(&part)).collect()
}

fn within_bridges(has_v6: bool) -> String {
    let ip6tables = if has_v6 { "\nip6tables -w -I TABLE-o -i $b -o $b -j RETURN" } else { "" };
    let pass = either(
        "nft insert rule inet TABLE opened iifname \\\"$b\\\" oifname \\\"$b\\\" accept",
        &format!("iptables -w -I TABLE-o -i $b -o $b -j RETURN{ip6tables}"),
    );
    let named = format!("b=$(basename ${{b%/bridge}})\n{pass}");
    told(
        "Where frames within a bridge pass through this firewall, they are nobody's business here.",
        &when(
            "cat /proc/sys/net/bridge/bridge-nf-call-* 2>/dev/null | grep -q 1",
            &each("b", "/sys/class/net/*/bridge", &when("[ -e $b ]", &named)),
        ),
    )
}

/// What is DNATed from an address of this host is this host's service.
fn services(network: &Network, node: &Node, family: Family) -> String {
    let (word, program) = (family.nft(), program(family));
    let addresses = match family {
        Family::V4 => "$(ip -4 -o addr show | sed -n 's/.* inet \\([0-9.]*\\).*/\\1/p')",
        Family::V6 => "$(ip -6 -o addr show | sed -n 's/.* inet6 \\([0-9a-f:]*\\).*/\\1/p')",
    };
    let mut body = either(
        &format!("nft add rule inet TABLE services ct status dnat ct original {word} daddr $a accept"),
        &format!("{program} -w -A TABLE-v -m conntrack --ctstate DNAT --ctorigdst $a -j ACCEPT"),
    );
    let mut about = format!("What is sent on from an address of this host ({word}) is this host's service.");
    let is_on = network
        .forward
        .iter()
        .any(|f| f.is_on(node) && f.targets(network).iter().any(|t| t.is_ipv6() == (family == Family::V6)));
    if is_on {
        about += " The network's own [[forward]] begin there.";
        let rule = |chain: &str| format!("nft add rule inet TABLE {chain} {word} daddr $a jump forwards");
        let leads = either(
            &format!("{}\n{}", rule("dstnat"), rule("output")),
            &format!("{program} -w -t nat -A TABLE-d -d $a -j TABLE-w"),
        );
        body += &format!(
            "\ncase $a in\n    127.*|::1) ;;\n    *)\n{}\n        ;;\nesac",
            shell::indented(&shell::indented(&leads))
        );
    }
    told(&about, &each("a", addresses, &body))
}

/// Networks that this host is in itself are not the Internet.
fn near(family: Family) -> String {
    let routes = match family {
        Family::V4 => {
            "$(ip -4 -o route show | sed -n 's/^\\([0-9][0-9./]*\\) .*/\\1/p' | grep -v '/[01]$' | sort -u)"
        }
        Family::V6 => "$(ip -6 -o route show | sed -n 's/^\\([0-9a-f:]*:[0-9a-f:/]*\\) .*/\\1/p' | sort -u)",
    };
    let near = either(
        &format!("nft add rule inet TABLE near ct reply {} saddr $n drop", family.nft()),
        &format!("{} -w -A TABLE-e -m conntrack --ctreplsrc $n -j DROP", program(family)),
    );
    told("Networks that this host is in are not the Internet.", &each("n", routes, &near))
}

/// A site, or an attached network, by the links that lead there.
fn place(net: IpNet, interface: Option<&SiteInterface>, opens: bool) -> String {
    let family = Family::of(&net);
    let links = match interface {
        Some(SiteInterface::Link(link)) => link.clone(),
        // IPv6 routes have no scope.
        _ if family == Family::V6 => links_of(&format!("ip -6 -o route show {net}")),
        _ => links_of(&format!("ip -4 -o route show {net} scope link")),
    };
    let (word, program) = (family.nft(), program(family));
    let mut body = either(
        &format!(
            "nft add rule inet TABLE from_site iifname \\\"$link\\\" {word} saddr {net} jump to_site\n\
             nft add rule inet TABLE to_site oifname \\\"$link\\\" {word} daddr {net} ct state invalid,untracked jump strays\n\
             nft add rule inet TABLE to_site oifname \\\"$link\\\" {word} daddr {net} jump pairs"
        ),
        &format!(
            "{program} -w -A TABLE-s -i $link -s {net} -j TABLE-t\n\
             {program} -w -A TABLE-t -o $link -d {net} -m conntrack --ctstate INVALID,UNTRACKED -j TABLE-u\n\
             {program} -w -A TABLE-t -o $link -d {net} -j TABLE-p"
        ),
    );
    if opens && family == Family::V4 {
        body += &format!("\n{OPEN}");
    }
    let what = if opens { "The site" } else { "The attached network" };
    told(&format!("{what} {net}, on the links that lead there."), &each("link", &links, &body))
}

fn ipv6() -> [String; 2] {
    let links = links_of("ip -6 -o route show default proto ra");
    [
        told(
            "A forwarding host stops listening to router advertisements unless told 2.",
            &each("link", &links, "set_switch 2 /proc/sys/net/ipv6/conf/$link/accept_ra"),
        ),
        told(
            "IPv6 has one switch that counts. Where it was off, only what is the network's passes.",
            "set_switch 1 /proc/sys/net/ipv6/conf/all/forwarding keep_out6",
        ),
    ]
}

pub(super) const fn program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// The links of routes.
fn links_of(routes: &str) -> String {
    format!("$({routes} | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p')")
}
