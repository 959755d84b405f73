//! Texts from outside in messages: what could be a key, or a piece of one, is not shown.
//!
//! A key that lost its quotes, a character or its place is still a secret, so this looks for what keys are made of and not
//! for keys. A word that is hidden by mistake costs little: the place of the fault is told all the same.

/// Names have fewer letters and digits in a row; most of a key has more.
const MOST: usize = 20;

/// Stands for what is not shown.
pub const MASK: &str = "…";

/// Says whether a text holds what could be a key or a piece of one: of a text out of a file that holds keys.
pub fn could_be_key(text: &str) -> bool {
    let mut found = false;
    without_runs(text, |run, padded| {
        found |= could_be_piece(run, padded);
        found
    });
    found
}

/// Quotes a text for a message: cut short, and hidden where it could be a key.
pub fn shown(text: &str) -> String {
    const LONGEST: usize = 60;
    if could_be_key(text) {
        return "this (not shown: it could be a key)".into();
    }
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Returns a sentence without the words in it that could be keys or most of one: for what may be quoted otherwise, where a
/// key may have been pasted.
pub fn masked(sentence: &str) -> String {
    without_runs(sentence, |run, padded| run.len() >= MOST && could_be_piece(run, padded))
}

/// Returns a sentence without the words in it that could be pieces of keys: for what comes out of a file that holds some.
pub fn masked_to_pieces(sentence: &str) -> String {
    without_runs(sentence, could_be_piece)
}

/// `hidden` is asked with each run of the characters that keys are made of, and whether the padding of base64 is behind it.
fn without_runs(sentence: &str, mut hidden: impl FnMut(&str, bool) -> bool) -> String {
    let mut out = String::with_capacity(sentence.len());
    let mut rest = sentence;
    while let Some(start) = rest.find(is_of_key) {
        let run = &rest[start..];
        let run = &run[..run.find(|c| !is_of_key(c)).unwrap_or(run.len())];
        out.push_str(&rest[..start]);
        let behind = &rest[start + run.len()..];
        out.push_str(if hidden(run, behind.starts_with('=')) { MASK } else { run });
        rest = behind;
    }
    out.push_str(rest);
    out
}

fn is_of_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '+' || c == '/'
}

/// Says whether a run of such characters looks like nothing but a piece of a key: 32 bytes are 43 characters of base64, which
/// mix what words do not, or 64 of hex.
fn could_be_piece(run: &str, padded: bool) -> bool {
    let has = |kind: fn(&u8) -> bool| run.bytes().any(|b| kind(&b));
    let both_cases = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    let letters_only = run.bytes().all(|b| b.is_ascii_alphabetic());
    let is_hex = run.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    // A path has slashes and short names between them; sysctl's begin with net/.
    let is_of_words = || run.bytes().all(|b| b.is_ascii_alphabetic() || b == b'/');
    let is_path = (run.starts_with('/')
        || run.starts_with("net/")
        || !both_cases && run.contains('/') && is_of_words())
        && run.split('/').all(|name| name.len() < 20 && is_name(name));
    let least = match (both_cases, letters_only) {
        (true, false) => 8,
        (true, true) => 12,
        // Docker's names for its bridges have 12 digits of hex.
        (false, false) if is_hex => 13,
        (false, false) => 12,
        (false, true) => 24,
    };
    run.len() + usize::from(padded) >= least && !is_path && !is_word(run)
}

/// Says whether a part of a path is a word, a number behind it at the most: `home`, `Networks2027`, `wg0`.
fn is_name(name: &str) -> bool {
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let rest = letters.strip_prefix(|c: char| c.is_ascii_uppercase()).unwrap_or(letters);
    rest.bytes().all(|b| b.is_ascii_lowercase()) || rest.bytes().all(|b| b.is_ascii_uppercase())
}

/// The words that names of the field are made of, where those have a capital each and twelve letters or more together: keys
/// of WireGuard's files and its clients', programs, our own. Guessing by the look of a word showed pieces of keys that
/// happened to have one capital. In the order of letters, as `is_word` takes the longest first by going backwards.
const WORDS: [&str; 40] = [
    "Allowed",
    "Android",
    "Any",
    "Applications",
    "Auto",
    "Config",
    "Connection",
    "Disallowed",
    "Docker",
    "Down",
    "Dynamic",
    "Endpoint",
    "Excluded",
    "Fw",
    "Guard",
    "Handshake",
    "Host",
    "IPs",
    "Included",
    "Interface",
    "Keepalive",
    "Key",
    "Latest",
    "Link",
    "Listen",
    "Manager",
    "Mark",
    "Network",
    "Packet",
    "Persistent",
    "Port",
    "Post",
    "Pre",
    "Preshared",
    "Private",
    "Public",
    "Route",
    "Save",
    "Table",
    "Wire",
];

