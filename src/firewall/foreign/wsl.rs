//! WSL: which networking mode there is, what it makes of a UDP port, and what is to be done about it once. Its own filter
//! is Windows' (the Hyper-V firewall), so nothing of it can be read from here.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Facts;
use crate::model::{EndpointHost, Network, Node, Problem};

/// How WSL2 connects to the network (`wslinfo --networking-mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are wslinfo's")]
pub enum WslMode {
    Nat,
    Bridged,
    Mirrored,
    Virtioproxy,
    Consomme,
    None,
    Wsl1,
    /// It is WSL, and nothing tells the mode.
    Unknown,
}

impl WslMode {
    /// Reads what `wslinfo` prints.
    pub fn parse(text: &str) -> Self {
        match text.trim() {
            "nat" => Self::Nat,
            "bridged" => Self::Bridged,
            "mirrored" => Self::Mirrored,
            "virtioproxy" => Self::Virtioproxy,
            "consomme" => Self::Consomme,
            "none" => Self::None,
            "wsl1" => Self::Wsl1,
            _ => Self::Unknown,
        }
    }
    /// Says whether WSL is behind an address translation of Windows.
    pub const fn is_nat(self) -> bool {
        matches!(self, Self::Nat)
    }
    /// Says whether kernel WireGuard receives nothing in this mode, while a userspace socket does.
    pub const fn kernel_hears_nothing(self) -> bool {
        matches!(self, Self::Mirrored | Self::Virtioproxy | Self::Consomme)
    }
}

/// What tells a host of WSL from others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WslSigns {
    /// The kernel's release (`/proc/sys/kernel/osrelease`). A kernel of one's own need not have a telling one.
    pub release: String,
    /// Whether Docker or Podman says that this is a container: it has WSL's kernel, and Docker's network.
    pub container: bool,
    /// What systemd says that this is (`/run/systemd/container`): `wsl` of WSL itself, else a container; empty: nothing.
    pub systemd_container: String,
    /// Whether there is `/run/WSL`, or WSL's handler for Windows programs in `binfmt_misc`.
    pub interop: bool,
    /// What `wslinfo --networking-mode` printed; `None`: there is none, or it failed.
    pub wslinfo: Option<String>,
    /// Whether there is a link `loopback0`, which mirrored mode alone makes.
    pub loopback0: bool,
}

impl WslSigns {
    /// Returns the networking mode; `None`: not WSL.
    pub fn mode(&self) -> Option<WslMode> {
        let by_name = self.release.to_ascii_lowercase().contains("microsoft");
        let by_systemd = !matches!(self.systemd_container.trim(), "" | "wsl");
        if self.container || by_systemd || !(by_name || self.interop || self.wslinfo.is_some()) {
            return None;
        }
        let told = self.wslinfo.as_deref().map(WslMode::parse).filter(|mode| *mode != WslMode::Unknown);
        Some(match told {
            Some(mode) => mode,
            None if self.loopback0 => WslMode::Mirrored,
            // WSL 1 spells Microsoft with a capital: 4.4.0-19041-Microsoft.
            None if self.release.ends_with("-Microsoft") => WslMode::Wsl1,
            None => WslMode::Unknown,
        })
    }
}

/// The address that WSL itself has, which a client on the same PC reaches in NAT mode.
fn own_address(facts: &Facts) -> Option<IpAddr> {
    let addresses = &facts.links.get("eth0")?.addresses;
    addresses.iter().map(ipnet::IpNet::addr).find(IpAddr::is_ipv4)
}

/// Tells what WSL means for a node that others call, on this host: one thing to know, or to do once.
pub fn reachability(network: &Network, node: &Node, facts: &Facts) -> Option<Problem> {
    let here = own_address(facts).or_else(|| {
        let hosts = facts.links.iter().filter(|(name, _)| name.as_str() != network.name.as_str());
        hosts
            .flat_map(|(_, link)| &link.addresses)
            .map(ipnet::IpNet::addr)
            .find(|ip| node.endpoint.as_ref().is_some_and(|e| e.host == EndpointHost::Ip(*ip)))
    });
    consequence(facts.wsl?, node, here)
}

