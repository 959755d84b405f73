//! Who is told when something happens, without having to look: what counts as an event, what waits to be sent to whom, and what
//! a message says. Nothing here waits or sends: `server/notifier` does.

pub mod address;
pub mod event;
mod mail;
pub mod message;
mod observe;
pub mod queue;
mod target;
mod url;

pub use address::Reach;
pub use event::{Event, Topic};
pub use mail::mail;
pub use message::Message;
pub(in crate::web) use message::plain;
pub use observe::observed;
pub use queue::Queue;
pub(in crate::web) use target::topics as target_topics;
pub use target::{Given, Kind, MOST_TARGETS, Target};
pub use url::{Scheme, Url};
