//! Managers' stores and folders: one in tests/cases/managers is a case. The schemas are those of the projects' own migrations and
//! models; the keys are nobody's. `expected` is the network's file and what was told; `UPDATE_CASES=1` rewrites it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use wgrelay::config::{Secrets, parse_network};
use wgrelay::import::manager::{is_store, read};

use super::{program, root};

fn folders() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        fs::read_dir(root().join("tests/cases/managers")).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

/// Whether a store has this text.
fn has(folder: &Path, text: &str) -> bool {
    let holds = |bytes: Vec<u8>| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    files(folder).iter().any(|file| holds(fs::read(file).unwrap()))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with("expected") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn every_store_makes_its_network_and_no_client_changes() {
    for folder in folders() {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let dir = tempfile::tempdir().unwrap();
        let (code, _, talk) = program(dir.path(), &["import", folder.to_str().unwrap()]);
        assert_eq!(code, 0, "{name}: {talk}");
        let bytes = fs::read(dir.path().join("wg0/network.toml")).unwrap();
        let network = parse_network(&bytes, "f").value.unwrap();
        let secrets = fs::read(dir.path().join("wg0/secrets.toml")).unwrap();
        let secrets = Secrets::parse_for(&secrets, "s", &network).value.unwrap();
        for node in network.nodes.values() {
            let key = secrets
                .private_keys
                .get(&node.name)
                .unwrap_or_else(|| panic!("{name}: {} has no key", node.name));
            assert_eq!(key.public_key(), node.public_key, "{name}");
            let key = key.expose_base64();
            assert!(has(&folder, &key), "{name}: {} has another key", node.name);
            assert!(!talk.contains(key.as_str()), "{name}: a key is told");
        }
        for key in secrets.preshared_keys.values().flat_map(BTreeMap::values).filter(|k| k.is_some()) {
            let key = key.expose_base64();
            assert!(has(&folder, &key) && !talk.contains(key.as_str()), "{name}");
        }
        let told = talk
            .replace(&folder.display().to_string(), "FOLDER")
            .replace(&dir.path().display().to_string(), "DIR");
        let now = format!("{}\n--- told\n{told}", String::from_utf8(bytes).unwrap());
        let path = folder.join("expected");
        if std::env::var_os("UPDATE_CASES").is_some() {
            fs::write(&path, &now).unwrap();
            continue;
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == now, "{} differs (UPDATE_CASES=1 rewrites it); now:\n{now}", path.display());
    }
}

#[test]
fn whoever_is_switched_off_is_not_let_in() {
    let off = |case: &str| -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let folder = root().join("tests/cases/managers").join(case);
        assert_eq!(program(dir.path(), &["import", folder.to_str().unwrap()]).0, 0);
        let network =
            parse_network(&fs::read(dir.path().join("wg0/network.toml")).unwrap(), "f").value.unwrap();
        network.nodes.values().filter(|n| !n.enabled).map(|n| n.name.to_string()).collect()
    };
    let cases = [
        ("pivpn", vec!["bob"]),
        ("wg-easy-14", vec!["carol"]),
        ("wg-easy-14-whole", vec!["carol"]),
        ("wg-easy-15", vec!["carol", "dave"]),
        ("wg-portal-2", vec!["Carol"]),
        ("wgdashboard-4", vec!["carol"]),
    ];
    for (case, names) in cases {
        assert_eq!(off(case), names, "{case}");
    }
}

#[test]
fn a_folder_of_nothing_and_a_strange_database_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let (code, _, talk) = program(dir.path(), &["import", empty.to_str().unwrap()]);
    assert!(code == 1 && talk.contains("no manager's store"), "{talk}");
    // What is in the journal is not in the file.
    let db = dir.path().join("wg-easy.db");
    fs::copy(root().join("tests/cases/managers/wg-easy-15/wg-easy.db"), &db).unwrap();
    fs::write(dir.path().join("wg-easy.db-wal"), [0; 64]).unwrap();
    let (code, _, talk) = program(dir.path(), &["import", db.to_str().unwrap()]);
    assert!(code == 1 && talk.contains("wal_checkpoint"), "{talk}");
    let json = dir.path().join("wg0.json");
    fs::write(&json, "{\"server\": 1}").unwrap();
    let (code, _, talk) = program(dir.path(), &["import", json.to_str().unwrap()]);
    assert!(code == 3 && talk.contains("wg0.json:1:12: error[bad-store]"), "{talk}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    /// A store that somebody cut or wrote into: no panic, no hang, and no more than it holds.
    #[test]
    fn no_store_breaks_the_import(
        which in 0usize..8,
        cut in prop::option::weighted(0.2, 0.0f64..1.0),
        writes in prop::collection::vec((0.0f64..1.0, any::<u8>()), 0..12),
        head in prop::collection::vec((0usize..120, any::<u8>()), 0..3),
    ) {
        let stores: Vec<PathBuf> = folders().iter().flat_map(|f| files(f)).collect();
        let stores: Vec<Vec<u8>> = stores.iter().map(|f| fs::read(f).unwrap()).filter(|b| is_store(b)).collect();
        let mut bytes = stores[which % stores.len()].clone();
        let at = |part: f64, length: usize| ((length as f64) * part) as usize;
        for (part, byte) in writes {
            let place = at(part, bytes.len());
            bytes[place] = byte;
        }
        for (place, byte) in head {
            bytes[place] = byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |part| at(part, bytes.len())));
        let length = bytes.len();
        if is_store(&bytes) && let Ok(store) = read("s", &bytes, "2026-01-01T00:00:00Z", &BTreeMap::new()) {
            // A record counts for several files at most: the relay's, and its client's own.
            let size: usize = store.files.iter().map(|(_, text)| text.len()).sum();
            prop_assert!(size < 64 * length + (1 << 20), "{} bytes of {}", size, length);
        }
    }
}
