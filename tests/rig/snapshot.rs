//! Everything that an `up` could change on a node, as text: two snapshots compare, and tell where they differ.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use super::node::Node;

/// The folders whose files are looked at. /run and /mnt are the node's own.
const FOLDERS: [&str; 4] = ["/run", "/etc/wireguard", "/etc/wgrelay", "/mnt"];
/// Files that other programs leave by design: iptables' own lock.
const NOT_OURS: [&str; 1] = ["/run/xtables.lock"];

/// A node as it stood at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    sections: BTreeMap<&'static str, Vec<String>>,
}

impl Snapshot {
    /// Takes a snapshot. It changes nothing: the kernel's own lists come first, and the iptables of both kinds are
    /// asked only by their `-save`, which makes no table.
    #[track_caller]
    pub fn of(node: &Node) -> Self {
        // One shell for all lists: eleven process starts, which the guest feels, but no more.
        let script = "
            section() { echo \"@@ $1\"; shift; \"$@\" 2>&1; }
            section nft nft -s list ruleset
            section links ip -d -o link
            section addresses ip -o addr
            section 'routes of IPv4' ip -4 route show table all
            section 'routes of IPv6' ip -6 route show table all
            section 'rules of IPv4' ip -4 rule
            section 'rules of IPv6' ip -6 rule
            section neighbours ip neigh show nud permanent
            section 'proxied neighbours' ip neigh show proxy
            for v in '' 6; do for k in legacy nft; do
                ! command -v ip${v}tables-$k-save >/dev/null || section ip${v}tables-$k ip${v}tables-$k-save
            done; done";
        let listing = node.run(&["bash", "-c", script]).ok().stdout;
        let mut sections: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        let mut current = "";
        for line in listing.lines() {
            if let Some(name) = line.strip_prefix("@@ ") {
                current = SECTIONS.iter().find(|s| **s == name).expect("the script has only known sections");
                sections.entry(current).or_default();
            } else if let Some(line) = lasting(line) {
                sections.entry(current).or_default().push(line);
            }
        }
        for (name, lines) in &mut sections {
            // The order of rules is their meaning; the order of the rest is the order of making.
            if !name.contains("tables") && *name != "nft" && !name.starts_with("rules") {
                lines.sort();
            }
        }
        sections.insert("sysctls", sysctls(node));
        sections.insert("files", files(node));
        sections.insert("processes", node.processes().into_iter().map(|(_, line)| line).collect());
        Self { sections }
    }

    /// Returns the differences, a line each with its section; empty where the two are equal.
    #[must_use]
    pub fn diff(&self, after: &Self) -> String {
        let mut text = String::new();
        let names: std::collections::BTreeSet<_> =
            self.sections.keys().chain(after.sections.keys()).collect();
        for name in names {
            let none = Vec::new();
            let old = self.sections.get(*name).unwrap_or(&none);
            let new = after.sections.get(*name).unwrap_or(&none);
            if old == new {
                continue;
            }
            let _ = writeln!(text, "{name}:");
            let (gone, come) = (without(old, new), without(new, old));
            if gone.is_empty() && come.is_empty() {
                let _ = writeln!(text, "  the same lines in another order");
            }
            gone.iter().for_each(|line| _ = writeln!(text, "  - {line}"));
            come.iter().for_each(|line| _ = writeln!(text, "  + {line}"));
        }
        text
    }

    /// Fails with the differences, if there are any.
    #[track_caller]
    pub fn assert_same(&self, after: &Self, when: &str) {
        let diff = self.diff(after);
        assert!(diff.is_empty(), "{when}, this differs:\n{diff}");
    }

    /// Returns a section's lines.
    #[track_caller]
    pub fn section(&self, name: &str) -> &[String] {
        self.sections.get(name).unwrap_or_else(|| panic!("no section {name}"))
    }
}

const SECTIONS: [&str; 13] = [
    "nft",
    "links",
    "addresses",
    "routes of IPv4",
    "routes of IPv6",
    "rules of IPv4",
    "rules of IPv6",
    "neighbours",
    "proxied neighbours",
    "iptables-legacy",
    "iptables-nft",
    "ip6tables-legacy",
    "ip6tables-nft",
];

/// Returns a line without what changes by itself (the timers of bridges, the time in iptables-save's comments).
fn lasting(line: &str) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut words = line.split_whitespace().peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        let moving = word.ends_with("_timer") || word == "fdb_n_learned" || word == "message_age";
        if moving && words.peek().is_some_and(|next| next.starts_with(|c: char| c.is_ascii_digit())) {
            words.next();
        } else if line.starts_with(':') && word.starts_with('[') {
            // The counters of an iptables chain's policy.
        } else {
            kept.push(word);
        }
    }
    Some(kept.join(" "))
}

fn sysctls(node: &Node) -> Vec<String> {
    node.inside(|| {
        let root = Path::new("/proc/sys/net");
        let mut lines = Vec::new();
        for tree in ["ipv4/ip_forward", "ipv4/conf", "ipv6/conf", "bridge"] {
            walk(&root.join(tree), &mut |path, kind| {
                // Some (flush, an unset stable_secret) cannot be read by anyone.
                if kind.is_file()
                    && let Ok(value) = std::fs::read_to_string(path)
                {
                    lines.push(format!(
                        "{} = {}",
                        path.strip_prefix(root).unwrap_or(path).display(),
                        value.trim()
                    ));
                }
            });
        }
        lines.sort();
        lines
    })
}

fn files(node: &Node) -> Vec<String> {
    let root = node.outside("/");
    let mut lines = Vec::new();
    for folder in FOLDERS {
        walk(&node.outside(folder), &mut |path, kind| {
            let shown = Path::new("/").join(path.strip_prefix(&root).unwrap_or(path)).display().to_string();
            if NOT_OURS.contains(&shown.as_str()) {
                return;
            }
            let Ok(metadata) = std::fs::symlink_metadata(path) else { return };
            let mode = metadata.permissions().mode() & 0o7777;
            let what = if kind.is_file() {
                let mut hasher = DefaultHasher::new();
                std::fs::read(path).unwrap_or_default().hash(&mut hasher);
                format!("file of {} bytes, {:016x}", metadata.len(), hasher.finish())
            } else if kind.is_dir() {
                "folder".to_owned()
            } else if kind.is_socket() {
                "socket".to_owned()
            } else {
                format!("{kind:?}")
            };
            lines.push(format!("{shown} {mode:04o} {what}"));
        });
    }
    lines.sort();
    lines
}

/// Calls `see` for everything at and below a path; a path that is not there is nothing.
fn walk(path: &Path, see: &mut impl FnMut(&Path, std::fs::FileType)) {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return };
    see(path, metadata.file_type());
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            walk(&entry.path(), see);
        }
    }
}

/// Returns the lines of `these` that are not in `those`, each as often as it is missing.
fn without(these: &[String], those: &[String]) -> Vec<String> {
    let mut left = those.to_vec();
    these
        .iter()
        .filter(|line| match left.iter().position(|other| other == *line) {
            Some(at) => {
                left.swap_remove(at);
                false
            }
            None => true,
        })
        .cloned()
        .collect()
}
