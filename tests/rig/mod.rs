//! Networks made of namespaces, for tests with real packets: nodes, links, probes, snapshots, and the programs under test.
//!
//! Every node is a network namespace with mounts and processes of its own, held by one process that dies with the test,
//! so that nothing can be left behind, and tests can run side by side.

pub mod drive;
pub mod inet;
pub mod killed;
pub mod need;
pub mod net;
pub mod node;
pub mod probe;
pub mod snapshot;
pub mod topology;
pub mod walk;
