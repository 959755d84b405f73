//! What was wrong in the files: each finding a warning, at its line, because the import went on.

use super::Source;
use super::hooks::{Does, LeftOut, Place};
use crate::model::{Network, Problem, Severity, masked_to_pieces};
use crate::wgconf::{Key, Table};

/// The code of a key that AmneziaWG alone has.
const AMNEZIAWG: &str = "amneziawg-key";

fn is_of_hook(problem: &Problem) -> bool {
    ["PreUp", "PostUp", "PreDown", "PostDown"].iter().any(|key| problem.message.starts_with(key))
}

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

    /// Tells what is wrong with a file by itself: its own faults, and what its hooks do. `is_running`: its interface is looked at, too.
    pub(super) fn of_file(&mut self, source: &Source<'_>, is_running: bool) {
        // A manager writes a hook's key also where it has none.
        let matters = |p: &&Problem| p.code != AMNEZIAWG && !(p.code == "empty-value" && is_of_hook(p));
        let faults = source.reading.problems.iter().filter(matters).cloned();
        self.0.extend(faults.map(|p| Problem { severity: Severity::Warning, ..p }));
        self.amneziawg(source);
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
        if let Some((place, link)) = &source.hooks.forwards_everything {
            let what = link.as_ref().map_or_else(
                || "every packet from the tunnel and into it, whoever sends it and wherever it goes".into(),
                |link| {
                    format!("every packet that comes from the tunnel and leaves by {link}, whoever sends it")
                },
            );
            self.add(
                "forwards-everything",
                at(*place),
                format!("{} accepts {what}", place.0),
                "the line is not taken over: wgrelay forwards what the network's places and [[allow]] let pass",
            );
        }
        for left_out in source.hooks.left_out.iter().filter(|l| !matches!(l.does, Does::Routes(_))) {
            self.left_out(source, left_out);
        }
        if let Some(place) = source.hooks.changed_script {
            self.add(
                "changed-script",
                at(place),
                format!("the script that {} calls is not as `wgrelay export` wrote it: what was changed in it is not taken over", place.0),
                "compare it with the script of the file that `wgrelay export` writes now",
            );
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
        if interface.fwmark.is_some_and(|mark| mark > 0)
            && super::sends_everything(source)
            && !source.hooks.own
        {
            self.add(
                "fwmark-left-out",
                source.place(Key::FwMark),
                "FwMark is not taken over: a full tunnel has a mark of its own",
                "",
            );
        }
        for key in [Key::IncludedApplications, Key::ExcludedApplications] {
            if source.reading.places.iter().any(|p| p.key == key) {
                self.add(
                    "applications-left-out",
                    source.place(key),
                    format!("{key} is not taken over: a file that wgrelay exports is for all applications of the device"),
                    "choose them in the app again, where the new file is imported",
                );
            }
        }
        if interface.save_config == Some(true) {
            let place = source.place(Key::SaveConfig);
            let (message, hint) = if is_running {
                (
                    "SaveConfig = true: what runs may be newer than this file, and is taken; when the interface goes down, \
                     also for --take-over, wg-quick writes the file anew, without its comments",
                    "keep a copy of the file where its comments name the peers",
                )
            } else {
                (
                    "SaveConfig = true: wg-quick writes this file anew each time the interface goes down; while it is up, peers \
                     may have come or gone that are not in it",
                    "import --live INTERFACE on the relay reads what runs; else stop wg-quick before",
                )
            };
            self.add("save-config", place, message, hint);
        }
    }

    /// Tells of routes into the tunnel that the network does not have: those of its own it makes itself.
    pub(super) fn routes_left_out(&mut self, source: &Source<'_>, network: &Network) {
        let sites = || network.nodes.values().flat_map(|n| n.sites.iter().map(|s| s.subnet));
        for lost in &source.hooks.left_out {
            let Does::Routes(net) = &lost.does else { continue };
            if !network.subnets().iter().any(|t| t.contains(net)) && !sites().any(|site| site.contains(net)) {
                self.left_out(source, lost);
            }
        }
    }

    fn left_out(&mut self, source: &Source<'_>, LeftOut { place, command, does }: &LeftOut) {
        let (code, why, hint) = left_out(does);
        let (key, line, column) = place;
        self.add(
            code,
            format!("{}:{line}:{column}", source.name),
            format!("{key}: {command:?} is not taken over: {why}"),
            hint,
        );
    }

    /// Tells of a file for AmneziaWG: once, and not key by key.
    fn amneziawg(&mut self, source: &Source<'_>) {
        let all: Vec<&Problem> = source.reading.problems.iter().filter(|p| p.code == AMNEZIAWG).collect();
        let Some(first) = all.first() else { return };
        let keys: Vec<&str> = all.iter().filter_map(|p| p.message.split(' ').next()).collect();
        self.add(
            "amneziawg",
            first.place.clone(),
            format!(
                "the file is for AmneziaWG ({}), which WireGuard does not understand: with these, neither end hears the other",
                keys.join(", ")
            ),
            "wgrelay speaks WireGuard: every client needs its app, and a file that `wgrelay export` writes",
        );
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

/// What is lost with a command: a code, why, and what helps.
fn left_out(does: &Does) -> (&'static str, &'static str, String) {
    const RUNS_NONE: &str = "wgrelay runs no commands";
    match does {
        Does::Drops => (
            "drop-left-out",
            "what it keeps out gets through",
            "[[allow]] rules say who may talk to whom, and keep out the rest".into(),
        ),
        Does::Opens => (
            "hook-left-out",
            "wgrelay opens no port of this host",
            "where the host's firewall keeps the port closed, open it there for good".into(),
        ),
        Does::Leads { ports, to } => (
            "hook-left-out",
            RUNS_NONE,
            match ports.as_slice() {
                [port] => format!("[[forward]] does the same: port = \"{port}\", to = \"{to}\""),
                ports => format!(
                    "a [[forward]] for each does the same: to = \"{to}\", port = \"{}\"",
                    ports.join("\", \"")
                ),
            },
        ),
        Does::Routes(net) => (
            "hook-left-out",
            "nothing says who of the network has that",
            format!("wgrelay makes the route where {net} is a site of the node that has it"),
        ),
        Does::Other => {
            ("hook-left-out", RUNS_NONE, "put what is still wanted into a unit or script of your own".into())
        }
    }
}
