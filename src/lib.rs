//! A WireGuard hub and its spokes from one file, and proof that packets get there and back.
//!
//! The layers, each using only those above it in this list (docs/architecture.md has the reasons):
//! [`model`], `config`, `conf`, `plan`, `export`, `status`, `control`, `dataplane`, `apply`, `host`, `agent`, `cli`.

pub mod apply;
pub mod dataplane;
pub mod host;
pub mod model;
pub mod plan;
