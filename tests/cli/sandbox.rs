//! A folder for `--dir`, and the program with it.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A `--dir` of its own, gone at the end.
#[derive(Debug)]
pub struct Sandbox {
    folder: tempfile::TempDir,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Sandbox {
    /// Makes an empty one.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder can be made") }
    }

    /// Makes one in memory, where a thousand syncs cost nothing.
    pub fn in_memory() -> Self {
        Self { folder: tempfile::tempdir_in("/dev/shm").expect("a folder can be made") }
    }

    /// Makes one with the default profile's network.
    pub fn with_network() -> Self {
        let this = Self::new();
        this.run(&["init", "--endpoint", "192.0.2.1:51820"]).exits(0);
        this
    }

    /// Makes one whose network.toml has this content.
    pub fn holding(network: &[u8]) -> Self {
        let this = Self::new();
        std::fs::DirBuilder::new().mode(0o700).create(this.path("wg0")).expect("a folder can be made");
        this.write("wg0/network.toml", network);
        this
    }

    /// Returns a path below the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file below the folder, with mode 0600.
    pub fn write(&self, name: &str, content: &[u8]) {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(self.path(name))
            .expect("the file can be opened");
        file.write_all(content).expect("the file can be written");
    }

    /// Returns the program with this folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgrelay"));
        command
            .arg("--dir")
            .arg(self.folder.path())
            .args(arguments)
            .env_remove("WGRELAY_DIR")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program.
    pub fn run(&self, arguments: &[&str]) -> Said {
        said(&mut self.command(arguments))
    }

    /// Returns every file below the folder with its mode and content.
    pub fn files(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        fn walk(folder: &Path, files: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
            for entry in std::fs::read_dir(folder).expect("the folder is readable") {
                let path = entry.expect("the entry is readable").path();
                if path.is_dir() {
                    walk(&path, files);
                } else if !path.ends_with(".lock") {
                    let mode = std::fs::metadata(&path).expect("the file is there").permissions().mode();
                    let content = std::fs::read(&path).expect("the file is readable");
                    files.insert(path, (mode, content));
                }
            }
        }
        let mut files = BTreeMap::new();
        walk(self.folder.path(), &mut files);
        files
    }
}

impl Said {
    /// Fails unless the exit code is this one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Fails unless standard error has all these words, and no trace of a panic.
    #[track_caller]
    pub fn tells(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in {self:#?}");
        }
        assert!(!self.err.contains("panicked") && !self.err.contains("src/"), "{self:#?}");
        self
    }
}

/// Runs a command to its end.
pub fn said(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}
