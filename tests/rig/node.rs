//! One node: namespaces for network, mounts and processes, held open by a shell that ends with the test, come what may.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// The node's private folder for files of a test; gone with the node.
pub const PLACE: &str = "/mnt";
/// Longest that any command may take: the guest is slow, and a hang must still end.
pub const LONG: Duration = Duration::from_secs(240);

/// What the holder does: it is the first process of the node, so it reaps what daemons leave, and everything ends when
/// it ends: when its standard input is closed.
const HOLDER: &str = "echo ready; read -r _ || :";
/// The folders that every node has for itself.
const PRIVATE: [&str; 3] = ["/run", "/etc/wireguard", PLACE];

/// A namespace with a name.
#[derive(Debug)]
pub struct Node {
    /// For messages.
    pub name: String,
    holder: Child,
    _alive: ChildStdin,
    /// The first process inside, as seen from the test.
    pid: u32,
    net: File,
    mnt: File,
    pids: File,
}

/// How a command ended, and what it said.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command, for messages.
    pub command: String,
    /// None: ended by a signal, or by the time limit.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
}

impl Output {
    /// Returns the output of a command that must have done its work.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }
    /// Returns the output of a command that must end with this exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code == Some(code), "exit {code} expected: {self}");
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, code, stdout, stderr, took } = self;
        write!(f, "`{command}` ended with {code:?} after {took:?}\n-- stdout\n{stdout}-- stderr\n{stderr}")
    }
}

/// Which of a node's namespaces a thread enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enter {
    Network,
    All,
}

