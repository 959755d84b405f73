//! `doctor`: this host, what is wrong with it for a relay, and what to do.

use std::collections::BTreeSet;

use serde::Serialize;

use super::args::Doctor;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use crate::doctor::{Finding, Verdict, answer, findings, observed};
use crate::host::examine::examine;
use crate::host::resolver;
use crate::model::EndpointHost;
use crate::plan::bridge;
use crate::status::State;
use crate::store::folder::Folder;

#[derive(Serialize)]
struct Report {
    version: u32,
    verdict: Verdict,
    answer: String,
    findings: Vec<Finding>,
}

/// Examines this host, and what it makes of the network, where there is one.
pub fn doctor(ctx: &Context, args: &Doctor) -> Result<Exit, Fault> {
    if args.kernel_fragment || args.kernel_config.is_some() {
        return super::kernel_config::kernel_config(ctx, args);
    }
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
    let folder = loaded.as_ref().map(|l| (ctx.dir.as_path(), &l.folder));
    let record = examine(&names, folder)?;
    let member = loaded.as_ref().map(|l| &l.network).zip(node);
    let mut findings = findings(&record, member, ctx.now);
    findings.extend(
        loaded.iter().filter_map(|l| l.folder.exposed_secrets(l.network.nodes.keys())).map(Finding::from),
    );
    if let Some((_, node)) = member.filter(|(_, node)| bridge::has_ports(node)) {
        findings.extend(bridge::silent_resolvers(node, &resolver::silent()).map(Finding::from));
    }
    if let Some((network, _)) = member
        && let Ok(status) = super::status::seen(ctx, &network.name)
        && status.state != State::Down
    {
        let added = observed(&status, &findings);
        findings.extend(added);
    }
    let (verdict, said) = answer(&findings, member.map(|(network, _)| network));
    if ctx.out.json {
        ctx.out.json(&Report { version: 1, verdict, answer: said, findings })?;
    } else {
        let head = ctx.out.paint(role(verdict), &said);
        let list: String = findings.iter().map(|f| text(ctx, f)).collect();
        ctx.out.prose(&format!("{head}\n{list}"))?;
    }
    Ok(if verdict == Verdict::Error { Exit::No } else { Exit::Done })
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
