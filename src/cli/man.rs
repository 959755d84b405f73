//! `man`: the manual pages, made from the same words as `--help`.

use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man as Page;

use super::args::{Cli, Man};
use super::exit::Exit;
use super::fault::Fault;
use super::output::Output;

/// Prints the page, or writes all of them.
pub fn man(out: &Output, args: &Man) -> Result<Exit, Fault> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    match &args.out {
        None => {
            let mut text = Vec::new();
            Page::new(command).render(&mut text)?;
            out.bytes(&text)?;
        }
        Some(dir) => write_all(&command, dir).map_err(|e| {
            Fault::failed(
                format!("cannot write the pages into {}: {e}", dir.display()),
                "the folder must exist",
            )
        })?,
    }
    Ok(Exit::Done)
}

#[expect(clippy::disallowed_methods, reason = "pages are written where --out says")]
fn write_all(command: &clap::Command, dir: &Path) -> io::Result<()> {
    let write = |name: &str, command: clap::Command| {
        let mut text = Vec::new();
        Page::new(command.name(name.to_string())).render(&mut text)?;
        std::fs::write(dir.join(format!("{name}.1")), text)
    };
    write("wgrelay", command.clone())?;
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        write(&format!("wgrelay-{}", sub.get_name()), sub.clone())?;
    }
    Ok(())
}
