//! Text to model and back: network.toml, secrets.toml, bundles, and the profiles that `init` starts from.
//!
//! Pure: bytes come in as arguments, keys too. Every fault of a file is found in one reading (a walk over the parsed text
//! that keeps places; a derived reader would stop at the first), each at `FILE:LINE:COLUMN`.

mod bundle;
mod document;
mod edits;
mod excerpt;
mod forward;
mod in_comments;
mod layout;
#[cfg(test)]
mod narrowed_tests;
mod network;
mod node;
mod places;
mod plain;
pub mod profile;
mod rehome;
mod render;
mod rules;
mod secrets;
mod section;
mod site_edits;
mod site_words;
mod source;
mod tree;
mod withheld;

pub use bundle::{Bundle, MemberKeysText, network_for};
pub use document::{EditError, NetworkDocument, Setting};
pub use in_comments::{network_as_comments, network_of_comments};
pub use network::{parse_network, places_of, reread_network};
pub use places::Places;
pub use rehome::rehome;
pub use render::{render_network, render_node};
pub use secrets::{Secrets, check_secrets};
pub use site_words::{NoSite, SiteWords};
pub use source::{MAX_BYTES, Parsed};
