//! Who gives a command: the one behind sudo, where there is one.

/// A user of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The number.
    pub uid: u32,
    /// The name; `None`: /etc/passwd has none.
    pub name: Option<String>,
}

impl User {
    /// Returns who started this process. What sudo says counts only where it was root that it made.
    pub fn of_this_process() -> Self {
        let own = nix::unistd::getuid().as_raw();
        let behind = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok()).filter(|_| own == 0);
        let uid = behind.unwrap_or(own);
        // Read as text: what other name services know would need libraries that a static program does not have.
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self { uid, name: name_in(&passwd, uid) }
    }
}

/// Finds a user's name (passwd(5)).
fn name_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n#\n+\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(name_in(passwd, 0).as_deref(), Some("root"));
        assert_eq!(name_in(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!(name_in(passwd, 100), None);
    }
}
