//! `init`: a whole network from a profile, with what this machine tells about itself filled in.

use super::args::Init;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use crate::app::{self, Made, NewNetwork};
use crate::model::{Network, Node, Platform};

/// Writes a new network.
pub fn init(ctx: &Context, args: &Init) -> Result<Exit, Fault> {
    let asked = NewNetwork {
        profile: args.profile.clone(),
        endpoint: args.endpoint.clone(),
        subnet: args.subnet,
        subnet6: args.subnet6,
    };
    let made = app::init(ctx, &asked)?;
    for line in &made.taken {
        ctx.out.say(&format!("{} {line}", ctx.out.paint_talk(Role::Good, "took:")));
    }
    tell(ctx, &made, &args.profile)?;
    Ok(Exit::Done)
}

/// A few lines: what was chosen, what to look at, what to do next.
fn tell(ctx: &Context, made: &Made, profile: &str) -> Result<(), Fault> {
    let (out, Made { folder, network, .. }) = (&ctx.out, made);
    let file = folder.network_path().display().to_string();
    if out.json {
        out.json(&serde_json::json!({
            "version": 1, "network": network.name, "profile": profile, "file": file,
            "endpoint": network.relays().filter_map(|r| r.endpoint.as_ref()).map(ToString::to_string).next(),
            "endpoint_guessed": made.endpoint_is_guessed,
            "nodes": network.nodes.keys().collect::<Vec<_>>(),
        }))?;
        return Ok(());
    }
    let mut text = format!(
        "{} network {} in {} (profile {})\n",
        out.paint(Role::Good, "wrote"),
        out.paint(Role::Name, network.name.as_str()),
        folder.path().display(),
        profile
    );
    for node in network.nodes.values() {
        text += &format!("  {}\n", node_line(node));
    }
    out.prose(&text)?;
    for warning in &made.to_check {
        out.say(&format!("{} {warning}", out.paint_talk(Role::Warn, "check:")));
    }
    let first = made.first.as_ref().map_or_else(String::new, |first| format!("{first}; then "));
    out.say(&format!("{} {first}{}", out.paint_talk(Role::Head, "next:"), next(ctx, network)));
    Ok(())
}

/// What to type now: the relay, then what a person imports, then the bundle of a container.
fn next(ctx: &Context, network: &Network) -> String {
    let is_container = |n: &&Node| n.platform == Platform::Docker;
    let mut exports: Vec<String> =
        network.spokes().filter(|n| !is_container(n)).take(1).map(|n| format!("export {}", n.name)).collect();
    exports.extend(
        network.spokes().filter(is_container).take(1).map(|n| format!("export {} --format bundle", n.name)),
    );
    if exports.is_empty() {
        exports.push("export NAME".into());
    }
    let exports: Vec<String> = exports.iter().map(|line| ctx.out.command(line)).collect();
    format!("{}    then: {}", ctx.out.command("up"), exports.join("    and: "))
}

/// A node in a line: its name, its address, and what is behind it.
pub(super) fn node_line(node: &Node) -> String {
    let mut line = format!("{:<8} {}", node.name.as_str(), node.address);
    if let Some(endpoint) = &node.endpoint {
        let what = if node.is_relay() { "relay at" } else { "at" };
        line += &format!(", {what} {endpoint}");
    }
    for site in &node.sites {
        line += &format!(", {}", site.subnet);
        if let Some(interface) = &site.interface {
            line += &format!(" behind {interface}");
        }
    }
    line
}
