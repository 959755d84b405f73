//! Keys stay where they are: 3,000 broken copies of each file that holds some, read by every command that reads it, as text
//! and as JSON, and not a piece of a key in what is said.
//!
//! Each copy goes through everything that reads files in this process, and through one command after the other as a program.

use std::collections::HashSet;
use std::path::Path;

use wgrelay::config::{Bundle, Secrets, parse_network};
use wgrelay::model::{Network, Problem};
use wgrelay::wgconf::Client;

use crate::sandbox::Sandbox;

const MUTATIONS: usize = 3_000;
/// Each file's copies are shared out among so many tests.
const SHARDS: usize = 3;
/// So many characters of a key in a row are a piece of it.
const PIECE: usize = 12;
/// What is no file of keys is quoted, and hides only most of one.
const MOST: usize = 22;

/// Pieces of the keys of a file, which nothing may say.
struct Pieces(HashSet<Vec<u8>>);

impl Pieces {
    fn of(text: &str) -> Self {
        Self::so_long(text, PIECE)
    }

    fn so_long(text: &str, length: usize) -> Self {
        let keys = keys(text);
        assert!(!keys.is_empty(), "a file without keys proves nothing");
        Self(keys.iter().flat_map(|k| k.as_bytes().windows(length).map(<[u8]>::to_vec)).collect())
    }

    #[track_caller]
    fn are_not_in(&self, said: &str, what: &str, file: &str) {
        let length = self.0.iter().next().map_or(PIECE, Vec::len);
        let piece = said.as_bytes().windows(length).find(|w| self.0.contains(*w));
        let piece = piece.map(String::from_utf8_lossy);
        assert!(piece.is_none(), "{what} tells a piece of a key, {piece:?}:\n{said}\n--- of\n{file}");
    }
}

/// The secret keys of a file: what stands behind `=`, but for public ones.
fn keys(text: &str) -> Vec<&str> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let secret = lines.filter(|(name, _)| !name.to_ascii_lowercase().replace('_', "").contains("publickey"));
    secret
        .map(|(_, value)| value.trim().trim_matches('"'))
        .filter(|v| v.len() == 44 && v.ends_with('='))
        .collect()
}

/// Numbers that come out the same each time (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

/// Breaks a file in one to three places, most of them where its keys are.
fn mutated(original: &str, dice: &mut Dice) -> String {
    let mut text = original.to_owned();
    for _ in 0..=dice.below(3) {
        text = broken(&text, dice);
    }
    text
}

fn broken(text: &str, dice: &mut Dice) -> String {
    let keys = keys(text);
    let lines: Vec<&str> = text.lines().collect();
    if keys.is_empty() || lines.is_empty() {
        return text.to_owned();
    }
    let key = dice.of(&keys);
    let line = dice.below(lines.len());
    let with_line = |at: usize, new: &str| {
        let all: Vec<&str> = lines.iter().enumerate().map(|(i, l)| if i == at { new } else { *l }).collect();
        all.join("\n")
    };
    let put = |at: usize, what: &str| format!("{}{what}{}", &text[..at], &text[at..]);
    let of_key = text.find(key).expect("it is from there") + dice.below(key.len());
    let odd = [
        "\"",
        "'",
        " ",
        "\n",
        "\r\n",
        "#",
        "=",
        "[",
        "]",
        "{",
        ",",
        ".",
        "\\",
        "\0",
        "é",
        "\u{1b}[2J",
        "\t",
        ";",
        ":",
    ];
    match dice.below(22) {
        0 => text.replacen(&format!("\"{key}\""), key, 1),
        1 => text.replacen(&format!("{key}\""), key, 1),
        2 => text.replacen(&format!("\"{key}"), key, 1),
        3 => text.replacen(key, &key[..dice.below(key.len())], 1),
        4 => text.replacen(key, &key[dice.below(key.len())..], 1),
        5 => {
            let what = dice.of(&odd);
            put(of_key, what)
        }
        6 => put(dice.below(text.len() / 2), "\n").replace('\u{fffd}', ""),
        7 => with_line(line, key),
        8 => with_line(line, &format!("{key} = {}", lines[line].split('=').next().unwrap_or_default())),
        9 => with_line(line, &format!("[{key}]")),
        10 => with_line(line, &format!("{} {key}", lines[line])),
        11 => {
            with_line(line, &format!("{} = {key}", lines[line].split('=').next().unwrap_or_default().trim()))
        }
        12 => with_line(
            line,
            &format!("{} = \"{key}\"", lines[line].split('=').next().unwrap_or_default().trim()),
        ),
        13 => with_line(
            line,
            &format!("{} = [\"{key}\"]", lines[line].split('=').next().unwrap_or_default().trim()),
        ),
        14 => with_line(line, &format!("# {key}")),
        15 => {
            let what = dice.of(&[":", " ", "", "=="]);
            with_line(line, &lines[line].replacen('=', what, 1))
        }
        16 => format!("{text}\n{}", lines[line]),
        17 => format!("{}\n{text}", lines[line]),
        18 => with_line(line, ""),
        19 => lines[..line].join("\n"),
        20 => with_line(line, &format!("\"{key}\" = {{ {key} = 1 }}")),
        _ => with_line(
            line,
            &format!(
                "{}.{} = \"{key}\"",
                dice.of(&["node", "x", "network", "wsl"]),
                key.trim_end_matches('=')
            ),
        ),
    }
}

