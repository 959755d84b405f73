//! What goes over the socket between the halves: a length and JSON, one question and one answer for each connection.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::store::unix_socket::connect_within;
use crate::web::procedure::{Agent, Procedure, Refused};

/// A question may be so long: the largest network.toml, as JSON.
pub(super) const QUESTION: usize = 8 << 20;
/// And an answer: who reaches whom of a large network.
const ANSWER: usize = 64 << 20;
/// So long may the other half take to send, or to take, what it has ready.
pub(super) const TRANSFER: Duration = Duration::from_secs(10);
/// So long may a procedure take.
const PROCEDURE: Duration = Duration::from_secs(300);

/// An answer as it is sent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reply {
    Done(Value),
    Refused(Refused),
}

pub(super) fn send(mut stream: impl Write, message: &impl Serialize) -> io::Result<()> {
    // It may hold keys.
    let bytes = Zeroizing::new(serde_json::to_vec(message)?);
    let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&bytes)
}

pub(super) fn receive<T: DeserializeOwned>(mut stream: impl Read, limit: usize) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // It grows with what comes, not with what was announced.
    let mut bytes = Zeroizing::new(Vec::new());
    stream.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&bytes)?)
}

/// The other half, by the path of its socket.
#[derive(Debug, Clone)]
pub struct Socket(pub PathBuf);

impl Agent for Socket {
    fn call(&self, procedure: &Procedure) -> Result<Value, Refused> {
        let ask = || {
            let stream = connect_within(&self.0, TRANSFER)?;
            stream.set_read_timeout(Some(PROCEDURE))?;
            send(&stream, procedure)?;
            receive(&stream, ANSWER)
        };
        match ask() {
            Ok(Reply::Done(value)) => Ok(value),
            Ok(Reply::Refused(refused)) => Err(refused),
            Err(error) => Err(Refused::new(
                503,
                format!("the half of wgrelay that has rights does not answer: {error}"),
                "it is started with the page: `systemctl status wgrelay-web-agent`, or start `wgrelay web` again",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_costs_nothing_and_what_is_too_long_is_refused() {
        let announced = [&(QUESTION as u32).to_be_bytes()[..], b"{}"].concat();
        assert_eq!(
            receive::<Value>(&announced[..], QUESTION).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        let longer = (QUESTION as u32 + 1).to_be_bytes();
        assert_eq!(receive::<Value>(&longer[..], QUESTION).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut sent = Vec::new();
        send(&mut sent, &Procedure::List).unwrap();
        assert!(matches!(receive::<Procedure>(&sent[..], QUESTION).unwrap(), Procedure::List));
    }

    #[test]
    fn nothing_but_procedures_is_understood() {
        for text in [
            r#"{"procedure":"run","command":"id"}"#,
            r#"{"procedure":"export","by":"a","node":"x","path":"/etc/shadow"}"#,
            r#"{"procedure":"change","by":"a","dry_run":false,"change":{"change":"hook","text":"id"}}"#,
            r#"{"procedure":"change","by":"a","dry_run":false,"change":{"change":"remove","name":"x","post_up":"id"}}"#,
        ] {
            assert!(serde_json::from_str::<Procedure>(text).is_err(), "{text}");
        }
    }
}
