//! What this host is by its record besides the network itself: noted, and then the host held to it as to everything else.

use super::look::recorded_target;
use super::reconcile::{Extent, Repair, hold};
use super::session::Session;
use crate::host::agent_process::Runtime;
use crate::host::runtime::Applied;
use crate::host::{Host, HostError};
use crate::model::InterfaceName;
use crate::store::folder::Folder;

/// Changes the record of what is applied, and holds this host to it. `None`: nothing is up here.
///
/// # Errors
/// The host or the record cannot be read, or the record not written.
pub(super) fn hold_as<H: Host>(
    session: &Session,
    name: &InterfaceName,
    runtime: &Runtime,
    open: impl FnOnce() -> Result<H, HostError>,
    change: impl FnOnce(Applied) -> Applied,
) -> Result<Option<Repair>, HostError> {
    let on_host = runtime.lock_to_apply()?;
    let before = runtime.read_applied(&session.dir)?;
    let Some(before) = before.filter(|applied| !applied.configuration.network_text.is_empty()) else {
        return Ok(None);
    };
    let applied = change(before.clone());
    if applied != before {
        runtime.write_applied(applied.clone())?;
    }
    let folder = Folder::new(&session.dir, name);
    let target = {
        let _read = folder.lock_to_apply()?;
        recorded_target(&session.dir, &folder, &applied)?
    };
    let backend = applied.configuration.backend;
    hold(&mut open()?, &target, runtime, backend, session.now, Extent::Whole, &on_host).map(Some)
}
