//! The edge to a real Linux, in network namespaces of its own: links, routes, rules, nft, and the kernel's WireGuard.
//!
//! Root is needed. With `WGRELAY_REAL=1` a test that cannot run fails; with `WGRELAY_KERNEL=1` so does one that
//! finds no kernel WireGuard. Otherwise such a test says why it did not run.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops where it fails, and says why it did not run"
)]
#![expect(clippy::disallowed_methods, reason = "these tests are about the machine")]

#[path = "rig/need.rs"]
#[expect(dead_code, reason = "the rig serves other tests as well")]
mod need;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use wgrelay::app;
use wgrelay::dataplane::{DeviceChange, DeviceReport, PeerChange};
use wgrelay::firewall::foreign::{Accept, ForeignChain, ForeignRule, Iptables};
use wgrelay::firewall::{Action, Addresses, Chain, Family, Hook, Match, Rule, Set, Table};
use wgrelay::host::LinuxHost;
use wgrelay::host::wireguard::{KernelWireGuard, WireGuard, kernel_probe};
use wgrelay::host::{Host, HostError, Scope};
use wgrelay::model::{InterfaceName, PresharedKey, PrivateKey, PublicKey};
use wgrelay::plan::{
    Backend, Device, HostState, MAIN_TABLE, Peer, PolicyRule, Route, RuleSelector, diff, ifalias, table_name,
};

/// Runs a test in a new network namespace, on a thread of its own; the namespace ends with the thread.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let is_required = std::env::var_os("WGRELAY_REAL").is_some_and(|v| v == "1");
    let ran = std::thread::spawn(move || {
        if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            assert!(!is_required, "no network namespace: {error}; run as root");
            println!("not run: no network namespace ({error}); run as root");
            return;
        }
        test();
    });
    if let Err(panic) = ran.join() {
        std::panic::resume_unwind(panic);
    }
}

