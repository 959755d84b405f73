//! Signing in by a provider: a good one, and providers, strangers and browsers that are not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use wgrelay::web::oidc::{ClientSecret, Fetch, Given, Provider, Question, Settings};
use wgrelay::web::view::Role;
use wgrelay::web::{Asked, Outgoing};

use crate::rig::{HOST, NOW, Rig, Who, body, header};

const ISSUER: &str = "https://id.example";
const PEER: [u8; 4] = [10, 0, 0, 9];

/// What a provider does.
struct Behaviour {
    key: EcdsaKeyPair,
    /// Over what its ID tokens say.
    claims: Value,
    /// Over what it says of itself.
    metadata: Value,
    /// What userinfo says; null: there is none.
    userinfo: Value,
    /// What makes a token of head and claims; `None`: its key.
    forge: Option<fn(&Value, &[u8]) -> String>,
    kid: &'static str,
    /// By code: nonce and challenge of the sign-in that it is of.
    codes: BTreeMap<String, (String, String)>,
    asked: Vec<String>,
    is_down: bool,
}

#[derive(Clone)]
struct Fake(Arc<Mutex<Behaviour>>);

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn key() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap()
}

fn merged(mut base: Value, over: &Value) -> Value {
    for (name, value) in over.as_object().into_iter().flatten() {
        if value.is_null() {
            base.as_object_mut().unwrap().remove(name);
        } else {
            base[name] = value.clone();
        }
    }
    base
}

impl Fetch for Fake {
    fn fetch(&self, question: &Question) -> Result<Vec<u8>, String> {
        let mut this = self.0.lock().unwrap();
        let path = question.url.path.clone();
        this.asked.push(path.clone());
        if this.is_down {
            return Err("no answer".into());
        }
        let told = match path.as_str() {
            "/.well-known/openid-configuration" => merged(
                json!({"issuer": ISSUER, "authorization_endpoint": format!("{ISSUER}/auth?tenant=a"), "token_endpoint": format!("{ISSUER}/token"),
                    "jwks_uri": format!("{ISSUER}/jwks"), "userinfo_endpoint": format!("{ISSUER}/me"), "end_session_endpoint": format!("{ISSUER}/end"),
                    "code_challenge_methods_supported": ["S256"], "authorization_response_iss_parameter_supported": true}),
                &this.metadata,
            ),
            "/jwks" => {
                let point = this.key.public_key().as_ref();
                let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
                json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": this.kid, "use": "sig", "x": x, "y": y}]})
            }
            "/token" => {
                let form: BTreeMap<String, String> =
                    form_urlencoded::parse(question.form.as_ref().unwrap().as_bytes()).into_owned().collect();
                assert_eq!(form["grant_type"], "authorization_code");
                assert_eq!(form["redirect_uri"], format!("http://{HOST}/oidc/callback"));
                let said =
                    question.authorization.as_ref().unwrap().strip_prefix("Basic ").unwrap().to_owned();
                assert_eq!(
                    STANDARD.decode(said).unwrap(),
                    b"wg+relay:a%3Ab%26c",
                    "each written as in a form"
                );
                let Some((nonce, challenge)) = this.codes.remove(&form["code"]) else {
                    return Err("it answers 400".into());
                };
                if URL_SAFE_NO_PAD.encode(digest(&SHA256, form["code_verifier"].as_bytes())) != challenge {
                    return Err("it answers 400".into());
                }
                let claims = merged(
                    json!({"iss": ISSUER, "aud": "wg relay", "exp": NOW + 300, "iat": NOW, "nonce": nonce, "sub": "1",
                        "preferred_username": "anna", "groups": ["ops"]}),
                    &this.claims,
                );
                let token = match this.forge {
                    Some(forge) => forge(&claims, this.key.public_key().as_ref()),
                    None => {
                        let head = encode(&json!({"alg": "ES256", "kid": this.kid}));
                        let message = format!("{head}.{}", encode(&claims));
                        let signed = this.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
                        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signed))
                    }
                };
                json!({"id_token": token, "access_token": "at", "token_type": "Bearer"})
            }
            "/me" => {
                assert_eq!(question.authorization.as_ref().unwrap().as_str(), "Bearer at");
                this.userinfo.clone()
            }
            _ => return Err("it answers 404".into()),
        };
        Ok(told.to_string().into_bytes())
    }
}

