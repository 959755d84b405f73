//! The command by which a host moves a floating address where a cloud's own means have to: `floating-hook` in the network's folder. It
//! is of this host alone and of root alone: nothing that comes from a store or a bundle is ever run.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::floating::HookCall;
use crate::host::HostError;

const NAME: &str = "floating-hook";
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);
/// So much of what it says is kept, in bytes, and so much told, in characters.
const KEPT: usize = 4096;
const TOLD: usize = 200;

/// Returns the command of a network's folder; `None`: there is none.
///
/// # Errors
/// Somebody else than root may have written it.
pub fn find(folder: &Path) -> Result<Option<PathBuf>, HostError> {
    let path = folder.join(NAME);
    let refused = |why: String| HostError::new("run", path.display().to_string(), why);
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => return Ok(None),
        Err(e) => return Err(refused(e.to_string())),
    };
    let about = real.metadata().map_err(|e| refused(e.to_string()))?;
    if !about.is_file() || about.mode() & 0o111 == 0 {
        return Err(refused("it is no program (chmod 0700)".into()));
    }
    // Whoever may rename a folder on the way puts a program of his own in its place.
    for part in [&path, &real].into_iter().flat_map(|path| path.ancestors()) {
        let about = part.metadata().map_err(|e| refused(e.to_string()))?;
        let is_owned = about.uid() == 0 || about.uid() == nix::unistd::geteuid().as_raw();
        // In a folder as /tmp is, nobody renames what is root's.
        let is_sticky = about.is_dir() && about.mode() & 0o1000 != 0;
        if !is_owned || (about.mode() & 0o022 != 0 && !is_sticky) {
            let words = format!("{} can be written by others than root: it is not run", part.display());
            return Err(refused(words));
        }
    }
    Ok(Some(real))
}

/// Runs it to its end: without a shell, with an environment of its own, and no longer than `limit` or until `is_past`.
///
/// # Errors
/// It cannot be started, was ended, or failed; with the last line of what it said on standard error.
pub fn run(
    path: &Path,
    call: &HookCall,
    limit: Duration,
    is_past: impl Fn() -> bool,
) -> Result<(), HostError> {
    let HookCall { moved, address, network, relay, host } = call;
    let failed = |why: String| HostError::new("run", format!("{} {moved} {address}", path.display()), why);
    let mut command = Command::new(path);
    command.args([moved.to_string(), address.to_string()]);
    command.env_clear().env("PATH", super::program::path()).env("LC_ALL", "C").current_dir("/");
    command.env("WGRELAY_NETWORK", network.as_str()).env("WGRELAY_RELAY", relay.as_str());
    command.envs(host.iter().map(|host| ("WGRELAY_HOST", host.as_str())));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
    let mut said = Said::of(&mut child).map_err(|e| failed(e.to_string()))?;
    let end = Instant::now() + limit;
    let status = loop {
        said.take();
        if let Some(status) = child.try_wait().map_err(|e| failed(e.to_string()))? {
            break status;
        }
        let is_late = Instant::now() >= end;
        if is_late || is_past() {
            end_with_all_that_it_started(&mut child);
            let late = || format!("it took longer than {} s and was ended", limit.as_secs_f32());
            return Err(failed(if is_late {
                late()
            } else {
                "it was ended: it is not wanted any more".into()
            }));
        }
        std::thread::sleep(LOOK);
    };
    said.take();
    if status.success() { Ok(()) } else { Err(failed(said.why(status))) }
}

/// Ends a command with its process group, and waits for it a moment: what hangs in the kernel goes when it can.
fn end_with_all_that_it_started(child: &mut Child) {
    let group = i32::try_from(child.id()).map(Pid::from_raw);
    let _it_is_over = group.map(|group| killpg(group, Signal::SIGKILL));
    for _ in 0..10 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(LOOK);
    }
}

/// What it says on standard error, the end of it.
struct Said {
    pipe: Option<ChildStderr>,
    bytes: Vec<u8>,
}

impl Said {
    fn of(child: &mut Child) -> io::Result<Self> {
        let pipe = child.stderr.take();
        if let Some(pipe) = &pipe {
            fcntl(pipe.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Self { pipe, bytes: Vec::new() })
    }

    /// Takes what is there, and no more at a time than a pipe holds: one that never stops talking is ended all the same.
    fn take(&mut self) {
        let mut buffer = [0; KEPT];
        for _ in 0..16 {
            match self.pipe.as_mut().map(|pipe| pipe.read(&mut buffer)) {
                Some(Ok(n)) if n > 0 => {
                    self.bytes.extend_from_slice(&buffer[..n]);
                    let over = self.bytes.len().saturating_sub(KEPT);
                    self.bytes.drain(..over);
                }
                _ => return,
            }
        }
    }

    fn why(&self, status: ExitStatus) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
        let clean: String = last.unwrap_or_default().chars().filter(|c| !c.is_control()).take(TOLD).collect();
        if clean.is_empty() { status.to_string() } else { format!("{status}: {clean}") }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::floating::Moved;

    const LONG: Duration = Duration::from_secs(60);

    fn call() -> HookCall {
        HookCall {
            moved: Moved::Take,
            address: "198.51.100.10".parse().unwrap(),
            network: "wg0".parse().unwrap(),
            relay: "eu".parse().unwrap(),
            host: Some("eu-a".parse().unwrap()),
        }
    }

    /// A folder that is closed to others, with a script as its hook.
    fn folder(script: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, script);
        dir
    }

