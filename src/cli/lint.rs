//! `lint`: a .conf as a given client reads it.

use std::io::Read;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use serde::Serialize;
use zeroize::Zeroizing;

use super::args::Lint;
use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use crate::model::Problem;

#[derive(Serialize)]
struct Report {
    version: u32,
    client: String,
    accepted: bool,
    problems: Vec<Problem>,
}

/// The largest .conf that is read, in bytes: a relay's file for 5,000 spokes has about 1 MB.
const MAX_BYTES: u64 = 8 << 20;

/// Lints files.
pub fn lint(ctx: &Context, args: &Lint) -> Result<Exit, Fault> {
    let mut problems = Vec::new();
    for path in &args.files {
        let bytes = read(path)?;
        let file = path.display().to_string();
        if path.extension().is_some_and(|e| e == "conf") {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            problems.extend(crate::wgconf::lint_name(&stem, &file, args.client));
        }
        problems.extend(crate::wgconf::decode(&bytes).lint(&file, args.client));
    }
    let accepted = !problems.iter().any(Problem::is_error);
    if ctx.out.json {
        ctx.out.json(&Report { version: 1, client: args.client.to_string(), accepted, problems })?;
    } else {
        for problem in &problems {
            ctx.out.problem(problem);
        }
        let (role, word) = if accepted { (Role::Good, "accepted") } else { (Role::Bad, "rejected") };
        ctx.out.result(&format!("{} by {}", ctx.out.paint(role, word), args.client))?;
    }
    Ok(if accepted { Exit::Done } else { Exit::No })
}

/// Reads a `.conf` whole; its bytes are wiped when dropped.
#[expect(clippy::disallowed_methods, reason = "the files are named on the command line")]
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let fault = |e: std::io::Error| Fault::failed(format!("cannot read {}: {e}", path.display()), "");
    let mut bytes = Zeroizing::new(Vec::new());
    let is_given = ["/dev/stdin", "/dev/fd"].iter().any(|own| path.starts_with(own));
    if std::fs::metadata(path).is_ok_and(|m| m.file_type().is_fifo()) && !is_given {
        return Err(Fault::failed(
            format!("{} is a named pipe", path.display()),
            "give a file, or `COMMAND | wgrelay lint /dev/stdin`",
        ));
    }
    std::fs::File::open(path).map_err(fault)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("{} is larger than {} MiB: no .conf is", path.display(), MAX_BYTES >> 20);
        return Err(Fault::failed(message, ""));
    }
    Ok(bytes)
}
