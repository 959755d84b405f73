//! Edits on any relay: none is lost, all end equal, no key lies in the store in clear.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::rig::drive::Wgrelay;
use crate::stage::{Stage, nodes, pulled, standing, until};

fn text(relay: &Wgrelay<'_>) -> String {
    relay.node.read(relay.network_file())
}

/// The secrets of a host, as they are written.
fn secrets(relay: &Wgrelay<'_>) -> Vec<String> {
    let text = relay.node.read(format!("{}/wg0/secrets.toml", relay.dir));
    text.lines()
        .filter_map(|line| Some(line.split_once(" = \"")?.1.trim_end_matches('"').to_owned()))
        .collect()
}

#[test]
fn an_edit_on_one_relay_is_on_all_and_no_key_lies_in_the_store() {
    let Some(stage) = Stage::possible() else { return };
    let [eu, us, ap] = stage.founded();
    eu.ok(&["add", "by-eu"]);
    us.ok(&["add", "by-us"]);
    ap.ok(&["rotate", "phone"]);
    ap.ok(&["add", "by-ap"]);
    us.ok(&["remove", "by-eu"]);
    for relay in [&eu, &us, &ap] {
        assert_eq!(pulled(relay)["held"], serde_json::Value::Null);
    }
    assert_eq!(text(&eu), text(&us));
    assert_eq!(text(&us), text(&ap));
    assert_eq!(nodes(&eu), ["ap", "by-ap", "by-us", "eu", "laptop", "phone", "us"]);
    // What was rotated there is exported here, with the same keys.
    assert_eq!(eu.ok(&["export", "phone"]), us.ok(&["export", "phone"]));
    // A relay's own private key is with it alone.
    for (n, relay) in [&eu, &us, &ap].into_iter().enumerate() {
        let kept = relay.node.read(format!("{}/wg0/secrets.toml", relay.dir));
        let kept = kept.split("[preshared").next().expect("it begins");
        for (m, name) in ["eu", "us", "ap"].iter().enumerate() {
            assert_eq!(kept.contains(&format!("\n{name} = ")), n == m, "{name} on relay {n}: {kept}");
        }
        relay.ok(&["check", "--json"]);
    }

    // History, differences and going back are the store's, on whichever relay.
    let history: serde_json::Value = serde_json::from_str(&us.ok(&["history", "--json"])).expect("JSON");
    let revisions = history["revisions"].as_array().expect("a list");
    let of = |why: &str| {
        let found = revisions.iter().find(|r| r["why"].as_str().is_some_and(|w| w.contains(why)));
        found.unwrap_or_else(|| panic!("{why}: {history}"))["revision"]
            .as_u64()
            .expect("a number")
            .to_string()
    };
    assert!(eu.ok(&["diff", &of("added by-us")]).contains("by-ap"));
    ap.ok(&["revert", &of("added by-us")]);
    eu.ok(&["enable", "by-eu"]);
    assert_eq!(nodes(&eu), ["ap", "by-eu", "by-us", "eu", "laptop", "phone", "us"]);
    // Keys that relays sign and open with are not taken back by that.
    assert_eq!(standing(&eu)["relays"][2]["joined"], true);

    let mut all = Vec::new();
    for relay in [&eu, &us, &ap] {
        all.extend(secrets(relay));
        all.push(
            relay
                .node
                .read(format!("{}/wg0/.cluster/keys.json", relay.dir))
                .split('"')
                .nth(3)
                .expect("a key")
                .to_owned(),
        );
    }
    assert!(all.len() > 30, "{}", all.len());
    let stored = stage.stored();
    for (key, value) in &stored {
        let mut open = Vec::new();
        let _ = flate2::read::DeflateDecoder::new(value.as_slice()).read_to_end(&mut open);
        for bytes in [value, &open] {
            for secret in &all {
                let raw = BASE64_STANDARD.decode(secret).expect("a key");
                let lies_there = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
                assert!(!lies_there(secret.as_bytes()) && !lies_there(&raw), "a key lies in {key}");
            }
        }
    }
    // The texts themselves can be read there: it was looked into what was written.
    let opened = stored.values().any(|value| {
        let mut open = String::new();
        flate2::read::DeflateDecoder::new(value.as_slice()).read_to_string(&mut open).is_ok()
            && open.contains("[node.by-us]")
    });
    assert!(opened, "a network.toml lies in the store");
}

