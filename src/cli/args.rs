//! The words of the command line, as typed. What they mean is each command's own matter.

use std::path::PathBuf;

use clap::builder::Styles;
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::backup::{Backup, Restore};
use super::cluster::ClusterCommand;
use super::enroll::Enroll;
use super::history::{Diff, Revert};
use super::rotate::Rotate;
use super::web::WebArgs;
use crate::model::NodeName;
use crate::wgconf::Client;

/// `export` has a file of its own: its forms are many.
mod check;
mod drain;
mod export;
mod import;
mod lab;
mod metrics;

pub use check::Check;
pub use drain::Drain;
pub use export::{Export, Format, Graph, GraphFormat};
pub use import::Import;
pub use lab::{Lab, LabAction};
use metrics::metrics_address;

/// clap's own, but for what is wrong: its yellow is hard to read on white.
const STYLES: Styles = Styles::styled()
    .invalid(anstyle::AnsiColor::Magenta.on_default().bold())
    .error(anstyle::AnsiColor::Red.on_default().bold());

/// wgrelay: a WireGuard hub and its spokes from one file.
#[derive(Debug, Parser)]
#[command(
    name = "wgrelay",
    version,
    about = "A WireGuard hub and its spokes from one file, and proof that packets get there and back",
    long_about = None,
    after_help = "Start with:\n  wgrelay init                 write a network that works after one correction\n  \
                  wgrelay up                   make this host match it\n  \
                  wgrelay export windows       what the Windows client imports\n  \
                  wgrelay status               who is online\n\n\
                  Exit codes: 0 done or yes, 1 failed, 2 usage, 3 network file invalid,\n            \
                  4 the answer is no, 5 applied, not verified, undone.",
    styles = STYLES,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Folder with one folder per network [env: WGRELAY_DIR] [default: /etc/wgrelay]
    // Read by hand: clap would count the variable as typed, in usage lines too.
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Which network; by default the only one there
    #[arg(long, global = true, value_name = "NAME")]
    pub network: Option<String>,
    /// Which node this host is; by default the installed bundle's, else what it was brought up as, else the only relay
    #[arg(long, global = true, value_name = "NODE")]
    pub node: Option<NodeName>,
    /// Print the result as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Colour: auto looks at the terminal and NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Say nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more: twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

