//! docs/cluster.md is what the program prints: its console blocks are walked through on the relays, command by command. What is
//! different each time (keys) is not compared; `UPDATE_CASES=1` writes what the program says now.

use crate::rig::node::PLACE;
use crate::rig::walk::{steps, told};
use crate::stage::Stage;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cluster.md");

#[test]
fn the_page_is_what_the_program_prints() {
    let Some(stage) = Stage::possible() else { return };
    let text = std::fs::read_to_string(PAGE).expect("the page is there");
    let mut new: Vec<String> = text.lines().map(str::to_owned).collect();
    let (mut wrong, mut edits, mut walked) = (Vec::new(), Vec::new(), 0);
    let mut on_us = false;
    for step in steps(&text) {
        let words: Vec<&str> = step.command.split_whitespace().collect();
        // `us` joins and edits; who removes a relay is `eu` again.
        on_us = (on_us || words.contains(&"join")) && !words.contains(&"remove");
        let at = stage.relay(usize::from(on_us));
        let output = at.node.command(at.command(&words[1..]).current_dir(PLACE)).ok();
        walked += 1;
        if words[1] == "export" {
            let bundle = at.node.read(format!("{PLACE}/{}", words[6]));
            stage.relays[1].write(format!("{PLACE}/{}", words[6]), &bundle);
        }
        let said = format!("{}{}", output.stdout, output.stderr)
            .replace(&format!(" --dir {}", at.dir), "")
            .replace(&at.dir, "/etc/wgrelay");
        let said: Vec<&str> = said.lines().filter(|line| !line.starts_with("check:")).collect();
        let now: Vec<String> = said.iter().map(|line| told(line)).collect();
        if now != step.shown.iter().map(|line| told(line)).collect::<Vec<_>>() {
            wrong.push(format!("line {}: $ {}\n{}", step.line + 1, step.command, said.join("\n")));
            let lines: Vec<String> = said.iter().map(|line| (*line).to_owned()).collect();
            edits.push((step.line + 1, step.shown.len(), lines));
        }
    }
    assert!(walked >= 14, "only {walked} commands were found in the page");
    if std::env::var_os("UPDATE_CASES").is_some() {
        for (from, count, lines) in edits.into_iter().rev() {
            new.splice(from..from + count, lines);
        }
        std::fs::write(PAGE, new.join("\n") + "\n").expect("the page can be written");
        return;
    }
    assert!(wrong.is_empty(), "{} commands print something else:\n\n{}", wrong.len(), wrong.join("\n\n"));
}
