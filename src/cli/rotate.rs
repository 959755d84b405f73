//! `rotate`: new keys for a node, and who has to hear of it.

use super::args::Rotate;
use super::context::Context;
use super::edit::edit_with;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use crate::app::{Session, rotate_node};

/// Gives a node a new key pair, and new preshared keys with its peers.
pub fn rotate(ctx: &Context, args: &Rotate) -> Result<Exit, Fault> {
    edit_with(ctx, args.up, Session::load_secrets_as_they_are, |loaded, document, secrets| {
        let to_export = rotate_node(loaded, document, secrets, &args.name, args.public_key)?;
        let names: Vec<&str> = to_export.iter().map(|n| n.name.as_str()).collect();
        let mut said = format!("{} the keys of {}", ctx.out.paint(Role::Good, "rotated"), args.name);
        if !names.is_empty() {
            said += &format!("\nexport again, and install there: {}", names.join(", "));
        }
        if !args.up {
            said +=
                "\nuntil wgrelay up on the relay, and the new file on the node, they do not hear each other";
        }
        Ok(said)
    })
}