/// Which data plane to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum BackendChoice {
    #[default]
    /// The kernel's where an interface can be made and hears packets, else the embedded one
    Auto,
    /// The kernel's WireGuard
    Kernel,
    /// wgrelay's own, in the agent's process
    Embedded,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a new network: network.toml and secrets.toml, keys included
    #[command(after_help = "Examples:\n  wgrelay init\n  wgrelay init --endpoint vpn.example.org\n  \
                            wgrelay init --profile road-warrior --subnet 10.66.0.0/24")]
    Init(Init),
    /// Write a new network from configurations made by hand: a relay's .conf and any of its clients'
    #[command(
        after_help = "NODE-wg0.conf names a node and the network; NODE.conf a node. What was wrong in the files is told.\n\n\
                            Examples:\n  wgrelay import wsl-wg0.conf windows.conf docker.conf\n  \
                            wgrelay import /etc/wireguard/wg0.conf     clients without their files keep their keys\n  \
                            wgrelay import wg-easy.db                  a manager's store, or its folder\n  \
                            wgrelay import --live wg0                  the relay as it runs here\n  \
                            wgrelay import --live wg0 --take-over      and ours instead of wg-quick's, peers called at once"
    )]
    Import(Import),
    /// Add a spoke, with its keys
    #[command(after_help = "Examples:\n  wgrelay add phone --platform android\n  \
                            wgrelay add office --site 10.20.0.0/16@eth1 --up\n  \
                            wgrelay add annex --site 192.168.1.0/24,alias=10.99.1.0/24\n  \
                            wgrelay add laptop --public-key KEY     its private key never leaves it")]
    Add(Add),
    /// Remove a node and its keys
    #[command(after_help = "Examples:\n  wgrelay remove phone\n  wgrelay remove phone --up")]
    Remove(Edit),
    /// Let a node take part again
    #[command(after_help = "Examples:\n  wgrelay enable phone\n  wgrelay enable phone --up")]
    Enable(Edit),
    /// Keep a node in the file, and out of the network
    #[command(after_help = "Examples:\n  wgrelay disable phone\n  wgrelay disable phone --up")]
    Disable(Edit),
    /// Give a node another name, also where rules name it
    #[command(after_help = "Examples:\n  wgrelay rename phone old-phone")]
    Rename(Rename),
    /// Set a key of a node, or of the network
    #[command(
        after_help = "A list takes several values. docs/network-toml.md explains every key.\n\nExamples:\n  \
                            wgrelay set phone keepalive 0\n  wgrelay set laptop routes full --up\n  \
                            wgrelay set laptop dns 9.9.9.9 149.112.112.112\n  \
                            wgrelay set phone expires 2027-01-31T00:00:00Z\n  \
                            wgrelay set phone mtu --unset\n  wgrelay set network keepalive 20\n  \
                            wgrelay set office site 192.168.1.0/24 alias=10.99.1.0/24 preference=2\n  \
                            wgrelay set office site 192.168.1.0/24 alias --unset"
    )]
    Set(Set),
    /// Give a node new keys
    #[command(
        after_help = "Examples:\n  wgrelay rotate phone\n  wgrelay rotate laptop --public-key KEY --up\n  \
                            wgrelay rotate --all-shared     after a relay was stolen: all that it knew of others"
    )]
    Rotate(Rotate),
    /// List the revisions of the network: when, who, why
    #[command(
        after_help = "The last 50 are kept, with their keys. * marks the one that is there now.\n\nExamples:\n  \
                            wgrelay history\n  wgrelay history --json"
    )]
    History,
    /// Say what differs between a revision and the network as it is now
    #[command(
        after_help = "Keys are told by their owner, never by value.\n\nExamples:\n  wgrelay diff 3\n  \
                            wgrelay diff 3 4"
    )]
    Diff(Diff),
    /// Make the network what it was in a revision, keys included
    #[command(
        after_help = "It becomes a new revision, so it can be reverted, too.\n\nExamples:\n  wgrelay revert 3\n  \
                            wgrelay revert 3 --up"
    )]
    Revert(Revert),
    /// Write the network with all its keys, the page's users and the history of traffic into one file
    #[command(after_help = "Examples:\n  wgrelay backup /root/wg0.backup")]
    Backup(Backup),
    /// Make a network what a backup holds
    #[command(
        after_help = "The file is checked whole before anything is replaced; what was there is kept as a revision.\n\n\
                            Examples:\n  wgrelay restore /root/wg0.backup"
    )]
    Restore(Restore),
    /// List nodes, their addresses and sites
    #[command(after_help = "Examples:\n  wgrelay list\n  wgrelay list --json")]
    List,
    /// Show one node: addresses, key, AllowedIPs, sites, rules
    #[command(after_help = "Examples:\n  wgrelay show windows\n  wgrelay show windows --json")]
    Show(Show),
    /// Tell what passed between this host and a node, and when it was there
    #[command(after_help = "Examples:\n  wgrelay traffic phone\n  wgrelay traffic phone --json")]
    Traffic(Show),
    /// Write a node's file: for its client, as a QR code, or as a bundle
    #[command(after_help = "Examples:\n  wgrelay export windows --out windows.conf\n  \
                            wgrelay export phone --format qr\n  \
                            wgrelay export docker --format bundle --out docker.bundle")]
    Export(Export),
    /// Check the network: every fault of the file, who reaches whom, the promises
    #[command(
        after_help = "Exit codes: 3 the file is invalid, 4 a broken [[expect]]; blocked pairs and warnings do \
                            not count.\n\nExamples:\n  wgrelay check\n  wgrelay check --json\n  \
                            wgrelay check --without eu     who loses whom when that node dies"
    )]
    Check(Check),
    /// Follow a packet there and back, and say where it ends and what to do
    #[command(
        after_help = "FROM and TO are nodes, addresses, or the subnet of a site (a host there).\n\nExamples:\n  \
                            wgrelay trace windows 192.168.33.71\n  wgrelay trace windows 172.19.0.0/16 --port tcp/22"
    )]
    Trace(Trace),
    /// Draw the network: relays, spokes, sites, and who is blocked
    #[command(
        after_help = "Many nodes with the same answers are one box.\n\nExamples:\n  wgrelay graph -o wg0.svg\n  \
                            wgrelay graph --format mermaid"
    )]
    Graph(Graph),
    /// Say what `up` would change on this host
    #[command(
        after_help = "Examples:\n  wgrelay plan\n  wgrelay plan --check     exit code 4 where something would change"
    )]
    Plan(PlanArgs),
    /// Make this host match the network
    #[command(
        after_help = "Running it again changes nothing; it is also the reload.\n\nExamples:\n  wgrelay up\n  \
                            wgrelay up --bundle docker.bundle\n  wgrelay up --backend embedded\n  \
                            wgrelay up --confirm 120     goes back by itself if this change locks you out"
    )]
    Up(Up),
    /// Keep the change that `up --confirm` made
    #[command(
        after_help = "Exit code 1: nothing waits for a confirmation; its time may have run out.\n\nExamples:\n  \
                            wgrelay up --confirm 120\n  wgrelay confirm"
    )]
    Confirm(Confirm),
    /// Take away all that wgrelay made on this host, and nothing else
    #[command(after_help = "Examples:\n  wgrelay down\n  wgrelay down --network wg0")]
    Down,
    /// Have spokes leave a relay before it is worked on
    #[command(
        after_help = "Spokes that run wgrelay and have another relay go over at once; the rest stay, and are named. It lasts until \
                            `wgrelay undrain`, or until the relay goes down.\n\nExamples:\n  wgrelay drain eu\n  wgrelay undrain eu"
    )]
    Drain(Drain),
    /// Have a relay carry spokes again that `drain` sent away
    #[command(
        after_help = "Who prefers it comes back once it has been well for a minute.\n\nExamples:\n  wgrelay undrain eu"
    )]
    Undrain(Drain),
    /// Show the peers' health and what drifted
    #[command(
        after_help = "Exit code 4: the interface, a node with sites, or drift is wrong.\n\nExamples:\n  \
                            wgrelay status\n  wgrelay status --watch     each second, until q\n  wgrelay status --json"
    )]
    Status(Status),
    /// Examine this host: WireGuard, WSL, Docker, other firewalls, address clashes
    #[command(
        after_help = "Exit code 4: something must be put right before wgrelay can work here, or the kernel that was asked about \
                      lacks something.\n\nExamples:\n  wgrelay doctor\n  wgrelay doctor --json\n  \
                      wgrelay doctor --kernel-config /proc/config.gz      is this kernel enough for a relay, Docker, a compute node?\n  \
                      wgrelay doctor --kernel-config .config --kernel-fragment   the lines that it lacks, and the steps under WSL"
    )]
    Doctor(Doctor),
    /// Run the agent in the foreground
    #[command(after_help = "Examples:\n  wgrelay run\n  wgrelay run --backend embedded\n  \
                            wgrelay run --metrics 127.0.0.1:9586")]
    Run(Run),
    /// Let the network come up with this host, by systemd
    #[command(
        subcommand,
        after_help = "The unit runs the agent, which holds the network as it was last brought up.\n\nExamples:\n  \
                            wgrelay service install\n  wgrelay service remove"
    )]
    Service(Service),
    /// Try the whole network on this machine, with real packets
    #[command(
        after_help = "Without a subcommand: build it in network namespaces, ping and call everybody from\neverywhere, print the table, and remove it all.\n\
                            Nothing outside its own namespaces is touched, and no key of yours is read.\n\nExamples:\n  \
                            wgrelay lab\n  wgrelay lab --profile road-warrior\n  wgrelay lab check\n  wgrelay lab up\n  \
                            wgrelay lab exec windows -- ping 192.168.33.10\n  wgrelay lab down\n\n\
                            Exit code 4: a pair that should reach does not."
    )]
    Lab(Lab),
    /// Keep the network in an etcd that several relays share
    #[command(
        subcommand,
        after_help = "docs/cluster.md goes from one relay to three.\n\nExamples:\n  \
                            wgrelay cluster create --etcd https://192.0.2.10:2379 --ca ca.pem --cert eu.pem --key eu.key\n  \
                            wgrelay cluster join --bundle us.bundle --etcd https://192.0.2.10:2379 --ca ca.pem --cert us.pem --key us.key\n  \
                            wgrelay cluster status"
    )]
    Cluster(ClusterCommand),
    /// Serve the page and the API, for browsers and programs
    #[command(
        after_help = "docs/web.md tells who may what.\n\nExamples:\n  wgrelay web init          a link that makes the first admin\n  \
                            wgrelay web\n  wgrelay web --listen 10.0.0.1:443 --tls-cert FILE --tls-key FILE\n  \
                            wgrelay web user list\n  wgrelay web token add ci --scope read"
    )]
    Web(Box<WebArgs>),
    /// Become a node by a link that is good once: the key is made here, and stays here
    #[command(
        after_help = "Needs no network here, and no root.\n\nExamples:\n  wgrelay enroll 'https://relay.example/enroll?link=…'\n  \
                            wgrelay enroll URL --out /etc/wireguard/wg0.conf && wg-quick up wg0\n  wgrelay enroll URL --ca ca.pem"
    )]
    Enroll(Enroll),
    /// Print a new private key
    #[command(after_help = "Examples:\n  wgrelay genkey | tee private.key | wgrelay pubkey")]
    Genkey,
    /// Print the public key of a private key read from standard input
    #[command(after_help = "Examples:\n  wgrelay pubkey < private.key")]
    Pubkey,
    /// Print a new preshared key
    #[command(after_help = "Examples:\n  wgrelay genpsk > preshared.key")]
    Genpsk,
    /// Check a .conf file as a given client reads it
    #[command(after_help = "Exit code 0: accepted, warnings too. 4: rejected.\n\nExamples:\n  \
                            wgrelay lint wg0.conf\n  wgrelay lint --for windows laptop.conf")]
    Lint(Lint),
    /// Print the manual page, or write a page for each command
    #[command(after_help = "Examples:\n  wgrelay man | man -l -\n  wgrelay man --out /usr/share/man/man1")]
    Man(Man),
    /// Print the completions of a shell
    #[command(after_help = "Examples:\n  wgrelay completions bash > /etc/bash_completion.d/wgrelay\n  \
                            wgrelay completions fish > ~/.config/fish/completions/wgrelay.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `init`
