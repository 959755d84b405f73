//! A bad day in random order: the table flushed, the agent killed, files half written, addresses and links that come and go, `up`
//! and `down` in between. What strangers send never arrives but while somebody has the rules taken away, and never after they
//! are back. `WGRELAY_EVENTS` says how many events; 24 unless told, `WGRELAY_SEED` which order (scripts/soak storm).

use std::time::{Duration, Instant};

use crate::rig::drive::Wgrelay;
use crate::rig::topology::Topology;
use crate::sniffed::{Strangers, with_strangers};

/// Longest that the table may stay away on a busy machine.
const BOUND: Duration = Duration::from_secs(10);
const TABLE: &str = "nft -t list table inet wgrelay-wg0";

/// What happens, and whether the rules go with it.
const EVENTS: [(&str, &str, bool); 10] = [
    ("the table is flushed", "nft flush table inet wgrelay-wg0", true),
    ("the table is deleted", "nft delete table inet wgrelay-wg0", true),
    ("all tables go", "nft flush ruleset", true),
    ("a rule lets all pass", "nft insert rule inet wgrelay-wg0 forward accept", true),
    ("the agent is killed", "kill -9 $(cat /run/wgrelay/wg0/pid)", false),
    (
        "an address inside the tunnel appears",
        "ip link add vpn0 type veth peer name vpn1; ip addr add 192.168.3.200/32 dev vpn0",
        false,
    ),
    ("it goes", "ip link del vpn0 2>/dev/null; true", false),
    ("the tunnel is set down", "ip link set wg0 down", false),
    (
        "forwarding is switched off",
        "sysctl -qw net.ipv4.conf.wg0.forwarding=0 net.ipv6.conf.all.forwarding=0",
        false,
    ),
    (
        "the link of the site goes and comes",
        "ip link set br-6a7541fe74a1 down; ip link set br-6a7541fe74a1 up",
        false,
    ),
];

/// Numbers that look random, and are the same for the same seed (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).expect("it is less than n")
    }
}

fn number(variable: &str, unless: u64) -> u64 {
    std::env::var(variable).ok().and_then(|n| n.parse().ok()).unwrap_or(unless)
}

fn shown(t: &Topology) -> String {
    t.relay.run(&["bash", "-c", TABLE]).stdout
}

/// Waits until the rules are the ones that were loaded; what arrived until then is nobody's fault.
#[track_caller]
fn back(t: &Topology, whole: &str, strangers: &Strangers, what: &str) {
    let began = Instant::now();
    while shown(t) != whole {
        assert!(
            began.elapsed() < BOUND,
            "{what}: the table does not come back: {}\ninstead of\n{whole}",
            shown(t)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    // What was on its way.
    std::thread::sleep(Duration::from_millis(30));
    strangers.arrived();
}

/// Edits that are cut in the middle; the file is whole again afterwards.
fn half_written(t: &Topology, relay: &Wgrelay<'_>, name: &str) {
    let path = format!("{}/wg0/{name}", relay.dir);
    let whole = t.relay.read(&path);
    t.relay.write(&path, &whole[..whole.len() / 2]);
    let _refused = relay.up();
    std::thread::sleep(Duration::from_millis(200));
    t.relay.write(&path, &whole);
}

#[test]
fn strangers_are_kept_out_whatever_happens() {
    with_strangers(|t, relay, strangers| {
        let (events, seed) = (number("WGRELAY_EVENTS", 24), number("WGRELAY_SEED", 7));
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        relay.up().ok();
        if relay.backend != "embedded" {
            return;
        }
        let mut whole = shown(t);
        for n in 0..events {
            let what;
            match dice.below(EVENTS.len() + 4) {
                at if at < EVENTS.len() => {
                    let (name, line, rules_go) = EVENTS[at];
                    what = format!("seed {seed}, event {n}: {name}");
                    t.relay.run(&["bash", "-c", line]);
                    if rules_go {
                        back(t, &whole, strangers, &what);
                    }
                }
                at => {
                    t.relay.run(&["bash", "-c", "ip link del vpn0 2>/dev/null; true"]);
                    match at - EVENTS.len() {
                        0 => half_written(t, relay, "secrets.toml"),
                        1 => half_written(t, relay, "network.toml"),
                        2 => drop(relay.up().ok()),
                        _ => {
                            relay.ok(&["down"]);
                            // Sometimes the host forwards of its own accord for a while, and no longer.
                            std::thread::sleep(Duration::from_millis(dice.below(100) as u64));
                            relay.up().ok();
                            whole = shown(t);
                        }
                    }
                    what = format!("seed {seed}, event {n}: a command, or half a file ({at})");
                }
            }
            std::thread::sleep(Duration::from_millis(50 + dice.below(300) as u64));
            assert_eq!(strangers.arrived(), Vec::<String>::new(), "{what}");
        }
        println!("{events} events of seed {seed}");
    });
}
