//! How commands grow with a network: processor time at some numbers of spokes, the exponent of the last step, and peak memory.
//!
//! `cargo bench --bench scale -- WORD...` runs the works whose names hold one of these words; WGRELAY_BENCH_SPOKES=1000,5000 says how
//! many spokes. No other tool does the same, so nothing stands beside it.
#![expect(clippy::disallowed_methods, reason = "a bench runs programs and writes files")]
#![expect(unsafe_code, reason = "only wait4(2) tells what one child cost")]

#[expect(dead_code, reason = "it serves other benches as well")]
mod hub;
#[expect(dead_code, reason = "it serves other benches as well")]
mod side_by_side;

use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use hub::{Hub, INTERFACE};
use side_by_side::table::Table;
use side_by_side::{Effort, print_machine, program};

/// What a network looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Spokes alone.
    Plain,
    /// A site behind each, the relay last by name.
    Sites,
    /// The same, each with IPv6 and a site of IPv6 as well.
    Dual,
    /// A site behind each, and one rule that lets only the first spoke reach the first site.
    Narrowed,
    /// Spokes, and 300 rules of a port, each with 40 names on either side.
    Lists,
}

impl Form {
    const ALL: [Self; 5] = [Self::Plain, Self::Sites, Self::Dual, Self::Narrowed, Self::Lists];

    fn words(self) -> &'static str {
        match self {
            Self::Plain => "no sites",
            Self::Sites => "a site each",
            Self::Dual => "dual stack, two sites each",
            Self::Narrowed => "a site each, a rule that narrows",
            Self::Lists => "300 rules that list names",
        }
    }

    fn network(self, spokes: usize, known: usize) -> Hub {
        let hub = Hub::with_known_spokes(spokes, known);
        match self {
            Self::Plain | Self::Lists => hub.with_sites(0),
            Self::Sites | Self::Narrowed => hub.with_relay_last(),
            Self::Dual => hub.with_ipv6(),
        }
    }

    fn rules(self, spokes: usize) -> String {
        match self {
            Self::Narrowed => format!("\n[[allow]]\nfrom = [\"spoke1\"]\nto = [\"{}\"]\n", hub::site(1)),
            Self::Lists => lists(spokes),
            _ => String::new(),
        }
    }
}

fn lists(spokes: usize) -> String {
    let mut text = String::new();
    for rule in 0..300 {
        let names = |step: usize| {
            let name = |k: usize| format!("\"spoke{}\"", (rule * 17 + k * step) % spokes + 1);
            (0..40.min(spokes)).map(name).collect::<Vec<_>>().join(", ")
        };
        let (from, to, port) = (names(7), names(13), 1000 + rule);
        let _infallible =
            write!(text, "\n[[allow]]\nfrom = [{from}]\nto = [{to}]\nports = [\"tcp/{port}\"]\n");
    }
    text
}

/// A command on a network of a form.
struct Work {
    form: Form,
    words: &'static [&'static str],
    /// With more spokes it is not run: what it writes is the square of their number.
    most: usize,
}

const fn work(form: Form, words: &'static [&'static str]) -> Work {
    Work { form, words, most: usize::MAX }
}

/// `OUT` is a folder that is not there yet. Edits follow each other on one network.
const WORKS: &[Work] = &[
    work(Form::Plain, &["check"]),
    work(Form::Plain, &["trace", "spoke3", "spoke4"]),
    work(Form::Plain, &["export", "--all", "--out", "OUT"]),
    work(Form::Plain, &["add", "another"]),
    work(Form::Plain, &["set", "another", "keepalive", "21"]),
    work(Form::Plain, &["rename", "another", "other"]),
    work(Form::Plain, &["remove", "other"]),
    work(Form::Sites, &["check"]),
    work(Form::Sites, &["trace", "spoke3", "spoke4"]),
    Work { form: Form::Sites, words: &["export", "--all", "--out", "OUT"], most: 5000 },
    work(Form::Sites, &["add", "another", "--site", "172.31.0.0/24"]),
    work(Form::Sites, &["set", "another", "keepalive", "21"]),
    work(Form::Sites, &["rename", "another", "other"]),
    work(Form::Sites, &["remove", "other"]),
    work(Form::Dual, &["check"]),
    work(Form::Dual, &["trace", "spoke3", "spoke4"]),
    work(Form::Narrowed, &["check", "--json"]),
    work(Form::Lists, &["check"]),
];

