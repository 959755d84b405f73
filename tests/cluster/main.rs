//! Relays that share a store: three real members of etcd, each in a namespace of its own, and three relays beside them.
#![expect(clippy::disallowed_methods, reason = "tests make namespaces, files and processes")]

mod believed;
mod carried;
mod edits;
mod failures;
mod faults;
mod floating;
mod page;
#[path = "../rig/mod.rs"]
#[expect(dead_code, reason = "the rig serves other tests as well")]
mod rig;
mod signing_in;
mod stage;
