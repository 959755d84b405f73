//! Texts for whoever may only look: what could be a key is not in them, but where a public one belongs. network.toml has none by its
//! rules; somebody may have pasted one, into a comment or a revision of long ago.

use serde_json::Value;

use super::caller::Caller;
use super::database::TokenScope;
use super::view::{Diff, Role};
use crate::model::masked;

impl Caller {
    /// Says whether this one may look and no more: whoever edits a text gets it as it is.
    pub fn only_reads(&self) -> bool {
        match self {
            Self::Nobody | Self::Node(_) => true,
            Self::User(user, _) => user.role < Role::Operator,
            Self::Token(token) => token.scope < TokenScope::Operate,
        }
    }
}

/// Returns a text of network.toml as a reader gets it.
pub fn read(text: &str) -> String {
    const KEY: &str = "public_key";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(KEY) {
        let (before, from) = rest.split_at(at + KEY.len());
        out.push_str(&masked(before));
        let value = from.trim_start_matches([' ', '\t', '=', '"', '\'']);
        let (lead, end) = (from.len() - value.len(), value.find(['"', '\'', '\n']).unwrap_or(value.len()));
        // As long as a key is, and no longer.
        let kept = if end <= 44 { lead + end } else { lead };
        out.push_str(&from[..kept]);
        rest = &from[kept..];
    }
    out.push_str(&masked(rest));
    out
}

/// Has the texts of a file, or of a difference, in an answer of the API be a reader's.
pub fn read_json(mut told: Value) -> Value {
    let read_in = |object: &mut Value| {
        if let Some(Value::String(text)) = object.get_mut("text") {
            *text = read(text);
        }
    };
    read_in(&mut told);
    told.get_mut("lines").and_then(Value::as_array_mut).into_iter().flatten().for_each(read_in);
    told
}

/// The same of a page's.
pub fn read_diff(mut diff: Diff) -> Diff {
    for line in &mut diff.lines {
        line.text = read(&line.text);
    }
    diff
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=";

    #[test]
    fn public_keys_stay_and_what_could_be_another_goes() {
        for stays in [
            format!("public_key = \"{KEY}\"\n"),
            format!("a = {{ address = \"10.0.0.1\", public_key = \"{KEY}\", platform = \"linux\" }}\n"),
            "subnet6 = \"fd5e:9a3c:1::/64\"\nexpires = \"2027-01-31T00:00:00Z\" # until then\n".to_owned(),
        ] {
            assert_eq!(read(&stays), stays);
        }
        for text in [
            format!("# private {KEY}\n"),
            format!("private_key = \"{KEY}\"\n"),
            format!("public_key = \"x\" # {KEY}\n"),
            format!("# public_key\n{KEY}\n"),
            format!("public_key = \"{KEY}{KEY}\"\n"),
        ] {
            assert!(!read(&text).contains(KEY), "{text} {}", read(&text));
        }
    }

    #[test]
    fn a_whole_network_reads_as_it_is() {
        let text =
            std::str::from_utf8(include_bytes!("../../tests/cases/screens/network/network.toml")).unwrap();
        assert_eq!(read(text), text);
    }
}