fn main() {
    let effort = Effort::asked_for();
    print_machine();
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let sizes = sizes(effort);
    let mut head = vec!["work".to_owned()];
    head.extend(sizes.iter().map(|n| format!("{n} spokes")));
    head.extend(["exponent".to_owned(), "memory".to_owned()]);
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut table = Table::new("Seconds of processor time, user and system", &head);
    for form in Form::ALL {
        let works = WORKS.iter().filter(|work| work.form == form);
        let is_asked = |name: &str| asked.is_empty() || asked.iter().any(|word| name.contains(word));
        let works: Vec<(&Work, String)> =
            works.map(|work| (work, name(work))).filter(|(_, name)| is_asked(name)).collect();
        let mut costs: Vec<Vec<Option<Cost>>> = vec![Vec::new(); works.len()];
        for spokes in sizes.iter().copied().filter(|_| !works.is_empty()) {
            let dir = written(form, spokes, works.iter().any(|(work, _)| work.words[0] == "export"));
            for ((work, _), costs) in works.iter().zip(&mut costs) {
                costs.push((spokes <= work.most).then(|| cost_of(dir.path(), work)));
            }
        }
        for ((_, name), costs) in works.iter().zip(costs) {
            table.row_of(row(name, &sizes, &costs));
        }
    }
    table.print();
}

fn sizes(effort: Effort) -> Vec<usize> {
    match std::env::var("WGRELAY_BENCH_SPOKES") {
        Ok(list) => list.split(',').map(|n| n.parse().expect("WGRELAY_BENCH_SPOKES are numbers")).collect(),
        Err(_) => effort.pick(vec![1000, 5000, 20_000, 50_000], vec![5, 10]),
    }
}

fn name(work: &Work) -> String {
    let words = work.words.iter().filter(|word| **word != "OUT" && **word != "--out");
    format!("{}, {}", words.copied().collect::<Vec<_>>().join(" "), work.form.words())
}

/// A folder with such a network.
fn written(form: Form, spokes: usize, with_keys: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let folder = dir.path().join(INTERFACE);
    std::fs::create_dir_all(&folder).expect("the network's folder can be made");
    let hub = form.network(spokes, if with_keys { spokes } else { 0 });
    let text = hub.network() + &form.rules(spokes);
    std::fs::write(folder.join("network.toml"), text).expect("the network can be written");
    let secrets = folder.join("secrets.toml");
    std::fs::write(&secrets, hub.secrets()).expect("the secrets can be written");
    std::fs::set_permissions(&secrets, Permissions::from_mode(0o600)).expect("the secrets are ours");
    dir
}

fn row(name: &str, sizes: &[usize], costs: &[Option<Cost>]) -> Vec<String> {
    let mut row = vec![name.to_owned()];
    row.extend(costs.iter().map(|c| c.as_ref().map_or("-".to_owned(), |c| format!("{:.2}", c.seconds))));
    let done: Vec<(usize, &Cost)> =
        sizes.iter().copied().zip(costs).filter_map(|(n, c)| Some((n, c.as_ref()?))).collect();
    let exponent = match done.as_slice() {
        [.., (few, one), (many, other)] => {
            #[expect(clippy::cast_precision_loss, reason = "spokes are less than 2^52")]
            let times = *many as f64 / *few as f64;
            format!("{:.1}", (other.seconds / one.seconds).ln() / times.ln())
        }
        _ => "-".to_owned(),
    };
    row.push(exponent);
    row.push(done.last().map_or("-".to_owned(), |(_, cost)| format!("{} MB", cost.peak_kib / 1000)));
    row
}

/// What a command cost.
#[derive(Debug, Clone)]
struct Cost {
    /// Processor time, all threads, user and system.
    seconds: f64,
    /// Peak resident memory.
    peak_kib: u64,
}

fn cost_of(dir: &Path, work: &Work) -> Cost {
    let out = dir.join("out");
    let mut command = Command::new(program());
    command.arg("--dir").arg(dir);
    for word in work.words {
        match *word {
            "OUT" => command.arg(&out),
            word => command.arg(word),
        };
    }
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[expect(clippy::zombie_processes, reason = "wait4 waits for it")]
    let child = command.spawn().expect("wgrelay starts");
    let pid = libc::pid_t::try_from(child.id()).expect("the kernel's own number");
    let mut status = 0;
    // SAFETY: all of it is numbers, for which zeros are values.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both places live until the call returns, and nobody else waits for this child.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    assert!(waited == pid && status == 0, "{command:?} ended with {status}");
    let _ = std::fs::remove_dir_all(&out);
    #[expect(clippy::cast_precision_loss, reason = "times are less than 2^52 microseconds")]
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Cost {
        seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        peak_kib: u64::try_from(usage.ru_maxrss).unwrap_or_default(),
    }
}
