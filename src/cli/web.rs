//! `web`: the page and the API, in two processes; and, from the terminal, the first admin, users and tokens.

mod notify;
mod oidc;
mod people;

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;
pub use notify::NotifyAction;
use oidc::OidcArgs;
pub use people::{TokenAction, UserAction};
use people::{noted, token, user};

use super::context::Context;
use super::exit::Exit;
use super::fault::{Fault, FaultKind};
use super::interrupt::unblock_signals;
use super::output::Role;
use crate::app::unprivileged::{Account, keep_no_rights};
use crate::app::{Nobody, Session};
use crate::web::agent::{Halves, Socket, serve};
use crate::web::database::{Entry, FIRST, Purpose, TERMINAL, User};
use crate::web::guard::Place;
use crate::web::procedure::Refused;
use crate::web::proxy::{Proxies, Public};
use crate::web::server::{self, Listen, Notify};
use crate::web::view::Role as UserRole;
use crate::web::{Database, Viewers, Web};

/// The account of the half that speaks HTTP.
pub(super) const ACCOUNT: &str = "wgrelay-web";
/// Where its database is.
pub(super) const STATE: &str = "/var/lib/wgrelay-web";
/// Where the halves meet.
const RUN: &str = "/run/wgrelay-web";
/// The port, unless told otherwise.
const PORT: u16 = 8480;
/// Seconds for which a link to set a password is good.
const LINK: u64 = 3600;

/// `web`
#[derive(Debug, Args)]
pub struct WebArgs {
    /// What to do; without it: serve the page
    #[command(subcommand)]
    pub action: Option<WebAction>,
    /// Listen there; by default at port 8480 of loopback and of this host's tunnel addresses
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Vec<SocketAddr>,
    /// A name under which the page is called, besides the addresses
    #[arg(long, value_name = "HOST[:PORT]")]
    pub name: Vec<String>,
    /// How browsers call it through a proxy, with the path below which it is there
    #[arg(long, value_name = "URL")]
    pub public: Option<String>,
    /// A proxy whose X-Forwarded-For says where a request came from
    #[arg(long, value_name = "ADDRESS[/LEN]")]
    pub trusted_proxy: Vec<String>,
    /// Certificate chain for TLS, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// A node that may look without signing in, where it comes through the tunnel
    #[arg(long, value_name = "NODE|@GROUP|*")]
    pub tunnel_viewer: Vec<String>,
    /// Messages may go to that address, though it is not public, and at any port
    #[arg(long, value_name = "ADDRESS[/LEN]")]
    pub notify_allow: Vec<String>,
    /// Certificates to trust where messages go, besides the system's, as PEM
    #[arg(long, value_name = "FILE")]
    pub notify_ca: Option<PathBuf>,
    /// By whom people sign in.
    #[command(flatten)]
    pub oidc: OidcArgs,
    /// The account that speaks HTTP, where root starts it
    #[arg(long, value_name = "USER", default_value = ACCOUNT, global = true)]
    pub user: String,
    /// Users, sessions, tokens and the audit [default: /var/lib/wgrelay-web/NETWORK.db]
    #[arg(long, value_name = "FILE", global = true)]
    pub database: Option<PathBuf>,
    /// One half alone: for units
    #[arg(long, hide = true)]
    pub half: Option<Half>,
}

/// A half of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Half {
    /// The one with the rights.
    Agent,
    /// The one that speaks HTTP.
    Http,
}

/// Below `web`
#[derive(Debug, Subcommand)]
pub enum WebAction {
    /// Print a link that makes the first admin, good once and for an hour
    #[command(after_help = "Examples:\n  wgrelay web init")]
    Init,
    /// Users, from the terminal
    #[command(
        after_help = "The password is read from stdin, one line.\n\nExamples:\n  wgrelay web user list\n  \
                            wgrelay web user add anna --role operator\n  \
                            wgrelay web user add otto --role owner --devices 3\n  \
                            wgrelay web user set otto --devices 5\n  wgrelay web user password anna\n  \
                            wgrelay web user totp anna      one-time codes on; `--off` turns them off\n  \
                            wgrelay web user remove anna"
    )]
    User {
        /// What to do
        #[command(subcommand)]
        action: UserAction,
    },
    /// Tokens of the API, from the terminal
    #[command(after_help = "Examples:\n  wgrelay web token add ci --scope read --days 30\n  \
                            wgrelay web token add phone --scope keys --of phone\n  wgrelay web token list\n  \
                            wgrelay web token remove ci")]
    Token {
        /// What to do
        #[command(subcommand)]
        action: TokenAction,
    },
    /// Who is told when something happens, from the terminal
    #[command(
        after_help = "A token of ntfy or a password of mail is read from stdin, one line, with --secret.\n\nExamples:\n  \
                            wgrelay web notify add chat --kind webhook --url https://hooks.example/x\n  \
                            wgrelay web notify add phone --kind ntfy --url https://ntfy.sh/TOPIC --events node-offline,drift\n  \
                            wgrelay web notify add mail --kind mail --url smtps://mail.example --from wgrelay@example.com \\\n      \
                            --to anna@example.com --account wgrelay --secret\n  \
                            wgrelay web notify test chat\n  wgrelay web notify list"
    )]
    Notify {
        /// What to do
        #[command(subcommand)]
        action: NotifyAction,
    },
    /// Write a copy of the database to standard output; used by `backup` itself
    #[command(hide = true)]
    Copy,
    /// Make what comes from standard input the database; used by `restore` itself
    #[command(hide = true)]
    Put,
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        let kind = if refused.status == 400 { FaultKind::Usage } else { FaultKind::Failed };
        Self { kind, problems: refused.problems, ..Self::failed(refused.message, refused.hint) }
    }
}

