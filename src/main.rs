//! Parses the command line, runs it, and exits.

/// In place of musl's own, which is slow, and slower with every thread (docs/performance.md).
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> std::process::ExitCode {
    wgrelay::cli::main()
}
