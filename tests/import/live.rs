//! An interface that runs, and the file that it was made from, of which `SaveConfig` says that it is written anew.

use super::*;

/// With what runs at hand nobody is sent to look at it; without, that is the advice.
#[test]
fn save_config_is_told_by_what_was_looked_at() {
    let files = confs(&root().join("tests/cases/import/saveconfig-many"));
    let (name, text) = files.iter().find(|(_, text)| text.contains("SaveConfig")).unwrap();
    let mut running = wgrelay::wgconf::read(text, name).document;
    let gone = running.peers.pop().unwrap();
    let told = |running| {
        let mut preshared_key = || PresharedKey::from_bytes([7; 32]);
        let options = ImportOptions {
            name: None,
            relay: Some(name.as_str()),
            running,
            disabled: &[],
            expires: &[],
            now: NOW,
            docker: &BTreeMap::new(),
            preshared_key: &mut preshared_key,
        };
        let files: Vec<File<'_>> = files.iter().map(|(name, text)| File { name, text }).collect();
        import(&files, options).unwrap().findings
    };
    let of = |told: &[Problem], code: &str| told.iter().find(|p| p.code == code).map(ToString::to_string);
    let (live, read) = (told(Some((name.as_str(), &running))), told(None));
    let (live_says, read_says) = (of(&live, "save-config").unwrap(), of(&read, "save-config").unwrap());
    assert!(live_says.contains("--take-over") && live_says.contains("without its comments"), "{live_says}");
    assert!(!live_says.contains("--live") && read_says.contains("--live"), "{live_says}\n{read_says}");
    let line = text.lines().position(|l| l.contains(&gone.public_key.to_string())).unwrap() + 1;
    let lost = of(&live, "not-running").unwrap();
    assert!(lost.starts_with(&format!("{name}:{line}:")), "{lost}");
    assert_eq!(of(&read, "not-running"), None);
}
