//! `lab`: the whole network on this machine, in network namespaces, asked with real packets.

mod check;
mod kill;
mod once;
mod standing;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::args::{BackendChoice, Lab as Args, LabAction};
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::progress::Progress;
use crate::app::{profile_fault, random};
use crate::config::parse_network;
use crate::config::profile::{self, ProfileValues};
use crate::lab::{Lab, LabError, Observed, probe};
use crate::model::Network;
use crate::plan::Backend;

/// Runs `lab` and what is below it.
pub fn lab(ctx: &Context, args: &Args) -> Result<Exit, Fault> {
    // What is wrong with the network is told to everybody, root or not.
    let described = || {
        let network = network(ctx, args)?;
        root().map(|()| network)
    };
    match &args.action {
        None => once::once(ctx, args, &described()?),
        Some(LabAction::Check { patience, kill }) => {
            let patience = Duration::from_secs((*patience).into());
            match kill {
                None => check::check(ctx, args, &described()?, patience),
                Some(node) => kill::check(ctx, args, &described()?, node, patience),
            }
        }
        Some(LabAction::Up) => described().and_then(|_| standing::up(ctx, args)),
        Some(LabAction::Hold) => standing::hold(ctx, args, &described()?),
        Some(LabAction::Exec { place, command }) => {
            root()?;
            standing::exec(ctx, place, command)
        }
        Some(LabAction::Down) => {
            root()?;
            standing::down(ctx)
        }
    }
}

fn root() -> Result<(), Fault> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Fault::failed(
        "lab makes network namespaces, which only root may",
        "`sudo wgrelay lab`; nothing outside the namespaces is touched",
    ))
}

/// A network, and the text that it was read from.
struct Described {
    network: Network,
    text: String,
}

/// The network to build: the file's, or a profile's.
fn network(ctx: &Context, args: &Args) -> Result<Described, Fault> {
    let Some(name) = &args.profile else {
        let loaded = ctx.load_network()?;
        if let Some(bundle) = loaded.snapshot.installed_bundle()? {
            return Err(Fault::failed(
                format!(
                    "this network came here in a bundle for {}, and holds no more than that node needs",
                    bundle.this
                ),
                "run the lab where the bundle was made",
            ));
        }
        return Ok(Described { network: loaded.network, text: loaded.text });
    };
    let values = ProfileValues { name: ctx.network_name()?, ..ProfileValues::default() };
    let mut key = |_: &_| random::private_key().public_key();
    let text = profile::instantiate(name, &values, &mut key).map_err(|e| profile_fault(&e))?;
    let parsed = parse_network(text.as_bytes(), "profile");
    let network = parsed.value.ok_or_else(|| Fault::invalid(parsed.problems))?;
    Ok(Described { network, text })
}

fn backend(args: &Args) -> Option<Backend> {
    match args.backend {
        BackendChoice::Auto => None,
        BackendChoice::Kernel => Some(Backend::Kernel),
        BackendChoice::Embedded => Some(Backend::Embedded),
    }
}

fn build(ctx: &Context, args: &Args, described: &Described, interrupted: &AtomicBool) -> Result<Lab, Fault> {
    let Described { network, text } = described;
    let absent: Vec<&str> =
        network.nodes.values().filter(|n| !n.is_active(ctx.now)).map(|n| n.name.as_str()).collect();
    if !absent.is_empty() {
        ctx.out.say(&format!("left out, because disabled or expired: {}", absent.join(", ")));
    }
    let stop = || interrupted.load(Ordering::SeqCst);
    let _progress = Progress::of(
        &ctx.out,
        format!("building the lab of {}: {} nodes", network.name, network.nodes.len()),
    );
    Lab::build(network, text, backend(args), ctx.now, &stop).map_err(|e| lab_fault(&e))
}

fn lab_fault(error: &LabError) -> Fault {
    let hint = match error {
        LabError::Failed { cause, .. } if cause.contains("ip(8)") => "install iproute2",
        LabError::Failed { operation: "make a namespace for", .. } => {
            "a container needs CAP_SYS_ADMIN and CAP_NET_ADMIN for this (docker run --privileged)"
        }
        LabError::Up { .. } => "`wgrelay check` may tell why; `wgrelay -v lab` says more",
        _ => "",
    };
    Fault::failed(error, hint)
}

/// Sends the packets of a lab.
fn ask(lab: &Lab, interrupted: &AtomicBool) -> Result<Vec<Observed>, Fault> {
    let stop = || interrupted.load(Ordering::SeqCst);
    let observed = probe(lab, &stop).map_err(|e| Fault::failed(format!("cannot ask in the lab: {e}"), ""))?;
    if stop() { Err(lab_fault(&LabError::Interrupted)) } else { Ok(observed) }
}
