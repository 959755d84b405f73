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
    /// Whether it changes rules with iptables-legacy, which takes raw sockets.
    pub legacy: bool,
    /// Whether it tells a link's hosts of an address that moves here, which takes frames of its own.
    pub announces: bool,
    /// Whether a port below 1024 is its to listen on.
    pub low_port: bool,
    /// Whether name servers of its own are written below /etc, by openresolv.
    pub name_servers: bool,
    /// Whether this host is WSL, which tells its networking mode by AF_VSOCK.
    pub wsl: bool,
}

impl Unit {
    /// Returns what the package ships: any network below /etc/wgrelay.
    pub fn template() -> Self {
        let (program, dir) = ("/usr/bin/wgrelay".into(), "/etc/wgrelay".into());
        let (network, node, backend, metrics) = (None, None, None, None);
        Self {
            program,
            dir,
            network,
            node,
            backend,
            metrics,
            legacy: false,
            announces: false,
            low_port: false,
            name_servers: false,
            wsl: false,
        }
    }

    /// Says what of a unit cannot be written into one: systemd reads lines, and knows no way to write a line's end into a path.
    pub fn unfit(&self) -> Option<&Path> {
        let fits = |path: &Path| path.to_str().is_some_and(|text| !text.chars().any(char::is_control));
        [&*self.program, &*self.dir].into_iter().find(|path| !fits(path))
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
             RestartPreventExitStatus=2 3\nTimeoutStopSec=30\n\
             # With a heap for each thread glibc keeps half as much again.\nEnvironment=MALLOC_ARENA_MAX=1\n\n\
             # It needs links, routes, rules and sockets; nothing else of what root may.\n\
             CapabilityBoundingSet=CAP_NET_ADMIN{rights}\n\
             RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6{packet}{vsock}\n{HARDENING}\
             ReadWritePaths=/run /proc/sys/net {dir}{etc}\nProtectHome={home}\n\n[Install]\nWantedBy=multi-user.target\n",
            options = self.options(),
            rights = self.rights(),
            packet = if self.announces { " AF_PACKET" } else { "" },
            vsock = if self.wsl { " AF_VSOCK" } else { "" },
            dir = quoted(&specifiers(&self.dir.display().to_string())),
            etc = if self.name_servers { " /etc" } else { "" },
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

    fn rights(&self) -> String {
        let more =
            [(self.legacy || self.announces, " CAP_NET_RAW"), (self.low_port, " CAP_NET_BIND_SERVICE")];
        more.iter().filter(|(needed, _)| *needed).map(|(_, name)| *name).collect()
    }

    /// Says whether the unit needs what systemd would hide from it as homes.
    fn is_below_home(&self) -> bool {
        let homes = ["/home", "/root", "/run/user"];
        homes.iter().any(|home| self.program.starts_with(home) || self.dir.starts_with(home))
    }
}

/// What the agent may do, and no more. Open below /proc/sys are the switches of the network alone (it sets forwarding).
const HARDENING: &str = "\
NoNewPrivileges=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077
KeyringMode=private
# The embedded data plane's one device.
PrivateDevices=yes
BindPaths=-/dev/net/tun
DeviceAllow=/dev/net/tun rw
PrivateMounts=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
RemoveIPC=yes
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
            legacy: true,
            announces: false,
            low_port: true,
            name_servers: false,
            wsl: true,
        };
        assert_eq!(unit.unfit(), None);
        let text = unit.render();
        let line = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_default().to_owned();
        let command = r#""/root/a b/wgrelay" --dir "/srv/100%% $$HOME \"q\"" --network wg0 --node wsl"#;
        assert_eq!(
            line("ExecStart="),
            format!("{command} run --backend embedded --metrics [fe80::1%%3]:9586")
        );
        assert_eq!(line("ExecReload="), format!("{command} up"));
        assert_eq!(line("ConditionPathExists="), "/srv/100%% $HOME \"q\"/wg0/network.toml");
        assert_eq!(line("ReadWritePaths=/run /proc/sys/net "), r#""/srv/100%% $HOME \"q\"""#);
        // A program below /root must be seen by the unit that runs it.
        assert_eq!(line("ProtectHome="), "read-only");
    }

    #[test]
    fn rights_are_those_that_the_host_asks_for() {
        let line = |unit: Unit| {
            let text = unit.render();
            text.lines().find_map(|l| l.strip_prefix("CapabilityBoundingSet=")).unwrap_or_default().to_owned()
        };
        assert_eq!(line(Unit::template()), "CAP_NET_ADMIN");
        assert!(!Unit::template().render().contains("VSOCK"));
        let open = |unit: Unit| {
            unit.render().lines().any(|l| l == "ReadWritePaths=/run /proc/sys/net /etc/wgrelay /etc")
        };
        assert!(!open(Unit::template()) && open(Unit { name_servers: true, ..Unit::template() }));
        assert!(Unit { wsl: true, ..Unit::template() }.render().contains("AF_INET6 AF_VSOCK\n"));
        assert_eq!(line(Unit { legacy: true, ..Unit::template() }), "CAP_NET_ADMIN CAP_NET_RAW");
        let announces = Unit { announces: true, ..Unit::template() };
        assert!(announces.render().contains("AF_INET6 AF_PACKET\n"));
        assert_eq!(line(announces), "CAP_NET_ADMIN CAP_NET_RAW");
        assert_eq!(line(Unit { low_port: true, ..Unit::template() }), "CAP_NET_ADMIN CAP_NET_BIND_SERVICE");
    }

    #[test]
    fn a_path_that_would_begin_a_line_of_its_own_is_told() {
        use std::os::unix::ffi::OsStrExt as _;
        for path in ["/srv/a\nExecStartPre=/bin/evil", "/srv/a\rb", "/srv/\u{85}", "/srv/\u{1b}[2J"] {
            let (dir, program) = (PathBuf::from(path), PathBuf::from(path));
            assert_eq!(Unit { dir: dir.clone(), ..Unit::template() }.unfit(), Some(&*dir), "{path:?}");
            assert_eq!(Unit { program, ..Unit::template() }.unfit(), Some(&*dir), "{path:?}");
        }
        // Shown, it would be another path.
        let dir = PathBuf::from(std::ffi::OsStr::from_bytes(b"/srv/\xff"));
        assert!(Unit { dir, ..Unit::template() }.unfit().is_some());
        assert_eq!(Unit { dir: "/srv/\u{e9} \u{4f60}\u{597d}".into(), ..Unit::template() }.unfit(), None);
    }
}
