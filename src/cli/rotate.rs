//! `rotate`: new keys for a node, and who has to hear of it.

use clap::Args;

use super::context::Context;
use super::edit::edit_with;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use crate::app::{Session, rotate_node, rotate_shared};
use crate::model::{NodeName, PublicKey};

/// `rotate`
#[derive(Debug, Args)]
pub struct Rotate {
    /// The node
    #[arg(required_unless_present = "all_shared")]
    pub name: Option<NodeName>,
    /// Its new public key: no private key is made or stored
    #[arg(long, value_name = "KEY")]
    pub public_key: Option<PublicKey>,
    /// All that a relay knows of others: the keys of every spoke that are kept here, and every preshared key
    #[arg(long, conflicts_with_all = ["name", "public_key"])]
    pub all_shared: bool,
    /// Apply at once
    #[arg(long)]
    pub up: bool,
}

/// Gives a node a new key pair, and new preshared keys with its peers.
pub fn rotate(ctx: &Context, args: &Rotate) -> Result<Exit, Fault> {
    edit_with(ctx, args.up, Session::load_secrets_as_they_are, |loaded, document, secrets| {
        let rotated = ctx.out.paint(Role::Good, "rotated");
        let (to_export, mut said) = match &args.name {
            Some(name) => {
                let to_export = rotate_node(loaded, document, secrets, name, args.public_key)?;
                (to_export, format!("{rotated} the keys of {name}"))
            }
            None => {
                let shared = rotate_shared(loaded, document, secrets)?;
                let mut said = format!("{rotated} {}", shared.said());
                for node in &shared.kept {
                    said += &format!("\n{node} made its private key itself, and keeps it");
                }
                (shared.to_export, said)
            }
        };
        let names: Vec<&str> = to_export.iter().map(|n| n.name.as_str()).collect();
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
