//! Runs the system's own programs: from the system's folders, with an environment of their own, and never longer than it may take.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Where the system's programs are; the last is NixOS's.
const FOLDERS: [&str; 7] = [
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/run/current-system/sw/bin",
];
/// How long a program may take that is asked, and how long one that is given something to do, with so many bytes a second on
/// top: nft loads tables of thousands of peers in a second, and changes their sets in several on a busy machine.
const LIMIT: Duration = Duration::from_secs(5);
const LIMIT_TO_CHANGE: Duration = Duration::from_secs(20);
const BYTES_A_SECOND: usize = 5_000;
/// How long one may take that was ended for its time a moment ago, and how long that is remembered: whoever calls it ten times
/// is not to wait ten times.
const LIMIT_ONCE_SLOW: Duration = Duration::from_secs(1);
const SLOW_FOR: Duration = Duration::from_secs(20);
/// How long the end of a program is waited for that was killed: what hangs in the kernel goes when it can.
const DIES_WITHIN: Duration = Duration::from_millis(200);

/// Runs a program to its end, with its words untranslated.
///
/// # Errors
/// It cannot be started, or takes longer than it may; [`io::ErrorKind::NotFound`]: it is nowhere.
pub(super) fn run(name: &str, args: &[&str], input: Option<&[u8]>) -> io::Result<Output> {
    let limit = input
        .map_or(LIMIT, |bytes| LIMIT_TO_CHANGE + Duration::from_secs((bytes.len() / BYTES_A_SECOND) as u64));
    run_within(limit, name, args, input)
}

/// The same for a program with a time limit of its own.
pub(super) fn run_within(
    limit: Duration,
    name: &str,
    args: &[&str],
    input: Option<&[u8]>,
) -> io::Result<Output> {
    static SLOW: Mutex<Option<HashMap<String, Instant>>> = Mutex::new(None);
    let slow = || SLOW.lock().unwrap_or_else(PoisonError::into_inner);
    let was_slow = slow().as_ref().and_then(|slow| slow.get(name)).is_some_and(|at| at.elapsed() < SLOW_FOR);
    let limit = if was_slow { limit.min(LIMIT_ONCE_SLOW) } else { limit };
    let mut command = command(name)?;
    // Whoever ends this process by Ctrl-C ends what it has started by it, not by the terminal.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let outcome = finish(command.args(args), input, limit);
    match &outcome {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            slow().get_or_insert_default().insert(name.to_owned(), Instant::now());
        }
        _ if was_slow => drop(slow().as_mut().map(|slow| slow.remove(name))),
        _ => {}
    }
    outcome
}

/// Returns a program of the system's as a command. Root's is never one of the caller's PATH, and has nothing of the caller's
/// environment.
///
/// # Errors
/// [`io::ErrorKind::NotFound`]: it is nowhere.
pub fn command(name: &str) -> io::Result<Command> {
    let is_root = nix::unistd::geteuid().is_root();
    let found = FOLDERS.iter().map(|folder| PathBuf::from(folder).join(name)).find(|path| path.is_file());
    let mut command = match found {
        Some(path) => Command::new(path),
        // What an ordinary user has of his own runs with no more rights than his.
        None if !is_root => Command::new(name),
        None => return Err(io::ErrorKind::NotFound.into()),
    };
    if is_root {
        command.env_clear().env("PATH", path());
    }
    command.env("LC_ALL", "C");
    Ok(command)
}

/// Returns the system's folders of programs as a PATH.
pub(super) fn path() -> String {
    FOLDERS.join(":")
}

/// Runs a command, feeds it, and takes what it says; past `limit` it is killed.
///
/// # Errors
/// It cannot be started, or takes longer than it may.
pub fn finish(command: &mut Command, input: Option<&[u8]>, limit: Duration) -> io::Result<Output> {
    let end = Instant::now() + limit;
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    match concluded(&mut child, input.unwrap_or_default(), end) {
        Ok(Some(output)) => Ok(output),
        other => {
            let _ = child.kill();
            let _ = wait_until(&mut child, Instant::now() + DIES_WITHIN);
            other?;
            let words = format!("it took longer than {} s and was ended", limit.as_secs_f32());
            Err(io::Error::new(io::ErrorKind::TimedOut, words))
        }
    }
}

