//! PreUp, PostUp and PostDown of a file: plain lines where they are short, else calls of the script that the file carries.

use crate::firewall::hooks::shell::function;
use crate::model::FULL_TUNNEL;
use crate::wgconf::{Hook, HookError, Interface, script};

/// Where a host has IPv6 switched off by sysctl, wg-quick fails at its first IPv6 address or route. It runs PreUp before it
/// makes the interface, which begins as the default says; PostUp puts that back.
pub(super) const IPV6_ON: &str = "f=/proc/sys/net/ipv6/conf/default/disable_ipv6; if [ -e $f ] && [ $(cat $f) = 1 ] && echo 0 > $f; then \
                       touch /run/wgrelay-q-%i.ipv6; fi";
pub(super) const IPV6_BACK: &str = "if [ -e /run/wgrelay-q-%i.ipv6 ]; then rm /run/wgrelay-q-%i.ipv6; echo 1 > \
                         /proc/sys/net/ipv6/conf/default/disable_ipv6; fi";

/// What wg-quick does for a default route: everything but marked packets looks into the table, behind the main one's routes, and
/// answers of the endpoint have the mark of what they answer, for a strict reverse-path filter.
pub(super) fn into_own_table(up: bool) -> Vec<String> {
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

/// Writes commands before and after the interface is up, and after it is gone, into its hooks; returns the lines of the script that
/// these call, if one is needed.
///
/// # Errors
/// A plain line that wg-quick would not read whole.
pub(super) fn written(
    functions: &[String],
    [pre_up, post_up, post_down]: [Vec<String>; 3],
    interface: &mut Interface,
) -> Result<Vec<String>, HookError> {
    let all = [pre_up, post_up, post_down];
    let is_needed = !functions.is_empty() || all.iter().flatten().any(|command| command.contains('\n'));
    let hooks = [&mut interface.pre_up, &mut interface.post_up, &mut interface.post_down];
    if !is_needed {
        for (hooks, commands) in hooks.into_iter().zip(&all) {
            *hooks = commands.iter().map(|command| command.parse()).collect::<Result<Vec<Hook>, _>>()?;
        }
        return Ok(Vec::new());
    }
    let mut parts = Vec::new();
    for ((hooks, commands), name) in hooks.into_iter().zip(&all).zip(script::FUNCTIONS) {
        if commands.is_empty() {
            continue;
        }
        // The story first: what it calls comes after it.
        parts.push(function(name, &format!("i=$1\n{}", commands.join("\n"))));
        *hooks = vec![script::call(name).parse()?];
    }
    parts.extend_from_slice(functions);
    let text = parts.join("\n\n").replace("%i", "$i");
    Ok(script::seal(text.lines().map(|line| line.trim_end().to_owned()).collect()))
}