/// The host may go down after the copy was written and before it was noted what was taken: that is no edit by hand, also where
/// the store has something newer by then.
#[test]
fn a_take_that_was_cut_off_is_no_edit_by_hand() {
    let Some(stage) = Stage::possible() else { return };
    let [eu, us, _] = stage.founded();
    let cluster = format!("{}/wg0/.cluster", us.dir);
    let run = |script: &str| us.node.run(&["sh", "-c", script]).ok();
    // All of it is of before, or what is believed alone: it is written last.
    for (n, noted) in ["*", "trust.json", "t*.json"].into_iter().enumerate() {
        run(&format!("rm -rf /mnt/before && cp -a {cluster} /mnt/before"));
        eu.ok(&["add", &format!("first{n}")]);
        assert_eq!(pulled(&us)["held"], serde_json::Value::Null);
        run(&format!("cp -a /mnt/before/{noted} {cluster}/"));
        eu.ok(&["add", &format!("second{n}")]);
        us.ok(&["add", &format!("third{n}")]);
        assert_eq!(standing(&us)["held"], serde_json::Value::Null, "{noted}");
        for name in ["first", "second", "third"] {
            assert!(nodes(&us).contains(&format!("{name}{n}")), "{name} with {noted} of before");
        }
    }
}

/// Writers on three relays beside each other, members of etcd killed meanwhile: `WGRELAY_EDITS` of `scripts/soak cluster`.
#[test]
fn what_was_acknowledged_is_there_and_all_relays_end_equal() {
    let Some(mut stage) = Stage::possible() else { return };
    let edits: usize = std::env::var("WGRELAY_EDITS").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    let writers = if edits > 100 { 10 } else { 6 };
    drop(stage.founded());
    let (next, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let began = Instant::now();
    let dirs: Vec<String> = (0..3).map(|n| stage.relay(n).dir).collect();
    let relays: Vec<_> = std::mem::take(&mut stage.relays);
    let done: Vec<String> = std::thread::scope(|scope| {
        let (next, refused, relays, dirs) = (&next, &refused, &relays, &dirs);
        let writer = |n: usize| {
            move || {
                let on = n % 3;
                let relay = Wgrelay { dir: dirs[on].clone(), ..Wgrelay::on(&relays[on]) };
                let mut done = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= edits {
                        return done;
                    }
                    // Few nodes that change, so that the text stays small: each leaves a mark of its own in a key.
                    let name = format!("n{number}");
                    for _ in 0..60 {
                        let output = relay.call(&["add", &name, "--public-key", &public_key(number)]);
                        // One that was not acknowledged may be there all the same.
                        let is_there = output.stderr.contains(&format!("there is a node {name} already"));
                        if output.code == Some(0) || is_there {
                            done.push(name.clone());
                            break;
                        }
                        refused.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(std::time::Duration::from_millis(100));
                    }
                }
            }
        };
        let writers: Vec<_> = (0..writers).map(|n| scope.spawn(writer(n))).collect();
        // Whoever leads goes, comes back, and another one goes.
        for round in 0..(edits / 30).clamp(1, 12) {
            let member = if round % 2 == 0 { stage.leader() } else { (stage.leader() + 1) % 3 };
            stage.kill(member);
            std::thread::sleep(std::time::Duration::from_secs(2));
            stage.start(member, "existing");
            std::thread::sleep(std::time::Duration::from_secs(2));
        }
        writers.into_iter().flat_map(|writer| writer.join().expect("a writer ends")).collect()
    });
    let took = began.elapsed();
    stage.relays = relays;
    stage.answers();
    let all = [0, 1, 2].map(|n| stage.relay(n));
    let mut texts = Vec::new();
    for relay in &all {
        until("it has what the store has", || {
            let standing = pulled(relay);
            standing["revision"] == standing["store_revision"] && standing["held"].is_null()
        });
        let there = nodes(relay);
        let lost: Vec<&String> = done.iter().filter(|name| !there.contains(name)).collect();
        assert!(lost.is_empty(), "acknowledged, and not there: {lost:?}");
        texts.push(text(relay));
    }
    assert_eq!(done.len(), edits);
    assert!(texts.iter().all(|text| *text == texts[0]), "all relays end equal");
    println!(
        "{edits} edits by {writers} writers on 3 relays in {:.1} s, {} not acknowledged and given again; none lost, all equal",
        took.as_secs_f32(),
        refused.into_inner()
    );
}

fn public_key(number: usize) -> String {
    let mut bytes = [7; 32];
    // Of the first byte and the last some bits are the same in every key.
    bytes[8..16].copy_from_slice(&(number as u64).to_le_bytes());
    wgrelay::model::PrivateKey::from_random(bytes).public_key().to_string()
}
