//! Bad days on random networks: an outsider on every link, sniffers everywhere, and what must not arrive is counted: none.
//!
//! `WGRELAY_EVENTS` says how many events a network sees (6), `WGRELAY_STORMS` how many networks (2), `WGRELAY_SEED` from which seed
//! on, `WGRELAY_AT_ONCE` how many at a time (scripts/soak storm). What is sent while somebody has the rules taken away may arrive;
//! what is sent before or after must not.

mod events;
mod flows;
mod lab;
mod outsiders;
mod sniffers;
mod windows;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::dice::Dice;
use crate::generate::generate;
use crate::need::{self, Need};
use crate::number;

use events::Day;
use flows::Flows;
use lab::Lab;
use outsiders::Outsiders;
use sniffers::{Heard, Sniffers};
use windows::Windows;

/// The seed of a run that names none.
const SEED: u64 = 60_000;

/// What one network saw.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    flows: usize,
    sent: u64,
    excused: u64,
}

/// A bad day on the network of a seed.
fn storm(seed: u64, events: u64) -> Count {
    let lab = Lab::of(&generate(seed), seed);
    let outsiders = Outsiders::of(&lab);
    let mut dice = Dice::new(seed ^ 0x5707_2111);
    let flows = Flows::of(&lab, &outsiders, &mut dice);
    let windows = Windows::new(Instant::now());
    let sniffers = Sniffers::of(&lab);
    let mut day = Day::of(&lab, &windows, dice);
    let excused = thread::scope(|scope| {
        scope.spawn(|| flows.send(&windows));
        let all = catch_unwind(AssertUnwindSafe(|| {
            let mut excused = 0;
            day.begin();
            for number in 0..=events {
                let Heard { wrong, excused: more } = sniffers.heard(&lab, &flows.all, &windows);
                excused += more;
                assert!(
                    wrong.is_empty(),
                    "seed {seed}, before event {number}, {} that must not arrive:\n{}\n{}\n{}",
                    wrong.len(),
                    wrong[..wrong.len().min(20)].join("\n"),
                    day.told.join("\n"),
                    generate(seed).text()
                );
                if number < events {
                    day.event();
                }
            }
            excused
        }));
        flows.ended.store(true, Ordering::Relaxed);
        all.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    Count { flows: flows.all.len(), sent: flows.sent.into_inner(), excused }
}

#[test]
fn whatever_happens_to_whatever_network_nothing_arrives_that_must_not() {
    let needs = ["ip", "nft", "wg", "bash", "timeout", "sysctl", "setpriv"].map(Need::Program);
    if !need::met(&[&[Need::Root, Need::At("/dev/net/tun")], &needs[..]].concat()) {
        return;
    }
    let (events, first) = (number("WGRELAY_EVENTS", 6), number("WGRELAY_SEED", SEED));
    let (count, at_once) = (number("WGRELAY_STORMS", 2), number("WGRELAY_AT_ONCE", 2));
    let next = AtomicU64::new(0);
    let faults = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = first + next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                break;
            }
            match catch_unwind(|| storm(seed, events)) {
                Ok(Count { flows, sent, excused }) => eprintln!(
                    "seed {seed}: {events} events, {flows} flows, {sent} datagrams, {excused} while it was open"
                ),
                Err(_) => faults.lock().unwrap().push(seed),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..at_once.min(count) {
            scope.spawn(work);
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "the seeds {faults:?}");
}
