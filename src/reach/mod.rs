//! Who can reach whom, before a packet is sent: there and back, and where not, the first hop that drops it and the fix.
//!
//! A [`World`] holds what `plan` would make of every host. [`trace`] walks one flow through it, [`matrix`] all of them by
//! classes, [`check`] adds what is odd about the network and judges its promises. Pure.

mod assume;
mod cause;
mod changed;
mod check;
mod classes;
mod compared;
mod flow;
mod foreign;
mod hop;
mod host;
mod judge;
mod kinds;
mod led_on;
mod lint;
mod longest;
mod loss;
mod loss_text;
mod matrix;
mod matrix_text;
mod outside;
mod place;
mod prefixes;
mod rule_bits;
mod rules;
#[cfg(test)]
mod tests;
mod trace;
mod trace_text;
mod walk;
mod world;

pub use assume::assumed_facts;
pub use cause::{Code, Reason};
pub use changed::{ChangedPair, ChangedPairs, changed_pairs};
pub use check::{Check, check, expectations};
pub use compared::{Compared, Comparison};
pub use flow::Flow;
pub use hop::{Hop, Step};
pub use judge::{PathFamily, Ports};
pub use lint::lint;
pub use longest::LongestPrefix;
pub use loss::{Loss, Losses, Lost, LostPairs, losses, without};
pub use loss_text::losses_text;
pub use matrix::{Matrix, Pair, Unlisted, matrix};
pub use matrix_text::matrix_text;
pub use outside::Led;
pub use place::{Place, Unknown, destination, place};
pub use rules::{Decision, Evaluation, Packet, Protocol, Tracking, evaluate};
pub use trace::{Session, Trace, trace};
pub use trace_text::trace_text;
pub use world::{World, hosts_have_gateway};
