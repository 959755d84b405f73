//! `up`, `down` and `confirm` killed at every step: nothing is open meanwhile, nothing is torn afterwards, and the next command
//! mends it. `WGRELAY_KILLS` says how many kills of each command; 100 unless told (scripts/soak kills).

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::rig::drive::Wgrelay;
use crate::rig::killed::{End, killed_at};
use crate::rig::node::Node;
use crate::rig::snapshot::Snapshot;
use crate::rig::topology::Topology;
use crate::sniffed::with_strangers;

/// Runs a command in a node, and kills it.
fn killed_in(node: &Node, command: &mut Command, nth: u64) -> End {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    node.traced(command, |command| killed_at(command, nth))
}

/// Which of its calls a command is killed at: as many as there are, or so many of them, evenly.
fn steps(calls: u64) -> impl Iterator<Item = u64> {
    let kills: u64 = std::env::var("WGRELAY_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    (0..kills).map(move |n| if kills >= calls { n % calls + 1 } else { (n + 1) * calls / kills })
}

/// Says whether the host is as the network has it.
#[track_caller]
fn is_whole(relay: &Wgrelay<'_>, what: &str) {
    let planned = relay.call(&["plan", "--check"]);
    assert_eq!(planned.code, Some(0), "{what}: {planned}");
}

/// The next command mends: a `down`, or an `up` before it.
fn is_mended(t: &Topology, relay: &Wgrelay<'_>, by_up: bool, before: &Snapshot, what: &str) {
    if by_up {
        relay.up().ok();
        is_whole(relay, what);
    }
    relay.ok(&["down"]);
    before.assert_same(&Snapshot::of(&t.relay), what);
}

#[test]
fn up() {
    with_strangers(|t, relay, strangers| {
        let words = ["up", "--backend", &relay.backend];
        // The lock and the folder of a host that was up before.
        relay.up().ok();
        relay.ok(&["down"]);
        let before = Snapshot::of(&t.relay);
        let End::Exited(0, calls) = killed_in(&t.relay, &mut relay.command(&words), u64::MAX / 2) else {
            panic!("it works where nobody kills it")
        };
        relay.ok(&["down"]);
        let mut kills = 0;
        for nth in steps(calls) {
            let end = killed_in(&t.relay, &mut relay.command(&words), nth);
            let what = format!("up killed at call {nth} of {calls} ({end:?})");
            is_mended(t, relay, kills % 2 == 0, &before, &what);
            assert_eq!(strangers.arrived(), Vec::<String>::new(), "{what}");
            kills += 1;
        }
        println!("up: {kills} kills over {calls} calls");
    });
}

#[test]
fn down() {
    with_strangers(|t, relay, strangers| {
        relay.up().ok();
        relay.ok(&["down"]);
        let before = Snapshot::of(&t.relay);
        relay.up().ok();
        let End::Exited(0, calls) = killed_in(&t.relay, &mut relay.command(&["down"]), u64::MAX / 2) else {
            panic!("it works where nobody kills it")
        };
        let mut kills = 0;
        for nth in steps(calls) {
            relay.up().ok();
            let end = killed_in(&t.relay, &mut relay.command(&["down"]), nth);
            let what = format!("down killed at call {nth} of {calls} ({end:?})");
            is_mended(t, relay, kills % 2 == 0, &before, &what);
            assert_eq!(strangers.arrived(), Vec::<String>::new(), "{what}");
            kills += 1;
        }
        println!("down: {kills} kills over {calls} calls");
    });
}

#[test]
fn confirm() {
    with_strangers(|t, relay, strangers| {
        relay.up().ok();
        let peers = || t.relay.run(&["wg", "show", "wg0", "peers"]).ok().stdout.lines().count();
        let kept = || t.relay.read(format!("{}/wg0/.last-up.json", relay.dir));
        let mut is_cut = false;
        let mut on_trial = || {
            is_cut = !is_cut;
            relay.edit(|text| {
                let whole = text.replace("enabled = false\n", "");
                if is_cut {
                    whole.replace("[node.docker]\n", "[node.docker]\nenabled = false\n")
                } else {
                    whole
                }
            });
            relay.call(&["up", "--backend", &relay.backend, "--confirm", "600"]).ok();
            is_cut
        };
        on_trial();
        let End::Exited(0, calls) = killed_in(&t.relay, &mut relay.command(&["confirm"]), u64::MAX / 2)
        else {
            panic!("it works where nobody kills it")
        };
        let (mut kills, mut was_kept) = (0, 0);
        for nth in steps(calls) {
            let cut = on_trial();
            let end = killed_in(&t.relay, &mut relay.command(&["confirm"]), nth);
            let what = format!("confirm killed at call {nth} of {calls} ({end:?})");
            // What is running is what is on trial, or kept; never the one before, and nothing in between.
            assert_eq!(peers(), if cut { 1 } else { 2 }, "{what}");
            let again = relay.call(&["confirm"]);
            assert!(matches!(again.code, Some(0 | 1)), "{what}: {again}");
            was_kept += usize::from(again.code == Some(1));
            assert!(relay.status()["goes_back_in"].is_null(), "{what}: {}", relay.status());
            assert_eq!(
                kept().contains("enabled = false"),
                cut,
                "{what}: a restart brings up what was confirmed"
            );
            is_whole(relay, &what);
            // Whoever waits looks four times a second whether there is still something to wait for.
            let waits = |(_, line): &(u32, String)| line.contains("confirm --wait");
            let somebody = || t.relay.processes().iter().any(waits);
            let until = Instant::now() + Duration::from_secs(5);
            while somebody() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(50));
            }
            assert!(!somebody(), "{what}: somebody waits still");
            assert_eq!(strangers.arrived(), Vec::<String>::new(), "{what}");
            kills += 1;
        }
        println!("confirm: {kills} kills over {calls} calls, {was_kept} after it counted");
        assert!(was_kept > 0 && was_kept < kills, "the kills come before and after it counts");
    });
}
