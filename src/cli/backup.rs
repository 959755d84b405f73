//! `backup` and `restore`: a network with its keys in one file, and with it the page's users and the history of traffic.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use super::web::{ACCOUNT, STATE};
use crate::app::revisions::{self, NotRestored};
use crate::app::unprivileged::Account;
use crate::model::InterfaceName;
use crate::store::Store as _;
use crate::store::backup::{self as file, Held, Kind};
use crate::store::files::{StoreError, read_secret};
use crate::store::folder::{Folder, write_private};
use crate::store::traffic::TrafficFile;
use crate::web::Database;

/// A file of a backup is read up to 64 MiB: so long may what goes with the network be.
const MOST: usize = 40 << 20;

/// `backup`
#[derive(Debug, Args)]
pub struct Backup {
    /// The file to write, mode 0600: it holds every key
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The page's database [default: /var/lib/wgrelay-web/NETWORK.db, where it is there]
    #[arg(long, value_name = "FILE")]
    pub web_database: Option<PathBuf>,
}

/// `restore`
#[derive(Debug, Args)]
pub struct Restore {
    /// A file that `backup` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where the page's database goes [default: /var/lib/wgrelay-web/NETWORK.db]
    #[arg(long, value_name = "FILE")]
    pub web_database: Option<PathBuf>,
}

/// Writes the network with its keys into one file.
pub fn backup(ctx: &Context, args: &Backup) -> Result<Exit, Fault> {
    let folder = ctx.folder()?;
    let contents = folder.load()?;
    revisions::valid(&contents)?;
    let databases = held(ctx, &folder, args.web_database.as_deref())?;
    let bytes = file::render(folder.name().as_str(), ctx.now.0, &contents, &databases)
        .map_err(|why| Fault::failed(format!("{}: {why}", folder.path().display()), ""))?;
    write_private(&args.file, &bytes)?;
    let shown = args.file.display().to_string();
    let has = |kind| databases.iter().any(|held| held.kind == kind);
    if ctx.out.json {
        ctx.out.json(&serde_json::json!({
            "version": 1, "network": folder.name(), "file": shown, "web": has(Kind::Web), "traffic": has(Kind::Traffic),
        }))?;
    } else {
        let wrote = ctx.out.paint_talk(Role::Good, "wrote");
        let web = if has(Kind::Web) { ", the page's users" } else { "" };
        let traffic = if has(Kind::Traffic) { ", the history of traffic" } else { "" };
        ctx.out
            .say(&format!("{wrote} {shown}: the network {} with all its keys{web}{traffic}", folder.name()));
    }
    Ok(Exit::Done)
}

/// Copies what goes with the network, each as it is at one moment.
fn held(ctx: &Context, folder: &Folder, web: Option<&Path>) -> Result<Vec<Held>, Fault> {
    let mut databases = Vec::new();
    let usual = web_database(folder.name());
    let path = web.or_else(|| usual.exists().then_some(usual.as_path()));
    if let Some(path) = path {
        let about = std::fs::symlink_metadata(path)
            .map_err(|e| Fault::failed(format!("cannot read {}: {e}", path.display()), ""))?;
        let account = Account { uid: about.uid(), gid: about.gid() };
        let bytes = if account == Account::own() {
            Database::open(path)?.copy()?
        } else {
            as_account(account, folder.name(), path, "copy", &[])?
        };
        databases.push(Held { kind: Kind::Web, bytes: bytes.into() });
    }
    if let Some(mut traffic) = TrafficFile::open_to_read(folder)? {
        databases.push(Held { kind: Kind::Traffic, bytes: traffic.copy()?.into() });
    }
    let mut left = MOST;
    databases.retain(|held| match left.checked_sub(held.bytes.len()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => {
            let what = if held.kind == Kind::Web { "the page's database" } else { "the history of traffic" };
            ctx.out.say(&format!("left out: {what}, of {} MiB; copy its file", held.bytes.len() >> 20));
            false
        }
    });
    Ok(databases)
}

fn web_database(network: &InterfaceName) -> PathBuf {
    Path::new(STATE).join(format!("{network}.db"))
}

