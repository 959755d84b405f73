//! Whose connection it is, where it comes from this host: the kernel's list of TCP sockets says which user opened each.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Returns the user of a connection's other end; `None`: it is another host's, or the kernel does not tell.
pub(super) fn user_of(peer: SocketAddr, own: SocketAddr) -> Option<u32> {
    if !peer.ip().to_canonical().is_loopback() {
        return None;
    }
    // Whoever speaks IPv4 to a socket of IPv6 is in the list of either.
    let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    let lists = [("/proc/self/net/tcp", canonical(peer), canonical(own)), ("/proc/self/net/tcp6", peer, own)];
    lists.into_iter().find_map(|(list, peer, own)| listed(&std::fs::read_to_string(list).ok()?, peer, own))
}

/// Finds the socket whose own end is the peer's, and whose other end is ours.
fn listed(list: &str, peer: SocketAddr, own: SocketAddr) -> Option<u32> {
    let (peer, own) = (written(peer), written(own));
    list.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let is_it = words.next()? == peer && words.next()? == own;
        // State, queues, timer, retransmissions.
        if is_it { words.nth(4)?.parse().ok() } else { None }
    })
}

/// An address as that list has it: words of 32 bits in this machine's order, and the port.
fn written(at: SocketAddr) -> String {
    let mut text = String::new();
    let bytes: Vec<u8> = match at.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    for word in bytes.chunks_exact(4) {
        let word = word.try_into().map_or(0, u32::from_ne_bytes);
        let _ = write!(text, "{word:08X}");
    }
    let _ = write!(text, ":{:04X}", at.port());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_of_this_host_is_its_users() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(at) else { continue };
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (_server, peer) = listener.accept().unwrap();
            let own = nix::unistd::geteuid().as_raw();
            assert_eq!(user_of(peer, client.peer_addr().unwrap()), Some(own), "{at}");
        }
        assert_eq!(user_of("192.0.2.1:5".parse().unwrap(), "192.0.2.2:5".parse().unwrap()), None);
        assert_eq!(user_of("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()), None);
    }

    #[test]
    fn the_kernels_list_is_read() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                    0: 0100007F:2120 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 1\n   \
                    1: 0100007F:C001 0100007F:2120 01 00000000:00000000 00:00000000 00000000  1000        0 2\n";
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        if cfg!(target_endian = "little") {
            assert_eq!(listed(list, at(0xC001), at(0x2120)), Some(1000));
            assert_eq!(listed(list, at(0xC002), at(0x2120)), None);
        }
    }
}
