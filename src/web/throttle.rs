//! How often somebody may guess: by account from one address, by account from all, and by address. It forgets after a quarter of an
//! hour, and remembers so many at most. Secrets of 256 bits are compared first: nobody guesses them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::clock::is_within;
use super::procedure::Refused;

/// Seconds until failures are forgotten.
const WINDOW: u64 = 900;
/// So many failures of an account from one address.
const BOTH: u32 = 5;
/// Of an account, from everywhere; of an address, whatever the account.
const EITHER: u32 = 30;
/// So many are remembered; the oldest is forgotten for the next.
const REMEMBERED: usize = 10_000;

/// What is counted under a name.
#[derive(Debug)]
struct Failed {
    since: u64,
    failures: u32,
    stays: bool,
}

/// What is known of whoever guesses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Guesser {
    /// There is such an account.
    pub is_known: bool,
    /// It signed in from this address of late.
    pub is_at_home: bool,
}

/// The failures of the last quarter of an hour.
#[derive(Debug, Default)]
pub struct Throttle(BTreeMap<String, Failed>);

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The address.
    pub address: IpAddr,
    /// Who is at the other end of the connection itself: a proxy, or the same.
    pub connected: IpAddr,
    /// On this host, the user whose connection it is; `None`: it is another host's, or that is not known.
    pub user: Option<u32>,
}

impl Peer {
    /// Returns what it is counted as.
    pub(super) fn counted(self) -> String {
        of(self)
    }
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self { address, connected: address, user: None }
    }
}

