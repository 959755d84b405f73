//! `[[allow]]` and `[[expect]]` in network.toml to [`AllowRule`] and [`Expectation`].

use super::section::{At, Section};
use super::source::Source;
use crate::model::validate::Marks;
use crate::model::{AllowRule, Expectation, Network, PlaceRef, PortSpec, Verdict};

/// Reads one `[[allow]]`.
pub(super) fn allow_table(
    section: &Section<'_>,
    network: &mut Network,
    marks: &mut Marks,
    source: &mut Source<'_>,
) {
    section.known(&["from", "to", "ports"], source);
    let from = places(section, "from", source);
    let to = places(section, "to", source);
    let mut ports = Vec::new();
    for text in section.list("ports", source).unwrap_or_default() {
        match text.value.parse::<PortSpec>() {
            Ok(port) => ports.push(port),
            Err(why) => source.error(text.mark, "bad-port", format!("{why}"), ""),
        }
    }
    marks.allow.push(from.iter().chain(&to).map(|p| p.mark).collect());
    let values = |places: Vec<At<PlaceRef>>| places.into_iter().map(|p| p.value).collect();
    network.allow.push(AllowRule { from: values(from), to: values(to), ports });
}

fn places(section: &Section<'_>, key: &str, source: &mut Source<'_>) -> Vec<At<PlaceRef>> {
    section.required(key, "a list such as [\"windows\"]; [\"*\"] is every place", source);
    let Some(texts) = section.list(key, source) else { return Vec::new() };
    if texts.is_empty() {
        let message = format!("{key} of {} is empty: the rule allows nothing", section.name);
        source.error(section.mark, "empty-list", message, "[\"*\"] is every place");
    }
    texts.iter().filter_map(|t| place(section, key, t, source)).collect()
}

fn place(section: &Section<'_>, key: &str, text: &At<&str>, source: &mut Source<'_>) -> Option<At<PlaceRef>> {
    if text.value.contains('/') {
        let net = section.prefix_of(key, text, source)?;
        return Some(At { value: PlaceRef::Prefix(net.value), mark: net.mark });
    }
    let place = PlaceRef::parse(text.value).map(|value| At { value, mark: text.mark });
    if place.is_none() {
        let message = format!("{:?} cannot be in {key} of {}", text.value, section.name);
        source.error(
            text.mark,
            "unknown-place",
            message,
            "a node, a site's subnet, an address, a CIDR, \"*\" or \"internet\"",
        );
    }
    place
}

/// Reads one `[[expect]]`.
pub(super) fn expect_table(
    section: &Section<'_>,
    network: &mut Network,
    marks: &mut Marks,
    source: &mut Source<'_>,
) {
    section.known(&["from", "to", "port", "verdict", "survives"], source);
    for key in ["from", "to"] {
        section.required(key, "a node, an address or a site's subnet", source);
    }
    section.required("verdict", "verdict = \"reaches\" or \"blocked\"", source);
    let mut end = |key: &str| {
        let text = section.text(key, source)?;
        place(section, key, &text, source)
    };
    let (from, to) = (end("from"), end("to"));
    let port = section.parsed::<PortSpec>("port", "bad-port", source);
    let words = [("reaches", Verdict::Reaches), ("blocked", Verdict::Blocked)];
    let verdict = section.word("verdict", &words, source);
    let survives = section.flag("survives", source);
    if let (Some(from), Some(to)) = (from, to) {
        marks.expect.push([from.mark, to.mark]);
        // Where the verdict could not be read the places are checked all the same.
        let (port, verdict) = (port.map(|p| p.value), verdict.map_or(Verdict::Reaches, |v| v.value));
        let survives = survives.is_some_and(|flag| flag.value);
        network.expect.push(Expectation { from: from.value, to: to.value, port, verdict, survives });
    }
}
