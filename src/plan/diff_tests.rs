//! Properties of [`diff`] over random pairs of states.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::bridge::{LinkAddress, LinkChange, LinkRoute, LinkState, Links};
use super::{
    Backend, Carried, Change, Device, HostState, MAIN_TABLE, NameServers, Peer, PolicyRule, Route,
    RuleSelector, diff,
};
use crate::firewall::foreign::firewalld::{FirewalldPolicy, RichRule};
use crate::firewall::foreign::resolver::Resolver;
use crate::firewall::foreign::{Accept, ForeignChain, ForeignRule, Iptables};
use crate::firewall::{Action, Chain, Family, Hook, Match, Rule, Set, Table};
use crate::model::{PresharedKey, PrivateKey, PublicKey};

// Few different values, so that two states often share some.

fn net() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (0u8..6, 8u8..=32)
            .prop_map(|(a, len)| Ipv4Net::new([10, a, 0, 0].into(), len).unwrap().trunc().into()),
        (0u16..6, 16u8..=128).prop_map(|(a, len)| Ipv6Net::new([0xfd00, a, 0, 0, 0, 0, 0, 1].into(), len)
            .unwrap()
            .trunc()
            .into()),
    ]
}

fn peer() -> impl Strategy<Value = Peer> {
    let endpoint = (1u16..4).prop_map(|port| ([192, 0, 2, 1], port).into());
    (option::of(0u8..3), option::of(endpoint), option::of(1u16..4), btree_set(net(), 0..4)).prop_map(
        |(psk, endpoint, keepalive, allowed_ips)| Peer {
            preshared_key: psk.map(|n| PresharedKey::from_bytes([n; 32])),
            endpoint,
            keepalive,
            allowed_ips,
        },
    )
}

fn device() -> impl Strategy<Value = Device> {
    let backend = prop_oneof![Just(Backend::Kernel), Just(Backend::Embedded)];
    let peers = btree_map((0u8..5).prop_map(|n| PublicKey::from_bytes([n; 32])), peer(), 0..4);
    (backend, 0u8..3, 1u16..4, 0u32..3, 1280u16..1283, btree_set(net(), 0..3), peers).prop_map(
        |(backend, key, port, fwmark, mtu, addresses, peers)| Device {
            backend,
            private_key: Some(PrivateKey::from_random([key; 32])),
            listen_port: Some(port),
            fwmark,
            mtu,
            up: true,
            addresses,
            detached: [].into(),
            peers,
        },
    )
}

fn table() -> impl Strategy<Value = Table> {
    let set = |family: Family| {
        btree_set(net(), 0..5).prop_map(move |nets| Set {
            family,
            elements: nets.into_iter().filter(|n| Family::of(n) == family).collect(),
        })
    };
    let rule =
        (1u16..4).prop_map(|port| Rule { matches: vec![Match::Tcp(port, port)], action: Action::Drop });
    (set(Family::V4), option::of(set(Family::V6)), vec(rule, 0..2)).prop_map(|(v4, v6, rules)| {
        let mut sets = BTreeMap::from([("places4".to_string(), v4)]);
        sets.extend(v6.map(|set| ("places6".to_string(), set)));
        let chains = vec![Chain { name: "forward".into(), hook: Hook::Forward, rules }];
        Table { name: "wgrelay-wg0".into(), sets, chains }
    })
}

