//! Our nft table: loaded whole, its sets changed in place, and recognised when somebody else changed it.
//!
//! nft lists rules in other words than it took, so after a load the listing's fingerprint is kept in a comment
//! in the table, next to that of the rules that were asked for.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;

use nftables::batch::Batch;
use nftables::schema::Nftables;
use serde::Deserialize;
use serde_json::{Value, json};

use super::program;
use crate::firewall::foreign::nft::ListedChain;
use crate::firewall::{
    Family, Set, Table, add_elements, delete_elements, delete_table, elements, fingerprint, load_table,
};
use crate::host::HostError;
use crate::plan::Change;

/// Lines of nft's own words that an error carries.
const ERROR_LINES: usize = 3;

/// How often a table is loaded while somebody else changes it in the same moment.
const ATTEMPTS: usize = 3;

/// Loads the table, replacing what is there in one transaction, and marks it as unchanged.
pub(super) fn load(table: &Table) -> Result<(), HostError> {
    let listing = load_and_list(table)?;
    // A process that dies here leaves a table without the mark, which the next apply replaces.
    let rule = json!({"family": "inet", "table": table.name, "chain": fingerprint::CHAIN,
        "expr": [{"return": null}], "comment": mark(&listing, table)});
    let chain = json!({"family": "inet", "table": table.name, "name": fingerprint::CHAIN});
    let batch = json!({"nftables": [{"add": {"chain": chain}}, {"add": {"rule": rule}}]});
    send("mark nft table", &table.name, &batch)
}

/// Loads the table, and returns it as nft lists it. What somebody changed between the two would be taken for ours for good.
fn load_and_list(table: &Table) -> Result<Value, HostError> {
    for _ in 0..ATTEMPTS {
        send("load nft table", &table.name, &load_table(table))?;
        match list(&table.name)? {
            Some(listing) if is_whole(&listing, table) => return Ok(listing),
            _ => {}
        }
    }
    let cause = "somebody changes it while it is loaded";
    Err(HostError::new("load nft table", &table.name, cause).hint("`nft monitor` shows who"))
}

/// Says whether a listing has the chains and sets of the table, and in each chain as many rules that do the same: nft writes what they
/// match otherwise than it took it.
fn is_whole(listing: &Value, table: &Table) -> bool {
    let Ok(loaded) = serde_json::to_value(load_table(&table.emptied())) else { return false };
    contents(objects_of(listing)) == contents(objects(&loaded, "add"))
}

/// The names of chains and sets, and what each rule does, in order.
fn contents<'a>(
    objects: impl Iterator<Item = &'a Value>,
) -> BTreeMap<(&'static str, &'a str), Vec<Vec<&'a String>>> {
    let mut contents = BTreeMap::new();
    for object in objects {
        for kind in ["chain", "set"] {
            if let Some(name) = object.get(kind).and_then(|found| found["name"].as_str()) {
                contents.entry((kind, name)).or_insert_with(Vec::new);
            }
        }
        let Some(rule) = object.get("rule") else { continue };
        let statements = rule["expr"].as_array().into_iter().flatten().filter_map(Value::as_object);
        let does =
            statements.flat_map(|statement| statement.keys()).filter(|word| *word != "match").collect();
        contents.entry(("chain", rule["chain"].as_str().unwrap_or_default())).or_default().push(does);
    }
    contents
}

/// Takes the table away; one that is gone already is no error.
pub(super) fn delete(name: &str) -> Result<(), HostError> {
    match send("delete nft table", name, &delete_table(name)) {
        Err(_) if list(name)?.is_none() => Ok(()),
        other => other,
    }
}

/// Changes elements of sets, all in one transaction. Other changes are passed over.
pub(super) fn change_elements(changes: &[Change]) -> Result<(), HostError> {
    let (mut batch, mut first, mut target) = (Batch::new(), Batch::new(), "");
    for change in changes {
        let Change::Elements { table, set, add, remove } = change else { continue };
        target = table;
        // What goes must be gone before a larger prefix can come in its place.
        if !remove.is_empty() {
            first.add_cmd(delete_elements(table, set, remove));
        }
        if !add.is_empty() {
            batch.add_cmd(add_elements(table, set, add));
        }
    }
    let (first, rest) = (first.to_nftables(), batch.to_nftables());
    let objects = first.objects.iter().chain(rest.objects.iter()).cloned().collect::<Vec<_>>();
    if objects.is_empty() {
        return Ok(());
    }
    send("change nft sets of", target, &Nftables { objects: objects.into() })
}

