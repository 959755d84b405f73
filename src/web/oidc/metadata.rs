//! What a provider says of itself (OpenID Connect Discovery 1.0). It is believed where it says the issuer that was asked for, and as far
//! as it leads to places that may be called.

use serde::Deserialize;

use super::settings::{Settings, is_loopback};
use crate::web::notify::{Scheme, Url};

/// As it comes.
#[derive(Debug, Deserialize)]
struct Said {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    code_challenge_methods_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// As far as it is used.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    /// Where the browser is sent.
    pub authorization: Url,
    /// Where a code is exchanged.
    pub token: Url,
    /// Where the keys are.
    pub keys: Url,
    /// Where more is told of somebody.
    pub userinfo: Option<Url>,
    /// Where the browser signs out there.
    pub end_session: Option<Url>,
    /// Whether the secret goes in the form instead of the head.
    pub secret_in_form: bool,
    /// Whether every answer says whose it is (RFC 9207).
    pub says_issuer: bool,
}

/// Where a provider tells of itself.
pub(super) fn place(settings: &Settings) -> Result<Url, &'static str> {
    let issuer = settings.issuer.trim_end_matches('/');
    Url::read(&format!("{issuer}/.well-known/openid-configuration")).map_err(|_| "the issuer is no address")
}

impl Metadata {
    /// Reads it.
    ///
    /// # Errors
    /// It is another issuer's, has no PKCE, or leads where nobody is sent.
    pub(super) fn read(bytes: &[u8], settings: &Settings) -> Result<Self, &'static str> {
        let said: Said =
            serde_json::from_slice(bytes).map_err(|_| "what the provider says of itself is not complete")?;
        if said.issuer != settings.issuer {
            return Err("the provider says that it is another issuer");
        }
        if said.code_challenge_methods_supported.is_some_and(|ways| !ways.iter().any(|way| way == "S256")) {
            return Err("the provider has no PKCE with S256");
        }
        let has = |way: &str| {
            said.token_endpoint_auth_methods_supported
                .as_ref()
                .is_some_and(|ways| ways.iter().any(|own| own == way))
        };
        let place = |text: &String| at(text, settings);
        Ok(Self {
            authorization: place(&said.authorization_endpoint)?,
            token: place(&said.token_endpoint)?,
            keys: place(&said.jwks_uri)?,
            userinfo: said.userinfo_endpoint.as_ref().map(place).transpose()?,
            // Nothing depends on it.
            end_session: said.end_session_endpoint.as_ref().and_then(|text| place(text).ok()),
            secret_in_form: has("client_secret_post") && !has("client_secret_basic"),
            says_issuer: said.authorization_response_iss_parameter_supported,
        })
    }
}

/// Reads an address that a provider names: by TLS, or on this host where the provider is.
fn at(text: &str, settings: &Settings) -> Result<Url, &'static str> {
    let url = Url::read(text).map_err(|_| "the provider leads to what is no address")?;
    let may = match url.scheme {
        Scheme::Https => true,
        Scheme::Http => settings.url.scheme == Scheme::Http && is_loopback(&url.host),
        Scheme::Smtp | Scheme::Smtps => false,
    };
    if may { Ok(url) } else { Err("the provider leads to where nothing is protected") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::web::oidc::settings::Given;

    fn settings(issuer: &str) -> Settings {
        let roles = ["x=viewer".to_owned()];
        Settings::read(&Given { issuer, client: Some("c"), roles: &roles, ..Given::default() }).unwrap()
    }

    #[test]
    fn a_provider_is_believed_as_far_as_it_leads_to_safe_places_and_says_who_it_is() {
        let good = json!({
            "issuer": "https://id.example", "authorization_endpoint": "https://id.example/auth", "token_endpoint": "https://id.example/token",
            "jwks_uri": "https://keys.example/jwks", "code_challenge_methods_supported": ["plain", "S256"],
        });
        let read =
            |value: &Value| Metadata::read(value.to_string().as_bytes(), &settings("https://id.example"));
        let with = |name: &str, value: Value| {
            let mut said = good.clone();
            said[name] = value;
            said
        };
        assert!(!read(&good).unwrap().secret_in_form);
        let posts = with("token_endpoint_auth_methods_supported", json!(["client_secret_post"]));
        assert!(read(&posts).unwrap().secret_in_form);
        for (name, value) in [
            ("issuer", json!("https://id.example/")),
            ("issuer", json!("https://ID.example")),
            ("issuer", json!("https://attacker.example")),
            ("issuer", json!(null)),
            ("token_endpoint", json!("http://id.example/token")),
            ("token_endpoint", json!("http://127.0.0.1/token")),
            ("jwks_uri", json!("file:///etc/passwd")),
            ("jwks_uri", json!("https://anna@id.example/jwks")),
            ("authorization_endpoint", json!("javascript:alert(1)")),
            ("userinfo_endpoint", json!("http://169.254.169.254/latest")),
            ("code_challenge_methods_supported", json!(["plain"])),
        ] {
            assert!(read(&with(name, value.clone())).is_err(), "{name} {value}");
        }
        assert!(Metadata::read(b"[]", &settings("https://id.example")).is_err());
        // On this host, for trying out: and nowhere else in clear.
        let local = json!({
            "issuer": "http://127.0.0.1:3000", "authorization_endpoint": "http://127.0.0.1:3000/auth",
            "token_endpoint": "http://localhost:3000/token", "jwks_uri": "http://[::1]:3000/jwks",
        });
        assert!(Metadata::read(local.to_string().as_bytes(), &settings("http://127.0.0.1:3000")).is_ok());
        let mut leads = local;
        leads["token_endpoint"] = json!("http://10.0.0.1:3000/token");
        assert!(Metadata::read(leads.to_string().as_bytes(), &settings("http://127.0.0.1:3000")).is_err());
        assert_eq!(
            place(&settings("https://id.example/a/")).unwrap().path,
            "/a/.well-known/openid-configuration"
        );
    }
}
