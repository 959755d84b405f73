//! Commands of bash as a person lays them out: what is inside stands deeper.

use super::TABLE;

/// One level deeper; the lines of here-documents, which must not move, are not for it.
pub fn indented(text: &str) -> String {
    text.lines()
        .map(|line| if line.is_empty() { String::new() } else { format!("    {line}") })
        .collect::<Vec<_>>()
        .join("\n")
}

/// A command where there is nft, another where there is not.
pub(super) fn either(nft: &str, iptables: &str) -> String {
    format!("if has_nft; then\n{}\nelse\n{}\nfi", indented(nft), indented(iptables))
}

/// A command if a condition holds.
pub(super) fn when(condition: &str, body: &str) -> String {
    format!("if {condition}; then\n{}\nfi", indented(body))
}

/// A command for each word of a list.
pub(super) fn each(variable: &str, list: &str, body: &str) -> String {
    format!("for {variable} in {list}; do\n{}\ndone", indented(body))
}

/// A command with a comment above it.
pub(super) fn told(about: &str, body: &str) -> String {
    format!("# {about}\n{body}")
}

/// A function.
pub fn function(name: &str, body: &str) -> String {
    format!("{name}() {{\n{}\n}}", indented(body))
}

/// A function that prints a text, in which only the interface's name is filled in.
pub(super) fn printer(name: &str, text: &str) -> String {
    debug_assert!(!text.contains(['$', '`', '\\']), "{text}");
    format!("{name}() {{\n    cat <<END\n{}\nEND\n}}", text.trim_end())
}

/// Fills in the table's name.
pub(super) fn with_table(text: &str) -> String {
    text.replace("TABLE", TABLE)
}
