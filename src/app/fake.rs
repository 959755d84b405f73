//! A host in memory that fails when told to.

use std::collections::{BTreeMap, BTreeSet};

use super::{Failure, apply};
use crate::dataplane::DeviceReport;
use crate::firewall::foreign::firewalld::FirewalldPolicy;
use crate::firewall::foreign::resolver::Resolver;
use crate::firewall::foreign::{Accept, ForeignChain, ForeignRule, Iptables};
use crate::firewall::{Chain, Family, Hook, Set, Table};
use crate::host::{Host, HostError, Scope};
use crate::model::{InterfaceName, PrivateKey, PublicKey};
use crate::plan::bridge::{LinkAddress, LinkState};
use crate::plan::{
    Backend, Carried, Change, Device, Facts, HostState, MAIN_TABLE, NameServers, Peer, PolicyRule, Route,
    RuleSelector, diff,
};

/// Holds a state, counts the changes made to it, and fails at one of them.
#[derive(Debug, Default)]
struct FakeHost {
    state: HostState,
    done: usize,
    /// The change, counted from 0, that fails, once.
    fail_at: Option<usize>,
    /// Whether every change from that one on fails.
    fail_for_ever: bool,
    /// Whether routes are taken and not kept.
    forgets_routes: bool,
}

impl Host for FakeHost {
    fn facts(&mut self, _: &BTreeSet<String>, _: &BTreeSet<String>) -> Result<Facts, HostError> {
        Ok(Facts::default())
    }
    fn observe(&mut self, _: &Scope) -> Result<HostState, HostError> {
        Ok(self.state.clone())
    }
    fn report(&mut self, _: &Scope) -> Result<Option<DeviceReport>, HostError> {
        Ok(None)
    }
    fn apply(&mut self, _: &InterfaceName, _: Backend, changes: &[Change]) -> Result<(), HostError> {
        for change in changes {
            let fails = self.fail_at.is_some_and(|n| n == self.done || (self.fail_for_ever && n < self.done));
            self.done += 1;
            if fails {
                return Err(HostError::new("change", change.line().target, "told to fail"));
            }
            change.apply_to(&mut self.state);
            // As on a real host, routes go with their link.
            if matches!(change, Change::DeleteDevice { .. }) || self.forgets_routes {
                self.state.routes.clear();
            }
        }
        Ok(())
    }
}

fn scope() -> Scope {
    Scope {
        network: "wg0".parse().unwrap(),
        sysctls: BTreeSet::new(),
        links: BTreeSet::new(),
        resolver: None,
        applied: None,
    }
}

fn bridge_with(number: u8) -> LinkState {
    let mut bridge = LinkState::bridge(number.is_multiple_of(2), Some(1400 + u32::from(number)));
    bridge.addresses.push(LinkAddress::of(format!("10.{number}.0.1/16").parse().unwrap()));
    bridge
}

/// A state of every part, which differs from that of another number in every part.
fn state(number: u8, backend: Backend) -> HostState {
    let set = Set { family: Family::V4, elements: [format!("10.{number}.0.0/16").parse().unwrap()].into() };
    let peer = |n: u8| Peer {
        preshared_key: None,
        endpoint: None,
        keepalive: Some(u16::from(number)),
        allowed_ips: [format!("10.{n}.0.0/16").parse().unwrap()].into(),
    };
    let device = Device {
        backend,
        private_key: Some(PrivateKey::from_random([number; 32])),
        listen_port: Some(1000 + u16::from(number)),
        fwmark: u32::from(number),
        mtu: 1400 + u16::from(number),
        up: true,
        addresses: [format!("192.168.{number}.1/24").parse().unwrap()].into(),
        detached: [].into(),
        peers: [0, number].map(|n| (PublicKey::from_bytes([n; 32]), peer(n))).into(),
    };
    let selector = RuleSelector::NotMarked { mark: 1, table: 1 };
    HostState {
        device: Some(device),
        routes: [Route { dst: format!("10.{number}.0.0/16").parse().unwrap(), table: MAIN_TABLE }].into(),
        rules: [PolicyRule { ipv6: false, priority: number.into(), selector }].into(),
        sysctls: BTreeMap::from([("net/ipv4/conf/wg0/forwarding".to_string(), number.to_string())]),
        firewall: Some(Table {
            name: "wgrelay-wg0".into(),
            sets: [("places4".to_string(), set)].into(),
            chains: vec![Chain { name: format!("c{}", number / 2), hook: Hook::None, rules: vec![] }],
        }),
        // One of two bridges, with a port that has what it had before.
        links: [
            ("br0".to_string(), Some(bridge_with(number))),
            ("br1".to_string(), (number > 2).then(|| bridge_with(number + 100))),
            ("eth0".to_string(), Some(LinkState::port_of("br0"))),
        ]
        .into(),
        foreign_rules: [ForeignRule::new(
            Iptables::Nft,
            Family::V4,
            ForeignChain::DockerUser,
            Accept { oif: Some(format!("br{number}")), ..Accept::default() },
        )]
        .into(),
        firewalld: [(
            "wgrelay-wg0".to_string(),
            FirewalldPolicy { egress: [format!("zone{number}")].into(), rules: BTreeSet::new(), whole: true },
        )]
        .into(),
        name_servers: (number > 2).then(|| NameServers {
            resolver: if number > 3 { Resolver::Openresolv } else { Resolver::SystemdResolved },
            servers: vec![[10, number, 0, 53].into()],
            domains: Vec::new(),
            every_name: true,
        }),
        carried: (number > 3).then(|| Carried {
            address: format!("198.51.100.{number}/24").parse().unwrap(),
            link: "eth0".into(),
            port: 51820,
        }),
    }
}

