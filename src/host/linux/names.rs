//! Names to addresses, by the system's resolver; in a static program, by the part of it that is in the program.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long names may take to resolve, all together: a dead resolver must not hold `up` back.
const LIMIT: Duration = Duration::from_secs(3);
/// How many names are asked for at a time, in the whole process: each takes a thread, which a dead resolver holds for long.
const AT_A_TIME: usize = 16;
/// How long an answer counts: less than the time between two looks of the agent that nothing caused.
const FRESH: Duration = Duration::from_secs(20);
/// How long an address has to be tried before the next one is.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it counts that a name has none.
const FRESH_NONE: Duration = Duration::from_secs(5);

static RESOLVER: LazyLock<Arc<Resolver>> = LazyLock::new(|| Arc::new(Resolver::new(look_up)));

/// Resolves names; one that does not resolve in time is absent. What was resolved a moment ago is not asked again.
pub(super) fn resolve(names: &BTreeSet<String>) -> BTreeMap<String, IpAddr> {
    if names.is_empty() {
        return BTreeMap::new();
    }
    stay_inside();
    RESOLVER.resolve(names, LIMIT)
}

/// Takes the next address of each of these names from now on, where there are more: nobody answered at the one that is taken. Says
/// whether there was one.
pub(super) fn take_next(names: &BTreeSet<String>) -> bool {
    RESOLVER.take_next(names)
}

