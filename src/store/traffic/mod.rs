//! What passed between this host and each node, and when the node was there: one file of SQLite in the network's folder, which the
//! agent writes, because it sees the counters. Minutes are kept for 48 hours, then as hours, for 400 days.

mod packed;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};

use self::packed::Packed;
use super::files::{StoreError, io_error};
use super::folder::Folder;
use super::owned::open_own;
use crate::model::{NodeName, PublicKey, Timestamp};

/// The file's `user_version`.
const VERSION: u32 = 1;
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;
/// So long minutes are kept, in seconds.
const MINUTES_KEPT: u64 = 48 * HOUR;
/// So long everything is.
pub const KEPT: u64 = 400 * DAY;
/// A node that was heard this long ago, in seconds, is still in the session that it was in: looks may be late.
const SAME_SESSION: u64 = 300;
/// So many sessions of a node are kept.
const SESSIONS: u32 = 200;

/// What a peer's counters say at a moment.
#[derive(Debug, Clone)]
pub struct Counted {
    /// The node.
    pub node: NodeName,
    /// Its key, which the counters belong to.
    pub key: PublicKey,
    /// Bytes received from it since the device has it.
    pub rx: u64,
    /// Bytes sent to it.
    pub tx: u64,
    /// Since when it is there, in Unix seconds, and where; `None`: it is not.
    pub session: Option<(u64, SocketAddr)>,
}

/// A look at all counters.
#[derive(Debug, Clone)]
pub struct Look {
    /// When, in Unix seconds.
    pub at: u64,
    /// The device: one that is made anew has another name, and counts from nothing.
    pub device: String,
    /// Whether all that a device counted before anybody looked is to be counted: it is new.
    pub is_new: bool,
    /// The peers of which history is kept.
    pub peers: Vec<Counted>,
    /// The nodes of which none is: what there was goes.
    pub without: Vec<NodeName>,
}

/// Bytes of a minute or an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Bytes {
    /// When it began, in Unix seconds.
    pub at: u64,
    /// Received from the node.
    pub rx_bytes: u64,
    /// Sent to it.
    pub tx_bytes: u64,
}

/// A time in which a node was there.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Presence {
    /// When it began, in Unix seconds.
    pub began: u64,
    /// When it was last seen there.
    pub seen: u64,
    /// Seconds between.
    pub duration: u64,
    /// From where.
    pub endpoint: String,
}

/// What is known of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Traffic {
    /// The minutes in which something passed, of the last 48 hours, the oldest first.
    pub minutes: Vec<Bytes>,
    /// The hours, of the last 400 days.
    pub hours: Vec<Bytes>,
    /// When it was there, the newest first.
    pub sessions: Vec<Presence>,
}

/// The file.
pub struct TrafficFile {
    connection: Connection,
    path: PathBuf,
}

fn path_in(folder: &Folder) -> PathBuf {
    folder.path().join("traffic.db")
}

impl TrafficFile {
    /// Opens a network's file to write it, and makes it where there is none.
    ///
    /// # Errors
    /// It cannot be written, is a link or somebody else's, or is of a newer version.
    pub fn open(folder: &Folder) -> Result<Self, StoreError> {
        let path = path_in(folder);
        let mut options = std::fs::OpenOptions::new();
        open_own(&path, options.read(true).write(true).create(true).truncate(false))?;
        let broken = |e| broken("write", &path)(e);
        let mut connection = Connection::open(&path).map_err(broken)?;
        prepare(&mut connection).map_err(broken)?;
        Ok(Self { connection, path })
    }

