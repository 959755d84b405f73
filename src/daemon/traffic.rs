//! A look at the counters each minute, for the history of traffic. What passed in the minute before the agent ends is not in it.

use std::time::Duration;

use super::agent::Looking;
use crate::app;
use crate::status::State;
use crate::store::folder::Folder;

const MINUTE: u64 = 60;
/// The first look comes so soon after the beginning.
const FIRST: Duration = Duration::from_secs(5);

/// Keeps the history, on a thread that ends with the process: a network passes packets without it.
pub(super) fn keep(looking: Looking) {
    let began = looking.session.later().now.0;
    let own = format!("agent {} of {began}", std::process::id());
    let work = move || {
        let mut told = String::new();
        std::thread::sleep(FIRST);
        loop {
            match look(&looking, &own) {
                Ok(()) => told.clear(),
                // Once for each reason: a folder that nobody may write stays so.
                Err(why) if why != told => {
                    tracing::warn!("no history of traffic is kept: {why}");
                    told = why;
                }
                Err(_) => {}
            }
            let now = looking.session.later().now.0;
            std::thread::sleep(Duration::from_secs(MINUTE - now % MINUTE));
        }
    };
    if let Err(error) = std::thread::Builder::new().name("traffic".into()).spawn(work) {
        tracing::warn!("no history of traffic is kept: {error}");
    }
}

fn look(looking: &Looking, own: &str) -> Result<(), String> {
    let folder = Folder::new(&looking.session.dir, &looking.name);
    let recorded = looking.cache.recorded(&looking.session.dir, &folder, &looking.runtime);
    let Some((_, target)) = recorded.map_err(|e| e.to_string())? else { return Ok(()) };
    let status = looking.status().map_err(|fault| fault.message)?;
    if status.state == State::Down {
        return Ok(());
    }
    // What this process hosts counts from nothing; the kernel's is there before and after it.
    let (device, is_new) = match &looking.device {
        Some(_) => (own.to_owned(), true),
        None => (kernel_device(looking.name.as_str()), false),
    };
    let session = looking.session.later();
    app::keep_traffic(&session, &folder, &target.network, &status, (&device, is_new))
        .map_err(|e| e.to_string())
}

/// Names a link of the kernel: another one, or another boot, has another name.
fn kernel_device(link: &str) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    format!("{} {}", read("/proc/sys/kernel/random/boot_id"), read(&format!("/sys/class/net/{link}/ifindex")))
}
