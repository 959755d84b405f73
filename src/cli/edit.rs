//! `add`, `remove`, `rename`, `enable`, `disable`: edits of the network file that keep everything else as it was typed.

use zeroize::Zeroizing;

use super::args::{Add, Edit, Rename};
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use crate::app::random;
use crate::app::{Loaded, Session, find_node};
use crate::config::{EditError, NetworkDocument, Secrets, parse_network};
use crate::model::{
    Nat, Network, Node, NodeName, Platform, Problem, PublicKey, Role as NodeRole, Site, SiteInterface,
    next_address, next_address6,
};
use crate::store::files::WriterLock;
use crate::store::{Contents, Store as _};

/// What an edit changes: the text, and the secrets where they change too.
struct Edited {
    text: String,
    secrets: Option<Secrets>,
    said: String,
}

/// Adds a spoke.
pub fn add(ctx: &Context, args: &Add) -> Result<Exit, Fault> {
    edit(ctx, args.up, |loaded, document, secrets| {
        if loaded.network.nodes.contains_key(&args.name) {
            return Err(Fault::failed(
                format!("there is a node {} already", args.name),
                format!("`wgrelay show {0}` has it; `wgrelay remove {0}` takes it away", args.name),
            ));
        }
        let node = new_node(&loaded.network, args, secrets)?;
        let said = format!("{} {} at {}", ctx.out.paint(Role::Good, "added"), node.name, node.address);
        document.add_node(&node).map_err(|e| edit_fault(&e))?;
        Ok(said)
    })
}

fn new_node(network: &Network, args: &Add, secrets: &mut Secrets) -> Result<Node, Fault> {
    let full =
        |e: crate::model::Exhausted| Fault::failed(e, "remove a node, or give the network a larger `subnet`");
    let address = match args.address {
        Some(a) => a,
        None => next_address(network).map_err(full)?,
    };
    let platform =
        Platform::ALL.iter().find(|(name, _)| *name == args.platform).map(|(_, p)| *p).ok_or_else(|| {
            let names: Vec<&str> = Platform::ALL.iter().map(|(n, _)| *n).collect();
            let near = crate::model::nearest(&args.platform, names.iter().copied());
            let hint =
                near.map_or_else(|| format!("use {}", names.join(", ")), |n| format!("did you mean {n}?"));
            Fault::usage(format!("there is no platform {:?}", args.platform), hint)
        })?;
    let public_key = match args.public_key {
        Some(key) => no_secret(key, secrets)?,
        None => {
            let private = random::private_key();
            let public = private.public_key();
            secrets.private_keys.insert(args.name.clone(), private);
            public
        }
    };
    let mut node = Node::new(args.name.clone(), NodeRole::Spoke, address, public_key);
    node.platform = platform;
    node.address6 = next_address6(network, address).transpose().map_err(full)?;
    node.sites = args.site.iter().map(|text| site(text)).collect::<Result<_, _>>()?;
    if network.preshared_keys {
        for relay in network.relays() {
            let keys = secrets.preshared_keys.entry(relay.name.clone()).or_default();
            keys.insert(args.name.clone(), random::preshared_key());
        }
    }
    Ok(node)
}

/// Refuses a public key that is a secret of this network: it would be shown to whoever reads the network.
pub(super) fn no_secret(key: PublicKey, secrets: &Secrets) -> Result<PublicKey, Fault> {
    if secrets.hold(key.as_bytes()) {
        return Err(Fault::usage(
            "--public-key was given a private or preshared key of this network",
            "`wgrelay pubkey` computes the public key of a private one",
        ));
    }
    Ok(key)
}

/// Reads `CIDR` or `CIDR@IFACE`.
fn site(text: &str) -> Result<Site, Fault> {
    let (subnet, interface) = text.split_once('@').map_or((text, None), |(s, i)| (s, Some(i)));
    let subnet: ipnet::IpNet = subnet.parse().map_err(|_| {
        Fault::usage(format!("--site {text:?}: {subnet:?} is no prefix"), "such as 10.20.0.0/16@eth1")
    })?;
    let interface = interface.map(|name| match name.strip_prefix("docker:") {
        Some(network) => SiteInterface::Docker(network.into()),
        None => SiteInterface::Link(name.into()),
    });
    Ok(Site { subnet, interface, nat: Nat::Auto, gateway: false, address: None, egress: false })
}

/// Removes a node and its keys.
pub fn remove(ctx: &Context, args: &Edit) -> Result<Exit, Fault> {
    edit(ctx, args.up, |loaded, document, secrets| {
        let node = find_node(&loaded.network, &args.name)?;
        if node.is_relay() && loaded.network.relays().count() == 1 {
            return Err(Fault::failed(
                format!("{} is the relay, and a network needs one", args.name),
                "edit the file where the relay is to be another one",
            ));
        }
        document.remove_node(&args.name).map_err(|e| edit_fault(&e))?;
        secrets.remove(&args.name);
        Ok(format!("{} {}", ctx.out.paint(Role::Good, "removed"), args.name))
    })
}