struct Signing {
    rig: Rig,
    fake: Fake,
}

/// A sign-in that was begun: what the browser keeps, and what the provider was asked.
struct Begun {
    cookie: String,
    query: BTreeMap<String, String>,
}

impl Signing {
    fn with(roles: &[&str], default_role: Option<&str>) -> Self {
        let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
        let given = Given {
            issuer: ISSUER,
            client: Some("wg relay"),
            roles: &roles,
            default_role,
            ..Given::default()
        };
        let mut settings = Settings::read(&given).unwrap();
        settings.secret = Some(ClientSecret("a:b&c".to_owned().into()));
        let behaviour = Behaviour {
            key: key(),
            claims: json!({}),
            metadata: json!({}),
            userinfo: Value::Null,
            forge: None,
            kid: "1",
            codes: BTreeMap::new(),
            asked: Vec::new(),
            is_down: false,
        };
        let fake = Fake(Arc::new(Mutex::new(behaviour)));
        let mut rig = Rig::new();
        rig.web.oidc = Some(Provider::new(settings, Box::new(fake.clone())));
        Self { rig, fake }
    }

    fn new() -> Self {
        Self::with(&["ops=operator", "wg-admins=admin"], None)
    }

    fn does(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.fake.0.lock().unwrap());
    }

    fn get(&self, url: &str, cookie: Option<&str>, now: u64) -> Outgoing {
        self.get_from(PEER, url, cookie, now)
    }

    fn get_from(&self, peer: [u8; 4], url: &str, cookie: Option<&str>, now: u64) -> Outgoing {
        let mut asked: Asked = self.rig.request(&Who::default(), "GET", url, b"");
        asked.headers.extend(cookie.map(|cookie| ("cookie".to_owned(), cookie.to_owned())));
        // As a browser says that comes from the provider.
        asked.headers.push(("sec-fetch-site".into(), "cross-site".into()));
        self.rig.send_from(&asked, peer.into(), now)
    }

    fn begin_at(&self, url: &str, now: u64) -> Begun {
        let answer = self.get(url, None, now);
        assert_eq!(answer.status, 303, "{}", body(&answer));
        let location = header(&answer, "location").unwrap();
        let query = location.strip_prefix("https://id.example/auth?tenant=a&").unwrap();
        let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let cookie = header(&answer, "set-cookie").unwrap();
        assert!(
            cookie.contains("SameSite=Lax") && cookie.contains("HttpOnly") && cookie.contains("Max-Age=600"),
            "{cookie}"
        );
        Begun { cookie: cookie.split(';').next().unwrap().to_owned(), query }
    }

    fn begin(&self) -> Begun {
        self.begin_at("/oidc/login?next=/nodes", NOW)
    }

    /// Has the provider let somebody in, and returns where the browser is led.
    fn let_in(&self, begun: &Begun, code: &str) -> String {
        let of = (begun.query["nonce"].clone(), begun.query["code_challenge"].clone());
        self.does(|provider| drop(provider.codes.insert(code.to_owned(), of)));
        format!(
            "/oidc/callback?code={code}&state={}&iss=https%3A%2F%2Fid.example&session_state=x",
            begun.query["state"]
        )
    }

    fn sign_in(&self) -> Outgoing {
        let begun = self.begin();
        self.get(&self.let_in(&begun, "c"), Some(&begun.cookie), NOW)
    }

    /// Returns the session's cookie that an answer sets.
    fn session(answer: &Outgoing) -> Option<String> {
        let set = answer.headers.iter().filter(|(name, _)| *name == "set-cookie");
        let own = set.map(|(_, value)| value.as_str()).find(|value| value.starts_with("wgrelay="))?;
        assert!(own.contains("SameSite=Strict") && own.contains("HttpOnly"), "{own}");
        Some(own.split(';').next().unwrap().split_once('=').unwrap().1.to_owned())
            .filter(|cookie| !cookie.is_empty())
    }

    fn signed_in(&self) -> (Outgoing, Who) {
        let answer = self.sign_in();
        let cookie = Self::session(&answer).unwrap_or_else(|| panic!("{} {}", answer.status, body(&answer)));
        let csrf = self.rig.web.database.session(&cookie, NOW).unwrap().unwrap().1.csrf;
        (answer, Who { cookie: Some(cookie), csrf, token: None })
    }

    fn refused(&self, answer: &Outgoing, why: &str) {
        assert!(matches!(answer.status, 400 | 401 | 403 | 429 | 503), "{why}: {}", answer.status);
        assert_eq!(Self::session(answer), None, "{why}");
    }

    fn audit(&self) -> String {
        serde_json::to_string(&self.rig.web.database.audit(100).unwrap()).unwrap()
    }
}

