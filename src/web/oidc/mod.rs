//! Signing in by a provider of OpenID Connect: its code flow with PKCE. What is said and believed is here; nothing here speaks HTTP
//! (`server/provider` does), and nothing here knows users (`by_provider` does).

mod claims;
mod keys;
mod metadata;
mod pending;
mod settings;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use form_urlencoded::Serializer;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use claims::{Claims, Expected};
use keys::{Keys, Untrusted};
use metadata::Metadata;
use pending::{Pending, Waiting};
pub use settings::{ClientSecret, Given, Settings, is_loopback};

use super::clock::is_within;
use super::notify::Url;
use super::secret;

/// Seconds for which what a provider says of itself, and its keys, are not asked for again.
const KNOWN: u64 = 3600;
/// Where a key is not known they are asked for again, and so is a provider that did not answer: so many seconds after the last time.
const AGAIN: u64 = 20;
/// So many wait for the provider at once: whoever answers slowly keeps nobody waiting who looks at a page.
const AT_ONCE: usize = 3;

/// What is said to whoever is one too many.
const BUSY: &str = "too many sign in at once; once more in a moment";

/// A question to the provider.
#[derive(Clone)]
pub struct Question {
    /// Where.
    pub url: Url,
    /// What is in its head, as `authorization`; `None`: nothing.
    pub authorization: Option<Zeroizing<String>>,
    /// A form; `None`: nothing is sent, only asked.
    pub form: Option<Zeroizing<String>>,
}

/// What asks providers.
pub trait Fetch: Send + Sync {
    /// Asks, and returns the body of an answer of status 200, in bounded time and of bounded length. Nothing leads elsewhere.
    ///
    /// # Errors
    /// There is no such answer: why, in words of ours.
    fn fetch(&self, question: &Question) -> Result<Vec<u8>, String>;
}

/// A provider, and what is known of it.
pub struct Provider {
    /// What was said of it.
    pub settings: Settings,
    fetch: Box<dyn Fetch>,
    known: Mutex<Known>,
    waiting: Mutex<Waiting>,
    asking: AtomicUsize,
}

#[derive(Default)]
struct Known {
    metadata: Option<(u64, Arc<Metadata>)>,
    keys: Option<(u64, Arc<Keys>)>,
    failed: Option<(u64, String)>,
}

/// A sign-in that begins.
pub struct Begun {
    /// What the browser keeps meanwhile.
    pub cookie: Zeroizing<String>,
    /// Where it is sent.
    pub location: String,
}

/// What a sign-in begins with.
#[derive(Debug, Clone)]
pub struct Begin {
    /// Where the provider leads back to.
    pub redirect: String,
    /// Where he was going, a path of ours.
    pub next: String,
    /// Whether he has to prove anew who he is.
    pub again: bool,
    /// From where, as guesses are counted.
    pub from: String,
}

/// What a browser brings back.
#[derive(Debug, Clone, Copy)]
pub struct Brought<'a> {
    /// What it kept; `None`: it has nothing of ours.
    pub cookie: Option<&'a str>,
    /// What it was given along.
    pub state: &'a str,
    /// What is exchanged; `None`: he was not let in there.
    pub code: Option<&'a str>,
    /// Whose answer it is.
    pub issuer: Option<&'a str>,
}

/// Whoever signed in at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who, for ever.
    pub subject: String,
    /// How he is called there.
    pub name: Option<String>,
    /// His groups.
    pub groups: Vec<String>,
    /// When he proved it there, in Unix seconds; `None`: it is not said.
    pub proved: Option<u64>,
    /// Where he was going.
    pub next: String,
}

/// Why nobody signed in. It holds nothing that somebody else said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// The browser began no such sign-in, or it is over: somebody may have sent it here.
    NotBegun,
    /// The provider says no, or what it says is not believed.
    NotBelieved(&'static str),
    /// The provider is not there.
    NotThere(String),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotBegun => f.write_str("this browser began no such sign-in"),
            Self::NotBelieved(why) => f.write_str(why),
            Self::NotThere(why) => write!(f, "the provider: {why}"),
        }
    }
}

