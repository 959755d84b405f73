//! `doctor`: this host, what is wrong with it for a relay, and what to do.

use super::args::Doctor;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use crate::app;
use crate::doctor::{Finding, Verdict};

/// Examines this host, and what it makes of the network, where there is one.
pub fn doctor(ctx: &Context, args: &Doctor) -> Result<Exit, Fault> {
    if args.kernel_fragment || args.kernel_config.is_some() {
        return super::kernel_config::kernel_config(ctx, args);
    }
    let found = app::diagnose(ctx)?;
    if ctx.out.json {
        ctx.out.json(&found)?;
    } else {
        let head = ctx.out.paint(role(found.verdict), &found.answer);
        let list: String = found.findings.iter().map(|f| text(ctx, f)).collect();
        ctx.out.prose(&format!("{head}\n{list}"))?;
    }
    Ok(if found.verdict == Verdict::Error { Exit::No } else { Exit::Done })
}

const fn role(verdict: Verdict) -> Role {
    match verdict {
        Verdict::Ok => Role::Good,
        Verdict::Warning => Role::Warn,
        Verdict::Error => Role::Bad,
    }
}

fn text(ctx: &Context, finding: &Finding) -> String {
    let word = match finding.verdict {
        Verdict::Ok => "ok     ",
        Verdict::Warning => "warning",
        Verdict::Error => "error  ",
    };
    let mut text = format!("{}  {}\n", ctx.out.paint(role(finding.verdict), word), finding.message);
    if !finding.fix.is_empty() {
        text += &format!("         {} {}\n", ctx.out.paint(Role::Head, "fix:"), finding.fix);
    }
    text
}