/// Serves the page, or does what belongs to it.
pub fn web(ctx: &Context, args: &WebArgs) -> Result<Exit, Fault> {
    let network = match (args.half, ctx.network_as_typed()) {
        // The half that speaks HTTP cannot read the folder.
        (Some(Half::Http), Some(name)) => name.to_owned(),
        // Nor can whoever the database belongs to.
        (_, Some(name)) if matches!(args.action, Some(WebAction::Copy | WebAction::Put)) => name.to_owned(),
        _ => ctx.folder()?.name().to_string(),
    };
    match (&args.action, args.half) {
        (None, None) => both(ctx, args, &network),
        (None, Some(Half::Agent)) => {
            unblock_signals()?;
            let (account, socket) = (account(&args.user)?, socket(args, &network)?);
            if Account::own().is_root()
                && let Some(folder) = socket.parent()
            {
                account.own_folder(folder)?;
            }
            let halves = Halves::meet(&socket, account)?;
            serve(&halves, &quiet(ctx))?;
            Ok(Exit::Failed)
        }
        (None, Some(Half::Http)) => http(ctx, args, &network),
        (Some(WebAction::Copy), _) => copy(ctx, &database(args, &network)?),
        (Some(WebAction::Put), _) => put(&database(args, &network)?),
        (Some(action), _) => administer(ctx, args, action, &network),
    }
}

/// Who speaks HTTP: where root starts it, an account without rights, and else whoever starts it.
fn account(name: &str) -> Result<Account, Fault> {
    if Account::own().is_root() { Ok(Account::without_rights(name)?) } else { Ok(Account::own()) }
}

fn database(args: &WebArgs, network: &str) -> Result<PathBuf, Fault> {
    match &args.database {
        Some(path) => std::path::absolute(path).map_err(|e| Fault::failed(format!("--database: {e}"), "")),
        None if Account::own().is_root() || args.half == Some(Half::Http) => {
            Ok(PathBuf::from(STATE).join(format!("{network}.db")))
        }
        None => Err(Fault::usage(
            "where is the page's database?",
            "say it with --database FILE, or run it as root",
        )),
    }
}

/// The halves meet in a folder of the account's own, or beside the database.
fn socket(args: &WebArgs, network: &str) -> Result<PathBuf, Fault> {
    match &args.database {
        Some(_) => Ok(database(args, network)?.with_extension("agent")),
        None => Ok(PathBuf::from(RUN).join(format!("{network}.agent"))),
    }
}

/// Nothing is told on a terminal of what others ask for.
fn quiet(ctx: &Context) -> Session {
    let session = Session::settled(ctx);
    session.in_folder(session.dir.clone(), Arc::new(Nobody))
}

/// Starts the half that speaks HTTP as its own account, and is the other one.
fn both(ctx: &Context, args: &WebArgs, network: &str) -> Result<Exit, Fault> {
    behind(args)?;
    nets("--notify-allow", &args.notify_allow)?;
    Viewers::read(&args.tunnel_viewer)?;
    args.oidc.settings()?;
    unblock_signals()?;
    let account = account(&args.user)?;
    let (database, socket) = (database(args, network)?, socket(args, network)?);
    if Account::own().is_root() {
        for path in [&database, &socket] {
            if let Some(folder) = path.parent() {
                account.own_folder(folder)?;
            }
        }
    } else {
        ctx.out.say(
            "started by an ordinary user: both halves have that user's rights, and this host is not changed",
        );
    }
    if args.tls_cert.is_none() {
        let tunnel = ctx.load_network()?.network.subnet;
        for at in args.listen.iter().filter(|at| !at.ip().is_loopback() && !is_in(tunnel, at.ip())) {
            ctx.out.say(&format!(
                "at {at} passwords and cookies go in clear, for whoever is on that network: `--tls-cert FILE --tls-key FILE`"
            ));
        }
    }
    let halves = Halves::meet(&socket, account)?;
    let mut child = account.start(&arguments(ctx, args, network, &database)?)?;
    let session = quiet(ctx);
    std::thread::Builder::new()
        .name("web".into())
        .spawn(move || serve(&halves, &session))
        .map_err(|e| Fault::failed(format!("cannot make a thread: {e}"), ""))?;
    let ended = child.wait().map_err(|e| Fault::failed(format!("the half that speaks HTTP: {e}"), ""))?;
    Ok(if ended.success() { Exit::Done } else { Exit::Failed })
}