    /// Opens it to read it; `None`: there is none, because no agent has written any.
    ///
    /// # Errors
    /// It cannot be read, or is somebody else's.
    pub fn open_to_read(folder: &Folder) -> Result<Option<Self>, StoreError> {
        let path = path_in(folder);
        match open_own(&path, std::fs::OpenOptions::new().read(true)) {
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            other => other?,
        };
        // Whoever reads a journal that others write has to write beside it.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(&path, flags).and_then(|mut connection| {
            prepare(&mut connection)?;
            Ok(connection)
        });
        Ok(Some(Self { connection: opened.map_err(broken("read", &path))?, path }))
    }

    /// Writes a look down, and lets go what is too old.
    ///
    /// # Errors
    /// It cannot be written; then nothing of it is.
    pub fn record(&mut self, look: &Look) -> Result<(), StoreError> {
        let path = self.path.clone();
        self.try_record(look).map_err(broken("write", &path))
    }

    fn try_record(&mut self, look: &Look) -> rusqlite::Result<()> {
        let change = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for name in &look.without {
            change.prepare_cached("DELETE FROM node WHERE name = ?1")?.execute([name.as_str()])?;
        }
        // Before the first of its peers is known.
        let is_known = change
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM counted WHERE device = ?1)")?
            .query_row([&look.device], |row| row.get::<_, bool>(0))?;
        let counts_all = look.is_new || is_known;
        for peer in &look.peers {
            let node = node_of(&change, peer)?;
            let (rx, tx) = passed(&change, (&look.device, counts_all), peer, node)?;
            if rx > 0 || tx > 0 {
                let (hour, minute) = (look.at / HOUR, (look.at % HOUR / MINUTE) as u8);
                add(&change, &Table::MINUTES, (hour, node), &[(minute, rx, tx)])?;
            }
            if let Some((began, endpoint)) = &peer.session {
                be_there(&change, node, *began, look.at, *endpoint)?;
            }
        }
        forget(&change, look.at)?;
        change.commit()
    }

    /// Returns the whole file as it is at this moment, whoever writes it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn copy(&mut self) -> Result<Vec<u8>, StoreError> {
        let copied = self.connection.serialize(rusqlite::MAIN_DB).map(|data| data.to_vec());
        copied.map_err(broken("read", &self.path))
    }

    /// Puts such a copy in a network's place: all of it or nothing. An agent that has the one before open lets go of it within a minute.
    ///
    /// # Errors
    /// It cannot be written, or is no such copy.
    pub fn restore(folder: &Folder, bytes: &[u8]) -> Result<(), StoreError> {
        let path = path_in(folder);
        replace_database(&path, bytes, |new| {
            let mut connection = Connection::open(new)?;
            prepare(&mut connection)?;
            connection.query_row("SELECT count(*) FROM counted", [], |row| row.get::<_, u64>(0))?;
            connection.close().map_err(|(_, error)| error)
        })
    }

    /// Returns what is known of a node.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(&self, node: &NodeName, now: Timestamp) -> Result<Traffic, StoreError> {
        self.try_of(node, now.0).map_err(broken("read", &self.path))
    }

    fn try_of(&self, node: &NodeName, now: u64) -> rusqlite::Result<Traffic> {
        // One state of it, whoever writes meanwhile.
        let read = self.connection.unchecked_transaction()?;
        let text = "SELECT id FROM node WHERE name = ?1";
        let id: Option<i64> = read.query_row(text, [node.as_str()], |row| row.get(0)).optional()?;
        let Some(id) = id else { return Ok(Traffic::default()) };
        let mut found = Traffic::default();
        let mut hours = std::collections::BTreeMap::<u64, (u64, u64)>::new();
        for (hour, packed) in blocks(&read, &Table::MINUTES, id)? {
            let (rx, tx) = packed.sum();
            hours.insert(hour.saturating_mul(HOUR), (rx, tx));
            let minute = |(place, rx_bytes, tx_bytes): (u8, u64, u64)| Bytes {
                at: hour.saturating_mul(HOUR).saturating_add(u64::from(place) * MINUTE),
                rx_bytes,
                tx_bytes,
            };
            found.minutes.extend(packed.0.into_iter().map(minute));
        }
        for (day, packed) in blocks(&read, &Table::HOURS, id)? {
            for (place, rx, tx) in packed.0 {
                let hour =
                    hours.entry(day.saturating_mul(DAY).saturating_add(u64::from(place) * HOUR)).or_default();
                *hour = (hour.0.saturating_add(rx), hour.1.saturating_add(tx));
            }
        }
        found.hours =
            hours.into_iter().map(|(at, (rx_bytes, tx_bytes))| Bytes { at, rx_bytes, tx_bytes }).collect();
        let since = |kept: u64| now.saturating_sub(kept);
        found.minutes.retain(|minute| minute.at >= since(MINUTES_KEPT));
        found.hours.retain(|hour| hour.at >= since(KEPT));
        let text = "SELECT began, seen, endpoint FROM session WHERE node = ?1 ORDER BY id DESC LIMIT ?2";
        let mut query = read.prepare(text)?;
        let rows = query.query_map(params![id, SESSIONS], |row| {
            let (began, seen): (u64, u64) = (row.get(0)?, row.get(1)?);
            Ok(Presence { began, seen, duration: seen.saturating_sub(began), endpoint: row.get(2)? })
        })?;
        found.sessions = rows.collect::<Result<_, _>>()?;
        Ok(found)
    }
}

