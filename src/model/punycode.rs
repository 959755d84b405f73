//! A domain's name as DNS has it: labels with other letters than ASCII's in Punycode (RFC 3492), behind `xn--`.

/// Returns the name as DNS has it, in lower case; `None`: a label is empty, too long, or has what no host name has.
pub fn ascii_domain(name: &str) -> Option<String> {
    const LONGEST: usize = 63;
    let labels = name.trim_end_matches('.').split(['.', '\u{3002}']).map(|label| {
        let lower = label.to_lowercase();
        let encoded = if lower.is_ascii() { lower } else { format!("xn--{}", punycode(&lower)?) };
        let is_label = (1..=LONGEST).contains(&encoded.len())
            && encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !encoded.starts_with('-')
            && !encoded.ends_with('-');
        is_label.then_some(encoded)
    });
    let labels: Option<Vec<String>> = labels.collect();
    labels.map(|l| l.join("."))
}

/// RFC 3492, 6.3. `None`: the text is too long for it, or has what is no letter, digit or hyphen.
fn punycode(label: &str) -> Option<String> {
    const BASE: u32 = 36;
    const T_MIN: u32 = 1;
    const T_MAX: u32 = 26;
    if label.chars().any(|c| !(c.is_alphanumeric() || c == '-')) {
        return None;
    }
    let points: Vec<u32> = label.chars().map(u32::from).collect();
    let mut out: String = label.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(out.len()).ok()?;
    let mut handled = basic;
    if basic > 0 {
        out.push('-');
    }
    let (mut n, mut delta, mut bias) = (128u32, 0u32, 72u32);
    while handled < u32::try_from(points.len()).ok()? {
        let next = points.iter().copied().filter(|p| *p >= n).min()?;
        delta = delta.checked_add((next - n).checked_mul(handled + 1)?)?;
        n = next;
        for point in &points {
            if *point < n {
                delta = delta.checked_add(1)?;
            }
            if *point != n {
                continue;
            }
            let mut rest = delta;
            let mut k = BASE;
            loop {
                let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
                if rest < threshold {
                    break;
                }
                let span = BASE - threshold;
                out.push(digit(threshold + (rest - threshold) % span));
                rest = (rest - threshold) / span;
                k += BASE;
            }
            out.push(digit(rest));
            bias = adapted(delta, handled + 1, handled == basic);
            delta = 0;
            handled += 1;
        }
        delta = delta.checked_add(1)?;
        n += 1;
    }
    Some(out)
}

/// RFC 3492, 6.1.
const fn adapted(delta: u32, points: u32, is_first: bool) -> u32 {
    let mut delta = if is_first { delta / 700 } else { delta / 2 };
    delta += delta / points;
    let mut k = 0;
    while delta > 35 * 26 / 2 {
        delta /= 35;
        k += 36;
    }
    k + 36 * delta / (delta + 38)
}

fn digit(value: u32) -> char {
    char::from_digit(value.saturating_sub(26), 10)
        .filter(|_| value >= 26)
        .unwrap_or_else(|| char::from(b'a' + u8::try_from(value).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_dns_has_them() {
        for (name, ascii) in [
            ("m\u{fc}nchen.de", Some("xn--mnchen-3ya.de")),
            ("B\u{dc}CHER.example", Some("xn--bcher-kva.example")),
            ("stra\u{df}e.de", Some("xn--strae-oqa.de")),
            ("\u{43f}\u{440}\u{438}\u{43c}\u{435}\u{440}.\u{440}\u{444}", Some("xn--e1afmkfd.xn--p1ai")),
            // RFC 3492, 7.1 (B): Chinese, simplified.
            (
                "\u{4ed6}\u{4eec}\u{4e3a}\u{4ec0}\u{4e48}\u{4e0d}\u{8bf4}\u{4e2d}\u{6587}",
                Some("xn--ihqwcrb4cv8a8dqg056pqjye"),
            ),
            ("lan", Some("lan")),
            ("a..b", None),
            ("m\u{fc} nchen.de", None),
            ("\u{fc}_x.de", None),
            ("", None),
        ] {
            assert_eq!(ascii_domain(name).as_deref(), ascii, "{name}");
        }
        assert_eq!(ascii_domain(&"\u{fc}".repeat(100_000)), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_out_is_a_host_name(name in "\\PC{0,40}") {
            if let Some(ascii) = ascii_domain(&name) {
                proptest::prop_assert!(ascii.is_ascii());
                proptest::prop_assert!(ascii.split('.').all(|l| (1..=63).contains(&l.len())));
            }
        }
    }
}
