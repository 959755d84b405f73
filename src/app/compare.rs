//! The procedure of `plan`: what `up` would change.

use super::backend::{BackendChoice, host_to_look};
use super::edit::Edited;
use super::event::Work;
use super::fault::Fault;
use super::other_dir;
use super::preflight::broken_promises;
use super::session::{Loaded, Session};
use super::target::Target;
use super::this_host::{read_with_machine, target};
use super::up::plan;
use crate::config::Secrets;
use crate::host::agent_process::Runtime;
use crate::model::{NodeName, Problem};
use crate::plan::{Backend, Line, Plan};

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
    let (plan, mut problems) = plan(&mut host, &target, &runtime, backend, session.now)?;
    // `up` refuses these unless somebody insists.
    problems.extend(loaded.located(broken_promises(&loaded.network, session.now)));
    Ok(Compared { loaded, target, backend, plan, problems })
}

/// Says what [`super::bring_up`] would change with an edit that was worked out and not saved.
///
/// # Errors
/// It would be refused, or the host cannot be read.
pub fn compare_edited(session: &Session, edited: &Edited) -> Result<Vec<Line>, Fault> {
    let folder = session.folder()?;
    let name = folder.name().clone();
    let runtime = Runtime::here(&name)?;
    other_dir::refuse(session, &name, &runtime)?;
    let (target, host) = read_with_machine(&runtime, &[], &name, || {
        let bytes = |part: &Option<zeroize::Zeroizing<Vec<u8>>>| {
            part.as_ref().map(|b| b.to_vec()).unwrap_or_default()
        };
        let text = String::from_utf8_lossy(&bytes(&edited.after.network)).into_owned();
        let secrets = zeroize::Zeroizing::new(bytes(&edited.after.secrets));
        let secrets = Secrets::parse(&secrets, "secrets.toml").value.unwrap_or_default();
        let node = this_node(session, edited)?;
        Target::new(session.dir.clone(), edited.network.clone(), text, &node, &secrets)
            .ok_or_else(|| Fault::failed(format!("the network has no node {node} then"), ""))
    })?;
    let (mut host, backend) = host_to_look(host, &runtime, &name, BackendChoice::Auto)?;
    Ok(plan(&mut host, &target, &runtime, backend, session.now)?.0.lines())
}

/// The node that this host is with the edit: by the same address, where it gets another name.
fn this_node(session: &Session, edited: &Edited) -> Result<NodeName, Fault> {
    let now = session.this_node(&session.load_from(session.folder()?)?)?.clone();
    let renamed = || edited.network.nodes.values().find(|node| node.address == now.address);
    let found = edited.network.nodes.get(&now.name).or_else(renamed);
    found.map(|node| node.name.clone()).ok_or_else(|| {
        Fault::failed(format!("the network has no node {} then, which this host is", now.name), "")
    })
}
