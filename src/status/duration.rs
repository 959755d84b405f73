//! Times as a person reads them.

/// A time of at most two units: `3 min 20 s`.
pub fn duration(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (name, size) in units {
        let n = rest / size;
        rest %= size;
        if n > 0 || (name == "s" && parts.is_empty()) {
            parts.push(format!("{n} {name}"));
        }
        if parts.len() == 2 {
            break;
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(duration(0), "0 s");
        assert_eq!(duration(200), "3 min 20 s");
        assert_eq!(duration(90_061), "1 d 1 h");
    }
}
