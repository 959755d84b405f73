//! The word that was probably meant.

/// Returns the word that was probably meant: the same but for case and hyphens, else the one with the fewest edits, at most
/// two and fewer than half its length.
pub fn nearest<'w>(typed: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let plain = |t: &str| t.to_ascii_lowercase().replace(['-', ' ', '_'], "");
    let typed = plain(typed);
    let limit = 2.min(typed.chars().count().saturating_sub(1) / 2);
    let near = words.into_iter().map(|w| (edits(&typed, &plain(w), limit), w));
    near.filter(|(d, _)| *d <= limit).min_by_key(|(d, _)| *d).map(|(_, w)| w)
}

/// Counts insertions, deletions, replacements and swaps of neighbours; what differs in length by more than `limit` is not looked at.
fn edits(a: &str, b: &str, limit: usize) -> usize {
    if a.chars().count().abs_diff(b.chars().count()) > limit { limit + 1 } else { strsim::osa_distance(a, b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_word() {
        let keys = ["address", "address6", "endpoint", "public_key", "nat", "mtu"];
        assert_eq!(nearest("adress", keys), Some("address"));
        assert_eq!(nearest("Endpoint", keys), Some("endpoint"));
        assert_eq!(nearest("PublicKey", keys), Some("public_key"));
        assert_eq!(nearest("public-key", keys), Some("public_key"));
        assert_eq!(nearest("mut", keys), Some("mtu"));
        assert_eq!(nearest(&"a".repeat(10_000_000), keys), None);
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("x", keys), None);
    }
}
