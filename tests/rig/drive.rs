//! The programs under test on a node: wgrelay itself, and the distribution's `wg-quick` with its wireguard-go.

use std::process::Command;

use super::node::{Node, Output, PLACE};

/// Returns the backend that these tests are asked to use: `WGRELAY_BACKEND`, else the embedded one.
pub fn backend() -> String {
    std::env::var("WGRELAY_BACKEND").unwrap_or_else(|_| "embedded".to_owned())
}

/// wgrelay on one node, with its networks in the node's private folder.
#[derive(Debug, Clone)]
pub struct Wgrelay<'a> {
    /// Where it runs.
    pub node: &'a Node,
    /// Its `--dir`.
    pub dir: String,
    /// What `up` is told with `--backend`.
    pub backend: String,
}

impl<'a> Wgrelay<'a> {
    /// wgrelay with an empty folder and the backend of [`backend`].
    pub fn on(node: &'a Node) -> Self {
        Self { node, dir: format!("{PLACE}/wgrelay"), backend: backend() }
    }

    /// The same with another backend.
    pub fn with_backend(self, backend: &str) -> Self {
        Self { backend: backend.to_owned(), ..self }
    }

    /// Returns the program with its folder, to be given arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgrelay"));
        command.args(["--dir", &self.dir]).args(arguments);
        command
    }

    /// Runs a command.
    pub fn call(&self, arguments: &[&str]) -> Output {
        self.node.command(&mut self.command(arguments))
    }

    /// Runs a command that must exit 0; returns its standard output.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        self.call(arguments).ok().stdout
    }

    /// Runs `up` with this backend.
    pub fn up(&self) -> Output {
        self.call(&["up", "--backend", &self.backend])
    }

    /// Runs `status --json`.
    #[track_caller]
    pub fn status(&self) -> serde_json::Value {
        let output = self.call(&["status", "--json"]);
        serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output}"))
    }

    /// Returns the path of the network's file inside the node; the profile's network is wg0.
    pub fn network_file(&self) -> String {
        format!("{}/wg0/network.toml", self.dir)
    }

    /// Rewrites the network's file.
    pub fn edit(&self, change: impl FnOnce(String) -> String) {
        let text = change(self.node.read(self.network_file()));
        self.node.write(self.network_file(), &text);
    }
}

/// Brings an interface up by `wg-quick`, unchanged, from a configuration's text.
pub fn wg_quick_up(node: &Node, interface: &str, conf: &str) -> Output {
    let path = format!("/etc/wireguard/{interface}.conf");
    node.write(&path, conf);
    wg_quick(node, "up", interface)
}

/// Takes that interface down.
pub fn wg_quick_down(node: &Node, interface: &str) -> Output {
    wg_quick(node, "down", interface)
}

fn wg_quick(node: &Node, what: &str, interface: &str) -> Output {
    // Where the kernel has WireGuard, wg-quick takes that.
    node.command(
        Command::new("wg-quick")
            .args([what, interface])
            .env("WG_QUICK_USERSPACE_IMPLEMENTATION", "wireguard-go"),
    )
}
