//! The lines of PreUp that make a node's bridges as `up` does, and the line of PostDown that takes them away.
//!
//! What takes each step back is noted before the step, the newest first; PostDown runs the notes. So does the next PreUp, where an
//! `up` of wg-quick ended half-way.

use std::net::IpAddr;

use crate::model::{Bridge, Node};

/// What takes the bridges away again, as commands.
const UNDO: &str = "/run/wgrelay-q-%i.bridges";

/// Returns the line for PreUp and the one for PostDown; `None`: the node has no bridges.
pub(super) fn bridges(node: &Node) -> Option<(String, String)> {
    if node.bridges.is_empty() {
        return None;
    }
    let back = format!("if [ -e {UNDO} ]; then . {UNDO}; rm -f {UNDO}; fi");
    let mut lines = vec![
        back.clone(),
        format!(": > {UNDO}"),
        // Notes what takes the next step back, in front of what was noted.
        format!("u() {{ {{ echo \"$* 2>/dev/null || :\"; cat {UNDO}; }} > {UNDO}.new; mv {UNDO}.new {UNDO}; }}"),
        // Gives the bridge an address that it lacks.
        "a() { case \" $(ip -o addr show dev $b) \" in *\" $1 \"*) ;; *) u \"ip addr del $1 dev $b\"; ip addr add $1 dev $b ;; esac; }"
            .into(),
    ];
    lines.extend(node.bridges.iter().flat_map(make));
    Some((lines.join("; "), back))
}

/// Makes one bridge with its addresses, then takes its ports in.
fn make(bridge: &Bridge) -> Vec<String> {
    let name = &bridge.name;
    let stp = u8::from(bridge.stp);
    let mut lines = vec![
        format!("b={name}; s=/sys/class/net/$b"),
        format!(
            "k=; if [ ! -e $s ]; then k=1; u \"ip link del $b\"; ip link add $b type bridge stp_state {stp}; \
             elif [ ! -e $s/bridge ]; then echo \"$b is here and is no bridge\" >&2; exit 1; \
             else u \"ip link set $b type bridge stp_state $(cat $s/bridge/stp_state)\"; ip link set $b type bridge stp_state {stp}; fi"
        ),
    ];
    if let Some(mtu) = bridge.mtu {
        lines.push(format!("u \"ip link set $b mtu $(cat $s/mtu)\"; ip link set $b mtu {mtu}"));
    }
    lines.push(
        "if [ $(( $(cat $s/flags) & 1 )) = 0 ]; then u \"ip link set $b down\"; ip link set $b up; fi".into(),
    );
    if !bridge.addresses.is_empty() {
        let list: Vec<String> = bridge.addresses.iter().map(ToString::to_string).collect();
        lines.push(format!("for x in {}; do a $x; done", list.join(" ")));
    }
    if !bridge.ports.is_empty() {
        lines.push(format!("for p in {}; do {}; done", bridge.ports.join(" "), take_in(bridge)));
    }
    lines
}

/// Makes `$p` a port. Its addresses move to the bridge, or go where the table gives the bridge others of their family; its
/// routes move where the bridge reaches their gateway.
fn take_in(bridge: &Bridge) -> String {
    let is_given = |v4: bool| bridge.addresses.iter().any(|net| matches!(net.addr(), IpAddr::V4(_)) == v4);
    let moved: Vec<&str> =
        [("4", true), ("6", false)].into_iter().filter(|(_, v4)| !is_given(*v4)).map(|(v, _)| v).collect();
    let moves = if moved.is_empty() {
        ":".to_string()
    } else {
        format!(
            "for v in {}; do for x in $(ip -$v -o addr show dev $p scope global | sed 's/.* inet6* \\([^ ]*\\) .*/\\1/'); do a $x; done; done",
            moved.join(" ")
        )
    };
    [
        "m=; if [ -e /sys/class/net/$p/master ]; then m=$(basename $(readlink /sys/class/net/$p/master)); fi",
        "if [ ! -e /sys/class/net/$p ]; then echo \"$p is not here: $b is without it\" >&2; continue; fi",
        "if [ \"$m\" = $b ]; then continue; fi",
        "if [ -n \"$m\" ]; then echo \"$p is a port of $m: $b is without it\" >&2; continue; fi",
        // What it had, as commands.
        "w=\"ip link set $p nomaster\"",
        "for v in 4 6; do while read -r x; do if [ -n \"$x\" ]; then w=\"$w || :; ip -$v addr add $x dev $p\"; fi; done <<< \
         \"$(ip -$v -o addr show dev $p scope global | sed 's/.* inet6* //; s/ scope global.* noprefixroute.*/ noprefixroute/; s/ scope global.*//')\"; done",
        "t=$(for v in 4 6; do ip -$v route show dev $p | sed \"/proto kernel/d; s/ linkdown//; s/^/-$v /\"; done)",
        "while read -r v x; do if [ -n \"$x\" ]; then w=\"$w || :; ip $v route add $x dev $p\"; fi; done <<< \"$t\"",
        "u \"$w\"",
        &moves,
        // As `up` gives it: machines that join later do not change it.
        "if [ -n \"$k\" ]; then k=; ip link set $b address $(cat /sys/class/net/$p/address); fi",
        "ip link set $p master $b",
        "ip link set $p up",
        "for v in 4 6; do ip -$v addr flush dev $p scope global; done",
        "while read -r v x; do if [ -n \"$x\" ] && ip $v route add $x dev $b 2>/dev/null; then u \"ip $v route del $x dev $b\"; fi; done <<< \"$t\"",
    ]
    .join("; ")
}