/// Two bridges that may be there, and two ports that are, each the port of one of them or of none.
fn links() -> impl Strategy<Value = Links> {
    let bridge = || option::of((any::<bool>(), 1400u32..1402));
    let port = || (option::of(0usize..2), any::<bool>());
    let addresses = || vec(btree_set(0u8..4, 0..3), 4);
    // A route of one key is on one link.
    let routes = || vec(option::of((0usize..4, option::of(0u8..4), 3u8..5)), 3);
    (bridge(), bridge(), [port(), port()], addresses(), routes()).prop_map(
        |(one, other, ports, addresses, routes)| {
            let names = ["br0", "br1", "eth0", "eth1"];
            let bridges = [one, other].map(|b| b.map(|(stp, mtu)| LinkState::bridge(stp, Some(mtu))));
            let is_there = bridges.clone().map(|b| b.is_some());
            let ports = ports.map(|(master, up)| {
                let master = master.filter(|m| is_there[*m]).map(|m| names[m].to_string());
                Some(LinkState { master, up, ..LinkState::port_of("") })
            });
            let mut links: Vec<Option<LinkState>> = bridges.into_iter().chain(ports).collect();
            for (link, own) in links.iter_mut().zip(addresses) {
                let net = |n: u8| LinkAddress::of(format!("10.{n}.0.1/16").parse().unwrap());
                link.iter_mut().for_each(|l| l.addresses = own.iter().map(|n| net(*n)).collect());
            }
            for (number, route) in routes.into_iter().enumerate() {
                let Some((link, gateway, protocol)) = route else { continue };
                if let Some(link) = &mut links[link] {
                    link.routes.push(LinkRoute {
                        dst: format!("10.{}.0.0/16", 100 + number).parse().unwrap(),
                        table: MAIN_TABLE,
                        metric: 0,
                        gateway: gateway.map(|n| [10, n, 0, 2].into()),
                        protocol,
                        scope: 0,
                        src: None,
                        onlink: false,
                        metrics: Vec::new(),
                    });
                }
            }
            names.map(String::from).into_iter().zip(links).collect()
        },
    )
}

/// The order in which a link's addresses and routes came is nobody's wish.
fn sorted(mut state: HostState) -> HostState {
    for link in state.links.values_mut().flatten() {
        link.addresses.sort_by_key(|a| a.net);
        link.routes.sort_by_key(|r| r.dst);
    }
    state
}

fn state() -> impl Strategy<Value = HostState> {
    let table_number = prop_oneof![Just(MAIN_TABLE), Just(51820)];
    let routes = btree_set((net(), table_number).prop_map(|(dst, table)| Route { dst, table }), 0..5);
    let selector = prop_oneof![
        Just(RuleSelector::MainWithoutDefault),
        (1u32..3).prop_map(|mark| RuleSelector::NotMarked { mark, table: mark }),
        net().prop_map(|net| RuleSelector::Outside { net }),
        net().prop_map(|net| RuleSelector::FromWithoutDefault { net }),
        (net(), 1u32..3).prop_map(|(net, table)| RuleSelector::From { net, table }),
        net().prop_map(|net| RuleSelector::FromRefused { net }),
        (1u32..3).prop_map(|mark| RuleSelector::Refused { mark })
    ];
    let rule = (any::<bool>(), 1u32..3, selector).prop_map(|(ipv6, priority, selector)| PolicyRule {
        ipv6,
        priority,
        selector,
    });
    let path = prop_oneof![
        Just("net/ipv4/conf/wg0/forwarding".to_string()),
        Just("net/ipv6/conf/eth0/accept_ra".to_string())
    ];
    let sysctls = btree_map(path, "[012]", 0..3);
    let foreign = (any::<bool>(), any::<bool>(), 0u8..3).prop_map(|(shadowed, raw, n)| {
        let chain = if raw { ForeignChain::RawPrerouting } else { ForeignChain::DockerUser };
        let accept = Accept { oif: Some(format!("br{n}")), ..Accept::default() };
        ForeignRule { shadowed, ..ForeignRule::new(Iptables::Nft, Family::V4, chain, accept) }
    });
    let foreign_rules = btree_set(foreign, 0..3);
    let policy = (any::<bool>(), option::of(net())).prop_map(|(whole, dst)| FirewalldPolicy {
        egress: ["ANY".to_string()].into(),
        rules: [RichRule::Accept { src: None, dst }].into(),
        whole,
    });
    let name = prop_oneof![Just("wgrelay-wg0".to_string()), Just("wgrelay-wg0-out".to_string())];
    let firewalld = btree_map(name, policy, 0..3);
    let name_servers =
        (any::<bool>(), 0u8..2, any::<bool>()).prop_map(|(resolved, n, every_name)| NameServers {
            resolver: if resolved { Resolver::SystemdResolved } else { Resolver::Resolvconf },
            servers: vec![[10, 0, 0, n].into()],
            domains: Vec::new(),
            every_name,
        });
    let carried = (1u8..3, 0u8..2).prop_map(|(n, link)| Carried {
        address: format!("198.51.100.{n}/24").parse().unwrap(),
        link: format!("eth{link}"),
        port: 51820,
    });
    let beside = (option::of(name_servers), option::of(carried));
    let rest = (sysctls, option::of(table()), links(), foreign_rules, firewalld, beside);
    (option::of(device()), routes, btree_set(rule, 0..3), rest).prop_map(
        |(
            device,
            routes,
            rules,
            (sysctls, firewall, links, foreign_rules, firewalld, (name_servers, carried)),
        )| {
            // Routes live on the interface.
            let routes = if device.is_some() { routes } else { BTreeSet::new() };
            HostState {
                device,
                routes,
                rules,
                sysctls,
                firewall,
                links,
                foreign_rules,
                firewalld,
                name_servers,
                carried,
            }
        },
    )
}