/// Reads a file as everything that files are read as, in this process.
fn read_by_all(file: &str, network: &Network) -> String {
    let bytes = file.as_bytes();
    let mut problems = Secrets::parse(bytes, "f").problems;
    problems.extend(Secrets::parse_for(bytes, "f", network).problems);
    problems.extend(Bundle::parse(bytes, "f").problems);
    for client in [Client::Wg, Client::WgQuick, Client::Windows, Client::Apple, Client::Android] {
        problems.extend(wgrelay::wgconf::lint(file, "f", client));
    }
    told(&problems)
}

fn told(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("{p}\n")).collect()
}

/// What a file is put in the place of.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Secrets,
    Bundle,
    Conf,
}

/// The commands that read a file in this place. `NEW` is a folder that is not there.
fn commands(place: Place) -> &'static [&'static str] {
    match place {
        Place::Secrets => &[
            "export windows --out OUT",
            "export wsl --format bundle --out OUT",
            "export --all --out OUT",
            "plan",
            "status",
            "check",
            "add x",
            "remove windows",
            "rename windows other",
            "rotate windows",
            "set windows mtu=1300",
            "disable windows",
            "up",
            "run",
            "lint wg0/secrets.toml",
            "import wg0/secrets.toml --network wg7",
            "list",
            "doctor",
        ],
        Place::Bundle => &["up --bundle FILE", "lint FILE", "import FILE --network wg7"],
        Place::Conf => &[
            "lint FILE",
            "lint FILE --for windows",
            "lint FILE --for android",
            "import FILE --network wg7",
            "import OTHER FILE --network wg7",
            "up --bundle FILE",
        ],
    }
}

fn words<'w>(command: &'w str, sandbox: &Sandbox) -> Vec<String> {
    let path = |name: &str| sandbox.path(name).display().to_string();
    let word = |w: &'w str| match w {
        "OUT" => path("out"),
        "FILE" => path("file.conf"),
        "OTHER" => path("other.conf"),
        "wg0/secrets.toml" => path(w),
        _ => w.to_owned(),
    };
    command.split(' ').map(word).collect()
}

/// Says whether a command would change this host, were the file right.
fn would_come_up(command: &str, file: &str, network: &Network) -> bool {
    match command {
        "up" | "run" => Secrets::parse_for(file.as_bytes(), "f", network).value.is_some(),
        _ => command.starts_with("up --bundle") && Bundle::parse(file.as_bytes(), "f").value.is_some(),
    }
}

