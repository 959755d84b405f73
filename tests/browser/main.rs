//! The running page in Chromium, beside a network of namespaces: tours of `scripts/browser`, and what hosts and packets say of them.
#![expect(clippy::disallowed_methods, reason = "tests make namespaces, files, sockets and processes")]

#[path = "../rig/mod.rs"]
#[expect(dead_code, reason = "the rig has more than these tests need")]
mod rig;
mod tours;
