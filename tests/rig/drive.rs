//! The programs under test on a node: wgrelay itself, and the distribution's `wg-quick` with its wireguard-go.

use std::process::Command;

use super::node::{Node, Output, PLACE};
use super::topology::{BRIDGE, Families, RELAY, Topology};

/// Returns the backend that these tests are asked to use: `WGRELAY_BACKEND`, else the embedded one.
pub fn backend() -> String {
    std::env::var("WGRELAY_BACKEND").unwrap_or_else(|_| "embedded".to_owned())
}

/// The program under test: `WGRELAY_PROGRAM`, else the one that was built with the tests.
pub fn program() -> String {
    std::env::var("WGRELAY_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_wgrelay").to_owned())
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

    /// wgrelay as the topology's relay: the default profile's network, with what has to be corrected in it here.
    #[track_caller]
    pub fn relay_of(t: &'a Topology, families: Families) -> Self {
        let this = Self::on(&t.relay);
        let endpoint = format!("{RELAY}:51820");
        let mut words = vec!["init", "--endpoint", &endpoint];
        if families == Families::Both {
            words.extend(["--subnet6", "fd5e:1::/64"]);
        }
        this.ok(&words);
        this.edit(|text| {
            // No Docker is here that could be asked for its network's bridge.
            let text = replaced(&text, "docker:webvirtcloud_default", BRIDGE);
            if families == Families::V4 {
                return text;
            }
            let site = |node: &str, subnet: &str, interface: &str| {
                format!(
                    "[[node.{node}.site]]\nsubnet = \"{subnet}\"\ninterface = \"{interface}\"\nnat = \"masquerade\"\n\n"
                )
            };
            let text =
                replaced(&text, "[node.windows]", &(site("wsl", "fd00:19::/64", BRIDGE) + "[node.windows]"));
            let text = replaced(&text, "\"172.19.0.0/16\"]", "\"172.19.0.0/16\", \"fd00:19::/64\"]");
            text + "\n" + &site("docker", "fd00:33::/64", "br-ext")
        });
        this
    }

    /// The topology's relay as [`Self::relay_of`] has it, which leads to the Internet, and windows as a spoke that runs wgrelay with
    /// these settings of its own. Nothing is up.
    #[track_caller]
    pub fn relay_and_spoke(t: &'a Topology, families: Families, settings: &str) -> (Self, Self) {
        let relay = Self::relay_of(t, families);
        relay.edit(|text| {
            let text = replaced(&text, "role = \"relay\"\n", "role = \"relay\"\negress = true\n");
            replaced(&text, "[node.windows]\n", &format!("[node.windows]\n{settings}"))
        });
        (relay, Self::on(&t.windows))
    }

    /// The topology's relay, brought up.
    #[track_caller]
    pub fn up_on(t: &'a Topology) -> Self {
        let this = Self::relay_of(t, Families::V4);
        this.up().ok();
        this
    }

    /// The same with another backend.
    pub fn with_backend(self, backend: &str) -> Self {
        Self { backend: backend.to_owned(), ..self }
    }

    /// Returns the program with its folder, to be given arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
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

    /// Writes a network that has no keys, with fresh ones for every `[node.NAME]`.
    pub fn write_network(&self, text: &str) {
        let mut network = String::new();
        let mut secrets = String::from("[private_keys]\n");
        for line in text.lines() {
            network += &format!("{line}\n");
            if line == "[network]" {
                network += "preshared_keys = false\n";
            }
            if let Some(name) = line.strip_prefix("[node.").and_then(|l| l.strip_suffix(']')) {
                let mut bytes = [0; 32];
                let mut random = std::fs::File::open("/dev/urandom").expect("Linux has it");
                std::io::Read::read_exact(&mut random, &mut bytes).expect("it never ends");
                let key = wgrelay::model::PrivateKey::from_random(bytes);
                network += &format!("public_key = \"{}\"\n", key.public_key());
                secrets += &format!("{name} = \"{}\"\n", key.expose_base64().as_str());
            }
        }
        self.node.write(self.network_file(), &network);
        self.node.write(format!("{}/wg0/secrets.toml", self.dir), &secrets);
        self.node.run(&["chmod", "700", &self.dir, &format!("{}/wg0", self.dir)]).ok();
    }

    /// Brings a spoke up on this host, from the bundle that its relay exports.
    #[track_caller]
    pub fn up_with(&self, relay: &Self, name: &str) -> Output {
        let path = format!("{PLACE}/{name}.bundle");
        self.node.write(&path, &relay.ok(&["export", name, "--format", "bundle"]));
        self.call(&["up", "--bundle", &path, "--backend", &self.backend])
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

/// Returns the text with a part of it replaced, which must be there.
#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in\n{text}");
    text.replace(from, to)
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
