//! Who somebody is, by an ID token that the provider signed (OpenID Connect Core 1.0, 3.1.3.7): for this page, for this sign-in, now.

use serde_json::Value;

/// So far may the clocks be apart, in seconds.
const APART: u64 = 60;
/// So many groups count, each so long.
const GROUPS: usize = 500;
const GROUP: usize = 256;

/// What it has to say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    /// The issuer.
    pub issuer: &'a str,
    /// What this page is called there.
    pub client: &'a str,
    /// What was made for this sign-in.
    pub nonce: &'a str,
    /// Since when the password has to have been typed there; `None`: whenever.
    pub proved_since: Option<u64>,
    /// Now, in Unix seconds.
    pub now: u64,
}

/// Whoever signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims {
    /// Who, for ever: a name may be somebody else's tomorrow.
    pub subject: String,
    /// How he is called there; `None`: it is not said.
    pub name: Option<String>,
    /// When he proved it there, in Unix seconds; `None`: it is not said.
    pub proved: Option<u64>,
}

/// Reads what a token says that is signed.
///
/// # Errors
/// It is not for this, in words of ours.
pub(super) fn read(claims: &Value, expected: Expected<'_>) -> Result<Claims, &'static str> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    // Seconds may have a fraction.
    let seconds = |name: &str| {
        let value = claims.get(name)?;
        value.as_u64().or_else(|| value.as_f64().filter(|at| (0.0..1e12).contains(at)).map(|at| at as u64))
    };
    if text("iss") != Some(expected.issuer) {
        return Err("the ID token is another issuer's");
    }
    let client = Some(expected.client);
    let is_ours = match claims.get("aud") {
        Some(Value::String(aud)) => Some(aud.as_str()) == client,
        Some(Value::Array(all)) => {
            all.iter().any(|aud| aud.as_str() == client) && (all.len() == 1 || text("azp") == client)
        }
        _ => false,
    };
    if !is_ours || claims.get("azp").is_some_and(|azp| azp.as_str() != client) {
        return Err("the ID token is for somebody else's page");
    }
    if seconds("exp").is_none_or(|exp| exp.saturating_add(APART) <= expected.now) {
        return Err("the ID token has expired");
    }
    let is_ahead = |name: &str| seconds(name).is_some_and(|at| at > expected.now.saturating_add(APART));
    if seconds("iat").is_none() || is_ahead("iat") || is_ahead("nbf") {
        return Err("the ID token is not good yet: are the clocks right?");
    }
    if text("nonce").is_none_or(|nonce| !crate::web::secret::same(nonce, expected.nonce)) {
        return Err("the ID token is of another sign-in");
    }
    let subject =
        text("sub").filter(|sub| (1..=255).contains(&sub.len()) && !sub.chars().any(char::is_control));
    let proved = seconds("auth_time").map(|at| at.min(expected.now));
    if expected.proved_since.is_some_and(|since| proved.is_none_or(|at| at.saturating_add(APART) < since)) {
        return Err("the provider did not ask for the password again");
    }
    let name = ["preferred_username", "email", "name"].into_iter().find_map(text);
    Ok(Claims {
        subject: subject.ok_or("the ID token does not say who it is")?.to_owned(),
        name: name.map(str::to_owned),
        proved,
    })
}

