//! What only root may do, and the command that root is to give.

use super::context::Context;
use super::fault::Fault;
use super::typed::subcommand;
use crate::model::quoted;

/// Refuses where the kernel would say no to everything.
pub fn require_root(ctx: &Context, what: &str) -> Result<(), Fault> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Fault::failed(
        format!("{what} changes interfaces, routes and the firewall, which only root may"),
        as_root(ctx, what),
    ))
}

/// Returns the command that root is to give: this whole line again, where it asks for just that.
#[expect(clippy::disallowed_methods, reason = "the arguments are the command line's to read")]
fn as_root(ctx: &Context, what: &str) -> String {
    let words: Vec<String> = std::env::args_os().skip(1).map(|w| w.to_string_lossy().into_owned()).collect();
    let asked = subcommand(words.iter().map(String::as_str));
    if asked != what.split(' ').next() {
        return format!("`sudo {}`", ctx.out.command(what));
    }
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    // A variable of the environment does not reach root; the rest is in the line.
    format!("`sudo wgrelay {}`", words.join(" "))
}
