//! The whole network on this machine: a namespace for each node and for a host of each site, this program in each
//! node's, and real packets between all of them.
//!
//! `topology` turns a network into data, `build` makes it and takes it away, [`mod@hold`] has its agents end with it,
//! `probe` sends the packets,
//! `led` asks at ports that lead on,
//! [`mod@kill`] has a node die, and the others go on without it;
//! [`standing`] keeps a lab for later commands; [`mod@compare`] says what `check` expects of every packet, [`mod@schedule`]
//! in which order they may be sent, and [`mod@sound`] sends them.

pub mod build;
pub mod commands;
pub mod compare;
pub mod hold;
pub mod kill;
mod led;
pub mod probe;
pub mod schedule;
pub mod sound;
pub mod standing;
pub mod topology;

pub use build::{Lab, LabError};
pub use compare::{Comparison, Question, compare, questions, questions_without};
pub use probe::{Observed, probe};
pub use schedule::{Act, schedule};
pub use sound::sound;
pub use topology::{Pair, Place, PlaceKind, Topology, topology};
