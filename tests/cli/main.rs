//! The command line held to its word: exit codes, one clear message per fault with its place, and nothing changed.
#![expect(clippy::disallowed_methods, reason = "tests run the program on files")]

mod answers;
mod bad_files;
mod bad_places;
mod engine;
mod findings;
mod foreign_places;
mod history;
mod keys_stay;
mod log;
mod mending;
#[path = "../rig/need.rs"]
#[expect(dead_code, reason = "the tests in namespaces need more")]
mod need;
mod progress;
mod promises;
mod relays;
mod sandbox;
mod together;
mod warnings;
