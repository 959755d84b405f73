//! Commands that are proposed, with the options of this command line: what is pasted must mean the same network.
//!
//! Most hints are made deep in pure code, which knows no options and writes `` `wgrelay up` ``. Here, where words leave the
//! program, they get what they need. A command without backticks is for another host, one with a --dir
//! for another network; both stay as they are.

use std::borrow::Cow;
use std::path::Path;

use crate::model::quoted;

/// What begins a command in a sentence.
const BEGINNINGS: [&str; 2] = ["`wgrelay ", "`sudo wgrelay "];

/// The options of this command line that a proposed command may need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Typed {
    dir: Option<String>,
    network: Option<String>,
    node: Option<String>,
}

/// Into what a command is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Into {
    Sentence,
    /// A text that is JSON already: quotes and backslashes are escaped there.
    Json,
}

impl Typed {
    /// Takes the options; `dir` is `None` where it is the default.
    pub fn new(dir: Option<&Path>, network: Option<&str>, node: Option<&str>) -> Self {
        Self {
            dir: dir.map(|d| quoted(&d.display().to_string())),
            network: network.map(quoted),
            node: node.map(quoted),
        }
    }

    /// Returns a command, written without the program's name, as it is to be typed.
    pub fn command(&self, command: &str) -> String {
        format!("wgrelay{} {command}", self.options(command))
    }

    /// Gives the commands in a sentence their options.
    pub fn within<'t>(&self, sentence: &'t str) -> Cow<'t, str> {
        self.put(sentence, Into::Sentence)
    }

    /// Gives the commands in the sentences of a JSON text their options.
    pub fn within_json<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.put(text, Into::Json)
    }

    fn put<'t>(&self, text: &'t str, into: Into) -> Cow<'t, str> {
        // A status of thousands of peers has few hints, or none.
        if *self == Self::default() || !text.contains("wgrelay ") {
            return text.into();
        }
        let mut done = String::with_capacity(text.len() + self.room(text));
        let mut rest = text;
        // One search along the text, also where there are many.
        while let Some((at, length)) = beginning(rest) {
            // Before the space, which the options bring along.
            let (head, tail) = rest.split_at(at + length - 1);
            let command = tail.split(['`', '\n']).next().unwrap_or_default();
            let options = self.options(command);
            done += head;
            done += &match into {
                Into::Sentence => options,
                Into::Json => options.replace('\\', "\\\\").replace('"', "\\\""),
            };
            rest = tail;
        }
        (done + rest).into()
    }

    /// Returns how much the options in a text take at most: it may hold keys, and one that grows leaves copies behind.
    fn room(&self, text: &str) -> usize {
        let options = [("--dir", &self.dir), ("--network", &self.network), ("--node", &self.node)];
        let given =
            options.iter().filter_map(|(option, value)| Some(option.len() + 2 + value.as_ref()?.len() * 2));
        text.matches("wgrelay ").count() * given.sum::<usize>()
    }

    /// Returns the options that a command needs and does not have, each with a space before it.
    fn options(&self, command: &str) -> String {
        let Some(takes) = subcommand(command.split_whitespace()).map(takes) else { return String::new() };
        let has = |option: &str| {
            command.split_whitespace().any(|w| w == option || w.starts_with(&format!("{option}=")))
        };
        // With a folder of its own it is about another network than this line, or names it.
        if has("--dir") {
            return String::new();
        }
        let all = [
            ("--dir", &self.dir, takes != Takes::Nothing),
            ("--network", &self.network, takes != Takes::Nothing),
            ("--node", &self.node, takes == Takes::Node),
        ];
        let needed = all.into_iter().filter(|(option, _, takes)| *takes && !has(option));
        needed.filter_map(|(option, value, _)| Some(format!(" {option} {}", value.as_ref()?))).collect()
    }
}

/// Finds where the next command begins, and how long its beginning is.
fn beginning(text: &str) -> Option<(usize, usize)> {
    text.match_indices('`').find_map(|(at, _)| {
        let found = BEGINNINGS.iter().find(|b| text[at..].starts_with(**b))?;
        Some((at, found.len()))
    })
}

/// Which of these options mean something to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Network,
    /// The network, and which node of it this host is.
    Node,
}

/// The commands that know no network.
const NOTHING: [&str; 7] = ["enroll", "genkey", "pubkey", "genpsk", "lint", "man", "completions"];
/// The commands for which it matters which node this host is.
const NODE: [&str; 7] = ["plan", "up", "status", "run", "service", "doctor", "trace"];

