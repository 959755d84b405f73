//! How often somebody may guess: by account from one address, by account from all, and by address. It forgets after a quarter of an
//! hour, and remembers so many at most.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::procedure::Refused;

/// Seconds until failures are forgotten.
const WINDOW: u64 = 900;
/// So many failures of an account from one address.
const BOTH: u32 = 5;
/// Of an account, from everywhere; of an address, whatever the account.
const EITHER: u32 = 30;
/// So many are remembered; the oldest is forgotten for the next.
const REMEMBERED: usize = 10_000;

/// The failures of the last quarter of an hour.
#[derive(Debug, Default)]
pub struct Throttle(BTreeMap<String, (u64, u32)>);

/// An address, or where one gets many, the network that it is of.
fn of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

fn keys(account: &str, address: IpAddr) -> [(String, u32); 3] {
    let address = of(address);
    [
        (format!("both {address} {account}"), BOTH),
        (format!("account {account}"), EITHER),
        (format!("address {address}"), EITHER),
    ]
}

impl Throttle {
    /// Refuses who failed too often of late; before anything is compared.
    ///
    /// # Errors
    /// 429, with the seconds to wait in its hint.
    pub fn may_try(&self, account: &str, address: IpAddr, now: u64) -> Result<(), Refused> {
        for (key, most) in keys(account, address) {
            if let Some((since, failures)) = self.0.get(&key)
                && *failures >= most
                && now < since + WINDOW
            {
                let left = since + WINDOW - now;
                return Err(Refused::new(429, "too many attempts", format!("wait {left} seconds")));
            }
        }
        Ok(())
    }

    /// Notes a failure.
    pub fn failed(&mut self, account: &str, address: IpAddr, now: u64) {
        for (key, _) in keys(account, address) {
            let entry = self.0.entry(key).or_insert((now, 0));
            if now >= entry.0 + WINDOW {
                *entry = (now, 0);
            }
            entry.1 += 1;
        }
        if self.0.len() > REMEMBERED {
            self.0.retain(|_, (since, _)| now < *since + WINDOW);
        }
        while self.0.len() > REMEMBERED {
            let oldest = self.0.iter().min_by_key(|(_, (since, _))| *since).map(|(key, _)| key.clone());
            match oldest {
                Some(key) => self.0.remove(&key),
                None => break,
            };
        }
    }

    /// Forgets the failures of an account from an address, where it got in.
    pub fn passed(&mut self, account: &str, address: IpAddr) {
        let [(both, _), ..] = keys(account, address);
        self.0.remove(&both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_counted_by_account_and_address() {
        let (mut throttle, here) = (Throttle::default(), "10.0.0.1".parse().unwrap());
        let there: IpAddr = "10.0.0.2".parse().unwrap();
        for _ in 0..BOTH {
            throttle.may_try("alice", here, 100).unwrap();
            throttle.failed("alice", here, 100);
        }
        assert_eq!(throttle.may_try("alice", here, 100).unwrap_err().status, 429);
        assert!(throttle.may_try("alice", there, 100).is_ok(), "she gets in from elsewhere");
        assert!(throttle.may_try("bob", here, 100).is_ok());
        assert!(throttle.may_try("alice", here, 100 + WINDOW).is_ok());
        for n in 0..EITHER {
            throttle.failed(&format!("user{n}"), here, 200);
        }
        assert!(throttle.may_try("carol", here, 200).is_err(), "one address, many accounts");
        for n in 0..EITHER {
            throttle.failed("dave", IpAddr::from([10, 1, 0, n as u8]), 200);
        }
        assert!(throttle.may_try("dave", there, 200).is_err(), "one account, many addresses");
    }

    #[test]
    fn memory_has_a_bound() {
        let mut throttle = Throttle::default();
        for n in 0..20_000_u32 {
            throttle.failed(
                &format!("u{n}"),
                IpAddr::from(std::net::Ipv4Addr::from(n)),
                100 + u64::from(n) / 1000,
            );
            if throttle.0.len() > REMEMBERED {
                panic!("{}", throttle.0.len());
            }
            if n > 4_000 {
                break;
            }
        }
        assert!(throttle.0.len() <= REMEMBERED);
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(of(one), of("2001:db8::ffff:2".parse().unwrap()));
    }
}
