//! Tables of an SQLite file, read and nothing else (sqlite.org/fileformat2): what managers keep their clients in.
//!
//! A file may be made by anybody: each page is read at most once a table, every length is held against the file, and what comes of a
//! table is no more than some times it. A sentence that makes a table and is not understood whole makes the file unreadable: a column
//! mistaken for another may be the one that says who is switched off.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use zeroize::Zeroizing;

/// A row: what is not null, by the column's name; numbers as they are written.
pub(super) type Row = BTreeMap<Rc<str>, Zeroizing<String>>;

const MAGIC: &[u8] = b"SQLite format 3\0";
/// So many rows of a table are read at most.
const MAX_ROWS: usize = 200_000;
/// The longest record that is read, in bytes.
const MAX_RECORD: usize = 1 << 20;
/// So many tables a file has at most, so many columns a table, and so many bytes the name of either.
const MAX_TABLES: usize = 1_000;
const MAX_COLUMNS: usize = 200;
const MAX_NAME: usize = 128;
/// What a value costs beside its bytes, and how many times the size of a file its values may cost.
const COST: usize = 64;
const TIMES: usize = 16;
const LEAF: u8 = 0x0d;
const INTERIOR: u8 = 0x05;

/// Says whether bytes begin as such a file does.
pub(super) fn is_sqlite(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// A file.
pub(super) struct Database<'b> {
    bytes: &'b [u8],
    page: usize,
    /// A page without what is reserved at its end.
    usable: usize,
    /// Its tables by name: where each begins, and the sentence that made it.
    tables: BTreeMap<String, (usize, String)>,
}

/// A column: its name, and what a row has that was made before it; `None`: that cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    name: Rc<str>,
    default: Option<Option<String>>,
}

impl Column {
    fn plain(name: &str) -> Self {
        Self { name: name.into(), default: Some(None) }
    }
}

impl<'b> Database<'b> {
    /// Reads the header and the table of tables; `None`: it is no such file, or a text in it is not UTF-8.
    pub(super) fn open(bytes: &'b [u8]) -> Option<Self> {
        let page = match u16::from_be_bytes(bytes.get(16..18)?.try_into().ok()?) {
            1 => 65_536,
            size => usize::from(size),
        };
        let usable = page.checked_sub(usize::from(*bytes.get(20)?))?;
        let is_utf8 = bytes.get(56..60)? == [0, 0, 0, 1];
        let is_one = is_sqlite(bytes)
            && page.is_power_of_two()
            && (512..=65_536).contains(&page)
            && usable >= 480
            && is_utf8;
        let mut this = is_one.then_some(Self { bytes, page, usable, tables: BTreeMap::new() })?;
        for row in this.read(1, &["type", "name", "tbl_name", "rootpage", "sql"].map(Column::plain))? {
            if row.get("type").is_none_or(|t| t.as_str() != "table") {
                continue;
            }
            let (name, root) = (row.get("name")?.to_string(), row.get("rootpage")?.parse().ok()?);
            this.tables.insert(name, (root, row.get("sql")?.to_string()));
            if this.tables.len() > MAX_TABLES {
                return None;
            }
        }
        Some(this)
    }

    /// Names of all tables.
    pub(super) fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    /// Rows of a table; `None`: there is none, or the file is broken.
    pub(super) fn rows(&self, name: &str) -> Option<Vec<Row>> {
        let (root, sql) = self.tables.get(name)?;
        self.read(*root, &columns(sql)?)
    }

