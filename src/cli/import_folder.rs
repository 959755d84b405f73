//! A manager's folder among the files of `import`: which of what is in it is to be read.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::fault::Fault;
use super::lint;
use crate::import::manager;
use crate::model::quoted;

/// Where managers keep files below their folder: PiVPN's `configs`, WGDashboard's `db`, linuxserver.io's `wg_confs`.
const BELOW: [&str; 3] = ["configs", "db", "wg_confs"];
/// And what the folders of single clients begin with: linuxserver.io's `peer_laptop`, `peer1`.
const OF_CLIENTS: &str = "peer";
/// Stores of managers, by name: wg-easy's, wg-portal's, WGDashboard's.
const STORES: [&str; 4] = ["wg0.json", "wg-easy.db", "sqlite.db", "wgdashboard.db"];
/// So many files of a folder are read at most.
const MOST: usize = 20_000;

/// Reads a file whole; a database whose newest changes are elsewhere is refused.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let bytes = lint::read(path)?;
    // SQLite has them beside the file itself, whatever links lead there.
    let file = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let newer = ["-wal", "-journal"].map(|end| {
        let mut journal = file.as_os_str().to_owned();
        journal.push(end);
        journal
    });
    // The header alone of the first is 32 bytes (sqlite.org/fileformat2).
    let has_more = |journal: &&std::ffi::OsString| std::fs::metadata(journal).is_ok_and(|m| m.len() > 32);
    if let Some(journal) = newer.iter().find(has_more)
        && manager::is_store(&bytes)
    {
        return Err(Fault::failed(
            format!("the newest changes of {} are in {}", path.display(), Path::new(&journal).display()),
            format!(
                "stop the manager, or `sqlite3 {} 'pragma wal_checkpoint(truncate)'`",
                quoted(&path.display().to_string())
            ),
        ));
    }
    Ok(bytes)
}

/// The files that a path means: itself, or those of a folder.
#[expect(clippy::disallowed_methods, reason = "the folders are named on the command line")]
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let unreadable = |e| Fault::failed(format!("cannot read {}: {e}", path.display()), "");
    let entries = std::fs::read_dir(path).map_err(unreadable)?;
    let of_client = |p: &PathBuf| {
        p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(OF_CLIENTS)) && p.is_dir()
    };
    let of_clients = entries.flatten().map(|e| e.path()).filter(of_client).take(MOST);
    let mut found = Vec::new();
    for folder in
        std::iter::once(path.to_path_buf()).chain(BELOW.map(|name| path.join(name))).chain(of_clients)
    {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let is_wanted = |p: &PathBuf| {
            let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            p.is_file() && (name.ends_with(".conf") || STORES.contains(&name))
        };
        found.extend(entries.flatten().map(|e| e.path()).filter(is_wanted).take(MOST));
    }
    if found.is_empty() {
        return Err(Fault::failed(
            format!("there is no .conf and no manager's store in {}", path.display()),
            "wg-easy: wg0.json or wg-easy.db; wg-portal: sqlite.db; PiVPN and WGDashboard: /etc/wireguard",
        ));
    }
    found.sort();
    Ok(found)
}
