//! Whatever fails around a relay that two hosts carry: how long a stock client is not answered, and that never two answer. Each kind
//! `WGRELAY_RUNS` times; one of them once unless told. `WGRELAY_FAMILY=4` takes IPv4 outside, else it is IPv6.

use std::time::{Duration, Instant};

use crate::carried::Carried;
use crate::stage::until;

/// So long it is watched whether anything changes that must not.
const QUIET: Duration = Duration::from_secs(6);
/// Longer than the lease: until then one has lost it.
const SOON: Duration = Duration::from_secs(4);
const ETCD: [&str; 3] = ["etcd1", "etcd2", "etcd3"];

/// What fails. All but the first are for `scripts/soak failover`.
const KINDS: [&str; 10] =
    ["etcd-cut", "power", "agent", "stop", "drain", "hosts-cut", "leader", "minority", "majority", "idle"];

fn runs() -> Option<usize> {
    std::env::var("WGRELAY_RUNS").ok()?.parse().ok()
}

/// Has a host take part again after whatever happened to it.
fn back(carried: &Carried, host: usize) {
    carried.host(host).up().ok();
    carried.settles();
}

/// Kills what this program runs on a host, agent and whoever starts it anew.
fn kill_agents(carried: &Carried, host: usize) {
    carried.stage.relays[host].run(&["bash", "-c", "kill -KILL $(pgrep -x wgrelay)"]).ok();
}

/// What the client received by its tunnel, in bytes.
fn received(carried: &Carried) -> u64 {
    let said = carried.stage.relays[2].run(&["wg", "show", "wg0", "transfer"]).ok().stdout;
    said.split_whitespace().nth(1).and_then(|bytes| bytes.parse().ok()).unwrap_or_default()
}

/// Lets something fail that is carried by `holder`, and mends it. Returns for how long the client was not answered.
fn fails(carried: &mut Carried, kind: &str, holder: usize) -> Duration {
    let other = 1 - holder;
    let goes_over = |carried: &Carried, happens: &(dyn Fn() + Sync)| {
        let seen = carried.watched(kind, holder, SOON, happens);
        assert_eq!(seen.senders.last(), Some(&other), "{kind}: the other host has it: {seen:?}");
        seen.gap
    };
    match kind {
        "power" => {
            let gap = goes_over(carried, &|| carried.power_off(holder));
            carried.power_on(holder);
            back(carried, holder);
            gap
        }
        "agent" => {
            let gap = goes_over(carried, &|| kill_agents(carried, holder));
            back(carried, holder);
            gap
        }
        "stop" => {
            let gap = goes_over(carried, &|| carried.signal_all(holder, "STOP"));
            // It wakes, and is silent.
            carried.watched(kind, other, SOON, || carried.signal_all(holder, "CONT"));
            gap
        }
        "drain" => {
            let name = ["eu-a", "eu-b"][holder];
            let gap = goes_over(carried, &|| drop(carried.host(holder).ok(&["drain", name])));
            carried.host(holder).ok(&["undrain", name]);
            gap
        }
        "etcd-cut" => {
            let gap = goes_over(carried, &|| carried.cut_off(holder, &ETCD));
            carried.joined();
            gap
        }
        "hosts-cut" => {
            let ports = ["eu", "us"];
            let seen = carried.watched(kind, holder, QUIET, || carried.cut_off(holder, &[ports[other]]));
            assert_eq!(seen.senders, [holder], "{kind}: nothing changes");
            carried.joined();
            seen.gap
        }
        "leader" | "minority" => {
            let leader = carried.stage.leader();
            let member = if kind == "leader" { leader } else { (leader + 1) % 3 };
            let pid = carried.stage.pid_of(member);
            let seen = carried.watched(kind, holder, QUIET, || kill(pid));
            carried.stage.kill(member);
            carried.stage.start(member, "existing");
            carried.stage.answers();
            seen.gap
        }
        "majority" => {
            let leader = carried.stage.leader();
            let gone = [leader, (leader + 1) % 3];
            for member in gone {
                carried.stage.kill(member);
            }
            // Nobody carries it: the client is not answered, and no host speaks in its name.
            until("nobody answers", || !carried.pings() && !carried.pings());
            let before = carried.counters();
            std::thread::sleep(SOON);
            assert_eq!(carried.counters(), before, "{kind}: somebody answers all the same");
            for member in gone {
                carried.stage.start(member, "existing");
            }
            carried.stage.answers();
            until("the client is answered", || carried.pings())
        }
        "idle" => {
            let before = received(carried);
            carried.power_off(holder);
            let began = Instant::now();
            until("it hears of the relay", || received(carried) > before);
            let gap = began.elapsed();
            carried.power_on(holder);
            back(carried, holder);
            gap
        }
        other => panic!("{other} is no kind"),
    }
}

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().expect("it is one"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it is ours");
}

#[test]
fn whatever_fails_never_two_hosts_answer() {
    let is_v6 = std::env::var("WGRELAY_FAMILY").as_deref() != Ok("4");
    let Some(mut carried) = Carried::founded(is_v6) else { return };
    carried.host(0).up().ok();
    carried.host(1).up().ok();
    let mut holder = carried.settles();
    carried.client();
    until("its endpoint is in the store", || {
        carried.stage.stored().contains_key("/wgrelay/wg0/floating/eu/endpoints")
    });
    let only = std::env::var("WGRELAY_KINDS").unwrap_or_default();
    let kinds = KINDS.iter().filter(|kind| only.is_empty() || only.split(',').any(|one| one == **kind));
    let kinds: Vec<&str> = kinds.take(if runs().is_some() { KINDS.len() } else { 1 }).copied().collect();
    for run in 0..runs().unwrap_or(1) {
        for kind in &kinds {
            let gap = fails(&mut carried, kind, holder);
            println!("{kind} {} ms, run {run}", gap.as_millis());
            holder = carried.settles();
            until("the client is answered again", || carried.pings());
            if runs().is_some() {
                // Where it was heard is written every two seconds.
                std::thread::sleep(SOON);
            }
        }
    }
}
