//! What a command costs grows with a network and not with its square. Memory that is asked for is counted, never time: a set of
//! everything, made for each node, asks for four times as much where there are twice as many.

#![expect(
    unsafe_code,
    clippy::print_stdout,
    reason = "an allocator is an unsafe trait; and how much was asked for is worth reading where it is too much"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write as _;

use wgrelay::config::{Secrets, parse_network};
use wgrelay::export::{Hooks, Keys, node_conf_of};
use wgrelay::model::{Derivation, Network, NodeName, PresharedKey, PublicKey, Timestamp};
use wgrelay::reach::{Flow, World, check, lint, place, trace};

const NOW: Timestamp = Timestamp(1_795_478_400);

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, and how many bytes this thread asked it for.
struct Counting;

fn count(bytes: usize) {
    // A thread that ends frees what it has after its own values are gone.
    let _ = ASKED.try_with(|asked| asked.set(asked.get() + bytes as u64));
}

// SAFETY: every call goes to the system's allocator as it came, and what that returns is returned.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps `alloc`'s contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn key(n: usize) -> PublicKey {
    PublicKey::from_bytes(std::array::from_fn(|i| (n >> (8 * (i % 4))) as u8 ^ 0x5a))
}

/// A hub and so many spokes, with a site each or none, and rules that each list some of the first spokes by name.
fn network(spokes: usize, sites: bool, rules: usize) -> Network {
    let mut text = format!(
        "[network]\nname = \"wg0\"\nsubnet = \"10.0.0.0/12\"\n\n[node.hub]\nrole = \"relay\"\naddress = \"10.0.0.1\"\n\
         endpoint = \"192.0.2.1:51820\"\npublic_key = \"{}\"\n",
        key(9_999_999)
    );
    for n in 1..=spokes {
        let (high, low) = (n / 250, n % 250 + 1);
        let _ = write!(text, "\n[node.s{n}]\naddress = \"10.1.{high}.{low}\"\npublic_key = \"{}\"\n", key(n));
        if sites {
            let _ = write!(text, "\n[[node.s{n}.site]]\nsubnet = \"11.{}.{}.0/24\"\n", n / 256, n % 256);
        }
    }
    for r in 0..rules {
        let list = |step: usize| {
            (0..10).map(|k| format!("\"s{}\"", (r * 7 + k * step) % 200 + 1)).collect::<Vec<_>>().join(", ")
        };
        let _ = write!(
            text,
            "\n[[allow]]\nfrom = [{}]\nto = [{}]\nports = [\"tcp/{}\"]\n",
            list(3),
            list(5),
            1000 + r
        );
    }
    let parsed = parse_network(text.as_bytes(), "network.toml");
    parsed.value.unwrap_or_else(|| panic!("{:?}", parsed.problems))
}

/// Holds what a work asks for in a network of so many spokes against the same with twice as many.
#[track_caller]
fn grows(what: &str, sites: bool, rules: usize, work: impl Fn(&Network)) {
    let asked = |spokes: usize| {
        let network = network(spokes, sites, rules);
        let before = ASKED.get();
        work(&network);
        ASKED.get() - before
    };
    let (once, twice) = (asked(600), asked(1200));
    println!("{what}: {once} bytes, then {twice}");
    assert!(twice < once * 5 / 2, "{what}: {once} bytes for 600 spokes, {twice} for 1,200");
}

#[test]
fn check_grows_with_the_network() {
    grows("check, a site each", true, 0, |network| _ = check(network, NOW));
    grows("lint, rules by lists", false, 60, |network| _ = lint(network, NOW));
}

#[test]
fn trace_grows_with_the_network() {
    for (sites, rules) in [(true, 0), (false, 60)] {
        grows("trace", sites, rules, |network| {
            let world = World::assumed(network, NOW);
            let at = |text| place(network, text).unwrap();
            _ = trace(&world, &Flow { from: at("s3"), to: at("s77"), port: None });
        });
    }
}

#[test]
fn the_files_of_all_nodes_grow_with_their_number() {
    let shared = |_: &NodeName, _: &NodeName| Some(PresharedKey::from_bytes([1; 32]));
    for rules in [0, 60] {
        grows("files of all, without sites", false, rules, |network| {
            let derivation = Derivation::of(network, NOW);
            for node in network.nodes.values() {
                let keys = Keys { private_key: None, preshared_key: &shared };
                let conf = node_conf_of(network, &derivation, keys, node, &Hooks::default(), NOW).unwrap();
                assert!(!conf.text().is_empty());
            }
        });
    }
}

#[test]
fn keys_are_read_once() {
    grows("secrets to use", false, 0, |network| {
        let keys = network.nodes.keys().filter(|name| name.as_str() != "hub");
        let lines: String = keys.map(|name| format!("{name} = \"{}\"\n", key(7))).collect();
        let text = format!("[preshared_keys.hub]\n{lines}");
        assert!(Secrets::parse_to_use(text.as_bytes(), "secrets.toml", network).value.is_some());
    });
}