/// An address, or where one gets many, the network that it is of; of this host, a user of it.
fn of(peer: Peer) -> String {
    match peer.address {
        address if address.is_loopback() => match peer.user {
            // Every user of this host has all of its addresses, and is kept out by nobody but himself.
            Some(user) => format!("user {user}"),
            None => "127.0.0.0/8".into(),
        },
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

fn keys(account: &str, peer: Peer) -> [(String, u32); 3] {
    let address = of(peer);
    [
        (format!("both {address} {account}"), BOTH),
        (format!("account {account}"), EITHER),
        (format!("address {address}"), EITHER),
    ]
}

impl Throttle {
    /// Counts a guess before anything is compared, so that of many at once no more are compared than may be; refuses who failed too
    /// often of late. `is_known`: there is such an account, and what was counted of it is not forgotten for others. `is_at_home`: it
    /// signed in from this address before, and is not kept out by what strangers do elsewhere.
    ///
    /// # Errors
    /// 429, with the seconds to wait in its hint.
    pub fn begin(
        &mut self,
        account: &str,
        peer: impl Into<Peer>,
        who: Guesser,
        now: u64,
    ) -> Result<(), Refused> {
        let keys = keys(account, peer.into());
        for (n, (key, most)) in keys.iter().enumerate() {
            if !(n == 1 && who.is_at_home) {
                self.is_below(key, *most, now)?;
            }
        }
        for (n, (key, _)) in keys.into_iter().enumerate() {
            self.count(key, n == 1 && who.is_known, now);
        }
        self.forget(now);
        Ok(())
    }

    /// Counts a wrong secret of 256 bits: by its address alone, since nobody else's is kept from being right by it.
    ///
    /// # Errors
    /// As above: this address sent too many.
    pub fn wrong_secret(&mut self, peer: impl Into<Peer>, now: u64) -> Result<(), Refused> {
        let key = format!("secrets {}", of(peer.into()));
        self.is_below(&key, EITHER, now)?;
        self.count(key, false, now);
        self.forget(now);
        Ok(())
    }

    /// Refuses whoever had a provider asked in vain too often of late: by its address alone.
    ///
    /// # Errors
    /// As above.
    pub fn may_have_asked(&self, peer: impl Into<Peer>, now: u64) -> Result<(), Refused> {
        self.is_below(&format!("asked {}", of(peer.into())), EITHER, now)
    }

    /// Counts that somebody had a provider asked in vain.
    pub fn asked_in_vain(&mut self, peer: impl Into<Peer>, now: u64) {
        self.count(format!("asked {}", of(peer.into())), false, now);
        self.forget(now);
    }

    /// Takes back a guess that was right, and forgets the failures of the account from this address.
    pub fn passed(&mut self, account: &str, peer: impl Into<Peer>) {
        let [(both, _), others @ ..] = keys(account, peer.into());
        self.0.remove(&both);
        for (key, _) in others {
            if let Some(entry) = self.0.get_mut(&key) {
                entry.failures = entry.failures.saturating_sub(1);
            }
        }
    }

    fn is_below(&self, key: &str, most: u32, now: u64) -> Result<(), Refused> {
        match self.0.get(key) {
            Some(entry) if entry.failures >= most && is_within(entry.since, WINDOW, now) => {
                let left = entry.since + WINDOW - now;
                Err(Refused::new(429, "too many attempts", format!("wait {left} seconds")))
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, key: String, stays: bool, now: u64) {
        let entry = self.0.entry(key).or_insert(Failed { since: now, failures: 0, stays });
        if !is_within(entry.since, WINDOW, now) {
            *entry = Failed { since: now, failures: 0, stays };
        }
        entry.failures += 1;
        entry.stays |= stays;
    }

    fn forget(&mut self, now: u64) {
        if self.0.len() > REMEMBERED {
            self.0.retain(|_, entry| is_within(entry.since, WINDOW, now));
        }
        while self.0.len() > REMEMBERED {
            let others = self.0.iter().filter(|(_, entry)| !entry.stays);
            let oldest = others.min_by_key(|(_, entry)| entry.since).map(|(key, _)| key.clone());
            match oldest {
                Some(key) => self.0.remove(&key),
                None => break,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Guesser = Guesser { is_known: true, is_at_home: false };
    const AT_HOME: Guesser = Guesser { is_known: true, is_at_home: true };

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn guesses_are_counted_by_account_and_address() {
        let (mut throttle, here) = (Throttle::default(), address("10.0.0.1"));
        let there = address("10.0.0.2");
        for _ in 0..BOTH {
            throttle.begin("alice", here, KNOWN, 100).unwrap();
        }
        assert_eq!(throttle.begin("alice", here, KNOWN, 100).unwrap_err().status, 429);
        assert_eq!(throttle.begin("alice", here, AT_HOME, 100).unwrap_err().status, 429);
        throttle.begin("alice", there, KNOWN, 100).unwrap();
        throttle.begin("bob", here, KNOWN, 100).unwrap();
        throttle.begin("alice", here, KNOWN, 100 + WINDOW).unwrap();
        for n in 0..EITHER {
            let _ = throttle.begin(&format!("user{n}"), here, KNOWN, 2000);
        }
        assert!(throttle.begin("carol", here, KNOWN, 2000).is_err(), "one address, many accounts");
        for n in 0..EITHER {
            throttle.begin("dave", IpAddr::from([10, 1, 0, n as u8]), KNOWN, 2000).unwrap();
        }
        assert!(throttle.begin("dave", there, KNOWN, 2000).is_err(), "one account, many addresses");
        assert!(throttle.begin("dave", there, AT_HOME, 2000).is_ok(), "he got in from there before");
    }

    #[test]
    fn who_gets_in_is_not_counted() {
        let (mut throttle, here) = (Throttle::default(), address("10.0.0.1"));
        for _ in 0..10 * EITHER {
            throttle.begin("alice", here, KNOWN, 100).unwrap();
            throttle.passed("alice", here);
        }
    }

    #[test]
    fn wrong_secrets_keep_out_nobody_but_whoever_sent_them() {
        let (mut throttle, here) = (Throttle::default(), address("10.0.0.1"));
        for _ in 0..EITHER {
            throttle.wrong_secret(here, 100).unwrap();
        }
        assert!(throttle.wrong_secret(here, 100).is_err());
        throttle.wrong_secret(address("10.0.0.2"), 100).unwrap();
        throttle.begin("alice", here, KNOWN, 100).unwrap();
    }

    #[test]
    fn addresses_that_one_has_many_of_are_one() {
        let of = |text: &str| of(address(text).into());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_eq!(of("127.0.0.1"), of("127.9.8.7"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn a_user_of_this_host_keeps_out_himself_alone() {
        let mut throttle = Throttle::default();
        let at = |address_: &str, user| Peer {
            connected: address(address_),
            address: address(address_),
            user: Some(user),
        };
        for n in 0..3 * EITHER {
            let _ = throttle.begin(
                "anna",
                at(["127.0.0.1", "127.0.0.9", "::1"][n as usize % 3], 1000),
                KNOWN,
                100,
            );
            let _ = throttle.wrong_secret(at("127.0.0.1", 1000), 100);
        }
        assert!(throttle.begin("anna", at("127.0.0.1", 1000), AT_HOME, 100).is_err());
        throttle.begin("anna", at("127.0.0.1", 1001), AT_HOME, 100).unwrap();
        throttle.wrong_secret(at("127.0.0.1", 1001), 100).unwrap();
        // Elsewhere there are no users of this host.
        assert_eq!(of(at("10.0.0.1", 7)), of(at("10.0.0.1", 8)));
    }

    #[test]
    fn memory_has_a_bound_and_what_is_counted_of_an_account_stays() {
        let mut throttle = Throttle::default();
        let from = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(n));
        for n in 0..EITHER {
            throttle.begin("alice", from(n), KNOWN, 100).unwrap();
        }
        for n in 0..4_000_u32 {
            throttle.begin(&format!("u{n}"), from(1000 + n), Guesser::default(), 101).unwrap();
            assert!(throttle.0.len() <= REMEMBERED);
        }
        assert!(throttle.begin("alice", from(999_999), KNOWN, 102).is_err(), "others made it forget");
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_out() {
        let (mut throttle, here) = (Throttle::default(), address("10.0.0.1"));
        for _ in 0..BOTH {
            throttle.begin("alice", here, KNOWN, 900_000).unwrap();
        }
        assert!(throttle.begin("alice", here, KNOWN, 900_001).is_err());
        for _ in 0..BOTH {
            throttle.begin("alice", here, KNOWN, 10).unwrap();
        }
        assert!(throttle.begin("alice", here, KNOWN, 10).is_err());
    }
}