/// Reads a listing of the table. `applied` is what was loaded last: nft's words cannot be turned
/// back into it, but the mark tells whether they still say the same. Where they do not, the answer is a table
/// without chains, which differs from every wanted one.
pub(super) fn table_of(listing: &Value, name: &str, applied: Option<&Table>) -> Table {
    let mut listed = elements(listing);
    if let Some(applied) = applied.filter(|a| a.name == name && has_mark(listing, &mark(listing, a))) {
        let mut table = applied.emptied();
        for (name, set) in &mut table.sets {
            set.elements = listed.remove(name).unwrap_or_default();
        }
        return table;
    }
    let family = |set: &str| {
        let objects = listing.get("nftables").and_then(Value::as_array);
        let found = objects.into_iter().flatten().filter_map(|o| o.get("set")).find(|s| s["name"] == *set);
        if found.is_some_and(|s| s["type"] == "ipv6_addr") { Family::V6 } else { Family::V4 }
    };
    let sets = listed
        .into_iter()
        .map(|(name, elements)| {
            let family = family(&name);
            (name, Set { family, elements })
        })
        .collect();
    Table { name: name.into(), sets, chains: Vec::new() }
}

/// The comment that says: the listing has this structure, and it came from these rules.
fn mark(listing: &Value, table: &Table) -> String {
    let rules = json!({"nftables": [{"rules": table.emptied()}]});
    let (structure, rules) = (fingerprint::fingerprint(listing), fingerprint::fingerprint(&rules));
    format!("structure {structure} of {rules}")
}

fn has_mark(listing: &Value, mark: &str) -> bool {
    let objects = listing.get("nftables").and_then(Value::as_array);
    objects
        .into_iter()
        .flatten()
        .filter_map(|o| o.get("rule"))
        .any(|rule| rule["chain"] == fingerprint::CHAIN && rule["comment"] == *mark)
}

/// Lists the table; `None`: there is none, and none can be where nft or nf_tables is missing.
pub(super) fn list(name: &str) -> Result<Option<Value>, HostError> {
    listing(&["-j", "list", "table", "inet", name], "list nft table", name)
}

fn listing(args: &[&str], operation: &'static str, target: &str) -> Result<Option<Value>, HostError> {
    let output = match run(args, None) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| HostError::new(operation, target, e))?,
    };
    if output.status.success() {
        let listing = serde_json::from_slice(&output.stdout);
        return listing.map(Some).map_err(|e| HostError::new(operation, target, format!("nft's JSON: {e}")));
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let absent = ["No such file or directory", "Protocol not supported", "Operation not supported"];
    if absent.iter().any(|text| words.contains(text)) {
        return Ok(None);
    }
    Err(refused(operation, target, &output))
}

/// Sends a batch to nft: one transaction.
fn send(operation: &'static str, table: &str, batch: &impl serde::Serialize) -> Result<(), HostError> {
    let failed = |e: String| HostError::new(operation, table, e);
    let input = serde_json::to_vec(batch).map_err(|e| failed(e.to_string()))?;
    let output = run(&["-j", "-f", "-"], Some(&input)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => failed("the program nft is missing".into())
            .hint("install it: `apt-get install nftables` (Debian, Ubuntu), `dnf install nftables`, `apk add nftables`"),
        _ => failed(error.to_string()),
    })?;
    if output.status.success() { Ok(()) } else { Err(refused(operation, table, &output)) }
}

/// Gives nft a text: one transaction.
pub(super) fn send_text(operation: &'static str, table: &str, text: &str) -> Result<(), HostError> {
    let output = run(&["-f", "-"], Some(text.as_bytes())).map_err(|e| HostError::new(operation, table, e))?;
    if output.status.success() { Ok(()) } else { Err(refused(operation, table, &output)) }
}

/// Makes an error of nft's first words; the batch itself, which nft repeats below them, stays out.
fn refused(operation: &'static str, table: &str, output: &Output) -> HostError {
    if let Some(signal) = output.status.signal() {
        // Every nft reads all tables before it changes one, and 1.0 stumbles over what 1.1 has written (a newer Docker's).
        let cause = format!(
            "nft ended with signal {signal}: a table that a newer nft made is more than this one can read; update nftables"
        );
        return HostError::new(operation, table, cause).hint(
            "`nft --version` says which is here; 1.1 reads them. `nft list tables` shows whose they may be",
        );
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> =
        words.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(['{', '^', '~'])).collect();
    let text = lines.iter().take(ERROR_LINES).copied().collect::<Vec<_>>().join("; ");
    let hint = if text.contains("Operation not permitted") {
        "run as root"
    } else if ["Protocol not supported", "Operation not supported"].iter().any(|t| text.contains(t)) {
        "this kernel has no nf_tables: load it (`modprobe nf_tables nft_chain_nat nft_masq nft_ct`)"
    } else {
        ""
    };
    let cause = if text.is_empty() { format!("nft ended with {}", output.status) } else { text };
    HostError::new(operation, table, cause).hint(hint)
}

/// Lists every chain, without its rules. Empty where nft or nf_tables is missing.
pub(super) fn list_chains() -> Result<Vec<ListedChain>, HostError> {
    Ok(listing(&["-j", "list", "chains"], "list nft chains", "")?
        .map(|listing| objects(&listing, "chain").filter_map(|c| ListedChain::deserialize(c).ok()).collect())
        .unwrap_or_default())
}

