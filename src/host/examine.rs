//! Examines this host for `doctor`: what programs, devices and engines there are.

use std::collections::BTreeSet;

use super::docker::Engine;
use super::wireguard::kernel_probe;
use super::{LinuxHost, program};
use crate::apply::{Host as _, HostError};
use crate::doctor::Record;
use crate::plan::foreign::Iptables;

const TUN: &str = "/dev/net/tun";

/// Looks at this host; `names` are resolved. Whatever cannot be told is left out.
///
/// # Errors
/// The kernel does not list its links or routes.
pub fn examine(names: &BTreeSet<String>) -> Result<Record, HostError> {
    let mut host = LinuxHost::open()?.with_docker(Engine::here());
    Ok(Record {
        root: nix::unistd::geteuid().is_root(),
        kernel_wireguard: kernel_probe(),
        tun: std::fs::File::options().read(true).write(true).open(TUN).is_ok(),
        nft: version("nft", "--version"),
        iptables: version("iptables", "-V").map(|text| variant(&text)),
        facts: host.facts(names, &BTreeSet::new())?,
    })
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
