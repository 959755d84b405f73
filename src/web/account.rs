//! One's own account: the password, one-time codes with their recovery codes, and where one is signed in. Whoever changes how one gets
//! in types the password again, and the code where there is one: a session that was left open is not enough.

use super::Web;
use super::ask::{Ask, Reply};
use super::database::{Own, User};
use super::pages::{self, AccountView};
use super::procedure::Refused;
use super::sign_in::{own, proved_again};
use super::view::Session;
use super::{password, recovery_codes, secret, totp, totp_address};
use crate::export::qr::Code;

type Answer = Result<Reply, Refused>;

/// Seconds for which a secret that an app was shown waits for its first code.
pub const PENDING: u64 = 600;

/// Shows it.
pub fn show(ask: &Ask<'_>) -> Answer {
    Ok(Reply::page(page(ask, &AccountView::Fresh)?))
}

fn page(ask: &Ask<'_>, view: &AccountView<'_>) -> Result<maud::Markup, Refused> {
    let (user, session) = own(ask)?;
    let has_codes = ask.web.database.user(&user.name)?.is_some_and(|user| user.totp.is_some());
    let rows = ask.web.database.sessions_of(user.id, ask.now)?.into_iter();
    let sessions: Vec<Session> = rows
        .map(|row| Session {
            id: row.id.to_string(),
            user: user.name.clone(),
            address: row.address,
            seen: row.seen,
            is_own: row.id == session.id,
        })
        .collect();
    Ok(pages::account(&ask.frame, has_codes, &sessions, view))
}

/// Changes it.
pub fn change(ask: &Ask<'_>) -> Answer {
    let (user, session) = own(ask)?;
    let does = ask.fields.required("do");
    if user.by_provider && does != "revoke" {
        let hint = "password and codes are with the provider";
        return Err(Refused::new(409, "you sign in by a provider", hint));
    }
    match does {
        "password" => new_password(ask, user),
        "codes_begin" => begin(ask, user),
        "codes_on" => turn_on(ask, user),
        "codes_off" => {
            proved_again(ask, true)?;
            by_own(ask, |own| ask.web.database.turn_codes_off(own))?;
            Ok(Reply::to("/account"))
        }
        "recovery" => recover(ask, user),
        "revoke" => {
            let id = ask.field("id").and_then(|id| id.parse().ok());
            let id = id.ok_or_else(|| Refused::new(400, "a session is a number", ""))?;
            if !ask.web.database.close_session(user.id, id)? {
                return Err(Refused::new(404, "there is no such session of yours", "it has ended"));
            }
            Ok(Reply::to(if id == session.id { "/login" } else { "/account" }))
        }
        _ => Err(Refused::new(400, "this is nothing that is done here", "")),
    }
}

/// Changes it as who he was when the request came: where that is not so any more, nothing is changed.
fn by_own<T>(ask: &Ask<'_>, change: impl FnOnce(Own<'_>) -> Result<T, Refused>) -> Result<T, Refused> {
    let (user, session) = own(ask)?;
    change(Own { user, session, address: &ask.address.to_string(), now: ask.now })
}

fn new_password(ask: &Ask<'_>, user: &User) -> Answer {
    proved_again(ask, user.totp.is_some())?;
    let typed = ask.field("new").unwrap_or_default();
    if typed != ask.field("again").unwrap_or_default() {
        return Err(Refused::new(400, "the two passwords differ", ""));
    }
    let hashed = password::hash(typed)?;
    // All sessions end, and one begins.
    let opened = by_own(ask, |own| ask.web.database.set_own_password(own, &hashed))?;
    Ok(Reply { cookie: Some(opened.cookie), ..Reply::to("/account") })
}

/// Makes a secret and shows it to an app; it counts once the app has shown that it has it.
fn begin(ask: &Ask<'_>, user: &User) -> Answer {
    if user.totp.is_some() {
        return Err(Refused::new(409, "one-time codes are on already", "turn them off first"));
    }
    proved_again(ask, false)?;
    let shared = totp::make()?;
    by_own(ask, |own| ask.web.database.set_pending_totp(own, &shared[..], ask.now + PENDING))?;
    begun(ask, user, &shared[..], false)
}

fn begun(ask: &Ask<'_>, user: &User, shared: &[u8], is_wrong: bool) -> Answer {
    let address = totp_address(&ask.web.network, &user.name, shared);
    let code = Code::new(&address).map_err(|e| Refused::new(500, e.to_string(), ""))?;
    let (svg, secret) = (code.svg(), totp::base32(shared));
    let view = AccountView::Begun { svg: &svg, secret: &secret, is_wrong };
    Ok(Reply::page(page(ask, &view)?).status(if is_wrong { 400 } else { 200 }))
}

/// Turns the codes on by the first of them; it is used up by that. All sessions end, and one begins.
fn turn_on(ask: &Ask<'_>, user: &User) -> Answer {
    let Some(shared) = by_own(ask, |own| ask.web.database.pending_totp(own))? else {
        return Err(Refused::new(409, "no secret waits for its first code", "begin again"));
    };
    let typed = ask.field("code").unwrap_or_default();
    let Some(step) = totp::step_of(&shared, typed, ask.now, 0) else {
        return begun(ask, user, &shared, true);
    };
    let (codes, hashes) = recovery_codes()?;
    let opened = by_own(ask, |own| ask.web.database.turn_codes_on(own, &shared, step, &hashes))?;
    // Tells the recovery codes, this once, in the session that goes on.
    let mut frame = ask.frame.clone();
    frame.csrf.clone_from(&opened.csrf);
    let view = AccountView::Recovery { codes: &codes };
    Ok(Reply { cookie: Some(opened.cookie), ..Reply::page(pages::account(&frame, true, &[], &view)) })
}

/// Makes the recovery codes anew; those of before are worth nothing.
fn recover(ask: &Ask<'_>, user: &User) -> Answer {
    if user.totp.is_none() {
        return Err(Refused::new(409, "one-time codes are off", "turn them on first"));
    }
    proved_again(ask, true)?;
    let (codes, hashes) = recovery_codes()?;
    by_own(ask, |own| ask.web.database.set_recovery(own, &hashes))?;
    let view = AccountView::Recovery { codes: &codes };
    Ok(Reply::page(page(ask, &view)?))
}

impl Web {
    /// Says whether a code of a user's is right, and uses it up: of the clock, or for when the app is lost.
    pub(super) fn uses_code(&self, user: &User, typed: &str, now: u64) -> Result<bool, Refused> {
        match &user.totp {
            None => Ok(true),
            Some(shared) => match totp::step_of(shared, typed, now, user.totp_step) {
                // Of two at once with one code, one gets in.
                Some(step) => self.database.use_totp(user.id, step),
                None => self.database.use_recovery(user.id, &secret::hash(typed)),
            },
        }
    }
}
