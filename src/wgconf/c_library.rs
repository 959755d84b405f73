//! Numbers and addresses as C programs read them, for what wg-quick hands on to ip(8) and wg to getaddrinfo(3): bases by prefix,
//! signs, and addresses with parts left out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// `strtoul(text, &end, 0)` of all of a text: a sign, `0x` for 16, a zero in front for 8. A minus turns it around.
pub(super) fn number(text: &str) -> Option<u64> {
    let (minus, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    let is_whole = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    // What is too large is the largest there is.
    let number = is_whole.then(|| u64::from_str_radix(digits, radix).unwrap_or(u64::MAX))?;
    Some(if minus && number != u64::MAX { number.wrapping_neg() } else { number })
}

/// An address and length as ip(8) reads them (`get_prefix` of iproute2's lib/utils.c): parts in any base, those at the end left
/// out; a mask in place of a length.
pub(super) fn ip_prefix(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let address = ip_address(address)?;
    let Some(length) = length else { return Some(IpNet::from(address)) };
    match number(length) {
        Some(n) if u8::try_from(n).is_ok_and(|n| IpNet::new(address, n).is_ok()) => {
            IpNet::new(address, n as u8).ok()
        }
        _ => IpNet::with_netmask(address, ip_address(length)?).ok(),
    }
}

fn ip_address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let parts: Vec<u8> = text.split('.').map(|p| number(p)?.try_into().ok()).collect::<Option<_>>()?;
    let mut bytes = [0; 4];
    bytes.get_mut(..parts.len())?.copy_from_slice(&parts);
    Some(IpAddr::from(bytes))
}

/// An IPv4 address as `inet_aton` reads it, and so getaddrinfo(3): one to four parts in any base, of which the last fills the rest.
pub(super) fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let begins = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    let parts: Vec<u64> = text.split('.').map(|p| begins(p).then(|| number(p))?).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    let room = 4_usize.checked_sub(first.len()).filter(|room| *room > 0)?;
    if *last >= 1 << (8 * room) || first.iter().any(|part| *part > 255) {
        return None;
    }
    let whole = first.iter().enumerate().fold(*last, |all, (i, part)| all | part << (8 * (3 - i)));
    u32::try_from(whole).ok().map(Ipv4Addr::from)
}

/// The services of UDP in Debian 12's /etc/services (netbase 6.4), other names of theirs among them, each with its port.
const SERVICES: &str = "\
    echo 7 discard 9 sink 9 null 9 daytime 13 chargen 19 ttytst 19 source 19 fsp 21 fspd 21 time 37 timserver 37 \
     tacacs 49 domain 53 bootps 67 bootpc 68 tftp 69 kerberos 88 kerberos5 88 krb5 88 kerberos-sec 88 sunrpc 111 \
     portmapper 111 ntp 123 netbios-ns 137 netbios-dgm 138 snmp 161 snmp-trap 162 snmptrap 162 cmip-man 163 \
     cmip-agent 164 xdmcp 177 ipx 213 ptp-event 319 ptp-general 320 rpc2portmap 369 codaauth2 370 clearcase 371 \
     Clearcase 371 ldap 389 svrloc 427 https 443 kpasswd 464 isakmp 500 rtsp 554 asf-rmcp 623 ldp 646 biff 512 \
     comsat 512 who 513 whod 513 syslog 514 talk 517 ntalk 518 route 520 router 520 routed 520 gdomap 538 \
     dhcpv6-client 546 dhcpv6-server 547 ldaps 636 tinc 655 domain-s 853 openvpn 1194 ms-sql-m 1434 datametrics 1645 \
     old-radius 1645 sa-msg-port 1646 old-radacct 1646 l2f 1701 l2tp 1701 radius 1812 radius-acct 1813 radacct 1813 \
     nfs 2049 gnunet 2086 rtcm-sc104 2101 venus 2430 venus-se 2431 codasrv 2432 codasrv-se 2433 mon 2583 icpv2 3130 \
     icp 3130 isns 3205 nut 3493 ipsec-nat-t 4500 iax 4569 sip 5060 sip-tls 5061 mdns 5353 gnutella-svc 6346 \
     gnutella-rtr 6347 babel 6696 afs3-fileserver 7000 afs3-callback 7001 afs3-prserver 7002 afs3-vlserver 7003 \
     afs3-kaserver 7004 afs3-volser 7005 afs3-bos 7007 afs3-update 7008 afs3-rmtsys 7009 kerberos4 750 \
     kerberos-iv 750 kdc 750 kerberos-master 751 kerberos_master 751 passwd-server 752 passwd_server 752 \
     zephyr-srv 2102 zephyr-clt 2103 zephyr-hm 2104 moira-ureg 779 moira_ureg 779 predict 1210 rplay 5555 \
     sgi-cmsd 17001 sgi-crsd 17002 sgi-gcd 17003 asp 27374";

/// The port that getaddrinfo(3) finds for the name of a service, as far as /etc/services is what Debian has.
pub(super) fn service(name: &str) -> Option<u16> {
    let mut words = SERVICES.split_ascii_whitespace();
    while let (Some(service), Some(port)) = (words.next(), words.next()) {
        if service == name {
            return port.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_base() {
        for (text, expected) in [
            ("25", Some(25)),
            ("+25", Some(25)),
            ("0x58c", Some(1420)),
            ("0X1f", Some(31)),
            ("024", Some(20)),
            ("00", Some(0)),
            ("0", Some(0)),
            ("99999999999999999999", Some(u64::MAX)),
            ("-1", Some(u64::MAX)),
            ("08", None),
            ("0x", None),
            ("", None),
            ("+", None),
            ("1 2", None),
            ("1.5", None),
            ("\u{668}", None),
        ] {
            assert_eq!(number(text), expected, "{text:?}");
        }
    }

    #[test]
    fn services_of_udp() {
        let names = ["ntp", "https", "sink", "asp", "ssh", "NTP", "", "123", "ntp "];
        let found = names.map(service);
        assert_eq!(found, [Some(123), Some(443), Some(9), Some(27374), None, None, None, None, None]);
    }

    #[test]
    fn addresses_of_ip_and_of_getaddrinfo() {
        let net = |text: &str| ip_prefix(text).map(|n| n.to_string());
        for (text, expected) in [
            ("10.8/16", Some("10.8.0.0/16")),
            ("10.0.0.010/024", Some("10.0.0.8/20")),
            ("0x7f.0.0.1", Some("127.0.0.1/32")),
            ("+10.0.0.1/+8", Some("10.0.0.1/8")),
            ("10.0.0.1/255.255.255.0", Some("10.0.0.1/24")),
            ("10.0.0.1/0.0.0.255", None),
            ("fd00::1/0x40", Some("fd00::1/64")),
            ("1.2.3.08", None),
            ("256.1.1.1", None),
            ("10.0.0.1/33", None),
            ("fe80::1%eth0/64", None),
            ("1.2.3.4.5", None),
        ] {
            assert_eq!(net(text).as_deref(), expected, "{text:?}");
        }
        let aton = |text: &str| inet_aton(text).map(|a| a.to_string());
        for (text, expected) in [
            ("203.0.113", Some("203.0.0.113")),
            ("1", Some("0.0.0.1")),
            ("203.0.113.020", Some("203.0.113.16")),
            ("0x7f000001", Some("127.0.0.1")),
            ("1.65536", Some("1.1.0.0")),
            ("203.0.113.256", None),
            ("1.2.3.4.5", None),
            ("+1.2.3.4", None),
            ("1..2", None),
            ("", None),
        ] {
            assert_eq!(aton(text).as_deref(), expected, "{text:?}");
        }
    }
}
