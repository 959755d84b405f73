//! One's own account: the password, one-time codes with their recovery codes, and where one is signed in. Whoever changes how one gets
//! in types the password again, and the code where there is one: a session that was left open is not enough.

use super::Web;
use super::ask::{Ask, Reply};
use super::database::{Opened, User};
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
    match ask.fields.required("do") {
        "password" => new_password(ask, user),
        "codes_begin" => begin(ask, user),
        "codes_on" => turn_on(ask, user),
        "codes_off" => {
            proved_again(ask, true)?;
            ask.web.database.set_totp(user.id, None, &[])?;
            Ok(Reply::to("/account"))
        }
        "recovery" => recover(ask, user),
        "revoke" => {
            let id = ask.field("id").and_then(|id| id.parse().ok());
            let id = id.ok_or_else(|| Refused::new(400, "a session is a number", ""))?;
            ask.web.database.close_session(user.id, id)?;
            Ok(Reply::to(if id == session.id { "/login" } else { "/account" }))
        }
        _ => Err(Refused::new(400, "this is nothing that is done here", "")),
    }
}

/// Goes on in a new session, where all of this one's were ended.
fn go_on(ask: &Ask<'_>, user: &User) -> Result<Opened, Refused> {
    ask.web.database.open_session(user.id, &ask.address.to_string(), ask.now)
}

fn new_password(ask: &Ask<'_>, user: &User) -> Answer {
    proved_again(ask, user.totp.is_some())?;
    let typed = ask.field("new").unwrap_or_default();
    if typed != ask.field("again").unwrap_or_default() {
        return Err(Refused::new(400, "the two passwords differ", ""));
    }
    ask.web.database.set_password(&user.name, &password::hash(typed)?)?;
    Ok(Reply { cookie: Some(go_on(ask, user)?.cookie), ..Reply::to("/account") })
}

/// Makes a secret and shows it to an app; it counts once the app has shown that it has it.
fn begin(ask: &Ask<'_>, user: &User) -> Answer {
    if user.totp.is_some() {
        return Err(Refused::new(409, "one-time codes are on already", "turn them off first"));
    }
    proved_again(ask, false)?;
    let shared = totp::make()?;
    ask.web.database.set_pending_totp(user.id, &shared[..], ask.now + PENDING)?;
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
    let Some(shared) = ask.web.database.pending_totp(user.id, ask.now)? else {
        return Err(Refused::new(409, "no secret waits for its first code", "begin again"));
    };
    let typed = ask.field("code").unwrap_or_default();
    let Some(step) = totp::step_of(&shared, typed, ask.now, 0) else {
        return begun(ask, user, &shared, true);
    };
    let (codes, hashes) = recovery_codes()?;
    ask.web.database.set_totp(user.id, Some(&shared[..]), &hashes)?;
    ask.web.database.use_totp(user.id, step)?;
    told(ask, user, &codes)
}

/// Makes the recovery codes anew; those of before are worth nothing.
fn recover(ask: &Ask<'_>, user: &User) -> Answer {
    if user.totp.is_none() {
        return Err(Refused::new(409, "one-time codes are off", "turn them on first"));
    }
    proved_again(ask, true)?;
    let (codes, hashes) = recovery_codes()?;
    ask.web.database.set_recovery(user.id, &hashes)?;
    let view = AccountView::Recovery { codes: &codes };
    Ok(Reply::page(page(ask, &view)?))
}

/// Tells the recovery codes, this once, in the session that goes on.
fn told(ask: &Ask<'_>, user: &User, codes: &[String]) -> Answer {
    let opened = go_on(ask, user)?;
    let mut frame = ask.frame.clone();
    frame.csrf.clone_from(&opened.csrf);
    let view = AccountView::Recovery { codes };
    Ok(Reply { cookie: Some(opened.cookie), ..Reply::page(pages::account(&frame, true, &[], &view)) })
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