#[derive(Debug, Args)]
pub struct Init {
    /// The example to start from: wsl-docker, webvirtcloud, road-warrior, site-to-site
    #[arg(long, value_name = "PROFILE", default_value = crate::config::profile::DEFAULT)]
    pub profile: String,
    /// Where spokes reach the relay; the port is 51820 unless given
    #[arg(long, value_name = "HOST[:PORT]")]
    pub endpoint: Option<String>,
    /// Where tunnel addresses come from
    #[arg(long, value_name = "CIDR")]
    pub subnet: Option<ipnet::Ipv4Net>,
    /// Where IPv6 tunnel addresses come from: the tunnel becomes dual stack
    #[arg(long, value_name = "CIDR")]
    pub subnet6: Option<ipnet::Ipv6Net>,
}

/// `add`
#[derive(Debug, Args)]
pub struct Add {
    /// The new node's name
    pub name: NodeName,
    /// What it runs on: linux, windows, macos, android, ios, openwrt, mikrotik, docker
    #[arg(long, value_name = "PLATFORM", default_value = "linux")]
    pub platform: String,
    /// A subnet behind it, the interface there, and keys of the site: alias=, preference=, nat=, gateway= …
    #[arg(long, value_name = "CIDR[@IFACE][,KEY=VALUE…]")]
    pub site: Vec<String>,
    /// Its tunnel address; by default the lowest free one
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<std::net::Ipv4Addr>,
    /// Its public key: no private key is made or stored
    #[arg(long, value_name = "KEY")]
    pub public_key: Option<crate::model::PublicKey>,
    /// Apply at once
    #[arg(long)]
    pub up: bool,
}