/// The addresses in the resolver's order, which knows what this host can reach (RFC 6724).
fn look_up(name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for ip in (name, 0).to_socket_addrs().into_iter().flatten().map(|a| a.ip()) {
        if !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

/// Some threads that ask for names, and what they heard.
struct Resolver {
    ask: fn(&str) -> Vec<IpAddr>,
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Default)]
struct State {
    /// Those that no thread has taken yet.
    queue: VecDeque<String>,
    /// Those and the ones that are being asked for.
    open: BTreeSet<String>,
    answers: BTreeMap<String, (Instant, Vec<IpAddr>)>,
    /// What was taken, and when first: it stays while the name has it, in whatever order.
    taken: BTreeMap<String, (Instant, IpAddr)>,
    threads: usize,
}

impl State {
    fn take(&mut self, name: &str) -> Option<IpAddr> {
        let (_, found) = self.answers.get(name)?;
        let kept = self.taken.get(name).map(|(_, ip)| *ip).filter(|ip| found.contains(ip));
        let taken = kept.or_else(|| found.first().copied())?;
        if kept.is_none() {
            self.taken.insert(name.to_owned(), (Instant::now(), taken));
        }
        Some(taken)
    }
}

impl Resolver {
    fn new(ask: fn(&str) -> Vec<IpAddr>) -> Self {
        Self { ask, state: Mutex::default(), answered: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resolve(self: &Arc<Self>, names: &BTreeSet<String>, limit: Duration) -> BTreeMap<String, IpAddr> {
        let end = Instant::now() + limit;
        let mut state = self.state();
        state
            .answers
            .retain(|_, (at, found)| at.elapsed() < if found.is_empty() { FRESH_NONE } else { FRESH });
        for name in names {
            if !state.answers.contains_key(name) && state.open.insert(name.clone()) {
                state.queue.push_back(name.clone());
            }
        }
        let wanted = state.queue.len().min(AT_A_TIME.saturating_sub(state.threads));
        for _ in 0..wanted {
            let this = Arc::clone(self);
            // Where there is no thread to be had, those that run do all, or the names wait for the next look.
            if std::thread::Builder::new().name("names".into()).spawn(move || this.work()).is_err() {
                break;
            }
            state.threads += 1;
        }
        while names.iter().any(|name| state.open.contains(name)) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.threads == 0 {
                break;
            }
            state = self.answered.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        // Names that nobody may want any more by the time that they are reached.
        let left = std::mem::take(&mut state.queue);
        for name in left {
            state.open.remove(&name);
        }
        names.iter().filter_map(|name| Some((name.clone(), state.take(name)?))).collect()
    }

    fn take_next(&self, names: &BTreeSet<String>) -> bool {
        let mut state = self.state();
        let mut is_new = false;
        for name in names {
            let Some((since, taken)) = state.taken.get(name).copied() else { continue };
            let Some((_, found)) = state.answers.get(name) else { continue };
            let at = found.iter().position(|ip| *ip == taken).map_or(0, |at| at + 1);
            let next = found.get(at).or(found.first()).copied().filter(|ip| *ip != taken);
            if let Some(next) = next.filter(|_| since.elapsed() >= PATIENCE) {
                tracing::info!("nobody answers for {name} at {taken}: {next} is tried");
                state.taken.insert(name.clone(), (Instant::now(), next));
                is_new = true;
            }
        }
        is_new
    }

    /// Asks for what is queued, and ends.
    fn work(&self) {
        let mut state = self.state();
        while let Some(name) = state.queue.pop_front() {
            drop(state);
            let found = (self.ask)(&name);
            state = self.state();
            state.open.remove(&name);
            state.answers.insert(name, (Instant::now(), found));
            self.answered.notify_all();
        }
        state.threads -= 1;
        self.answered.notify_all();
    }
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_resolvers_order_counts_and_the_next_is_tried() {
        let (v4, v6): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let answer = |state: &mut State, list: &[IpAddr]| {
            state.answers.insert("relay".into(), (Instant::now(), list.to_vec()));
            state.take("relay")
        };
        let resolver = Resolver::new(|_| Vec::new());
        let names = BTreeSet::from(["relay".to_string()]);
        let mut state = resolver.state();
        assert_eq!(answer(&mut state, &[v6, v4]), Some(v6));
        assert_eq!(answer(&mut state, &[v4, v6]), Some(v6), "it stays, in whatever order they come");
        drop(state);
        resolver.take_next(&names);
        let mut state = resolver.state();
        assert_eq!(state.take("relay"), Some(v6), "not at once");
        let long_ago = Instant::now().checked_sub(2 * PATIENCE).unwrap();
        state.taken.insert("relay".into(), (long_ago, v6));
        drop(state);
        resolver.take_next(&names);
        let mut state = resolver.state();
        assert_eq!(state.take("relay"), Some(v4));
        assert_eq!(answer(&mut state, &[v6]), Some(v6), "what the name has no more is not kept");
        assert_eq!(answer(&mut state, &[]), None);
    }

    #[test]
    fn names_resolve_or_are_absent() {
        let names = BTreeSet::from(["localhost".to_string(), "no-such-name.invalid".to_string()]);
        let resolved = resolve(&names);
        assert!(resolved["localhost"].is_loopback());
        assert_eq!(resolved.len(), 1);
    }

    fn names(count: usize) -> BTreeSet<String> {
        (0..count).map(|n| format!("n{n}.example")).collect()
    }

    #[test]
    fn a_dead_resolver_costs_a_bounded_number_of_threads_and_of_time() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let resolver = Arc::new(Resolver::new(|_| {
            ASKED.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_secs(3600));
            Vec::new()
        }));
        let soon = Duration::from_millis(100);
        let began = Instant::now();
        // Look after look, of two commands at once.
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..3).for_each(|_| assert!(resolver.resolve(&names(2000), soon).is_empty())));
            }
        });
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        assert_eq!(ASKED.load(Ordering::SeqCst), AT_A_TIME);
        assert!(resolver.state().queue.is_empty());
    }

    #[test]
    fn an_answer_counts_for_a_while_also_one_that_came_late() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let resolver = Arc::new(Resolver::new(|name| {
            ASKED.fetch_add(1, Ordering::SeqCst);
            if name == "n7.example" {
                std::thread::sleep(Duration::from_millis(300));
            }
            vec![IpAddr::from([192, 0, 2, 1])]
        }));
        let long = Duration::from_secs(60);
        assert_eq!(resolver.resolve(&names(200), Duration::from_millis(100)).get("n7.example"), None);
        // Whatever was not reached in time, and the late one.
        assert_eq!(resolver.resolve(&names(200), long).len(), 200);
        assert_eq!(resolver.resolve(&names(200), long).len(), 200);
        assert_eq!(ASKED.load(Ordering::SeqCst), 200);
        assert_eq!(resolver.state().threads, 0);
    }
}
