//! `cluster`: a network that several relays keep in one etcd.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use super::root::require_root;
use super::table::{Cell, Narrow, table};
use crate::app::{
    self, ClusterStatus, EndpointStatus, MemberStatus, StoreAccess, cluster_create, cluster_host,
    cluster_join, cluster_leave, cluster_status,
};
use crate::model::{NodeName, SigningKey, Timestamp};
use crate::status::duration;

/// Below `cluster`
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Put the network into the store; from then on its folder is this relay's copy
    #[command(
        after_help = "Where the store lost the network (it was wiped, or put back from a backup), this writes a member's copy back.\n\n\
                            Examples:\n  wgrelay cluster create --etcd https://192.0.2.10:2379,https://192.0.2.11:2379 \
                            --ca ca.pem --cert eu.pem --key eu.key"
    )]
    Create {
        /// Where it is.
        #[command(flatten)]
        etcd: Etcd,
        /// Which host of the relay this is, where its `hosts` are several
        #[arg(long, value_name = "HOST")]
        host: Option<NodeName>,
    },
    /// Make this relay a member of the network that is in the store
    #[command(
        after_help = "A bundle that a member exported after `cluster create` says whom to believe.\n\nExamples:\n  \
                            wgrelay cluster join --bundle us.bundle --etcd https://192.0.2.10:2379 --ca ca.pem --cert us.pem --key us.key"
    )]
    Join {
        /// Where it is.
        #[command(flatten)]
        etcd: Etcd,
        /// Which host of the relay this is, where its `hosts` are several
        #[arg(long, value_name = "HOST")]
        host: Option<NodeName>,
        /// Install this bundle first
        #[arg(long, value_name = "FILE")]
        bundle: Option<PathBuf>,
        /// Believe this member's signing key, as its `cluster status` has it
        #[arg(long, value_name = "KEY")]
        trust: Option<SigningKey>,
    },
    /// Say which host of its relay this is, where it became one of several
    #[command(after_help = "Examples:\n  wgrelay cluster host eu-a")]
    Host {
        /// One of the relay's `hosts`
        #[arg(value_name = "HOST")]
        host: NodeName,
    },
    /// Ask each member of etcd, and tell how this relay stands with the store
    #[command(
        after_help = "Exit code 4: the store is not reached, or has what this relay does not take.\n\nExamples:\n  \
                            wgrelay cluster status\n  wgrelay cluster status --json"
    )]
    Status,
    /// End this relay's membership; its copy stays, as a network of its own
    #[command(after_help = "Examples:\n  wgrelay cluster leave")]
    Leave,
}

/// Where a store is, and who this relay is there.
#[derive(Debug, Args)]
pub struct Etcd {
    /// The members of etcd, with commas between; by addresses outside of the tunnel
    #[arg(long, value_name = "URL[,URL…]")]
    pub etcd: String,
    /// Who signed the certificates of etcd, as PEM
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// This relay's certificate for it, as PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The key of that certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Sign in as this user of etcd
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub user: Option<String>,
    /// The file with that user's password, mode 0600
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
}

impl From<&Etcd> for StoreAccess {
    fn from(etcd: &Etcd) -> Self {
        let Etcd { etcd, ca, cert, key, user, password_file } = etcd;
        Self {
            etcd: etcd.clone(),
            ca: ca.clone(),
            cert: cert.clone(),
            key: key.clone(),
            user: user.clone(),
            password_file: password_file.clone(),
            host: None,
        }
    }
}

/// Runs what is below `cluster`.
pub fn cluster(ctx: &Context, command: &ClusterCommand) -> Result<Exit, Fault> {
    match command {
        ClusterCommand::Create { etcd, host } => create(ctx, etcd, host.as_ref()),
        ClusterCommand::Host { host } => {
            let node = cluster_host(ctx, host)?;
            ctx.out.prose(&format!("this host is {host}, which can carry {node}"))?;
            Ok(Exit::Done)
        }
        ClusterCommand::Join { etcd, host, bundle, trust } => {
            if bundle.is_some() {
                require_root(ctx, "cluster join --bundle")?;
            }
            join(ctx, etcd, host.as_ref(), bundle.as_deref(), *trust)
        }
        ClusterCommand::Status => status(ctx),
        ClusterCommand::Leave => leave(ctx),
    }
}

fn access(etcd: &Etcd, host: Option<&NodeName>) -> StoreAccess {
    StoreAccess { host: host.cloned(), ..etcd.into() }
}

fn create(ctx: &Context, etcd: &Etcd, host: Option<&NodeName>) -> Result<Exit, Fault> {
    let created = cluster_create(ctx, &access(etcd, host))?;
    if ctx.out.json {
        ctx.out.json(&created)?;
        return Ok(Exit::Done);
    }
    let app::ClusterCreated { network, node, revision, signing_key, written_back, others, .. } = created;
    if written_back {
        let wrote = ctx.out.paint(Role::Good, "wrote");
        ctx.out.prose(&format!(
            "{wrote} this relay's copy of {network} back into the store, as revision {revision}"
        ))?;
        return Ok(Exit::Done);
    }
    let put = ctx.out.paint(Role::Good, "put");
    ctx.out.prose(&format!(
        "{put} {network} into the store, as revision {revision}; {node} signs with {signing_key}"
    ))?;
    for other in others {
        ctx.out.say(&format!(
            "for {other}: `wgrelay export {other} --format bundle --out {other}.bundle` here, `wgrelay cluster join --bundle {other}.bundle` there"
        ));
    }
    ctx.out.say("what holds the network here follows the store from its next start on: `wgrelay service install`, or `wgrelay up`");
    Ok(Exit::Done)
}

