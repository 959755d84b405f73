//! Runs the system's own programs, which a service or an ordinary user may not have in its PATH.

use std::io::{self, Write as _};
use std::process::{Command, Output, Stdio};

/// Where the system's programs are when PATH does not say so.
const FOLDERS: [&str; 3] = ["", "/usr/sbin/", "/sbin/"];

/// Runs a program to its end, with its words untranslated.
///
/// # Errors
/// It cannot be started; [`io::ErrorKind::NotFound`]: it is nowhere.
pub(super) fn run(name: &str, args: &[&str], input: Option<&[u8]>) -> io::Result<Output> {
    let mut missing = io::Error::from(io::ErrorKind::NotFound);
    for folder in FOLDERS {
        let mut command = Command::new(format!("{folder}{name}"));
        command.args(args).env("LC_ALL", "C").stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                missing = error;
                continue;
            }
            other => other?,
        };
        // These programs read everything before they say anything, so the pipes cannot wait for each other.
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input)
            && let Err(error) = pipe.write_all(input)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        return child.wait_with_output();
    }
    Err(missing)
}
