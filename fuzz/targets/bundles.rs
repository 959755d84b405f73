#![no_main]

use wgrelay_fuzz::config::Bundle;

// What a bundle may hold; one that is right is printed and read again, and is the same network.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(bundle) = Bundle::parse(bytes, "x.bundle").value {
        let again = Bundle::parse(bundle.render().as_bytes(), "x.bundle");
        assert!(again.value.as_ref().is_some_and(|b| b.network == bundle.network), "{bundle:?} became {again:?}");
    }
});
