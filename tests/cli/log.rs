//! Nobody reads the log any more, or there is no room for it: the program does its work all the same.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::sandbox::Sandbox;

/// A command that logs, and has an answer.
const CHECK: [&str; 3] = ["-vv", "check", "--json"];

#[track_caller]
fn works(command: &mut Command, what: &str) {
    let output = command.output().expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{what}: {output:?}");
    assert!(output.stdout.starts_with(b"{"), "{what}: {output:?}");
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let sandbox = Sandbox::with_network();
    let logged = sandbox.command(&CHECK).output().expect("the program starts");
    assert!(logged.stderr.windows(4).any(|w| w == b"done"), "it logs: {logged:?}");

    let full = File::options().write(true).open("/dev/full").expect("it is there");
    works(sandbox.command(&CHECK).stderr(full), "a full disk");

    let (reader, writer) = std::io::pipe().expect("a pipe can be had");
    drop(reader);
    works(sandbox.command(&CHECK).stderr(writer), "a reader that went away");

    let program = sandbox.command(&CHECK);
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$0\" \"$@\" 2>&-"]).arg(program.get_program()).args(program.get_args());
    works(closed.stdin(Stdio::null()), "no stderr at all");
}
