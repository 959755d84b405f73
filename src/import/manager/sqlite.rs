//! Tables of an SQLite file, read and nothing else (sqlite.org/fileformat2): what managers keep their clients in.
//!
//! A file may be made by anybody: each page is read at most once a table, every length is held against the file, and all records of a
//! table together are no longer than it.

use std::collections::{BTreeMap, HashSet};

use zeroize::Zeroizing;

/// A row: what is not null, by the column's name; numbers as they are written.
pub(super) type Row = BTreeMap<String, Zeroizing<String>>;

const MAGIC: &[u8] = b"SQLite format 3\0";
/// So many rows of a table are read at most.
const MAX_ROWS: usize = 200_000;
/// The longest record that is read, in bytes.
const MAX_RECORD: usize = 1 << 20;
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
}

/// A table: where it begins, and its columns.
struct Table {
    root: usize,
    columns: Vec<String>,
}

impl<'b> Database<'b> {
    /// Reads the header; `None`: it is no such file, or a text in it is not UTF-8.
    pub(super) fn open(bytes: &'b [u8]) -> Option<Self> {
        let page = match u16::from_be_bytes(bytes.get(16..18)?.try_into().ok()?) {
            1 => 65_536,
            size => usize::from(size),
        };
        let usable = page.checked_sub(usize::from(*bytes.get(20)?))?;
        let is_utf8 = bytes.get(56..60)? == [0, 0, 0, 1];
        (is_sqlite(bytes)
            && page.is_power_of_two()
            && (512..=65_536).contains(&page)
            && usable >= 480
            && is_utf8)
            .then_some(Self { bytes, page, usable })
    }

    /// Names of all tables.
    pub(super) fn tables(&self) -> Option<Vec<String>> {
        let rows = self.master()?;
        let is_table = |row: &Row| row.get("type").is_some_and(|t| t.as_str() == "table");
        Some(rows.iter().filter(|r| is_table(r)).filter_map(|r| Some(r.get("name")?.to_string())).collect())
    }

    /// Rows of a table; `None`: there is none, or the file is broken.
    pub(super) fn rows(&self, name: &str) -> Option<Vec<Row>> {
        let rows = self.master()?;
        let is_it = |r: &&Row| {
            r.get("type").is_some_and(|t| t.as_str() == "table")
                && r.get("name").is_some_and(|n| n.as_str() == name)
        };
        let found = rows.iter().find(is_it)?;
        let root = found.get("rootpage")?.parse().ok()?;
        self.read(&Table { root, columns: columns(found.get("sql")?) })
    }

    fn master(&self) -> Option<Vec<Row>> {
        let columns = ["type", "name", "tbl_name", "rootpage", "sql"].map(str::to_owned).to_vec();
        self.read(&Table { root: 1, columns })
    }

    fn page(&self, number: usize) -> Option<&'b [u8]> {
        let from = number.checked_sub(1)?.checked_mul(self.page)?;
        self.bytes.get(from..from.checked_add(self.page)?)
    }

    fn read(&self, table: &Table) -> Option<Vec<Row>> {
        let (mut seen, mut rows, mut waiting) = (HashSet::new(), Vec::new(), vec![table.root]);
        // In a file that SQLite wrote each byte is of one record: what says more shares them, to become large in memory.
        let mut left = self.bytes.len();
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
                        rows.push(self.row(table, page, at(i)?, &mut left)?);
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

    fn row(&self, table: &Table, page: &[u8], at: usize, left: &mut usize) -> Option<Row> {
        let (length, at) = varint(page, at)?;
        let (rowid, at) = varint(page, at)?;
        let length = usize::try_from(length).ok().filter(|n| *n <= MAX_RECORD)?;
        *left = left.checked_sub(length)?;
        let record = self.payload(page, at, length)?;
        let (header, mut at) = varint(&record, 0)?;
        let mut body = usize::try_from(header).ok()?;
        let end = body;
        let mut row = Row::new();
        for column in &table.columns {
            if at >= end {
                break;
            }
            let (kind, next) = varint(&record, at)?;
            at = next;
            let (value, size) = value(&record, body, kind)?;
            body += size;
            // A column that is the row's own number is stored as none.
            let value =
                value.or_else(|| (column == "id" && kind == 0).then(|| Zeroizing::new(rowid.to_string())));
            if let Some(value) = value {
                row.insert(column.clone(), value);
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

/// The names of a table's columns, from the sentence that made it.
fn columns(sql: &str) -> Vec<String> {
    let Some((_, inner)) = sql.split_once('(') else { return Vec::new() };
    let (mut depth, mut start, mut parts) = (0usize, 0, Vec::new());
    for (i, c) in inner.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => {
                parts.push(&inner[start..i]);
                break;
            }
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    let is_rule = |word: &str| {
        ["PRIMARY", "FOREIGN", "UNIQUE", "CHECK", "CONSTRAINT"]
            .iter()
            .any(|rule| rule.eq_ignore_ascii_case(word))
    };
    let name = |part: &&str| part.split_whitespace().next().unwrap_or_default().to_owned();
    let bare = |word: String| word.trim_matches(['`', '"', '\'', '[', ']']).to_owned();
    parts.iter().map(name).filter(|word| !is_rule(word)).map(bare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_by_their_sentence() {
        let sql = "CREATE TABLE `t` (\n\t`id` integer PRIMARY KEY DEFAULT (1, 2) NOT NULL,\n\"name\" text, plain VARCHAR NULL, PRIMARY KEY (id), FOREIGN KEY (`x`) REFERENCES y(z))";
        assert_eq!(columns(sql), ["id", "name", "plain"]);
        assert!(columns("CREATE").is_empty());
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
        let read = |file: &[u8]| Some(Database::open(file)?.master()?.len());
        assert_eq!(read(&shared_record(5)), Some(5));
        assert_eq!(read(&shared_record(6)), None);
    }

    #[test]
    fn numbers_of_any_length() {
        assert_eq!(varint(&[0x81, 0x00], 0), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9], 0), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0x80], 0), None);
        assert_eq!(value(&[0xff, 0xfe], 0, 2).unwrap().0.unwrap().as_str(), "-2");
    }
}