    fn page(&self, number: usize) -> Option<&'b [u8]> {
        let from = number.checked_sub(1)?.checked_mul(self.page)?;
        self.bytes.get(from..from.checked_add(self.page)?)
    }

    fn read(&self, root: usize, columns: &[Column]) -> Option<Vec<Row>> {
        let (mut seen, mut rows, mut waiting) = (HashSet::new(), Vec::new(), vec![root]);
        // In a file that SQLite wrote each byte is of one record: what shares them does so to become large in memory.
        let mut left = self.bytes.len().saturating_mul(TIMES);
        while let Some(number) = waiting.pop() {
            if !seen.insert(number) {
                return None;
            }
            let page = self.page(number)?;
            let head = if number == 1 { 100 } else { 0 };
            let kind = *page.get(head)?;
            let cells = usize::from(u16_at(page, head + 3)?);
            let first = head + if kind == INTERIOR { 12 } else { 8 };
            let at = |i: usize| u16_at(page, first + 2 * i).map(usize::from);
            match kind {
                LEAF => {
                    for i in 0..cells {
                        rows.push(self.row(columns, page, at(i)?, &mut left)?);
                        if rows.len() > MAX_ROWS {
                            return None;
                        }
                    }
                }
                INTERIOR => {
                    // The last first, so that the first is read first.
                    waiting.push(u32_at(page, head + 8)?);
                    for i in (0..cells).rev() {
                        waiting.push(u32_at(page, at(i)?)?);
                    }
                }
                _ => return None,
            }
        }
        Some(rows)
    }

    fn row(&self, columns: &[Column], page: &[u8], at: usize, left: &mut usize) -> Option<Row> {
        let (length, at) = varint(page, at)?;
        let (rowid, at) = varint(page, at)?;
        let length = usize::try_from(length).ok().filter(|n| *n <= MAX_RECORD)?;
        *left = left.checked_sub(length.saturating_add(COST))?;
        let record = self.payload(page, at, length)?;
        let (header, mut at) = varint(&record, 0)?;
        let mut body = usize::try_from(header).ok()?;
        let end = body;
        let mut row = Row::new();
        for column in columns {
            let value = if at >= end {
                // The row is older than the column.
                column.default.clone()?.map(Zeroizing::new)
            } else {
                let (kind, next) = varint(&record, at)?;
                at = next;
                let (value, size) = value(&record, body, kind)?;
                body = body.checked_add(size)?;
                // A column that is the row's own number is stored as none.
                let is_number = &*column.name == "id" && kind == 0;
                value.or_else(|| is_number.then(|| Zeroizing::new(rowid.to_string())))
            };
            if let Some(value) = value {
                *left = left.checked_sub(COST + value.len())?;
                row.insert(Rc::clone(&column.name), value);
            }
        }
        Some(row)
    }

    /// A record, whose end may be on pages of its own.
    fn payload(&self, page: &[u8], at: usize, length: usize) -> Option<Zeroizing<Vec<u8>>> {
        let most = self.usable - 35;
        let local = if length <= most {
            length
        } else {
            let least = (self.usable - 12) * 32 / 255 - 23;
            let wanted = least + (length - least) % (self.usable - 4);
            if wanted <= most { wanted } else { least }
        };
        let mut record = Zeroizing::new(Vec::with_capacity(length));
        record.extend_from_slice(page.get(at..at.checked_add(local)?)?);
        let mut next = if local < length { u32_at(page, at + local)? } else { 0 };
        while record.len() < length {
            let page = self.page(next)?;
            let part = (length - record.len()).min(self.usable - 4);
            record.extend_from_slice(page.get(4..4 + part)?);
            next = u32_at(page, 0)?;
        }
        Some(record)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?)).ok()
}

/// A number of one to nine bytes, and where it ends.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut number = 0u64;
    for i in 0..9 {
        let byte = *bytes.get(at.checked_add(i)?)?;
        if i == 8 {
            return Some((number << 8 | u64::from(byte), at + 9));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, at + i + 1));
        }
    }
    None
}

