//! wgrelay in a clean Debian: as one static file, as a package, and as a service of a real systemd over a restart.
#![expect(clippy::disallowed_methods, reason = "tests make folders, files and processes")]

#[path = "../rig/need.rs"]
#[expect(dead_code, reason = "what namespaces take is for other tests")]
mod need;
mod package;
mod service;
mod taken_over;
mod tree;
