//! `[[forward]]` in network.toml to [`Forward`].

use super::section::Section;
use super::source::Source;
use crate::model::validate::Marks;
use crate::model::{Destination, Forward, ForwardSource, Network, NodeName, PlaceRef, PortSpec};

/// Reads one `[[forward]]`.
pub(super) fn forward_table(
    section: &Section<'_>,
    network: &mut Network,
    marks: &mut Marks,
    source: &mut Source<'_>,
) {
    section.known(&["on", "port", "to", "from", "source"], source);
    section.required("port", "port = \"tcp/8080\", or a range of ports, or UDP", source);
    section.required("to", "where it leads: to = \"docker:443\"", source);
    let on = section.parsed::<NodeName>("on", "bad-name", source);
    let port = section.parsed::<PortSpec>("port", "bad-port", source);
    let to = section.parsed::<Destination>("to", "bad-destination", source);
    let mut from = Vec::new();
    for text in section.list("from", source).unwrap_or_default() {
        match PlaceRef::parse(text.value) {
            Some(group @ PlaceRef::Group(_)) => from.push(group),
            _ => from.extend(section.prefix_of("from", &text, source).map(|net| PlaceRef::Prefix(net.value))),
        }
    }
    if section.has("from") && from.is_empty() {
        // What cannot be read must not open the port to everybody.
        let message = format!("from of {} names nobody", section.name);
        source.error(
            section.mark,
            "empty-list",
            message,
            "a list of CIDRs and \"@GROUP\"; without the key everybody may call",
        );
        return;
    }
    let kept = section.word("source", &ForwardSource::ALL, source);
    if let (Some(port), Some(to)) = (port, to) {
        marks.forward.push([on.as_ref().map_or(section.mark, |o| o.mark), port.mark, to.mark]);
        network.forward.push(Forward {
            on: on.map(|o| o.value),
            port: port.value,
            to: to.value,
            from,
            source: kept.map_or(ForwardSource::Auto, |k| k.value),
        });
    }
}
