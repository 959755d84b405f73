//! The matrix as a person reads it: the answer first, then a grid that fits, otherwise a list by source.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use super::cause::{Code, Reason};
use super::check::Check;
use super::judge::Ports;
use super::matrix::{Pair, weight};
use super::place::Place;
use crate::model::{Severity, Verdict};

/// How many pairs one reason names before it says how many more there are.
const NAMED: usize = 6;
/// How many fixes are told for one place, and how many places for one reason.
const FIXES: usize = 4;
const PLACES: usize = 8;
/// How many ends of a kind the list names for one start.
const LISTED: usize = 12;
/// How many starts it has.
const STARTS: usize = 1_000;

/// Writes a check for a terminal of so many columns; ends with a newline.
pub fn matrix_text(check: &Check, width: usize) -> String {
    let mut out = headline(check);
    out.push('\n');
    let names: Vec<String> = check.classes.iter().map(|c| class_name(c)).collect();
    if !check.pairs.is_empty() {
        out.push('\n');
        out += &grid(check, &names, width).unwrap_or_else(|| list(check, &names));
    }
    out += &blocked(check);
    for led in &check.forwards {
        let _ = writeln!(out, "\nforward {} of {} -> {}: {}", led.port, led.on, led.to, led.verdict);
        if let Some(reason) = &led.reason {
            let _ = writeln!(out, "  {} at {}: {}", reason.code, reason.node, reason.message);
        }
    }
    for pair in &check.outside {
        let _ = writeln!(out, "\nfrom outside, {} reaches {}: {}", pair.from, pair.to, pair.ports);
    }
    for problem in &check.problems {
        let word = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let _ = write!(out, "\n{word}[{}] {}: {}\n", problem.code, problem.place, problem.message);
        if !problem.hint.is_empty() {
            let _ = writeln!(out, "  fix: {}", problem.hint);
        }
    }
    out
}

fn headline(check: &Check) -> String {
    let classes = by_ends(check);
    // A pair stands for all pairs of its two classes.
    let weight = |pair: &Pair| match (classes.get(&pair.from), classes.get(&pair.to)) {
        (Some(a), Some(b)) => {
            weight((check.classes[*a].len(), check.classes[*b].len()), a == b, pair.same_node)
        }
        _ => 1,
    };
    let sum =
        |mark_is: char| -> usize { check.pairs.iter().filter(|p| mark(p) == mark_is).map(weight).sum() };
    let unlisted: usize = check.unlisted.iter().map(|u| u.count).sum();
    let (blocked, partly) = (sum('-') + unlisted, sum('p'));
    let reaching = sum('+') + partly;
    let some = match partly {
        0 => String::new(),
        n => format!(", {n} with some ports only"),
    };
    match (blocked, blocked + reaching) {
        (0, 0) => "no pairs: the network has one place".into(),
        (0, all) => format!("all {all} pairs reach{some}"),
        (n, all) if n == all => format!("all {all} pairs are blocked"),
        (n, all) => format!("{n} of {all} pairs {} blocked{some}", if n == 1 { "is" } else { "are" }),
    }
}

/// The classes by the places that pairs name: their first two members.
fn by_ends(check: &Check) -> HashMap<&Place, usize> {
    let all = check.classes.iter().enumerate();
    all.flat_map(|(i, class)| class.iter().take(2).map(move |place| (place, i))).collect()
}

fn class_name(class: &[Place]) -> String {
    match class {
        [one] => one.to_string(),
        [one, rest @ ..] => format!("{one} and {} more", rest.len()),
        [] => String::new(),
    }
}

const fn mark(pair: &Pair) -> char {
    match (pair.verdict, &pair.ports) {
        (Verdict::Blocked, _) => '-',
        (Verdict::Reaches, Ports::All) => '+',
        (Verdict::Reaches, Ports::Some(_)) => 'p',
    }
}

/// The answers by their ends.
type Cells<'m> = BTreeMap<(&'m Place, &'m Place), &'m Pair>;

/// The cell of two classes: of one whose nodes' own places fare otherwise, that between different nodes.
fn find<'m>(cells: &Cells<'m>, from: &'m [Place], to: &'m [Place]) -> Option<&'m Pair> {
    let second = || to.get(1).and_then(|to| cells.get(&(from.first()?, to)).copied());
    if from == to {
        return second();
    }
    second().filter(|pair| pair.same_node.is_some()).or_else(|| find_own(cells, from, to))
}

/// The cell of two classes for places of one node.
fn find_own<'m>(cells: &Cells<'m>, from: &'m [Place], to: &'m [Place]) -> Option<&'m Pair> {
    cells.get(&(from.first()?, to.first()?)).copied()
}