/// The same of a mode; `here` is WSL's own address, where it is known.
pub fn consequence(mode: WslMode, node: &Node, here: Option<IpAddr>) -> Option<Problem> {
    let port = node.listen_port()?;
    let place = format!("UDP port {port}");
    match mode {
        WslMode::Nat => {
            let own = here.map_or_else(
                || "ADDRESS".into(),
                |ip| match ip {
                    IpAddr::V4(ip) => ip.to_string(),
                    IpAddr::V6(ip) => format!("[{ip}]"),
                },
            );
            let has_it =
                node.endpoint.as_ref().is_some_and(|e| here.is_some_and(|ip| e.host == EndpointHost::Ip(ip)));
            let for_this_pc = if has_it {
                format!("clients on this PC have it as the endpoint ({own}) until then")
            } else {
                format!("for clients on this PC: `wgrelay set {} endpoint {own}:{port}`", node.name)
            };
            Some(Problem::warning(
                "wsl-nat",
                place,
                format!(
                    "WSL is behind an address translation of Windows, which cannot forward UDP: this PC alone reaches \
                     port {port}, at WSL's own address, which changes when WSL starts"
                ),
                format!(
                    "{for_this_pc}; for others: \
                     networkingMode=mirrored under [wsl2] in %UserProfile%\\.wslconfig and `wsl --shutdown`, or a relay \
                     elsewhere with this host as a spoke, which nobody has to reach"
                ),
            ))
        }
        WslMode::Mirrored | WslMode::Virtioproxy | WslMode::Consomme => Some(Problem::warning(
            "wsl-firewall",
            place,
            format!(
                "Windows' Hyper-V firewall keeps UDP {port} out until it has a rule for it; whether it has one cannot be \
                 seen from here"
            ),
            hyper_v_rule(port),
        )),
        WslMode::Unknown => Some(Problem::warning(
            "wsl-mode-unknown",
            place,
            format!(
                "this is WSL, and nothing tells its networking mode: in NAT mode this PC alone reaches UDP {port}, in \
                 mirrored mode Windows needs a rule for it"
            ),
            "`wsl --update` in Windows brings wslinfo (from 2.0.4 on), which tells it",
        )),
        WslMode::Bridged | WslMode::None | WslMode::Wsl1 => None,
    }
}

/// What is said of a new network with this relay: that nothing comes up here, or the one thing to know or to do.
pub fn of_new(mode: WslMode, relay: &Node, here: Option<IpAddr>) -> Option<Problem> {
    refusal(mode).or_else(|| consequence(mode, relay, here))
}

/// What a person has to know or to do once in Windows, so that a node that comes up by itself is reached and stays. Nothing elsewhere.
///
/// # Errors
/// Nothing can be brought up here.
pub fn to_stay(network: &Network, node: &Node, facts: &Facts) -> Result<Vec<Problem>, Problem> {
    let Some(mode) = facts.wsl else { return Ok(Vec::new()) };
    match refusal(mode) {
        Some(refused) => Err(refused),
        None => Ok(std::iter::once(idle_shutdown()).chain(reachability(network, node, facts)).collect()),
    }
}

/// The rule to make once, in Windows.
fn hyper_v_rule(port: u16) -> String {
    format!(
        "once, in an administrator's PowerShell: New-NetFirewallHyperVRule -Name wgrelay-{port} -DisplayName wgrelay-{port} -Direction \
         Inbound -VMCreatorId '{VM_CREATOR}' -Protocol UDP -LocalPorts {port} -Action Allow"
    )
}

/// WSL's identity in Windows' Hyper-V firewall.
pub const VM_CREATOR: &str = "{40E0AC32-46A5-438A-A0B2-2B479E8F2E90}";

