//! Whether the resolvers of /etc/resolv.conf answer: a container's may not, once its link is a bridge's port.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const FILE: &str = "/etc/resolv.conf";
const PORT: u16 = 53;
/// Longest wait for an answer; whoever asks a name waits five seconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// A question for the root's name servers, which every resolver answers, with a number before it.
const QUESTION: [u8; 15] = [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];

/// Returns the resolvers that answer nothing at all; a refusal is an answer.
pub fn silent() -> Vec<IpAddr> {
    let text = std::fs::read_to_string(FILE).unwrap_or_default();
    named(&text).into_iter().filter(|ip| !answers(*ip)).collect()
}

fn named(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then(|| words.next()?.parse().ok()).flatten()
    };
    text.lines().filter_map(server).collect()
}

fn answers(ip: IpAddr) -> bool {
    let any = if ip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let Ok(socket) = UdpSocket::bind(any) else { return true };
    let asked = socket.connect(SocketAddr::new(ip, PORT)).is_ok();
    let began = Instant::now();
    let mut number = 0u16;
    while asked && began.elapsed() < PATIENCE {
        number += 1;
        let mut question = number.to_be_bytes().to_vec();
        question.extend(QUESTION);
        let mut answer = [0; 512];
        let wait = socket.set_read_timeout(Some(PATIENCE / 4));
        let _unreachable_now_may_answer_later = socket.send(&question);
        match socket.recv(&mut answer) {
            Ok(size) if size >= 2 && answer[2] & 0x80 != 0 => return true,
            _ if wait.is_err() => return true,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                std::thread::sleep(PATIENCE / 8);
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read() {
        let text = "# nameserver 9.9.9.9\nsearch a.example\nnameserver 127.0.0.11\nnameserver ::1 # here\nnameserver x\n";
        assert_eq!(named(text), ["127.0.0.11".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
    }
}