/// Has a process of the account that the page's database belongs to copy it, or put one in its place: who has taken that account over
/// has root read nothing of his but bytes.
fn as_account(
    account: Account,
    network: &InterfaceName,
    path: &Path,
    work: &str,
    input: &[u8],
) -> Result<Vec<u8>, Fault> {
    let path = std::path::absolute(path)?;
    let words = ["--network", network.as_str(), "web", "--database"].map(str::to_owned);
    let words = [&words[..], &[path.display().to_string(), work.to_owned()]].concat();
    let done = account.run(&words, input)?;
    if done.status.success() {
        return Ok(done.stdout);
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let said = said.trim().trim_start_matches("error: ");
    let why = if said.is_empty() { done.status.to_string() } else { said.to_owned() };
    Err(Fault::failed(format!("cannot work on {} as user {}: {why}", path.display(), account.uid), ""))
}

/// Makes a network what a backup holds.
pub fn restore(ctx: &Context, args: &Restore) -> Result<Exit, Fault> {
    let shown = args.file.display().to_string();
    let text = read_secret(&args.file).map_err(|error| match error {
        StoreError::NotAFile { .. } => {
            Fault::failed(error, "a backup is one file, which `wgrelay backup FILE` writes")
        }
        other => other.into(),
    })?;
    let told = |why: String| NotRestored::NotABackup(format!("{shown}: {why}"));
    let kept = file::parse(&text).map_err(told)?;
    let name = revisions::name_of(&kept.contents)?;
    if let Some(asked) = ctx.network_name()?.filter(|asked| *asked != name) {
        return Err(Fault::usage(
            format!("{shown} holds the network {name}, and --network says {asked}"),
            format!("`--network {name}`, or leave it out"),
        ));
    }
    let folder = Folder::new(&ctx.dir, &name);
    let made = revisions::restore(&folder, &kept.contents, ctx.note(format!("restored from {shown}")))?;
    let (mut web, mut traffic) = (false, false);
    for held in &kept.databases {
        match held.kind {
            Kind::Traffic => {
                TrafficFile::restore(&folder, &held.bytes)?;
                traffic = true;
            }
            Kind::Web => web = restore_web(ctx, args.web_database.as_deref(), &name, &held.bytes)?,
        }
    }
    if ctx.out.json {
        ctx.out.json(&serde_json::json!({
            "version": 1, "network": name, "revision": made, "changed": made.is_some(), "web": web, "traffic": traffic,
        }))?;
    } else if made.is_some() {
        ctx.out.prose(&format!("{} network {name} from {shown}", ctx.out.paint(Role::Good, "restored")))?;
    } else {
        ctx.out.prose(&format!("network {name} is as in {shown} already"))?;
    }
    if web {
        ctx.out.say("the page's users, tokens and audit are as they were; restart `wgrelay web` where it runs. Everybody signs in again");
    }
    Ok(Exit::Done)
}

/// Puts the page's database back; `false`: there is no place for it, which is told.
fn restore_web(
    ctx: &Context,
    named: Option<&Path>,
    network: &InterfaceName,
    bytes: &[u8],
) -> Result<bool, Fault> {
    let path = named.map_or_else(|| web_database(network), Path::to_owned);
    let account = match path.parent().map(std::fs::symlink_metadata) {
        // Where it was, or is to be: a folder of its account's.
        Some(Ok(about)) => Account { uid: about.uid(), gid: about.gid() },
        _ if named.is_some() || !Account::own().is_root() => Account::own(),
        _ => match Account::without_rights(ACCOUNT) {
            Ok(account) => account,
            Err(_) => {
                ctx.out.say(&format!(
                    "left out: the page's users; there is no account {ACCOUNT}. `--web-database FILE` says where they go"
                ));
                return Ok(false);
            }
        },
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        account.own_folder(folder)?;
    }
    if account == Account::own() {
        Database::restore(&path, bytes)?;
    } else {
        as_account(account, network, &path, "put", bytes)?;
    }
    Ok(true)
}
