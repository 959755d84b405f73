//! Which addresses a message may be sent to. Whoever says where messages go could have this host ask what only this host can reach:
//! its own services, its networks, a cloud's metadata, the tunnel. So a name is resolved once, what it leads to is judged here, and
//! the connection goes to that address and to no other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Scheme;

/// Ports of HTTP with TLS, and those at which mail is handed in.
const HTTPS: [u16; 2] = [443, 8443];
const MAIL: [u16; 2] = [465, 587];

/// What may be reached.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// What whoever starts the page allows, whatever else is said of it: `--notify-allow`.
    pub allowed: Vec<IpNet>,
    /// The tunnel and what is behind it: every subnet of the network, public ones, too.
    pub tunnel: Vec<IpNet>,
}

impl Reach {
    /// Refuses an address and a port. `is_own`: it is an address of this host.
    ///
    /// # Errors
    /// Why, in a sentence's end.
    pub fn may(&self, address: IpAddr, port: u16, scheme: Scheme, is_own: bool) -> Result<(), &'static str> {
        // What an IPv4 address is written in is that address to the kernel.
        let address = address.to_canonical();
        if self.allowed.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        if is_own {
            return Err("that is this host itself");
        }
        if self.tunnel.iter().any(|net| net.contains(&address)) {
            return Err("that is in the tunnel, or behind it");
        }
        if !is_public(address) {
            return Err("that is no public address");
        }
        let ports: &[u16] = match scheme {
            Scheme::Http => return Err("what goes in clear goes to allowed addresses alone"),
            Scheme::Https => &HTTPS,
            Scheme::Smtp | Scheme::Smtps => &MAIL,
        };
        if ports.contains(&port) { Ok(()) } else { Err("that is no port for this") }
    }
}

/// Says whether an address is anybody's on the Internet: what is not known to be is not.
fn is_public(address: IpAddr) -> bool {
    const V4: [(Ipv4Addr, u8); 15] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        (Ipv4Addr::new(100, 64, 0, 0), 10),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        // A cloud's metadata is at 169.254.169.254.
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 0, 0, 0), 24),
        (Ipv4Addr::new(192, 0, 2, 0), 24),
        (Ipv4Addr::new(192, 88, 99, 0), 24),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(198, 18, 0, 0), 15),
        (Ipv4Addr::new(198, 51, 100, 0), 24),
        (Ipv4Addr::new(203, 0, 113, 0), 24),
        (Ipv4Addr::new(224, 0, 0, 0), 4),
        (Ipv4Addr::new(240, 0, 0, 0), 4),
    ];
    // Of 2000::/3, the rest of IPv6 being nobody's on the Internet; an address of IPv4 may be within 2002::/16 and 2001::/32.
    const V6: [(Ipv6Addr, u8); 4] = [
        (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
        (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
        (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    ];
    let within = |net: IpAddr, len: u8| IpNet::new(net, len).is_ok_and(|net| net.contains(&address));
    match address {
        IpAddr::V4(_) => !V4.iter().any(|(net, len)| within((*net).into(), *len)),
        IpAddr::V6(ip) => {
            ip.segments()[0] & 0xe000 == 0x2000 && !V6.iter().any(|(net, len)| within((*net).into(), *len))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(reach: &Reach, address: &str, port: u16, scheme: Scheme) -> bool {
        reach.may(address.parse().unwrap(), port, scheme, false).is_ok()
    }

    #[test]
    fn what_is_nobodys_on_the_internet_is_not_reached() {
        let reach = Reach { tunnel: vec!["45.9.0.0/24".parse().unwrap()], ..Reach::default() };
        for public in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"] {
            assert!(may(&reach, public, 443, Scheme::Https), "{public}");
        }
        for private in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.39.45",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "45.9.0.7",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:45.9.0.7",
            "::7f00:1",
            "::a9fe:a9fe",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a00:1",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::1",
            "2001:0:a00:1::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "5f00::1",
        ] {
            assert!(!may(&reach, private, 443, Scheme::Https), "{private}");
        }
    }

    #[test]
    fn ports_are_those_of_what_is_spoken_and_clear_text_goes_nowhere_unasked() {
        let reach = Reach::default();
        for (port, scheme, is_let) in [
            (443, Scheme::Https, true),
            (8443, Scheme::Https, true),
            (22, Scheme::Https, false),
            (6443, Scheme::Https, false),
            (80, Scheme::Http, false),
            (443, Scheme::Http, false),
            (465, Scheme::Smtps, true),
            (587, Scheme::Smtp, true),
            (25, Scheme::Smtp, false),
            (443, Scheme::Smtps, false),
        ] {
            assert_eq!(may(&reach, "1.1.1.1", port, scheme), is_let, "{port} {scheme:?}");
        }
        let own = reach.may([1, 1, 1, 1].into(), 443, Scheme::Https, true);
        assert!(own.unwrap_err().contains("this host"));
    }

    #[test]
    fn what_root_allows_is_reached_and_nothing_beside_it() {
        let allowed = vec!["127.0.0.1/32".parse().unwrap(), "fd00::/64".parse().unwrap()];
        let reach = Reach { allowed, tunnel: vec!["fd00::/16".parse().unwrap()] };
        for one in ["127.0.0.1", "::ffff:127.0.0.1", "fd00::7"] {
            assert!(may(&reach, one, 8080, Scheme::Http), "{one}");
        }
        for other in ["127.0.0.2", "::1", "fd00:1::7", "169.254.169.254"] {
            assert!(!may(&reach, other, 443, Scheme::Https), "{other}");
        }
    }
}