impl From<&'static str> for Failed {
    fn from(why: &'static str) -> Self {
        Self::NotBelieved(why)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn get(url: &Url) -> Question {
    Question { url: url.clone(), authorization: None, form: None }
}

impl Provider {
    /// Puts it together; nothing is asked yet.
    pub fn new(settings: Settings, fetch: Box<dyn Fetch>) -> Self {
        Self {
            settings,
            fetch,
            known: Mutex::default(),
            waiting: Mutex::default(),
            asking: AtomicUsize::new(0),
        }
    }

    /// Begins a sign-in.
    ///
    /// # Errors
    /// The provider is not there, or there is no randomness.
    pub fn begin(&self, begin: &Begin, now: u64) -> Result<Begun, Failed> {
        let metadata = self.metadata(now)?;
        let secret = || secret::make().map_err(|refused| Failed::NotThere(refused.message));
        let (cookie, state, nonce, verifier) = (secret()?, secret()?, secret()?, secret()?);
        let challenge = URL_SAFE_NO_PAD.encode(secret::hash(&verifier));
        let mut query = Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client)
            .append_pair("redirect_uri", &begin.redirect)
            .append_pair("scope", &self.settings.scopes.join(" "))
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        if begin.again {
            query.append_pair("prompt", "login").append_pair("max_age", "0");
        }
        let place = metadata.authorization.whole();
        let joined = if place.contains('?') { '&' } else { '?' };
        let location = format!("{place}{joined}{}", query.finish());
        let (redirect, next, again) = (begin.redirect.clone(), begin.next.clone(), begin.again);
        let pending = Pending { state, nonce, verifier, redirect, next, again, begun: now };
        locked(&self.waiting).put(&cookie, begin.from.clone(), pending);
        Ok(Begun { cookie, location })
    }

    /// Says who it is that comes back.
    ///
    /// # Errors
    /// Nobody is believed to be.
    pub fn finish(&self, brought: Brought<'_>, now: u64) -> Result<Person, Failed> {
        let pending =
            brought.cookie.and_then(|cookie| locked(&self.waiting).take(cookie, brought.state, now));
        let pending = pending.ok_or(Failed::NotBegun)?;
        let metadata = self.metadata(now)?;
        // Whose code it is is seen before it goes anywhere (RFC 9207).
        let is_ours = match brought.issuer {
            Some(issuer) => issuer == self.settings.issuer,
            None => !metadata.says_issuer,
        };
        if !is_ours {
            return Err("the answer is another issuer's".into());
        }
        let code = brought.code.ok_or("the provider did not let anybody in")?;
        let tokens = self.exchange(&metadata, code, &pending)?;
        let said = self.verified(&metadata, &tokens.id_token, now)?;
        let expected = Expected {
            issuer: &self.settings.issuer,
            client: &self.settings.client,
            nonce: &pending.nonce,
            proved_since: pending.again.then_some(pending.begun),
            now,
        };
        let Claims { subject, mut name, proved } = claims::read(&said, expected)?;
        let claim = &self.settings.groups_claim;
        let mut groups = claims::groups(&said, claim);
        // Many providers tell of groups and names there alone.
        if (groups.is_none() || name.is_none())
            && let (Some(place), Some(token)) = (&metadata.userinfo, &tokens.access_token)
        {
            let more = self.userinfo(place, token, &subject)?;
            groups = groups.or_else(|| claims::groups(&more, claim));
            let told = |name: &str| more.get(name).and_then(Value::as_str).map(str::to_owned);
            name = name.or_else(|| told("preferred_username")).or_else(|| told("email"));
        }
        Ok(Person { subject, name, groups: groups.unwrap_or_default(), proved, next: pending.next })
    }

    /// Returns where one signs out at the provider, where that is known.
    pub fn end_session(&self) -> Option<String> {
        let (_, metadata) = locked(&self.known).metadata.clone()?;
        let place = metadata.end_session.as_ref()?.whole();
        let client = Serializer::new(String::new()).append_pair("client_id", &self.settings.client).finish();
        Some(format!("{place}{}{client}", if place.contains('?') { '&' } else { '?' }))
    }

    /// Asks the provider, where not too many do.
    fn ask(&self, question: &Question) -> Result<Vec<u8>, Failed> {
        struct Asking<'a>(&'a AtomicUsize);
        impl Drop for Asking<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let before = self.asking.fetch_add(1, Ordering::SeqCst);
        let _asking = Asking(&self.asking);
        if before >= AT_ONCE {
            return Err(Failed::NotThere(BUSY.into()));
        }
        self.fetch.fetch(question).map_err(Failed::NotThere)
    }

    /// Returns what the provider says of itself, as far as it is believed.
    fn metadata(&self, now: u64) -> Result<Arc<Metadata>, Failed> {
        {
            let known = locked(&self.known);
            if let Some((_, metadata)) = known.metadata.as_ref().filter(|(at, _)| is_within(*at, KNOWN, now))
            {
                return Ok(Arc::clone(metadata));
            }
            // Whoever is not there is not asked by every stranger.
            if let Some((_, why)) = known.failed.as_ref().filter(|(at, _)| is_within(*at, AGAIN, now)) {
                return Err(Failed::NotThere(why.clone()));
            }
        }
        let asked = metadata::place(&self.settings)
            .map_err(Failed::from)
            .and_then(|place| self.ask(&get(&place)))
            .and_then(|bytes| Ok(Metadata::read(&bytes, &self.settings)?));
        let mut known = locked(&self.known);
        match asked {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                (known.metadata, known.failed) = (Some((now, Arc::clone(&metadata))), None);
                Ok(metadata)
            }
            Err(failed) => {
                // Where it was not asked, that is not known of it.
                if failed != Failed::NotThere(BUSY.into()) {
                    known.failed = Some((now, failed.to_string()));
                }
                Err(failed)
            }
        }
    }

    /// Returns the provider's keys. `newer`: those that are known will not do.
    fn keys(&self, metadata: &Metadata, newer: bool, now: u64) -> Result<Arc<Keys>, Failed> {
        let known = locked(&self.known).keys.clone();
        let seconds = if newer { AGAIN } else { KNOWN };
        if let Some((_, keys)) = known.filter(|(at, _)| is_within(*at, seconds, now)) {
            return Ok(keys);
        }
        let keys = Arc::new(Keys::read(&self.ask(&get(&metadata.keys))?)?);
        locked(&self.known).keys = Some((now, Arc::clone(&keys)));
        Ok(keys)
    }

    /// Returns what a token says that the provider signed, by new keys where it has some.
    fn verified(&self, metadata: &Metadata, token: &str, now: u64) -> Result<Value, Failed> {
        match self.keys(metadata, false, now)?.verified(token) {
            Err(Untrusted::UnknownKey) => {}
            Err(Untrusted::Never(why)) => return Err(why.into()),
            Ok(said) => return Ok(said),
        }
        match self.keys(metadata, true, now)?.verified(token) {
            Err(Untrusted::UnknownKey) => Err("the ID token is signed by no key of the provider".into()),
            Err(Untrusted::Never(why)) => Err(why.into()),
            Ok(said) => Ok(said),
        }
    }

    /// Exchanges a code for tokens; only whoever began the sign-in can.
    fn exchange(&self, metadata: &Metadata, code: &str, pending: &Pending) -> Result<Tokens, Failed> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &pending.redirect)
            .append_pair("code_verifier", &pending.verifier);
        let client = &self.settings.client;
        let mut authorization = None;
        match &self.settings.secret {
            None => drop(form.append_pair("client_id", client)),
            Some(secret) if metadata.secret_in_form => {
                form.append_pair("client_id", client).append_pair("client_secret", &secret.0);
            }
            Some(secret) => {
                // Each is written as in a form first (RFC 6749, 2.3.1).
                let written =
                    |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let both = Zeroizing::new(format!("{}:{}", written(client), written(&secret.0)));
                authorization = Some(Zeroizing::new(format!("Basic {}", STANDARD.encode(both.as_bytes()))));
            }
        }
        let form = Some(Zeroizing::new(form.finish()));
        let answer = self.ask(&Question { url: metadata.token.clone(), authorization, form })?;
        let answer = Zeroizing::new(answer);
        Ok(serde_json::from_slice(&answer).map_err(|_| "the provider gives no ID token")?)
    }

    /// Asks for more of somebody, who has to be the same.
    fn userinfo(&self, place: &Url, token: &str, subject: &str) -> Result<Value, Failed> {
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("the provider's access token is none".into());
        }
        let authorization = Some(Zeroizing::new(format!("Bearer {token}")));
        let answer = self.ask(&Question { url: place.clone(), authorization, form: None })?;
        let more: Value =
            serde_json::from_slice(&answer).map_err(|_| "what the provider tells of somebody is no JSON")?;
        if more.get("sub").and_then(Value::as_str) != Some(subject) {
            return Err("the provider tells of somebody else".into());
        }
        Ok(more)
    }
}

/// What a code is exchanged for.
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Good;

    impl Fetch for Good {
        fn fetch(&self, _: &Question) -> Result<Vec<u8>, String> {
            let place = |path: &str| format!("https://id.example/{path}");
            let said = serde_json::json!({"issuer": "https://id.example", "authorization_endpoint": place("auth"),
                "token_endpoint": place("token"), "jwks_uri": place("jwks")});
            Ok(said.to_string().into_bytes())
        }
    }

    #[test]
    fn that_too_many_ask_at_once_is_over_when_they_do_not() {
        let roles = ["x=viewer".to_owned()];
        let given =
            Given { issuer: "https://id.example", client: Some("c"), roles: &roles, ..Given::default() };
        let provider = Provider::new(Settings::read(&given).unwrap(), Box::new(Good));
        let begin = Begin { redirect: String::new(), next: "/".into(), again: false, from: "::1".into() };
        provider.asking.store(AT_ONCE, Ordering::SeqCst);
        assert_eq!(provider.begin(&begin, 1000).err(), Some(Failed::NotThere(BUSY.into())));
        provider.asking.store(0, Ordering::SeqCst);
        assert!(provider.begin(&begin, 1000).is_ok(), "nobody waits for others who are gone");
    }
}
