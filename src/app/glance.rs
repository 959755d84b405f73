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
use crate::plan::{Backend, Device};
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
            settings(&report, applied.state.device.as_ref(), &mut sum);
        }
    }
    sum.finish()
}

/// What is set of a device, without what comes and goes with its sessions. A peer that was given its endpoint never loses it to a
/// session: where it has none, it was taken away and added again.
fn settings(report: &DeviceReport, wanted: Option<&Device>, sum: &mut DefaultHasher) {
    report.private_key.as_ref().map(|key| *key.expose()).hash(sum);
    (report.listen_port, report.fwmark, report.peers.len()).hash(sum);
    for peer in &report.peers {
        peer.public_key.as_bytes().hash(sum);
        peer.preshared_key.as_ref().map(|key| *key.expose()).hash(sum);
        (peer.keepalive, &peer.allowed_ips).hash(sum);
        let given = wanted.and_then(|device| device.peers.get(&peer.public_key)?.endpoint);
        (given.is_some() && peer.endpoint.is_none()).hash(sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::PeerReport;
    use crate::model::{PresharedKey, PublicKey};

    fn sum(report: &DeviceReport) -> u64 {
        sum_beside(report, None)
    }

    fn sum_beside(report: &DeviceReport, wanted: Option<&Device>) -> u64 {
        let mut sum = DefaultHasher::new();
        settings(report, wanted, &mut sum);
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
        // Who was given an endpoint and has none was added anew.
        let given = crate::plan::Peer {
            preshared_key: None,
            endpoint: Some("192.0.2.1:9".parse().unwrap()),
            keepalive: None,
            allowed_ips: std::collections::BTreeSet::new(),
        };
        let wanted = Device {
            backend: Backend::Kernel,
            private_key: None,
            listen_port: None,
            fwmark: 0,
            mtu: 1420,
            up: true,
            addresses: std::collections::BTreeSet::new(),
            detached: std::collections::BTreeSet::new(),
            peers: [(report.peers[0].public_key, given)].into(),
        };
        let mut called = report.clone();
        called.peers[0].endpoint = Some("192.0.2.7:9".parse().unwrap());
        let mut roamed = called.clone();
        roamed.peers[0].endpoint = Some("192.0.2.8:9".parse().unwrap());
        let sum = |report: &DeviceReport| sum_beside(report, Some(&wanted));
        assert_ne!(sum(&called), sum(&report));
        assert_eq!(sum(&called), sum(&roamed));
    }
}
