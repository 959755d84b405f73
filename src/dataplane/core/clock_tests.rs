//! The protocol's real times, of minutes, in moments: a process of its own whose clock since boot is moved forward.
//!
//! A time namespace may be entered with another offset of CLOCK_BOOTTIME, which is just what a host's sleep does to
//! processes. Only a process with one thread may enter one, so each test forks. Needs root and time namespaces.

use std::io::Write as _;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, geteuid};

use super::tests::{Side, at, connected, settle, spoke_and_hub, to_hub, to_spoke};
use super::*;
use crate::dataplane::PeerChange;
use crate::dataplane::guard::LOAD_THRESHOLD;

const NEW_TIME: CloneFlags = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);
const SECOND: Duration = Duration::from_secs(1);

/// How far the clock has been moved.
struct Clock {
    ahead: Duration,
}

impl Clock {
    /// Moves the clock of this process forward, and of these sides.
    #[expect(clippy::disallowed_methods, reason = "an offset is told by writing a file")]
    fn pass<const N: usize>(&mut self, time: Duration, sides: [&mut Side; N]) {
        self.ahead += time;
        unshare(NEW_TIME).expect("root may make a time namespace");
        let offset = format!("boottime {} {}\n", self.ahead.as_secs(), self.ahead.subsec_nanos());
        std::fs::write("/proc/self/timens_offsets", offset).expect("nobody is in it yet");
        let fresh = open("/proc/self/ns/time_for_children");
        setns(fresh, NEW_TIME).expect("this process has one thread");
        for side in sides {
            side.now.boot += time;
            side.now.unix += time;
        }
    }

    /// Lets seconds pass one by one, each with its ticks and whatever they bring; returns the types that went.
    fn live(&mut self, seconds: u32, a: &mut Side, b: &mut Side) -> Vec<u8> {
        let mut types = Vec::new();
        for _ in 0..seconds {
            self.pass(SECOND, [a, b]);
            a.tick();
            b.tick();
            types.extend(settle(a, b));
        }
        types
    }
}

#[expect(clippy::disallowed_methods, reason = "a namespace is a file")]
fn open(path: &str) -> std::fs::File {
    std::fs::File::open(path).expect("the kernel has time namespaces")
}

/// Runs a test in a process of its own.
#[expect(clippy::disallowed_methods, reason = "what the test needs of the machine")]
#[expect(unsafe_code, reason = "only a process with one thread may enter a time namespace")]
fn alone(test: impl FnOnce(Clock) + std::panic::UnwindSafe) {
    if !geteuid().is_root() || !std::path::Path::new("/proc/self/timens_offsets").exists() {
        assert!(
            std::env::var_os("WGRELAY_REAL").is_none(),
            "asked for, but root or time namespaces are missing"
        );
        println!("not run: root or time namespaces are missing");
        return;
    }
    // SAFETY: the child runs the test, on this thread's copy, and leaves by _exit. The C library keeps its allocator
    // usable across a fork; the locks that other threads of the test runner may hold are not taken.
    match unsafe { fork() }.expect("a process can be made") {
        ForkResult::Child => {
            std::panic::set_hook(Box::new(|panic| {
                let _ = std::fs::File::options()
                    .append(true)
                    .open("/proc/self/fd/2")
                    .and_then(|mut stderr| writeln!(stderr, "{panic}"));
            }));
            let passed = std::panic::catch_unwind(|| test(Clock { ahead: Duration::ZERO })).is_ok();
            // SAFETY: it takes a number and does not return.
            unsafe { libc::_exit(i32::from(!passed)) }
        }
        ForkResult::Parent { child } => {
            let status = waitpid(child, None).expect("it is our child");
            assert_eq!(status, WaitStatus::Exited(child, 0), "see above");
        }
    }
}

fn count(types: &[u8], kind: u8) -> usize {
    types.iter().filter(|t| **t == kind).count()
}

#[test]
fn sessions_are_renewed_every_two_minutes_and_no_packet_is_lost() {
    alone(|mut clock| {
        let (mut spoke, mut hub) = connected();
        let mut types = Vec::new();
        for _ in 0..590 {
            spoke.send(&to_hub());
            hub.send(&to_spoke());
            types.extend(clock.live(1, &mut spoke, &mut hub));
            assert_eq!(hub.take_packets(), [to_hub()]);
            assert_eq!(spoke.take_packets(), [to_spoke()]);
        }
        assert_eq!((count(&types, 1), count(&types, 2)), (4, 4), "at 120, 240, 360 and 480 s");
        assert_eq!(hub.core.report().dropped, Dropped { unroutable: 0, ..Dropped::default() });
    });
}

