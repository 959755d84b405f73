//! A flow, and the protocols that a network's policy tells apart.

use std::collections::BTreeSet;

use super::place::Place;
use super::rules::Protocol;
use crate::model::{Network, PortRange, PortSpec};

/// Something that wants to speak to something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Where it starts.
    pub from: Place,
    /// Where it goes.
    pub to: Place,
    /// With which protocol, and to which ports; `None`: any that gets through.
    pub port: Option<PortSpec>,
}

/// Ports that every rule treats alike, and one packet that stands for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    pub spec: PortSpec,
    pub protocol: Protocol,
}

/// The fewest probes that between them meet every port rule of the network: ICMP first, then TCP and UDP from low to high.
pub(super) fn probes(network: &Network) -> Vec<Probe> {
    let forwarded = || network.forward.iter().flat_map(|f| [f.port, f.at_target()]);
    let specs = || network.allow.iter().flat_map(|r| r.ports.iter().copied()).chain(forwarded());
    let tcp = specs().filter_map(|p| if let PortSpec::Tcp(r) = p { Some(r) } else { None });
    let udp = specs().filter_map(|p| if let PortSpec::Udp(r) = p { Some(r) } else { None });
    let mut out = vec![Probe { spec: PortSpec::Icmp, protocol: Protocol::Icmp }];
    out.extend(alike(tcp).map(|r| Probe { spec: PortSpec::Tcp(r), protocol: Protocol::Tcp(r.first) }));
    out.extend(alike(udp).map(|r| Probe { spec: PortSpec::Udp(r), protocol: Protocol::Udp(r.first) }));
    out
}

/// Cuts 1 to 65535 at both ends of every range.
fn alike(ranges: impl Iterator<Item = PortRange>) -> impl Iterator<Item = PortRange> {
    let mut cuts: BTreeSet<u32> = [1, 65536].into();
    for range in ranges {
        cuts.extend([u32::from(range.first), u32::from(range.last) + 1]);
    }
    let cuts: Vec<u16> = cuts.into_iter().map(|c| u16::try_from(c - 1).unwrap_or(u16::MAX)).collect();
    let pairs: Vec<_> = cuts.windows(2).map(|w| PortRange { first: w[0] + 1, last: w[1] }).collect();
    pairs.into_iter()
}

/// The part of a probe that lies in a flow's ports.
pub(super) fn within(probe: Probe, port: PortSpec) -> Option<Probe> {
    let cut = |a: PortRange, b: PortRange| {
        let range = PortRange { first: a.first.max(b.first), last: a.last.min(b.last) };
        (range.first <= range.last).then_some(range)
    };
    match (probe.spec, port) {
        (PortSpec::Icmp, PortSpec::Icmp) => Some(probe),
        (PortSpec::Tcp(a), PortSpec::Tcp(b)) => {
            cut(a, b).map(|r| Probe { spec: PortSpec::Tcp(r), protocol: Protocol::Tcp(r.first) })
        }
        (PortSpec::Udp(a), PortSpec::Udp(b)) => {
            cut(a, b).map(|r| Probe { spec: PortSpec::Udp(r), protocol: Protocol::Udp(r.first) })
        }
        _ => None,
    }
}

/// Joins ranges of one protocol that touch.
pub(super) fn join(specs: impl IntoIterator<Item = PortSpec>) -> Vec<PortSpec> {
    let mut out: Vec<PortSpec> = Vec::new();
    let mut sorted: Vec<PortSpec> = specs.into_iter().collect();
    sorted.sort();
    for spec in sorted {
        match (out.last_mut(), spec) {
            (Some(PortSpec::Tcp(a)), PortSpec::Tcp(b)) | (Some(PortSpec::Udp(a)), PortSpec::Udp(b))
                if u32::from(a.last) + 1 >= u32::from(b.first) =>
            {
                a.last = a.last.max(b.last);
            }
            (Some(PortSpec::Icmp), PortSpec::Icmp) => {}
            _ => out.push(spec),
        }
    }
    out
}