fn run(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn name() -> InterfaceName {
    "wg0".parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn scope(applied: Option<&HostState>) -> Scope {
    Scope {
        network: name(),
        sysctls: BTreeSet::new(),
        links: BTreeSet::new(),
        resolver: None,
        applied: applied.cloned(),
    }
}

/// A veth link and a report in memory in the place of a data plane.
#[derive(Default)]
struct StandIn {
    report: DeviceReport,
}

impl WireGuard for StandIn {
    fn create(&mut self, name: &InterfaceName, mtu: u16) -> Result<(), HostError> {
        run(&format!("ip link add {name} mtu {mtu} type veth peer name far"));
        run("ip link set far up");
        self.report = DeviceReport::default();
        Ok(())
    }
    fn configure(&mut self, _: &InterfaceName, change: &DeviceChange) -> Result<(), HostError> {
        if let Some(key) = &change.private_key {
            self.report.private_key = Some(key.clone());
        }
        self.report.listen_port = change.listen_port.unwrap_or(self.report.listen_port);
        self.report.fwmark = change.fwmark.unwrap_or(self.report.fwmark);
        assert!(change.peers.is_empty(), "the stand-in has no peers");
        Ok(())
    }
    fn report(&mut self, _: &InterfaceName) -> Result<Option<DeviceReport>, HostError> {
        Ok(Some(self.report.clone()))
    }
    fn delete(&mut self, name: &InterfaceName) -> Result<(), HostError> {
        run(&format!("ip link delete {name}"));
        Ok(())
    }
}

fn stand_in_host() -> LinuxHost {
    LinuxHost::open().unwrap().with_embedded(Box::new(StandIn::default()))
}

fn device() -> Device {
    Device {
        backend: Backend::Embedded,
        private_key: Some(PrivateKey::from_random([3; 32])),
        listen_port: Some(51820),
        fwmark: 0xca6c,
        mtu: 1380,
        up: true,
        addresses: [net("192.168.3.1/24"), net("fd5e::1/64")].into(),
        detached: [].into(),
        peers: BTreeMap::new(),
    }
}

/// A rule in a chain that is not there yet.
fn raw_accept(family: Family, dst: &str) -> ForeignRule {
    let accept = Accept { iif: Some("wg0".into()), dst: Some(net(dst)), ..Accept::default() };
    let rule = ForeignRule::new(Iptables::Nft, family, ForeignChain::RawPrerouting, accept);
    ForeignRule { made_chain: true, ..rule }
}

fn full_state() -> HostState {
    let rule = |ipv6, priority, selector| PolicyRule { ipv6, priority, selector };
    let tunnel = RuleSelector::NotMarked { mark: 0xca6c, table: 51820 };
    HostState {
        carried: None,
        links: BTreeMap::new(),
        device: Some(device()),
        routes: [
            Route { dst: net("192.168.33.0/24"), table: MAIN_TABLE },
            Route { dst: net("10.1.2.3/32"), table: MAIN_TABLE },
            Route { dst: net("fd77::/48"), table: MAIN_TABLE },
            Route { dst: net("0.0.0.0/0"), table: 51820 },
            Route { dst: net("::/0"), table: 51820 },
        ]
        .into(),
        rules: [
            rule(false, 32_400, RuleSelector::MainWithoutDefault),
            rule(false, 32_401, tunnel),
            rule(false, 32_402, RuleSelector::Outside { net: net("10.0.0.0/8") }),
            rule(false, 32_403, RuleSelector::Refused { mark: 0xca6c }),
            rule(true, 32_400, RuleSelector::MainWithoutDefault),
            rule(true, 32_401, tunnel),
            rule(true, 32_402, RuleSelector::Outside { net: net("fd00::/8") }),
            rule(true, 32_403, RuleSelector::Refused { mark: 0xca6c }),
        ]
        .into(),
        sysctls: [("net/ipv4/conf/wg0/forwarding".to_string(), "1".to_string())].into(),
        firewall: Some(table(&[net("192.168.3.0/24"), net("172.19.0.0/16")])),
        foreign_rules: [raw_accept(Family::V4, "172.19.0.0/16"), raw_accept(Family::V6, "fd00:19::/64")]
            .into(),
        firewalld: BTreeMap::new(),
        name_servers: None,
    }
}

fn table(places: &[IpNet]) -> Table {
    let inside = |is| Match::Daddr { family: Family::V4, with: Addresses::Set("places4".into()), is };
    let tunnel = || Match::Iif { name: "wg0".into(), is: true };
    let rule = |matches, action| Rule { matches, action };
    let forward = Chain {
        name: "forward".into(),
        hook: Hook::Forward,
        rules: vec![
            rule(vec![tunnel(), inside(true)], Action::Accept),
            rule(vec![tunnel(), Match::Tcp(8000, 8100)], Action::Drop),
        ],
    };
    let set = |family, elements: &[IpNet]| Set { family, elements: elements.iter().copied().collect() };
    Table {
        name: table_name(&name()),
        sets: [
            ("places4".to_string(), set(Family::V4, places)),
            ("places6".to_string(), set(Family::V6, &[net("fd5e::/64")])),
        ]
        .into(),
        chains: vec![forward],
    }
}

fn full_scope(applied: Option<&HostState>) -> Scope {
    Scope { sysctls: full_state().sysctls.keys().cloned().collect(), ..scope(applied) }
}

#[test]
fn a_whole_state_comes_and_goes_and_leaves_nothing() {
    in_namespace(|| {
        let look = || run("ip addr") + &run("ip route show table all") + &run("ip rule") + &run("ip -6 rule");
        run("ip link set lo up");
        let untouched = look();
        let mut host = stand_in_host();
        let wanted = full_state();
        let before = host.observe(&full_scope(None)).unwrap();
        assert_eq!(before, HostState::default());
        app::apply(&mut host, &full_scope(None), &before, &wanted, Backend::Embedded).unwrap();

        let seen = host.observe(&full_scope(Some(&wanted))).unwrap();
        assert_eq!(seen, wanted);
        let again = app::apply(&mut host, &full_scope(Some(&wanted)), &seen, &wanted, Backend::Embedded);
        assert!(again.unwrap().plan.is_empty());
        let link = run("ip -d link show wg0");
        assert!(link.contains("alias wgrelay:wg0") && link.contains("mtu 1380"), "{link}");
        let address = run("ip -6 addr show dev wg0");
        let address = address.lines().find(|l| l.contains("fd5e::1/64")).unwrap();
        assert!(!address.contains("tentative"), "{address}");
        let rules = run("ip rule show");
        assert!(rules.contains("32400:\tfrom all lookup main suppress_prefixlength 0 proto 87"), "{rules}");
        assert!(rules.contains("32401:\tnot from all fwmark 0xca6c lookup 51820 proto 87"), "{rules}");
        assert!(run("ip route show table 51820").contains("default dev wg0 proto 87 scope link"));

        let plan = diff(&seen, &HostState::default());
        host.apply(&name(), Backend::Embedded, &plan.changes).unwrap();
        // With the interface goes its switch.
        assert_eq!(host.observe(&full_scope(Some(&wanted))).unwrap(), HostState::default());
        assert_eq!(look(), untouched);
        assert_eq!(run("nft list ruleset"), "");
        // Twice is fine.
        host.apply(&name(), Backend::Embedded, &plan.changes).unwrap();
    });
}

#[test]
fn drift_is_seen_and_repaired() {
    in_namespace(|| {
        let mut host = stand_in_host();
        let wanted = full_state();
        app::apply(&mut host, &full_scope(None), &HostState::default(), &wanted, Backend::Embedded).unwrap();
        for damage in [
            "ip addr del 192.168.3.1/24 dev wg0",
            "ip route del 192.168.33.0/24",
            "ip rule del priority 32401",
            "ip link set wg0 mtu 1300",
            "ip link set wg0 down",
            "nft add rule inet wgrelay-wg0 forward accept",
            "nft flush chain inet wgrelay-wg0 forward",
            "nft delete element inet wgrelay-wg0 places4 { 172.19.0.0/16 }",
            "nft delete table inet wgrelay-wg0",
            "ip link delete wg0",
        ] {
            run(damage);
            let scope = full_scope(Some(&wanted));
            let seen = host.observe(&scope).unwrap();
            assert!(!diff(&seen, &wanted).is_empty(), "not seen: {damage}");
            app::apply(&mut host, &scope, &seen, &wanted, Backend::Embedded)
                .unwrap_or_else(|e| panic!("{damage}: {e}"));
        }
    });
}

#[test]
fn what_others_own_is_neither_seen_as_ours_nor_touched() {
    in_namespace(|| {
        run("ip link add wg0 type bridge");
        run("ip link set wg0 up");
        run("ip route add 10.0.0.0/8 dev wg0");
        let mut host = stand_in_host();
        assert_eq!(host.observe(&scope(None)).unwrap(), HostState::default());
        let wanted = kernel_state(BTreeMap::new());
        let failure = app::apply(&mut host, &scope(None), &HostState::default(), &wanted, Backend::Kernel);
        assert!(failure.is_err());
        assert!(run("ip route").contains("10.0.0.0/8 dev wg0"));
        let from = Box::new(device());
        host.apply(&name(), Backend::Kernel, &[wgrelay::plan::Change::DeleteDevice { from }]).unwrap();
        let link = run("ip link");
        assert!(link.contains("wg0") && !link.contains("wgrelay:"), "{link}");
        let facts = host.facts(&BTreeSet::new(), &BTreeSet::new()).unwrap();
        assert_eq!((facts.links["wg0"].kind.as_str(), facts.links["wg0"].up), ("bridge", true));
        assert!(facts.routes.iter().any(|r| r.dst == net("10.0.0.0/8") && r.device == "wg0"));
        assert!(facts.sysctl("net/ipv4/ip_forward").is_some());
    });
}

#[test]
fn rules_of_another_network_of_ours_are_not_this_ones() {
    in_namespace(|| {
        let mut host = stand_in_host();
        let wanted = full_state();
        app::apply(&mut host, &full_scope(None), &HostState::default(), &wanted, Backend::Embedded).unwrap();
        let other = Scope { network: "wg1".parse().unwrap(), ..scope(None) };
        assert_eq!(host.observe(&other).unwrap(), HostState::default());
    });
}

#[test]
fn facts_of_links_and_routes() {
    in_namespace(|| {
        run("ip link add br-ext type bridge");
        run("ip link add va type veth peer name vb");
        run("ip link set va master br-ext");
        run("ip link set br-ext up");
        run("ip addr add 192.168.33.1/24 dev br-ext");
        run("ip route add default via 192.168.33.254");
        run("ip route add blackhole 10.9.0.0/16");
        let mut host = LinuxHost::open().unwrap();
        let facts = host.facts(&BTreeSet::new(), &BTreeSet::new()).unwrap();
        assert_eq!(facts.links["va"].master.as_deref(), Some("br-ext"));
        assert_eq!(facts.links["br-ext"].addresses, [net("192.168.33.1/24")]);
        let default = facts.routes.iter().find(|r| r.dst == net("0.0.0.0/0")).unwrap();
        assert_eq!((default.device.as_str(), default.gateway), ("br-ext", Some([192, 168, 33, 254].into())));
        assert!(facts.routes.iter().any(|r| r.dst == net("10.9.0.0/16") && r.device.is_empty()));
        assert!(facts.routes.iter().any(|r| r.dst == net("192.168.33.0/24") && r.protocol == 2));
    });
}

#[test]
fn the_route_of_an_address_that_somebody_took_away_comes_back_as_it_was() {
    in_namespace(|| {
        let mut host = stand_in_host();
        let wanted = HostState { device: Some(device()), ..HostState::default() };
        app::apply(&mut host, &scope(None), &HostState::default(), &wanted, Backend::Embedded).unwrap();
        let routes = || ["-4", "-6"].map(|family| run(&format!("ip {family} route show table main")));
        let before = routes();
        assert!(before[0].contains("192.168.3.0/24") && before[1].contains("fd5e::/64"), "{before:?}");
        for (family, subnet) in [("-4", "192.168.3.0/24"), ("-6", "fd5e::/64")] {
            run(&format!("ip {family} route del {subnet} dev wg0"));
            let seen = host.observe(&scope(Some(&wanted))).unwrap();
            let lines = diff(&seen, &wanted).lines();
            let told: Vec<(&str, &str)> =
                lines.iter().map(|l| (l.kind.as_str(), l.target.as_str())).collect();
            assert_eq!(told, [("route", subnet)]);
            app::apply(&mut host, &scope(Some(&wanted)), &seen, &wanted, Backend::Embedded).unwrap();
            assert_eq!(routes(), before);
        }
        // It goes with its address, as the kernel's own does.
        let bare = Device { addresses: [].into(), ..device() };
        let bare = HostState { device: Some(bare), ..HostState::default() };
        let seen = host.observe(&scope(Some(&wanted))).unwrap();
        app::apply(&mut host, &scope(Some(&wanted)), &seen, &bare, Backend::Embedded).unwrap();
        let after = routes().concat();
        assert!(!after.contains("192.168.3.0/24") && !after.contains("fd5e::/64"), "{after}");
    });
}

#[test]
fn five_thousand_routes_in_one_go() {
    in_namespace(|| {
        let mut host = stand_in_host();
        let route = |i: u32| Route {
            dst: IpNet::new(std::net::IpAddr::from((0x0a00_0000 + i * 256).to_be_bytes()), 24).unwrap(),
            table: MAIN_TABLE,
        };
        let wanted = HostState {
            device: Some(Device { addresses: [net("192.168.3.1/24")].into(), ..device() }),
            routes: (0..5000).map(route).collect(),
            ..HostState::default()
        };
        let start = Instant::now();
        app::apply(&mut host, &scope(None), &HostState::default(), &wanted, Backend::Embedded).unwrap();
        let took = start.elapsed();
        println!("5,000 routes applied and verified in {took:?}");
        // Generous: an emulated machine takes forty times as long.
        assert!(took < Duration::from_secs(20), "{took:?}");
        let half = HostState { routes: (0..2500).map(route).collect(), ..wanted.clone() };
        let seen = host.observe(&scope(Some(&wanted))).unwrap();
        app::apply(&mut host, &scope(Some(&wanted)), &seen, &half, Backend::Embedded).unwrap();
        assert_eq!(run("ip route show proto 87").lines().count(), 2500);
    });
}

#[test]
fn a_refused_request_is_told_from_its_neighbours_and_undone() {
    in_namespace(|| {
        run("ip link add other type bridge");
        run("ip link set other up");
        run("ip route add 10.1.2.3/32 dev other");
        let mut host = stand_in_host();
        let nothing = HostState::default();
        let failure = app::apply(&mut host, &full_scope(None), &nothing, &full_state(), Backend::Embedded);
        let text = failure.unwrap_err().to_string();
        assert!(text.starts_with("add route 10.1.2.3/32: "), "{text}");
        assert_eq!(host.observe(&scope(None)).unwrap(), HostState::default());
        assert!(run("ip route").contains("10.1.2.3 dev other"));
    });
}

#[test]
fn five_thousand_set_elements_and_their_changes() {
    in_namespace(|| {
        let mut host = stand_in_host();
        let one =
            |i: u32| IpNet::new(std::net::IpAddr::from((0x0a00_0000 + i * 512).to_be_bytes()), 24).unwrap();
        let many: Vec<IpNet> = (0..5000).map(one).collect();
        let state = |places: &[IpNet]| HostState { firewall: Some(table(places)), ..HostState::default() };
        let mut current = HostState::default();
        let mut go = |places: &[IpNet]| {
            let wanted = state(places);
            let start = Instant::now();
            app::apply(&mut host, &scope(Some(&current)), &current, &wanted, Backend::Embedded)
                .unwrap_or_else(|e| panic!("{places:?}: {e}"));
            current = wanted;
            start.elapsed()
        };
        let took = go(&many);
        println!("5,000 elements loaded and verified in {took:?}");
        // Generous: an emulated machine takes forty times as long.
        assert!(took < Duration::from_secs(20), "{took:?}");
        go(&many[..4999]);
        // Halves become a whole and come apart again; neighbours of unequal size go one by one.
        go(&[net("10.0.0.0/25"), net("10.1.0.0/31"), net("10.1.0.2/32")]);
        go(&[net("10.0.0.0/24"), net("10.1.0.0/31")]);
        go(&[net("10.0.0.128/25"), net("10.1.0.2/32")]);
        go(&[]);
        go(&[net("0.0.0.0/0")]);
    });
}

#[test]
fn a_table_is_recognised_only_with_the_rules_it_was_loaded_from() {
    in_namespace(|| {
        let mut host = stand_in_host();
        let state = full_state();
        let loaded = HostState { firewall: state.firewall.clone(), ..HostState::default() };
        app::apply(&mut host, &scope(None), &HostState::default(), &loaded, Backend::Embedded).unwrap();
        // Nothing recorded, or something else recorded: replaced whole.
        assert_eq!(host.observe(&scope(None)).unwrap().firewall.unwrap().chains, []);
        let mut other = loaded.clone();
        other.firewall.as_mut().unwrap().chains[0].rules.pop();
        assert_eq!(host.observe(&scope(Some(&other))).unwrap().firewall.unwrap().chains, []);
        assert_eq!(host.observe(&scope(Some(&loaded))).unwrap(), loaded);
    });
}

#[test]
fn nft_says_what_it_refused() {
    in_namespace(|| {
        let mut bad = table(&[]);
        bad.chains[0].rules[0].action = Action::Jump("nowhere".into());
        let change = wgrelay::plan::Change::LoadTable { from: None, to: Box::new(bad) };
        let error = stand_in_host().apply(&name(), Backend::Embedded, &[change]).unwrap_err();
        assert!(error.cause.contains("No such file or directory"), "{error}");
        assert!(!error.cause.contains("nftables\":"), "{error}");
        assert_eq!(run("nft list ruleset"), "");
    });
}

/// Runs a test of the kernel's WireGuard, in a namespace of its own.
fn with_kernel(test: impl FnOnce(KernelWireGuard) + Send + 'static) {
    in_namespace(|| {
        if !kernel_probe() {
            let is_required = std::env::var_os("WGRELAY_KERNEL").is_some_and(|v| v == "1");
            assert!(!is_required, "this kernel has no WireGuard");
            println!("not run: this kernel has no WireGuard");
            return;
        }
        assert!(!run("ip -o link").contains("wgr"), "the probe left a link");
        test(KernelWireGuard::open().unwrap());
    });
}

fn key(number: u32) -> PublicKey {
    let mut bytes = [5; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    PublicKey::from_bytes(bytes)
}

fn peer(number: u32, nets: &[IpNet]) -> Peer {
    let small = number.to_le_bytes()[0];
    Peer {
        preshared_key: Some(PresharedKey::from_bytes([small | 1; 32])),
        endpoint: Some(std::net::SocketAddr::new([192, 0, 2, small].into(), 51820)),
        keepalive: Some(25),
        allowed_ips: nets.iter().copied().collect(),
    }
}

fn kernel_state(peers: BTreeMap<PublicKey, Peer>) -> HostState {
    let device = Device { backend: Backend::Kernel, peers, ..device() };
    HostState { device: Some(device), ..HostState::default() }
}

/// Applies a state on top of another and returns the number of changes.
fn go(host: &mut LinuxHost, from: &HostState, to: &HostState) -> usize {
    let before = host.observe(&scope(Some(from))).unwrap();
    assert!(before == *from, "the host is not as it was left");
    app::apply(host, &scope(Some(from)), &before, to, Backend::Kernel).unwrap().plan.changes.len()
}

#[test]
fn kernel_peers_come_change_and_go() {
    with_kernel(|mut kernel| {
        let mut host = LinuxHost::open().unwrap();
        let nets = |i: u32| [net(&format!("192.168.3.{}/32", i + 1)), net(&format!("fd5e::{}/128", i + 1))];
        let three = kernel_state((1..4).map(|i| (key(i), peer(i, &nets(i)))).collect());
        go(&mut host, &HostState::default(), &three);
        assert_eq!(host.observe(&scope(Some(&three))).unwrap(), three);
        assert!(run("ip -d link show wg0").contains("alias wgrelay:wg0"));

        // One peer loses its preshared key, its keepalive and a prefix, gains another; the others are not named.
        let mut changed = three.clone();
        let device = changed.device.as_mut().unwrap();
        let second = device.peers.get_mut(&key(2)).unwrap();
        (second.preshared_key, second.keepalive) = (None, None);
        second.allowed_ips = [net("192.168.3.3/32"), net("192.168.33.0/24")].into();
        assert_eq!(go(&mut host, &three, &changed), 1);
        assert_eq!(host.observe(&scope(Some(&changed))).unwrap(), changed);

        // A prefix moves from one peer to another, and a peer goes.
        let mut moved = changed.clone();
        let device = moved.device.as_mut().unwrap();
        device.peers.get_mut(&key(2)).unwrap().allowed_ips.remove(&net("192.168.33.0/24"));
        device.peers.get_mut(&key(3)).unwrap().allowed_ips.insert(net("192.168.33.0/24"));
        device.peers.remove(&key(1));
        assert_eq!(go(&mut host, &changed, &moved), 3);
        assert_eq!(host.observe(&scope(Some(&moved))).unwrap(), moved);

        // An update of a peer that is gone does not bring it back.
        let ghost = PeerChange { update_only: true, keepalive: Some(5), ..PeerChange::new(key(1)) };
        let change = DeviceChange { peers: vec![ghost], ..DeviceChange::default() };
        kernel.configure(&name(), &change).unwrap();
        assert_eq!(kernel.report(&name()).unwrap().unwrap().peers.len(), 2);

        go(&mut host, &moved, &HostState::default());
        assert_eq!(kernel.report(&name()).unwrap(), None);
        kernel.delete(&name()).unwrap();
    });
}

#[test]
fn kernel_five_thousand_peers() {
    with_kernel(|mut kernel| {
        let mut host = LinuxHost::open().unwrap();
        let ip = |n: u32| std::net::IpAddr::from(n.to_be_bytes());
        let nets = |i: u32| {
            [IpNet::new(ip(0x0a00_0000 + i * 256), 24).unwrap(), IpNet::new(ip(0xac10_0000 + i), 32).unwrap()]
        };
        // As on a relay: a keepalive would have the kernel call on all of them at once.
        let quiet = |i| Peer { endpoint: None, keepalive: None, ..peer(i, &nets(i)) };
        let many = kernel_state((1..=5000).map(|i| (key(i), quiet(i))).collect());
        let start = Instant::now();
        go(&mut host, &HostState::default(), &many);
        println!("5,000 peers applied and verified in {:?}", start.elapsed());
        let start = Instant::now();
        kernel.report(&name()).unwrap();
        println!("5,000 peers reported in {:?}", start.elapsed());
        let mut one = many.clone();
        one.device.as_mut().unwrap().peers.get_mut(&key(77)).unwrap().preshared_key = None;
        assert_eq!(go(&mut host, &many, &one), 1);
    });
}

#[test]
fn kernel_five_thousand_prefixes_of_one_peer() {
    with_kernel(|_| {
        let mut host = LinuxHost::open().unwrap();
        let ip = |n: u32| std::net::IpAddr::from(n.to_be_bytes());
        let v4 = (0..4000u32).map(|i| IpNet::new(ip(0x0a00_0000 + i * 256), 24).unwrap());
        let v6 = (0..1000u16).map(|i| net(&format!("fd00:0:{i:x}::/48")));
        let nets: Vec<IpNet> = v4.chain(v6).collect();
        let all = kernel_state([(key(1), peer(1, &nets)), (key(2), peer(2, &[]))].into());
        go(&mut host, &HostState::default(), &all);
        let fewer = kernel_state([(key(1), peer(1, &nets[1..])), (key(2), peer(2, &nets[..1]))].into());
        assert_eq!(go(&mut host, &all, &fewer), 2);
        assert!(host.observe(&scope(Some(&fewer))).unwrap() == fewer);
    });
}

#[test]
fn kernel_a_taken_port_is_named_and_undone() {
    with_kernel(|_| {
        run("ip link set lo up");
        let _holder = std::net::UdpSocket::bind(("0.0.0.0", 51820)).unwrap();
        let mut host = LinuxHost::open().unwrap();
        let wanted = kernel_state([(key(1), peer(1, &[]))].into());
        let failure = app::apply(&mut host, &scope(None), &HostState::default(), &wanted, Backend::Kernel);
        let Err(app::Failure::Undone { error }) = failure else { panic!("{failure:?}") };
        assert!(error.to_string().contains("51820"), "{error}");
        assert!(error.hint.contains("ss -ulpn 'sport = :51820'"), "{}", error.hint);
        assert!(!run("ip link").contains("wg0"));
    });
}

#[test]
fn kernel_refuses_a_name_that_is_taken() {
    with_kernel(|mut kernel| {
        run("ip link add wg0 type bridge");
        let error = kernel.create(&name(), 1420).unwrap_err();
        assert!(error.cause.contains("already"), "{error}");
        assert!(!run("ip -d link show wg0").contains(&ifalias(&name())));
    });
}

/// The tests above that need the kernel's WireGuard, in a guest that has it.
#[test]
fn in_guest_all_passes_with_wireguard_in_the_kernel() {
    use need::{Need, met};
    let needs = ["qemu-system-x86_64", "depmod", "cpio", "xz", "nft", "ip"].map(Need::Program);
    if std::env::var_os("WGRELAY_GUEST").is_some() || !met(&[Need::Root]) || !met(&needs) {
        return;
    }
    let status = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/run"))
        .arg(std::env::current_exe().unwrap())
        .args(["kernel_", "--test-threads=2"])
        .envs([("WGRELAY_GUEST", "1"), ("WGRELAY_REAL", "1"), ("WGRELAY_KERNEL", "1")])
        .status()
        .unwrap();
    assert!(status.success(), "in the guest: {status} (see above)");
}
