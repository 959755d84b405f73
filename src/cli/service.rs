//! `service`: the network comes up with this host. And what `up` and `down` have to do with it.

use std::net::SocketAddr;

use super::args::{BackendChoice as Typed, Service};
use super::context::Context;
use super::elsewhere;
use super::exit::Exit;
use super::fault::Fault;
use super::host_side::{require_root, runtime, target};
use super::output::Role;
use crate::app::{Target, recorded_target, wsl_advice};
use crate::export::unit::Unit;
use crate::host::agent_process::Runtime;
use crate::host::examine::{is_wsl, uses_iptables_legacy};
use crate::host::last_up::LastUp;
use crate::host::systemd::{Absent, Systemd, unit_name};
use crate::model::InterfaceName;
use crate::plan::{Backend, Change, Plan};
use crate::store::folder::Folder;

/// Lower ports are for root, or for who has a right for it.
const FIRST_HIGH_PORT: u16 = 1024;

/// Installs or removes the unit.
pub fn service(ctx: &Context, args: &Service) -> Result<Exit, Fault> {
    match args {
        Service::Install { backend, metrics } => install(ctx, *backend, *metrics),
        Service::Remove => remove(ctx),
    }
}

fn install(ctx: &Context, backend: Typed, metrics: Option<SocketAddr>) -> Result<Exit, Fault> {
    require_root(ctx, "service install")?;
    let systemd = systemd(ctx)?;
    let loaded = ctx.load_network()?;
    // What could not be brought up now will not come up unattended.
    let target = target(ctx, &loaded)?;
    let name = loaded.network.name.clone();
    elsewhere::refuse(ctx, &name, &runtime(&name)?)?;
    let listens_on = [target.this().listen_port(), metrics.map(|at| at.port())];
    let low_port = listens_on.into_iter().flatten().any(|port| port < FIRST_HIGH_PORT);
    let unit = Unit { metrics, low_port, legacy: uses_iptables_legacy(), ..unit(ctx, &name, backend)? };
    if let Some(path) = unit.unfit() {
        return Err(Fault::failed(
            format!(
                "{path:?} cannot be written into a unit: it is not UTF-8, or has a line break or the like in it"
            ),
            "use a folder with a plain name",
        ));
    }
    let installed = systemd.install(&name, &unit)?;
    let runtime = runtime(&name)?;
    let is_up = runtime.read_applied(&ctx.dir)?.is_some();
    // An agent that carries packets stays as it is: handing over would drop every session.
    let starts = is_up && runtime.agent_pid().is_none();
    if starts {
        systemd.start(&name)?;
    }
    let unit = unit_name(&name);
    let advice = wsl_advice(&loaded.network, &loaded.network.nodes[&target.node])?;
    if ctx.out.json {
        ctx.out.json(&serde_json::json!({
            "version": 1, "network": name, "node": target.node, "unit": unit, "file": installed.file,
            "metrics": metrics, "running": systemd.is_active(&name), "problems": advice,
        }))?;
        return Ok(Exit::Done);
    }
    ctx.out.prose(&format!("{name} comes up with this host: {}", ctx.out.paint(Role::Good, &unit)))?;
    if !is_up {
        ctx.out.say(&format!("it is down now; `wgrelay up`, or `systemctl start {unit}`, brings it up"));
    } else if !systemd.is_active(&name) {
        ctx.out.say("the agent of now goes on; systemd has the next one, after `wgrelay down` and `up` or a restart of this host");
    } else if installed.is_another && !starts {
        ctx.out.say("the agent of now goes on as it was started; the unit as it is now counts after `wgrelay down` and `up` or a restart of this host");
    }
    for problem in &advice {
        ctx.out.problem(problem);
    }
    Ok(Exit::Done)
}

