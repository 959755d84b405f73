//! `run`: the agent, in the foreground or on behalf of an `up`.

use super::args::Run;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::interrupt::unblock_signals;
use super::root::require_root;
use crate::daemon::agent;
use crate::lab::hold::end_with_lab;

/// Runs the agent until it is told to end.
pub fn run(ctx: &Context, args: &Run) -> Result<Exit, Fault> {
    unblock_signals()?;
    require_root(ctx, "run")?;
    end_with_lab(&ctx.dir)?;
    // The command line, or the file, stays wrong until somebody corrects it.
    let is_final = |code| [Exit::Usage, Exit::Invalid].iter().any(|exit| *exit as i32 == code);
    let ended_well = match (args.attach, args.host) {
        (Some(mtu), _) => agent::supervised(ctx, mtu, is_final)?,
        (None, Some(mtu)) => agent::attached(ctx, mtu)?,
        (None, None) if args.resume => agent::resumed(ctx)?,
        (None, None) => agent::foreground(ctx, args.backend.into(), args.metrics)?,
    };
    Ok(if ended_well { Exit::Done } else { Exit::Failed })
}
