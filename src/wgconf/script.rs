//! A shell script in a `.conf`: comment lines that begin with `#| `, whose functions the hooks call.
//!
//! So a hook of wg-quick(8) stays one short line, a person can read what it does, and the file needs no other beside it. wg-quick
//! runs hooks in its own bash, where `CONFIG_FILE` is the file's path. A script that was lost on the way stops it: without its
//! function the hook fails, and wg-quick takes the interface away again.

use super::Hook;

/// What the script's lines begin with; an empty one is that without the blank.
pub(super) const MARK: &str = "#| ";
/// Reads the script. A `#` would begin a comment; a line that came through Windows has its return cut off.
const READ: &str = r#"eval "$(sed -n 's/^.| //p' "$CONFIG_FILE" | tr -d '\r')"; "#;
const SEAL: &str = "# By this sum `wgrelay import` knows whether somebody changed the script: ";

/// Returns the command of a hook that calls a function of the script, with the interface's name.
pub fn call(function: &str) -> String {
    format!("{READ}{function} %i")
}

/// The functions that hooks call.
pub const FUNCTIONS: [&str; 3] = ["pre_up", "post_up", "post_down"];

/// Says whether a hook calls the script of its file, and does nothing else.
pub fn is_call(hook: &Hook) -> bool {
    FUNCTIONS.iter().any(|function| hook.as_str() == call(function))
}

/// Ends a script with a line by which a change is known.
pub fn seal(mut lines: Vec<String>) -> Vec<String> {
    lines.push(String::new());
    lines.push(format!("{SEAL}{:016x}", sum(&lines)));
    lines
}

/// Says whether a script is as it was sealed.
pub fn is_as_sealed(lines: &[String]) -> bool {
    lines.split_last().is_some_and(|(last, lines)| {
        last.strip_prefix(SEAL).is_some_and(|told| told == format!("{:016x}", sum(lines)))
    })
}

/// FNV-1a, 64 bits: it tells a change from no change; nobody is kept out by it.
fn sum(lines: &[String]) -> u64 {
    let bytes = lines.iter().flat_map(|line| line.bytes().chain([b'\n']));
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_script_is_known() {
        let sealed = seal(vec!["f() {".into(), "    :".into(), "}".into()]);
        assert!(is_as_sealed(&sealed));
        for at in 0..sealed.len() {
            let (mut changed, mut shorter) = (sealed.clone(), sealed.clone());
            changed[at].push('x');
            shorter.remove(at);
            assert!(!is_as_sealed(&changed) && !is_as_sealed(&shorter), "{at}");
        }
        assert!(!is_as_sealed(&[]));
    }

    #[test]
    fn a_call_is_a_hook() {
        let hook: Hook = call("post_up").parse().unwrap();
        assert!(is_call(&hook) && hook.as_str().len() < 100, "{}", hook.as_str());
        assert!(!is_call(&"post_up %i".parse().unwrap()));
        let more = format!("{}; iptables -A FORWARD -i %i -j DROP", call("post_up"));
        assert!(!is_call(&more.parse().unwrap()), "what somebody added is his own");
    }
}
