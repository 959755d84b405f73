//! Progress: on a terminal a line appears when work takes longer than a second, and is gone at the end; elsewhere nothing.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::pty::openpty;

use crate::sandbox::{Sandbox, said};

const WORDS: &str = "waiting for another command";

/// Locks the network as another command would; `wgrelay` waits for it.
fn locked(sandbox: &Sandbox) -> Flock<std::fs::File> {
    let path = sandbox.path("wg0/.lock");
    let file = std::fs::File::options().read(true).write(true).open(path).expect("init made the lock file");
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| e).expect("nobody else has it")
}

fn slow(sandbox: &Sandbox) -> Command {
    let mut command = sandbox.command(&["disable", "windows"]);
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    command
}

#[test]
fn a_terminal_shows_a_line_that_leaves_no_rest() {
    let sandbox = Sandbox::with_network();
    let lock = locked(&sandbox);
    let pty = openpty(None, None).expect("a pseudo-terminal");
    let mut child = slow(&sandbox)
        .stdout(Stdio::null())
        .stderr(Stdio::from(pty.slave))
        .spawn()
        .expect("the program starts");
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut master = std::fs::File::from(pty.master);
        let mut piece = [0; 4096];
        // The kernel says EIO where nobody has the terminal open any more.
        while let Ok(n @ 1..) = master.read(&mut piece) {
            let _nobody_listens = tell.send(piece[..n].to_vec());
        }
    });
    let mut seen = Vec::new();
    let began = Instant::now();
    while !String::from_utf8_lossy(&seen).contains(WORDS) {
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", String::from_utf8_lossy(&seen));
        seen.extend(told.recv_timeout(Duration::from_secs(1)).unwrap_or_default());
    }
    drop(lock);
    assert!(child.wait().expect("it ends").success());
    while let Ok(bytes) = told.recv_timeout(Duration::from_secs(15)) {
        seen.extend(bytes);
    }
    let text = String::from_utf8_lossy(&seen).into_owned();
    assert_eq!(shown(&text), "", "{text:?}");
}

#[test]
fn without_a_terminal_nothing_of_it_appears() {
    let sandbox = Sandbox::with_network();
    let lock = locked(&sandbox);
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1500));
        drop(lock);
    });
    let end = said(&mut slow(&sandbox)).exits(0);
    release.join().expect("the thread only waits");
    assert!(!end.err.contains(WORDS) && !end.err.contains('\x1b'), "{end:?}");
}

/// Returns what a terminal shows in the end of a text that stays in its line: carriage returns go to its start, `ESC [ K`
/// and `ESC [ 2 K` clear it, other sequences (colours, the cursor's look) show nothing.
fn shown(text: &str) -> String {
    let (mut line, mut column) = (Vec::new(), 0);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\r' => column = 0,
            '\x1b' => {
                // Behind the bracket, to the letter that ends it.
                let mut sequence = String::new();
                for c in chars.by_ref().skip(1) {
                    sequence.push(c);
                    if c.is_ascii_alphabetic() {
                        break;
                    }
                }
                match sequence.as_str() {
                    "2K" => line.clear(),
                    "K" => line.truncate(column),
                    _ => {}
                }
            }
            c => {
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
    }
    line.into_iter().collect::<String>().trim_end().to_owned()
}