    fn write(dir: &tempfile::TempDir, script: &str) {
        let path = dir.path().join(NAME);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        mode(&path, 0o700);
    }

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    fn outcome(dir: &tempfile::TempDir, limit: Duration, is_past: impl Fn() -> bool) -> Result<(), String> {
        let path = find(dir.path()).unwrap().unwrap();
        run(&path, &call(), limit, is_past).map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_told_what_happened_and_nothing_of_the_agents_environment() {
        let dir = folder("cd \"$(dirname \"$0\")\"; echo \"$#\" \"$@\" >said; env | sort >env; pwd -P >at");
        outcome(&dir, LONG, || false).unwrap();
        let of = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(of("said"), "2 take 198.51.100.10\n");
        let env = of("env");
        let names: Vec<&str> = env.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        let own = [
            "LC_ALL",
            "OLDPWD",
            "PATH",
            "PWD",
            "WGRELAY_HOST",
            "WGRELAY_NETWORK",
            "WGRELAY_RELAY",
            "_",
            "SHLVL",
        ];
        assert!(names.iter().all(|name| own.contains(name)), "{env}");
        assert!(env.contains("WGRELAY_HOST=eu-a\nWGRELAY_NETWORK=wg0\nWGRELAY_RELAY=eu\n"), "{env}");
    }

    #[test]
    fn its_failure_is_told_with_its_last_words() {
        let why = |script: &str| outcome(&folder(script), LONG, || false).unwrap_err();
        let said = why("echo trying >&2; printf 'no quota \\033[31mleft\\n\\n' >&2; exit 3");
        assert!(said.ends_with("exit status: 3: no quota [31mleft"), "{said}");
        assert!(why("exit 1").ends_with("exit status: 1"));
        assert!(why("kill -9 $$").contains("signal: 9"));
        // However much it says.
        let said = why("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo last >&2; exit 1");
        assert!(said.ends_with("exit status: 1: last"), "{said}");
    }

    #[test]
    fn one_that_hangs_or_is_past_is_ended_with_what_it_started() {
        for hangs in ["sleep 600", "sleep 600 & wait", "trap '' TERM; while :; do sleep 600; done", "yes >&2"]
        {
            let dir = folder(hangs);
            let began = Instant::now();
            let said = outcome(&dir, Duration::from_millis(200), || false).unwrap_err();
            assert!(said.contains("longer than 0.2 s"), "{hangs}: {said}");
            let said = outcome(&dir, LONG, || began.elapsed() > Duration::from_millis(400)).unwrap_err();
            assert!(said.contains("not wanted any more"), "{hangs}: {said}");
            assert!(began.elapsed() < LONG, "{hangs}: {:?}", began.elapsed());
        }
        let dir = folder("sleep 600 & echo $! >\"$(dirname \"$0\")/child\"; wait");
        outcome(&dir, Duration::from_secs(1), || false).unwrap_err();
        let child = std::fs::read_to_string(dir.path().join("child")).unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        let began = Instant::now();
        while !state().is_empty() && !state().contains(") Z ") {
            assert!(began.elapsed() < LONG, "what it started lives: {}", state());
            std::thread::sleep(LOOK);
        }
    }

    #[test]
    fn what_somebody_else_may_have_written_is_not_run() {
        let dir = folder("exit 0");
        let path = dir.path().join(NAME);
        let why = || find(dir.path()).unwrap_err().to_string();
        for open in [0o720, 0o702, 0o777] {
            mode(&path, open);
            assert!(why().contains("can be written by others than root"), "{open:o}: {}", why());
        }
        mode(&path, 0o600);
        assert!(why().contains("it is no program"), "{}", why());
        mode(&path, 0o700);
        // Its folder.
        mode(dir.path(), 0o770);
        assert!(why().contains("can be written by others than root"), "{}", why());
        mode(dir.path(), 0o700);
        assert!(find(dir.path()).unwrap().is_some());
        // What it leads to.
        let elsewhere = tempfile::tempdir().unwrap();
        write(&elsewhere, "exit 0");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join(NAME), &path).unwrap();
        assert!(find(dir.path()).unwrap().is_some());
        mode(elsewhere.path(), 0o777);
        assert!(why().contains("can be written by others than root"), "{}", why());
        // Nothing, and a link to nothing.
        std::fs::remove_file(elsewhere.path().join(NAME)).unwrap();
        assert!(find(dir.path()).is_err());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(find(dir.path()).unwrap(), None);
        std::fs::create_dir(&path).unwrap();
        assert!(why().contains("it is no program"), "{}", why());
    }

    #[test]
    fn somebody_elses_program_is_not_run() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = folder("exit 0");
        std::os::unix::fs::chown(dir.path().join(NAME), Some(65534), None).unwrap();
        let why = find(dir.path()).unwrap_err().to_string();
        assert!(why.contains("can be written by others than root"), "{why}");
    }
}