fn remove(ctx: &Context) -> Result<Exit, Fault> {
    require_root(ctx, "service remove")?;
    let systemd = Systemd::here().map_err(|absent| {
        let hint = match absent {
            Absent::NotBooted => "whatever starts `wgrelay run` here is to be told not to",
            Absent::Elsewhere => "run it on the host itself",
        };
        Fault::failed(format!("there is no unit here to remove: {absent}"), hint)
    })?;
    // Also where the network's folder is gone.
    let name = match ctx.network_name()? {
        Some(name) => name,
        None => ctx.folder()?.name().clone(),
    };
    let was = systemd.remove(&name)?;
    let is_up = runtime(&name)?.read_applied(&ctx.dir)?.is_some();
    if ctx.out.json {
        ctx.out.json(
            &serde_json::json!({"version": 1, "network": name, "unit": unit_name(&name), "removed": was}),
        )?;
        return Ok(Exit::Done);
    }
    ctx.out.prose(&if was {
        format!("{name} does not come up with this host any more")
    } else {
        format!("{name} had no unit: nothing to remove")
    })?;
    if is_up {
        ctx.out.say("it is up now and stays so: `wgrelay down` takes it away");
    }
    Ok(Exit::Done)
}

fn systemd(ctx: &Context) -> Result<Systemd, Fault> {
    Systemd::here().map_err(|absent| {
        let command = ctx.out.command("run");
        let hint = match absent {
            Absent::NotBooted => format!(
                "let whatever starts services here run `{command}`; on WSL, `[boot] systemd=true` in /etc/wsl.conf"
            ),
            Absent::Elsewhere => format!("run it on the host itself; in a container, start `{command}` with it"),
        };
        Fault::failed(format!("no unit can be installed: {absent}"), hint)
    })
}

/// Returns the unit for a network as this command line has it.
fn unit(ctx: &Context, name: &InterfaceName, backend: Typed) -> Result<Unit, Fault> {
    let fault = |e: std::io::Error| Fault::failed(format!("cannot tell where this is: {e}"), "");
    let program = std::env::current_exe().map_err(fault)?;
    Ok(Unit {
        program,
        dir: std::path::absolute(&ctx.dir).map_err(fault)?,
        network: Some(name.to_string()),
        node: ctx.node_as_typed().map(ToString::to_string),
        backend: match backend {
            Typed::Auto => None,
            Typed::Kernel => Some(Backend::Kernel.to_string()),
            Typed::Embedded => Some(Backend::Embedded.to_string()),
        },
        metrics: None,
        legacy: false,
        low_port: false,
        wsl: is_wsl(),
    })
}

/// Returns the systemd that is to run a network's agent: where its unit is enabled and nobody runs one.
pub fn waiting(runtime: &Runtime, name: &InterfaceName) -> Option<Systemd> {
    let systemd = Systemd::here().ok()?;
    (runtime.agent_pid().is_none() && systemd.is_enabled(name) && !systemd.is_active(name)).then_some(systemd)
}

/// Says what `up` was asked for, so that a unit brings up the same.
pub fn last_up(target: &Target, backend: Backend) -> LastUp {
    LastUp { node: target.node.clone(), backend, network_text: target.text.to_string() }
}

/// Reads what `run` is to bring up: what was last up, where its keys are still the ones of today; else the file.
/// So a file that is being edited when the power fails keeps nobody out. A change on trial goes on while it waits.
pub fn to_run(ctx: &Context, folder: &Folder, runtime: &Runtime) -> Result<(Target, Option<Backend>), Fault> {
    if let (Some(_), Some(applied)) = (runtime.unconfirmed(&ctx.dir)?, runtime.read_applied(&ctx.dir)?)
        && let Ok(target) = recorded_target(&ctx.dir, folder, &applied)
    {
        return Ok((target, Some(applied.backend)));
    }
    let kept = LastUp::read(folder).and_then(|last| {
        let (network, secrets) = ctx.load_as_it_was(folder, &last.network_text)?;
        let node = ctx.node_as_typed().unwrap_or(&last.node);
        let target = Target::new(ctx.dir.clone(), network, last.network_text.as_str(), node, &secrets)?;
        target.keys.private_key.is_some().then_some((target, last.backend))
    });
    match kept {
        Some((target, backend)) => Ok((target, Some(backend))),
        None => Ok((target(ctx, &ctx.load_from(folder.clone())?)?, None)),
    }
}

/// Says once, when a network comes up, that a restart of this host would leave it down.
pub fn tell_of_restarts(ctx: &Context, name: &InterfaceName, plan: &Plan) {
    let is_new = plan.changes.iter().any(|c| matches!(c, Change::CreateDevice { .. }));
    if is_new && Systemd::here().is_ok_and(|systemd| !systemd.is_enabled(name)) {
        ctx.out
            .say("a restart of this host leaves it down: `wgrelay service install` brings it back by itself");
    }
}
