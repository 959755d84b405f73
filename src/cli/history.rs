//! `history`, `diff`, `revert`: a network as it was.

use clap::Args;

use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use super::table::{Cell, Narrow, table};
use crate::app::revisions::{self, Difference, ListedRevision};
use crate::model::Timestamp;

/// `diff`
#[derive(Debug, Args)]
pub struct Diff {
    /// The revision that is compared, as `history` numbers it
    #[arg(value_name = "REV")]
    pub from: u64,
    /// With which one; the network as it is now unless given
    #[arg(value_name = "REV2")]
    pub to: Option<u64>,
}

/// `revert`
#[derive(Debug, Args)]
pub struct Revert {
    /// The revision that the network is to be as, keys included
    #[arg(value_name = "REV")]
    pub revision: u64,
    /// Apply at once
    #[arg(long)]
    pub up: bool,
}

/// Lists the revisions that are kept, the newest first.
pub fn history(ctx: &Context) -> Result<Exit, Fault> {
    let history = revisions::history(&ctx.folder()?)?;
    if ctx.out.json {
        ctx.out.json(&history)?;
        return Ok(Exit::Done);
    }
    let list = &history.revisions;
    if list.is_empty() {
        ctx.out.prose("no revision is kept yet: the first change makes one")?;
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<Cell>> = list.iter().rev().map(row).collect();
    ctx.out.prose(&table(&ctx.out, &["REVISION", "WHEN", "WHO", "WHY"], &rows, Narrow::Wrap))?;
    if history.edited {
        ctx.out.say("the files were edited by hand since: the next change keeps that as a revision, too");
    }
    Ok(Exit::Done)
}

fn row(revision: &ListedRevision) -> Vec<Cell> {
    let number = format!("{}{}", revision.revision, if revision.current { " *" } else { "" });
    let who = revision.user.clone().or_else(|| revision.uid.map(|uid| uid.to_string()));
    let role = if revision.current { Role::Good } else { Role::Name };
    vec![
        Cell::with(role, number),
        Cell::new(Timestamp(revision.at).to_string()),
        Cell::new(who.unwrap_or_else(|| "-".into())),
        Cell::new(&revision.why),
    ]
}

/// Says what differs between a revision and the network as it is now, or another revision.
pub fn diff(ctx: &Context, args: &Diff) -> Result<Exit, Fault> {
    let compared = revisions::compare(&ctx.folder()?, args.from, args.to)?;
    if ctx.out.json {
        ctx.out.json(&compared)?;
        return Ok(Exit::Done);
    }
    let found = compared.into_difference();
    if found.is_empty() {
        ctx.out.prose("nothing differs")?;
    } else {
        ctx.out.result(&text(ctx, &found))?;
    }
    Ok(Exit::Done)
}

fn text(ctx: &Context, found: &Difference) -> String {
    let painted = |sign: char, line: &str| match sign {
        '+' => ctx.out.paint(Role::Good, line),
        '-' => ctx.out.paint(Role::Bad, line),
        '@' => ctx.out.paint(Role::Dim, line),
        _ => line.to_owned(),
    };
    let mut text = String::new();
    for line in &found.network {
        // The place says so itself.
        let shown = if line.sign == '@' { line.text.clone() } else { format!("{}{}", line.sign, line.text) };
        text += &format!("{}\n", painted(line.sign, &shown));
    }
    for key in &found.keys {
        let sign = match key.change {
            "added" => '+',
            "removed" => '-',
            _ => '~',
        };
        let line = format!("{sign} {} key of {} {}", key.kind, key.of, key.change);
        text += &format!("{}\n", painted(sign, &line));
    }
    text
}

/// Makes the network what it was in a revision.
pub fn revert(ctx: &Context, args: &Revert) -> Result<Exit, Fault> {
    let folder = ctx.folder()?;
    let why = format!("reverted to revision {}", args.revision);
    let made = revisions::revert(&folder, args.revision, ctx.note(why.clone()))?;
    if ctx.out.json {
        ctx.out.json(&serde_json::json!({
            "version": 1, "network": folder.name(), "reverted_to": args.revision,
            "revision": made, "changed": made.is_some(),
        }))?;
    } else {
        match made {
            Some(number) => {
                ctx.out.prose(&format!("{}: it is revision {number}", ctx.out.paint(Role::Good, &why)))?;
            }
            None => ctx.out.prose(&format!("the network is as in revision {} already", args.revision))?,
        }
    }
    super::edit::then_up(ctx, args.up)
}
