//! Parses the command line, runs it, and exits.

fn main() -> std::process::ExitCode {
    wgrelay::cli::main()
}
