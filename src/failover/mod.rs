//! Which relay carries a spoke: the spoke asks its relays whether they are well, chooses, and tells them; relays learn it from the
//! spoke itself and from each other. Pure: moments are durations since any beginning, and packets are arguments.

mod busy;
mod chooser;
mod datagrams;
mod known;
mod message;
#[cfg(test)]
mod simulation;
pub mod site_health;
mod site_reports;

pub use busy::Busy;
pub use chooser::{Action, Chooser, Situation, Why};
pub use known::Known;
pub use message::{Message, PORT, chunks};
pub use site_health::{Health, SiteHealth};
pub use site_reports::{SiteReports, shared_sites};
