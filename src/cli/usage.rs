//! What is no command line of ours: help that was asked for, and errors of usage.

use std::ffi::OsStr;
use std::io::Write as _;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::args::Cli;
use super::exit::Exit;
use super::output;
use super::printable;
use crate::model::masked;

/// Tells it, with `--json` among the arguments on standard output for a program, too. Returns the exit code.
pub fn tell<'a>(error: clap::Error, arguments: impl Iterator<Item = &'a OsStr> + Clone) -> Exit {
    let error = with_network(error, arguments.clone());
    // clap prints help on stdout and errors on stderr; help asked for is no error. An error quotes what was typed, and a key
    // may have been typed in the wrong place.
    let text = error.render().to_string();
    let shown = printable::printable(&masked(&text), false).into_owned();
    if !error.use_stderr() {
        let _ = error.print();
        return Exit::Done;
    }
    if wants_json(arguments) {
        // A reader that went away was told nothing else either.
        let _ = writeln!(std::io::stdout(), "{:#}", as_json(&shown));
    }
    if shown == text {
        let _ = error.print();
    } else {
        output::last_words(&shown);
    }
    Exit::Usage
}

/// What `wg-quick up NAME` has as an argument is an option here, where a command takes no argument of its own.
fn with_network<'a>(mut error: clap::Error, mut arguments: impl Iterator<Item = &'a OsStr>) -> clap::Error {
    let typed = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) if !word.starts_with('-') => {
            word.clone()
        }
        _ => return error,
    };
    let program = Cli::command();
    let takes_none =
        |command: &clap::Command| command.get_positionals().next().is_none() && !command.has_subcommands();
    if arguments.find_map(|word| program.find_subcommand(word)).is_some_and(takes_none) {
        let tip = format!("a network is chosen by its name: '--network {typed}'");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

fn wants_json<'a>(arguments: impl Iterator<Item = &'a OsStr>) -> bool {
    arguments.take_while(|word| *word != "--").any(|word| word == "--json")
}

/// The object of every command that fails.
fn as_json(shown: &str) -> serde_json::Value {
    let mut parts = shown.trim_end().split("\n\n");
    let first = parts.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(first);
    let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let hint = parts.map(line).collect::<Vec<_>>().join("; ");
    serde_json::json!({ "version": 1, "error": { "message": line(message), "hint": hint }, "problems": [] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_where_none_is_taken_is_an_option() {
        use clap::Parser as _;
        let said = |words: &[&str]| {
            let error = Cli::try_parse_from([&["wgrelay"], words].concat()).expect_err("no command line");
            with_network(error, words.iter().map(OsStr::new)).render().to_string()
        };
        assert!(said(&["up", "wg0"]).contains("tip: a network is chosen by its name: '--network wg0'"));
        assert!(said(&["--dir", "x", "init", "home"]).contains("'--network home'"));
        for words in [&["add", "laptop", "phone"][..], &["up", "--wg0"], &["nothing", "wg0"]] {
            assert!(!said(words).contains("--network"), "{words:?}");
        }
    }

    #[test]
    fn an_error_of_usage_is_an_object_like_every_other() {
        let shown = "error: unexpected argument '--x' found\n\n  tip: a similar one exists\n\nUsage: wgrelay up [OPTIONS]\n";
        let json = as_json(shown);
        assert_eq!(json["error"]["message"], "unexpected argument '--x' found");
        assert_eq!(json["error"]["hint"], "tip: a similar one exists; Usage: wgrelay up [OPTIONS]");
        let wants = |words: &[&str]| wants_json(words.iter().map(OsStr::new));
        assert!(wants(&["up", "--json"]) && !wants(&["lab", "exec", "a", "--", "x", "--json"]));
    }
}
