//! Text that holds keys: measured first and then written into its final place, so that no outgrown copy stays in memory.

use std::fmt::{self, Write};

use zeroize::Zeroizing;

struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// Runs a writer twice: to count, and to write.
pub(super) fn wiped(write: impl Fn(&mut dyn Write) -> fmt::Result) -> Zeroizing<String> {
    let mut length = Length(0);
    write(&mut length).expect("counting does not fail");
    let mut text = Zeroizing::new(String::with_capacity(length.0));
    write(&mut *text).expect("a String takes everything");
    text
}
