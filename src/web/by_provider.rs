//! Signing in by a provider: there and back. Who he is is known by issuer and subject, what he may by his groups each time, and whoever
//! may nothing does not get in.

use std::fmt::Write as _;

use super::ask::{Ask, Reply};
use super::database::{Identity, LOGIN_FAILED, NOBODY, SIGNED_IN};
use super::guard::is_own_path;
use super::oidc::{Begin, Begun, Brought, Failed, Provider};
use super::pages::{self, LoginView};
use super::procedure::Refused;
use super::sign_in::note_about;
use super::view::Frame;

type Answer = Result<Reply, Refused>;

/// Where the provider leads back to.
pub const CALLBACK: &str = "/oidc/callback";

/// What is around a page that shows how it ended: nothing of what the address says is on it.
fn frame(ask: &Ask<'_>) -> Frame {
    Frame { path: "/login".into(), query: String::new(), ..ask.frame.clone() }
}

fn provider<'a>(ask: &'a Ask<'_>) -> Result<&'a Provider, Refused> {
    let none = || Refused::new(404, "nobody signs in here by a provider", "`wgrelay web --oidc` names one");
    ask.web.oidc.as_ref().ok_or_else(none)
}

/// Sends whoever wants to sign in to the provider.
pub fn begin(ask: &Ask<'_>) -> Answer {
    let provider = provider(ask)?;
    let next = ask.field("next").filter(|path| is_own_path(path)).unwrap_or("/");
    let scheme = if ask.web.place.is_tls(Some(&ask.host)) { "https" } else { "http" };
    let begin = Begin {
        redirect: format!("{scheme}://{}{}", ask.host, ask.frame.url(CALLBACK)),
        next: next.to_owned(),
        again: ask.fields.flag("again"),
        from: ask.peer.counted(),
    };
    match provider.begin(&begin, ask.now) {
        Ok(Begun { cookie, location }) => Ok(Reply::elsewhere(location, cookie)),
        Err(failed) => not_let_in(ask, NOBODY, &failed),
    }
}

/// Takes whoever comes back from there in.
pub fn callback(ask: &Ask<'_>) -> Answer {
    let provider = provider(ask)?;
    let brought = Brought {
        cookie: ask.begun.as_ref().map(|kept| kept.as_str()),
        state: ask.fields.required("state"),
        // Where both are said, he was not let in.
        code: ask.field("code").filter(|_| ask.field("error").is_none()),
        issuer: ask.field("iss"),
    };
    // Whatever a stranger makes up as a code, the provider is asked about it, as this page.
    ask.web.throttle().may_have_asked(ask.peer, ask.now)?;
    let person = match provider.finish(brought, ask.now) {
        Ok(person) => person,
        Err(failed) => {
            match failed {
                Failed::NotBegun => ask.web.throttle().wrong_secret(ask.peer, ask.now)?,
                _ => ask.web.throttle().asked_in_vain(ask.peer, ask.now),
            }
            return not_let_in(ask, NOBODY, &failed);
        }
    };
    let (database, issuer) = (&ask.web.database, provider.settings.issuer.as_str());
    let Some(role) = provider.settings.role(&person.groups) else {
        let known = database.turn_away(issuer, &person.subject)?;
        note_about(ask, known.as_deref().unwrap_or(NOBODY), LOGIN_FAILED, "in no group that may", 403)?;
        let shown = pages::login(&frame(ask), LoginView::MayNothing, &person.next);
        return Ok(Reply { begun: Some(String::new().into()), ..Reply::page(shown).status(403) });
    };
    let who = Identity {
        issuer,
        subject: &person.subject,
        name: person.name.as_deref(),
        proved: person.proved.unwrap_or(0),
    };
    let (name, opened) = database.sign_in_by(who, role, &ask.address.to_string(), ask.now)?;
    note_about(ask, &name, SIGNED_IN, &format!("by the provider, as {}", role.as_str()), 303)?;
    // A page of ours leads on: where the provider's did, the browser would not send the cookie along.
    let page = pages::signed_in(&frame(ask), &person.next);
    Ok(Reply { cookie: Some(opened.cookie), begun: Some(String::new().into()), ..Reply::page(page) })
}

fn not_let_in(ask: &Ask<'_>, who: &str, failed: &Failed) -> Answer {
    let mut about = String::new();
    let _ = write!(about, "{failed}");
    note_about(ask, who, LOGIN_FAILED, &about, 401)?;
    let view = match failed {
        Failed::NotThere(_) => LoginView::NotThere,
        Failed::NotBegun | Failed::NotBelieved(_) => LoginView::NotBelieved,
    };
    let status = if view == LoginView::NotThere { 503 } else { 401 };
    let next = ask.field("next").filter(|path| is_own_path(path)).unwrap_or("/");
    let page = Reply::page(pages::login(&frame(ask), view, next)).status(status);
    // By a stranger's link the browser loses nothing that it began.
    let begun = (*failed != Failed::NotBegun).then(|| String::new().into());
    Ok(Reply { begun, ..page })
}
