//! The matrix as a person reads it: the answer first, then a grid that fits, otherwise a list by source.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::cause::{Code, Reason};
use super::check::Check;
use super::judge::Ports;
use super::matrix::{Matrix, Pair};
use super::place::Place;
use crate::model::{Severity, Verdict};

/// How many pairs one reason names before it says how many more there are.
const NAMED: usize = 6;

/// Writes a check for a terminal of so many columns; ends with a newline.
pub fn matrix_text(check: &Check, width: usize) -> String {
    let matrix = Matrix { classes: check.classes.clone(), pairs: check.pairs.clone() };
    let mut out = headline(&matrix);
    out.push('\n');
    let names: Vec<String> = matrix.classes.iter().map(|c| class_name(c)).collect();
    if !matrix.pairs.is_empty() {
        out.push('\n');
        out += &grid(&matrix, &names, width).unwrap_or_else(|| list(&matrix, &names));
    }
    out += &blocked(&matrix);
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

fn headline(matrix: &Matrix) -> String {
    let weight = |blocked: bool| -> usize {
        let pairs = matrix.pairs.iter().filter(|p| (p.verdict == Verdict::Blocked) == blocked);
        pairs.map(|p| matrix.weight(p)).sum()
    };
    let (blocked, reaching) = (weight(true), weight(false));
    let partly = matrix.pairs.iter().filter(|p| p.verdict == Verdict::Reaches && p.ports != Ports::All);
    let partly: usize = partly.map(|p| matrix.weight(p)).sum();
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

/// The cell of two classes.
fn find<'m>(cells: &BTreeMap<(&'m Place, &'m Place), &'m Pair>, from: &'m [Place], to: &'m [Place]) -> Option<&'m Pair> {
    let to = if from == to { to.get(1)? } else { to.first()? };
    cells.get(&(from.first()?, to)).copied()
}

fn grid(matrix: &Matrix, names: &[String], width: usize) -> Option<String> {
    let number = names.len().to_string().len();
    let longest = names.iter().map(|n| n.chars().count()).max()?;
    if number + 1 + longest + 1 + names.len() * (number + 1) > width {
        return None;
    }
    let cells: BTreeMap<_, _> = matrix.pairs.iter().map(|p| ((&p.from, &p.to), p)).collect();
    let mut out = format!("{:1$}", "", number + 1 + longest + 1);
    for i in 1..=names.len() {
        let _ = write!(out, " {i:>number$}");
    }
    out.push('\n');
    for (i, (from, name)) in matrix.classes.iter().zip(names).enumerate() {
        let _ = write!(out, "{:>number$} {name:longest$} ", i + 1);
        for to in &matrix.classes {
            let cell = find(&cells, from, to).map_or('.', mark);
            let _ = write!(out, " {cell:>number$}");
        }
        out.push('\n');
    }
    let has = |c: char| matrix.pairs.iter().any(|p| mark(p) == c);
    let legend: Vec<&str> = [('+', "+ reaches"), ('p', "p some ports"), ('-', "- blocked")]
        .into_iter()
        .filter_map(|(c, t)| has(c).then_some(t))
        .collect();
    let _ = writeln!(out, "rows start, columns answer: {}", legend.join(", "));
    for pair in matrix.pairs.iter().filter(|p| mark(p) == 'p') {
        let _ = writeln!(out, "{} -> {}: {}", pair.from, pair.to, pair.ports);
    }
    Some(out)
}

fn list(matrix: &Matrix, names: &[String]) -> String {
    let cells: BTreeMap<_, _> = matrix.pairs.iter().map(|p| ((&p.from, &p.to), p)).collect();
    let mut out = String::new();
    for (from, name) in matrix.classes.iter().zip(names) {
        let mut lines: BTreeMap<(u8, String), Vec<&str>> = BTreeMap::new();
        for (to, other) in matrix.classes.iter().zip(names) {
            let Some(pair) = find(&cells, from, to) else { continue };
            let other = if from == to { "each other" } else { other };
            let key = match (pair.verdict, &pair.ports) {
                (Verdict::Reaches, Ports::All) => (0, "reaches".into()),
                (Verdict::Reaches, ports) => (1, format!("with {ports} only")),
                (Verdict::Blocked, _) => (2, "blocked".into()),
            };
            lines.entry(key).or_default().push(other);
        }
        if lines.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{name}");
        for ((_, what), others) in lines {
            let _ = writeln!(out, "  {what}: {}", others.join(", "));
        }
    }
    out
}

/// The blocked pairs by what ends them, and where; every fix once.
fn blocked(matrix: &Matrix) -> String {
    let mut groups: Vec<(&Reason, Vec<String>, Vec<&str>)> = Vec::new();
    let pairs = matrix.pairs.iter().filter_map(|p| Some((p, p.reason.as_ref()?)));
    for (pair, reason) in pairs {
        let text = format!("{} -> {}", pair.from, pair.to);
        let same = |(r, ..): &&mut (&Reason, Vec<String>, Vec<&str>)| {
            // What policy refuses is refused wherever the packet comes first.
            r.code == reason.code && (r.node == reason.node || r.code == Code::PolicyDenied)
        };
        match groups.iter_mut().find(same) {
            Some((_, pairs, fixes)) => {
                pairs.push(text);
                if !fixes.contains(&reason.fix.as_str()) {
                    fixes.push(&reason.fix);
                }
            }
            None => groups.push((reason, vec![text], vec![&reason.fix])),
        }
    }
    let mut out = String::new();
    for (reason, pairs, fixes) in groups {
        let _ = writeln!(out, "\n{}", some(&pairs, NAMED, ", "));
        if reason.code == Code::PolicyDenied && pairs.len() > 1 {
            let _ = writeln!(out, "  {}: no [[allow]] lets these start a flow", reason.code);
            let _ = writeln!(out, "  fix: where one should, {}", reason.fix);
            continue;
        }
        let at = if reason.node.is_empty() { String::new() } else { format!(" at {}", reason.node) };
        let _ = writeln!(out, "  {}{at}: {}", reason.code, reason.message);
        for fix in fixes.iter().filter(|f| !f.is_empty()) {
            let _ = writeln!(out, "  fix: {fix}");
        }
    }
    out
}

/// The first of a list, and how many more there are.
fn some(list: &[String], limit: usize, between: &str) -> String {
    let more = if list.len() > limit { format!("{between}and {} more", list.len() - limit) } else { String::new() };
    format!("{}{more}", list[..list.len().min(limit)].join(between))
}
