//! Words of a command that a person pastes into a shell.

/// Quotes a word for the shell, where it needs that.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    if word.contains(char::is_control) {
        // A line that is copied stays one line: bash, zsh and busybox read these.
        let escaped = |c: char| match c {
            '\'' | '\\' => format!("\\{c}"),
            '\n' => "\\n".to_owned(),
            '\0'..='\x1f' | '\x7f' => format!("\\{:03o}", u32::from(c)),
            c => c.to_string(),
        };
        return format!("$'{}'", word.chars().map(escaped).collect::<String>());
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        assert_eq!(quoted("/etc/wgrelay/wg0.conf"), "/etc/wgrelay/wg0.conf");
        assert_eq!(quoted("/my networks"), "'/my networks'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted("$HOME"), "'$HOME'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a\nb's\t\\"), "$'a\\nb\\'s\\011\\\\'");
    }
}
