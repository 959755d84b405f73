//! `service`: the network comes up with this host.

use super::args::Service;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use super::root::require_root;
use crate::app::{self, AgentNow};

/// Installs or removes the unit.
pub fn service(ctx: &Context, args: &Service) -> Result<Exit, Fault> {
    match args {
        Service::Install { backend, metrics } => {
            require_root(ctx, "service install")?;
            let done = app::install_service(ctx, (*backend).into(), *metrics)?;
            if ctx.out.json {
                ctx.out.json(&serde_json::json!({
                    "version": 1, "network": done.network, "node": done.node, "unit": done.unit, "file": done.file,
                    "metrics": metrics, "running": done.is_running, "problems": done.problems,
                }))?;
            } else {
                tell(ctx, &done)?;
            }
        }
        Service::Remove => remove(ctx)?,
    }
    Ok(Exit::Done)
}

fn tell(ctx: &Context, done: &app::Installed) -> Result<(), Fault> {
    let unit = &done.unit;
    ctx.out.prose(&format!(
        "{} comes up with this host: {}",
        done.network,
        ctx.out.paint(Role::Good, unit)
    ))?;
    match done.agent {
        AgentNow::OfThisUnit => {}
        AgentNow::Down => {
            ctx.out.say(&format!("it is down now; `wgrelay up`, or `systemctl start {unit}`, brings it up"));
        }
        AgentNow::Other => {
            ctx.out.say("the agent of now goes on; systemd has the next one, after `wgrelay down` and `up` or a restart of this host");
        }
        AgentNow::OfThisUnitBefore => {
            ctx.out.say("the agent of now goes on as it was started; the unit as it is now counts after `wgrelay down` and `up` or a restart of this host");
        }
    }
    for problem in &done.problems {
        ctx.out.problem(problem);
    }
    Ok(())
}

fn remove(ctx: &Context) -> Result<(), Fault> {
    require_root(ctx, "service remove")?;
    let done = app::remove_service(ctx)?;
    let name = &done.network;
    if ctx.out.json {
        ctx.out.json(&serde_json::json!({
            "version": 1, "network": name, "unit": done.unit, "removed": done.was_there,
        }))?;
        return Ok(());
    }
    ctx.out.prose(&if done.was_there {
        format!("{name} does not come up with this host any more")
    } else {
        format!("{name} had no unit: nothing to remove")
    })?;
    if done.is_up {
        ctx.out.say("it is up now and stays so: `wgrelay down` takes it away");
    }
    Ok(())
}
