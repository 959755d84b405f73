//! The procedure of `plan`: what `up` would change.

use super::backend::{BackendChoice, host_to_look};
use super::event::Work;
use super::fault::Fault;
use super::other_dir;
use super::session::{Loaded, Session};
use super::target::Target;
use super::this_host::{read_with_machine, target};
use super::up::plan;
use crate::host::agent_process::Runtime;
use crate::model::Problem;
use crate::plan::{Backend, Plan};

/// What differs between this host and the network.
pub struct Compared {
    /// The network's file.
    pub loaded: Loaded,
    /// What is to be applied.
    pub target: Target,
    /// The data plane.
    pub backend: Backend,
    /// What `up` would change.
    pub plan: Plan,
    /// What it would leave undone.
    pub problems: Vec<Problem>,
}

impl Compared {
    /// Returns the program's JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "version": 1, "node": self.target.node, "backend": self.backend, "changes": self.plan.lines(),
            "problems": self.problems,
        })
    }
}

/// Says what [`super::bring_up`] would change, and changes nothing.
///
/// # Errors
/// It would be refused, or the host cannot be read.
pub fn compare_with_host(session: &Session, choice: BackendChoice) -> Result<Compared, Fault> {
    let _work = session.begin(Work::Comparing);
    let folder = session.folder()?;
    let name = folder.name().clone();
    let runtime = Runtime::here(&name)?;
    other_dir::refuse(session, &name, &runtime)?;
    let ((loaded, target), host) = read_with_machine(&runtime, &[], &name, || {
        let loaded = session.load_from(folder)?;
        loaded.warnings.iter().for_each(|warning| session.warn(warning));
        let target = target(session, &loaded)?;
        Ok((loaded, target))
    })?;
    let (mut host, backend) = host_to_look(host, &runtime, &name, choice)?;
    let (plan, problems) = plan(&mut host, &target, &runtime, backend, session.now)?;
    Ok(Compared { loaded, target, backend, plan, problems })
}