/// Which node's a key is: a node that was renamed keeps what it had, and one that has a new key as well.
fn node_of(change: &Transaction<'_>, peer: &Counted) -> rusqlite::Result<i64> {
    let name = peer.node.as_str();
    let text = "SELECT node, name FROM counted JOIN node ON node.id = node WHERE key = ?1";
    let by_key: Option<(i64, String)> = change
        .prepare_cached(text)?
        .query_row([&peer.key.as_bytes()[..]], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((id, known)) = by_key {
        if known == name {
            return Ok(id);
        }
        let renamed = change
            .prepare_cached("UPDATE OR IGNORE node SET name = ?2 WHERE id = ?1")?
            .execute(params![id, name])?;
        if renamed == 1 {
            return Ok(id);
        }
    }
    change.prepare_cached("INSERT OR IGNORE INTO node (name) VALUES (?1)")?.execute([name])?;
    change.prepare_cached("SELECT id FROM node WHERE name = ?1")?.query_row([name], |row| row.get(0))
}

/// How much passed since the last look. A counter that is less than it was began again, with the peer or the device.
fn passed(
    change: &Transaction<'_>,
    (device, counts_all): (&str, bool),
    peer: &Counted,
    node: i64,
) -> rusqlite::Result<(u64, u64)> {
    let key = peer.key.as_bytes();
    let before: Option<(String, u64, u64)> = change
        .prepare_cached("SELECT device, rx, tx FROM counted WHERE key = ?1")?
        .query_row([&key[..]], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    // SQLite's numbers end there, and no counter does.
    let most = i64::MAX.unsigned_abs();
    change
        .prepare_cached(
            "INSERT INTO counted (key, node, device, rx, tx) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (key)
             DO UPDATE SET node = ?2, device = ?3, rx = ?4, tx = ?5",
        )?
        .execute(params![&key[..], node, device, peer.rx.min(most), peer.tx.min(most)])?;
    Ok(match before {
        Some((known, rx, tx)) if known == device => {
            let is_same = peer.rx >= rx && peer.tx >= tx;
            if is_same { (peer.rx - rx, peer.tx - tx) } else { (peer.rx, peer.tx) }
        }
        // What a device counted while nobody looked yet is of some time, and not of this minute.
        None if !counts_all => (0, 0),
        _ => (peer.rx, peer.tx),
    })
}

/// A table of packed bytes.
struct Table {
    read: &'static str,
    write: &'static str,
    of_node: &'static str,
}

impl Table {
    const MINUTES: Self = Self {
        read: "SELECT bytes FROM minutes WHERE hour = ?1 AND node = ?2",
        write: "INSERT OR REPLACE INTO minutes (hour, node, bytes) VALUES (?1, ?2, ?3)",
        of_node: "SELECT hour, bytes FROM minutes WHERE node = ?1 ORDER BY hour",
    };
    const HOURS: Self = Self {
        read: "SELECT bytes FROM hours WHERE day = ?1 AND node = ?2",
        write: "INSERT OR REPLACE INTO hours (day, node, bytes) VALUES (?1, ?2, ?3)",
        of_node: "SELECT day, bytes FROM hours WHERE node = ?1 ORDER BY day",
    };
}

fn add(
    change: &Transaction<'_>,
    table: &Table,
    (when, node): (u64, i64),
    more: &[(u8, u64, u64)],
) -> rusqlite::Result<()> {
    let before: Option<Vec<u8>> =
        change.prepare_cached(table.read)?.query_row(params![when, node], |row| row.get(0)).optional()?;
    let mut packed = Packed::read(&before.unwrap_or_default());
    for (place, rx, tx) in more {
        packed.add(*place, *rx, *tx);
    }
    change.prepare_cached(table.write)?.execute(params![when, node, packed.write()])?;
    Ok(())
}

fn blocks(read: &Connection, table: &Table, node: i64) -> rusqlite::Result<Vec<(u64, Packed)>> {
    let mut query = read.prepare_cached(table.of_node)?;
    let rows = query.query_map([node], |row| {
        let bytes: Vec<u8> = row.get(1)?;
        Ok((row.get(0)?, Packed::read(&bytes)))
    })?;
    rows.collect()
}

/// Notes that a node is there: in the session that it was in, or in a new one.
fn be_there(
    change: &Transaction<'_>,
    node: i64,
    began: u64,
    now: u64,
    endpoint: SocketAddr,
) -> rusqlite::Result<()> {
    // Whoever is behind a NAT has another port now and then, and is where he was.
    let text =
        "UPDATE session SET seen = ?3, endpoint = ?5 WHERE id = (SELECT max(id) FROM session WHERE node = ?1)
                AND address = ?2 AND seen <= ?3 AND seen >= ?4";
    let earliest = now.saturating_sub(SAME_SESSION);
    let (address, endpoint) = (endpoint.ip().to_string(), endpoint.to_string());
    let goes_on = change.prepare_cached(text)?.execute(params![node, address, now, earliest, endpoint])?;
    if goes_on == 0 {
        change
            .prepare_cached(
                "INSERT INTO session (node, began, seen, address, endpoint) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![node, began.min(now), now, address, endpoint])?;
        let text = "DELETE FROM session WHERE node = ?1 AND id <=
                    (SELECT id FROM session WHERE node = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
        change.prepare_cached(text)?.execute(params![node, SESSIONS])?;
    }
    Ok(())
}

/// Makes hours of minutes that are too old, and lets go of days that are.
fn forget(change: &Transaction<'_>, now: u64) -> rusqlite::Result<()> {
    let since = now.saturating_sub(MINUTES_KEPT) / HOUR;
    let old: Vec<(u64, i64, Vec<u8>)> = change
        .prepare_cached("SELECT hour, node, bytes FROM minutes WHERE hour < ?1")?
        .query_map([since], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    for (hour, node, bytes) in old {
        let (rx, tx) = Packed::read(&bytes).sum();
        add(change, &Table::HOURS, (hour / 24, node), &[((hour % 24) as u8, rx, tx)])?;
    }
    change.prepare_cached("DELETE FROM minutes WHERE hour < ?1")?.execute([since])?;
    let since = now.saturating_sub(KEPT);
    change.prepare_cached("DELETE FROM hours WHERE day < ?1")?.execute([since / DAY])?;
    change.prepare_cached("DELETE FROM session WHERE seen < ?1")?.execute([since])?;
    Ok(())
}

/// Brings a file to this version.
fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    let _: Option<String> =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).optional()?;
    connection.execute_batch(
        "PRAGMA foreign_keys = ON; PRAGMA synchronous = NORMAL; PRAGMA trusted_schema = OFF; PRAGMA secure_delete = ON;",
    )?;
    let change = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: u32 = change.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        0 => {
            change.execute_batch(include_str!("schema.sql"))?;
            change.pragma_update(None, "user_version", VERSION)?;
        }
        VERSION => {}
        newer => {
            let words = format!("a newer wgrelay wrote it (version {newer}, and this one knows {VERSION})");
            return Err(rusqlite::Error::ToSqlConversionFailure(words.into()));
        }
    }
    change.commit()
}

fn broken(what: &'static str, path: &Path) -> impl FnOnce(rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    move |error| io_error(what, &path)(std::io::Error::other(error))
}

/// Puts a database in the place of another, with mode 0600: written beside it, looked at by `check`, which closes it again, and renamed.
///
/// # Errors
/// It cannot be written, or is none.
pub fn replace_database(
    path: &Path,
    bytes: &[u8],
    check: impl FnOnce(&Path) -> rusqlite::Result<()>,
) -> Result<(), StoreError> {
    let beside = |more: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(more);
        PathBuf::from(name)
    };
    let new = beside(".new");
    let gone = |path: &Path| match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", path)(error)),
        _ => Ok(()),
    };
    gone(&new)?;
    let write = || {
        std::io::Write::write_all(
            &mut open_own(&new, std::fs::OpenOptions::new().write(true).create_new(true))?,
            bytes,
        )
        .map_err(io_error("write", &new))?;
        check(&new).map_err(broken("read", &new))?;
        // What the one before had not taken in yet is not the new one's.
        for journal in ["-wal", "-shm", ".new-wal", ".new-shm"] {
            gone(&beside(journal))?;
        }
        std::fs::rename(&new, path).map_err(io_error("write", path))
    };
    write().inspect_err(|_| drop(gone(&new)))
}