/// Lists a table, or all of a family, without what named sets hold; `None`: it is not there, or nft is not.
///
/// `list table` of nft 1.0.6 fetches every element also where it is to leave them out, a second for 100,000 addresses; `list
/// ruleset` does not.
pub(super) fn rules(family: &str, table: Option<&str>) -> Result<Option<Value>, HostError> {
    listing(&rules_args(family, table), "list nft rules", table.unwrap_or(family))
}

fn rules_args<'a>(family: &'a str, table: Option<&'a str>) -> Vec<&'a str> {
    let what = if table.is_some() { "table" } else { "ruleset" };
    ["-j", "-t", "list", what, family].into_iter().chain(table).collect()
}

/// Lists somebody else's table as text: its names are quoted, large counters are nothing to stumble over, and nft 1.0.6
/// crashes when it is to write the tables of Docker's as JSON. Empty where it cannot be listed.
pub(super) fn text_of(family: &str, table: &str) -> Result<String, HostError> {
    let output = run(&["-s", "list", "table", family, table], None);
    let output = output.map_err(|e| HostError::new("list nft table", table, e))?;
    if output.status.signal().is_some() {
        return Err(refused("list nft table", table, &output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Takes away an iptables chain that is left without rules, and its table when nothing is left in that either.
pub(super) fn delete_if_empty(family: Family, table: &str, chain: &str) -> Result<(), HostError> {
    let operation = "list nft table";
    let Some(left) = listing(&["-j", "list", "table", family.nft(), table], operation, table)? else {
        return Ok(());
    };
    let command = if objects(&left, "rule").next().is_none() {
        json!({"delete": {"table": {"family": family.nft(), "name": table}}})
    } else if objects(&left, "rule").all(|r| r["chain"] != chain) {
        json!({"delete": {"chain": {"family": family.nft(), "table": table, "name": chain}}})
    } else {
        return Ok(());
    };
    send("delete nft table", table, &json!({"nftables": [command]}))
}

fn objects<'a>(listing: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects_of(listing).filter_map(move |o| o.get(kind))
}

fn objects_of(listing: &Value) -> impl Iterator<Item = &Value> {
    listing.get("nftables").and_then(Value::as_array).into_iter().flatten()
}

fn run(args: &[&str], input: Option<&[u8]>) -> io::Result<Output> {
    program::run("nft", args, input)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::ExitStatus;

    use super::*;
    use crate::firewall::{Action, Chain, Hook, Rule};

    fn ended(status: i32, words: &str) -> Output {
        let status = ExitStatus::from_raw(status);
        Output { status, stdout: Vec::new(), stderr: words.into() }
    }

    #[test]
    fn why_nft_refused() {
        let error = |status, words: &str| refused("load nft table", "wgrelay-wg0", &ended(status, words));
        let crash = error(11, "");
        assert_eq!(
            crash.to_string(),
            "load nft table wgrelay-wg0: nft ended with signal 11: a table that a newer nft made is more than this one can \
             read; update nftables"
        );
        assert!(crash.hint.contains("nft --version"), "{}", crash.hint);
        let said = error(0x100, "Error: syntax error\n{\"nftables\"\n^^^");
        assert_eq!(said.to_string(), "load nft table wgrelay-wg0: Error: syntax error");
        assert_eq!(error(0x100, "Operation not permitted (you must be root)").hint, "run as root");
        assert!(error(0x100, "").to_string().ends_with("nft ended with exit status: 1"));
    }

    #[test]
    fn what_somebody_changed_while_it_was_loaded_is_not_taken_for_ours() {
        let rule = Rule { matches: Vec::new(), action: Action::Drop };
        let chain = Chain { name: "forward".into(), hook: Hook::Forward, rules: vec![rule] };
        let sets = [("members".to_owned(), Set { family: Family::V4, elements: BTreeSet::new() })];
        let table = Table { name: "wgrelay-wg0".into(), sets: sets.into(), chains: vec![chain] };
        let (set, chain) = (json!({"set": {"name": "members"}}), json!({"chain": {"name": "forward"}}));
        let rule = json!({"rule": {"chain": "forward", "expr": [{"drop": null}]}});
        let listing = |objects: &[&Value]| json!({"nftables": objects});
        assert!(is_whole(&listing(&[&set, &chain, &rule]), &table));
        let other = json!({"chain": {"name": "other"}});
        for changed in [
            &[&set, &chain][..],
            &[&set, &chain, &rule, &rule],
            &[&set, &chain, &rule, &other],
            &[&set, &chain, &json!({"rule": {"chain": "forward", "expr": [{"accept": null}]}})],
            &[&chain, &rule],
            &[&set],
            &[],
        ] {
            assert!(!is_whole(&listing(changed), &table), "{changed:?}");
        }
    }

    #[test]
    fn rules_are_listed_without_what_sets_hold() {
        assert_eq!(rules_args("inet", None), ["-j", "-t", "list", "ruleset", "inet"]);
        assert_eq!(rules_args("ip", Some("filter")), ["-j", "-t", "list", "table", "ip", "filter"]);
    }
}