#[test]
fn whoever_the_provider_lets_in_may_what_his_groups_may() {
    let signing = Signing::new();
    let begun = signing.begin();
    let query = &begun.query;
    assert_eq!((query["response_type"].as_str(), query["code_challenge_method"].as_str()), ("code", "S256"));
    assert_eq!((query["client_id"].as_str(), query["scope"].as_str()), ("wg relay", "openid profile"));
    assert_eq!(query["redirect_uri"], format!("http://{HOST}/oidc/callback"));
    assert!(query["state"].len() >= 43 && query["nonce"].len() >= 43 && query["code_challenge"].len() == 43);
    let (answer, who) = signing.signed_in();
    // The browser is led on by a page of ours.
    assert!(answer.status == 200 && body(&answer).contains("content=\"0;url=/nodes\""), "{}", body(&answer));
    assert_eq!(signing.rig.get(&who, "/api/v1/nodes").status, 200);
    assert_eq!(signing.rig.get(&who, "/people").status, 403);
    let user = signing.rig.web.database.user("anna").unwrap().unwrap();
    assert_eq!((user.role, user.by_provider, user.password.as_deref()), (Role::Operator, true, None));
    assert!(signing.audit().contains("by the provider, as operator"), "{}", signing.audit());
    // Nobody gets in by a password that he does not have.
    for password in ["", "x", "correct horse battery staple"] {
        let form = format!("user=anna&password={password}");
        assert_eq!(signing.rig.post(&Who::default(), "/login", &form).status, 401);
    }
    // His groups say what he may the next time; and whoever is in none is out, at once and everywhere.
    signing.does(|provider| provider.claims = json!({"groups": ["x", "wg-admins"]}));
    let (_, admin) = signing.signed_in();
    assert_eq!(
        (signing.rig.get(&admin, "/people").status, signing.rig.get(&who, "/people").status),
        (200, 200)
    );
    assert!(body(&signing.rig.get(&admin, "/people")).contains("by the provider"));
    signing.does(|provider| provider.claims = json!({"groups": []}));
    let out = signing.sign_in();
    assert_eq!((out.status, Signing::session(&out)), (403, None));
    assert!(body(&out).contains("may nothing here"));
    assert_eq!(signing.rig.get(&admin, "/api/v1/nodes").status, 401);
    assert!(signing.audit().contains("in no group that may"));
}

#[test]
fn nobody_is_admin_by_accident_nor_somebody_who_is_here() {
    let signing = Signing::with(&["wg-admins=admin"], Some("viewer"));
    signing.rig.signed_in("anna", Role::Admin);
    for groups in [
        json!(null),
        json!([]),
        json!("wg-admins,x"),
        json!(["WG-ADMINS"]),
        json!(["admin"]),
        json!({"wg-admins": true}),
    ] {
        signing.does(|provider| {
            provider.claims =
                json!({"groups": groups, "role": "admin", "roles": ["admin"], "email": "anna@example.com"});
            provider.userinfo = json!({"sub": "1"});
        });
        let (_, who) = signing.signed_in();
        assert_eq!(signing.rig.get(&who, "/people").status, 403, "{groups}");
        assert_eq!(signing.rig.get(&who, "/api/v1/nodes").status, 200);
    }
    let names: Vec<String> =
        signing.rig.web.database.users().unwrap().into_iter().map(|user| user.name).collect();
    assert_eq!(names, ["anna", "anna-2"], "linked by issuer and subject, never by name or address");
    // Another one with the same name there is another one here.
    signing.does(|provider| provider.claims = json!({"sub": "2"}));
    signing.does(|provider| provider.userinfo = json!({"sub": "2"}));
    signing.signed_in();
    assert!(signing.rig.web.database.user("anna-3").unwrap().is_some());
}

