//! `trace`: one packet's path, there and back, and where it ends.

use super::args::Trace as Args;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::host_side::runtime;
use super::paint;
use super::progress::Progress;
use crate::app;
use crate::host::{Host, Scope};
use crate::model::{PortSpec, Verdict, masked};
use crate::reach::{Flow, Trace, World, destination, place, trace as follow, trace_text};

/// Traces a flow.
pub fn trace(ctx: &Context, args: &Args) -> Result<Exit, Fault> {
    let progress = Progress::of(&ctx.out, "following the packet");
    let loaded = ctx.load_network()?;
    let port: Option<PortSpec> = args
        .port
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|e| Fault::usage(format!("--port: {e}"), ""))?;
    let network = &loaded.network;
    let answer = match (place(network, &args.from), destination(network, &args.to)) {
        (Ok(from), Ok(to)) => {
            let mut world = World::assumed(network, ctx.now).with_outside(&to);
            if args.live {
                world = live(ctx, &loaded, world)?;
            }
            follow(&world, &Flow { from, to, port })
        }
        (from, to) => {
            // A key may have been typed in the place of a name.
            let (shown_from, shown_to) = (masked(&args.from), masked(&args.to));
            let unknown = match (from, to) {
                (Err(_), _) => place(network, &shown_from).err(),
                _ => place(network, &shown_to).err(),
            };
            let unknown = unknown.ok_or_else(|| Fault::usage("this is no place", ""))?;
            Trace::unknown(&shown_from, &shown_to, &unknown)
        }
    };
    drop(progress);
    if ctx.out.json {
        ctx.out.json(&answer)?;
    } else {
        ctx.out.prose(&paint::trace(&ctx.out, &trace_text(&answer)))?;
    }
    Ok(if answer.verdict == Verdict::Reaches { Exit::Done } else { Exit::No })
}

/// Puts what this host really is in the place of what it is assumed to be.
fn live(ctx: &Context, loaded: &super::context::Loaded, world: World) -> Result<World, Fault> {
    let node = ctx.this_node(loaded)?.name.clone();
    let runtime = runtime(&loaded.network.name)?;
    let mut host = app::host(&runtime, &[])?;
    let mut facts = host.facts(&Default::default(), &Default::default())?;
    let applied = runtime.read_applied(&ctx.dir)?;
    facts.displaced = applied.as_ref().map(|a| a.displaced.clone()).unwrap_or_default();
    let sysctls = applied.iter().flat_map(|a| a.state.sysctls.keys().cloned()).collect();
    let scope = Scope {
        network: loaded.network.name.clone(),
        sysctls,
        links: Default::default(),
        applied: applied.map(|a| a.state),
    };
    let state = host.observe(&scope)?;
    Ok(world.with_observed(&node, state, facts))
}
