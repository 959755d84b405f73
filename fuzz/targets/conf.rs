#![no_main]

use wgrelay_fuzz::wgconf::{Client, Comments, lint, parse, render};

// What a wg-quick file may hold; one that is right is printed and read again, and is the same.
libfuzzer_sys::fuzz_target!(|text: &str| {
    lint(text, "wg0.conf", Client::WgQuick);
    if let Ok(document) = parse(text, "wg0.conf") {
        let again = parse(&render(&document, Comments::Keep), "wg0.conf");
        assert!(again.as_ref() == Ok(&document), "{document:?} became {again:?}");
    }
});
