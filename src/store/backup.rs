//! A network in one file, keys included: what `backup` writes and `restore` reads. It is checked whole before a byte of it
//! is used.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::part::{Contents, Digest, Digests, Part};

/// A database that goes with the network, as its own file would be.
#[derive(Clone, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub kind: Kind,
    /// Its bytes.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// What there is besides the network's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Users, tokens and the audit of the page.
    Web,
    /// The history of traffic.
    Traffic,
}

/// A backup that was read, and found whole.
pub struct Backup {
    /// Whose it is.
    pub network: String,
    /// The network's files.
    pub contents: Contents,
    /// What goes with them.
    pub databases: Vec<Held>,
}

/// What the first key of such a file says.
const KIND: &str = "wgrelay backup";
const FORMAT: u32 = 1;
const CHANGED: &str = "it was changed since it was written, or is not all there";

#[derive(Serialize, Deserialize)]
struct Written {
    kind: String,
    format: u32,
    network: String,
    /// When, in Unix seconds.
    made: u64,
    /// The files' texts, by part.
    files: Vec<(Part, String)>,
    /// What they have to be.
    digests: Digests,
    /// What goes with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    databases: Vec<WrittenDatabase>,
}

#[derive(Serialize, Deserialize)]
struct WrittenDatabase {
    kind: Kind,
    digest: Digest,
    /// As base64.
    content: String,
}

impl Drop for Written {
    fn drop(&mut self) {
        self.files.iter_mut().for_each(|(_, text)| text.zeroize());
        self.databases.iter_mut().for_each(|database| database.content.zeroize());
    }
}

/// Returns the file of a backup.
///
/// # Errors
/// A file of the network is no text.
pub fn render(
    network: &str,
    made: u64,
    contents: &Contents,
    databases: &[Held],
) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut files = Vec::new();
    for part in Part::ALL {
        let Some(bytes) = contents.get(part) else { continue };
        let text = std::str::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", part.file_name()))?;
        files.push((part, text.to_owned()));
    }
    let (kind, network, digests) = (KIND.into(), network.into(), contents.digests());
    let databases = databases.iter().map(|held| WrittenDatabase {
        kind: held.kind,
        digest: Digest::of(&held.bytes),
        content: STANDARD.encode(&held.bytes),
    });
    let databases: Vec<WrittenDatabase> = databases.collect();
    let written = Written { kind, format: FORMAT, network, made, files, digests, databases };
    // As long as it can become, so that nothing is left behind where a buffer grew.
    let room = written.files.iter().map(|(_, text)| text.len() * 2).sum::<usize>()
        + written.databases.iter().map(|database| database.content.len() + 256).sum::<usize>()
        + 4096;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer_pretty(&mut *bytes, &written).map_err(|e| e.to_string())?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads the file of a backup: whose network, and what is in it.
///
/// # Errors
/// It is none, of a later version, or not whole.
pub fn parse(text: &str) -> Result<Backup, String> {
    // An editor that saves it, as Windows' own, may put a byte order mark before what is all there.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // What is wrong is told without a word of it: it is full of keys.
    let written: Written = serde_json::from_str(text)
        .map_err(|e| format!("it is no backup of wgrelay, or not all of it (line {})", e.line()))?;
    if written.kind != KIND {
        return Err("it is no backup of wgrelay".into());
    }
    if written.format != FORMAT {
        return Err(format!("it is a backup of format {}, which a later wgrelay reads", written.format));
    }
    let mut contents = Contents::default();
    for (part, text) in &written.files {
        contents.put(*part, Some(Zeroizing::new(text.clone().into_bytes())));
    }
    if contents.network.is_none() || contents.digests() != written.digests {
        return Err(CHANGED.into());
    }
    let mut databases = Vec::new();
    for database in &written.databases {
        let bytes = STANDARD.decode(&database.content).map(Zeroizing::new).map_err(|_| CHANGED)?;
        if Digest::of(&bytes) != database.digest {
            return Err(CHANGED.into());
        }
        databases.push(Held { kind: database.kind, bytes });
    }
    Ok(Backup { network: written.network.clone(), contents, databases })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_comes_back_whole_or_not_at_all() {
        let contents = Contents::new("format = 1 # \"é\"\r\n".as_bytes(), Some(b"[private_keys]\n"));
        let held = [Held { kind: Kind::Web, bytes: Zeroizing::new(b"SQLite\xff".to_vec()) }];
        let bytes = render("wg0", 7, &contents, &held).unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        for text in [text, &format!("\u{feff}{text}")] {
            let read = parse(text).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!((read.network.as_str(), &read.contents), ("wg0", &contents));
            assert!(read.databases == held);
        }
        let refused = |text: &str| parse(text).err();
        let other = STANDARD.encode(b"SQLite\xfe");
        assert!(refused(&text.replace(&STANDARD.encode(&held[0].bytes), &other)).is_some());
        // What an older one wrote.
        let older = render("wg0", 7, &contents, &[]).unwrap();
        assert!(parse(std::str::from_utf8(&older).unwrap()).is_ok_and(|read| read.databases.is_empty()));
        // Cut anywhere, or with another letter anywhere in the files, it is none.
        for end in (0..text.len() - 1).filter(|end| text.is_char_boundary(*end)) {
            if !text[end..].trim().is_empty() {
                assert!(parse(&text[..end]).is_err(), "cut at {end}");
            }
        }
        assert!(parse(&text.replace("private_keys", "private_kezs")).is_err());
        assert!(parse(&text.replace("format = 1", "format = 2")).is_err());
        assert!(refused(&text.replace("\"format\": 1", "\"format\": 2")).unwrap().contains("later"));
        assert!(render("wg0", 7, &Contents::new(b"\xff", None), &[]).is_err());
    }
}