fn is_in(tunnel: ipnet::Ipv4Net, ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if tunnel.contains(&ip))
}

/// What the half that speaks HTTP is started with: no key, and no path of the network.
fn arguments(ctx: &Context, args: &WebArgs, network: &str, database: &Path) -> Result<Vec<String>, Fault> {
    let mut words: Vec<String> =
        ["--network", network, "web", "--half", "http"].iter().map(|w| (*w).to_owned()).collect();
    if args.database.is_some() {
        words.extend(["--database".into(), database.display().to_string()]);
    }
    let listen = if args.listen.is_empty() { usual(ctx)? } else { args.listen.clone() };
    words.extend(listen.iter().flat_map(|at| ["--listen".to_owned(), at.to_string()]));
    words.extend(args.name.iter().flat_map(|name| ["--name".to_owned(), name.clone()]));
    words.extend(args.public.iter().flat_map(|url| ["--public".to_owned(), url.clone()]));
    words.extend(args.trusted_proxy.iter().flat_map(|net| ["--trusted-proxy".to_owned(), net.clone()]));
    words.extend(args.tunnel_viewer.iter().flat_map(|one| ["--tunnel-viewer".to_owned(), one.clone()]));
    words.extend(args.notify_allow.iter().flat_map(|net| ["--notify-allow".to_owned(), net.clone()]));
    words.extend(args.oidc.arguments()?);
    for (option, file) in
        [("--tls-cert", &args.tls_cert), ("--tls-key", &args.tls_key), ("--notify-ca", &args.notify_ca)]
    {
        if let Some(file) = file {
            let file = std::path::absolute(file).map_err(|e| Fault::failed(format!("{option}: {e}"), ""))?;
            words.extend([option.to_owned(), file.display().to_string()]);
        }
    }
    Ok(words)
}

/// Loopback, and this host's tunnel addresses where they are there.
#[expect(clippy::disallowed_methods, reason = "an address is this host's where it can be bound")]
fn usual(ctx: &Context) -> Result<Vec<SocketAddr>, Fault> {
    let loaded = ctx.load_network()?;
    let node = ctx.this_node(&loaded).ok();
    let own = node.into_iter().flat_map(|node| {
        [Some(IpAddr::V4(node.address)), node.address6.map(IpAddr::V6)].into_iter().flatten()
    });
    let mut listen = vec![SocketAddr::from(([127, 0, 0, 1], PORT))];
    for address in own {
        if std::net::UdpSocket::bind((address, 0)).is_ok() {
            listen.push((address, PORT).into());
        } else {
            ctx.out.say(&format!(
                "not at {address}: it is not this host's now; start it again once the network is up"
            ));
        }
    }
    Ok(listen)
}

/// Speaks HTTP, with no rights.
fn http(ctx: &Context, args: &WebArgs, network: &str) -> Result<Exit, Fault> {
    unblock_signals()?;
    let by_unit = args.listen.is_empty();
    keep_no_rights(!by_unit)?;
    let at = if by_unit { vec![SocketAddr::from(([127, 0, 0, 1], PORT))] } else { args.listen.clone() };
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    let scheme = if tls.is_some() { "https" } else { "http" };
    let notify = Notify { allowed: nets("--notify-allow", &args.notify_allow)?, ca: args.notify_ca.clone() };
    let listen = Listen { at, tls, notify, ..Listen::default() };
    let (database, socket) = (database(args, network)?, socket(args, network)?);
    let (public, proxies) = behind(args)?;
    let viewers = Viewers::read(&args.tunnel_viewer)?;
    let oidc = args.oidc.provider()?;
    server::serve(&listen, |at| {
        let opened = Database::open(&database)?;
        for at in at {
            // Whoever started it may be gone.
            let _ = ctx.out.prose(&format!("{} at {scheme}://{at}/", ctx.out.paint(Role::Good, "serving")));
        }
        let place = Place { public, proxies, ..place(scheme, at, &args.name) };
        let mut web = Web::new(Box::new(Socket(socket)), opened, place, network.to_owned());
        web.viewers = viewers;
        web.oidc = oidc;
        Ok(web)
    })?;
    Ok(Exit::Failed)
}

