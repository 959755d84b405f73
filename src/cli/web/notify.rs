//! `web notify`: who is told when something happens, from the terminal.

use clap::Subcommand;

use super::people::password;
use crate::cli::context::Context;
use crate::cli::fault::Fault;
use crate::cli::output::Role;
use crate::model::Timestamp;
use crate::web::database::Database;
use crate::web::notify::{Given, Kind, Target};

/// Below `web notify`
#[derive(Debug, Subcommand)]
pub enum NotifyAction {
    /// List them, and whether the last message arrived
    List,
    /// Have one told; what signs a webhook's messages is printed this once
    Add {
        /// The name
        name: String,
        /// What is sent: webhook, ntfy, mail
        #[arg(long)]
        kind: String,
        /// Where: https://…, or for mail smtps://HOST, or smtp://HOST for STARTTLS
        #[arg(long)]
        url: String,
        /// Of what: node-online, node-offline, drift, broken-promise, failed-login [default: all]
        #[arg(long, value_name = "EVENT,…")]
        events: Option<String>,
        /// Of mail: from whom
        #[arg(long, value_name = "ADDRESS")]
        from: Option<String>,
        /// Of mail: to whom
        #[arg(long, value_name = "ADDRESS")]
        to: Option<String>,
        /// Of mail: the account at the server
        #[arg(long, value_name = "NAME", requires = "secret")]
        account: Option<String>,
        /// Read ntfy's token, or the account's password, from stdin
        #[arg(long)]
        secret: bool,
    },
    /// Send one a test, within seconds, where the page runs; `list` says how that ended
    Test {
        /// The name
        name: String,
    },
    /// Have one not told any more
    Remove {
        /// The name
        name: String,
    },
}

/// What the audit has of it; `None`: it changed nothing.
pub(super) fn noted(action: &NotifyAction) -> Option<(&'static str, String)> {
    match action {
        NotifyAction::List => None,
        NotifyAction::Add { name, kind, .. } => Some(("web notify add", format!("{name} {kind}"))),
        NotifyAction::Test { name } => Some(("web notify test", name.clone())),
        NotifyAction::Remove { name } => Some(("web notify remove", name.clone())),
    }
}

pub(super) fn notify(ctx: &Context, database: &Database, action: &NotifyAction) -> Result<(), Fault> {
    let nobody =
        |name: &str| Fault::usage(format!("nobody called {name} is told"), "`wgrelay web notify list`");
    match action {
        NotifyAction::List => {
            let targets = database.targets()?;
            if targets.is_empty() {
                ctx.out.say("nobody is told: `wgrelay web notify add NAME --kind KIND --url URL`");
            }
            for row in targets {
                let target = &row.target;
                let last = match (row.tried, row.failure) {
                    (None, _) => "nothing was sent yet".into(),
                    (Some(at), None) => format!("the last message, {}, arrived", Timestamp(at)),
                    (Some(at), Some(why)) => {
                        format!("the last message, {}, did not arrive: {why}", Timestamp(at))
                    }
                };
                let name = ctx.out.paint(Role::Name, &target.name);
                let kind = target.kind.as_str();
                ctx.out.prose(&format!(
                    "{name}: {kind} to {}, of {}; {last}",
                    target.url,
                    target.events()
                ))?;
            }
        }
        NotifyAction::Add { name, kind, url, events, from, to, account, secret } => {
            let secret = if *secret { Some(password()?) } else { None };
            let target = Target::read(&Given {
                name,
                kind,
                url,
                events: events.as_deref(),
                secret: secret.as_ref().map(|secret| secret.as_str()),
                account: account.as_deref(),
                sender: from.as_deref(),
                recipient: to.as_deref(),
            })?;
            database.add_target(&target, ctx.now.0)?;
            if let (Kind::Webhook, Some(secret)) = (target.kind, &target.secret) {
                ctx.out.prose(secret)?;
            }
        }
        NotifyAction::Test { name } => {
            if !database.want_test(name)? {
                return Err(nobody(name));
            }
            ctx.out.say("it is sent within seconds, where the page runs; `wgrelay web notify list` says how that ended");
        }
        NotifyAction::Remove { name } => {
            if !database.remove_target(name)? {
                return Err(nobody(name));
            }
        }
    }
    Ok(())
}
