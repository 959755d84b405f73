//! PreUp, PostUp and PostDown of a file: plain lines where they are short, else calls of the script that the file carries.

use crate::firewall::hooks::shell::function;
use crate::wgconf::{Hook, HookError, Interface, script};

/// Writes commands before and after the interface is up, and after it is gone, into its hooks; returns the lines of the script that
/// these call, if one is needed.
///
/// # Errors
/// A plain line that wg-quick would not read whole.
pub(super) fn written(
    functions: &[String],
    [pre_up, post_up, post_down]: [Vec<String>; 3],
    interface: &mut Interface,
) -> Result<Vec<String>, HookError> {
    let all = [pre_up, post_up, post_down];
    let is_needed = !functions.is_empty() || all.iter().flatten().any(|command| command.contains('\n'));
    let hooks = [&mut interface.pre_up, &mut interface.post_up, &mut interface.post_down];
    if !is_needed {
        for (hooks, commands) in hooks.into_iter().zip(&all) {
            *hooks = commands.iter().map(|command| command.parse()).collect::<Result<Vec<Hook>, _>>()?;
        }
        return Ok(Vec::new());
    }
    let mut parts = Vec::new();
    for ((hooks, commands), name) in hooks.into_iter().zip(&all).zip(script::FUNCTIONS) {
        if commands.is_empty() {
            continue;
        }
        // The story first: what it calls comes after it.
        parts.push(function(name, &format!("i=$1\n{}", commands.join("\n"))));
        *hooks = vec![script::call(name).parse()?];
    }
    parts.extend_from_slice(functions);
    let text = parts.join("\n\n").replace("%i", "$i");
    Ok(script::seal(text.lines().map(|line| line.trim_end().to_owned()).collect()))
}
