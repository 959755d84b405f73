//! A session that outlives its keys while it is in use, with each of the others, begun by either side. Minutes, so only where
//! WGRELAY_SOAK_SECONDS allows for two handshakes.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::other::Other;
use crate::rig::{Rig, Talkers, change, peer};
use crate::weather::duration;

/// Keys are renewed after 120 s (the WireGuard paper, section 6.2).
const TWO_HANDSHAKES: Duration = Duration::from_secs(130);
/// Between two numbered datagrams.
const PACE: Duration = Duration::from_millis(4);

fn renewed_in_use(other: Other, own_begins: bool) {
    if duration() < TWO_HANDSHAKES {
        println!("not run: it takes WGRELAY_SOAK_SECONDS=130 or more (scripts/soak plane)");
        return;
    }
    let Some(rig) = Rig::new() else { return };
    let Some(_running) = other.start(&rig, 'b') else { return };
    let device = rig.start('a');
    let own = change('a', own_begins.then_some("10.77.0.2:51820"));
    rig.meet(&device, own, None, (!own_begins).then_some("10.77.0.1:51820"));
    let Talkers { server: echo, client, mut sender, mut receiver } = rig.talkers('a');
    echo.set_read_timeout(Some(PACE)).unwrap();
    client.set_read_timeout(Some(PACE)).unwrap();
    sender.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    // About 30 Mbit/s; the guest's processor is emulated.
    let pause = Duration::from_millis(if other == Other::Kernel { 100 } else { 8 });

    let (ends, streamed) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let (mut handshakes, mut answered, mut sent) = (BTreeSet::new(), BTreeSet::new(), 0u64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = [0; 2048];
            while !ends.load(Ordering::Relaxed) {
                if let Ok((length, from)) = echo.recv_from(&mut bytes) {
                    let _ = echo.send_to(&bytes[..length], from);
                }
            }
        });
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                sender.write_all(&[7; 30_000]).expect("no stall");
                std::thread::sleep(pause);
            }
            drop(sender);
        });
        scope.spawn(|| {
            let mut bytes = [0; 65536];
            while let Ok(length @ 1..) = receiver.read(&mut bytes) {
                streamed.fetch_add(length as u64, Ordering::Relaxed);
            }
        });
        let mut bytes = [0; 2048];
        while began.elapsed() < duration() {
            let _ = client.send(&[&sent.to_be_bytes()[..], &[0; 192]].concat());
            sent += 1;
            let next = Instant::now() + PACE;
            while Instant::now() < next {
                if let Ok(length) = client.recv(&mut bytes) {
                    assert_eq!(length, 200);
                    let number = u64::from_be_bytes(bytes[..8].try_into().unwrap());
                    assert!(answered.insert(number), "datagram {number} came twice");
                }
            }
            if sent % 64 == 0 {
                handshakes.insert(peer(&device).last_handshake);
            }
        }
        ends.store(true, Ordering::Relaxed);
    });
    let unanswered: Vec<u64> = (0..sent.saturating_sub(250)).filter(|n| !answered.contains(n)).collect();
    println!(
        "{other:?}, begun by {}: {} handshakes in {:?}; {} of {sent} datagrams unanswered {:?}; {} MB over TCP; {:?}",
        if own_begins { "us" } else { "them" },
        handshakes.len(),
        began.elapsed(),
        unanswered.len(),
        &unanswered[..unanswered.len().min(20)],
        streamed.load(Ordering::Relaxed) / 1_000_000,
        device.report().unwrap().dropped,
    );
    assert!(handshakes.len() as u64 > duration().as_secs() / 130, "it was renewed: {handshakes:?}");
    assert!(handshakes.len() as u64 <= duration().as_secs() / 110 + 1, "and no oftener: {handshakes:?}");
    assert!(unanswered.len() as u64 <= sent / 1000, "more than one in a thousand was lost");
    assert!(streamed.load(Ordering::Relaxed) > 1_000_000, "the stream went on");
}

#[test]
fn wireguard_go_begun_by_us() {
    renewed_in_use(Other::WireguardGo, true);
}

#[test]
fn wireguard_go_begun_by_it() {
    renewed_in_use(Other::WireguardGo, false);
}

#[test]
fn gotatun_begun_by_us() {
    renewed_in_use(Other::Gotatun, true);
}

#[test]
fn gotatun_begun_by_it() {
    renewed_in_use(Other::Gotatun, false);
}

#[test]
fn kernel_begun_by_us() {
    renewed_in_use(Other::Kernel, true);
}

#[test]
fn kernel_begun_by_it() {
    renewed_in_use(Other::Kernel, false);
}
