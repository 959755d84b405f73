//! Holds the house of docs/architecture.md in order: which layer may use which, where the machine and tokio may be
//! touched, and how long a file may grow. It reads the sources as text, so that a slip is told with its line.
#![expect(clippy::disallowed_methods, reason = "a test reads the sources it judges")]

use std::path::{Path, PathBuf};

/// The layers, each using only those above it. A folder in another one can be a layer of its own.
const LAYERS: [&str; 22] = [
    "model",
    "config",
    "store",
    "wgconf",
    "firewall",
    "plan",
    "reach",
    "import",
    "export",
    "dataplane",
    "status",
    "doctor",
    "failover",
    "floating",
    "daemon/protocol",
    "host",
    "app",
    "daemon",
    "lab",
    "web",
    "cli",
    "main",
];
/// Where the machine may be touched: the prefixes of the files that may lift clippy's `disallowed_methods`.
const EFFECTS: [&str; 11] = [
    "store/",
    "dataplane/io",
    "host/",
    "host.rs",
    "daemon/",
    "lab/",
    "web/agent/",
    "web/database/",
    "web/server/",
    "cli/",
    "main.rs",
];
/// Where tokio may be used.
const TOKIO: [&str; 6] =
    ["daemon/", "host/", "host.rs", "store/cluster/etcd/", "web/client.rs", "web/server/"];
/// Lines of a file, tests included. Past it there is a second concept in the file.
const CEILING: usize = 600;

/// Identifiers of before docs/glossary.md, and the field's words in their place. Whole identifiers: what a sentence in a test's
/// name says is its own matter.
const OLD_WORDS: [(&str, &str); 36] = [
    ("Death", "Failure"),
    ("KernelNews", "NetlinkMonitor"),
    ("Landing", "Delivered"),
    ("LastUp", "Configuration"),
    ("Stranger", "UnknownPeer"),
    ("Trial", "CommitConfirm"),
    ("WentBack", "RolledBack"),
    ("Wishes", "ImportOptions"),
    ("applied_elsewhere", "applied_from_other_dir"),
    ("asker", "client_id"),
    ("astray", "unroutable"),
    ("beside_machine", "read_with_machine"),
    ("carry_out", "apply"),
    ("displace", "save_sysctls"),
    ("displaced", "saved_sysctls"),
    ("displaced_links", "saved_links"),
    ("end_trial", "end_commit_confirm"),
    ("fly", "forward"),
    ("go_back", "roll_back"),
    ("goes_back_in", "rolls_back_in"),
    ("half_made", "orphan"),
    ("heed", "unblock_signals"),
    ("in_the_way", "preflight"),
    ("kernel_news", "netlink_monitor"),
    ("last_up", "boot_config"),
    ("make_right", "apply_comparison, roll_back_if_expired"),
    ("obey", "handle_commands"),
    ("obstacles", "preflight_errors"),
    ("outline", "to_record"),
    ("own_port", "listen_port_blocked"),
    ("refuse_elsewhere", "refuse_other_dir"),
    ("trial", "pending"),
    ("two_homes", "multi_homed"),
    ("went_back", "rolled_back"),
    ("went_back_at", "rolled_back_at"),
    ("wish", "desired"),
];

