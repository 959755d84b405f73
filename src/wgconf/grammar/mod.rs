//! What the applications' own parsers refuse, each ported line by line from its source, so that a verdict is theirs.
//!
//! What a text *means* is [`super::walk`]'s matter, in which a fault is a fault whoever reads it; whether Windows, Apple's or
//! Android's application takes the text all the same is decided here. `wg(8)` and `wg-quick(8)` have their verdicts beside
//! the values (`taken_by`), where the real programs judge them in the tests.

mod android;
mod apple;
mod number;
mod windows;

use super::Client;

/// A line that a client refuses. One a line: its own parser would have ended there.
pub(super) struct Refusal {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub code: &'static str,
    pub message: &'static str,
}

/// Returns what a client refuses; `None`: its verdicts stand beside the values.
pub(super) fn refusals(client: Client, text: &str) -> Option<Vec<Refusal>> {
    match client {
        Client::Wg | Client::WgQuick => None,
        Client::Windows => Some(windows::refusals(text)),
        Client::Apple => Some(apple::refusals(text)),
        Client::Android => Some(android::refusals(text)),
    }
}

/// Why a value is refused: a code and a sentence.
pub(super) type Why = (&'static str, &'static str);

const KEY: Why = ("bad-key", "this is no key");
const PORT: Why = ("bad-port", "this is no UDP port");
const MTU: Why = ("bad-mtu", "this is no MTU");
const PREFIX: Why = ("bad-prefix", "this is no IP prefix");
const DNS: Why = ("bad-dns", "this is neither an address nor a domain");
const ENDPOINT: Why = ("bad-endpoint", "this is no endpoint");
const KEEPALIVE: Why = ("bad-keepalive", "this is no number of seconds");
const TABLE: Why = ("bad-table", "this is no routing table");
const UNKNOWN: Why = ("refused-key", "it has no such key here");
const NO_VALUE: Why = ("empty-value", "the value is missing");
const SYNTAX: Why = ("syntax", "this is neither a section nor KEY = VALUE");
const OUTSIDE: Why = ("missing-section", "a key stands before any section");
const NO_PUBLIC_KEY: Why = ("missing-public-key", "this peer has no PublicKey");

/// What has been refused so far.
#[derive(Default)]
struct Refused(Vec<Refusal>);

impl Refused {
    /// Refuses a part of a line.
    fn part(&mut self, line: usize, text: &str, part: &str, (code, message): Why) {
        let offset = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
        let column = text.get(..offset).map_or(1, |before| before.chars().count() + 1);
        self.0.push(Refusal { line, column, code, message });
    }

    /// Refuses something that begins a line, or is not there.
    fn at(&mut self, line: usize, (code, message): Why) {
        self.0.push(Refusal { line, column: 1, code, message });
    }
}

/// The base64 of 32 bytes, all bits in place, as wireguard-tools, Apple and Android want it.
fn is_key(text: &str) -> bool {
    text.parse::<crate::model::PublicKey>().is_ok()
}

/// The comment cut off.
fn without_comment(line: &str) -> &str {
    line.split_once('#').map_or(line, |(content, _)| content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_text() {
        let text = "[Interface]\nPrivateKey = x\n";
        let found = refusals(Client::Windows, text).unwrap();
        assert_eq!((found[0].line, found[0].column, found[0].code), (2, 14, "bad-key"));
    }

    #[test]
    fn no_text_breaks_a_grammar() {
        let long = format!("[Interface]\n{}", "AllowedIPs=,".repeat(20_000));
        for text in ["", "\n", "[", "=", "[Peer]\n=", "\u{feff}", "[Interface]\n\u{a0}=\u{a0}", &long] {
            for (_, client) in Client::ALL {
                let _ = refusals(client, text);
            }
        }
    }
}
