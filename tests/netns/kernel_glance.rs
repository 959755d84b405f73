//! WireGuard in the kernel tells nobody what is set on it: the agent glances at it every second, and puts back what somebody changed.

use std::time::{Duration, Instant};

use crate::rig::drive::Wgrelay;
use crate::rig::node::PLACE;
use crate::rig::topology::{Families, Topology};

/// Ten times two seconds: the guest is slow.
const BOUND: Duration = Duration::from_secs(20);
const STRANGER: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

#[test]
fn what_somebody_sets_on_the_kernels_wireguard_is_put_back_within_seconds() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    // Where the kernel has no WireGuard, there is nothing to glance at; the guest's run of this test has it.
    if relay.backend != "kernel" {
        return;
    }
    relay.up().ok();
    let shell = |line: &str| t.relay.run(&["bash", "-c", line]).stdout;
    let shown = || shell("wg showconf wg0 | sort");
    let program = env!("CARGO_BIN_EXE_wgrelay");
    shell(&format!("setsid {program} --dir {} run >{PLACE}/agent.log 2>&1 </dev/null &", relay.dir));
    let began = Instant::now();
    while shell("cat /run/wgrelay/wg0/pid").trim().is_empty() {
        assert!(began.elapsed() < BOUND, "no agent: {}", shell(&format!("cat {PLACE}/agent.log")));
        std::thread::sleep(Duration::from_millis(50));
    }
    // Its first whole look is over.
    std::thread::sleep(Duration::from_secs(5));
    t.relay.write(format!("{PLACE}/zero"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
    let peers = shell("wg show wg0 peers");
    let peer = peers.split_whitespace().next().expect("the relay has peers");
    let whole = shown();
    for (name, line) in [
        ("peer removed", format!("wg set wg0 peer {peer} remove")),
        ("peer added", format!("wg set wg0 peer {STRANGER} allowed-ips 10.98.0.0/24")),
        ("AllowedIPs", format!("wg set wg0 peer {peer} allowed-ips 10.0.0.0/8")),
        ("preshared key", format!("wg set wg0 peer {peer} preshared-key {PLACE}/zero")),
        ("port", "wg set wg0 listen-port 4444".into()),
        ("fwmark", "wg set wg0 fwmark 77".into()),
    ] {
        // Both in one process: what is put back meanwhile would not have been seen.
        assert_ne!(shell(&format!("{line}; wg showconf wg0 | sort")), whole, "{name}: it has no effect");
        let began = Instant::now();
        while shown() != whole {
            assert!(
                began.elapsed() < BOUND,
                "{name}: {}\n{}",
                shown(),
                shell(&format!("cat {PLACE}/agent.log"))
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("{name:<16} {:>5} ms", began.elapsed().as_millis());
    }
    // Again, as soon as it was put back: between two glances nothing has changed.
    let line = format!("wg set wg0 peer {peer} remove");
    for round in 0..6 {
        assert_ne!(
            shell(&format!("{line}; wg showconf wg0 | sort")),
            whole,
            "round {round}: it has no effect"
        );
        let began = Instant::now();
        while shown() != whole {
            assert!(
                began.elapsed() < BOUND,
                "round {round}: {}\n{}",
                shown(),
                shell(&format!("cat {PLACE}/agent.log"))
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("again, round {round} {:>5} ms", began.elapsed().as_millis());
    }
}
