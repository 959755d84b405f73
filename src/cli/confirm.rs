//! `confirm`: keeps the change that waits, or is the process that waits.

use super::args::Confirm;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::interrupt::unblock_signals;
use super::output::Role;
use super::root::require_root;
use crate::app;
use crate::lab::hold::end_with_lab;

/// Keeps the change that waits, or waits.
pub fn confirm(ctx: &Context, args: &Confirm) -> Result<Exit, Fault> {
    require_root(ctx, "confirm")?;
    if args.wait {
        unblock_signals()?;
        end_with_lab(&ctx.dir)?;
        app::wait_for_confirmation(ctx)?;
        return Ok(Exit::Done);
    }
    let done = app::confirm(ctx)?;
    if ctx.out.json {
        ctx.out.json(&serde_json::json!({
            "version": 1, "network": done.network, "node": done.node, "confirmed": true,
        }))?;
    } else {
        ctx.out.prose(&format!("{} is {} as it is now", done.network, ctx.out.paint(Role::Good, "kept")))?;
    }
    if done.interface_is_gone {
        ctx.out.say("its interface is gone: `wgrelay up` makes it again");
    }
    Ok(Exit::Done)
}