#[test]
fn what_a_hostile_provider_signs_or_does_not_lets_nobody_in() {
    fn bare(claims: &Value, _: &[u8]) -> String {
        format!("{}.{}.", encode(&json!({"alg": "none"})), encode(claims))
    }
    fn shared(claims: &Value, public: &[u8]) -> String {
        let message = format!("{}.{}", encode(&json!({"alg": "HS256", "kid": "1"})), encode(claims));
        let signed =
            ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, public), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signed))
    }
    fn by_another(claims: &Value, _: &[u8]) -> String {
        let message = format!("{}.{}", encode(&json!({"alg": "ES256", "kid": "1"})), encode(claims));
        let signed = key().sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signed))
    }
    let signing = Signing::new();
    type Forge = fn(&Value, &[u8]) -> String;
    let forged: [(&str, Forge); 4] = [
        ("alg none", bare),
        ("HS256 with the public key", shared),
        ("another key", by_another),
        ("no token", |_, _| "x.y".into()),
    ];
    let mut now = NOW;
    let mut tried = |why: &str| {
        // Each from an address and at a time of its own: who fails often is told to wait.
        now += 1000;
        let begun = signing.begin_at("/oidc/login", now);
        let url = signing.let_in(&begun, "c");
        signing.refused(&signing.get(&url, Some(&begun.cookie), now), why);
    };
    for (why, forge) in forged {
        signing.does(|provider| provider.forge = Some(forge));
        tried(why);
    }
    signing.does(|provider| provider.forge = None);
    let far = NOW + 1_000_000;
    for (why, claims) in [
        ("another issuer", json!({"iss": "https://attacker.example"})),
        ("for another page", json!({"aud": "other"})),
        ("for several, and not us", json!({"aud": ["wg relay", "other"], "azp": "other"})),
        ("expired", json!({"exp": NOW - 3600})),
        ("without an end", json!({"exp": null, "iat": NOW})),
        ("of the future", json!({"iat": far, "exp": far + 300})),
        ("another nonce", json!({"nonce": "replayed"})),
        ("without a nonce", json!({"nonce": null})),
        ("nobody", json!({"sub": null})),
    ] {
        let mut said = json!({"exp": far + 300});
        said.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        signing.does(|provider| provider.claims = said);
        tried(why);
    }
    // The same but for what was wrong gets in: the tests above are about that.
    signing.does(|provider| provider.claims = json!({"exp": far + 300}));
    signing.signed_in();
    // What is told of somebody else.
    signing.does(|provider| {
        provider.claims = json!({"groups": null, "exp": far + 300});
        provider.userinfo = json!({"sub": "2", "groups": ["wg-admins"]});
    });
    tried("userinfo of another");
    signing.does(|provider| provider.userinfo = json!({"sub": "1", "groups": ["ops"]}));
    signing.signed_in();
}

#[test]
fn a_provider_that_leads_elsewhere_or_is_not_there_is_not_followed() {
    for metadata in [
        json!({"issuer": "https://attacker.example"}),
        json!({"token_endpoint": "http://id.example/token"}),
        json!({"jwks_uri": "http://127.0.0.1:8480/jwks"}),
        json!({"authorization_endpoint": "javascript:alert(1)"}),
        json!({"code_challenge_methods_supported": ["plain"]}),
    ] {
        let signing = Signing::new();
        signing.does(|provider| provider.metadata = metadata.clone());
        signing.refused(&signing.get("/oidc/login", None, NOW), &metadata.to_string());
    }
    let signing = Signing::new();
    signing.does(|provider| provider.is_down = true);
    for _ in 0..50 {
        signing.refused(&signing.get("/oidc/login", None, NOW), "not there");
    }
    let asked = || signing.fake.0.lock().unwrap().asked.len();
    assert_eq!(asked(), 1, "whoever is not there is not asked by every stranger");
    signing.does(|provider| provider.is_down = false);
    assert!(signing.rig.web.database.users().unwrap().is_empty());
    signing.rig.signed_in("root", Role::Admin);
    let page = signing.get("/login", None, NOW);
    assert!(
        body(&page).contains("/oidc/login?next=") && body(&page).contains("name=\"password\""),
        "the local way in stays"
    );
    // What is known is not asked for again, and a new key is.
    let begun = signing.begin_at("/oidc/login", NOW + 60);
    let url = signing.let_in(&begun, "c");
    assert!(Signing::session(&signing.get(&url, Some(&begun.cookie), NOW + 60)).is_some());
    signing.does(|provider| (provider.key, provider.kid) = (key(), "2"));
    let begun = signing.begin_at("/oidc/login", NOW + 120);
    let url = signing.let_in(&begun, "c");
    assert!(Signing::session(&signing.get(&url, Some(&begun.cookie), NOW + 120)).is_some());
    let all = signing.fake.0.lock().unwrap().asked.clone();
    assert_eq!(all.iter().filter(|path| path.contains("well-known")).count(), 2);
    assert_eq!(all.iter().filter(|path| *path == "/jwks").count(), 2);
}

