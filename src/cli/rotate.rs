//! `rotate`: new keys for a node, and who has to hear of it.

use super::args::Rotate;
use super::context::Context;
use super::edit::{edit_fault, edit_with, no_secret};
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use crate::app::random;
use crate::app::{Session, find_node};
use crate::model::{Network, Node};

/// Gives a node a new key pair, and new preshared keys with its peers.
pub fn rotate(ctx: &Context, args: &Rotate) -> Result<Exit, Fault> {
    edit_with(ctx, args.up, Session::load_secrets_as_they_are, |loaded, document, secrets| {
        let node = find_node(&loaded.network, &args.name)?;
        let public_key = match args.public_key {
            Some(key) => {
                let key = no_secret(key, secrets)?;
                secrets.private_keys.remove(&node.name);
                key
            }
            // A node that keeps its private key to itself has to make the new one itself, too.
            None if !secrets.private_keys.contains_key(&node.name) => {
                return Err(Fault::failed(
                    format!(
                        "the private key of {} is not here, so a new one would never get there",
                        node.name
                    ),
                    "make one on that node with `wgrelay genkey`, and give its public key with --public-key",
                ));
            }
            None => {
                let private = random::private_key();
                let public = private.public_key();
                secrets.private_keys.insert(node.name.clone(), private);
                public
            }
        };
        document.set_public_key(&node.name, &public_key).map_err(|e| edit_fault(&e))?;
        if loaded.network.preshared_keys {
            for other in peers(&loaded.network, node) {
                let (relay, spoke) = if node.is_relay() { (node, other) } else { (other, node) };
                secrets.set_preshared_key(&relay.name, &spoke.name, random::preshared_key());
            }
        }
        let to_export = if node.is_relay() { peers(&loaded.network, node) } else { vec![node] };
        let names: Vec<&str> = to_export.iter().map(|n| n.name.as_str()).collect();
        let mut said = format!("{} the keys of {}", ctx.out.paint(Role::Good, "rotated"), node.name);
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

/// The nodes that a node shares keys with: of every pair one is a relay.
fn peers<'n>(network: &'n Network, node: &Node) -> Vec<&'n Node> {
    network
        .nodes
        .values()
        .filter(|other| other.name != node.name && (other.is_relay() || node.is_relay()))
        .collect()
}
