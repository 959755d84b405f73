//! What a message says, and how whoever gets it knows whose it is: the signature of Standard Webhooks (HMAC-SHA256 over its number,
//! its time and its body), which libraries of many languages check.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::json;
use zeroize::Zeroizing;

use super::event::{Event, Topic};
use super::queue::Sending;
use crate::web::procedure::Refused;
use crate::web::secret;

/// What a secret that signs begins with.
const PREFIX: &str = "whsec_";
/// So many events are written out where people read.
const LISTED: usize = 20;

/// A message as it is tried once.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// What it tells.
    pub sending: &'a Sending,
    /// The network.
    pub network: &'a str,
    /// When it is tried, in Unix seconds.
    pub now: u64,
}

impl Message<'_> {
    /// Writes it for programs.
    pub fn json(&self) -> String {
        let Sending { id, events, unlisted, .. } = self.sending;
        json!({
            "version": 1, "id": id, "network": self.network, "test": events.is_empty(), "events": events, "unlisted": unlisted,
        })
        .to_string()
    }

    /// Says it in a line.
    pub fn title(&self) -> String {
        let what = match self.sending.events.as_slice() {
            [] => "a test: messages arrive".to_owned(),
            [one] => plain(&one.message),
            [first, rest @ ..] => format!("{}, and {} more", plain(&first.message), rest.len()),
        };
        let title = format!("{}: {what}", self.network);
        title.chars().take(200).collect()
    }

    /// Says all of it, in lines.
    pub fn text(&self) -> String {
        let Sending { events, unlisted, .. } = self.sending;
        let mut lines: Vec<String> = events
            .iter()
            .take(LISTED)
            .map(|event| format!("{} {}", crate::model::Timestamp(event.at), plain(&event.message)))
            .collect();
        let more = events.len().saturating_sub(LISTED) as u64 + unlisted;
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        if events.is_empty() {
            lines.push("This was asked for on the page. Messages arrive.".into());
        }
        lines.join("\n") + "\n"
    }

    /// Says whether somebody should look now.
    pub fn is_bad(&self) -> bool {
        let is_bad = |event: &Event| event.event != Topic::NodeOnline && !event.over;
        self.sending.events.iter().any(is_bad)
    }

    /// Signs a body: what `webhook-signature` says.
    ///
    /// # Errors
    /// The secret is none.
    pub fn signature(&self, secret: &str, body: &str) -> Result<String, Refused> {
        let none = || Refused::new(500, "what signs messages is no secret", "remove it, and add it again");
        let encoded = secret.strip_prefix(PREFIX).ok_or_else(none)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| none())?);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        let signed = format!("{}.{}.{body}", self.sending.id, self.now);
        Ok(format!("v1,{}", STANDARD.encode(hmac::sign(&key, signed.as_bytes()))))
    }
}

/// Makes a secret that signs.
///
/// # Errors
/// The system has no randomness.
pub fn make_secret() -> Result<Zeroizing<String>, Refused> {
    let mut bytes = Zeroizing::new([0; 32]);
    secret::random(&mut bytes[..])?;
    Ok(Zeroizing::new(format!("{PREFIX}{}", STANDARD.encode(&bytes[..]))))
}

/// A text in one line, without what acts on a terminal or ends a header.
pub(in crate::web) fn plain(text: &str) -> String {
    // Marks that turn the direction of what is written round are no control characters, and act on a terminal like them.
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if acts(c) { ' ' } else { c }).take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::notify::Queue;

    /// The example of Standard Webhooks' specification.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let mut queue = Queue::default();
        queue.want_test();
        let sending = queue.due(0, || "msg_p5jXN8AQM9LWM0D4loKWxJek".into()).unwrap();
        let message = Message { sending: &sending, network: "wg0", now: 1_614_265_330 };
        let signed =
            message.signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", r#"{"test": 2432232314}"#).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(message.signature("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "").is_err());
    }

    #[test]
    fn no_text_of_anybodys_ends_a_line() {
        let mut queue = Queue::default();
        for n in 0..30 {
            let message = format!("drift {n}\r\nBcc: x\n.\n\u{1b}[2J");
            queue.push(Event { event: Topic::Drift, at: 0, about: String::new(), message, over: false });
        }
        let sending = queue.due(0, || "1".into()).unwrap();
        let message = Message { sending: &sending, network: "wg0", now: 0 };
        assert!(!message.title().chars().any(char::is_control), "{:?}", message.title());
        assert_eq!(message.text().lines().count(), LISTED + 1);
        assert!(message.text().chars().all(|c| c == '\n' || !c.is_control()));
        assert!(message.is_bad());
    }
}
