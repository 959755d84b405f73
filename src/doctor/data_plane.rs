//! What carries the packets: WireGuard in the kernel or our own, and how UDP gets to it under WSL.

use super::{Finding, Record};
use crate::plan::WslMode;

pub(super) fn findings(record: &Record, port: u16) -> Vec<Finding> {
    let mut found = vec![carrier(record)];
    found.extend(record.facts.wsl.map(|mode| wsl(mode, port)));
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

fn wsl(mode: WslMode, port: u16) -> Finding {
    let hyper_v = format!(
        "in an administrator's PowerShell: New-NetFirewallHyperVRule -Name wgrelay -DisplayName wgrelay -Direction Inbound \
         -VMCreatorId '{{40E0AC32-46A5-438A-A0B2-2B479E8F2E90}}' -Protocol UDP -LocalPorts {port} -Action Allow"
    );
    match mode {
        WslMode::Nat | WslMode::Unknown => Finding::warning(
            "wsl-nat",
            format!(
                "WSL is behind an address translation of Windows: UDP {port} reaches it from this PC alone, and its address \
                 changes at every start"
            ),
            "networkingMode=mirrored under [wsl2] in %UserProfile%\\.wslconfig, then `wsl --shutdown`; or make this host a \
             spoke of a relay elsewhere, which needs nobody to reach it (netsh portproxy forwards TCP only)",
        ),
        WslMode::Mirrored => Finding::new(
            super::Verdict::Ok,
            "wsl-mirrored",
            format!(
                "WSL shares Windows' addresses; the Hyper-V firewall decides whether UDP {port} comes in"
            ),
            hyper_v,
        ),
        WslMode::Virtioproxy | WslMode::Consomme => Finding::new(
            super::Verdict::Ok,
            "wsl-proxy",
            format!(
                "WSL's packets pass through a proxy of Windows, which maps UDP {port} where a program listens"
            ),
            hyper_v,
        ),
        WslMode::Bridged => Finding::ok("wsl-bridged", "WSL has an address of its own on the LAN"),
        WslMode::None => Finding::error(
            "wsl-offline",
            "WSL has no network",
            "networkingMode=mirrored under [wsl2] in %UserProfile%\\.wslconfig, then `wsl --shutdown`",
        ),
        WslMode::Wsl1 => Finding::error(
            "wsl1",
            "this is WSL 1, which has no Linux kernel: no WireGuard, no TUN, no nftables",
            "`wsl --set-version DISTRIBUTION 2` in Windows",
        ),
    }
}
