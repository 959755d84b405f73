# The index of scripts: `just` lists them. Each is a file that runs without just.

# Lists what there is
default:
    @just --list --unsorted

# Installs what the tests need
needs:
    scripts/install-needs --test

# Format, lints, unit tests and cases: under two minutes once built
quick:
    cargo fmt --check
    cargo clippy --quiet --locked --all-targets -- -D warnings
    cargo nextest run --lib --test config_cases --test config_properties --test reach --test import --test doctor_cases --test kernel_cases --test wsl_cases --test screens --test layers

# All tests, or those with FILTER in their names; as root with real packets
test *FILTER:
    scripts/test {{FILTER}}

# All that a change must pass, as from a fresh clone
ci:
    .ci/run

# The whole network on this machine, in namespaces
quickstart:
    scripts/quickstart

# Three relays, etcd, and a failover, in namespaces
cluster-demo:
    scripts/cluster-demo

# Writes what the cases say now, to be read before it is committed
update-cases:
    UPDATE_CASES=1 cargo nextest run --test config_cases --test reach --test import --test doctor_cases --test kernel_cases --test wsl_cases --test export --test export_formats --test screens

# Longer runs; results worth keeping go to docs/soak.md
soak *ARGUMENTS:
    scripts/soak {{ARGUMENTS}}

# Coverage-guided fuzzing under AddressSanitizer
fuzz *ARGUMENTS:
    scripts/fuzz {{ARGUMENTS}}

# Breaks the analyser, and sees packets contradict it
mutants *ARGUMENTS:
    scripts/mutants {{ARGUMENTS}}

# A table of docs/performance.md: check, up, change, status, export, handshake, memory or dataplane
bench NAME:
    cargo bench --bench {{NAME}}

# One file for any distribution
static:
    scripts/static

# The Debian package
deb:
    scripts/deb
