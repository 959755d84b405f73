//! A WireGuard hub and its spokes from one file, and proof that packets get there and back.
//!
//! The layers, each using only those above it in this list (docs/architecture.md has the reasons):
//! [`model`], [`config`], [`store`], [`wgconf`], [`firewall`], [`plan`], [`reach`], [`import`], [`export`], [`status`], [`dataplane`], [`doctor`],
//! [`daemon::protocol`], [`host`], [`app`], [`daemon`], [`lab`], [`cli`].

pub mod app;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dataplane;
pub mod doctor;
pub mod export;
pub mod firewall;
pub mod host;
pub mod import;
pub mod lab;
pub mod model;
pub mod plan;
pub mod reach;
pub mod status;
pub mod store;
pub mod wgconf;