/// `remove`, `enable`, `disable`
#[derive(Debug, Args)]
pub struct Edit {
    /// The node
    pub name: NodeName,
    /// Apply at once
    #[arg(long)]
    pub up: bool,
}

/// `rename`
#[derive(Debug, Args)]
pub struct Rename {
    /// The node
    pub old: NodeName,
    /// Its new name
    pub new: NodeName,
    /// Apply at once
    #[arg(long)]
    pub up: bool,
}

/// `set`
#[derive(Debug, Args)]
pub struct Set {
    /// The node, or `network` for what holds for all
    pub name: NodeName,
    /// The key, as in network.toml
    pub key: String,
    /// The value; several for a list
    #[arg(required_unless_present = "unset", num_args = 1..)]
    pub value: Vec<String>,
    /// Take the key out: its default holds again; of a site the keys that are named, or all of it
    #[arg(long)]
    pub unset: bool,
    /// Apply at once
    #[arg(long)]
    pub up: bool,
}

/// `show`
#[derive(Debug, Args)]
pub struct Show {
    /// The node
    pub name: NodeName,
}

/// `status`
#[derive(Debug, Args)]
pub struct Status {
    /// Draw it again each second, until q or Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

/// `man`
#[derive(Debug, Args)]
pub struct Man {
    /// Write wgrelay.1 and a page for each command into this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// `trace`
#[derive(Debug, Args)]
pub struct Trace {
    /// Where the packet starts
    pub from: String,
    /// Where it goes
    pub to: String,
    /// What it is: tcp/22, udp/53, icmp; by default whatever gets through
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// With this host as it really is, instead of as `up` makes it
    #[arg(long)]
    pub live: bool,
}

/// `plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Exit with 4 where something would change
    #[arg(long)]
    pub check: bool,
    /// Which data plane
    #[arg(long, value_name = "BACKEND", default_value = "auto")]
    pub backend: BackendChoice,
}

/// `up`
#[derive(Debug, Default, Args)]
pub struct Up {
    /// Apply even where a promise (an expect table) would be broken
    #[arg(long)]
    pub force: bool,
    /// Install this bundle first
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// Take this revision of the shared store, although it waits: `cluster status` tells why it does
    #[arg(long, value_name = "REV", conflicts_with = "bundle")]
    pub accept: Option<u64>,
    /// Which data plane
    #[arg(long, value_name = "BACKEND", default_value = "auto")]
    pub backend: BackendChoice,
    /// Go back to what was before unless `wgrelay confirm` follows within this time: 1 to 86400
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub confirm: Option<u32>,
}

/// `confirm`
#[derive(Debug, Args)]
pub struct Confirm {
    /// Wait for the confirmation, and go back without it; used by `up --confirm` itself
    #[arg(long, hide = true)]
    pub wait: bool,
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// Which data plane
    #[arg(long, value_name = "BACKEND", default_value = "auto")]
    pub backend: BackendChoice,
    /// Serve metrics for Prometheus there, to whoever can reach it, such as 127.0.0.1:9586 or localhost:9586
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = metrics_address)]
    pub metrics: Option<std::net::SocketAddr>,
    /// See to it that an agent hosts the embedded device for an `up` that is under way, and after; used by `up` itself
    #[arg(long, hide = true, value_name = "MTU")]
    pub attach: Option<u16>,
    /// Be that agent
    #[arg(long, hide = true, value_name = "MTU")]
    pub host: Option<u16>,
    /// Be the one after it: bring up what was last applied, unless somebody took it down meanwhile
    #[arg(long, hide = true)]
    pub resume: bool,
}

