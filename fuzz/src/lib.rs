//! The program's modules that read bytes from outside, as they are, built for fuzzing.

#![allow(dead_code, missing_docs, reason = "a part of the whole, for fuzzers alone")]

#[path = "../../src/wgconf/mod.rs"]
pub mod wgconf;
#[path = "../../src/config/mod.rs"]
pub mod config;
#[path = "../../src/dataplane/mod.rs"]
pub mod dataplane;
#[path = "../../src/model/mod.rs"]
pub mod model;
#[path = "../../src/firewall/mod.rs"]
pub mod firewall;
#[path = "../../src/plan/mod.rs"]
pub mod plan;
#[path = "../../src/reach/mod.rs"]
pub mod reach;
#[path = "../../src/import/mod.rs"]
pub mod import;