/// A value by its serial type, and how many bytes it takes; null, fractions and bytes are none.
fn value(record: &[u8], at: usize, kind: u64) -> Option<(Option<Zeroizing<String>>, usize)> {
    let number = |size: usize| -> Option<(Option<Zeroizing<String>>, usize)> {
        let bytes = record.get(at..at.checked_add(size)?)?;
        let mut number = if bytes[0] & 0x80 == 0 { 0i64 } else { -1 };
        for byte in bytes {
            number = number << 8 | i64::from(*byte);
        }
        Some((Some(Zeroizing::new(number.to_string())), size))
    };
    match kind {
        0 => Some((None, 0)),
        1..=4 => number(usize::try_from(kind).ok()?),
        5 => number(6),
        6 => number(8),
        7 => Some((None, 8)),
        8 | 9 => Some((Some(Zeroizing::new((kind - 8).to_string())), 0)),
        10 | 11 => None,
        _ => {
            let size = usize::try_from((kind - 12) / 2).ok()?;
            let bytes = record.get(at..at.checked_add(size)?)?;
            let text = (kind % 2 == 1)
                .then(|| std::str::from_utf8(bytes).ok().map(|t| Zeroizing::new(t.to_owned())));
            Some((text.flatten(), size))
        }
    }
}

/// A table's columns, from the sentence that made it; `None`: not all of it is understood.
fn columns(sql: &str) -> Option<Vec<Column>> {
    let (_, inner) = sql.split_once('(')?;
    let (mut depth, mut start, mut parts, mut quote) = (0usize, 0, Vec::new(), None);
    let mut is_closed = false;
    for (i, c) in inner.char_indices() {
        match (quote, c) {
            // A quote that is doubled ends one text and begins the next.
            (Some(end), c) if c == end => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"' | '`') => quote = Some(c),
            (None, '[') => quote = Some(']'),
            (None, '-') if inner[i..].starts_with("--") => return None,
            (None, '/') if inner[i..].starts_with("/*") => return None,
            (None, '(') => depth += 1,
            (None, ')') if depth == 0 => {
                parts.push(inner[start..i].trim());
                is_closed = true;
                break;
            }
            (None, ')') => depth -= 1,
            (None, ',') if depth == 0 => {
                parts.push(inner[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    let is_rule = |part: &&str| {
        let first = part.split(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
        ["PRIMARY", "FOREIGN", "UNIQUE", "CHECK", "CONSTRAINT"]
            .iter()
            .any(|rule| rule.eq_ignore_ascii_case(first))
    };
    let found: Option<Vec<Column>> = parts.iter().filter(|p| !is_rule(p)).map(|p| column(p)).collect();
    found.filter(|all| is_closed && all.len() <= MAX_COLUMNS)
}

/// A column from its part of the sentence.
fn column(part: &str) -> Option<Column> {
    let (name, rest) = match part.chars().next()? {
        open @ ('"' | '`' | '[' | '\'') => {
            let end = if open == '[' { ']' } else { open };
            part[1..].split_once(end)?
        }
        _ => part.split_once(char::is_whitespace).unwrap_or((part, "")),
    };
    let rest = rest.trim();
    let words = rest.to_ascii_lowercase();
    let has = |word: &str| words.split(|c: char| !c.is_ascii_alphanumeric()).any(|w| w == word);
    // Such a column is computed, and stored or not.
    if has("generated") || has("as") || name.is_empty() || name.len() > MAX_NAME {
        return None;
    }
    let default = match words.find("default") {
        None => Some(None),
        Some(at) => literal(rest[at + "default".len()..].trim_start()),
    };
    Some(Column { name: name.into(), default })
}

/// A value as a sentence has it; `None`: it is computed.
fn literal(text: &str) -> Option<Option<String>> {
    if let Some(rest) = text.strip_prefix('\'') {
        let (value, behind) = rest.split_once('\'')?;
        return (!behind.starts_with('\'')).then(|| Some(value.to_owned()));
    }
    let word = text.split_whitespace().next().unwrap_or_default();
    match word.to_ascii_lowercase().as_str() {
        "null" => Some(None),
        "true" => Some(Some("1".into())),
        "false" => Some(Some("0".into())),
        number => number.parse::<i64>().ok().map(|n| Some(n.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sql: &str) -> Option<Vec<String>> {
        Some(columns(sql)?.iter().map(|c| c.name.to_string()).collect())
    }

    #[test]
    fn columns_by_their_sentence() {
        let sql = "CREATE TABLE `t` (\n\t`id` integer PRIMARY KEY DEFAULT (1, 2) NOT NULL,\n\"name\" text, plain VARCHAR NULL, PRIMARY KEY(id), FOREIGN KEY (`x`) REFERENCES y(z))";
        assert_eq!(names(sql).unwrap(), ["id", "name", "plain"]);
        let quoted = "CREATE TABLE t (a TEXT DEFAULT 'x, y)', [b c] INTEGER, \"d,e\" TEXT)";
        assert_eq!(names(quoted).unwrap(), ["a", "b c", "d,e"]);
        for unclear in [
            "CREATE",
            "CREATE TABLE t (a, b",
            "CREATE TABLE t (note TEXT /* x, y */, enabled INTEGER)",
            "CREATE TABLE t (a TEXT, -- one, two\n b)",
            "CREATE TABLE t (a INTEGER, b INTEGER GENERATED ALWAYS AS (a) VIRTUAL)",
            "CREATE TABLE t (a INTEGER, b AS (a))",
            "CREATE TABLE t (a TEXT DEFAULT 'x)",
        ] {
            assert_eq!(names(unclear), None, "{unclear}");
        }
        assert_eq!(names(&format!("CREATE TABLE t ({})", "c".repeat(MAX_NAME + 1))), None);
    }

    #[test]
    fn rows_older_than_a_column_have_its_default() {
        let sql = "CREATE TABLE t (a, b INTEGER DEFAULT 0 NOT NULL, c TEXT DEFAULT 'no', d DEFAULT (random()), e DEFAULT NULL)";
        let defaults: Vec<Option<Option<String>>> =
            columns(sql).unwrap().into_iter().map(|c| c.default).collect();
        let text = |t: &str| Some(Some(t.to_owned()));
        assert_eq!(defaults, [Some(None), text("0"), text("no"), None, Some(None)]);
    }

    /// A file of one page, whose table of tables has so many rows, all of them the same record.
    fn shared_record(rows: u16) -> Vec<u8> {
        let mut file = vec![0; 512];
        file[..16].copy_from_slice(MAGIC);
        file[16..18].copy_from_slice(&512u16.to_be_bytes());
        file[59] = 1;
        file[100] = LEAF;
        file[103..105].copy_from_slice(&rows.to_be_bytes());
        for i in 0..usize::from(rows) {
            file[108 + 2 * i..110 + 2 * i].copy_from_slice(&300u16.to_be_bytes());
        }
        // Length 100, row 1, a header of two bytes, and a text of 43.
        file[300..304].copy_from_slice(&[100, 1, 2, 99]);
        file[304..347].fill(b'x');
        file
    }

    #[test]
    fn records_that_are_shared_do_not_multiply() {
        let columns = ["type", "name"].map(Column::plain);
        let read = |rows: u16| {
            let file = shared_record(rows);
            let database = Database { bytes: &file, page: 512, usable: 512, tables: BTreeMap::new() };
            Some(database.read(1, &columns)?.len())
        };
        assert_eq!(read(20), Some(20));
        assert_eq!(read(40), None);
    }

    #[test]
    fn lengths_that_overflow_are_broken() {
        let mut file = shared_record(1);
        file[300] = 12;
        file[302..314].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 7, 7, 7]);
        assert!(Database::open(&file).is_none());
    }

    #[test]
    fn numbers_of_any_length() {
        assert_eq!(varint(&[0x81, 0x00], 0), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9], 0), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0x80], 0), None);
        assert_eq!(value(&[0xff, 0xfe], 0, 2).unwrap().0.unwrap().as_str(), "-2");
    }
}
