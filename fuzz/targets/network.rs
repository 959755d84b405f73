#![no_main]

use wgrelay_fuzz::config::{parse_network, render_network};

// What network.toml may hold; a network that is one is printed and read again, and is the same.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(network) = parse_network(bytes, "network.toml").value {
        let again = parse_network(render_network(&network, None).as_bytes(), "network.toml");
        assert!(again.value.as_ref() == Some(&network), "{network:?} became {again:?}");
    }
});
