//! docs/guide.md is what the program prints: its console blocks are walked through in the rig, command by command.
//!
//! Keys, times, sizes and ports of clients are anybody's; the rest is compared. `UPDATE_CASES=1` writes what the program
//! says now, to be read before it is committed. What needs systemd or Docker is left to their own tests.

use crate::rig::drive::{Wgrelay, wg_quick_up};
use crate::rig::need::{NAMESPACES, met};
use crate::rig::node::PLACE;
use crate::rig::probe::ping;
use crate::rig::topology::{BRIDGE, Families, Topology};
use crate::rig::walk::{steps, told};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide.md");

#[test]
fn the_guide_is_what_the_program_prints() {
    // In the guest the backend is another, and the guide shows the one that WSL's mirrored mode takes.
    if !met(&NAMESPACES) || crate::rig::drive::backend() != "embedded" {
        return;
    }
    let text = std::fs::read_to_string(GUIDE).expect("the guide is there");
    let t = Topology::new(Families::V4);
    let relay = Wgrelay::on(&t.relay);
    let compute = Wgrelay::on(&t.docker);
    let mut wrong = Vec::new();
    let mut new: Vec<String> = text.lines().map(str::to_owned).collect();
    // From behind, so that the numbers of the lines stay right while lines change.
    let mut edits = Vec::new();
    let mut walked = 0;
    for step in steps(&text) {
        let words: Vec<&str> = step.command.split_whitespace().collect();
        if words.first() != Some(&"wgrelay") || words.get(1) == Some(&"service") {
            continue;
        }
        walked += 1;
        let at = if words.contains(&"--bundle") { &compute } else { &relay };
        if words.get(1) == Some(&"status") {
            assert!(ping(&t.windows, "192.168.33.71") && ping(&t.docker, "192.168.3.1"), "before status");
        }
        let mut command = at.command(&words[1..]);
        if words.get(1) == Some(&"plan") {
            // The rig has the bridge, and no Docker that could tell its name.
            relay.edit(|text| text.replace("docker:webvirtcloud_default", BRIDGE));
        }
        // No kernel here need have WireGuard, and none need lack it.
        if matches!(words.get(1), Some(&"up" | &"plan")) {
            command.args(["--backend", "embedded"]);
        }
        let output = at.node.command(command.current_dir(PLACE)).ok();
        let said = format!("{}{}", output.stdout, output.stderr)
            .replace(&format!(" --dir {}", at.dir), "")
            .replace(&at.dir, "/etc/wgrelay");
        // What `init` says of a Docker that the rig has not.
        let said: Vec<&str> = said.lines().filter(|l| !l.starts_with("check:")).collect();
        // Peers are told in the order of their keys, which is another each time.
        let sorted = |lines: Vec<String>| {
            let mut lines = lines;
            lines.sort();
            lines
        };
        let now = sorted(said.iter().map(|l| told(l)).collect());
        let same = now == sorted(step.shown.iter().map(|l| told(l)).collect());
        if !same {
            wrong.push(format!("line {}: $ {}\n{}", step.line + 1, step.command, said.join("\n")));
            edits.push((
                step.line + 1,
                step.shown.len(),
                said.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>(),
            ));
        }
        match words[1..] {
            ["export", "windows", "--out", file] => {
                let conf = t.relay.read(format!("{PLACE}/{file}"));
                wg_quick_up(&t.windows, "wg0", &conf).ok();
            }
            ["export", "docker", "--format", "bundle", "--out", file] => {
                let bundle = t.relay.read(format!("{PLACE}/{file}"));
                t.docker.write(format!("{PLACE}/{file}"), &bundle);
            }
            _ => {}
        }
    }
    assert!(walked >= 12, "only {walked} commands were found in the guide");
    if std::env::var_os("UPDATE_CASES").is_some() {
        for (from, count, lines) in edits.into_iter().rev() {
            new.splice(from..from + count, lines);
        }
        std::fs::write(GUIDE, new.join("\n") + "\n").expect("the guide can be written");
        return;
    }
    assert!(wrong.is_empty(), "{} commands print something else:\n\n{}", wrong.len(), wrong.join("\n\n"));
}