#[test]
fn the_sources_keep_the_order_of_the_house() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(!files.is_empty(), "no sources below {}", root.display());
    let faults: Vec<String> = files
        .iter()
        .flat_map(|path| {
            let name = path.strip_prefix(&root).expect("collected below the root").display().to_string();
            let text = std::fs::read_to_string(path).expect("a source file is readable text");
            faults(&name, &text)
        })
        .collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Returns the `.rs` files below a folder, sorted.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the source folder is readable")
        .map(|entry| entry.expect("an entry of the source folder is readable").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Returns what is wrong with a source file, one line each. `name` is relative to src/.
fn faults(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = text.lines().count();
    if lines > CEILING {
        faults.push(format!(
            "src/{name}: {lines} lines, the ceiling is {CEILING}: find the second concept in it"
        ));
    }
    if !text.starts_with("//!") {
        faults.push(format!("src/{name}:1: opens without saying what it is for (//!)"));
    }
    let may = |places: &[&str]| places.iter().any(|place| name.starts_with(place));
    let own = layer_of(name);
    if own.is_none() && name != "lib.rs" {
        faults.push(format!("src/{name}: belongs to no layer; the layers are {}", LAYERS.join(", ")));
    }
    let code = code_of(text);
    for (number, line) in code.lines().enumerate().map(|(i, line)| (i + 1, line)) {
        // What a test beside the code does is none of the layer's doing.
        if line.contains("clippy::disallowed_methods") && !may(&EFFECTS) && !name.ends_with("tests.rs") {
            faults.push(format!("src/{name}:{number}: only {} touch the machine", EFFECTS.join(", ")));
        }
        if mentions(line, "tokio") && !may(&TOKIO) {
            faults.push(format!("src/{name}:{number}: tokio lives in {}", TOKIO.join(", ")));
        }
    }
    for (number, line) in code.lines().enumerate().map(|(i, line)| (i + 1, line)) {
        for word in line.split(|c: char| !c.is_alphanumeric() && c != '_') {
            if let Some((old, new)) = OLD_WORDS.iter().find(|(old, _)| *old == word) {
                faults.push(format!("src/{name}:{number}: {old} is {new} now (docs/glossary.md)"));
            }
        }
    }
    if let Some(own) = own {
        for (number, used) in uses(&code) {
            // main.rs sees the library from outside, and no further than its lowest layer.
            let beside = layer_of(&used).map(|used| LAYERS[used]);
            let shell = LAYERS[own];
            if beside == Some("host") && ["cli", "web"].contains(&shell) {
                faults.push(format!("src/{name}:{number}: {shell} uses host; app is what it speaks to"));
            }
            if shell == "web" && beside.is_some_and(|used| ["daemon", "lab"].contains(&used)) {
                faults.push(format!("src/{name}:{number}: web is a shell over app, and of no other"));
            }
            if let Some(used) = layer_of(&used).filter(|used| *used > own) {
                faults.push(format!(
                    "src/{name}:{number}: {} uses {}, which is below it",
                    LAYERS[own], LAYERS[used]
                ));
            }
        }
    }
    faults
}

/// Returns the rank of the layer that a file or a module belongs to: the longest that it is in.
fn layer_of(name: &str) -> Option<usize> {
    let name = name.trim_end_matches(".rs");
    let holds =
        |layer: &str| name.strip_prefix(layer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    (0..LAYERS.len()).filter(|rank| holds(LAYERS[*rank])).max_by_key(|rank| LAYERS[*rank].len())
}

/// Returns the text with its comments and its string literals blanked, line breaks kept.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                while chars.peek().is_some_and(|c| *c != '\n') {
                    chars.next();
                }
            }
            '/' if chars.peek() == Some(&'*') => {
                let mut last = ' ';
                for c in chars.by_ref() {
                    code.push(blank(c));
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
            }
            '\'' => {
                // A quote character, which would otherwise open a string; lifetimes pass.
                code.push(' ');
                let mut ahead = chars.clone();
                if let (Some(a), Some(b)) = (ahead.next(), ahead.next()) {
                    let taken = if a == '\\' { 3 } else { 2 };
                    if a == '\\' || b == '\'' {
                        chars.by_ref().take(taken).for_each(drop);
                    }
                }
            }
            'r' if matches!(chars.peek(), Some('"' | '#'))
                && !code.ends_with(|c: char| c.is_alphanumeric() || c == '_') =>
            {
                let mut hashes = 0;
                while chars.peek() == Some(&'#') {
                    chars.next();
                    hashes += 1;
                }
                if chars.next() != Some('"') {
                    code.push(' '); // r#name: an identifier, its name follows
                    continue;
                }
                let end = format!("\"{}", "#".repeat(hashes));
                let mut seen = String::new();
                for c in chars.by_ref() {
                    code.push(blank(c));
                    seen.push(c);
                    if seen.ends_with(&end) {
                        break;
                    }
                }
            }
            '"' => {
                let mut escaped = false;
                for c in chars.by_ref() {
                    code.push(blank(c));
                    match c {
                        _ if escaped => escaped = false,
                        '\\' => escaped = true,
                        '"' => break,
                        _ => {}
                    }
                }
            }
            other => code.push(other),
        }
    }
    code
}

/// Says whether a line of code names a crate as a path's root.
fn mentions(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + name.len()..];
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.')
            && (after.starts_with("::") || after.trim_start().starts_with(';') && line.contains("use "))
    })
}

/// Returns the modules of this package that a file's code names (`crate::x::y`, `crate::{x::…, y}`, and the library seen
/// from its program, `wgrelay::x`), two steps deep (`x/y`), with their lines.
fn uses(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for root in ["crate::", "wgrelay::"] {
        for (at, _) in code.match_indices(root) {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                None => found.push((line, module(rest))),
                Some(group) => {
                    let (mut depth, mut fresh) = (1, true);
                    for (offset, c) in group.char_indices() {
                        match c {
                            '{' => depth += 1,
                            '}' => depth -= 1,
                            ',' if depth == 1 => fresh = true,
                            c if fresh && (c.is_alphanumeric() || c == '_') => {
                                let line = line + group[..offset].matches('\n').count();
                                found.push((line, module(&group[offset..])));
                                fresh = false;
                            }
                            _ => {}
                        }
                        if depth == 0 {
                            break;
                        }
                    }
                }
            }
        }
    }
    found
}

/// Returns the first two steps of the path that a text begins with, as a file's name has them.
fn module(text: &str) -> String {
    let first = identifier(text);
    let second = text[first.len()..].strip_prefix("::").map(identifier).unwrap_or_default();
    if second.is_empty() { first } else { format!("{first}/{second}") }
}

/// Returns the identifier that a text begins with.
fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

mod the_checker_itself {
    use super::{CEILING, faults};

