//! WireGuard `.conf` text, as `wg(8)` and `wg-quick(8)` define it and as each client reads it.
//!
//! A [`Document`] is what the text means; [`render`] writes one, [`parse`] and [`read`] read one and tell every fault
//! at once, [`lint`] reads a text with the eyes of one [`Client`]. Pure: no name is resolved here.

mod c_library;
mod client;
mod document;
mod encoding;
mod grammar;
mod key;
mod lint;
mod parse;
mod render;
mod scan;
pub mod script;
mod value;
mod walk;

pub use client::{Client, ClientError, HookRepeats, Rules};
pub use document::{Dns, DnsError, Document, Hook, HookError, Interface, Peer, Table};
pub use encoding::{Decoded, Encoding, decode};
pub use key::{Key, Section};
pub use lint::{lint, lint_name, rejected_keys};
pub use parse::{KeyPlace, Reading, parse, read};
pub use render::{Comments, render};