fn grid(check: &Check, names: &[String], width: usize) -> Option<String> {
    let number = names.len().to_string().len();
    let longest = names.iter().map(|n| n.chars().count()).max()?;
    if number + 1 + longest + 1 + names.len() * (number + 1) > width {
        return None;
    }
    let cells: BTreeMap<_, _> = check.pairs.iter().map(|p| ((&p.from, &p.to), p)).collect();
    let mut out = format!("{:1$}", "", number + 1 + longest + 1);
    for i in 1..=names.len() {
        let _ = write!(out, " {i:>number$}");
    }
    out.push('\n');
    for (i, (from, name)) in check.classes.iter().zip(names).enumerate() {
        let _ = write!(out, "{:>number$} {name:longest$} ", i + 1);
        for to in &check.classes {
            let cell = find(&cells, from, to).map_or('.', mark);
            let _ = write!(out, " {cell:>number$}");
        }
        out.push('\n');
    }
    let has = |c: char| check.pairs.iter().any(|p| mark(p) == c);
    let legend: Vec<&str> = [('+', "+ reaches"), ('p', "p some ports"), ('-', "- blocked")]
        .into_iter()
        .filter_map(|(c, t)| has(c).then_some(t))
        .collect();
    let _ = writeln!(out, "rows start, columns answer: {}", legend.join(", "));
    for pair in check.pairs.iter().filter(|p| mark(p) == 'p') {
        let _ = writeln!(out, "{} -> {}: {}", pair.from, pair.to, pair.ports);
    }
    Some(out)
}

fn list(check: &Check, names: &[String]) -> String {
    let classes = by_ends(check);
    // For each start what comes of its pairs, and the ends of each; pairs are in the order of classes.
    let mut starts: Vec<BTreeMap<(u8, String), Vec<String>>> = vec![BTreeMap::new(); names.len()];
    for pair in &check.pairs {
        let (Some(from), Some(to)) = (classes.get(&pair.from), classes.get(&pair.to)) else { continue };
        let other = match pair.same_node {
            Some(true) => format!("the same node's of {}", names[*to]),
            _ if from == to => "each other".into(),
            _ => names[*to].clone(),
        };
        let key = match (pair.verdict, &pair.ports) {
            (Verdict::Reaches, Ports::All) => (0, "reaches".into()),
            (Verdict::Reaches, ports) => (1, format!("with {ports} only")),
            (Verdict::Blocked, _) => (2, "blocked".into()),
        };
        starts[*from].entry(key).or_default().push(other);
    }
    let mut out = String::new();
    for (lines, name) in starts.into_iter().zip(names).take(STARTS) {
        if lines.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{name}");
        for ((_, what), others) in lines {
            let _ =
                writeln!(out, "  {what}: {}", some(&others[..others.len().min(LISTED)], others.len(), ", "));
        }
        if !check.unlisted.is_empty() {
            let _ = writeln!(out, "  blocked: all others");
        }
    }
    if names.len() > STARTS {
        let _ = writeln!(out, "and {} more: `wgrelay check --json` has them all", names.len() - STARTS);
    }
    out
}

/// Blocked pairs that one change would help.
struct Group<'m> {
    reason: &'m Reason,
    pairs: usize,
    named: Vec<String>,
    fixes: Vec<&'m str>,
}

/// The blocked pairs by what ends them, and where; every fix once.
fn blocked(check: &Check) -> String {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut known: BTreeMap<(Code, &str), usize> = BTreeMap::new();
    let pairs = check.pairs.iter().filter_map(|p| Some((p, p.reason.as_ref()?)));
    for (pair, reason) in pairs {
        // What policy refuses is refused wherever the packet comes first.
        let node = if reason.code == Code::PolicyDenied { "" } else { reason.node.as_str() };
        let at = *known.entry((reason.code, node)).or_insert_with(|| {
            groups.push(Group { reason, pairs: 0, named: Vec::new(), fixes: Vec::new() });
            groups.len() - 1
        });
        let group = &mut groups[at];
        group.pairs += 1;
        if group.named.len() < NAMED {
            group.named.push(format!("{} -> {}", pair.from, pair.to));
        }
        let fix = reason.fix.as_str();
        if group.fixes.len() < FIXES && !fix.is_empty() && !group.fixes.contains(&fix) {
            group.fixes.push(fix);
        }
    }
    let mut out = String::new();
    let mut told: BTreeMap<Code, usize> = BTreeMap::new();
    for group in &groups {
        let count = told.entry(group.reason.code).or_default();
        *count += 1;
        if *count <= PLACES {
            group.write(&mut out);
        }
    }
    for rest in &check.unlisted {
        let [from, to] = &rest.example;
        let _ = writeln!(
            out,
            "\n{from} -> {to} and {} more\n  {}: `wgrelay trace FROM TO` tells where, and the fix",
            rest.count.saturating_sub(1),
            rest.reason
        );
    }
    for (code, count) in told.iter().filter(|(_, n)| **n > PLACES) {
        let _ =
            writeln!(out, "\n{code} at {} more places: `wgrelay trace FROM TO` tells each", count - PLACES);
    }
    out
}

impl Group<'_> {
    fn write(&self, out: &mut String) {
        let reason = self.reason;
        let _ = writeln!(out, "\n{}", some(&self.named, self.pairs, ", "));
        if reason.code == Code::PolicyDenied && self.pairs > 1 {
            let _ = writeln!(out, "  {}: no [[allow]] lets these start a flow", reason.code);
            let _ = writeln!(out, "  fix: where one should, {}", reason.fix);
            return;
        }
        let at = if reason.node.is_empty() { String::new() } else { format!(" at {}", reason.node) };
        let _ = writeln!(out, "  {}{at}: {}", reason.code, reason.message);
        for fix in &self.fixes {
            let _ = writeln!(out, "  fix: {fix}");
        }
    }
}

/// The first of so many, and how many more there are.
fn some(named: &[String], all: usize, between: &str) -> String {
    let more =
        if all > named.len() { format!("{between}and {} more", all - named.len()) } else { String::new() };
    format!("{}{more}", named.join(between))
}
