//! A network that several relays share: its text lies in etcd, signed, with its keys sealed; each relay's folder is its last good
//! copy. docs/cluster.md tells how it is used, docs/adr/0020 why it is so.
//!
//! Pure: [`record`], [`sealing`], [`parts`], [`trust`], [`verdict`], [`underlay`]. The machine: [`etcd`], [`membership`], and what
//! puts both together, [`Shared`].

mod blobs;
mod commit;
pub mod etcd;
mod floating;
mod found;
pub mod membership;
pub mod parts;
mod pull;
pub mod record;
pub mod sealing;
mod shared;
pub mod trust;
pub mod underlay;
pub mod verdict;

pub use floating::{FloatingKeys, Read};
pub use found::{Found, Joined};
pub use membership::{Held, Membership, Place, Standing};
pub use pull::Pulled;
pub use shared::{Head, Shared, SharedTurn};
