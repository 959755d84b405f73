//! The bytes of a file as text: UTF-8, UTF-16 as Windows' Notepad once saved it, or whatever else, read as Latin-1.

use zeroize::Zeroizing;

use super::Client;
use super::scan::BYTE_ORDER_MARK;
use crate::model::Problem;

/// How a file's bytes were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As nearly every file is.
    Utf8,
    /// Two bytes a character, in either order, with a byte order mark or without.
    Utf16,
    /// Each byte a character: no byte is wrong in it.
    Latin1,
}

/// A file's text, wiped when dropped.
#[derive(Debug)]
pub struct Decoded {
    /// The text; of UTF-16, without its byte order mark.
    pub text: Zeroizing<String>,
    /// How it was read.
    pub encoding: Encoding,
    /// Whether a byte order mark of UTF-16 stood in front.
    has_mark: bool,
}

/// Reads bytes as text; there are none that cannot be.
pub fn decode(bytes: &[u8]) -> Decoded {
    if let Some(units) = utf16(bytes) {
        // Two bytes become three at most; a text that grows would leave a copy of a key behind.
        let mut text = Zeroizing::new(String::with_capacity(bytes.len() / 2 * 3));
        let chars = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
        text.extend(chars.enumerate().filter(|(i, c)| *i > 0 || *c != BYTE_ORDER_MARK).map(|(_, c)| c));
        let has_mark = matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
        return Decoded { text, encoding: Encoding::Utf16, has_mark };
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Decoded { text: Zeroizing::new(text.to_owned()), encoding: Encoding::Utf8, has_mark: false };
    }
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
    text.extend(bytes.iter().map(|b| char::from(*b)));
    Decoded { text, encoding: Encoding::Latin1, has_mark: false }
}

/// The units of UTF-16: by its byte order mark, else by a first character of which one byte is zero.
fn utf16(bytes: &[u8]) -> Option<impl Iterator<Item = u16>> {
    let little = match *bytes.first_chunk()? {
        [0xff, 0xfe] => true,
        [0xfe, 0xff] => false,
        [first, second] if (first == 0) != (second == 0) => second == 0,
        _ => return None,
    };
    let unit =
        move |pair: &[u8; 2]| if little { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) };
    bytes.len().is_multiple_of(2).then(|| bytes.as_chunks().0.iter().map(unit))
}

impl Decoded {
    /// The warning of a reader that is no client in particular; `None`: it is UTF-8.
    pub fn warning(&self, file: &str) -> Option<Problem> {
        let told = |message: &str| {
            Some(Problem::warning("not-utf-8", format!("{file}:1:1"), message, "save it as UTF-8"))
        };
        match self.encoding {
            Encoding::Utf8 => None,
            Encoding::Utf16 => told("the file is UTF-16, which WireGuard for Windows alone reads"),
            Encoding::Latin1 => told("the file is not UTF-8; it is read as Latin-1"),
        }
    }

    /// Tells what a client makes of the bytes: of the text in it, [`super::lint`], and of how it is written.
    pub fn lint(&self, file: &str, client: Client) -> Vec<Problem> {
        let refused = |message: String| {
            vec![Problem::error("not-text", format!("{file}:1:1"), message, "save it as UTF-8")]
        };
        match (self.encoding, client) {
            // Bash leaves zero bytes out of what it reads, wherever they stand.
            (Encoding::Utf8, Client::WgQuick) if self.text.contains('\0') => {
                let problem = Problem::warning(
                    "zero-byte",
                    format!("{file}:1:1"),
                    "there are zero bytes in the file, which wg-quick alone leaves out",
                    "save it without them",
                );
                let text = Zeroizing::new(self.text.replace('\0', ""));
                std::iter::once(problem).chain(super::lint(&text, file, client)).collect()
            }
            (Encoding::Utf8, _) => super::lint(&self.text, file, client),
            (Encoding::Utf16, Client::Windows) => {
                self.warning(file).into_iter().chain(super::lint(&self.text, file, client)).collect()
            }
            // Bash leaves zero bytes out of what it reads, so ASCII without a mark in front comes through whole.
            (Encoding::Utf16, Client::WgQuick) if !self.has_mark => {
                self.warning(file).into_iter().chain(super::lint(&self.marked(), file, client)).collect()
            }
            (Encoding::Utf16, _) => refused(format!("the file is UTF-16, and {client} reads UTF-8")),
            (Encoding::Latin1, Client::Apple) => {
                refused(format!("the file is not UTF-8, and {client} reads nothing else"))
            }
            // The others look at bytes, or put a mark where one is wrong: neither is white space, nor a part of a value.
            (Encoding::Latin1, _) => {
                self.warning(file).into_iter().chain(super::lint(&self.marked(), file, client)).collect()
            }
        }
    }

    /// The text with something in place of each character that is not ASCII.
    fn marked(&self) -> Zeroizing<String> {
        let mut marked = Zeroizing::new(String::with_capacity(self.text.len() * 2));
        marked.extend(self.text.chars().map(|c| if c.is_ascii() { c } else { char::REPLACEMENT_CHARACTER }));
        marked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (String, Encoding) {
        let decoded = decode(bytes);
        (decoded.text.to_string(), decoded.encoding)
    }

    #[test]
    fn every_file_is_read() {
        assert_eq!(read("# Gäste".as_bytes()), ("# Gäste".into(), Encoding::Utf8));
        assert_eq!(read(b"# G\xe4ste"), ("# Gäste".into(), Encoding::Latin1));
        for bytes in [&b"\xff\xfe#\0\xe4\0"[..], b"#\0\xe4\0", b"\xfe\xff\0#\0\xe4", b"\0#\0\xe4"] {
            assert_eq!(read(bytes), ("#ä".into(), Encoding::Utf16), "{bytes:?}");
        }
        assert_eq!(read(b""), (String::new(), Encoding::Utf8));
        assert_eq!(read(b"\0"), ("\0".into(), Encoding::Utf8));
        assert_eq!(read(b"\xff\xfe\x00\xd8"), ("\u{fffd}".into(), Encoding::Utf16));
    }
}