fn join(
    ctx: &Context,
    etcd: &Etcd,
    host: Option<&NodeName>,
    bundle: Option<&std::path::Path>,
    trust: Option<SigningKey>,
) -> Result<Exit, Fault> {
    let joined = cluster_join(ctx, &access(etcd, host), bundle, trust)?;
    if ctx.out.json {
        ctx.out.json(&joined)?;
        return Ok(Exit::Done);
    }
    let app::ClusterJoined { network, node, revision, believed, believed_key, .. } = joined;
    let word = ctx.out.paint(Role::Good, "joined");
    ctx.out.prose(&format!("{node} {word} the cluster of {network}, at revision {revision}"))?;
    if let (Some(name), Some(key)) = (believed, believed_key) {
        ctx.out.say(&format!(
            "nothing here said whom to believe: compare {key} with the signing key of {name} in `wgrelay cluster status` there"
        ));
    }
    ctx.out.say("`wgrelay up` brings it up as the store has it");
    Ok(Exit::Done)
}

fn leave(ctx: &Context) -> Result<Exit, Fault> {
    let app::ClusterLeft { network, node, untold } = cluster_leave(ctx)?;
    if ctx.out.json {
        ctx.out.json(&serde_json::json!({
            "version": 1, "network": network, "node": node, "told": untold.is_none(),
        }))?;
        return Ok(Exit::Done);
    }
    let word = ctx.out.paint(Role::Good, "left");
    ctx.out
        .prose(&format!("{node} {word} the cluster of {network}; the network is in its folder as it was"))?;
    if let Some(error) = untold {
        ctx.out.say(&format!("the others were not told: {error}"));
        ctx.out.say(&format!("there: `wgrelay set {node} sealing_key --unset`, or `wgrelay remove {node}`"));
    }
    Ok(Exit::Done)
}

fn status(ctx: &Context) -> Result<Exit, Fault> {
    let status = cluster_status(ctx)?;
    if ctx.out.json {
        ctx.out.json(&status)?;
    } else {
        told(ctx, &status)?;
    }
    Ok(if status.is_well() { Exit::Done } else { Exit::No })
}

fn told(ctx: &Context, status: &ClusterStatus) -> Result<(), Fault> {
    let out = &ctx.out;
    let number = |number: Option<u64>| number.map_or_else(|| "none".into(), |number| number.to_string());
    let here = number(status.revision);
    let mut text = format!(
        "{} is in a shared store: node {}, revision {here}",
        out.paint(Role::Name, status.network.as_str()),
        status.node
    );
    text += &match status.unreachable_since {
        Some(since) => {
            let age = duration(ctx.now.since(Timestamp(since)));
            format!(
                ", {} since {} ({age})",
                out.paint(Role::Bad, "the store is not reached"),
                Timestamp(since)
            )
        }
        None if status.store_revision == status.revision && status.held.is_none() => ", as the store".into(),
        None if status.store_revision == status.revision => {
            format!(", the store {}", out.paint(Role::Warn, "has another one of that number"))
        }
        None => format!(
            ", the store {}",
            out.paint(Role::Warn, &format!("has {}", number(status.store_revision)))
        ),
    };
    text.push('\n');
    let rows: Vec<Vec<Cell>> = status.endpoints.iter().map(endpoint_row).collect();
    text += &table(out, &["ETCD", "ANSWERS"], &rows, Narrow::Wrap);
    let rows: Vec<Vec<Cell>> = status.relays.iter().map(relay_row).collect();
    text += &table(out, &["RELAY", "JOINED", "SIGNS WITH"], &rows, Narrow::Leave);
    out.prose(&text)?;
    for held in status.held.iter().chain(&status.not_applied) {
        out.error(&format!("{} (since {})", held.message, held.since), &held.hint);
    }
    Ok(())
}

fn endpoint_row(status: &EndpointStatus) -> Vec<Cell> {
    let endpoint = Cell::with(Role::Name, status.endpoint.to_string());
    let said = status.error.as_deref().unwrap_or("no");
    vec![endpoint, if status.reachable { Cell::with(Role::Good, "yes") } else { Cell::with(Role::Bad, said) }]
}

fn relay_row(relay: &MemberStatus) -> Vec<Cell> {
    let joined = if relay.joined { Cell::with(Role::Good, "yes") } else { Cell::with(Role::Warn, "no") };
    let key = relay.signing_key.map_or_else(|| "-".into(), |key| key.to_string());
    vec![Cell::with(Role::Name, relay.name.to_string()), joined, Cell::new(key)]
}
