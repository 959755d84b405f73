//! What the page says of promises: each that is broken is, and no other.

use wgrelay::web::view::Role;

use crate::rig::{Rig, body};

#[test]
fn each_broken_promise_is_told_and_no_other() {
    let rig = Rig::new();
    let promises = [
        (r#"from = "windows", to = "docker", verdict = "reaches""#, false),
        (r#"from = "windows", to = "docker", verdict = "blocked", port = "tcp/22""#, true),
        (r#"from = "*", to = "docker", verdict = "blocked""#, true),
        (r#"from = "windows", to = "192.168.33.71", verdict = "reaches""#, false),
        (r#"from = "@all-of-them", to = "wsl", verdict = "blocked""#, true),
    ];
    let list: Vec<String> = promises.iter().map(|(promise, _)| format!("{{ {promise} }}")).collect();
    let text = rig.text().replace("format = 1\n", &format!("format = 1\nexpect = [{}]\n", list.join(", ")));
    let text = text.replace("[node.windows]\n", "[node.windows]\ngroups = [\"all-of-them\"]\n");
    std::fs::write(rig.dir.path().join("screens0/network.toml"), text).unwrap();
    let page = body(&rig.get(&rig.signed_in("eve", Role::Viewer), "/rules"));
    let rows: Vec<&str> = page.split("<tr>").filter(|row| row.contains(r#"href="/trace?from"#)).collect();
    assert_eq!(rows.len(), promises.len(), "{page}");
    for (row, (promise, is_broken)) in rows.iter().zip(promises) {
        assert_eq!(row.contains(">broken<"), is_broken, "{promise}: {row}");
        assert_ne!(row.contains(">kept<"), is_broken, "{promise}: {row}");
    }
}
