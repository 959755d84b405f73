//! JSON that holds keys: wiped when dropped, and nowhere else meanwhile. A text that grows leaves its beginnings behind
//! unwiped, so its length is counted first.

use std::io::{self, Write};

use serde::Serialize;
use zeroize::Zeroizing;

/// Counts what is written.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Renders a value that borrows its keys from where they are wiped.
///
/// # Errors
/// The value is none of JSON.
pub fn secret_json<T: Serialize>(value: &T) -> io::Result<Zeroizing<String>> {
    let mut length = Length(0);
    serde_json::to_writer_pretty(&mut length, value).map_err(io::Error::other)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer_pretty(&mut *bytes, value).map_err(io::Error::other)?;
    String::from_utf8(std::mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|error| {
        let _wiped = Zeroizing::new(error.into_bytes());
        io::ErrorKind::InvalidData.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_grow() {
        let value = serde_json::json!({"a": "long \"text\" ".repeat(1000), "b": [1, null]});
        let text = secret_json(&value).unwrap();
        assert_eq!(text.capacity(), text.len());
        assert_eq!(*text, serde_json::to_string_pretty(&value).unwrap());
    }
}