/// Tells of a WSL in which nothing can be brought up.
pub fn refusal(mode: WslMode) -> Option<Problem> {
    match mode {
        WslMode::None => Some(Problem::error(
            "wsl-offline",
            "WSL",
            "WSL has no network: networkingMode is none",
            "networkingMode=mirrored under [wsl2] in %UserProfile%\\.wslconfig, then `wsl --shutdown`",
        )),
        WslMode::Wsl1 => Some(Problem::error(
            "wsl1",
            "WSL",
            "this is WSL 1, which has no Linux kernel: no WireGuard, no TUN, no nftables",
            "`wsl --set-version DISTRIBUTION 2` in Windows",
        )),
        _ => None,
    }
}

/// Tells of a data plane that receives nothing in this mode.
pub fn deaf_kernel(mode: WslMode) -> Option<Problem> {
    mode.kernel_hears_nothing().then(|| {
        Problem::warning(
            "wsl-kernel-deaf",
            "the kernel backend",
            "in this networking mode of WSL no packet reaches WireGuard in the kernel: Windows hands UDP to sockets of \
             programs alone",
            "`wgrelay down`, then `wgrelay up --backend embedded` (which `auto` takes here)",
        )
    })
}

/// What WSL does with services: it ends while they run.
pub fn idle_shutdown() -> Problem {
    Problem::warning(
        "wsl-idle",
        "WSL",
        "WSL ends this instance some seconds after the last program that Windows started in it, services or not",
        "let Windows hold one from logon on: `wgrelay export NODE --format powershell` writes the script for a Windows \
         node, firewall rule included",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(release: &str) -> WslSigns {
        WslSigns { release: release.into(), ..WslSigns::default() }
    }

    #[test]
    fn wsl_is_told_by_its_kernel_its_handler_or_its_program() {
        assert_eq!(signs("6.1.0-28-amd64").mode(), None);
        assert_eq!(signs("5.15.167.4-microsoft-standard-WSL2").mode(), Some(WslMode::Unknown));
        assert_eq!(signs("4.4.0-19041-Microsoft").mode(), Some(WslMode::Wsl1));
        let own = WslSigns { interop: true, ..signs("6.6.87-mine") };
        assert_eq!(own.mode(), Some(WslMode::Unknown));
        let told = WslSigns { wslinfo: Some("nat\n".into()), ..signs("6.6.87-mine") };
        assert_eq!(told.mode(), Some(WslMode::Nat));
        let mirrored = WslSigns { loopback0: true, ..signs("6.6.87.2-microsoft-standard-WSL2") };
        assert_eq!(mirrored.mode(), Some(WslMode::Mirrored));
    }

    #[test]
    fn a_container_below_wsl_is_not_wsl() {
        let release = "6.6.87.2-microsoft-standard-WSL2";
        let container = WslSigns { container: true, ..signs(release) };
        assert_eq!(container.mode(), None);
        let by_systemd = |word: &str| WslSigns { systemd_container: word.into(), ..signs(release) }.mode();
        for word in ["docker\n", "podman\n", "systemd-nspawn\n", "lxc"] {
            assert_eq!(by_systemd(word), None, "{word}");
        }
        // systemd calls WSL itself one, too.
        assert_eq!(by_systemd("wsl\n"), Some(WslMode::Unknown));
    }

    #[test]
    fn windows_is_not_asked_to_forward_udp() {
        let key = crate::model::PublicKey::from_bytes([1; 32]);
        let name = "wsl".parse().expect("a name");
        let mut node = Node::new(name, crate::model::Role::Relay, [192, 168, 3, 1].into(), key);
        let here = "172.28.1.2".parse().ok();
        let nat = consequence(WslMode::Nat, &node, here).expect("a consequence");
        assert!(nat.hint.contains("`wgrelay set wsl endpoint 172.28.1.2:51820`"), "{}", nat.hint);
        assert!(!nat.hint.contains("portproxy") && !nat.hint.contains("router"), "{}", nat.hint);
        // Whoever has it is not told to set it.
        node.endpoint = "172.28.1.2:51820".parse().ok();
        let nat = consequence(WslMode::Nat, &node, here).expect("a consequence");
        assert!(!nat.hint.contains("set wsl endpoint"), "{}", nat.hint);
    }
}
