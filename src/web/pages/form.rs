//! Pieces of forms: every field has its label, every form its token.

use maud::{Markup, html};

use super::text::{self, Text};
use crate::web::view::Frame;

/// Names and values that a form gives back.
pub type Fields = Vec<(String, String)>;

/// Makes the hidden fields of a form that changes something: the session's token and what is fixed.
pub fn hidden(frame: &Frame, fields: &[(&str, &str)]) -> Markup {
    html! {
        input type="hidden" name="csrf" value=(frame.csrf);
        @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
    }
}

/// One line of text with its label.
pub struct Input<'a> {
    pub name: &'a str,
    pub label: Text,
    pub hint: Option<Text>,
    pub value: &'a str,
    pub kind: &'a str,
    pub required: bool,
    pub autocomplete: &'a str,
}

impl<'a> Input<'a> {
    /// A field for any text.
    pub const fn text(name: &'a str, label: Text, value: &'a str) -> Self {
        Self { name, label, hint: None, value, kind: "text", required: false, autocomplete: "off" }
    }
    /// With a sentence on what is expected.
    pub const fn hint(self, hint: Text) -> Self {
        Self { hint: Some(hint), ..self }
    }
    /// That has to be filled.
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }
    /// Of a kind that browsers know, with what they may fill in.
    pub const fn kind(self, kind: &'a str, autocomplete: &'a str) -> Self {
        Self { kind, autocomplete, ..self }
    }

    pub fn markup(&self, frame: &Frame, form: &str) -> Markup {
        let id = format!("{form}-{}", self.name);
        let about = format!("{id}-hint");
        html! {
            div.field {
                label for=(id) { (frame.say(self.label)) }
                input id=(id) name=(self.name) type=(self.kind) value=(self.value) required[self.required]
                    autocomplete=(self.autocomplete) autocapitalize="none" spellcheck="false"
                    aria-describedby=[self.hint.map(|_| about.clone())];
                @if let Some(hint) = self.hint { small id=(about) { (frame.say(hint)) } }
            }
        }
    }
}

/// A choice of words, with its label. `choices` are values and what is shown for them.
pub fn select(
    frame: &Frame,
    form: &str,
    name: &str,
    label: Text,
    choices: &[(&str, &str)],
    chosen: &str,
) -> Markup {
    let id = format!("{form}-{name}");
    html! {
        div.field {
            label for=(id) { (frame.say(label)) }
            select id=(id) name=(name) {
                @for (value, shown) in choices {
                    option value=(value) selected[*value == chosen] { (shown) }
                }
            }
        }
    }
}

/// A button that shows what a change would do: a form of its own.
pub fn change_button(frame: &Frame, fields: &[(&str, &str)], label: &str) -> Markup {
    html! {
        form.inline method="post" action=(frame.url("/review")) {
            (hidden(frame, fields))
            button type="submit" { (label) "…" }
        }
    }
}

/// Returns a path with a query, every value escaped.
pub fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    for (n, (name, value)) in query.iter().filter(|(_, value)| !value.is_empty()).enumerate() {
        out.push(if n == 0 { '?' } else { '&' });
        out += name;
        out.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    out.push(byte.into());
                }
                other => out += &format!("%{other:02X}"),
            }
        }
    }
    out
}

/// Returns a number of bytes as `wg show` writes it.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2} {}", UNITS[unit])
}

/// Returns an empty text where there is none: a label for tables' cells.
pub fn or_none(frame: &Frame, text: &str) -> Markup {
    html! { @if text.is_empty() { span.dim { (frame.say(text::NONE)) } } @else { (text) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_hold_one_value_each() {
        let made = with_query("/trace", &[("from", "a&b=c"), ("port", ""), ("to", "10.0.0.0/8")]);
        assert_eq!(made, "/trace?from=a%26b%3Dc&to=10.0.0.0%2F8");
    }

    #[test]
    fn bytes_as_wg_writes_them() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.50 KiB");
        assert_eq!(bytes(5 << 30), "5.00 GiB");
        assert_eq!(bytes(u64::MAX), "16384.00 PiB");
    }
}