fn takes(subcommand: &str) -> Takes {
    match subcommand {
        name if NOTHING.contains(&name) => Takes::Nothing,
        name if NODE.contains(&name) => Takes::Node,
        _ => Takes::Network,
    }
}

/// Returns the command among the words of a command line, the program's name left out.
pub fn subcommand<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word {
            "--dir" | "--network" | "--node" | "--color" => _ = words.next(),
            _ if word.starts_with('-') => {}
            _ => return Some(word),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed() -> Typed {
        Typed::new(Some(Path::new("/srv/nets")), Some("wg1"), Some("docker"))
    }

    #[test]
    fn each_command_gets_what_it_takes() {
        for (said, expected) in [
            (
                "`wgrelay up` applies it",
                "`wgrelay --dir /srv/nets --network wg1 --node docker up` applies it",
            ),
            ("`wgrelay init`", "`wgrelay --dir /srv/nets --network wg1 init`"),
            (
                "run `wgrelay up --force`, or `wgrelay down`",
                "run `wgrelay --dir /srv/nets --network wg1 --node docker up --force`, or \
                 `wgrelay --dir /srv/nets --network wg1 down`",
            ),
            (
                "`sudo wgrelay -v doctor`",
                "`sudo wgrelay --dir /srv/nets --network wg1 --node docker -v doctor`",
            ),
            ("`wgrelay genkey` makes one", "`wgrelay genkey` makes one"),
            ("`wgrelay lint FILE`, `wgrelay`", "`wgrelay lint FILE`, `wgrelay`"),
            ("run wgrelay up on docker", "run wgrelay up on docker"),
            ("`wgrelay --version`", "`wgrelay --version`"),
            ("`wgrelay up", "`wgrelay --dir /srv/nets --network wg1 --node docker up"),
        ] {
            assert_eq!(typed().within(said), expected);
        }
    }

    #[test]
    fn they_are_commands() {
        use clap::CommandFactory as _;
        let all = crate::cli::Cli::command();
        for name in NOTHING.iter().chain(&NODE) {
            assert!(all.find_subcommand(name).is_some(), "{name}");
        }
    }

    #[test]
    fn what_is_there_already_stays() {
        let said = "`wgrelay --dir /other up`; `wgrelay --dir=/other --network wg2 down`";
        assert_eq!(typed().within(said), said);
        let now = "`wgrelay --dir /srv/nets --node docker --network wg2 up`";
        assert_eq!(typed().within("`wgrelay --network wg2 up`"), now);
        assert_eq!(Typed::default().within("`wgrelay up`"), "`wgrelay up`");
        assert_eq!(Typed::default().command("up"), "wgrelay up");
        assert_eq!(typed().command("confirm"), "wgrelay --dir /srv/nets --network wg1 confirm");
    }

    #[test]
    fn a_folder_is_quoted_for_the_shell_and_for_json() {
        let dir = |path| Typed::new(Some(Path::new(path)), None, None);
        assert_eq!(dir("/a b").within("`wgrelay up`"), "`wgrelay --dir '/a b' up`");
        assert_eq!(dir("/it's").within("`wgrelay up`"), "`wgrelay --dir '/it'\\''s' up`");
        let text =
            serde_json::to_string_pretty(&serde_json::json!({"hint": "`wgrelay up`", "n": 1})).unwrap();
        let read: serde_json::Value = serde_json::from_str(&dir("/a\"b\\").within_json(&text)).unwrap();
        assert_eq!(read["hint"], "`wgrelay --dir '/a\"b\\' up`");
    }

    #[test]
    fn a_text_with_commands_does_not_grow() {
        let typed = Typed::new(Some(Path::new("/\"\"\"\"")), Some("wg1"), Some("docker"));
        let text = "`wgrelay up`, `sudo wgrelay up`, ".repeat(100);
        let Cow::Owned(done) = typed.within_json(&text) else { panic!("it has commands") };
        assert_eq!(done.capacity(), text.len() + typed.room(&text));
    }

    #[test]
    fn the_command_of_a_line_is_found() {
        let found = |line: &'static str| subcommand(line.split(' '));
        assert_eq!(found("--dir up --json down"), Some("down"));
        assert_eq!(found("-q --color never lab up"), Some("lab"));
        assert_eq!(found("--version"), None);
    }
}
