//! The Chinese pages name the commands that the English ones name, in the same order, and show the same output.
#![expect(clippy::disallowed_methods, reason = "a test reads the pages that it judges")]

use std::collections::BTreeSet;
use std::path::Path;

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The lines between fences, without what a line says besides its command.
fn fenced(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if inside {
            lines.push(line);
        }
    }
    lines
}

/// The commands within a sentence or a table: what stands between backticks and begins with a program's name.
fn spans(text: &str) -> BTreeSet<&str> {
    let programs = ["wgrelay ", "docker ", "powershell ", "IMAGE="];
    let is_command = |span: &&str| programs.iter().any(|program| span.starts_with(program));
    text.split('`').skip(1).step_by(2).filter(is_command).collect()
}

#[test]
fn the_chinese_walk_is_the_english_one() {
    let (english, chinese) = (page("docs/webvirtcloud.md"), page("docs/webvirtcloud.zh.md"));
    assert_eq!(fenced(&english), fenced(&chinese), "the console blocks");
    assert_eq!(spans(&english), spans(&chinese), "the commands in the text");
    let rows = |text: &str| text.lines().filter(|line| line.starts_with("| ") && line.contains('`')).count();
    let typed = rows(&english);
    assert_eq!(typed, rows(&chinese));
    assert!((5..=12).contains(&typed), "{typed} commands are to be typed");
}

#[test]
fn the_chinese_readme_has_the_commands_of_the_english_one() {
    // A command ends where its remark begins: at two spaces, or at a #.
    let command = |line: &str| -> String {
        let line = line.split(" #").next().unwrap_or(line);
        line.split("  ").find(|part| !part.is_empty()).unwrap_or_default().trim().to_owned()
    };
    let commands = |text: &str| -> Vec<String> { fenced(text).into_iter().map(command).collect() };
    let (english, chinese) = (commands(&page("README.md")), commands(&page("README.zh.md")));
    assert!(english.iter().filter(|line| line.contains("wgrelay ")).count() > 12, "{english:?}");
    assert_eq!(english, chinese);
}
