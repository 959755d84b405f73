//! Every problem's code that the sources have is in a page that says what it is about.

#![expect(clippy::disallowed_methods, reason = "it reads the sources")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The pages that tell codes.
const PAGES: [&str; 5] = ["codes.md", "network-toml.md", "reasons.md", "json.md", "import.md"];
/// What a code stands in.
const CALLS: [&str; 5] =
    ["Problem::error(", "Problem::warning(", ".error(", ".error_in_own_words(", "Problem::new("];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in
        std::fs::read_dir(folder).expect("a folder of the sources").map(|e| e.expect("an entry").path())
    {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            found.push(entry);
        }
    }
}

/// The first text among a call's arguments, where it is a code: words with hyphens.
fn code(arguments: &str) -> Option<&str> {
    let arguments = &arguments[..arguments.find(';').unwrap_or(arguments.len())];
    let text = arguments.split('"').nth(1)?;
    let is_code =
        text.contains('-') && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    is_code.then_some(text)
}

#[test]
fn every_code_is_in_a_page() {
    let pages: String = PAGES
        .iter()
        .map(|page| std::fs::read_to_string(Path::new(ROOT).join("docs").join(page)).expect("a page"))
        .collect();
    let mut files = Vec::new();
    sources(&Path::new(ROOT).join("src"), &mut files);
    let mut codes: BTreeMap<String, PathBuf> = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for call in CALLS {
            for (at, _) in text.match_indices(call) {
                if let Some(code) = code(&text[at + call.len()..]) {
                    codes.insert(code.to_owned(), file.clone());
                }
            }
        }
    }
    assert!(codes.len() > 100, "the sources have more codes than {}", codes.len());
    let unsaid: Vec<_> = codes
        .iter()
        .filter(|(code, _)| {
            !pages.contains(&format!("`{code}`")) && !pages.contains(&format!("\n## {code}\n"))
        })
        .collect();
    assert!(unsaid.is_empty(), "no page tells of {unsaid:#?}");
}
