//! Tells whether somebody changed our table's rules, although nft lists rules in other words than it took.
//!
//! After a load the listing is hashed and the hash is kept in a comment in the table itself; later the
//! listing is hashed again. Handles, set elements (compared one by one elsewhere) and the comment itself
//! do not count.

use serde_json::Value;

/// The chain that holds nothing but the comment.
pub const CHAIN: &str = "about";

/// Returns a hash of a listing's structure: 16 hexadecimal digits.
pub fn fingerprint(listing: &Value) -> String {
    let objects = listing.get("nftables").and_then(Value::as_array);
    let mut text = String::new();
    for object in objects.into_iter().flatten() {
        if object.get("metainfo").is_some() || is_about(object) {
            continue;
        }
        // serde_json sorts the keys of an object, so the text is the same for the same content.
        text.push_str(&stripped(object).to_string());
        text.push('\n');
    }
    format!("{:016x}", fnv1a(text.as_bytes()))
}

fn is_about(object: &Value) -> bool {
    object.get("chain").and_then(|c| c.get("name")).is_some_and(|n| n == CHAIN)
        || object.get("rule").and_then(|r| r.get("chain")).is_some_and(|n| n == CHAIN)
}

fn stripped(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(key, _)| !matches!(key.as_str(), "handle" | "elem"))
                .map(|(key, v)| (key.clone(), stripped(v)))
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.iter().map(stripped).collect()),
        other => other.clone(),
    }
}

/// FNV-1a, 64 bits: this tells a change from no change; nobody is kept out by it.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_count_and_handles_do_not() {
        let with = |handle: u32, port: u32| {
            json!({"nftables": [
                {"metainfo": {"version": "1"}},
                {"chain": {"name": "about", "handle": handle}},
                {"set": {"name": "s", "elem": [handle]}},
                {"rule": {"chain": "forward", "handle": handle, "expr": [{"match": {"right": port}}]}}]})
        };
        assert_eq!(fingerprint(&with(1, 22)), fingerprint(&with(9, 22)));
        assert_ne!(fingerprint(&with(1, 22)), fingerprint(&with(1, 23)));
    }
}
