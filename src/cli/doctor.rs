//! `doctor`: this host, what is wrong with it for a relay, and what to do.

use std::collections::BTreeSet;

use serde::Serialize;

use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use crate::doctor::{Finding, Verdict, findings};
use crate::host::examine::examine;
use crate::host::folder::Folder;
use crate::model::EndpointHost;

#[derive(Serialize)]
struct Report {
    version: u32,
    findings: Vec<Finding>,
}

/// Examines this host, and what it makes of the network, where there is one.
pub fn doctor(ctx: &Context) -> Result<Exit, Fault> {
    let none = ctx.network_name()?.is_none() && Folder::list(&ctx.dir)?.is_empty();
    let loaded = if none { None } else { Some(ctx.load_network()?) };
    let node = loaded.as_ref().map(|loaded| ctx.this_node(loaded)).transpose()?;
    let nodes = loaded.iter().flat_map(|l| l.network.nodes.values());
    let names: BTreeSet<String> = nodes
        .filter(|n| node.is_none_or(|this| this.name != n.name))
        .filter_map(|n| match &n.endpoint.as_ref()?.host {
            EndpointHost::Name(name) => Some(name.clone()),
            EndpointHost::Ip(_) => None,
        })
        .collect();
    let record = examine(&names)?;
    let member = loaded.as_ref().map(|l| &l.network).zip(node);
    let mut findings = findings(&record, member, ctx.now);
    findings.extend(
        loaded.iter().filter_map(|l| l.folder.exposed_secrets(l.network.nodes.keys())).map(Finding::from),
    );
    let bad = findings.iter().any(|f| f.verdict == Verdict::Error);
    if ctx.out.json {
        ctx.out.json(&Report { version: 1, findings })?;
    } else {
        ctx.out.prose(&findings.iter().map(|f| text(ctx, f)).collect::<String>())?;
    }
    Ok(if bad { Exit::No } else { Exit::Done })
}

fn text(ctx: &Context, finding: &Finding) -> String {
    let (role, word) = match finding.verdict {
        Verdict::Ok => (Role::Good, "ok     "),
        Verdict::Warning => (Role::Warn, "warning"),
        Verdict::Error => (Role::Bad, "error  "),
    };
    let mut text = format!("{}  {}\n", ctx.out.paint(role, word), finding.message);
    if !finding.fix.is_empty() {
        text += &format!("         {} {}\n", ctx.out.paint(Role::Head, "fix:"), finding.fix);
    }
    text
}
