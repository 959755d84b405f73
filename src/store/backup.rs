//! A network in one file, keys included: what `backup` writes and `restore` reads. It is checked whole before a byte of it
//! is used.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::part::{Contents, Digests, Part};

/// What the first key of such a file says.
const KIND: &str = "wgrelay backup";
const FORMAT: u32 = 1;

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
}

impl Drop for Written {
    fn drop(&mut self) {
        self.files.iter_mut().for_each(|(_, text)| text.zeroize());
    }
}

/// Returns the file of a backup.
///
/// # Errors
/// A file of the network is no text.
pub fn render(network: &str, made: u64, contents: &Contents) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut files = Vec::new();
    for part in Part::ALL {
        let Some(bytes) = contents.get(part) else { continue };
        let text = std::str::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", part.file_name()))?;
        files.push((part, text.to_owned()));
    }
    let (kind, network, digests) = (KIND.into(), network.into(), contents.digests());
    let written = Written { kind, format: FORMAT, network, made, files, digests };
    // As long as it can become, so that nothing is left behind where a buffer grew.
    let room = written.files.iter().map(|(_, text)| text.len() * 2).sum::<usize>() + 4096;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer_pretty(&mut *bytes, &written).map_err(|e| e.to_string())?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads the file of a backup: whose network, and what is in it.
///
/// # Errors
/// It is none, of a later version, or not whole.
pub fn parse(text: &str) -> Result<(String, Contents), String> {
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
        return Err("it was changed since it was written, or is not all there".into());
    }
    Ok((written.network.clone(), contents))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_comes_back_whole_or_not_at_all() {
        let contents = Contents::new("format = 1 # \"é\"\r\n".as_bytes(), Some(b"[private_keys]\n"));
        let bytes = render("wg0", 7, &contents).unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(parse(text), Ok(("wg0".to_owned(), contents)));
        assert_eq!(parse(&format!("\u{feff}{text}")), parse(text));
        // Cut anywhere, or with another letter anywhere in the files, it is none.
        for end in (0..text.len() - 1).filter(|end| text.is_char_boundary(*end)) {
            if !text[end..].trim().is_empty() {
                assert!(parse(&text[..end]).is_err(), "cut at {end}");
            }
        }
        assert!(parse(&text.replace("private_keys", "private_kezs")).is_err());
        assert!(parse(&text.replace("format = 1", "format = 2")).is_err());
        assert!(parse(&text.replace("\"format\": 1", "\"format\": 2")).unwrap_err().contains("later"));
        assert!(render("wg0", 7, &Contents::new(b"\xff", None)).is_err());
    }
}
