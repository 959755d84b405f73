//! wgrelay with real packets, in namespaces: the whole of it, and the rig that it is tested with.
//!
//! `WGRELAY_BACKEND=kernel` runs the same tests with WireGuard in the kernel; `in_guest` does so in a guest.
#![expect(clippy::disallowed_methods, reason = "tests make namespaces, files, sockets and processes")]

mod agent;
mod aliases;
mod attacks;
mod begun_meanwhile;
mod bridges;
mod by_the_agent;
mod confirm;
mod exits;
mod exported_sites;
mod failover;
mod foreign_clients;
mod forged;
mod forwards;
mod guide;
mod hosts;
mod in_guest;
mod kernel_glance;
mod killed;
mod name_servers;
mod never_beside;
mod nothing_left;
mod own_filters;
mod own_nodes;
mod packet;
mod path_mtu;
mod podman;
mod policy_rules;
mod promises;
mod random_hosts;
mod refused;
mod repairs;
mod restarted;
#[path = "../rig/mod.rs"]
mod rig;
mod rig_works;
mod services;
mod sessions;
mod sites;
mod sniffed;
mod storm;
mod strangers;
mod taken_over;
mod told;
mod traffic;
mod web;
mod web_scale;
