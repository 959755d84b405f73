//! Where metrics are served, as typed.

/// Reads where metrics are served. A name is not looked up: it could lead elsewhere tomorrow.
pub fn metrics_address(text: &str) -> Result<std::net::SocketAddr, String> {
    let numbers = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    numbers.as_deref().unwrap_or(text).parse().map_err(|_| {
        "it is an address of this host and a port, such as 127.0.0.1:9586, [::1]:9586 or localhost:9586"
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_metrics_are_served() {
        let read = |text| metrics_address(text).ok().map(|at| at.to_string());
        assert_eq!(read("localhost:9100").as_deref(), Some("127.0.0.1:9100"));
        assert_eq!(read("[::1]:9100").as_deref(), Some("[::1]:9100"));
        for none in ["9100", ":9100", "localhost", "example.org:9100", "127.0.0.1:99999"] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
