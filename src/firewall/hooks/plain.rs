//! Commands of an exported file that are a short line each and speak of the host alone: a hook without a script.

use crate::model::FULL_TUNNEL;

/// Where a host has IPv6 switched off by sysctl, wg-quick fails at its first IPv6 address or route. It runs PreUp before it
/// makes the interface, which begins as the default says; PostUp puts that back.
pub const IPV6_ON: &str = "f=/proc/sys/net/ipv6/conf/default/disable_ipv6; if [ -e $f ] && [ $(cat $f) = 1 ] && echo 0 > $f; then \
                       touch /run/wgrelay-q-%i.ipv6; fi";
pub const IPV6_BACK: &str = "if [ -e /run/wgrelay-q-%i.ipv6 ]; then rm /run/wgrelay-q-%i.ipv6; echo 1 > \
                         /proc/sys/net/ipv6/conf/default/disable_ipv6; fi";

/// What wg-quick does for a default route: everything but marked packets looks into the table, behind the main one's routes, and
/// answers of the endpoint have the mark of what they answer, for a strict reverse-path filter.
pub fn into_own_table(up: bool) -> Vec<String> {
    let rules = |what: &str, after: &str| {
        format!(
            "for f in -4 -6; do ip $f rule {what} pref 32400 table main suppress_prefixlength 0{after}; ip $f rule {what} pref 32401 \
             not fwmark {FULL_TUNNEL} table {FULL_TUNNEL}{after}; done"
        )
    };
    let name = "wgrelay-q-%i-m";
    if !up {
        let table = format!("! command -v nft >/dev/null || nft delete table inet {name} 2>/dev/null || :");
        return vec![format!("{}; {table}", rules("del", " 2>/dev/null || :"))];
    }
    // Double quotes: in a script the interface's name is a variable.
    let marks = format!(
        "table inet {name} {{ chain incoming {{ type filter hook prerouting priority -150; meta l4proto udp meta mark set ct mark; }}; \
         chain outgoing {{ type filter hook postrouting priority -150; meta l4proto udp meta mark {FULL_TUNNEL} ct mark set meta mark; \
         }}; }}"
    );
    vec![format!(
        "{}; ! command -v nft >/dev/null || nft -f - <<< \"{marks}\"; sysctl -q net.ipv4.conf.all.src_valid_mark=1",
        rules("add", " || :")
    )]
}

/// Says whether a hook is one of these to the letter, and nothing else.
pub fn is_plain(hook: &str) -> bool {
    let own_table = [true, false].into_iter().flat_map(into_own_table);
    [IPV6_ON, IPV6_BACK].contains(&hook) || own_table.into_iter().any(|line| line == hook)
}
