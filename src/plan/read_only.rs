//! A host whose switches cannot be written: a container has /proc/sys read-only, unless it is privileged.

use std::collections::BTreeMap;

use super::Facts;
use crate::model::Problem;

/// Takes out the switches that differ and cannot be set, and tells of those that packets need, with the words that whoever
/// starts the container gives to its engine.
pub fn leave_out(sysctls: &mut BTreeMap<String, String>, facts: &Facts) -> Option<Problem> {
    let mut needed = Vec::new();
    sysctls.retain(|path, to| {
        if current(path, facts) == Some(to.as_str()) {
            // As it should be: a later change of it is still told.
            return facts.sysctl(path).is_some();
        }
        if path.ends_with("/forwarding") || path.ends_with("/src_valid_mark") {
            needed.push((path.clone(), to.clone()));
        }
        false
    });
    if needed.is_empty() {
        return None;
    }
    let names: Vec<String> = needed.iter().map(|(path, _)| path.replace('/', ".")).collect();
    let mut options: Vec<String> = needed
        .iter()
        .map(|(path, to)| match path.as_str() {
            // The engine sets it before there are links; new ones begin as it.
            p if p.starts_with("net/ipv4/") && p.ends_with("/forwarding") => {
                "--sysctl net.ipv4.ip_forward=1".into()
            }
            p => format!("--sysctl {}={to}", p.replace('/', ".")),
        })
        .collect();
    options.dedup();
    Some(Problem::warning(
        "read-only-switches",
        "/proc/sys",
        format!("this container may not set {}: what needs it does not pass", names.join(", ")),
        format!("start it with `docker run {} …`", options.join(" ")),
    ))
}

/// A switch's value; of a link that is not there yet, what its own begins as.
fn current<'f>(path: &str, facts: &'f Facts) -> Option<&'f str> {
    facts.sysctl(path).or_else(|| {
        let parts: Vec<&str> = path.split('/').collect();
        let [net, family, conf, _, switch] = parts.as_slice() else { return None };
        facts.sysctl(&[*net, family, conf, "default", switch].join("/"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(switches: &[(&str, &str)], has: &[(&str, &str)]) -> (Vec<String>, Option<Problem>) {
        let map = |list: &[(&str, &str)]| {
            list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let facts = Facts { sysctls: map(has), switches_are_read_only: true, ..Facts::default() };
        let mut sysctls = map(switches);
        let problem = leave_out(&mut sysctls, &facts);
        (sysctls.into_keys().collect(), problem)
    }

    #[test]
    fn niceties_are_left_out_and_needs_are_told() {
        let nice = ("net/ipv4/conf/all/send_redirects", "0");
        assert_eq!(left(&[nice], &[("net/ipv4/conf/all/send_redirects", "1")]), (vec![], None));
        let forwarding = ("net/ipv4/conf/wg0/forwarding", "1");
        let (kept, problem) = left(&[forwarding], &[("net/ipv4/conf/default/forwarding", "0")]);
        assert!(kept.is_empty());
        assert!(problem.unwrap().hint.contains("--sysctl net.ipv4.ip_forward=1"));
        let (kept, problem) = left(&[forwarding], &[("net/ipv4/conf/default/forwarding", "1")]);
        assert_eq!((kept, problem), (vec![], None), "the link begins so");
    }
}
