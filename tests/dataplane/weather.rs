//! Bad paths: loss, reordering, copies, corruption and replays, for as long as WGRELAY_SOAK_SECONDS says. With
//! WGRELAY_NETEM=1 the kernel's netem makes them, which the guest has.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::path::{PATH_PORT, Path, Weather};
use crate::rig::{Rig, Talkers, alone, change, descriptors, eventually, peer, resident, run};

/// How long a bad path is endured; a few seconds unless told.
pub fn duration() -> Duration {
    let told = std::env::var("WGRELAY_SOAK_SECONDS").ok().and_then(|s| s.parse().ok());
    Duration::from_secs(told.unwrap_or(6))
}

#[test]
fn a_bad_path_stalls_nothing_doubles_nothing_and_leaks_nothing() {
    if !alone("weather::a_bad_path_stalls_nothing_doubles_nothing_and_leaks_nothing") {
        return;
    }
    let Some(rig) = Rig::new() else { return };
    let before = descriptors();
    let (a, b) = (rig.start('a'), rig.start('b'));
    let netem = std::env::var_os("WGRELAY_NETEM").is_some();
    let mut weather = Weather { lost: 50, doubled: 20, swapped: 50, corrupted: 20, replayed: 20 };
    if netem {
        weather = Weather::default();
        let bad = "netem delay 3ms reorder 75% 50% loss 5% duplicate 2% corrupt 2%";
        for side in ['a', 'b'] {
            run(&format!("tc -n {} qdisc add dev veth root {bad}", rig.ns(side)));
        }
    }
    a.configure(change('a', None)).expect("a change");
    let path = Path::start(&rig, 'a', weather, 7);
    b.configure(change('b', Some(&format!("10.77.0.1:{PATH_PORT}")))).expect("a change");
    rig.bring_up('a');
    rig.bring_up('b');
    eventually("a handshake", || peer(&a).last_handshake.is_some() && peer(&b).last_handshake.is_some());

    let ends = AtomicBool::new(false);
    let Talkers { server, client, sender: mut stream, receiver: mut served } = rig.talkers('b');
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    }
    for stream in [&stream, &served] {
        // A stall; the retries of TCP itself are soon seconds apart.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    }
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = [0; 2048];
            while !ends.load(Ordering::Relaxed) {
                if let Ok((length, from)) = server.recv_from(&mut bytes) {
                    let _ = server.send_to(&bytes[..length], from);
                }
            }
        });
        scope.spawn(|| {
            let mut bytes = vec![0; 65536];
            while let Ok(length @ 1..) = served.read(&mut bytes) {
                served.write_all(&bytes[..length]).expect("no stall");
            }
        });
        let rounds = scope.spawn(|| {
            let sent: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
            let mut received = vec![0; sent.len()];
            let mut rounds = 0;
            while began.elapsed() < duration() {
                stream.write_all(&sent).expect("no stall");
                stream.read_exact(&mut received).expect("no stall");
                assert!(sent == received, "what arrived is not what was sent");
                rounds += 1;
            }
            drop(stream);
            rounds
        });
        let (mut numbers, mut sent, mut longest, mut last) = (HashSet::new(), 0u64, 0, 0);
        let mut warm = None;
        let mut bytes = [0; 2048];
        while began.elapsed() < duration() {
            sent += 1;
            let mut datagram = [0; 300];
            datagram[..8].copy_from_slice(&sent.to_be_bytes());
            let _ = client.send(&datagram);
            while let Ok(length) = client.recv(&mut bytes) {
                assert!(length == 300 && bytes[8..300] == [0; 292], "a damaged datagram came through");
                let number = u64::from_be_bytes(bytes[..8].try_into().unwrap());
                assert!(numbers.insert(number), "datagram {number} came twice");
                longest = longest.max(sent - last);
                last = sent;
            }
            if warm.is_none() && began.elapsed() > duration() / 3 {
                warm = Some((descriptors(), resident()));
            }
        }
        ends.store(true, Ordering::Relaxed);
        let rounds = rounds.join().expect("no stall");
        let now = (descriptors(), resident());
        println!(
            "{:?}: {} of {sent} datagrams echoed, at most {longest} unanswered in a row; {rounds} rounds of 100 kB over TCP",
            began.elapsed(),
            numbers.len()
        );
        println!("{:?}; resident {} kB, then {}", path.tally(), warm.unwrap().1, now.1);
        assert!(rounds > 0 && numbers.len() as u64 > sent / 2);
        assert!(longest < 400, "two seconds without an answer: a stall");
        assert!(now.1 < warm.unwrap().1 + 8192, "it grew");
    });
    // Each corrupted or repeated datagram was dropped and counted, on either side.
    for (device, tally) in [(&a, path.tally()[0]), (&b, path.tally()[1])] {
        let dropped = device.report().unwrap().dropped;
        println!("{dropped:?}");
        assert!(
            dropped.refused + dropped.stray >= tally.bad && (netem || tally.bad > 0),
            "{dropped:?} {tally:?}"
        );
        assert_eq!(dropped.bad_source, 0, "nothing forged was decrypted");
    }
    if duration() > Duration::from_secs(130) {
        assert!(path.tally()[0].types[1] >= 2, "the session was renewed");
    }
    drop((a, b, path, server, client, served));
    assert_eq!(descriptors(), before);
}
