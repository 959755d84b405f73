//! What the command line and the agent say to each other: one JSON object a line, over a Unix socket. A status follows
//! its line as it is to be printed, and a packed report as bytes.

pub mod packed;
mod parts;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::dataplane::{DeviceChange, DeviceReport};
use crate::model::NodeName;
use crate::status::State;

/// The version of this conversation. An agent of another version is replaced, not talked to.
pub const VERSION: u32 = 1;

/// The longest line that is read, in bytes: 5,000 peers with ten prefixes each stay below 4 MB.
pub const MAX_LINE: usize = 64 << 20;

/// A question or an order to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", try_from = "parts::Request")]
pub enum Request {
    /// Who is there?
    Hello,
    /// Change the embedded device; sessions of untouched peers live on.
    Configure {
        /// What to change.
        change: Box<DeviceChange>,
    },
    /// Tell the embedded device's state and counters.
    Report,
    /// The same in bytes, for many peers. An agent that does not know this refuses it.
    PackedReport,
    /// Tell the status of the network, as `status --json` does. An agent that does not know this refuses it.
    Status {
        /// The folder of networks that is meant.
        dir: PathBuf,
        /// Who asks: the program file, whose words another one's could differ from, and the network namespace, which has its own
        /// interfaces, as the agent calls itself.
        client_id: String,
    },
    /// Have spokes leave a relay, this one or another, or have it carry again. An agent that does not know this refuses it.
    Drain {
        /// The relay.
        relay: NodeName,
        /// Which of both.
        drains: bool,
    },
    /// Look at the host and the network now instead of at the next tick.
    Wake,
    /// End: the interface and its sockets go, and nothing else is touched.
    Stop,
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", try_from = "parts::Answer")]
pub enum Answer {
    /// To [`Request::Hello`].
    Hello {
        /// Its [`VERSION`].
        version: u32,
        /// Its process.
        pid: u32,
        /// The network it serves.
        network: String,
    },
    /// Done.
    Done,
    /// To [`Request::Report`].
    Report {
        /// The device as it is.
        report: Box<DeviceReport>,
    },
    /// To [`Request::PackedReport`]: as many bytes of [`packed`] follow the line.
    Packed {
        /// How many.
        length: u64,
    },
    /// To [`Request::Status`]: as many bytes of JSON follow the line.
    Status {
        /// How many.
        length: u64,
        /// In one word.
        state: State,
    },
    /// It could not be done, and nothing was changed.
    Refused {
        /// Why.
        message: String,
        /// What to do; empty where nothing is known.
        hint: String,
    },
}

/// Writes a message as its line, the newline included.
pub fn line<T: Serialize>(message: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip() {
        for request in [Request::Hello, Request::Report, Request::PackedReport, Request::Stop, Request::Wake]
        {
            let bytes = line(&request).unwrap();
            assert_eq!(bytes.last(), Some(&b'\n'));
            assert_eq!(serde_json::from_slice::<Request>(&bytes).unwrap(), request);
        }
        let request = Request::Status { dir: "/etc/wgrelay".into(), client_id: "0.1.0 1:2".into() };
        assert_eq!(serde_json::from_slice::<Request>(&line(&request).unwrap()).unwrap(), request);
        let request = Request::Drain { relay: "eu".parse().unwrap(), drains: true };
        assert_eq!(serde_json::from_slice::<Request>(&line(&request).unwrap()).unwrap(), request);
        let change = DeviceChange { listen_port: Some(1), ..DeviceChange::default() };
        let request = Request::Configure { change: Box::new(change) };
        assert_eq!(serde_json::from_slice::<Request>(&line(&request).unwrap()).unwrap(), request);
        let text = |s: &str| s.to_owned();
        for answer in [
            Answer::Hello { version: VERSION, pid: 7, network: text("wg0") },
            Answer::Done,
            Answer::Report { report: Box::default() },
            Answer::Packed { length: 7 },
            Answer::Status { length: 3, state: State::Degraded },
            Answer::Refused { message: text("no"), hint: String::new() },
        ] {
            assert_eq!(serde_json::from_slice::<Answer>(&line(&answer).unwrap()).unwrap(), answer);
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in
            ["{}", r#"{"do":"dance"}"#, r#"{"do":"configure"}"#, r#"{"do":"status"}"#, r#"{"answer":"done"}"#]
        {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
        for text in ["{}", r#"{"answer":"dance"}"#, r#"{"answer":"report"}"#, r#"{"answer":"hello"}"#] {
            assert!(serde_json::from_str::<Answer>(text).is_err(), "{text}");
        }
    }
}
