//! What was wrong in the files: each finding a warning, at its line, because the import went on.

use super::Source;
use super::hooks::{LeftOut, Place};
use crate::model::{Problem, Severity, masked_to_pieces};
use crate::wgconf::{Key, Table};

/// The findings so far.
#[derive(Default)]
pub(super) struct Findings(Vec<Problem>);

impl Findings {
    pub(super) fn add(
        &mut self,
        code: &str,
        place: String,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        // What the files say is secret: a key in the wrong line is told by its place alone.
        let (message, hint) = (masked_to_pieces(&message.into()), masked_to_pieces(&hint.into()));
        self.0.push(Problem::warning(code, place, message, hint));
    }

    /// Tells what is wrong with a file by itself: its own faults, and what its hooks do.
    pub(super) fn of_file(&mut self, source: &Source<'_>) {
        let faults = source.reading.problems.iter().cloned();
        self.0.extend(faults.map(|p| Problem { severity: Severity::Warning, ..p }));
        let interface = &source.reading.document.interface;
        if interface.private_key.is_none() {
            self.add(
                "no-private-key",
                format!("{}:1:1", source.name),
                "the file has no private key: its node keeps its own",
                "a node without one here is exported without it, too",
            );
        }
        let at = |(_, line, column): Place| format!("{}:{line}:{column}", source.name);
        if let Some(place) = source.hooks.forwards_everything {
            self.add(
                "forwards-everything",
                at(place),
                format!(
                    "{} accepts every packet from the tunnel and into it, whoever sends it and wherever it goes",
                    place.0
                ),
                "the line is not taken over: wgrelay forwards what the network's places and [[allow]] let pass",
            );
        }
        for LeftOut { place, command, drops } in &source.hooks.left_out {
            let key = place.0;
            if *drops {
                self.add(
                    "drop-left-out",
                    at(*place),
                    format!("{key}: {command:?} is not taken over: what it keeps out gets through"),
                    "[[allow]] rules say who may talk to whom, and keep out the rest",
                );
            } else {
                self.add(
                    "hook-left-out",
                    at(*place),
                    format!("{key}: {command:?} is not taken over: wgrelay runs no commands"),
                    "put what is still wanted into a unit or script of your own",
                );
            }
        }
        if let Some(place) = source.hooks.into_tunnel {
            self.add(
                "masquerades-into-tunnel",
                at(place),
                format!(
                    "{} gives what goes into the tunnel this node's address; that is not taken over: hosts behind it come \
                     with addresses of their own",
                    place.0
                ),
                "they are answered where they are a site of this node, and the others' AllowedIPs hold it",
            );
        }
        if let Some(table) = interface.table.as_ref().filter(|t| **t != Table::Auto) {
            self.add(
                "table-left-out",
                source.place(Key::Table),
                format!("Table = {table} is not taken over: wgrelay makes the routes itself"),
                "",
            );
        }
        if interface.fwmark.is_some_and(|mark| mark > 0) {
            self.add("fwmark-left-out", source.place(Key::FwMark), "FwMark is not taken over", "");
        }
        if interface.save_config == Some(true) {
            self.add(
                "save-config",
                source.place(Key::SaveConfig),
                "SaveConfig = true: wg-quick writes this file anew each time the interface goes down",
                "stop wg-quick before wgrelay up; the file is read here once only",
            );
        }
    }

    /// Returns them by file and line.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        let key = |p: &Problem| {
            let mut parts = p.place.rsplitn(3, ':');
            let mut number = || parts.next().and_then(|t| t.parse::<usize>().ok()).unwrap_or(0);
            let (column, line) = (number(), number());
            (parts.next().unwrap_or_default().to_owned(), line, column)
        };
        self.0.sort_by_cached_key(key);
        self.0.dedup();
        self.0
    }
}