#[test]
fn what_a_browser_did_not_begin_or_brings_twice_lets_nobody_in() {
    let signing = Signing::new();
    // A stranger's code, led to by a link: whoever follows it would be signed in as the stranger.
    let (mine, strangers) = (signing.begin(), signing.begin());
    let url = signing.let_in(&strangers, "of-the-stranger");
    signing.refused(&signing.get(&url, None, NOW), "nothing was begun");
    signing.refused(&signing.get(&url, Some(&mine.cookie), NOW), "another state");
    // The code of another sign-in under one's own state.
    let mine = signing.begin();
    signing.let_in(&strangers, "of-the-stranger");
    let mixed = format!(
        "/oidc/callback?code=of-the-stranger&state={}&iss=https%3A%2F%2Fid.example",
        mine.query["state"]
    );
    signing.refused(&signing.get(&mixed, Some(&mine.cookie), NOW), "the code of another sign-in");
    // Twice the same.
    let begun = signing.begin();
    let url = signing.let_in(&begun, "c");
    assert!(Signing::session(&signing.get(&url, Some(&begun.cookie), NOW)).is_some());
    signing.let_in(&begun, "c");
    signing.refused(&signing.get(&url, Some(&begun.cookie), NOW), "twice");
    // Too late; another issuer's answer, or whose is not said; not let in there; both said.
    let begun = signing.begin();
    signing.refused(&signing.get(&signing.let_in(&begun, "c"), Some(&begun.cookie), NOW + 600), "too late");
    for (change, to) in [
        ("iss=https%3A%2F%2Fid.example", "iss=https%3A%2F%2Fattacker.example"),
        ("&iss=https%3A%2F%2Fid.example", ""),
        ("code=c", "error=access_denied&error_description=%3Cb%3Eevil"),
        ("code=c", "code=c&error=access_denied"),
        ("state=", "state=x"),
    ] {
        let begun = signing.begin();
        let url = signing.let_in(&begun, "c").replace(change, to);
        let answer = signing.get(&url, Some(&begun.cookie), NOW);
        signing.refused(&answer, to);
        assert!(!body(&answer).contains("evil"), "what a stranger may have written is not shown");
    }
    let written = signing.audit();
    assert!(!written.contains("evil") && !written.contains("of-the-stranger"), "{written}");
    // Nobody is sent elsewhere afterwards.
    for next in ["//attacker.example", "https://attacker.example/", "/\\attacker.example"] {
        let begun = signing.begin_at(&format!("/oidc/login?next={next}"), NOW);
        let answer = signing.get(&signing.let_in(&begun, "c"), Some(&begun.cookie), NOW);
        assert!(body(&answer).contains("content=\"0;url=/\""), "{next}: {}", body(&answer));
    }
    // Whoever brings garbage again and again is told to wait; he fills no memory.
    let statuses: Vec<u16> =
        (0..40).map(|n| signing.get(&format!("/oidc/callback?code=c&state={n}"), None, NOW).status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    let none = Rig::new();
    assert_eq!(none.get(&Who::default(), "/oidc/login").status, 404);
    assert!(!body(&none.get(&Who::default(), "/login")).contains("/oidc/login"));
}

#[test]
fn a_stranger_has_the_provider_asked_so_often_and_no_more() {
    let signing = Signing::new();
    let garbage = |peer: [u8; 4], now: u64| {
        let begun = signing.begin_at("/oidc/login", now);
        let state = &begun.query["state"];
        let url = format!("/oidc/callback?code=garbage&state={state}&iss=https%3A%2F%2Fid.example");
        signing.get_from(peer, &url, Some(&begun.cookie), now).status
    };
    let asked = || signing.fake.0.lock().unwrap().asked.iter().filter(|path| *path == "/token").count();
    // Links of strangers count for nothing there: whoever follows them began nothing.
    for n in 0..100 {
        let begun = signing.begin();
        signing.get(&format!("/oidc/callback?code=c&state={n}"), Some(&begun.cookie), NOW);
    }
    assert_eq!(asked(), 0);
    let (_, who) = signing.signed_in();
    assert_eq!(signing.rig.get(&who, "/api/v1/nodes").status, 200);
    let statuses: Vec<u16> = (0..100).map(|_| garbage(PEER, NOW)).collect();
    assert!(asked() <= 31 && statuses.last() == Some(&429), "{} times: {statuses:?}", asked());
    // Others are kept from nothing by it, and he for a while.
    let before = asked();
    assert_ne!(garbage([10, 0, 0, 10], NOW), 429);
    assert_ne!(garbage(PEER, NOW + 900), 429);
    assert_eq!(asked(), before + 2);
}

#[test]
fn a_strangers_link_spoils_no_sign_in_that_was_begun() {
    let signing = Signing::new();
    let begun = signing.begin();
    for link in ["code=x&state=x", "error=access_denied&state=x", "code=x&state="] {
        let answer = signing.get(&format!("/oidc/callback?{link}"), Some(&begun.cookie), NOW);
        signing.refused(&answer, link);
        assert_eq!(header(&answer, "set-cookie"), None, "the browser keeps what it began");
    }
    let answer = signing.get(&signing.let_in(&begun, "c"), Some(&begun.cookie), NOW);
    assert!(Signing::session(&answer).is_some(), "{}", body(&answer));
}

#[test]
fn keys_leave_for_whoever_proved_with_the_provider_who_he_is() {
    let signing = Signing::new();
    let (_, who) = signing.signed_in();
    let file =
        |who: &Who| signing.rig.post(who, "/nodes/phone/file", &format!("csrf={}&password=x", who.csrf));
    // When he typed his password there is not known.
    let refused = file(&who);
    assert_eq!(refused.status, 403, "{}", body(&refused));
    let page = body(&signing.rig.get(&who, "/nodes/phone"));
    assert!(page.contains("again=yes") && !page.contains("name=\"password\""), "{page}");
    let again = || {
        let begun = signing.begin_at("/oidc/login?again=yes&next=/nodes/phone", NOW);
        assert_eq!((begun.query["prompt"].as_str(), begun.query["max_age"].as_str()), ("login", "0"));
        signing.get(&signing.let_in(&begun, "c"), Some(&begun.cookie), NOW)
    };
    // The provider asked for nothing, and says when that was, or does not.
    signing.refused(&again(), "not asked");
    signing.does(|provider| provider.claims = json!({"auth_time": NOW - 4000}));
    signing.refused(&again(), "long ago");
    signing.does(|provider| provider.claims = json!({"auth_time": NOW}));
    let cookie = Signing::session(&again()).unwrap();
    let csrf = signing.rig.web.database.session(&cookie, NOW).unwrap().unwrap().1.csrf;
    let proved = Who { cookie: Some(cookie), csrf, token: None };
    assert_eq!(file(&proved).status, 200, "{}", body(&file(&proved)));
    // Password and codes are not here; sessions are, and end.
    let change = |what: &str| {
        signing.rig.post(
            &proved,
            "/account",
            &format!(
                "csrf={}&do={what}&password=x&new=correcthorsebattery&again=correcthorsebattery",
                proved.csrf
            ),
        )
    };
    for what in ["password", "codes_begin", "recovery", "codes_off"] {
        assert_eq!(change(what).status, 409, "{what}");
    }
    let out = signing.rig.post(&proved, "/logout", &format!("csrf={}", proved.csrf));
    assert!(body(&out).contains("https://id.example/end?client_id=wg+relay"), "{}", body(&out));
    assert_eq!(signing.rig.get(&proved, "/api/v1/nodes").status, 401);
}
