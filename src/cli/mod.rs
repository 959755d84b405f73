//! Words in, words out. Each command's file reads as a paragraph: load, compute, show or do.

mod args;
mod backup;
mod check;
mod cluster;
mod confirm;
mod context;
mod doctor;
mod drain;
mod edit;
mod enroll;
mod events;
mod exit;
mod export;
mod export_all;
mod export_format;
mod fault;
mod graph;
mod history;
mod import;
mod import_folder;
mod init;
mod interrupt;
mod kernel_config;
mod keys;
mod lab;
mod lint;
mod list;
mod log;
mod man;
mod output;
mod paint;
mod printable;
mod progress;
mod root;
mod rotate;
mod run;
mod secret_json;
mod service;
mod set;
mod show;
mod status;
mod table;
mod trace;
mod traffic;
mod typed;
mod up;
mod usage;
mod watch;
mod web;
mod wrap;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Cli, Command, Import};
use context::Context;
use exit::Exit;
use fault::Fault;
use output::Output;

use crate::app::{close_inherited, random};

/// Runs the command line.
#[expect(clippy::disallowed_methods, reason = "-v tells how long the work took")]
pub fn main() -> ExitCode {
    let began = std::time::Instant::now();
    // Whatever the caller's: no file, folder or socket of ours is for everybody to write.
    let umask = nix::sys::stat::umask(nix::sys::stat::Mode::S_IWGRP | nix::sys::stat::Mode::S_IWOTH);
    nix::sys::stat::umask(umask | nix::sys::stat::Mode::S_IWGRP | nix::sys::stat::Mode::S_IWOTH);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let words: Vec<_> = std::env::args_os().skip(1).collect();
            return usage::tell(error, words.iter().map(std::ffi::OsString::as_os_str)).into();
        }
    };
    if is_detached(&cli.command) {
        if !matches!(&cli.command, Command::Run(args) if args.attach.is_none()) {
            // Out of the caller's session, whose terminal may close; an agent stays in its supervisor's.
            let _ = nix::unistd::setsid();
        }
        close_inherited();
    }
    let out = Output::new(&cli.global);
    log::log(cli.global.verbose, &cli.command);
    // Keys pass through this process: none of its memory ends in a core dump.
    let _ = nix::sys::prctl::set_dumpable(false);
    let ctx = Context::new(cli.global, out);
    let ctx = if is_about_this_host(&cli.command) { ctx.settled() } else { ctx };
    let result = dispatch(&ctx, &cli.command);
    tracing::debug!("done in {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    match result {
        Ok(exit) => exit.into(),
        Err(fault) => {
            fault::tell(&fault, &ctx.out);
            Exit::from(fault.kind).into()
        }
    }
}

fn dispatch(ctx: &Context, command: &Command) -> Result<Exit, Fault> {
    if makes_keys(command) {
        random::ready()?;
    }
    match command {
        Command::Init(args) => init::init(ctx, args),
        Command::Import(args) => import::import(ctx, args),
        Command::Add(args) => edit::add(ctx, args),
        Command::Remove(args) => edit::remove(ctx, args),
        Command::Enable(args) => edit::set_enabled(ctx, args, true),
        Command::Disable(args) => edit::set_enabled(ctx, args, false),
        Command::Rename(args) => edit::rename(ctx, args),
        Command::Set(args) => set::set(ctx, args),
        Command::Rotate(args) => rotate::rotate(ctx, args),
        Command::History => history::history(ctx),
        Command::Diff(args) => history::diff(ctx, args),
        Command::Revert(args) => history::revert(ctx, args),
        Command::Backup(args) => backup::backup(ctx, args),
        Command::Restore(args) => backup::restore(ctx, args),
        Command::Show(args) => show::show(ctx, args),
        Command::List => list::list(ctx),
        Command::Export(args) => export::export(ctx, args),
        Command::Check(args) => check::check(ctx, args),
        Command::Graph(args) => graph::graph(ctx, args),
        Command::Trace(args) => trace::trace(ctx, args),
        Command::Traffic(args) => traffic::traffic(ctx, args),
        Command::Plan(args) => up::plan(ctx, args),
        Command::Up(args) => up::up(ctx, args),
        Command::Confirm(args) => confirm::confirm(ctx, args),
        Command::Down => up::down(ctx),
        Command::Drain(args) => drain::drain(ctx, args, true),
        Command::Undrain(args) => drain::drain(ctx, args, false),
        Command::Status(args) if args.watch => watch::watch(ctx),
        Command::Status(_) => status::status(ctx),
        Command::Doctor(args) => doctor::doctor(ctx, args),
        Command::Run(args) => run::run(ctx, args),
        Command::Service(args) => service::service(ctx, args),
        Command::Lab(args) => lab::lab(ctx, args),
        Command::Cluster(args) => cluster::cluster(ctx, args),
        Command::Web(args) => web::web(ctx, args),
        Command::Enroll(args) => enroll::enroll(ctx, args),
        Command::Genkey => keys::genkey(&ctx.out),
        Command::Pubkey => keys::pubkey(&ctx.out),
        Command::Genpsk => keys::genpsk(&ctx.out),
        Command::Lint(args) => lint::lint(ctx, args),
        Command::Man(args) => man::man(&ctx.out, args),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "wgrelay", &mut text);
            ctx.out.bytes(&text)?;
            Ok(Exit::Done)
        }
    }
}

/// Says whether this process outlives whoever started it.
const fn is_detached(command: &Command) -> bool {
    match command {
        Command::Run(args) => args.is_detached(),
        Command::Confirm(args) => args.wait,
        _ => false,
    }
}

/// Says whether a command reads or writes the record of what was applied.
const fn is_about_this_host(command: &Command) -> bool {
    matches!(
        command,
        Command::Plan(_)
            | Command::Up(_)
            | Command::Confirm(_)
            | Command::Down
            | Command::Drain(_)
            | Command::Undrain(_)
            | Command::Status(_)
            | Command::Run(_)
            | Command::Service(_)
            | Command::Cluster(_)
            | Command::Import(Import { take_over: true, .. })
    )
}

const fn makes_keys(command: &Command) -> bool {
    matches!(
        command,
        Command::Init(_)
            | Command::Import(_)
            | Command::Add(_)
            | Command::Rotate(_)
            | Command::Cluster(_)
            | Command::Enroll(_)
            | Command::Genkey
            | Command::Genpsk
            | Command::Lab(_)
    )
}
