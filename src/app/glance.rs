//! A glance at what nobody tells of: cheap enough for every second, and enough to know that a whole look is due.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;

use super::target_cache::TargetCache;
use crate::dataplane::DeviceReport;
use crate::firewall::foreign::Iptables;
use crate::host::agent_process::Runtime;
use crate::host::sysctl;
use crate::host::wireguard::{KernelWireGuard, WireGuard as _};
use crate::host::{legacy_extent, name_servers};
use crate::model::{InterfaceName, Timestamp};
use crate::plan::Backend;
use crate::store::folder::Folder;

/// Sums up the switches of what was applied, how much iptables-legacy keeps where rules of ours are in it, what the host's resolver has of it, which nodes have expired and, of the kernel's WireGuard, how it is set. Two that differ: something changed
/// between them. What cannot be read counts as it is.
pub fn glance(
    dir: &Path,
    network: &InterfaceName,
    runtime: &Runtime,
    cache: &TargetCache,
    now: Timestamp,
) -> u64 {
    let mut sum = DefaultHasher::new();
    if let Ok(Some((applied, target))) = cache.recorded(dir, &Folder::new(dir, network), runtime) {
        for path in applied.state.sysctls.keys() {
            sysctl::read(path).ok().flatten().hash(&mut sum);
        }
        if applied.state.foreign_rules.iter().any(|rule| rule.iptables == Iptables::Legacy) {
            legacy_extent().hash(&mut sum);
        }
        if let Some(servers) = &applied.state.name_servers {
            name_servers::traces(network, servers.resolver).hash(&mut sum);
        }
        for node in target.network.nodes.values().filter(|n| n.expires.is_some()) {
            node.is_active(now).hash(&mut sum);
        }
        // The embedded device tells by itself.
        if applied.configuration.backend == Backend::Kernel
            && let Ok(Some(report)) = KernelWireGuard::open().and_then(|mut kernel| kernel.report(network))
        {
            settings(&report, &mut sum);
        }
    }
    sum.finish()
}

/// What is set of a device, without what comes and goes with its sessions.
fn settings(report: &DeviceReport, sum: &mut DefaultHasher) {
    report.private_key.as_ref().map(|key| *key.expose()).hash(sum);
    (report.listen_port, report.fwmark, report.peers.len()).hash(sum);
    for peer in &report.peers {
        peer.public_key.as_bytes().hash(sum);
        peer.preshared_key.as_ref().map(|key| *key.expose()).hash(sum);
        (peer.keepalive, &peer.allowed_ips).hash(sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::PeerReport;
    use crate::model::{PresharedKey, PublicKey};

    fn sum(report: &DeviceReport) -> u64 {
        let mut sum = DefaultHasher::new();
        settings(report, &mut sum);
        sum.finish()
    }

    #[test]
    fn settings_count_and_sessions_do_not() {
        let peer = PeerReport {
            public_key: PublicKey::from_bytes([1; 32]),
            preshared_key: Some(PresharedKey::from_bytes([2; 32])),
            endpoint: None,
            keepalive: 25,
            allowed_ips: vec!["10.0.0.2/32".parse().unwrap()],
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            send_error: None,
        };
        let report = DeviceReport { listen_port: 51820, peers: vec![peer], ..DeviceReport::default() };
        let changed = |change: fn(&mut DeviceReport)| {
            let mut other = report.clone();
            change(&mut other);
            sum(&other) != sum(&report)
        };
        let settings: [fn(&mut DeviceReport); 7] = [
            |r| r.listen_port = 4,
            |r| r.fwmark = 1,
            |r| r.private_key = Some(crate::model::PrivateKey::from_random([3; 32])),
            |r| r.peers.clear(),
            |r| r.peers[0].preshared_key = None,
            |r| r.peers[0].keepalive = 0,
            |r| r.peers[0].allowed_ips.push("10.0.0.0/8".parse().unwrap()),
        ];
        for (n, change) in settings.into_iter().enumerate() {
            assert!(changed(change), "setting {n}");
        }
        assert!(!changed(|r| r.peers[0].endpoint = Some("192.0.2.1:9".parse().unwrap())));
        assert!(!changed(|r| r.peers[0].rx_bytes = 9));
    }
}