impl Run {
    /// Says whether an `up` started this process, which has no terminal.
    pub const fn is_detached(&self) -> bool {
        self.attach.is_some() || self.host.is_some() || self.resume
    }
}

/// Below `service`
#[derive(Debug, Subcommand)]
pub enum Service {
    /// Install and enable the network's unit; what is up goes on as it is
    #[command(after_help = "Examples:\n  wgrelay service install\n  \
                            wgrelay service install --network wg1 --backend embedded\n  \
                            wgrelay service install --metrics 127.0.0.1:9586")]
    Install {
        /// Which data plane; by default the one that was last up
        #[arg(long, value_name = "BACKEND", default_value = "auto")]
        backend: BackendChoice,
        /// Serve metrics for Prometheus there, to whoever can reach it, such as 127.0.0.1:9586
        #[arg(long, value_name = "ADDRESS:PORT", value_parser = metrics_address)]
        metrics: Option<std::net::SocketAddr>,
    },
    /// Disable and remove the unit; a network that is up stays up
    #[command(after_help = "Examples:\n  wgrelay service remove\n  wgrelay service remove --network wg1")]
    Remove,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Judge this kernel configuration (.config, or packed as /proc/config.gz; - is stdin) instead of this host
    #[arg(long, value_name = "FILE")]
    pub kernel_config: Option<PathBuf>,
    /// Print the lines to add to that configuration; without one, all that is asked for
    #[arg(long)]
    pub kernel_fragment: bool,
}

/// `lint`
#[derive(Debug, Args)]
pub struct Lint {
    /// The files
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Which client: wg, wg-quick, windows, apple, android; or a platform: macos, ios, linux …
    #[arg(long = "for", value_name = "CLIENT", default_value = "wg-quick")]
    pub client: Client,
}