#[test]
fn a_sleep_ends_sessions_that_are_too_old_and_no_others() {
    alone(|mut clock| {
        let (mut spoke, mut hub) = connected();
        clock.live(20, &mut spoke, &mut hub);
        clock.pass(80 * SECOND, [&mut spoke, &mut hub]);
        spoke.tick();
        spoke.send(&to_hub());
        assert_eq!(settle(&mut spoke, &mut hub), [4], "100 s: the session is good");
        hub.take_packets();
        for sleep in [190, 3600, 30 * 24 * 3600] {
            clock.pass(sleep * SECOND, [&mut spoke, &mut hub]);
            // What the loop does first on waking.
            spoke.tick();
            spoke.send(&to_hub());
            let types = settle(&mut spoke, &mut hub);
            assert_eq!(
                types[..2],
                [1, 2],
                "{sleep} s: a handshake, and nothing in the dead session: {types:?}"
            );
            assert_eq!(hub.take_packets(), [to_hub()], "{sleep} s");
        }
    });
}

#[test]
fn the_one_that_slept_is_told_the_new_session_by_the_one_that_did_not() {
    alone(|mut clock| {
        let (mut spoke, mut hub) = connected();
        spoke.change(PeerChange { keepalive: Some(25), ..PeerChange::new(hub.public_key) });
        settle(&mut spoke, &mut hub);
        // The hub hears nothing for ten minutes; the spoke gives up after 90 s and begins anew at every keepalive.
        let mut initiations = 0;
        for _ in 0..600 {
            clock.pass(SECOND, [&mut spoke, &mut hub]);
            spoke.tick();
            initiations += spoke.take_datagrams().iter().filter(|d| d[0] == 1).count();
        }
        assert!((60..130).contains(&initiations), "{initiations}");
        let types = clock.live(30, &mut spoke, &mut hub);
        assert_eq!(count(&types, 2), 1, "within a keepalive of its waking: {types:?}");
        assert!(hub.send(&to_spoke()));
        settle(&mut spoke, &mut hub);
        assert_eq!(spoke.take_packets(), [to_spoke()]);
    });
}

#[test]
fn a_handshake_is_given_up_after_ninety_seconds_and_begun_anew_by_a_packet() {
    alone(|mut clock| {
        let (mut spoke, mut hub) = spoke_and_hub();
        spoke.send(&to_hub());
        let tried = |clock: &mut Clock, spoke: &mut Side, seconds| {
            let mut tried = Vec::new();
            for second in 0..seconds {
                tried.extend(spoke.take_datagrams().iter().map(|d| (second, d[0])));
                clock.pass(SECOND, [spoke]);
                spoke.tick();
            }
            tried
        };
        let first = tried(&mut clock, &mut spoke, 100);
        assert!(first.iter().all(|(_, kind)| *kind == 1) && (15..=19).contains(&first.len()), "{first:?}");
        assert_eq!(tried(&mut clock, &mut spoke, 600), [], "and then there is peace");
        spoke.send(&to_hub());
        settle(&mut spoke, &mut hub);
        assert_eq!(hub.take_packets(), [to_hub()], "the packet of 700 s ago is not sent any more");
    });
}

#[test]
fn silence_is_broken_after_ten_seconds_and_doubted_after_fifteen() {
    alone(|mut clock| {
        let (mut spoke, mut hub) = connected();
        settle(&mut spoke, &mut hub);
        spoke.send(&to_hub());
        let types = clock.live(30, &mut spoke, &mut hub);
        assert_eq!(
            types,
            [4, 4],
            "the packet, and after 10 s an empty message of the hub that has nothing to say"
        );
        // Into the void: a handshake after 15 s.
        spoke.send(&to_hub());
        spoke.take_datagrams();
        let mut began = None;
        for second in 1..=20 {
            clock.pass(SECOND, [&mut spoke]);
            spoke.tick();
            if spoke.take_datagrams().iter().any(|d| d[0] == 1) {
                began = began.or(Some(second));
            }
        }
        assert!(matches!(began, Some(15 | 16)), "{began:?}");
    });
}

#[test]
fn a_cookie_is_used_at_the_next_try_and_for_two_minutes() {
    alone(|mut clock| {
        let (mut spoke, mut hub) = spoke_and_hub();
        let mut stranger = Side::new(8, "203.0.113.8:8");
        let begins = PeerChange {
            endpoint: Some(hub.remote.address),
            keepalive: Some(25),
            ..PeerChange::new(hub.public_key)
        };
        stranger.change(begins);
        let flood = stranger.take_datagrams().remove(0);
        let load = |hub: &mut Side| {
            for _ in 0..=LOAD_THRESHOLD {
                hub.receive(&flood, at("203.0.113.8:8"));
            }
            hub.take_datagrams();
        };
        load(&mut hub);
        spoke.send(&to_hub());
        assert_eq!(settle(&mut spoke, &mut hub), [1, 3], "a cookie");
        let mut types = Vec::new();
        for _ in 0..6 {
            load(&mut hub);
            types.extend(clock.live(1, &mut spoke, &mut hub));
        }
        assert_eq!(types[..2], [1, 2], "the next try carries it: {types:?}");
        assert_eq!(hub.take_packets(), [to_hub()]);
        // With a cookie that is too old it is the same once more.
        clock.pass(200 * SECOND, [&mut spoke, &mut hub]);
        spoke.tick();
        load(&mut hub);
        spoke.send(&to_hub());
        assert_eq!(settle(&mut spoke, &mut hub), [1, 3]);
    });
}