fn hold(place: Place, shard: usize) {
    let sandbox = Sandbox::with_network();
    let path = |name: &str| sandbox.path(name).display().to_string();
    let read = |name: &str| std::fs::read_to_string(sandbox.path(name)).expect("it was written");
    for (node, format, file) in
        [("docker", "bundle", "bundle"), ("wsl", "conf", "other.conf"), ("windows", "conf", "file.conf")]
    {
        sandbox.run(&["export", node, "--format", format, "--out", &path(file)]).exits(0);
    }
    let (network_text, secrets_text) = (read("wg0/network.toml"), read("wg0/secrets.toml"));
    let network = parse_network(network_text.as_bytes(), "f").value.expect("it is ours");
    let originals = match place {
        Place::Secrets => vec![secrets_text.clone()],
        Place::Bundle => vec![read("bundle")],
        Place::Conf => vec![read("file.conf"), read("other.conf")],
    };
    let pieces = Pieces::of(&originals.concat());
    let most = Pieces::so_long(&originals.concat(), MOST);
    let mut dice = Dice(shard as u64 * 3 + place as u64);
    let commands = commands(place);
    for n in 0..MUTATIONS / SHARDS {
        let original = &originals[n % originals.len()];
        let file = mutated(original, &mut dice);
        pieces.are_not_in(&read_by_all(&file, &network), "a reading", &file);
        most.are_not_in(&told(&parse_network(file.as_bytes(), "f").problems), "a reading", &file);
        let command = commands[n / 2 % commands.len()];
        if would_come_up(command, &file, &network) {
            continue;
        }
        for folder in ["wg7", "out"] {
            let path = sandbox.path(folder);
            let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        }
        let to = if place == Place::Secrets { "wg0/secrets.toml" } else { "file.conf" };
        sandbox.write(to, file.as_bytes());
        let mut words = words(command, &sandbox);
        if n % 2 == 1 {
            words.push("--json".into());
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = sandbox.run(&words);
        pieces.are_not_in(&format!("{}{}", said.out, said.err), command, &file);
        assert!(
            (0..=5).contains(&said.code) && !said.err.contains("panicked"),
            "{command}: {said:?}\n{file}"
        );
        if sandbox.path("wg7").is_dir() {
            let name = ["list", "check", "list --json", "show"][n / 6 % 4];
            let node = (name == "show").then_some("file");
            let words: Vec<&str> = name.split(' ').chain(node).chain(["--network", "wg7"]).collect();
            let said = sandbox.run(&words);
            pieces.are_not_in(&format!("{}{}", said.out, said.err), name, &file);
        }
        if place == Place::Secrets {
            sandbox.write("wg0/network.toml", network_text.as_bytes());
        }
    }
    // The harness itself sees a key where there is one.
    assert!(Path::new(env!("CARGO_BIN_EXE_wgrelay")).exists());
    let told = sandbox.run(&["genkey"]).exits(0);
    let own = format!("x = {}", told.out.trim());
    assert!(std::panic::catch_unwind(|| Pieces::of(&own).are_not_in(&told.out, "genkey", "")).is_err());
}

macro_rules! held {
    ($($name:ident: $place:ident, $shard:literal;)*) => { $(
        #[test]
        fn $name() {
            hold(Place::$place, $shard);
        }
    )* };
}

held! {
    of_secrets_toml: Secrets, 0;
    of_secrets_toml_again: Secrets, 1;
    of_secrets_toml_once_more: Secrets, 2;
    of_a_bundle: Bundle, 0;
    of_a_bundle_again: Bundle, 1;
    of_a_bundle_once_more: Bundle, 2;
    of_a_conf: Conf, 0;
    of_a_conf_again: Conf, 1;
    of_a_conf_once_more: Conf, 2;
}

/// A key in the place of something else on the command line, or in network.toml, is not repeated.
#[test]
fn in_other_places() {
    let sandbox = Sandbox::with_network();
    let secrets = std::fs::read_to_string(sandbox.path("wg0/secrets.toml")).expect("it was written");
    let network = std::fs::read_to_string(sandbox.path("wg0/network.toml")).expect("it was written");
    let pieces = Pieces::so_long(&secrets, MOST);
    for key in keys(&secrets) {
        let bare = key.trim_end_matches('=');
        let lines: [&[&str]; 12] = [
            &["add", "x", "--public-key", key],
            &["add", "x", "--public-key", &key[1..]],
            &["add", key],
            &["add", bare],
            &["add", "x", "--site", key],
            &["rotate", "windows", "--public-key", key],
            &["show", key],
            &["pubkey", key],
            &["trace", key, "windows"],
            &["set", "windows", key],
            &["set", "windows", &format!("dns={key}")],
            &["--network", bare, "list"],
        ];
        for line in lines {
            for json in [None, Some("--json")] {
                let words: Vec<&str> = line.iter().copied().chain(json).collect();
                let said = sandbox.run(&words);
                assert_ne!(said.code, 0, "{words:?}");
                pieces.are_not_in(&format!("{}{}", said.out, said.err), "a command", &words.join(" "));
            }
        }
        for pasted in [
            format!("{network}\nPrivateKey = {key}\n"),
            format!("{network}\n[private_keys]\nwsl = \"{key}\"\n"),
            format!("{network}\n[node.{bare}]\naddress = \"192.168.3.9\"\n"),
            format!(
                "{network}\n[node.\"{key}\"]\naddress = \"{key}\"\nendpoint = \"{key}\"\nplatform = \"{key}\"\n"
            ),
            format!("{key}\n{network}"),
            format!("wsl = {key}\n{network}"),
            format!("{network}\n[[allow]]\nfrom = [\"{key}\"]\nto = [{key}]\nports = [\"{key}\"]\n"),
            format!(
                "{network}\n[node.y]\naddress = \"192.168.3.9\"\npublic_key = \"{bare}\"\ndns = [\"{key}\"]\n"
            ),
        ] {
            sandbox.write("wg0/network.toml", pasted.as_bytes());
            for command in [&["check"][..], &["check", "--json"], &["list"], &["show", "wsl"], &["add", "z"]]
            {
                let said = sandbox.run(command);
                assert_eq!(said.code, 3, "{command:?} {said:?}\n{pasted}");
                pieces.are_not_in(&format!("{}{}", said.out, said.err), "a command", &pasted);
            }
        }
        sandbox.write("wg0/network.toml", network.as_bytes());
    }
}
