//! What a test needs of the machine: asked for and impossible is a failure, not asked for is a sentence and a skip.

use std::path::Path;

/// Where programs are looked for: a plain user's PATH lacks the last four.
const FOLDERS: [&str; 6] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"];

/// One thing that a test cannot do without.
#[derive(Debug, Clone, Copy)]
pub enum Need {
    /// Leave to make namespaces, links and mounts.
    Root,
    /// A device or folder at this path.
    At(&'static str),
    /// A program of this name.
    Program(&'static str),
}

/// What real namespaces take: root, TUN, and the programs of `scripts/install-needs`.
pub const NAMESPACES: [Need; 11] = [
    Need::Root,
    Need::At("/dev/net/tun"),
    Need::Program("bash"),
    Need::Program("unshare"),
    Need::Program("ip"),
    Need::Program("nft"),
    Need::Program("iptables"),
    Need::Program("ping"),
    Need::Program("wg"),
    Need::Program("wg-quick"),
    Need::Program("wireguard-go"),
];

/// Says whether a test can run here. Where it cannot, it says why; with `WGRELAY_REAL=1` that is a failure.
#[must_use]
pub fn met(needs: &[Need]) -> bool {
    let missing: Vec<String> = needs.iter().filter_map(missing).collect();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join(", ");
    assert!(
        std::env::var_os("WGRELAY_REAL").is_none_or(|v| v != "1"),
        "WGRELAY_REAL=1, but this test lacks {missing} (scripts/install-needs --test installs programs)"
    );
    #[expect(clippy::print_stderr, reason = "a skip must be seen")]
    {
        eprintln!("skipped: this test lacks {missing}");
    }
    false
}

fn missing(need: &Need) -> Option<String> {
    match *need {
        Need::Root => (!nix::unistd::geteuid().is_root()).then(|| "root".to_owned()),
        Need::At(path) => (!Path::new(path).exists()).then(|| path.to_owned()),
        Need::Program(name) => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let mut folders = FOLDERS.iter().map(Into::into).chain(std::env::split_paths(&path));
            let found = folders.any(|folder: std::path::PathBuf| folder.join(name).exists());
            (!found).then(|| name.to_owned())
        }
    }
}
