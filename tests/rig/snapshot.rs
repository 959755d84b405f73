//! Everything that an `up` could change on a node, as text: two snapshots compare, and tell where they differ.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use serde_json::Value;

use super::node::Node;

/// The folders whose files are looked at. /run and /mnt are the node's own.
const FOLDERS: [&str; 4] = ["/run", "/etc/wireguard", "/etc/wgrelay", "/mnt"];
/// Files that other programs leave by design: iptables' own lock.
const NOT_OURS: [&str; 1] = ["/run/xtables.lock"];
/// Files whose content is nobody's: a lock tells who holds it.
const LOCK: &str = "/.lock";
/// Files that grow as time goes: the history of traffic, with what SQLite puts beside it. It outlives `down` like the network's own file.
const HISTORY: &str = "/traffic.db";

/// A node as it stood at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    sections: BTreeMap<&'static str, Vec<String>>,
}

/// The command lines of a node's processes, once none of them only looks: an agent looks at what the kernel tells it of, and
/// its look is over in a moment. What has no command line is between its fork and its program, or has ended.
fn lasting_processes(node: &Node) -> Vec<String> {
    let looks = |line: &String| {
        line.trim().is_empty()
            || line.contains("nft -j list")
            || line.contains("tables-") && line.contains("-save")
    };
    let mut tries = 0;
    loop {
        let lines: Vec<String> = node.processes().into_iter().map(|(_, line)| line).collect();
        tries += 1;
        if tries > 50 || !lines.iter().any(looks) {
            return lines;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

impl Snapshot {
    /// Takes a snapshot. It changes nothing: iptables is asked by its `-save`, which makes no table, and only where the
    /// kernel has tables of that kind. In the guest every process counts; this takes three, and what iptables takes.
    #[track_caller]
    pub fn of(node: &Node) -> Self {
        let mut sections: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        let nft = node.run(&["nft", "-s", "list", "ruleset"]).ok().stdout;
        for (family, names) in FAMILIES {
            let shown = node.ip_shows(family, SHOWN);
            let lists = serde_json::Deserializer::from_str(&shown).into_iter::<Value>();
            let mut count = 0;
            for (name, list) in names.iter().zip(lists) {
                let list = list.unwrap_or_else(|e| panic!("{}: ip -j: {e}: {shown}", node.name));
                let mut lines = Vec::new();
                for item in list.as_array().expect("ip -j prints lists") {
                    told(name, item, &mut lines);
                }
                if !name.starts_with("rules") {
                    lines.sort(); // the order of rules is their meaning; that of the rest is the order of making
                }
                sections.insert(name, lines);
                count += 1;
            }
            assert_eq!(count, names.len(), "{}: ip -j printed {shown}", node.name);
        }
        for (family, legacy, modern) in
            [("", "iptables-legacy", "iptables-nft"), ("6", "ip6tables-legacy", "ip6tables-nft")]
        {
            let names = format!("/proc/thread-self/net/ip{family}_tables_names");
            let has_legacy =
                node.inside(|| std::fs::read_to_string(names).is_ok_and(|names| !names.is_empty()));
            for (section, asked) in
                [(legacy, has_legacy), (modern, nft.contains(&format!("table ip{family} ")))]
            {
                let saved =
                    if asked { node.run(&[&format!("{section}-save")]).ok().stdout } else { String::new() };
                sections.insert(section, saved.lines().filter_map(rule).collect());
            }
        }
        sections.insert("nft", nft.lines().map(|line| line.trim().to_owned()).collect());
        sections.insert("sysctls", sysctls(node));
        sections.insert("files", files(node));
        sections.insert("processes", lasting_processes(node));
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
            let (gone, come) = (only_in(old, new), only_in(new, old));
            if gone.is_empty() && come.is_empty() {
                let _ = writeln!(text, "  the same lines in another order");
            }
            gone.iter().for_each(|line| _ = writeln!(text, "  - {line}"));
            come.iter().for_each(|line| _ = writeln!(text, "  + {line}"));
        }
        text
    }

    /// Leaves a section out, where it may differ.
    #[must_use]
    pub fn without(mut self, section: &str) -> Self {
        self.sections.remove(section).unwrap_or_else(|| panic!("no section {section}"));
        self
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

/// What `ip(8)` is asked to show, for each family.
const SHOWN: &str = "addr show
    route show table all
    rule show
    neigh show nud permanent
    neigh show proxy
    link show";

/// The sections that the answers go to, in that order; the links of both families are the same.
const FAMILIES: [(&str, &[&str]); 2] = [
    (
        "-4",
        &[
            "addresses of IPv4",
            "routes of IPv4",
            "rules of IPv4",
            "neighbours of IPv4",
            "proxied neighbours of IPv4",
            "links",
        ],
    ),
    (
        "-6",
        &[
            "addresses of IPv6",
            "routes of IPv6",
            "rules of IPv6",
            "neighbours of IPv6",
            "proxied neighbours of IPv6",
        ],
    ),
];

/// Tells one item of a list: links a line a field, so that a difference is one short line; addresses, routes and the
/// like a line each.
fn told(section: &str, item: &Value, lines: &mut Vec<String>) {
    let link = item["ifname"].as_str().unwrap_or_default();
    if section == "links" {
        fields(link, item, lines);
    } else if let Some(addresses) = item["addr_info"].as_array() {
        lines.extend(addresses.iter().map(|address| format!("{link} {address}")));
    } else {
        lines.push(item.to_string());
    }
}

/// Tells the fields of an object, nested ones too, without the timers of bridges, which run.
fn fields(name: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                if !key.ends_with("_timer") && key != "fdb_n_learned" && key != "message_age" {
                    fields(&format!("{name} {key}"), value, lines);
                }
            }
        }
        value => lines.push(format!("{name} {value}")),
    }
}

/// Returns a line of iptables-save without counters; comments tell the time only.
fn rule(line: &str) -> Option<String> {
    let counters = line.starts_with(':').then(|| line.find(" [")).flatten();
    (!line.starts_with('#')).then(|| line[..counters.unwrap_or(line.len())].to_owned())
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
            if NOT_OURS.contains(&shown.as_str()) || shown.contains(HISTORY) {
                return;
            }
            let Ok(metadata) = std::fs::symlink_metadata(path) else { return };
            let mode = metadata.permissions().mode() & 0o7777;
            let what = if shown.ends_with(LOCK) {
                "lock".to_owned()
            } else if kind.is_file() {
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
fn only_in(these: &[String], those: &[String]) -> Vec<String> {
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
