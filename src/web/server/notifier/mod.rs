//! Sends what is to be sent: a thread of its own, so that whoever answers slowly, or a resolver that does not, keeps nobody waiting who
//! looks at a page.

mod connect;
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
    while let Some(ended) = sending.join_next().await {
        let Ok((name, result)) = ended else { continue };
        watching.ended(web, &name, &result, now())?;
    }
    Ok(())
}

async fn send(due: &Due, means: &Means) -> Result<(), String> {
    let message = Message { sending: &due.sending, network: &means.network, now: now() };
    match due.target.kind {
        Kind::Webhook => post::webhook(&message, &due.target, means).await,
        Kind::Ntfy => post::ntfy(&message, &due.target, means).await,
        Kind::Mail => submit::mail(&message, &due.target, means).await,
    }
}