/// Gives a node another name.
pub fn rename(ctx: &Context, args: &Rename) -> Result<Exit, Fault> {
    edit(ctx, args.up, |loaded, document, secrets| {
        find_node(&loaded.network, &args.old)?;
        document.rename_node(&args.old, &args.new).map_err(|e| edit_fault(&e))?;
        secrets.rename(&args.old, &args.new);
        Ok(format!("{} {} to {}", ctx.out.paint(Role::Good, "renamed"), args.old, args.new))
    })
}

/// Enables or disables a node.
pub fn set_enabled(ctx: &Context, args: &Edit, enabled: bool) -> Result<Exit, Fault> {
    edit(ctx, args.up, |loaded, document, _| {
        let node = find_node(&loaded.network, &args.name)?;
        let word = if enabled { "enabled" } else { "disabled" };
        if node.enabled == enabled {
            return Ok(format!("{} is {word} already", args.name));
        }
        document.set_enabled(&args.name, enabled).map_err(|e| edit_fault(&e))?;
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
    let folder = ctx.folder()?;
    let lock = ctx.lock(&folder)?;
    let loaded = ctx.load_network()?;
    if let Some(bundle) = loaded.snapshot.installed_bundle()? {
        return Err(Fault::failed(
            format!("this network came here in a bundle for {}", bundle.this),
            "change it where the bundle was made, export it again, and `wgrelay up --bundle` it here",
        ));
    }
    let secrets_before = read(ctx, &loaded)?;
    let mut document = NetworkDocument::of_network(&loaded.text);
    let mut secrets = secrets_before.clone();
    let said = change(&loaded, &mut document, &mut secrets)?;
    let edited =
        Edited { text: document.to_string(), secrets: (secrets != secrets_before).then_some(secrets), said };
    write(ctx, &loaded, &lock, edited, &secrets_before)?;
    drop(lock);
    then_up(ctx, up)
}

/// Applies at once what was changed, where it was asked for.
pub(super) fn then_up(ctx: &Context, up: bool) -> Result<Exit, Fault> {
    if !up {
        return Ok(Exit::Done);
    }
    super::up::up(&ctx.settled(), &super::args::Up::default())
}

fn write(
    ctx: &Context,
    loaded: &Loaded,
    lock: &WriterLock,
    mut edited: Edited,
    secrets_before: &Secrets,
) -> Result<(), Fault> {
    if edited.text != loaded.text || edited.secrets.is_some() {
        let file = loaded.folder.network_path().display().to_string();
        let parsed = parse_network(edited.text.as_bytes(), &file);
        let Some(network) = &parsed.value else {
            let problems: Vec<Problem> = parsed.problems.into_iter().filter(Problem::is_error).collect();
            return Err(Fault {
                problems,
                ..Fault::failed("the network would not be valid any more; nothing was changed", "")
            });
        };
        let new = new_pairs(&loaded.network, network);
        if !new.is_empty() {
            let secrets = edited.secrets.get_or_insert_with(|| secrets_before.clone());
            for (relay, other) in &new {
                if secrets.preshared_key(relay, other).is_none() {
                    secrets.set_preshared_key(relay, other, random::preshared_key());
                }
            }
        }
        let told = |p: &Problem| loaded.warnings.iter().any(|w| w.code == p.code && w.message == p.message);
        for warning in parsed.problems.iter().filter(|p| !told(p)) {
            ctx.out.problem(warning);
        }
        let secrets: Option<Zeroizing<String>> = edited.secrets.as_ref().map(Secrets::render);
        let before = loaded.snapshot.contents()?;
        let expected = before.digests();
        let mut contents =
            Contents { network: Some(Zeroizing::new(edited.text.clone().into_bytes())), ..before };
        if let Some(secrets) = secrets {
            contents.secrets = Some(Zeroizing::new(secrets.as_bytes().to_vec()));
        }
        let why = edited.said.lines().next().unwrap_or_default();
        loaded.folder.commit(
            lock,
            &contents,
            &expected,
            ctx.note(anstream::adapter::strip_str(why).to_string()),
        )?;
    }
    if ctx.out.json {
        ctx.out.json(&serde_json::json!({"version": 1, "changed": edited.text != loaded.text}))?;
    } else {
        ctx.out.prose(&edited.said)?;
    }
    Ok(())
}

/// The pairs that share a preshared key since a node became a relay: it and every other node.
fn new_pairs(before: &Network, after: &Network) -> Vec<(NodeName, NodeName)> {
    let was_relay = |node: &Node| before.nodes.get(&node.name).is_some_and(Node::is_relay);
    if !after.preshared_keys || after.relays().all(was_relay) {
        return Vec::new();
    }
    let pairs =
        after.key_pairs().filter(|(relay, other)| !was_relay(relay) || other.is_relay() && !was_relay(other));
    pairs.map(|(relay, other)| (relay.name.clone(), other.name.clone())).collect()
}

pub(super) fn edit_fault(error: &EditError) -> Fault {
    let hint = match error {
        EditError::Mentioned { .. } => "change or remove those rules first",
        EditError::Exists(_) => "`wgrelay list` has the names in use",
        EditError::ByHand { .. } => "edit the file by hand there",
        _ => "",
    };
    Fault::failed(error, hint)
}