/// Feeds a program and takes what it says; `None`: it has not ended in time.
fn concluded(child: &mut Child, input: &[u8], end: Instant) -> io::Result<Option<Output>> {
    let (stdin, mut out, mut err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut said = (Vec::new(), Vec::new());
    converse((stdin, &mut out, &mut err), input, &mut said, end)?;
    let Some(status) = wait_until(child, end)? else { return Ok(None) };
    // Where the time was over before this was read, on a busy machine, it is in the pipes still.
    if let Some(pipe) = &mut out {
        take(pipe.read_to_end(&mut said.0))?;
    }
    if let Some(pipe) = &mut err {
        take(pipe.read_to_end(&mut said.1))?;
    }
    Ok(Some(Output { status, stdout: said.0, stderr: said.1 }))
}

/// Writes and reads until both outputs are at their end, and gone then, or the time is over.
fn converse(
    (mut stdin, out, err): (Option<ChildStdin>, &mut Option<ChildStdout>, &mut Option<ChildStderr>),
    mut input: &[u8],
    said: &mut (Vec<u8>, Vec<u8>),
    end: Instant,
) -> io::Result<()> {
    for pipe in
        [stdin.as_ref().map(|p| p.as_fd()), out.as_ref().map(|p| p.as_fd()), err.as_ref().map(|p| p.as_fd())]
            .into_iter()
            .flatten()
    {
        fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    while (out.is_some() || err.is_some()) && Instant::now() < end {
        if let Some(pipe) = &mut stdin {
            match pipe.write(input) {
                Ok(n) => input = &input[n..],
                Err(e) if is_passing(&e) => {}
                // It has read enough; what it says tells why.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => input = &[],
                Err(e) => return Err(e),
            }
        }
        if input.is_empty() {
            stdin = None;
        }
        if let Some(pipe) = &mut *out
            && !take(pipe.read_to_end(&mut said.0))?
        {
            *out = None;
        }
        if let Some(pipe) = &mut *err
            && !take(pipe.read_to_end(&mut said.1))?
        {
            *err = None;
        }
        let reads = [out.as_ref().map(|p| p.as_fd()), err.as_ref().map(|p| p.as_fd())].into_iter().flatten();
        let mut fds: Vec<PollFd<'_>> = reads.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        if fds.is_empty() {
            break;
        }
        fds.extend(stdin.as_ref().map(|p| PollFd::new(p.as_fd(), PollFlags::POLLOUT)));
        let left = end.saturating_duration_since(Instant::now());
        let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
    }
    Ok(())
}

/// Says whether a pipe may have more to read.
fn take(read: io::Result<usize>) -> io::Result<bool> {
    match read {
        Ok(_) => Ok(false),
        Err(e) if is_passing(&e) => Ok(true),
        Err(e) => Err(e),
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Waits for the end of a program that has said all; `None`: it has not ended in time.
fn wait_until(child: &mut Child, end: Instant) -> io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_micros(100);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str, input: Option<&[u8]>, limit: Duration) -> io::Result<Output> {
        finish(command("sh").unwrap().args(["-c", script]), input, limit)
    }

    /// A machine that was busy past the time limit takes no half of an answer for all of it.
    #[test]
    fn what_was_said_in_time_is_taken_when_nobody_had_time_to_read_it() {
        let mut command = command("sh").unwrap();
        command.args(["-c", "head -c 20000 /dev/zero; echo err >&2"]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.wait().unwrap();
        let output = concluded(&mut child, &[], Instant::now()).unwrap().expect("it has ended");
        assert!(output.status.success());
        assert_eq!((output.stdout.len(), output.stderr.as_slice()), (20_000, &b"err\n"[..]));
    }

    #[test]
    fn what_is_said_and_how_it_ended() {
        let output = shell("echo out; echo err >&2; exit 3", None, LONG).unwrap();
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(run("no-such-program-at-all", &[], None).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn much_passes_both_ways_at_once() {
        let input = vec![b'x'; 3 << 20];
        assert_eq!(shell("cat", Some(&input), LONG).unwrap().stdout, input);
        // Who does not read is no fault, and what it says counts.
        assert_eq!(shell("exec 0<&-; echo no", Some(&input), LONG).unwrap().stdout, b"no\n");
        assert_eq!(shell("wc -c", Some(b""), LONG).unwrap().stdout, b"0\n");
    }

    #[test]
    fn one_that_hangs_is_ended_whatever_it_does() {
        let input = vec![b'x'; 3 << 20];
        // Its input unread; its output closed.
        for script in ["exec sleep 600", "exec >&- 2>&-; exec sleep 600"] {
            let began = Instant::now();
            let error = shell(script, Some(&input), Duration::from_millis(100)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{script}");
            assert!(began.elapsed() < LONG, "{script}: {:?}", began.elapsed());
        }
        // Something that it started has its output still: what it said counts.
        let said = shell("sleep 600 & echo done", None, Duration::from_millis(100)).unwrap();
        assert_eq!((said.stdout.as_slice(), said.status.code()), (&b"done\n"[..], Some(0)));
    }

    #[test]
    fn one_that_hung_is_not_waited_for_as_long_again() {
        let began = Instant::now();
        for limit in [Duration::from_millis(100), LONG * 5] {
            let hung = run_within(limit, "sleep", &["600"], None).unwrap_err();
            assert_eq!(hung.kind(), io::ErrorKind::TimedOut);
        }
        assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    }

    #[test]
    fn roots_programs_have_nothing_of_the_caller() {
        let of = |name: &str| {
            let command = command(name).unwrap();
            let path = command.get_program().to_owned();
            let env: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
            (path, env)
        };
        let (path, env) = of("sh");
        assert!(FOLDERS.iter().any(|f| std::path::Path::new(f).join("sh") == path), "{path:?}");
        if nix::unistd::geteuid().is_root() {
            assert_eq!(env, ["LC_ALL", "PATH"]);
            let output = finish(command("env").unwrap().args(["-u", "LC_ALL"]), None, LONG).unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }
}