/// Reads what is said of proxies.
fn behind(args: &WebArgs) -> Result<(Option<Public>, Proxies), Fault> {
    let public = args.public.as_deref().map(Public::read).transpose()?;
    Ok((public, Proxies(nets("--trusted-proxy", &args.trusted_proxy)?)))
}

/// Reads the addresses of an option.
fn nets(option: &str, texts: &[String]) -> Result<Vec<IpNet>, Fault> {
    let net = |text: &String| {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        address.or_else(|_| text.parse()).map_err(|_| {
            Fault::usage(format!("{option} {text:?}: this is no address"), "such as 10.0.0.2 or fd00::/64")
        })
    };
    texts.iter().map(net).collect()
}

/// Under which names it is called.
fn place(scheme: &'static str, at: &[SocketAddr], names: &[String]) -> Place {
    let usual = if scheme == "https" { 443 } else { 80 };
    let mut hosts = Vec::new();
    for at in at {
        let own = match at.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let loopback = at.ip().is_loopback().then(|| "localhost".to_owned());
        let named = names.iter().filter(|name| !has_port(name)).cloned();
        for host in [own].into_iter().chain(loopback).chain(named) {
            hosts.push(format!("{host}:{}", at.port()).to_ascii_lowercase());
            if at.port() == usual {
                hosts.push(host.to_ascii_lowercase());
            }
        }
    }
    hosts.extend(names.iter().filter(|name| has_port(name)).map(|name| name.to_ascii_lowercase()));
    // Behind a proxy, at the scheme's own port.
    hosts.extend(names.iter().filter(|name| !has_port(name)).map(|name| name.to_ascii_lowercase()));
    Place { scheme, hosts, ..Place::default() }
}

fn has_port(name: &str) -> bool {
    name.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// Copies the database, as whoever it belongs to: what he wrote into it is read by nobody who has more rights.
fn copy(ctx: &Context, database: &Path) -> Result<Exit, Fault> {
    keep_no_rights(true)?;
    ctx.out.bytes(&Database::open(database)?.copy()?)?;
    Ok(Exit::Done)
}

/// Puts a copy in the database's place, likewise.
fn put(database: &Path) -> Result<Exit, Fault> {
    keep_no_rights(true)?;
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    Database::restore(database, &bytes)?;
    Ok(Exit::Done)
}

/// Does from the terminal what needs no page. The file is its account's: whoever opens it is that account.
fn administer(ctx: &Context, args: &WebArgs, action: &WebAction, network: &str) -> Result<Exit, Fault> {
    let (account, path) = (account(&args.user)?, database(args, network)?);
    if Account::own().is_root()
        && let Some(folder) = path.parent()
    {
        account.own_folder(folder)?;
    }
    account.become_it()?;
    let database = Database::open(&path)?;
    let now = ctx.now.0;
    match action {
        WebAction::Init => {
            let is_admin = |user: &User| user.role == UserRole::Admin && !user.by_provider;
            if database.users()?.iter().any(is_admin) {
                return Err(Fault::failed("there is an admin already", "`wgrelay web user` changes users"));
            }
            let link = database.add_link(Purpose::Password, FIRST, now + LINK, now)?;
            let link = format!("http://127.0.0.1:{PORT}/init?link={}", link.as_str());
            ctx.out.prose(&link)?;
            ctx.out.say(
                "good once, and for an hour; with `--listen`, `--public` or TLS, its beginning is another",
            );
        }
        WebAction::User { action } => user(ctx, &database, action, network)?,
        WebAction::Token { action } => token(ctx, &database, action)?,
        WebAction::Notify { action } => notify::notify(ctx, &database, action)?,
        WebAction::Copy | WebAction::Put => {}
    }
    if let Some((action, about)) = noted(action) {
        let (who, action) = (TERMINAL.into(), action.into());
        database.record(&Entry { at: now, who, action, about, status: 200, ..Entry::default() })?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_page_are_those_that_it_listens_at() {
        let at = ["127.0.0.1:8480".parse().unwrap(), "[fd00::1]:8480".parse().unwrap()];
        let plain = place("http", &at, &["Relay.example".into()]);
        for own in
            ["127.0.0.1:8480", "localhost:8480", "[fd00::1]:8480", "relay.example:8480", "relay.example"]
        {
            assert!(plain.is_called(Some(own)).is_ok(), "{own}");
        }
        for other in ["127.0.0.1", "localhost", "attacker.example:8480", "[fd00::2]:8480"] {
            assert!(plain.is_called(Some(other)).is_err(), "{other}");
        }
        let tls = place("https", &["10.0.0.1:443".parse().unwrap()], &[]);
        assert!(tls.is_called(Some("10.0.0.1")).is_ok());
    }
}
