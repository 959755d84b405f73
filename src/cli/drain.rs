//! `drain` and `undrain`: spokes leave a relay before maintenance, and it carries again.

use super::args::Drain;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::root::require_root;
use crate::app::{self, DrainOutcome, HandedOver};
use crate::model::NodeName;

/// Has spokes leave a relay, or has it carry again.
pub fn drain(ctx: &Context, args: &Drain, drains: bool) -> Result<Exit, Fault> {
    require_root(ctx, if drains { "drain" } else { "undrain" })?;
    let done = app::drain(ctx, &args.relay, drains)?;
    if ctx.out.json {
        ctx.out.json(&done)?;
        return Ok(Exit::Done);
    }
    let done = match done {
        DrainOutcome::Relay(done) => done,
        DrainOutcome::Host(done) => {
            let HandedOver { host, relay, holder, .. } = done;
            let holder = holder.map_or_else(|| "nobody".into(), |holder| holder.to_string());
            let text =
                if drains { format!("{host} drains") } else { format!("{host} can carry {relay} again") };
            ctx.out.prose(&format!("{text}; {holder} carries {relay}"))?;
            return Ok(Exit::Done);
        }
    };
    let relay = &args.relay;
    let mut text = if drains { format!("{relay} drains\n") } else { format!("{relay} carries again\n") };
    for gone in &done.went {
        text += &format!("  {} went over to {}\n", gone.node, gone.relay);
    }
    ctx.out.prose(text.trim_end())?;
    if !done.stay.is_empty() {
        let names: Vec<String> = done.stay.iter().map(NodeName::to_string).collect();
        ctx.out.say(&format!(
            "still there, without an agent or another relay that answers: {}",
            names.join(", ")
        ));
    }
    Ok(Exit::Done)
}
