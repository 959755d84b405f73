//! The procedure of `down`: all that wgrelay made goes, and a restart of the host brings nothing back.

use super::backend::host;
use super::down::{Down, down};
use super::event::Work;
use super::fault::Fault;
use super::session::Session;
use crate::host::agent_process::Runtime;
use crate::host::boot_config;
use crate::host::rolled_back;
use crate::model::InterfaceName;
use crate::store::files::StoreError;
use crate::store::folder::Folder;

/// A network that was taken down.
#[derive(Debug)]
pub struct TakenDown {
    /// What was taken away, and what could not be.
    pub done: Down,
    /// Why a restart of the host may bring it back.
    pub remembered: Option<StoreError>,
}

/// Takes away what wgrelay made. The folder is the one that it is up from: see [`super::dir_to_take_down`].
///
/// # Errors
/// The host cannot be read, or another command takes too long.
pub fn take_down(session: &Session, name: &InterfaceName) -> Result<TakenDown, Fault> {
    let runtime = Runtime::here(name)?;
    let folder = Folder::new(&session.dir, name);
    let on_host = runtime.lock_to_apply()?;
    let mut host = host(&runtime, &[])?;
    let work = session.begin(Work::TakingDown(name.clone()));
    let done = down(&mut host, &session.dir, name, &runtime, &on_host)?;
    drop(work);
    let remembered = boot_config::forget(&folder).err();
    rolled_back::forget(&folder);
    Ok(TakenDown { done, remembered })
}
