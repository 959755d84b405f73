//! Names to addresses, by the system's resolver; in a static program, by the part of it that is in the program.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long names may take to resolve, all together: a dead resolver must not hold `up` back.
const LIMIT: Duration = Duration::from_secs(3);

/// Resolves names, each on a thread of its own; one that does not resolve in time is absent.
pub(super) fn resolve(names: &BTreeSet<String>) -> BTreeMap<String, IpAddr> {
    if !names.is_empty() {
        stay_inside();
    }
    let (sender, receiver) = mpsc::channel();
    for name in names {
        let (sender, name) = (sender.clone(), name.clone());
        // It is left behind where the resolver hangs, and ends by itself.
        std::thread::spawn(move || {
            let found =
                (name.as_str(), 0).to_socket_addrs().map(|list| list.map(|a| a.ip()).collect::<Vec<_>>());
            let _ = sender.send((name, found.unwrap_or_default()));
        });
    }
    drop(sender);
    let end = Instant::now() + LIMIT;
    let mut resolved = BTreeMap::new();
    // Ends early when every thread has answered.
    while let Ok((name, found)) = receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
        resolved.extend(choose(&found).map(|ip| (name, ip)));
    }
    resolved
}

/// IPv4 where there is one: it is what a network without IPv6 can reach.
fn choose(found: &[IpAddr]) -> Option<IpAddr> {
    found.iter().find(|ip| ip.is_ipv4()).or(found.first()).copied()
}

/// Keeps the resolver to /etc/hosts and DNS, which glibc 2.34 and later have built in. A service that a foreign
/// distribution names in /etc/nsswitch.conf would be loaded from its libraries, made for another glibc.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
#[expect(unsafe_code, reason = "the one setting of glibc's resolver that no crate has")]
fn stay_inside() {
    use std::ffi::{c_char, c_int};
    unsafe extern "C" {
        /// nss.h: sets the services of a database for this process.
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // SAFETY: both texts end with a NUL and live for ever.
        if unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) } != 0 {
            tracing::warn!("the C library does not take its name services from us");
        }
    });
}

#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
const fn stay_inside() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_is_preferred() {
        let (v4, v6): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!(choose(&[v6, v4]), Some(v4));
        assert_eq!(choose(&[v6]), Some(v6));
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn names_resolve_or_are_absent() {
        let names = BTreeSet::from(["localhost".to_string(), "no-such-name.invalid".to_string()]);
        let resolved = resolve(&names);
        assert!(resolved["localhost"].is_loopback());
        assert_eq!(resolved.len(), 1);
    }
}
