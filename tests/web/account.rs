//! One's own account: codes that are turned on by the first of them, and everything else that changes how one gets in.

use wgrelay::web::database::TokenScope;
use wgrelay::web::view::Role;

use crate::rig::{NOW, PASSWORD, Rig, Who, body, header};

fn post(rig: &Rig, who: &Who, rest: &str, now: u64) -> wgrelay::web::Outgoing {
    let text = format!("csrf={}&{rest}", who.csrf);
    rig.send_from(&rig.request(who, "POST", "/account", text.as_bytes()), [10, 0, 0, 9].into(), now)
}

fn login(rig: &Rig, code: &str, now: u64) -> u16 {
    let text = format!("user=anna&password={}&code={code}", typed());
    rig.send_from(&rig.request(&Who::default(), "POST", "/login", text.as_bytes()), [10, 0, 0, 9].into(), now)
        .status
}

fn typed() -> String {
    PASSWORD.replace(' ', "+")
}

/// What an app shows (RFC 6238), of a secret in base32.
fn code(secret: &str, now: u64) -> String {
    let mut bits = String::new();
    for letter in secret.bytes() {
        let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|known| *known == letter).unwrap();
        bits += &format!("{value:05b}");
    }
    let bytes: Vec<u8> =
        (0..bits.len() / 8).map(|n| u8::from_str_radix(&bits[8 * n..8 * n + 8], 2).unwrap()).collect();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes);
    let tag = ring::hmac::sign(&key, &(now / 30).to_be_bytes());
    let at = usize::from(tag.as_ref()[19] & 15);
    let word = u32::from_be_bytes(tag.as_ref()[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", word % 1_000_000)
}

/// Begins, and returns the secret that the page shows.
fn begun(rig: &Rig, who: &Who) -> String {
    let page = body(&post(rig, who, &format!("do=codes_begin&password={}", typed()), NOW));
    assert!(page.contains("<svg"), "{page}");
    page.split("<code>").nth(1).unwrap().split("</code>").next().unwrap().to_owned()
}

/// Who goes on in the session that an answer opened.
fn goes_on(answer: &wgrelay::web::Outgoing) -> Who {
    let cookie = header(answer, "set-cookie").unwrap().split(['=', ';']).nth(1).unwrap().to_owned();
    let page = body(answer);
    let csrf =
        page.split("name=\"csrf\" value=\"").nth(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    Who { cookie: Some(cookie), csrf: csrf.unwrap_or_default(), token: None }
}

fn codes_of(page: &str) -> Vec<String> {
    let (_, rest) = page.split_once("<pre").unwrap();
    let text = rest.split_once('>').unwrap().1.split_once("</pre>").unwrap().0;
    text.lines().map(str::to_owned).collect()
}

#[test]
fn codes_are_on_once_the_app_has_shown_one() {
    let rig = Rig::new();
    let anna = rig.signed_in("anna", Role::Viewer);
    assert_eq!(post(&rig, &anna, "do=codes_begin&password=wrong", NOW).status, 403);
    assert_eq!(post(&rig, &anna, "do=codes_on&code=123456", NOW).status, 409, "nothing was begun");
    let secret = begun(&rig, &anna);
    // Until then one gets in without, so that nobody shuts himself out by a code that no app has.
    assert_eq!(login(&rig, "", NOW), 303);
    let wrong = post(&rig, &anna, "do=codes_on&code=000000", NOW);
    assert!(wrong.status == 400 && body(&wrong).contains(&secret), "the same secret, to try again");
    assert_eq!(login(&rig, "", NOW), 303);
    // Nor does somebody else's code turn on his.
    let otto = rig.signed_in("otto", Role::Admin);
    assert_eq!(post(&rig, &otto, &format!("do=codes_on&code={}", code(&secret, NOW)), NOW).status, 409);
    let on = post(&rig, &anna, &format!("do=codes_on&code={}", code(&secret, NOW)), NOW);
    assert_eq!(on.status, 200, "{}", body(&on));
    let recovery = codes_of(&body(&on));
    assert_eq!(recovery.len(), 8);
    assert_eq!(rig.get(&anna, "/account").status, 303, "what was open without a code has ended");
    let anna = goes_on(&on);
    let page = body(&rig.get(&anna, "/account"));
    assert!(!page.contains(&secret) && !page.contains(&recovery[0]), "shown once");
    // From here on a code is asked for, and that by which they were turned on was used.
    assert_eq!(login(&rig, "", NOW), 401);
    assert_eq!(login(&rig, &code(&secret, NOW), NOW), 401);
    assert_eq!(login(&rig, &code(&secret, NOW + 30), NOW + 30), 303);
    assert_eq!(login(&rig, &recovery[0], NOW + 30), 303);
    assert_eq!(post(&rig, &anna, &format!("do=codes_begin&password={}", typed()), NOW).status, 409);
}

/// A code that somebody made in a session that he stole turns on nothing in another.
#[test]
fn what_an_app_was_shown_is_of_the_session_that_showed_it() {
    let rig = Rig::new();
    let anna = rig.signed_in("anna", Role::Viewer);
    let secret = begun(&rig, &anna);
    let id = rig.web.database.user("anna").unwrap().unwrap().id;
    let opened = rig.web.database.open_session(id, "10.0.0.9", NOW).unwrap();
    let other = Who { cookie: Some(opened.cookie.to_string()), csrf: opened.csrf, token: None };
    let on = format!("do=codes_on&code={}", code(&secret, NOW));
    assert_eq!(post(&rig, &other, &on, NOW).status, 409);
    assert!(rig.web.database.user("anna").unwrap().unwrap().totp.is_none());
    assert_eq!(post(&rig, &anna, &on, NOW).status, 200);
}

/// A session that was taken elsewhere guesses no more than anybody there does.
#[test]
fn passwords_typed_again_are_counted_by_where_one_signed_in() {
    let rig = Rig::new();
    let anna = rig.signed_in("anna", Role::Viewer);
    assert_eq!(login(&rig, "", NOW), 303);
    let again = |from: [u8; 4], password: &str| {
        let text = format!("csrf={}&do=codes_begin&password={password}", anna.csrf);
        rig.send_from(&rig.request(&anna, "POST", "/account", text.as_bytes()), from.into(), NOW).status
    };
    let statuses: Vec<u16> = (0..31).map(|n| again([10, 9, 0, n], "wrong")).collect();
    assert!(statuses[0] == 403 && statuses[30] == 429, "{statuses:?}");
    assert_eq!(again([10, 9, 1, 1], &typed()), 429);
    assert_eq!(again([10, 0, 0, 9], &typed()), 200, "where she signs in it goes on");
}

/// What was not there to be ended is not told, nor written down, as done.
#[test]
fn ending_what_there_is_not_is_refused() {
    let rig = Rig::new();
    let root = rig.signed_in("root", Role::Admin);
    let form = |url: &str, rest: &str| rig.post(&root, url, &format!("csrf={}&{rest}", root.csrf)).status;
    for (url, rest) in [
        ("/account", "do=revoke&id=4711"),
        ("/devices", "do=remove_link&name=root-phone"),
        ("/links", "do=remove&name=phone2"),
        ("/people", "do=revoke_session&id=4711"),
        ("/people", "do=revoke_token&id=nothing"),
        ("/people", "do=remove_user&id=nobody"),
    ] {
        assert_eq!(form(url, rest), 404, "{url} {rest}");
    }
    let audit = rig.web.database.audit(10).unwrap();
    assert!(audit.len() == 6 && audit.iter().all(|entry| entry.status == 404), "{audit:?}");
}

#[test]
fn what_changes_how_one_gets_in_takes_password_and_code() {
    let rig = Rig::new();
    let before = rig.signed_in("anna", Role::Operator);
    let secret = begun(&rig, &before);
    let anna = goes_on(&post(&rig, &before, &format!("do=codes_on&code={}", code(&secret, NOW)), NOW));
    let now = NOW + 60;
    let good = code(&secret, now);
    let (new, pass) = ("a+new+pass+phrase", typed());
    for (what, rest) in [
        ("codes_off", String::new()),
        ("recovery", String::new()),
        ("password", format!("&new={new}&again={new}")),
    ] {
        for proof in [
            "",
            "&password=wrong",
            &format!("&password={pass}"),
            &format!("&password={pass}&code=000000"),
            &format!("&password=wrong&code={good}"),
        ] {
            // Guesses are counted: from another address each time, so that it is the proof that is refused.
            let text = format!("csrf={}&do={what}{rest}{proof}", anna.csrf);
            let from = [10, 1, what.len() as u8, proof.len() as u8];
            let answer =
                rig.send_from(&rig.request(&anna, "POST", "/account", text.as_bytes()), from.into(), now);
            assert_eq!(answer.status, 403, "{what} {proof}: {}", body(&answer));
        }
    }
    let anew = post(&rig, &anna, &format!("do=recovery&password={pass}&code={good}"), now);
    let fresh = codes_of(&body(&anew));
    assert_eq!(fresh.len(), 8);
    assert_eq!(
        post(&rig, &anna, &format!("do=codes_off&password={pass}&code={good}"), now).status,
        403,
        "it was used"
    );
    assert_eq!(login(&rig, &fresh[0], now), 303);
    let changed = post(
        &rig,
        &anna,
        &format!("do=password&password={pass}&code={}&new={new}&again={new}", fresh[1]),
        now,
    );
    assert_eq!(changed.status, 303, "{}", body(&changed));
    assert_eq!(login(&rig, &fresh[2], now), 401, "the old password");
    assert_eq!(rig.get(&anna, "/account").status, 303, "sessions end with a new password");
    let cookie = goes_on(&changed);
    let page = body(&rig.get(&cookie, "/account"));
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let anna = Who { csrf: csrf.into(), ..cookie };
    let off = post(&rig, &anna, &format!("do=codes_off&password={new}&code={}", fresh[3]), now);
    assert_eq!(off.status, 303, "{}", body(&off));
    assert!(rig.web.database.user("anna").unwrap().unwrap().totp.is_none());
}

#[test]
fn a_secret_that_waits_is_forgotten_and_is_nobody_elses_business() {
    let rig = Rig::new();
    let anna = rig.signed_in("anna", Role::Owner);
    let secret = begun(&rig, &anna);
    let late = NOW + 600;
    assert_eq!(post(&rig, &anna, &format!("do=codes_on&code={}", code(&secret, late)), late).status, 409);
    // A program has no codes, and a stranger no account.
    let token = rig.token("ci", TokenScope::Keys, None);
    assert_eq!(rig.get(&token, "/account").status, 303);
    assert_eq!(rig.get(&Who::default(), "/account").status, 303);
    // One ends one's own sessions, and nobody else's.
    let otto = rig.signed_in("otto", Role::Viewer);
    let id = |name: &str| {
        let user = rig.web.database.user(name).unwrap().unwrap().id;
        rig.web.database.sessions_of(user, NOW).unwrap()[0].id
    };
    assert_eq!(post(&rig, &anna, &format!("do=revoke&id={}", id("otto")), NOW).status, 404);
    assert_eq!(rig.get(&otto, "/account").status, 200);
    assert_eq!(post(&rig, &otto, &format!("do=revoke&id={}", id("otto")), NOW).status, 303);
    assert_eq!(rig.get(&otto, "/account").status, 303);
}