/// Returns the groups that claims have; `None`: they do not say. A claim within others is written with dots: `realm_access.roles`.
pub(super) fn groups(claims: &Value, claim: &str) -> Option<Vec<String>> {
    let within = || claim.split('.').try_fold(claims, |value, part| value.get(part));
    match claims.get(claim).or_else(within)? {
        // One group, and not several in one text.
        Value::String(group) => Some(vec![group.clone()]),
        Value::Array(all) => {
            let short = all.iter().filter_map(Value::as_str).filter(|group| group.len() <= GROUP);
            Some(short.take(GROUPS).map(str::to_owned).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const EXPECTED: Expected<'static> = Expected {
        issuer: "https://id.example",
        client: "wgrelay",
        nonce: "n",
        proved_since: None,
        now: NOW,
    };

    fn good() -> Value {
        json!({"iss": "https://id.example", "aud": "wgrelay", "exp": NOW + 300, "iat": NOW, "nonce": "n", "sub": "1",
            "preferred_username": "anna", "email": "anna@example.com"})
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = good();
        claims[name] = value;
        claims
    }

    #[test]
    fn a_token_is_for_this_page_this_sign_in_and_now() {
        let told = |claims: &Value| read(claims, EXPECTED);
        assert_eq!(told(&good()).unwrap().name.as_deref(), Some("anna"));
        for (name, value) in [
            ("aud", json!(["wgrelay"])),
            ("exp", json!(NOW as f64 + 0.5)),
            ("exp", json!(NOW - APART + 1)),
            ("iat", json!(NOW + APART)),
            ("azp", json!("wgrelay")),
        ] {
            assert!(told(&with(name, value.clone())).is_ok(), "{name} {value}");
        }
        let mut several = with("aud", json!(["other", "wgrelay"]));
        assert!(told(&several).is_err(), "for whom of them?");
        several["azp"] = json!("wgrelay");
        assert!(told(&several).is_ok());
        for (name, value) in [
            ("iss", json!("https://id.example/")),
            ("iss", json!("https://attacker.example")),
            ("iss", json!(["https://id.example"])),
            ("aud", json!("wgrelay2")),
            ("aud", json!("")),
            ("aud", json!([])),
            ("aud", json!(["other"])),
            ("azp", json!("other")),
            ("azp", json!(1)),
            ("exp", json!(NOW - APART)),
            ("exp", json!(NOW - 86_400)),
            ("exp", json!("never")),
            ("exp", json!(-1)),
            ("exp", json!(1e300)),
            ("iat", json!(NOW + APART + 1)),
            ("nbf", json!(NOW + 600)),
            ("nonce", json!("m")),
            ("nonce", json!("")),
            ("nonce", json!(["n"])),
            ("sub", json!("")),
            ("sub", json!(1)),
            ("sub", json!("a\nb")),
            ("sub", json!("x".repeat(256))),
        ] {
            assert!(told(&with(name, value.clone())).is_err(), "{name} {value}");
        }
        for name in ["iss", "aud", "exp", "iat", "nonce", "sub"] {
            let mut claims = good();
            claims.as_object_mut().unwrap().remove(name);
            assert!(told(&claims).is_err(), "without {name}");
        }
        assert!(told(&json!([])).is_err() && told(&json!("x")).is_err());
    }

    #[test]
    fn who_proves_it_again_proved_it_since() {
        let again = Expected { proved_since: Some(NOW), ..EXPECTED };
        assert!(read(&good(), again).is_err(), "when is not said");
        assert!(read(&with("auth_time", json!(NOW - 3600)), again).is_err());
        assert_eq!(read(&with("auth_time", json!(NOW + 5)), again).unwrap().proved, Some(NOW));
    }

    #[test]
    fn groups_are_read_as_they_are() {
        let claims = json!({"groups": ["a", "b,c", 7, null, "x".repeat(300)], "one": "ops", "realm_access": {"roles": ["r"]}, "a.b": ["dot"],
            "n": 5, "o": {}});
        let of = |claim: &str| groups(&claims, claim);
        assert_eq!(of("groups").unwrap(), ["a", "b,c"]);
        assert_eq!(
            (of("one").unwrap(), of("realm_access.roles").unwrap(), of("a.b").unwrap()),
            (vec!["ops".to_owned()], vec!["r".into()], vec!["dot".into()])
        );
        for none in ["", "none", "n", "o", "realm_access", "realm_access.roles.0", "."] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(
            groups(&json!({"groups": (0..1000).map(|n| n.to_string()).collect::<Vec<_>>()}), "groups")
                .unwrap()
                .len(),
            GROUPS
        );
    }
}
