//! A WireGuard hub and its spokes from one file, and proof that packets get there and back.
//!
//! # A tour
//!
//! A network is text first. [`config::parse_network`] makes a [`model::Network`] of it, with every fault at its place;
//! [`config::NetworkDocument`] edits the text and keeps every other byte.
//!
//! From a network follows everything else, without a look at any machine:
//! - [`reach::check`] proves who reaches whom, and [`reach::trace`] follows one packet there and back, to the reason and the fix
//!   where it ends (`examples/prove.rs`);
//! - [`export::node_conf`] is the file of a node's own client (`examples/render_client.rs`);
//! - [`plan::wanted`] is what a host should be, a [`plan::HostState`]; [`plan::diff`] of two of them is the plan, the
//!   verification and the undo (`examples/diff_states.rs`).
//!
//! With the feature `program`, which is on by default, [`app`] has what is done to a machine, a procedure each: it takes an
//! [`app::Session`] and returns data. [`cli`], [`daemon`] and [`web`] are shells around it.
//!
//! # The layers
//!
//! Each uses only those above it in this list (docs/architecture.md has the reasons):
//! [`model`], [`config`], [`store`], [`wgconf`], [`firewall`], [`plan`], [`reach`], [`import`], [`export`], [`status`], [`dataplane`], [`doctor`], [`failover`], [`floating`],
//! [`daemon::protocol`], [`host`], [`app`], [`daemon`], [`lab`], [`web`], [`cli`]. Without `program` there are the pure ones down to
//! `export` alone, for any target; CI builds them for one without an operating system.
#![cfg_attr(
    not(feature = "program"),
    allow(
        dead_code,
        reason = "some of what the pure layers offer is used by the layers that touch a machine alone"
    )
)]

#[cfg(feature = "program")]
pub mod app;
#[cfg(feature = "program")]
pub mod cli;
pub mod config;
#[cfg(feature = "program")]
pub mod daemon;
#[cfg(feature = "program")]
pub mod dataplane;
#[cfg(feature = "program")]
pub mod doctor;
pub mod export;
#[cfg(feature = "program")]
pub mod failover;
pub mod firewall;
#[cfg(feature = "program")]
pub mod floating;
#[cfg(feature = "program")]
pub mod host;
pub mod import;
#[cfg(feature = "program")]
pub mod lab;
pub mod model;
pub mod plan;
pub mod reach;
#[cfg(feature = "program")]
pub mod status;
#[cfg(feature = "program")]
pub mod store;
#[cfg(feature = "program")]
pub mod web;
pub mod wgconf;
