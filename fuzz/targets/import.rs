#![no_main]

use std::collections::BTreeMap;

use wgrelay_fuzz::config::parse_network;
use wgrelay_fuzz::import::{File, ImportOptions, import, manager};
use wgrelay_fuzz::model::{PresharedKey, Timestamp};
use wgrelay_fuzz::wgconf::decode;

const NOW: Timestamp = Timestamp(1_795_478_400);

// What files of a relay and its clients may hold, a record separator between them; or a manager's store. A network that comes of it reads back,
// and no private key of it is told beside it.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if manager::is_store(bytes) {
        let _ = manager::read("wg0.json", bytes, "2026-01-01T00:00:00Z", &BTreeMap::new());
        return;
    }
    let names = ["wg0.conf", "a.conf", "wg0-client-b.conf"];
    let texts: Vec<_> = names.iter().zip(bytes.split(|b| *b == 0x1e)).map(|(n, b)| (*n, decode(b))).collect();
    let files: Vec<File<'_>> = texts.iter().map(|(name, text)| File { name, text: &text.text }).collect();
    let (docker, mut key) = (BTreeMap::new(), || PresharedKey::from_bytes([7; 32]));
    let options = ImportOptions {
        name: None,
        relay: None,
        running: None,
        disabled: &[],
        now: NOW,
        docker: &docker,
        preshared_key: &mut key,
    };
    let Ok(made) = import(&files, options) else { return };
    assert!(parse_network(made.text.as_bytes(), "network.toml").value.as_ref() == Some(&made.network));
    let told: String = made.findings.iter().map(|p| format!("{p}\n")).collect();
    for key in made.secrets.private_keys.values() {
        assert!(!told.contains(key.expose_base64().as_str()), "a private key is told");
    }
});
