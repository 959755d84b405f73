//! The path of one flow, there and back, hop by hop.

use serde::Serialize;

use super::cause::{Code, Failure, Reason};
use super::flow::Flow;
use super::hop::{Hop, Step};
use super::judge::{PathFamily, telling};
use super::led_on;
use super::place::Unknown;
use super::world::{NodeId, World};
use crate::model::{NodeName, PortSpec, Verdict};

/// What `trace` says; serialises as the program's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// The version of this form: 1.
    pub version: u32,
    /// Where the flow starts, as asked.
    pub from: String,
    /// Where it goes, as asked.
    pub to: String,
    /// Whether it gets there and its answer back.
    pub verdict: Verdict,
    /// Why not; `None`: it does.
    pub reason: Option<Reason>,
    /// The packet's path.
    pub forward: Vec<Hop>,
    /// The answer's path; empty where the packet does not get there.
    pub reply: Vec<Hop>,
    /// The family of the addresses shown; `None`: the ends have none in common.
    pub family: Option<PathFamily>,
    /// The packet shown, as `[[allow]]` writes it.
    pub port: Option<String>,
    /// What is worth knowing and blocks nothing.
    pub notes: Vec<String>,
    /// The sessions that the packet and its answer use, each by its two nodes in the order of names.
    #[serde(skip)]
    pub sessions: Vec<Session>,
    /// The session for want of which the flow ends, and which stands once its other side has said anything.
    #[serde(skip)]
    pub idle: Option<Session>,
    /// Why the verdict is not certain: what may decide otherwise and is not known; empty: it is certain.
    pub uncertain: Vec<String>,
}

/// A session by its two nodes, in the order of names.
pub type Session = [NodeName; 2];

impl Trace {
    /// Says that a place is not known: the trace of a flow to nowhere.
    pub fn unknown(from: &str, to: &str, unknown: &Unknown) -> Self {
        let reason = Reason {
            code: Code::UnknownPlace,
            node: unknown.text.clone(),
            message: unknown.message.clone(),
            fix: unknown.hint.clone(),
        };
        Self::blocked(from.into(), to.into(), reason)
    }

    fn blocked(from: String, to: String, reason: Reason) -> Self {
        Self {
            version: 1,
            from,
            to,
            verdict: Verdict::Blocked,
            reason: Some(reason),
            forward: Vec::new(),
            reply: Vec::new(),
            family: None,
            port: None,
            notes: Vec::new(),
            sessions: Vec::new(),
            idle: None,
            uncertain: Vec::new(),
        }
    }
}

/// Follows a flow: by the family and protocol that get through where any does, else by the first that could have. Whom nobody outside
/// has a route to he calls by a port that the owner of this host leads there, where one is.
pub fn trace(world: &World, flow: &Flow) -> Trace {
    let direct = follow(world, flow);
    if direct.verdict == Verdict::Reaches {
        return direct;
    }
    let led = led_on::ways(world, flow).into_iter().map(|(to, how)| (follow(world, &to), how));
    let reaches = |led: &(Trace, String)| {
        led.0.verdict == Verdict::Reaches && led.0.forward.iter().any(|hop| hop.step == Step::Dnat)
    };
    let Some((mut led, how)) = led.into_iter().find(reaches) else { return direct };
    (led.from, led.to) = (direct.from, direct.to);
    led.notes.push(how);
    led
}

fn follow(world: &World, flow: &Flow) -> Trace {
    let (from, to) = (flow.from.to_string(), flow.to.to_string());
    let (ends, probe, verdict) = match telling(world, &flow.from, &flow.to, flow.port) {
        Ok(found) => found,
        Err(cause) => {
            return Trace::blocked(
                from,
                to,
                Failure { cause, answer: false }.reason(world, &flow.from, &flow.to),
            );
        }
    };
    let walked = ends.walk(world, probe, true);
    let session = |(a, b): (NodeId, NodeId)| [a.min(b), a.max(b)].map(|id| world.name(id).clone());
    let sessions = walked.sessions.iter().map(|pair| session(*pair)).collect();
    let mut uncertain = walked.uncertain;
    if walked.result.is_ok() {
        uncertain.extend(world.multi_homed(ends.to.address()));
    }
    let idle = walked.result.as_ref().err().and_then(Failure::idle).map(session);
    Trace {
        version: 1,
        from,
        to,
        verdict,
        reason: walked.result.err().map(|death| death.reason(world, &flow.from, &flow.to)),
        forward: walked.forward,
        reply: walked.reply,
        family: Some(PathFamily::of(ends.to.address())),
        port: Some(port_text(probe.spec, flow.port)),
        notes: walked.notes,
        sessions,
        idle,
        uncertain,
    }
}

/// A single port stands for a range that is treated alike; what was asked for is what people want to read.
fn port_text(shown: PortSpec, asked: Option<PortSpec>) -> String {
    match (shown, asked) {
        (PortSpec::Icmp, _) => "icmp".into(),
        (_, Some(asked)) if asked == shown => asked.to_string(),
        _ => shown.to_string(),
    }
}
