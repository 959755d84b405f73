//! What managers keep their clients in (wg-easy, wg-portal, WGDashboard), turned into the files that they would hand out: from there on
//! they are read as any others. Pure.

mod dashboard;
mod portal;
mod sqlite;
mod wg_easy;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use zeroize::Zeroizing;

use crate::model::{Problem, PublicKey, Timestamp, could_be_key};
use crate::wgconf::Document;
use sqlite::{Database, Row};

/// What a store holds.
#[derive(Debug, Default)]
pub struct Store {
    /// The relay's file and its clients', each with its name.
    pub files: Vec<(String, Zeroizing<String>)>,
    /// Clients that are switched off, or whose time is over.
    pub disabled: Vec<PublicKey>,
    /// When a client's time will be over.
    pub expires: Vec<(PublicKey, Timestamp)>,
    /// What the store does not tell.
    pub findings: Vec<Problem>,
}

/// Files of relays that are given beside a store, by the interface that each is called after.
pub type Relays = BTreeMap<String, Document>;

/// Says whether bytes are a manager's store, and no `.conf`.
pub fn is_store(bytes: &[u8]) -> bool {
    sqlite::is_sqlite(bytes) || bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
}

/// Reads a manager's store.
///
/// # Errors
/// It cannot be read, or is of no manager that is known.
pub fn read(name: &str, bytes: &[u8], today: &str, relays: &Relays) -> Result<Store, Problem> {
    if sqlite::is_sqlite(bytes) {
        return database(name, bytes, today, relays);
    }
    wg_easy::of_json(name, bytes, today)
}

fn database(name: &str, bytes: &[u8], today: &str, relays: &Relays) -> Result<Store, Problem> {
    let broken = || {
        let message = "it begins as an SQLite file and cannot be read as one";
        Problem::error(
            "bad-store",
            format!("{name}:1:1"),
            message,
            "take a copy while the manager is stopped",
        )
    };
    let database = Database::open(bytes).ok_or_else(broken)?;
    let has = |table: &str| database.tables().any(|t| t == table);
    let store = if has("interfaces_table") && has("clients_table") {
        wg_easy::of_database(name, &database, today)
    } else if has("interfaces") && has("peers") && has("peer_addresses") {
        portal::of_database(name, &database, today)
    } else if let Some(store) = dashboard::of_database(name, &database, relays) {
        Some(store)
    } else {
        let message =
            "it is a database of no manager that is known: wg-easy 15, wg-portal 2 and WGDashboard 4 are";
        return Err(Problem::error(
            "bad-store",
            format!("{name}:1:1"),
            message,
            "give the .conf files instead",
        ));
    };
    store.ok_or_else(broken)
}

/// A `.conf` that grows line by line; what could begin another line is left out of a value.
#[derive(Default)]
struct Conf(Zeroizing<String>);

impl Conf {
    fn section(&mut self, name: &str) {
        let _ = writeln!(*self.0, "[{name}]");
    }

    fn comment(&mut self, text: &str) {
        let _ = writeln!(*self.0, "# {}", *one_line(text));
    }

    /// Writes a key where there is a value.
    fn line(&mut self, key: &str, value: Option<&str>) {
        let value = value.map(one_line).filter(|v| !v.is_empty());
        if let Some(value) = value {
            let _ = writeln!(*self.0, "{key} = {}", *value);
        }
    }

    /// Writes hooks: a line each, as each is a command.
    fn hooks(&mut self, key: &str, text: Option<&str>) {
        for line in text.unwrap_or_default().lines() {
            self.line(key, Some(line));
        }
    }
}

fn one_line(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.replace(|c: char| c.is_control() || c == '#', " ").trim().to_owned())
}

/// A list that is stored as JSON (`["a","b"]`), or with commas, as a `.conf` has it.
fn list(text: &str) -> String {
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(list) => list.join(", "),
        Err(_) => text.to_owned(),
    }
}

/// How a client's file is called: by what its manager calls it.
fn file_name(store: &str, name: &str) -> String {
    let safe: String = one_line(name).chars().map(|c| if c == '/' { '-' } else { c }).collect();
    // It is told in messages.
    let safe = if could_be_key(&safe) { "client".to_owned() } else { safe };
    format!("{store}/{safe}.conf")
}

fn text<'r>(row: &'r Row, column: &str) -> Option<&'r str> {
    row.get(column).map(|v| v.as_str())
}

impl Store {
    /// Takes down whether a client is switched off, and until when it is good (a time as ISO 8601, or as databases write it).
    fn client(&mut self, key: &str, is_off: bool, expires: Option<&str>, today: &str) {
        let Ok(key) = key.parse() else { return };
        if is_off || is_over(None, expires, today) {
            self.disabled.push(key);
        } else if let Some(moment) = expires.and_then(moment) {
            self.expires.push((key, moment));
        }
    }
}

/// Reads `2027-02-01`, `2027-02-01T00:00:00.000Z` or `2027-02-01 00:00:00+02:00`; a fraction of a second is left out.
fn moment(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let (day, rest) = text.split_at_checked(10)?;
    let rest = rest.trim_start_matches(['T', ' ']);
    let zone = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone);
    let time = time.trim().split('.').next().unwrap_or_default();
    let time = if time.is_empty() { "00:00:00" } else { time };
    let zone = zone.split_whitespace().next().unwrap_or("Z");
    let utc = Timestamp::parse(&format!("{day}T{time}Z"))?;
    let Some(east) = zone.strip_prefix(['+', '-']) else { return Some(utc) };
    let mut digits = east.chars().filter(char::is_ascii_digit).filter_map(|c| c.to_digit(10).map(i64::from));
    let mut two = || Some(digits.next()? * 10 + digits.next()?);
    let seconds = two()? * 3600 + two().unwrap_or(0) * 60;
    let ahead = if zone.starts_with('-') { -seconds } else { seconds };
    Some(Timestamp(utc.0.checked_add_signed(-ahead)?))
}

/// Whether a client is switched off, or was good until a day before today (times as ISO 8601).
fn is_over(enabled: Option<&str>, expires: Option<&str>, today: &str) -> bool {
    enabled.is_some_and(|e| e == "0" || e == "false") || expires.is_some_and(|e| !e.is_empty() && e < today)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_as_each_manager_writes_it() {
        let utc = |text: &str| moment(text).map(|m| m.to_string());
        for (text, expected) in [
            ("2027-02-01", "2027-02-01T00:00:00Z"),
            ("2027-02-01T10:20:30.123Z", "2027-02-01T10:20:30Z"),
            ("2027-02-01 10:20:30+00:00", "2027-02-01T10:20:30Z"),
            ("2027-02-01 10:20:30.5 +0200", "2027-02-01T08:20:30Z"),
            ("2027-02-01T10:20:30-05:30", "2027-02-01T15:50:30Z"),
        ] {
            assert_eq!(utc(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "never", "2027-02-31", "2027-02-0\u{fc}", "null"] {
            assert_eq!(utc(text), None, "{text}");
        }
    }
}
