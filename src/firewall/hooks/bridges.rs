//! What makes a node's bridges before the interface is up, as `up` does, and what takes them away again.
//!
//! What takes each step back is noted before the step, the newest first; `post_down` runs the notes. So does the next `pre_up`,
//! where an `up` of wg-quick ended half-way.

use std::net::IpAddr;

use super::shell;
use crate::model::{Bridge, Node};

/// What takes the bridges away again, as commands.
const UNDO: &str = "/run/wgrelay-q-%i.bridges";

/// The parts of a script that are about bridges.
pub(super) struct Bridges {
    pub functions: Vec<String>,
    pub make: String,
    pub undo: String,
}

/// Returns what a node's bridges need; `None`: it has none.
pub(super) fn bridges(node: &Node) -> Option<Bridges> {
    if node.bridges.is_empty() {
        return None;
    }
    let undo = shell::when(&format!("[ -e {UNDO} ]"), &format!(". {UNDO}\nrm -f {UNDO}"));
    let mut make = vec![undo.clone(), format!(": > {UNDO}")];
    make.extend(node.bridges.iter().flat_map(calls));
    let make = shell::told("The bridges; what an earlier try left of them goes first.", &make.join("\n"));
    let noting = NOTE.replace("UNDO", UNDO);
    let functions = [noting.as_str(), GIVE, MAKE, TAKE].map(|f| f.trim().to_owned()).to_vec();
    Some(Bridges { functions, make, undo: shell::told("The bridges.", &undo) })
}

/// Makes one bridge with its addresses, then takes its ports in.
fn calls(bridge: &Bridge) -> Vec<String> {
    let mtu = bridge.mtu.map_or_else(String::new, |mtu| format!(" {mtu}"));
    let mut lines = vec![format!("make_bridge {} {}{mtu}", bridge.name, u8::from(bridge.stp))];
    lines.extend(bridge.addresses.iter().map(|address| format!("give_address {address}")));
    // Addresses of a family go where the table gives the bridge others of it.
    let is_given = |v4: bool| bridge.addresses.iter().any(|net| matches!(net.addr(), IpAddr::V4(_)) == v4);
    let moved: String =
        [(" 4", true), (" 6", false)].into_iter().filter(|(_, v4)| !is_given(*v4)).map(|(v, _)| v).collect();
    lines.extend(bridge.ports.iter().map(|port| format!("take_port {port}{moved}")));
    lines
}

const NOTE: &str = r#"
# Notes a command that takes the next step back, in front of those of earlier steps.
undo() {
    { echo "$* 2>/dev/null || :"; cat UNDO; } > UNDO.new
    mv UNDO.new UNDO
}"#;

const GIVE: &str = r#"
# Gives the bridge an address that it lacks.
give_address() {
    case " $(ip -o addr show dev $bridge) " in
        *" $1 "*) ;;
        *)
            undo "ip addr del $1 dev $bridge"
            ip addr add $1 dev $bridge
            ;;
    esac
}"#;

const MAKE: &str = r#"
# Makes the bridge $1 with STP $2 (1: on) and MTU $3 (none: as it is), or takes one that is there.
make_bridge() {
    bridge=$1
    link=/sys/class/net/$bridge
    is_new=
    if [ ! -e $link ]; then
        is_new=yes
        undo "ip link del $bridge"
        ip link add $bridge type bridge stp_state $2
    elif [ ! -e $link/bridge ]; then
        echo "$bridge is here and is no bridge" >&2
        exit 1
    else
        undo "ip link set $bridge type bridge stp_state $(cat $link/bridge/stp_state)"
        ip link set $bridge type bridge stp_state $2
    fi
    if [ -n "$3" ]; then
        undo "ip link set $bridge mtu $(cat $link/mtu)"
        ip link set $bridge mtu $3
    fi
    if [ $(( $(cat $link/flags) & 1 )) = 0 ]; then
        undo "ip link set $bridge down"
        ip link set $bridge up
    fi
}"#;

/// The hardware address is as `up` gives it: machines that join later do not change it.
const TAKE: &str = r#"
# Makes the link $1 a port of the bridge. Its addresses of the families that follow (4, 6) move to the bridge, and its routes
# where the bridge reaches their gateway; other addresses go.
take_port() {
    port=$1
    shift
    of=
    if [ -e /sys/class/net/$port/master ]; then
        of=$(basename $(readlink /sys/class/net/$port/master))
    fi
    if [ ! -e /sys/class/net/$port ]; then
        echo "$port is not here: $bridge is without it" >&2
        return
    fi
    if [ "$of" = $bridge ]; then
        return
    fi
    if [ -n "$of" ]; then
        echo "$port is a port of $of: $bridge is without it" >&2
        return
    fi
    back="ip link set $port nomaster"
    for family in 4 6; do
        addresses=$(ip -$family -o addr show dev $port scope global |
            sed 's/.* inet6* //; s/ scope global.* noprefixroute.*/ noprefixroute/; s/ scope global.*//')
        while read -r address; do
            if [ -n "$address" ]; then
                back="$back || :; ip -$family addr add $address dev $port"
            fi
        done <<< "$addresses"
    done
    routes=$(for family in 4 6; do
        ip -$family route show dev $port | sed "/proto kernel/d; s/ linkdown//; s/^/-$family /"
    done)
    while read -r family route; do
        if [ -n "$route" ]; then
            back="$back || :; ip $family route add $route dev $port"
        fi
    done <<< "$routes"
    undo "$back"
    for family in $*; do
        for address in $(ip -$family -o addr show dev $port scope global | sed 's/.* inet6* \([^ ]*\) .*/\1/'); do
            give_address $address
        done
    done
    if [ -n "$is_new" ]; then
        is_new=
        ip link set $bridge address $(cat /sys/class/net/$port/address)
    fi
    ip link set $port master $bridge
    ip link set $port up
    for family in 4 6; do
        ip -$family addr flush dev $port scope global
    done
    while read -r family route; do
        if [ -n "$route" ] && ip $family route add $route dev $bridge 2>/dev/null; then
            undo "ip $family route del $route dev $bridge"
        fi
    done <<< "$routes"
}"#;
