//! Many commands on one network at once. `WGRELAY_EDITS` says how many each of the ten writers makes; 5 unless told
//! (scripts/soak kills: 50).

use std::sync::atomic::{AtomicBool, Ordering};

use super::sandbox::Sandbox;

const WRITERS: usize = 10;

#[test]
fn edits_lose_nothing_and_readers_see_one_revision() {
    let sandbox = Sandbox::in_memory();
    let made =
        ["init", "--profile", "road-warrior", "--endpoint", "192.0.2.1:51820", "--subnet", "10.7.0.0/16"];
    sandbox.run(&made).exits(0);
    let relay = sandbox.run(&["list", "--json"]).exits(0);
    let relay: serde_json::Value = serde_json::from_str(&relay.out).expect("JSON");
    let relay = relay["nodes"].as_array().expect("nodes").iter().find(|n| n["role"] == "relay").expect("one");
    let relay = relay["name"].as_str().expect("a name").to_owned();
    let edits = std::env::var("WGRELAY_EDITS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                threads.spawn(|| {
                    let mut exports = 0;
                    while !done.load(Ordering::Relaxed) {
                        // Its keys are rotated all the time: of two revisions they would not fit.
                        sandbox.run(&["export", &relay]).exits(0);
                        exports += 1;
                    }
                    exports
                })
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let sandbox = &sandbox;
                let relay = &relay;
                threads.spawn(move || {
                    for edit in 0..edits {
                        match edit % 5 {
                            4 => sandbox.run(&["rotate", relay]).exits(0),
                            _ => sandbox.run(&["add", &format!("n{writer}-{edit}")]).exits(0),
                        };
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().expect("every edit is made"));
        done.store(true, Ordering::Relaxed);
        let exports: usize =
            readers.into_iter().map(|reader| reader.join().expect("every export works")).sum();
        println!("{} edits, {exports} exports meanwhile", WRITERS * edits);
        assert!(exports > 0);
    });
    let list = sandbox.run(&["list"]).exits(0).out;
    for writer in 0..WRITERS {
        for edit in (0..edits).filter(|edit| edit % 5 != 4) {
            let name = format!("n{writer}-{edit}");
            assert!(list.split_whitespace().any(|word| word == name), "{name} is lost");
        }
    }
    sandbox.run(&["export", &relay]).exits(0);
    let left: Vec<_> = sandbox.files().into_keys().filter(|p| p.to_string_lossy().contains(".new")).collect();
    assert!(left.is_empty(), "{left:?}");
}
