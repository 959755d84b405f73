//! Beside a real Docker engine, and beside ufw and firewalld: packets pass, and nothing else changes.
//!
//! The engines are Debian's, in namespaces: 28.5, which drops in raw PREROUTING, and 20.10, which does not. Engine 29's
//! nftables rules are retyped. The whole network of a relay with Docker and a privileged node runs in a guest as well.
#![expect(clippy::disallowed_methods, reason = "tests make namespaces, files, sockets and processes")]

mod beside;
mod compute_node;
mod design;
mod engine;
mod engine_29;
mod firewalld;
mod ipv6;
mod other_filters;
#[path = "../rig/mod.rs"]
#[expect(dead_code, reason = "the rig serves other tests as well")]
mod rig;
mod settings;
