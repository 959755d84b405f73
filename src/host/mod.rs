//! The thin edge to a machine: what the procedures need of one ([`Host`]), and a Linux one: the one place, with the data plane's
//! I/O, that reads and changes it.
//!
//! Every function here runs in the network namespace of the thread that called [`LinuxHost::open`].

#![expect(clippy::disallowed_methods, reason = "this is the layer that the other layers are kept away from")]

pub mod agent_process;
mod api;
pub mod boot_config;
pub mod commit_confirm;
pub mod configuration;
pub mod host_lock;
pub mod join;
mod linux;
pub mod log_file;
pub mod random;
pub mod rolled_back;
pub mod runtime;
pub mod uninterrupted;
pub mod unprivileged;
pub mod user;

pub use api::{Host, HostError, Scope};
pub use linux::{
    LinuxHost, announce, boot_clock, confine, discover, docker, examine, fence, floating_hook, legacy_extent,
    link_local, name_servers, netlink_monitor, owner_of, program, resolver, scope, site_probe, sysctl,
    systemd, wg_quick, wireguard,
};
