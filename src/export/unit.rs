//! A network as a systemd unit: it comes up with the host, and its agent holds it.
//!
//! Text only, so that the unit in the package and the one that `service install` writes are the same words.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The first words of a unit of ours: by them `service remove` knows that the file may go.
pub const MARK: &str = "# wgrelay: a network that comes up with this host, and its agent, which holds it.";

/// What a unit says besides what they all say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The program.
    pub program: PathBuf,
    /// `--dir`
    pub dir: PathBuf,
    /// The network's name; `None`: the instance's, as in the template of the package.
    pub network: Option<String>,
    /// `--node`; `None`: not given.
    pub node: Option<String>,
    /// `--backend`; `None`: not given.
    pub backend: Option<String>,
    /// `--metrics`; `None`: not given.
    pub metrics: Option<SocketAddr>,
}

impl Unit {
    /// Returns what the package ships: any network below /etc/wgrelay.
    pub fn template() -> Self {
        let (program, dir) = ("/usr/bin/wgrelay".into(), "/etc/wgrelay".into());
        Self { program, dir, network: None, node: None, backend: None, metrics: None }
    }

    /// Writes the unit.
    pub fn render(&self) -> String {
        let name = self.network.as_deref().map_or_else(|| "%i".to_owned(), specifiers);
        let folder = format!("{}/{name}", specifiers(&self.dir.display().to_string()));
        let command = self.command(&name);
        let mut out =
            format!("{MARK}\n[Unit]\nDescription=wgrelay network {name}\nDocumentation=man:wgrelay(1)\n");
        // Whoever empties the ruleset when he starts goes first; a Docker network's bridge is there after dockerd.
        out += "After=network.target nftables.service netfilter-persistent.service ufw.service firewalld.service docker.service\n";
        let _ = write!(
            out,
            "ConditionPathExists={folder}/network.toml\nStartLimitIntervalSec=0\n\n[Service]\nType=notify\n\
             ExecStart={command} run{options}\nExecReload={command} up\n\
             Restart=on-failure\nRestartSec=2\n# A wrong file stays wrong until somebody corrects it.\n\
             RestartPreventExitStatus=2 3\nTimeoutStopSec=30\n\n{HARDENING}\
             ReadWritePaths=/run {dir}\nProtectHome={home}\n\n[Install]\nWantedBy=multi-user.target\n",
            options = self.options(),
            dir = quoted(&specifiers(&self.dir.display().to_string())),
            home = if self.is_below_home() { "read-only" } else { "yes" },
        );
        out
    }

    fn command(&self, name: &str) -> String {
        let word = |path: &Path| quoted(&specifiers(&path.display().to_string()).replace('$', "$$"));
        format!("{} --dir {} --network {name}{}", word(&self.program), word(&self.dir), self.node_option())
    }

    fn node_option(&self) -> String {
        self.node.as_ref().map_or_else(String::new, |node| format!(" --node {}", specifiers(node)))
    }

    fn options(&self) -> String {
        let backend = self.backend.as_ref().map(|backend| format!(" --backend {backend}"));
        let metrics = self.metrics.map(|at| format!(" --metrics {}", specifiers(&at.to_string())));
        [backend, metrics].into_iter().flatten().collect()
    }

    /// Says whether the unit needs what systemd would hide from it as homes.
    fn is_below_home(&self) -> bool {
        let homes = ["/home", "/root", "/run/user"];
        homes.iter().any(|home| self.program.starts_with(home) || self.dir.starts_with(home))
    }
}

/// What the agent may do, and no more. Left open on purpose: the switches below /proc/sys (it sets forwarding).
const HARDENING: &str = "\
# It needs links, routes, rules and sockets; nothing else of what root may.
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
# AF_VSOCK: by it WSL tells its networking mode.
RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6 AF_VSOCK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectSystem=strict
";

/// Keeps systemd from reading its own specifiers into a text.
fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

/// Quotes a word where systemd would split it or read escapes into it (systemd.syntax(7)).
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%$=,".contains(c) || !c.is_ascii();
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut out = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_unit_is_the_programs_own() {
        let text = Unit::template().render();
        let shipped = include_str!("../../packaging/wgrelay@.service");
        assert!(text == shipped, "packaging/wgrelay@.service is to be:\n{text}");
    }

    #[test]
    fn words_reach_the_program_as_they_are() {
        let unit = Unit {
            program: "/root/a b/wgrelay".into(),
            dir: "/srv/100% $HOME \"q\"".into(),
            network: Some("wg0".into()),
            node: Some("wsl".into()),
            backend: Some("embedded".into()),
            // A scope is a link's number or its name, and a link may be called eth%0.
            metrics: Some("[fe80::1%3]:9586".parse().unwrap()),
        };
        let text = unit.render();
        let line = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_default().to_owned();
        let command = r#""/root/a b/wgrelay" --dir "/srv/100%% $$HOME \"q\"" --network wg0 --node wsl"#;
        assert_eq!(
            line("ExecStart="),
            format!("{command} run --backend embedded --metrics [fe80::1%%3]:9586")
        );
        assert_eq!(line("ExecReload="), format!("{command} up"));
        assert_eq!(line("ConditionPathExists="), "/srv/100%% $HOME \"q\"/wg0/network.toml");
        assert_eq!(line("ReadWritePaths=/run "), r#""/srv/100%% $HOME \"q\"""#);
        // A program below /root must be seen by the unit that runs it.
        assert_eq!(line("ProtectHome="), "read-only");
    }
}
