//! The procedures, one each for every shell: init, import, check, trace, plan, up, down, confirm, status, doctor, service, and the
//! agent's look around.
//!
//! A procedure takes a [`Session`] (folder, network, clock, who listens), its locks as guards and what was asked for as a type;
//! it returns data and tells of what happens on the way as an [`Event`]. Words are the shells'. Files and the machine are
//! reached through store/ and host/ alone; deciding is the pure layers' work. What is done to a host is generic over
//! [`crate::host::Host`], so that every step is tested against a host in memory, failures included.

mod attach;
mod backend;
mod bring_up;
mod change;
mod check;
mod cluster;
mod commit_confirm;
mod compare;
mod doctor;
mod down;
mod drain;
mod edit;
mod event;
#[cfg(test)]
mod fake;
mod fault;
mod floating;
mod follow;
mod glance;
mod hold_as;
mod import;
mod init;
mod list;
mod live;
mod look;
mod node_edits;
mod orphan;
mod other_dir;
mod preflight;
mod reconcile;
mod recorded_node;
mod refused;
pub mod revisions;
mod rollback;
mod service;
mod session;
mod show;
mod site_edits;
mod status;
mod take_down;
mod take_over;
mod target;
mod target_cache;
mod this_host;
mod trace;
mod traffic;
mod transaction;
mod up;
mod wsl;

pub(crate) use attach::attach;
pub use attach::transfer;
pub use backend::{BackendChoice, choose, end_outdated, host, host_ahead, host_for, host_to_look, standing};
pub use bring_up::{BringUp, BroughtUp, bring_up};
pub use change::{Change, Changed, change};
pub use check::{NOT_HERE, check, losses};
pub use cluster::{
    Accepted, ClusterCreated, ClusterJoined, ClusterLeft, ClusterStatus, EndpointStatus, MemberStatus,
    StoreAccess, accept, cluster_create, cluster_join, cluster_leave, cluster_status,
};
pub use commit_confirm::{Confirmed, confirm, wait_for_confirmation};
pub use compare::{Compared, compare_edited, compare_with_host};
pub use doctor::{Diagnosis, diagnose};
pub use down::{Down, down};
pub use drain::{DrainOutcome, Drained, drain};
pub use edit::{Edited, Saving, edit, revision_of};
pub use event::{Event, Listener, Nobody, Work, Working};
pub use fault::{Fault, FaultKind};
pub use floating::{HandedOver, cluster_host, drain_host};
pub(crate) use floating::{carry, hook_call, host_of};
pub(crate) use follow::{Followed, apply_copy, note_applied};
pub use glance::glance;
pub use import::{Import, ImportedNetwork, import};
pub use init::{Made, NewNetwork, init, profile_fault};
pub use list::{ListedNode, Listing, list};
pub use live::Live;
pub use look::{Look, look, recorded_target};
pub use node_edits::{
    NewNode, RotatedShared, add_node, enable_node, expire_node, remove_node, rename_node, rotate_node,
    rotate_shared,
};
pub use other_dir::dir_to_take_down;
pub(crate) use other_dir::refuse as refuse_other_dir;
pub use reconcile::{Extent, Reconciled, Repair, reconcile};
pub use refused::Restricted;
pub use rollback::{before, roll_back};
pub(crate) use service::to_run;
pub use service::{AgentNow, Installed, Removed, install_service, remove_service, restart_leaves_down};
pub use session::{Asked, Loaded, Session, find_node};
pub use show::{PeerAllowed, Shown, ShownSite, SiteHosts, show_node};
pub use site_edits::{set_sites, unset_site};
pub(crate) use status::read_status;
pub use status::{Answer, status, status_again, status_is_of_this_node};
pub use take_down::{TakenDown, take_down};
pub use take_over::{Resumed, TakenOver};
pub use target::Target;
pub use target_cache::TargetCache;
pub(crate) use this_host::agent_command;
pub use this_host::name_of_what_is_up;
pub use trace::{TypedFlow, trace};
pub use traffic::{NodeTraffic, keep_traffic, traffic};
pub use transaction::{Failure, Outcome, apply, apply_plan};
pub use up::{Refusal, Up, plan, preflight_errors, up};
pub use wsl::wsl_advice;

/// Of the machine, what every shell needs as it is.
pub use crate::host::{confine::close_inherited, log_file::Log, random, unprivileged};
