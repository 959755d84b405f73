//! Sends what is to be sent: a thread of its own, so that whoever answers slowly, or a resolver that does not, keeps nobody waiting who
//! looks at a page.

mod post;
mod submit;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::ClientConfig;
use tokio::task::JoinSet;

use super::now;
use crate::web::notify::{Kind, Message, Reach};
use crate::web::procedure::Refused;
use crate::web::trust::{Trust, trust};
use crate::web::{Due, Watching, Web};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// What allows an address, for whoever is told that one is not.
const ALLOWED_BY: &str = " (`wgrelay web --notify-allow ADDRESS` allows one)";
/// So long may a message take in all.
const WHOLE: Duration = Duration::from_secs(30);

/// What whoever starts the page says of messages.
#[derive(Debug, Clone, Default)]
pub struct Notify {
    /// Addresses that messages may go to, though they are not public, and at any port.
    pub allowed: Vec<IpNet>,
    /// Certificates that are trusted besides the system's.
    pub ca: Option<PathBuf>,
}

/// What every message is sent by.
struct Means {
    reach: Reach,
    tls: Arc<ClientConfig>,
    network: String,
}

/// Starts the thread.
///
/// # Errors
/// The file of certificates has none, or there are no threads to be had.
pub(super) fn start(web: Arc<Web>, notify: &Notify) -> Result<(), Refused> {
    let ca = notify.ca.clone();
    if let Some(ca) = &ca {
        trust(Trust::Only(ca))?;
    }
    let cannot = |e: std::io::Error| Refused::new(500, format!("cannot start: {e}"), "");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_stack_size(1 << 20)
        .build()
        .map_err(cannot)?;
    let mut watching = Watching::new(notify.allowed.clone());
    let work = move || {
        runtime.block_on(async {
            loop {
                if let Err(refused) = once(&web, &mut watching, ca.as_ref()).await {
                    tracing::debug!("nobody is told: {}", refused.message);
                }
                tokio::time::sleep(EVERY).await;
            }
        });
    };
    std::thread::Builder::new().name("notifier".into()).spawn(work).map_err(cannot)?;
    Ok(())
}

/// Looks once, and sends what is due; one message at a time to each.
async fn once(web: &Arc<Web>, watching: &mut Watching, ca: Option<&PathBuf>) -> Result<(), Refused> {
    let due = watching.look(web, now())?;
    if due.is_empty() {
        return Ok(());
    }
    let means = match (watching.reach(), trust(ca.map_or(Trust::System, |ca| Trust::Besides(ca)))) {
        (Some(reach), Ok(tls)) => Ok(Arc::new(Means { reach, tls, network: web.network.clone() })),
        (None, _) => Err("where the tunnel is is not known: network.toml cannot be read".to_owned()),
        (_, Err(refused)) => Err(refused.message),
    };
    let mut sending = JoinSet::new();
    for due in due {
        let means = means.clone();
        sending.spawn(async move {
            let sent = async {
                let means = means?;
                tokio::time::timeout(WHOLE, send(&due, &means))
                    .await
                    .unwrap_or_else(|_| Err("it took too long".into()))
            };
            let result = sent.await;
            (due.target.name, result)
        });
    }
    // One that cannot be noted ends no other: each is taken in.
    let mut noted = Ok(());
    while let Some(ended) = sending.join_next().await {
        let Ok((name, result)) = ended else { continue };
        noted = noted.and(watching.ended(web, &name, &result, now()));
    }
    noted
}

async fn send(due: &Due, means: &Means) -> Result<(), String> {
    let message = Message { sending: &due.sending, network: &means.network, now: now() };
    match due.target.kind {
        Kind::Webhook => post::webhook(&message, &due.target, means).await,
        Kind::Ntfy => post::ntfy(&message, &due.target, means).await,
        Kind::Mail => submit::mail(&message, &due.target, means).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::Database;
    use crate::web::database::{Entry, LOGIN_FAILED};
    use crate::web::guard::Place;
    use crate::web::notify::{Given, Target};
    use crate::web::procedure::{Agent, Procedure};

    /// Nobody is there who knows the network.
    struct Nobody;

    impl Agent for Nobody {
        fn call(&self, _: &Procedure) -> Result<serde_json::Value, Refused> {
            Err(Refused::new(502, "nobody is there", ""))
        }
    }

    #[tokio::test]
    async fn what_cannot_be_noted_of_one_message_ends_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.db");
        let database = Database::open(&path).unwrap();
        for name in ["one", "two", "three"] {
            let given = Given { name, kind: "webhook", url: "https://hooks.example/x", ..Given::default() };
            database.add_target(&Target::read(&given).unwrap(), 1).unwrap();
        }
        let web = Arc::new(Web::new(Box::new(Nobody), database, Place::default(), "wg0".into()));
        let mut watching = Watching::new(Vec::new());
        once(&web, &mut watching, None).await.unwrap();
        for name in ["one", "two", "three"] {
            web.database.want_test(name).unwrap();
        }
        let beside = rusqlite::Connection::open(&path).unwrap();
        let full =
            "CREATE TRIGGER full BEFORE UPDATE OF tried ON target BEGIN SELECT RAISE(FAIL, 'no room'); END";
        beside.execute_batch(full).unwrap();
        assert!(once(&web, &mut watching, None).await.unwrap_err().message.contains("no room"));
        // One that was not taken in would be on its way still, and go out once more.
        let due = watching.look(&web, now()).unwrap();
        assert!(due.is_empty(), "{due:?}");
    }

    #[tokio::test]
    async fn what_happened_is_told_though_the_database_could_not_be_read_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.db");
        let database = Database::open(&path).unwrap();
        let given =
            Given { name: "one", kind: "webhook", url: "https://hooks.example/x", ..Given::default() };
        database.add_target(&Target::read(&given).unwrap(), 1).unwrap();
        let web = Web::new(Box::new(Nobody), database, Place::default(), "wg0".into());
        let mut watching = Watching::new(Vec::new());
        watching.look(&web, 100).unwrap();
        let failed = Entry {
            who: "anna".into(),
            action: LOGIN_FAILED.into(),
            status: 401,
            address: "192.0.2.1".into(),
            ..Entry::default()
        };
        web.database.record(&failed).unwrap();
        let beside = rusqlite::Connection::open(&path).unwrap();
        for (away, back) in [("address", "gone"), ("gone", "address")] {
            beside.execute_batch(&format!("ALTER TABLE audit RENAME COLUMN {away} TO {back}")).unwrap();
            let due = watching.look(&web, 200);
            match away {
                "address" => assert!(due.is_err()),
                _ => assert_eq!(due.unwrap()[0].sending.events.len(), 1),
            }
        }
    }
}