/// Says whether a run is such words: `PersistentKeepalive`.
fn is_word(run: &str) -> bool {
    let mut rest = run;
    while !rest.is_empty() {
        let Some(shorter) = WORDS.iter().rev().find_map(|word| rest.strip_prefix(word)) else { return false };
        rest = shorter;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=";

    #[test]
    fn keys_and_pieces_of_them_are_hidden() {
        for text in [KEY, &KEY[..20], &KEY[8..], &format!("a = {KEY}"), &"ab01".repeat(16)] {
            assert!(could_be_key(text), "{text}");
            assert!(could_be_key(&text[..13]), "{text}");
            let masked = masked(&format!("there is no key {text} in node.a"));
            assert!(masked.ends_with(" in node.a") && !masked.contains(&text[..8]), "{masked}");
        }
    }

    #[test]
    fn the_padding_of_base64_is_a_part_of_the_piece() {
        for text in ["FZSQPsLtyhQ=", "[\"FZSQPsLtyhQ=\"]", "AB3DE5GH7JKL"] {
            assert!(could_be_key(text), "{text}");
        }
        assert_eq!(masked_to_pieces("a PersistentKeepalive=25"), "a PersistentKeepalive=25");
    }

    #[test]
    fn a_piece_with_one_capital_is_no_word() {
        for text in ["vnovciGvknhmk", "Abcdefghijklm", "KeepalivePersistentx", "abcdKeepalive"] {
            assert!(could_be_key(text), "{text}");
        }
        assert!(!could_be_key("PersistentKeepalive") && !could_be_key("NetworkManager"));
    }

    /// Of 1,000 keys no piece of twelve characters or more is shown, but for letters of one case, which sentences are made of.
    #[test]
    fn no_piece_of_any_key_is_shown() {
        let mut seed = 7_u64;
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for _ in 0..1_000 {
            let next = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(alphabet[(seed >> 58) as usize])
            };
            let key: String = std::iter::repeat_with(next).take(43).collect();
            for (from, to) in (0..=31).flat_map(|from| (from + 12..=43).map(move |to| (from, to))) {
                let piece = &key[from..to];
                let of_one_case = piece.bytes().all(|b| b.is_ascii_lowercase() || b == b'/')
                    || piece.bytes().all(|b| b.is_ascii_uppercase() || b == b'/');
                assert!(of_one_case || could_be_key(piece), "{piece} of {key}");
            }
        }
    }

    #[test]
    fn a_key_that_begins_like_a_path_is_none() {
        for text in ["/TEwjEMfQmtZzO/7G3Ga1c88PU0pt2H8", "/kvNBmcEtJKu"] {
            assert!(could_be_key(text), "{text}");
        }
        assert_eq!(masked("no key 6Y{/TEwjEMfQmtZzO/7G3Ga1c88PU0pt2H8= here"), "no key 6Y{…= here");
    }

    #[test]
    fn names_are_shown_where_no_keys_are() {
        let text = "MacBook2019 and br-6a7541fe74a1";
        assert_eq!(masked(text), text);
        assert_eq!(masked_to_pieces(text), "… and br-6a7541fe74a1");
    }

    #[test]
    fn ordinary_words_are_shown() {
        for text in [
            "192.168.33.0/24",
            "2001:db8::1",
            "vpn.example.org:51820",
            "/etc/wgrelay/wg0/network.toml:3:5",
            "docker:webvirtcloud_default",
            "did you mean PersistentKeepalive?",
            "there is no network in /home/Somebody/Networks2027",
            "write ADDRESS/LENGTH, such as 192.168.33.0/24",
            "tcp/8000-8100",
            "2027-01-31T00:00:00Z",
        ] {
            assert_eq!(masked(text), text);
            assert_eq!(masked_to_pieces(text), text);
            assert!(!could_be_key(text), "{text}");
        }
    }
}