#[test]
fn the_wall_clock_may_jump() {
    alone(|mut clock| {
        let (mut spoke, mut hub) = connected();
        for unix in [2_000_100_000, 100, 4_000_000_000, 0] {
            let unix = Duration::from_secs(unix);
            (spoke.now.unix, hub.now.unix) = (unix, unix);
            let mut types = Vec::new();
            for _ in 0..130 {
                spoke.send(&to_hub());
                types.extend(clock.live(1, &mut spoke, &mut hub));
                assert_eq!(hub.take_packets(), [to_hub()]);
            }
            assert!(count(&types, 2) >= 1, "renewed: {types:?}");
            let told = hub.peer(&spoke).last_handshake.expect("there was one").seconds;
            assert!(told.abs_diff(unix.as_secs()) <= 130, "{told}");
        }
    });
}

#[test]
fn a_clock_set_back_is_felt_by_one_that_starts_anew_until_it_has_caught_up_or_is_forgotten() {
    alone(|mut clock| {
        let (mut spoke, mut hub) = connected();
        // The wall clock stands still here, and time stamps go on with the clock since boot: the handshake of an hour later
        // is stamped an hour later than whoever starts anew by the wall clock alone.
        clock.pass(3600 * SECOND, [&mut spoke, &mut hub]);
        spoke.tick();
        spoke.send(&to_hub());
        assert_eq!(settle(&mut spoke, &mut hub)[..2], [1, 2]);
        hub.take_packets();
        let restarted = |hub: &Side| {
            let (mut spoke, _) = spoke_and_hub();
            spoke.now = hub.now;
            spoke.send(&to_hub());
            spoke
        };
        let mut spoke = restarted(&hub);
        let refused = hub.core.report().dropped.refused;
        assert_eq!(
            settle(&mut spoke, &mut hub),
            [1],
            "older than the last: a replay, as far as anybody can tell"
        );
        assert_eq!(hub.core.report().dropped.refused, refused + 1);
        clock.pass(3601 * SECOND, [&mut spoke, &mut hub]);
        spoke.tick();
        spoke.take_datagrams();
        spoke.send(&to_hub());
        assert_eq!(settle(&mut spoke, &mut hub)[..2], [1, 2], "it has caught up");
        hub.take_packets();

        let mut spoke = restarted(&hub);
        assert_eq!(settle(&mut spoke, &mut hub), [1], "and once more");
        let peer = hub.peer(&spoke);
        hub.change(PeerChange { remove: true, ..PeerChange::new(spoke.public_key) });
        hub.change(PeerChange { allowed_ips: peer.allowed_ips, ..PeerChange::new(spoke.public_key) });
        let types = clock.live(10, &mut spoke, &mut hub);
        assert_eq!(types[..2], [1, 2], "a peer taken out and put in again is known by no time: {types:?}");
        assert_eq!(hub.take_packets(), [to_hub()]);
    });
}

#[test]
fn a_slow_processor_asks_for_cookies_long_before_the_threshold() {
    let mut hub = Side::new(2, "192.0.2.2:51820");
    let mut stranger = Side::new(8, "203.0.113.8:8");
    stranger.change(PeerChange {
        endpoint: Some(hub.remote.address),
        keepalive: Some(25),
        ..PeerChange::new(hub.public_key)
    });
    let flood = stranger.take_datagrams().remove(0);
    let mut rounds = |handshakes: usize, apart: Duration| {
        let mut cookies = 0;
        for _ in 0..10 {
            hub.now.boot += apart;
            (0..handshakes).for_each(|_| hub.receive(&flood, at("203.0.113.8:8")));
            cookies += hub.take_datagrams().len();
        }
        hub.now.boot += 3 * SECOND;
        cookies
    };
    let slow = Duration::from_millis(40);
    assert!(rounds(20, slow) > 0, "ten rounds of 40 ms, full of handshakes");
    assert_eq!(rounds(4, slow), 0, "there was time for other things");
    assert_eq!(rounds(20, Duration::from_millis(5)), 0, "a burst that is soon over");
    assert_eq!(rounds(20, SECOND), 0, "bursts that do not follow one another");
}