impl Node {
    /// Makes a node that is linked to nothing; `lo` is up.
    pub fn new(name: &str) -> Self {
        let mut holder = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "--",
                "bash",
                "-c",
                HOLDER,
            ])
            .env("PATH", path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let alive = holder.stdin.take().expect("stdin is piped");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("stdout is piped"))
            .read_line(&mut line)
            .expect("the holder's stdout is readable");
        assert_eq!(line, "ready\n", "the namespace {name} was not made (see above)");
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", holder.id()))
            .expect("the holder's children are listed");
        let pid: u32 = children.trim().parse().expect("unshare has exactly one child");
        let open =
            |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}")).expect("the holder has namespaces");
        let this = Self {
            name: name.to_owned(),
            net: open("net"),
            mnt: open("mnt"),
            pids: open("pid"),
            holder,
            _alive: alive,
            pid,
        };
        this.enter(Enter::All, || {
            let mounted = |kind: &str, at: &str, options: Option<&str>| {
                mount(Some(kind), at, Some(kind), MsFlags::empty(), options)
                    .unwrap_or_else(|e| panic!("{name}: {kind} at {at}: {e}"));
            };
            for folder in PRIVATE {
                mounted("tmpfs", folder, Some("mode=755"));
            }
            mounted("sysfs", "/sys", None);
            std::fs::create_dir("/run/lock").expect("the new file system is empty");
        });
        this.ip("link set lo up");
        this
    }

    /// Returns the process that holds the node, as `ip link … netns PID` wants it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns a path of this node as the test sees it from outside, without starting a process.
    pub fn outside(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        Path::new(&format!("/proc/{}/root", self.pid)).join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Writes a file of this node, with mode 0600.
    pub fn write(&self, path: impl AsRef<Path>, text: &str) {
        use std::os::unix::fs::OpenOptionsExt;
        let outside = self.outside(&path);
        std::fs::create_dir_all(outside.parent().expect("a file is in a folder"))
            .expect("the folder can be made");
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&outside)
            .unwrap_or_else(|e| panic!("{}: {}: {e}", self.name, path.as_ref().display()));
        file.write_all(text.as_bytes()).expect("the file can be written");
    }

    /// Reads a file of this node.
    pub fn read(&self, path: impl AsRef<Path>) -> String {
        let outside = self.outside(&path);
        std::fs::read_to_string(outside)
            .unwrap_or_else(|e| panic!("{}: {}: {e}", self.name, path.as_ref().display()))
    }

    /// Runs a closure in this node's network: sockets that it makes belong there, and /proc/sys/net is the node's.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.enter(Enter::Network, work)
    }

    fn enter<T: Send>(&self, what: Enter, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.net, CloneFlags::CLONE_NEWNET).expect("the network namespace can be entered");
                if what == Enter::All {
                    // A thread that shares its root folder with others may not change mounts.
                    unshare(CloneFlags::CLONE_FS).expect("a thread can have a root folder of its own");
                    setns(&self.mnt, CloneFlags::CLONE_NEWNS).expect("the mount namespace can be entered");
                    setns(&self.pids, CloneFlags::CLONE_NEWPID)
                        .expect("the process namespace can be entered");
                }
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a command in this node; the caller decides about its standard streams, and keeps it.
    pub fn spawn(&self, command: &mut Command) -> Child {
        if command.get_envs().all(|(name, _)| name != "PATH") {
            command.env("PATH", path());
        }
        command.env("LC_ALL", "C").env_remove("WGRELAY_DIR").env_remove("WGRELAY_REAL");
        self.enter(Enter::All, || {
            command.spawn().unwrap_or_else(|e| panic!("{}: {command:?}: {e}", self.name))
        })
    }

    /// Lets work start a command in this node, and stay its parent: whoever traces it has to.
    pub fn traced<T: Send>(&self, command: &mut Command, work: impl FnOnce(&mut Command) -> T + Send) -> T {
        command.env("PATH", path()).env("LC_ALL", "C").env_remove("WGRELAY_DIR");
        self.enter(Enter::All, || work(command))
    }

    /// Runs a command in this node to its end, at most [`LONG`].
    pub fn command(&self, command: &mut Command) -> Output {
        self.within(LONG, command)
    }

    /// Runs a command in this node to its end, at most `limit`; past it, the command is killed.
    pub fn within(&self, limit: Duration, command: &mut Command) -> Output {
        let began = Instant::now();
        let child = self.spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        finish(&format!("{}: {}", self.name, shown(command)), child, began, limit)
    }

    /// Runs a command given as words.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(Command::new(words[0]).args(&words[1..]))
    }

    /// Runs a script of `ip(8)` lines in this node's network; they see the test's process numbers (`netns PID`).
    #[track_caller]
    pub fn ip(&self, lines: &str) {
        self.ip_batch(&[], lines);
    }

    /// Returns what `ip(8)` lines show for a family (`-4`, `-6`), with all details, as JSON: a list a line.
    #[track_caller]
    pub fn ip_shows(&self, family: &str, lines: &str) -> String {
        self.ip_batch(&[family, "-json", "-details"], lines)
    }

    #[track_caller]
    fn ip_batch(&self, options: &[&str], lines: &str) -> String {
        let mut command = Command::new("ip");
        command.args(options).args(["-batch", "-"]).env("PATH", path());
        let began = Instant::now();
        let mut child = self.enter(Enter::Network, || {
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("ip starts")
        });
        let script: String = lines.lines().map(|line| format!("{}\n", line.trim())).collect();
        child
            .stdin
            .take()
            .expect("stdin is piped")
            .write_all(script.as_bytes())
            .expect("ip reads its script");
        finish(&format!("{}: ip -batch: {script}", self.name), child, began, LONG).ok().stdout
    }

    /// Writes a sysctl below net/, such as `ipv4/ip_forward`.
    pub fn set_sysctl(&self, key: &str, value: &str) {
        self.inside(|| std::fs::write(format!("/proc/sys/net/{key}"), value))
            .unwrap_or_else(|e| panic!("{}: net/{key}={value}: {e}", self.name));
    }

    /// Returns the processes of this node but its first, as the node numbers them, with their command lines.
    pub fn processes(&self) -> Vec<(u32, String)> {
        let own =
            std::fs::read_link(format!("/proc/{}/ns/pid", self.pid)).expect("the holder has namespaces");
        let mut found: Vec<(u32, String)> = std::fs::read_dir("/proc")
            .expect("/proc is readable")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| *pid != self.pid)
            .filter(|pid| std::fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns == own))
            .filter_map(|pid| {
                let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
                let inner =
                    status.lines().find_map(|l| l.strip_prefix("NSpid:"))?.split_whitespace().next_back()?;
                let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?.replace('\0', " ");
                Some((inner.parse().ok()?, line.trim().to_owned()))
            })
            .collect();
        found.sort();
        found
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // With the holder, --kill-child takes the first process, and with that one the kernel takes all others.
        let _gone_already = self.holder.kill();
        let _ = self.holder.wait();
        // Links and sockets live until the last process has ended; a test must not meet those of the one before.
        let deadline = Instant::now() + Duration::from_secs(5);
        while Path::new(&format!("/proc/{}/ns/net", self.pid)).exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Returns a PATH with the folders of the system's programs, in front of what it is now.
fn path() -> String {
    format!(
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{}",
        std::env::var("PATH").unwrap_or_default()
    )
}

fn shown(command: &Command) -> String {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}

/// Waits for a command whose output is piped.
pub fn finish(shown: &str, mut child: Child, began: Instant, limit: Duration) -> Output {
    fn reader(mut from: impl Read + Send + 'static) -> std::sync::mpsc::Receiver<String> {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = from.read_to_end(&mut bytes);
            let _nobody_waits = sender.send(String::from_utf8_lossy(&bytes).into_owned());
        });
        receiver
    }
    let stdout = reader(child.stdout.take().expect("stdout is piped"));
    let stderr = reader(child.stderr.take().expect("stderr is piped"));
    let status: Option<ExitStatus> = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break Some(status);
        }
        if began.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let took = began.elapsed();
    let text = |from: std::sync::mpsc::Receiver<String>, name: &str| {
        // Who starts a daemon and leaves it our pipe hangs every `$(…)` and every pipeline of a user.
        from.recv_timeout(Duration::from_secs(3))
            .unwrap_or_else(|_| panic!("{shown}: ended, but something that it started holds its {name} open"))
    };
    Output {
        command: shown.to_owned(),
        code: status.and_then(|s| s.code()),
        stdout: text(stdout, "stdout"),
        stderr: text(stderr, "stderr"),
        took,
    }
}
