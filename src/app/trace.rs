//! The procedure of `trace`: one packet's path, there and back, through what is assumed or through this host as it is.

use super::backend::host;
use super::event::Work;
use super::fault::Fault;
use super::session::{Loaded, Session};
use crate::host::agent_process::Runtime;
use crate::host::{Host as _, Scope};
use crate::model::{PortSpec, masked};
use crate::reach::{Flow, Trace, World, destination, place, trace as follow};

/// A flow, as typed.
#[derive(Debug, Clone)]
pub struct TypedFlow {
    /// Where it starts.
    pub from: String,
    /// Where it is to end.
    pub to: String,
    /// Protocol and port; `None`: any.
    pub port: Option<String>,
    /// Whether this host is read, in place of what is assumed of it.
    pub live: bool,
}

/// Traces a flow.
///
/// # Errors
/// The network or this host cannot be read, or the port is none.
pub fn trace(session: &Session, asked: &TypedFlow) -> Result<Trace, Fault> {
    let _work = session.begin(Work::Tracing);
    let loaded = session.load_network()?;
    let port: Option<PortSpec> = asked
        .port
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|e| Fault::usage(format!("--port: {e}"), ""))?;
    let network = &loaded.network;
    match (place(network, &asked.from), destination(network, &asked.to)) {
        (Ok(from), Ok(to)) => {
            let mut world = World::assumed(network, session.now).with_outside(&to);
            if asked.live {
                world = live(session, &loaded, world)?;
            }
            Ok(follow(&world, &Flow { from, to, port }))
        }
        (from, to) => {
            // A key may have been typed in the place of a name.
            let (shown_from, shown_to) = (masked(&asked.from), masked(&asked.to));
            let unknown = match (from, to) {
                (Err(_), _) => place(network, &shown_from).err(),
                _ => place(network, &shown_to).err(),
            };
            let unknown = unknown.ok_or_else(|| Fault::usage("this is no place", ""))?;
            Ok(Trace::unknown(&shown_from, &shown_to, &unknown))
        }
    }
}

/// Puts what this host really is in the place of what it is assumed to be.
fn live(session: &Session, loaded: &Loaded, world: World) -> Result<World, Fault> {
    let node = session.this_node(loaded)?.name.clone();
    let runtime = Runtime::here(&loaded.network.name)?;
    let mut host = host(&runtime, &[])?;
    let mut facts = host.facts(&Default::default(), &Default::default())?;
    let applied = runtime.read_applied(&session.dir)?;
    facts.saved_sysctls = applied.as_ref().map(|a| a.saved_sysctls.clone()).unwrap_or_default();
    let sysctls = applied.iter().flat_map(|a| a.state.sysctls.keys().cloned()).collect();
    let scope = Scope {
        network: loaded.network.name.clone(),
        sysctls,
        links: Default::default(),
        resolver: None,
        applied: applied.map(|a| a.state),
    };
    let state = host.observe(&scope)?;
    Ok(world.with_observed(&node, state, facts))
}
