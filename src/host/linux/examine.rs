//! Examines this host for `doctor`: what programs, devices and engines there are.

use std::collections::BTreeSet;
use std::path::Path;

use super::docker::Engine;
use super::systemd::Systemd;
use super::wireguard::embedded::is_responsive;
use super::wireguard::kernel_probe;
use super::{LinuxHost, nft, program};
use crate::doctor::{Record, Upkeep};
use crate::firewall::fingerprint::CHAIN;
use crate::firewall::foreign::Iptables;
use crate::host::agent_process::Runtime;
use crate::host::boot_config;
use crate::host::{Host as _, HostError};
use crate::store::folder::{Folder, settled};

const TUN: &str = "/dev/net/tun";

/// Looks at this host, and at what there is of a network of this folder; `names` are resolved. Whatever cannot be told is
/// left out.
///
/// # Errors
/// The kernel does not list its links or routes.
pub fn examine(names: &BTreeSet<String>, folder: Option<(&Path, &Folder)>) -> Result<Record, HostError> {
    let mut host = LinuxHost::open()?.with_docker(Engine::here());
    Ok(Record {
        root: nix::unistd::geteuid().is_root(),
        kernel_wireguard: kernel_probe(),
        tun: std::fs::File::options().read(true).write(true).open(TUN).is_ok(),
        nft: version("nft", "--version"),
        iptables: version("iptables", "-V").map(|text| variant(&text)),
        upkeep: folder.and_then(|(dir, folder)| upkeep(dir, folder).ok()),
        facts: host.facts(names, &BTreeSet::new())?,
    })
}

fn upkeep(dir: &Path, folder: &Folder) -> Result<Upkeep, HostError> {
    let runtime = Runtime::here(folder.name())?;
    let dir = settled(dir.to_path_buf());
    Ok(Upkeep {
        was_up: boot_config::read(folder).is_some(),
        record: runtime.read_applied(&dir)?.map(|applied| applied.configuration.backend),
        elsewhere: runtime.applied_from_other_dir(&dir)?,
        tables: nft::list_chains().ok().filter(|_| nix::unistd::geteuid().is_root()).map(|chains| {
            chains.into_iter().filter(|c| c.family == "inet" && c.name == CHAIN).map(|c| c.table).collect()
        }),
        agent: is_responsive(&runtime),
        unit: Systemd::here().is_ok_and(|systemd| systemd.is_enabled(folder.name())),
    })
}

/// Says whether this network namespace has rules of iptables-legacy, which only raw sockets change.
pub fn uses_iptables_legacy() -> bool {
    !super::iptables::legacy_families().is_empty()
}

/// Says whether this host is WSL.
pub fn is_wsl() -> bool {
    super::facts::wsl().is_some()
}

fn version(name: &str, flag: &str) -> Option<String> {
    let output = program::run(name, &[flag], None).ok()?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_string())
}

/// Reads what `iptables -V` says: before 1.8 there was legacy only, and no word about it.
fn variant(text: &str) -> Iptables {
    if text.contains("nf_tables") { Iptables::Nft } else { Iptables::Legacy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_iptables() {
        assert_eq!(variant("iptables v1.8.9 (nf_tables)"), Iptables::Nft);
        assert_eq!(variant("iptables v1.8.9 (legacy)"), Iptables::Legacy);
        assert_eq!(variant("iptables v1.6.1"), Iptables::Legacy);
    }
}
