//! `doctor --kernel-config`, `--kernel-fragment`: a kernel by its configuration, and the lines that it lacks.

use std::io::Read;
use std::path::Path;

use serde::Serialize;

use super::args::Doctor;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use crate::doctor::kernel::{Fragment, Judged, KernelConfig, Setting, answer, fragment, judge};

/// The largest file that is read, in bytes; the configuration itself has a bound of its own.
const MAX_BYTES: u64 = 8 << 20;

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    kernel: Option<String>,
    answer: String,
    needs: &'a [Judged],
}

#[derive(Serialize)]
struct FragmentReport {
    version: u32,
    #[serde(flatten)]
    fragment: Fragment,
}

/// Judges a kernel's configuration, or prints what is to be added to it.
pub fn kernel_config(ctx: &Context, args: &Doctor) -> Result<Exit, Fault> {
    let config = args.kernel_config.as_deref().map(read).transpose()?;
    if args.kernel_fragment {
        let file = args.kernel_config.as_deref().filter(|path| *path != Path::new("-"));
        let file = file.map(|path| path.display().to_string());
        return print_fragment(ctx, fragment(config.as_ref(), file.as_deref()));
    }
    let config = config.unwrap_or_default();
    let judged = judge(&config);
    let complete = judged.iter().all(|j| j.state != Setting::Absent);
    if ctx.out.json {
        let kernel = config.version().map(ToString::to_string);
        ctx.out.json(&Report { version: 1, kernel, answer: answer(&config, &judged), needs: &judged })?;
    } else {
        ctx.out.prose(&text(ctx, &config, &judged))?;
    }
    Ok(if complete { Exit::Done } else { Exit::No })
}

/// The answer, what is missing with its consequences, then what is there.
fn text(ctx: &Context, config: &KernelConfig, judged: &[Judged]) -> String {
    let (absent, present): (Vec<_>, Vec<_>) = judged.iter().partition(|j| j.state == Setting::Absent);
    let role = if absent.is_empty() { Role::Good } else { Role::Bad };
    let mut text = ctx.out.paint(role, &answer(config, judged)) + "\n";
    for need in absent {
        let options: Vec<_> = need.missing().map(|option| format!("CONFIG_{option}")).collect();
        let users: Vec<_> = need.users.iter().map(|user| user.name()).collect();
        text += &format!("{}  {}\n", ctx.out.paint(Role::Bad, "absent"), options.join(", "));
        text += &format!("        for {}: {}\n", users.join(", "), need.without);
    }
    for need in present {
        let options: Vec<_> = need
            .options
            .iter()
            .map(|(option, setting)| format!("CONFIG_{option}={}", setting.word()))
            .collect();
        let word = ctx.out.paint(Role::Good, &format!("{:6}", need.state.word()));
        text += &format!("{word}  {}\n", options.join(", "));
    }
    if judged.iter().any(|j| j.state == Setting::Absent) {
        text += &format!(
            "  {} the lines to add, and the steps to a kernel of your own under WSL: --kernel-fragment beside this\n",
            ctx.out.paint(Role::Head, "fix:")
        );
    }
    text
}

/// Prints lines that `merge_config.sh` takes as they are: the steps are comments.
fn print_fragment(ctx: &Context, fragment: Fragment) -> Result<Exit, Fault> {
    if ctx.out.json {
        ctx.out.json(&FragmentReport { version: 1, fragment })?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    if fragment.lines.is_empty() {
        text += "# Nothing is to be added.\n";
    } else {
        text += "# To a kernel with these lines, under WSL:\n";
        for (i, step) in fragment.steps.iter().enumerate() {
            text += &format!("#  {:>2}. {step}\n", i + 1);
        }
    }
    text.extend(fragment.lines.iter().map(|line| format!("{line}\n")));
    ctx.out.result(&text)?;
    Ok(Exit::Done)
}

#[expect(clippy::disallowed_methods, reason = "the file is named on the command line")]
fn read(path: &Path) -> Result<KernelConfig, Fault> {
    let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    let mut bytes = Vec::new();
    let outcome = if path == Path::new("-") {
        std::io::stdin().take(MAX_BYTES).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes))
    };
    outcome.map_err(|e| {
        let hint = match e.kind() {
            std::io::ErrorKind::NotFound if path == Path::new("/proc/config.gz") => {
                "this kernel does not tell its configuration; give the .config that it was built with (WSL: \
                 Microsoft/config-wsl of the kernel's source)"
            }
            _ => "give a kernel's .config, or /proc/config.gz",
        };
        Fault::failed(format!("cannot read {name}: {e}"), hint)
    })?;
    KernelConfig::parse(&bytes).map_err(|e| {
        Fault::failed(
            format!("{name} is no kernel configuration: {e}"),
            "give a kernel's .config, or /proc/config.gz",
        )
    })
}
