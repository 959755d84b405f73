//! Messages as they are read: every field that any of them has. Read as a tagged enum, serde would copy a report of
//! thousands of peers piece by piece before it knows what it is.

use std::path::PathBuf;

use serde::Deserialize;

use crate::dataplane::{DeviceChange, DeviceReport};
use crate::model::NodeName;
use crate::status::State;

#[derive(Deserialize)]
pub(super) struct Request {
    r#do: String,
    change: Option<Box<DeviceChange>>,
    dir: Option<PathBuf>,
    client_id: Option<String>,
    relay: Option<NodeName>,
    drains: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Answer {
    answer: String,
    version: Option<u32>,
    pid: Option<u32>,
    network: Option<String>,
    report: Option<Box<DeviceReport>>,
    message: Option<String>,
    hint: Option<String>,
    length: Option<u64>,
    state: Option<State>,
}

/// What is missing, or is nothing that this version knows.
fn unreadable(what: &str) -> String {
    format!("no such message, or not all of it: {what:?}")
}

impl TryFrom<Request> for super::Request {
    type Error = String;
    fn try_from(parts: Request) -> Result<Self, String> {
        if let ("status", Some((dir, client_id))) = (parts.r#do.as_str(), parts.dir.zip(parts.client_id)) {
            return Ok(Self::Status { dir, client_id });
        }
        if let ("drain", Some((relay, drains))) = (parts.r#do.as_str(), parts.relay.zip(parts.drains)) {
            return Ok(Self::Drain { relay, drains });
        }
        match (parts.r#do.as_str(), parts.change) {
            ("hello", _) => Ok(Self::Hello),
            ("configure", Some(change)) => Ok(Self::Configure { change }),
            ("report", _) => Ok(Self::Report),
            ("packed-report", _) => Ok(Self::PackedReport),
            ("wake", _) => Ok(Self::Wake),
            ("stop", _) => Ok(Self::Stop),
            (other, _) => Err(unreadable(other)),
        }
    }
}

impl TryFrom<Answer> for super::Answer {
    type Error = String;
    fn try_from(parts: Answer) -> Result<Self, String> {
        let Answer { answer, version, pid, network, report, message, hint, length, state } = parts;
        let read = match answer.as_str() {
            "hello" => version.zip(pid).zip(network).map(|((version, pid), network)| Self::Hello {
                version,
                pid,
                network,
            }),
            "done" => Some(Self::Done),
            "report" => report.map(|report| Self::Report { report }),
            "packed" => length.map(|length| Self::Packed { length }),
            "status" => length.zip(state).map(|(length, state)| Self::Status { length, state }),
            "refused" => message.zip(hint).map(|(message, hint)| Self::Refused { message, hint }),
            _ => None,
        };
        read.ok_or_else(|| unreadable(&answer))
    }
}
