//! AllowedIPs against a linear scan, and against the kernel's own ground truth where that is at hand.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn the_longest_prefix_wins_and_the_last_claimant_owns() {
    let mut table = AllowedIps::default();
    table.insert(net("10.0.0.0/8"), PeerId(1));
    table.insert(net("10.1.2.3/16"), PeerId(2));
    table.insert(net("0.0.0.0/0"), PeerId(3));
    assert_eq!(table.lookup("10.1.9.9".parse().unwrap()), Some(PeerId(2)));
    assert_eq!(table.lookup("10.2.9.9".parse().unwrap()), Some(PeerId(1)));
    assert_eq!(table.lookup("11.0.0.1".parse().unwrap()), Some(PeerId(3)));
    assert_eq!(table.lookup("::1".parse().unwrap()), None);

    table.insert(net("10.1.0.0/16"), PeerId(1));
    assert_eq!(table.of(PeerId(2)).count(), 0, "the prefix moved");
    assert_eq!(table.of(PeerId(1)).collect::<Vec<_>>(), [net("10.0.0.0/8"), net("10.1.0.0/16")]);

    table.remove(net("10.1.0.0/16"), PeerId(2));
    assert_eq!(table.lookup("10.1.9.9".parse().unwrap()), Some(PeerId(1)), "only the owner can take it away");
    table.remove_peer(PeerId(1));
    assert_eq!(table.lookup("10.1.9.9".parse().unwrap()), Some(PeerId(3)));
    assert_eq!(table.v4.nodes.len() - table.v4.free.len(), 1, "no node is left behind");
}

#[derive(Debug, Clone)]
enum Step {
    Insert(IpNet, u32),
    Remove(IpNet, u32),
    RemovePeer(u32),
}

/// Few distinct addresses, so that prefixes nest, repeat and collide.
fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<u32>(), 0..=32u8).prop_map(|(a, l)| {
            let a = a & 0xc300_8003;
            IpNet::new(Ipv4Addr::from(a).into(), l).unwrap()
        }),
        (any::<u128>(), 0..=128u8).prop_map(|(a, l)| {
            let a = a & (0b101 << 125 | 0b11 << 63 | 0b11);
            IpNet::new(Ipv6Addr::from(a).into(), l).unwrap()
        }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (prefix(), 0..4u32).prop_map(|(p, i)| Step::Insert(p, i)),
        3 => (prefix(), 0..4u32).prop_map(|(p, i)| Step::Remove(p, i)),
        1 => (0..4u32).prop_map(Step::RemovePeer),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_linear_scan(steps in prop::collection::vec(step(), 1..60)) {
        let mut table = AllowedIps::default();
        let mut plain: HashMap<IpNet, PeerId> = HashMap::new();
        for step in &steps {
            match *step {
                Step::Insert(p, i) => {
                    table.insert(p, PeerId(i));
                    plain.insert(p.trunc(), PeerId(i));
                }
                Step::Remove(p, i) => {
                    table.remove(p, PeerId(i));
                    if plain.get(&p.trunc()) == Some(&PeerId(i)) {
                        plain.remove(&p.trunc());
                    }
                }
                Step::RemovePeer(i) => {
                    table.remove_peer(PeerId(i));
                    plain.retain(|_, owner| *owner != PeerId(i));
                }
            }
        }
        let probes = steps.iter().filter_map(|s| match s {
            Step::Insert(p, _) | Step::Remove(p, _) => Some([p.addr(), p.network(), p.broadcast()]),
            Step::RemovePeer(_) => None,
        });
        for address in probes.flatten() {
            let expected = plain.iter().filter(|(p, _)| p.contains(&address)).max_by_key(|(p, _)| p.prefix_len());
            prop_assert_eq!(table.lookup(address), expected.map(|(_, owner)| *owner), "{}", address);
        }
        for i in 0..4 {
            let own: Vec<_> = table.of(PeerId(i)).collect();
            let mut expected: Vec<_> = plain.iter().filter(|(_, o)| **o == PeerId(i)).map(|(p, _)| *p).collect();
            expected.sort();
            prop_assert_eq!(own, expected);
        }
        // A trie of n prefixes has at most n - 1 forks: nothing leaks.
        let live = |nodes: usize, free: usize| nodes - free;
        let count = |v4: bool| plain.keys().filter(|p| matches!(p, IpNet::V4(_)) == v4).count();
        prop_assert!(live(table.v4.nodes.len(), table.v4.free.len()) <= 2 * count(true));
        prop_assert!(live(table.v6.nodes.len(), table.v6.free.len()) <= 2 * count(false));
    }
}

/// The operations and verdicts of the kernel's self-test. The file is another project's and is not shipped.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test reads its data")]
fn agrees_with_the_kernels_ground_truth() {
    let corpus = std::env::var("WGRELAY_CORPUS").unwrap_or_else(|_| "../shared/corpus".into());
    let corpus = [corpus, "../../shared/corpus".into()];
    let Some(text) = corpus
        .iter()
        .find_map(|dir| std::fs::read_to_string(format!("{dir}/linux-kernel/allowedips.json")).ok())
    else {
        println!("not run: no linux-kernel/allowedips.json (set WGRELAY_CORPUS)");
        return;
    };
    let data: serde_json::Value = serde_json::from_str(&text).unwrap();
    let peer = |v: &serde_json::Value| v.as_str().map(|s| PeerId(u32::from(s.as_bytes()[0])));
    let mut table = AllowedIps::default();
    let (mut inserts, mut lookups) = (0, 0);
    for op in data["ops"].as_array().unwrap() {
        let ip: Option<IpAddr> = op["ip"].as_str().map(|s| s.parse().unwrap());
        match op["op"].as_str().unwrap() {
            "reset" => table = AllowedIps::default(),
            "insert" => {
                let len = u8::try_from(op["cidr"].as_u64().unwrap()).unwrap();
                table.insert(IpNet::new(ip.unwrap(), len).unwrap(), peer(&op["peer"]).unwrap());
                inserts += 1;
            }
            "remove_peer" => table.remove_peer(peer(&op["peer"]).unwrap()),
            "lookup_is" => {
                assert_eq!(table.lookup(ip.unwrap()), peer(&op["peer"]), "{op}");
                lookups += 1;
            }
            "lookup_is_not" => {
                assert_ne!(table.lookup(ip.unwrap()), peer(&op["peer"]), "{op}");
                lookups += 1;
            }
            other => panic!("unknown operation {other}"),
        }
    }
    assert!(inserts > 30 && lookups > 30);
    let listing = &data["final_listing_expected"];
    let mut expected: Vec<IpNet> =
        listing["entries"].as_array().unwrap().iter().map(|e| net(e.as_str().unwrap()).trunc()).collect();
    expected.sort();
    assert_eq!(table.of(peer(&listing["peer"]).unwrap()).collect::<Vec<_>>(), expected);
}
