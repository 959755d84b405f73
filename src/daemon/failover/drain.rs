//! `drain`, as the agent does it: says so to its spokes, or to another relay, and waits until those have left who can.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::daemon::Drain;
use crate::daemon::agent::Looking;
use crate::model::NodeName;

/// How long another relay may take to obey.
const OBEYS_WITHIN: Duration = Duration::from_secs(3);
/// How long spokes may take to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

/// Makes the procedure.
pub(in crate::daemon) fn drain(looking: Looking) -> Drain {
    Arc::new(move |relay, drains| order(&looking, relay, drains))
}

fn order(looking: &Looking, relay: &NodeName, drains: bool) -> Result<(), (String, String)> {
    let told = &looking.told;
    let Some(target) = looking.target() else { return Err(("nothing is up here".into(), String::new())) };
    if let Some(why) = told.why_not() {
        return Err((why, "packets pass as before".into()));
    }
    if target.node == *relay {
        told.set_drains(drains);
    } else {
        told.order(relay.clone(), drains);
        if !waits(OBEYS_WITHIN, || told.is_obeyed(relay, drains)) {
            told.give_up(relay);
            return Err((format!("{relay} does not answer"), format!("say it on {relay} itself")));
        }
    }
    let recorded = || looking.runtime.read_applied(&looking.session.dir).ok().flatten();
    // On record it outlives this agent.
    let is_recorded = || target.node != *relay || recorded().is_some_and(|applied| applied.drains == drains);
    if !waits(LEAVE_WITHIN, is_recorded) {
        return Err((
            "it could not be written down".into(),
            "`wgrelay status` tells what is wrong here".into(),
        ));
    }
    if drains {
        let now = looking.session.later().now;
        let has_left = || {
            if target.node == *relay {
                let attached = recorded().map(|applied| applied.attached).unwrap_or_default();
                let has_left = |spoke: &NodeName| attached.get(spoke).is_some_and(|at| at.relay != *relay);
                return told.to_leave().is_some_and(|all| all.iter().all(has_left));
            }
            let Some(target) = looking.target() else { return true };
            let network = &target.network;
            let mut can =
                network.spokes().filter(|spoke| spoke.is_active(now) && network.can_fail_over(spoke, now));
            !can.any(|spoke| network.home_of(spoke, now).is_some_and(|home| home.name == *relay))
        };
        // Who does not leave by then is told to whoever asked.
        waits(LEAVE_WITHIN, has_left);
    }
    Ok(())
}

fn waits(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > limit {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}
