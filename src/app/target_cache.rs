//! The network last applied, kept between looks: a process that looks again and again reads it once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::look::recorded_target;
use super::preflight::broken_promises;
use super::target::Target;
use crate::host::HostError;
use crate::host::agent_process::Runtime;
use crate::host::runtime::Applied;
use crate::model::{Network, Problem, Severity, Timestamp};
use crate::store::file_stamp::FileStamp;
use crate::store::folder::Folder;

/// What was read last, and of which files. Every clone means the same.
#[derive(Clone, Default)]
pub struct TargetCache {
    kept: Arc<Mutex<Option<Kept>>>,
    /// The promises that a network breaks, judged once for each that is applied.
    judged: Arc<Mutex<Option<Judged>>>,
}

/// A network, and which of its promises do not hold.
struct Judged {
    network: Arc<Network>,
    broken: Vec<Problem>,
}

struct Kept {
    /// Of the record and of the secrets.
    files: [FileStamp; 2],
    dir: PathBuf,
    applied: Arc<Applied>,
    target: Target,
    /// Whether the folder's network was another than the one applied, and which file that was.
    pending: Option<(FileStamp, bool)>,
}

impl TargetCache {
    /// Reads what was applied last, with the secrets of today; `None`: nothing was.
    ///
    /// # Errors
    /// The record or the secrets cannot be read, or an `up` was cut short.
    pub fn recorded(
        &self,
        dir: &Path,
        folder: &Folder,
        runtime: &Runtime,
    ) -> Result<Option<(Arc<Applied>, Target)>, HostError> {
        let files = marks(folder, runtime);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_mut().filter(|k| Some(&k.files) == files.as_ref() && k.dir == dir) {
            return Ok(Some((Arc::clone(&kept.applied), kept.target_in(folder))));
        }
        *kept = None;
        let Some(applied) = runtime.read_applied(dir)? else { return Ok(None) };
        let target = recorded_target(dir, folder, &applied)?;
        let applied = Arc::new(applied);
        // Files that were replaced while they were read may not belong together.
        if let Some(files) = files.filter(|files| marks(folder, runtime).as_ref() == Some(files)) {
            let (applied, target) = (Arc::clone(&applied), target.clone());
            *kept = Some(Kept { files, dir: dir.to_path_buf(), applied, target, pending: None });
        }
        Ok(Some((applied, target)))
    }
}

impl TargetCache {
    /// Returns which promises of the network that is applied do not hold, as they were when it was first asked.
    pub(super) fn broken_promises(&self, network: &Arc<Network>, now: Timestamp) -> Vec<Problem> {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = judged.as_ref().filter(|known| Arc::ptr_eq(&known.network, network)) {
            return known.broken.clone();
        }
        let mut broken = broken_promises(network, now);
        // Whoever applied it all the same insisted.
        broken.iter_mut().for_each(|problem| problem.severity = Severity::Warning);
        *judged = Some(Judged { network: Arc::clone(network), broken: broken.clone() });
        broken
    }
}

impl Kept {
    /// The target, with whether a newer network waits. The network's file is read again only where it is another.
    fn target_in(&mut self, folder: &Folder) -> Target {
        let file = FileStamp::of(&folder.network_path());
        match (&file, &self.pending) {
            (Some(file), Some((known, is_pending))) if file == known => {
                Target { keys_may_be_newer: *is_pending, ..self.target.clone() }
            }
            _ => {
                let target = self.target.clone().pending_in(folder, &self.applied);
                self.pending = file.map(|file| (file, target.keys_may_be_newer));
                target
            }
        }
    }
}

fn marks(folder: &Folder, runtime: &Runtime) -> Option<[FileStamp; 2]> {
    Some([FileStamp::of(&runtime.applied_path())?, FileStamp::of(&folder.secrets_path())?])
}