proptest! {
    #[test]
    fn nothing_separates_a_state_from_itself(state in state()) {
        prop_assert!(diff(&state, &state).is_empty());
    }

    #[test]
    fn carrying_out_the_difference_reaches_the_other(from in state(), to in state()) {
        let mut now = from.clone();
        diff(&from, &to).apply_to(&mut now);
        // What only `from` names among the switches is left alone.
        let mut expected = to.clone();
        for (path, value) in &from.sysctls {
            expected.sysctls.entry(path.clone()).or_insert_with(|| value.clone());
        }
        prop_assert_eq!(sorted(now.clone()), sorted(expected));
        prop_assert!(diff(&now, &to).is_empty());
    }

    #[test]
    fn a_peer_that_stays_the_same_is_not_named(from in state(), to in state()) {
        let (Some(a), Some(b)) = (&from.device, &to.device) else { return Ok(()) };
        if a.backend != b.backend {
            return Ok(());
        }
        for change in &diff(&from, &to).changes {
            if let Change::Peer { key, .. } = change {
                prop_assert_ne!(a.peers.get(key), b.peers.get(key));
            }
        }
    }

    #[test]
    fn what_moves_between_links_is_never_away(from in state(), to in state()) {
        let mut now = from.clone();
        let addresses = |state: &HostState| -> BTreeSet<IpNet> {
            state.links.values().flatten().flat_map(|l| &l.addresses).map(|a| a.net).collect()
        };
        let routes = |state: &HostState| -> BTreeSet<IpNet> {
            state.links.values().flatten().flat_map(|l| &l.routes).map(|r| r.dst).collect()
        };
        let (kept_addresses, kept_routes) =
            (&addresses(&from) & &addresses(&to), &routes(&from) & &routes(&to));
        for change in &diff(&from, &to).changes {
            change.apply_to(&mut now);
            prop_assert!(kept_addresses.is_subset(&addresses(&now)), "{change:?}");
            prop_assert!(kept_routes.is_subset(&routes(&now)), "{change:?}");
            if let Change::Link { change } = change
                && let LinkChange::Delete { bridge, .. } = &**change
            {
                let has_port = now.links.values().flatten().any(|l| l.master.as_ref() == Some(bridge));
                prop_assert!(!has_port, "{bridge} goes with its ports");
            }
        }
    }

    #[test]
    fn the_interface_comes_up_behind_the_firewall_and_before_its_routes(to in state()) {
        let changes = diff(&HostState::default(), &to).changes;
        let at = |wanted: fn(&Change) -> bool| changes.iter().position(wanted);
        let up = at(|c| matches!(c, Change::LinkUp));
        let load = at(|c| matches!(c, Change::LoadTable { .. }));
        let route = at(|c| matches!(c, Change::AddRoute { .. }));
        let last_peer = changes.iter().rposition(|c| matches!(c, Change::Peer { .. }));
        prop_assert!(load.is_none() || up.is_none() || load < up);
        let beside =
            changes.iter().rposition(|c| matches!(c, Change::AddForeign { .. } | Change::Firewalld { .. }));
        prop_assert!(beside.is_none() || (load.is_none() || load < beside) && (up.is_none() || beside < up));
        prop_assert!(last_peer.is_none() || last_peer < up);
        prop_assert!(route.is_none() || up < route);
    }

    #[test]
    fn on_the_way_down_what_lets_packets_pass_elsewhere_goes_first(from in state()) {
        if from.device.is_none() {
            return Ok(());
        }
        let changes = diff(&from, &HostState::default()).changes;
        let last = changes
            .iter()
            .rposition(|c| matches!(c, Change::RemoveForeign { .. } | Change::Firewalld { .. }));
        prop_assert!(
            last.is_none_or(|last| last + 1 == from.foreign_rules.len() + from.firewalld.len())
        );
    }
}
