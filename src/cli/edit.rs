//! `add`, `remove`, `rename`, `enable`, `disable`: edits of the network file that keep everything else as it was typed.

use super::args::{Add, Edit, Rename};
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use crate::app::{self, Loaded, NewNode, Saving, Session};
use crate::config::{NetworkDocument, Secrets};

/// Adds a spoke.
pub fn add(ctx: &Context, args: &Add) -> Result<Exit, Fault> {
    let asked = NewNode {
        name: args.name.clone(),
        platform: args.platform.clone(),
        sites: args.site.clone(),
        address: args.address,
        public_key: args.public_key,
    };
    edit(ctx, args.up, |loaded, document, secrets| {
        let node = app::add_node(loaded, document, secrets, &asked)?;
        Ok(format!("{} {} at {}", ctx.out.paint(Role::Good, "added"), node.name, node.address))
    })
}

/// Removes a node and its keys.
pub fn remove(ctx: &Context, args: &Edit) -> Result<Exit, Fault> {
    edit(ctx, args.up, |loaded, document, secrets| {
        app::remove_node(loaded, document, secrets, &args.name)?;
        Ok(format!("{} {}", ctx.out.paint(Role::Good, "removed"), args.name))
    })
}

/// Gives a node another name.
pub fn rename(ctx: &Context, args: &Rename) -> Result<Exit, Fault> {
    edit(ctx, args.up, |loaded, document, secrets| {
        app::rename_node(loaded, document, secrets, &args.old, &args.new)?;
        if args.old == args.new {
            return Ok(format!("{} is its name already", args.old));
        }
        Ok(format!("{} {} to {}", ctx.out.paint(Role::Good, "renamed"), args.old, args.new))
    })
}

/// Enables or disables a node.
pub fn set_enabled(ctx: &Context, args: &Edit, enabled: bool) -> Result<Exit, Fault> {
    edit(ctx, args.up, |loaded, document, _| {
        let word = if enabled { "enabled" } else { "disabled" };
        if !app::enable_node(loaded, document, &args.name, enabled)? {
            return Ok(format!("{} is {word} already", args.name));
        }
        Ok(format!("{} {}", ctx.out.paint(Role::Good, word), args.name))
    })
}

/// Edits under the lock: reads, changes in memory, checks the result, and writes it whole or not at all.
pub(super) fn edit(
    ctx: &Context,
    up: bool,
    change: impl FnOnce(&Loaded, &mut NetworkDocument, &mut Secrets) -> Result<String, Fault>,
) -> Result<Exit, Fault> {
    edit_with(ctx, up, Session::load_secrets, change)
}

/// The same with secrets read by `read`: what mends them must not need them to be right.
pub(super) fn edit_with(
    ctx: &Context,
    up: bool,
    read: impl FnOnce(&Session, &Loaded) -> Result<Secrets, Fault>,
    change: impl FnOnce(&Loaded, &mut NetworkDocument, &mut Secrets) -> Result<String, Fault>,
) -> Result<Exit, Fault> {
    let edited = app::edit(ctx, Saving::default(), read, change)?;
    if ctx.out.json {
        ctx.out.json(&serde_json::json!({"version": 1, "changed": edited.changes_network()}))?;
    } else {
        ctx.out.prose(&edited.said)?;
    }
    then_up(ctx, up)
}

/// Applies at once what was changed, where it was asked for.
pub(super) fn then_up(ctx: &Context, up: bool) -> Result<Exit, Fault> {
    if !up {
        return Ok(Exit::Done);
    }
    super::up::up(&ctx.settled(), &super::args::Up::default())
}