/// Pairs of states to go between: up, down, changed, changed within one table, and to the other backend.
fn ways() -> Vec<(HostState, HostState)> {
    // A switch has a value on a host without wgrelay too.
    let mut eth0 = LinkState::port_of("");
    (eth0.master, eth0.up) = (None, false);
    eth0.addresses.push(LinkAddress::of("10.2.0.1/16".parse().unwrap()));
    let links =
        [("br0".to_string(), None), ("br1".to_string(), None), ("eth0".to_string(), Some(eth0))].into();
    let bare = HostState { sysctls: state(9, Backend::Kernel).sysctls, links, ..HostState::default() };
    let one = state(2, Backend::Kernel);
    vec![
        (bare.clone(), one.clone()),
        (one.clone(), bare),
        (one.clone(), state(4, Backend::Kernel)),
        (one.clone(), state(3, Backend::Kernel)),
        (one, state(4, Backend::Embedded)),
    ]
}

fn backend_of(state: &HostState) -> Backend {
    state.device.as_ref().map_or(Backend::Kernel, |d| d.backend)
}

#[test]
fn reaches_the_wanted_state_and_then_has_nothing_to_do() {
    for (before, wanted) in ways() {
        let mut host = FakeHost { state: before.clone(), ..FakeHost::default() };
        let first = apply(&mut host, &scope(), &before, &wanted, backend_of(&wanted)).unwrap();
        assert!(!first.plan.is_empty());
        assert_eq!(host.state, wanted);
        let done = host.done;
        let second = apply(&mut host, &scope(), &wanted, &wanted, backend_of(&wanted)).unwrap();
        assert!(second.plan.is_empty());
        assert_eq!(host.done, done);
    }
}

#[test]
fn a_failure_at_any_step_leaves_the_host_as_it_was() {
    for (before, wanted) in ways() {
        for step in 0..diff(&before, &wanted).changes.len() {
            let mut host = FakeHost { state: before.clone(), fail_at: Some(step), ..FakeHost::default() };
            let failure = apply(&mut host, &scope(), &before, &wanted, backend_of(&wanted)).unwrap_err();
            assert!(matches!(failure, Failure::Undone { .. }), "step {step}: {failure:?}");
            assert_eq!(host.state, before, "step {step}");
        }
    }
}

#[test]
fn what_does_not_verify_is_undone() {
    let (before, wanted) = ways().swap_remove(0);
    let mut host = FakeHost { state: before.clone(), forgets_routes: true, ..FakeHost::default() };
    let failure = apply(&mut host, &scope(), &before, &wanted, Backend::Kernel).unwrap_err();
    let Failure::NotVerified { differences } = failure else { panic!("{failure:?}") };
    assert_eq!(differences.iter().map(|l| l.kind.as_str()).collect::<Vec<_>>(), ["route"]);
    assert_eq!(host.state, before);
}

#[test]
fn undoing_that_fails_is_said_and_goes_on_as_far_as_it_can() {
    let (before, wanted) = ways().swap_remove(0);
    let mut host =
        FakeHost { state: before.clone(), fail_at: Some(3), fail_for_ever: true, ..FakeHost::default() };
    let planned = diff(&before, &wanted).changes.len();
    let failure = apply(&mut host, &scope(), &before, &wanted, Backend::Kernel).unwrap_err();
    assert!(matches!(failure, Failure::Stuck { .. }), "{failure:?}");
    // Three were done and one failed; then each step of undoing was tried.
    assert!(host.done > 5 && host.done < 4 + planned, "{}", host.done);
}