    #[track_caller]
    fn one_fault(name: &str, text: &str, expected: &str) {
        let found = faults(name, text);
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{expected:?} expected of {name}: {found:?}"
        );
    }

    #[test]
    fn a_layer_that_uses_one_below_it_is_a_fault() {
        one_fault("model/key.rs", "//! x\nuse crate::host::Link;\n", "src/model/key.rs:2: model uses host");
        one_fault(
            "plan/mod.rs",
            "//! x\nfn f() {\n    crate::app::go();\n}\n",
            "src/plan/mod.rs:3: plan uses app",
        );
        one_fault(
            "wgconf/parse.rs",
            "//! x\nuse crate::{\n    model::{Key, Name},\n    cli::Args,\n};\n",
            "src/wgconf/parse.rs:4: wgconf uses cli",
        );
    }

    #[test]
    fn a_layer_may_use_itself_and_those_above() {
        let text = "//! x\nuse crate::{model::Key, plan::Plan};\nuse crate::host::Undo;\n";
        assert_eq!(faults("app/mod.rs", text), [""; 0]);
        let protocol = "//! x\nuse crate::daemon::protocol::Request;\n";
        assert_eq!(faults("host/wireguard.rs", protocol), [""; 0]);
        one_fault("dataplane/core.rs", protocol, "src/dataplane/core.rs:2: dataplane uses daemon/protocol");
        one_fault("host/a.rs", "//! x\nuse crate::daemon::Metrics;\n", "src/host/a.rs:2: host uses daemon");
        one_fault("daemon/protocol/a.rs", "//! x\nuse crate::host::Host;\n", "daemon/protocol uses host");
        assert_eq!(faults("main.rs", "//! x\nfn main() { wgrelay::cli::run(); }\n"), [""; 0]);
        assert_eq!(
            faults("model/a.rs", "//! crate::cli\n// crate::cli\nconst A: &str = \"crate::cli\";\n"),
            [""; 0]
        );
    }

    #[test]
    fn the_command_line_speaks_to_app_and_the_agent_to_no_shell() {
        let text = "//! x\nuse crate::host::LinuxHost;\n";
        one_fault("cli/history.rs", text, "src/cli/history.rs:2: cli uses host");
        one_fault("cli/lab/mod.rs", text, "src/cli/lab/mod.rs:2: cli uses host");
        one_fault("web/show.rs", text, "src/web/show.rs:2: web uses host");
        let agent = "//! x\nuse crate::daemon::agent;\n";
        one_fault("web/show.rs", agent, "web is a shell over app");
        one_fault("web/show.rs", "//! x\nuse crate::cli::Args;\n", "src/web/show.rs:2: web uses cli");
        assert_eq!(faults("app/up.rs", text), [""; 0]);
        let shell = "//! x\nfn f() {\n    crate::cli::main();\n}\n";
        one_fault("daemon/agent.rs", shell, "src/daemon/agent.rs:3: daemon uses cli");
        one_fault("app/up.rs", shell, "src/app/up.rs:3: app uses cli");
    }

    #[test]
    fn a_word_of_before_the_glossary_is_a_fault() {
        let text = "//! x\nfn f() {\n    host.carry_out(\"a trial\"); // as they wish\n}\n";
        one_fault("app/up.rs", text, "src/app/up.rs:3: carry_out is apply now");
        assert_eq!(faults("app/up.rs", "//! x\nfn a_trial_that_went_back() {}\n"), [""; 0]);
    }

    #[test]
    fn the_machine_and_tokio_have_their_places() {
        let lifted = "//! x\n#![expect(clippy::disallowed_methods, reason = \"sockets\")]\n";
        one_fault("plan/mod.rs", lifted, "src/plan/mod.rs:2: only store/, dataplane/io");
        one_fault("dataplane/peer.rs", lifted, "src/dataplane/peer.rs:2: only store/, dataplane/io");
        assert_eq!(faults("dataplane/io/tun.rs", lifted), [""; 0]);
        assert_eq!(faults("dataplane/peer_tests.rs", lifted), [""; 0]);
        let tokio = "//! x\nuse tokio::sync::mpsc;\n";
        one_fault("cli/up.rs", tokio, "src/cli/up.rs:2: tokio lives in");
        one_fault("dataplane/io/tun.rs", tokio, "src/dataplane/io/tun.rs:2: tokio lives in");
        assert_eq!(faults("daemon/run.rs", tokio), [""; 0]);
    }

    #[test]
    fn a_file_has_a_ceiling_an_opening_and_a_layer() {
        one_fault("model/long.rs", &format!("//! x\n{}", "\n".repeat(CEILING)), "601 lines");
        one_fault("model/key.rs", "use std::fmt;\n", "src/model/key.rs:1: opens without");
        one_fault("util/mod.rs", "//! x\n", "belongs to no layer");
    }

    #[test]
    fn quotes_and_raw_strings_hide_nothing() {
        one_fault("model/q.rs", "//! x\nconst Q: char = '\"';\nuse crate::cli::A;\n", "src/model/q.rs:3");
        one_fault(
            "model/q.rs",
            "//! x\nconst R: &str = r#\"a\"b\"#;\nuse crate::cli::A;\n",
            "src/model/q.rs:3",
        );
        one_fault("model/q.rs", "//! x\nfn f<'a>(x: &'a str) {}\nuse crate::cli::A;\n", "src/model/q.rs:3");
    }
}
