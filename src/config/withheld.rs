//! What is said of a fault in a file that holds keys: nothing that stands in it, because any of it may be a key that lost
//! its quotes or its place. The place of the fault says the rest.

/// Returns a sentence and a hint for a code, without a word of the file.
pub(super) fn without_text(code: &str) -> (String, String) {
    let (message, hint) = match code {
        "syntax" => (
            "not TOML",
            "a line is NAME = \"KEY\", [table] or # comment; a text has a double quote at both ends",
        ),
        "empty-file" => ("the file is empty", "put back the one that was there"),
        "duplicate-name" => ("what begins here is there twice", "one of the two must go"),
        "unknown-format" => ("this format is not known", "write format = 1, or update this program"),
        "unknown-key" => (
            "there is no such key",
            "a line of keys is NAME = \"KEY\", below [private_keys] or [preshared_keys.RELAY]",
        ),
        "missing-key" => ("a key is missing here", ""),
        "wrong-type" => (
            "this is not the kind of value that stands here",
            "a key is a text, with a double quote at both ends",
        ),
        "bad-key" => ("this is not a valid key", "`wgrelay genkey` makes one"),
        "bad-name" => ("this is not a valid name", "a line of keys is NAME = \"KEY\""),
        "key-mismatch" => {
            ("the private key does not belong to the node's public key", "export the bundle again")
        }
        "missing-preshared-key" => ("the preshared key with the relay is missing", "export the bundle again"),
        "unknown-node" => ("this names a node that is not there", "export the bundle again"),
        _ => ("what stands here is not valid", ""),
    };
    let not_shown = "it is not shown, because this file holds keys";
    let hint = if hint.is_empty() { not_shown.into() } else { format!("{hint}; {not_shown}") };
    (message.into(), hint)
}
