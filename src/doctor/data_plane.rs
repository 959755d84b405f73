//! What carries the packets: WireGuard in the kernel or our own, and how UDP gets to it under WSL.

use super::{Finding, Record};
use crate::firewall::foreign::wsl::{WslMode, idle_shutdown, refusal};

pub(super) fn findings(record: &Record) -> Vec<Finding> {
    let mut found = vec![carrier(record)];
    found.extend(record.facts.wsl.map(wsl));
    // What cannot run at all ends by itself.
    let runs = record.facts.wsl.is_some_and(|mode| refusal(mode).is_none());
    found.extend(runs.then(idle_shutdown).map(Finding::from));
    found
}

fn carrier(record: &Record) -> Finding {
    let deaf = record.facts.wsl.is_some_and(WslMode::kernel_hears_nothing);
    match (record.kernel_wireguard && !deaf, record.tun) {
        (true, _) => Finding::ok("wireguard", "this kernel has WireGuard"),
        (false, true) if record.kernel_wireguard => Finding::ok(
            "wireguard",
            "this kernel has WireGuard, which receives nothing in WSL's present networking mode; wgrelay's own data plane does",
        ),
        (false, true) => Finding::ok(
            "wireguard",
            "this kernel has no WireGuard; wgrelay's own data plane carries the packets",
        ),
        (false, false) if !record.root => Finding::warning(
            "wireguard",
            "whether this host can carry packets is for root to say",
            "`sudo wgrelay doctor`",
        ),
        (false, false) => Finding::error(
            "wireguard",
            "there is neither WireGuard in this kernel nor a /dev/net/tun for wgrelay's own data plane",
            "`modprobe wireguard` or `modprobe tun`; for a container: --device /dev/net/tun --cap-add NET_ADMIN",
        ),
    }
}

/// What WSL means for whoever is to be called here. A network tells more of it, with the names of its nodes.
fn wsl(mode: WslMode) -> Finding {
    let (code, message) = match mode {
        WslMode::Nat => ("wsl", "WSL is behind an address translation of Windows (networking mode nat)"),
        WslMode::Mirrored => ("wsl", "WSL shares Windows' addresses (networking mode mirrored)"),
        WslMode::Virtioproxy | WslMode::Consomme => (
            "wsl",
            "WSL's packets pass through a proxy of Windows, which maps a UDP port where a program listens",
        ),
        WslMode::Bridged => ("wsl", "WSL has an address of its own on the LAN (networking mode bridged)"),
        WslMode::Unknown => {
            return Finding::warning(
                "wsl",
                "this is WSL, and nothing tells its networking mode",
                "`wsl --update` in Windows brings wslinfo (from 2.0.4 on), which tells it",
            );
        }
        WslMode::None | WslMode::Wsl1 => {
            return refusal(mode).map_or_else(|| Finding::ok("wsl", "WSL"), Finding::from);
        }
    };
    Finding::ok(code, message)
}
