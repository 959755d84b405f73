//! Numbers as the applications' languages read them: Go's and Java's take a sign, Go's `ParseUint` does not.

/// `strconv.Atoi` and `Integer.parseInt`: a sign and decimal digits.
pub(super) fn signed(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The same, of 32 bits.
pub(super) fn int(text: &str) -> Option<i32> {
    signed(text)?.try_into().ok()
}

/// Digits without a sign.
pub(super) fn unsigned(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Swift's `UInt16(_:)`: a plus is taken, and a minus of nothing.
pub(super) fn swift(text: &str, most: u64) -> Option<u64> {
    signed(text).and_then(|n| u64::try_from(n).ok()).filter(|n| *n <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_and_ends() {
        assert_eq!(
            (signed("+25"), signed("-1"), signed("0x10"), signed("+"), signed("")),
            (Some(25), Some(-1), None, None, None)
        );
        assert_eq!((int("2147483647"), int("2147483648")), (Some(i32::MAX), None));
        assert_eq!((unsigned("+1"), unsigned(""), unsigned("7")), (None, None, Some(7)));
        assert_eq!((swift("65536", 65535), swift("-0", 65535)), (None, Some(0)));
    }
}
