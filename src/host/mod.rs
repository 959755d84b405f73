//! The thin edge to a machine: what the procedures need of one ([`Host`]), and a Linux one: the one place, with the data plane's
//! I/O, that reads and changes it.
//!
//! Every function here runs in the network namespace of the thread that called [`LinuxHost::open`].

#![expect(clippy::disallowed_methods, reason = "this is the layer that the other layers are kept away from")]

pub mod agent_process;
mod api;
pub mod batch;
pub mod beside;
pub mod boot_clock;
mod dbus;
pub mod discover;
pub mod docker;
pub mod examine;
mod facts;
pub mod file_mark;
mod firewalld;
pub mod folder;
mod foreign_firewall;
pub mod host_lock;
mod iptables;
pub mod kernel_news;
pub mod last_up;
mod link;
mod linux;
mod names;
mod netlink;
mod nft;
mod program;
pub mod random;
mod route;
pub mod runtime;
pub mod scope;
pub mod store;
pub mod sysctl;
pub mod systemd;
pub mod unconfirmed;
pub mod went_back;
pub mod wireguard;

pub use api::{Host, HostError, Scope};
pub use linux::LinuxHost;
