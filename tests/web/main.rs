//! The page and the API against what the pages of others fell to: each fault is tried here, without root. The half with the rights
//! is the real one, over its own socket, with a network in a folder of the test's.
#![expect(clippy::disallowed_methods, reason = "a test has a folder, and asks over sockets")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod account;
mod api;
mod behind_a_proxy;
mod devices;
mod enrolling;
mod faults;
mod language;
mod live;
mod notifying;
mod oidc;
mod over_sockets;
mod promises;
mod rig;
mod signing_in;
mod units;
