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

/// Counts insertions, deletions, replacements and swaps of neighbours; more than `limit` comes out as `limit + 1`.
fn edits(a: &str, b: &str, limit: usize) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()].min(limit + 1)
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
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("x", keys), None);
    }
}
