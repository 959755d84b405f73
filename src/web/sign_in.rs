//! Signing in and out, links that set a password, and the password again where keys leave.

use super::ask::{Ask, Reply};
use super::caller::{Caller, PROVED};
use super::clock::is_within;
use super::database::{
    Entry, FIRST, LOGIN_FAILED, NOBODY, Purpose, SIGNED_IN, SessionRow, Use, User, is_name,
};
use super::guard::is_own_path;
use super::pages::{self, LoginView};
use super::password;
use super::procedure::{Procedure, Refused};
use super::throttle::Guesser;
use super::view::Role;

/// Seconds for which an address is one that a user signs in from.
const AT_HOME: u64 = 30 * 86_400;

type Answer = Result<Reply, Refused>;

fn next<'a>(ask: &'a Ask<'_>) -> &'a str {
    ask.field("next").filter(|path| is_own_path(path)).unwrap_or("/")
}

/// Asks who it is.
pub fn form(ask: &Ask<'_>) -> Answer {
    Ok(Reply::page(pages::login(&ask.frame, LoginView::Fresh, next(ask))))
}

/// Signs in. That a name is not known, a password wrong, or a code, looks the same and takes as long.
pub fn login(ask: &Ask<'_>) -> Answer {
    let name = ask.fields.required("user");
    let waits = |refused: &Refused| {
        let left = refused.hint.split(' ').find_map(|word| word.parse().ok()).unwrap_or(900);
        Reply::page(pages::login(&ask.frame, LoginView::Wait(left), next(ask))).status(429)
    };
    let (database, address) = (&ask.web.database, ask.address.to_string());
    let user = database.user(name)?;
    let who = Guesser { is_known: user.is_some(), is_at_home: is_at_home(ask, name)? };
    if let Err(refused) = ask.web.throttle().begin(name, ask.peer, who, ask.now) {
        return Ok(waits(&refused));
    }
    // Whose password was changed meanwhile proved nothing.
    let opened = match proved(ask, user.clone())? {
        Some(user) => database.open_session_of(&user, &address, ask.now)?,
        None => None,
    };
    let Some(opened) = opened else {
        // What was typed as a name may have been a password: only names that there are get written down.
        note(ask, if user.is_some() { name } else { NOBODY }, LOGIN_FAILED, 401)?;
        return Ok(Reply::page(pages::login(&ask.frame, LoginView::Wrong(name), next(ask))).status(401));
    };
    ask.web.throttle().passed(name, ask.peer);
    note(ask, name, SIGNED_IN, 303)?;
    Ok(Reply { cookie: Some(opened.cookie), ..Reply::to(next(ask)) })
}

/// Says whether this is an address that a user signs in from.
fn is_at_home(ask: &Ask<'_>, name: &str) -> Result<bool, Refused> {
    ask.web.database.signed_in_from(name, &ask.address.to_string(), ask.now.saturating_sub(AT_HOME))
}

/// Says who proved to be that one: by password, and code where there is one.
fn proved(ask: &Ask<'_>, user: Option<User>) -> Result<Option<User>, Refused> {
    let hashed = user.as_ref().and_then(|user| user.password.as_deref());
    if !password::is_right(ask.fields.required("password"), hashed) {
        return Ok(None);
    }
    let Some(user) = user else { return Ok(None) };
    let is_second = ask.web.uses_code(&user, ask.field("code").unwrap_or_default(), ask.now)?;
    Ok(is_second.then_some(user))
}

fn note(ask: &Ask<'_>, who: &str, action: &str, status: u16) -> Result<(), Refused> {
    note_about(ask, who, action, "", status)
}

/// Writes down who did what, and more of it.
pub(super) fn note_about(
    ask: &Ask<'_>,
    who: &str,
    action: &str,
    about: &str,
    status: u16,
) -> Result<(), Refused> {
    let (who, action, about, address) = (who.into(), action.into(), about.into(), ask.address.to_string());
    ask.web.database.record(&Entry { at: ask.now, who, address, action, about, status, ..Entry::default() })
}

/// Returns who signed in.
pub(super) fn own<'a>(ask: &'a Ask<'_>) -> Result<(&'a User, &'a SessionRow), Refused> {
    match ask.caller {
        Caller::User(user, session) => Ok((user, session)),
        _ => Err(Refused::new(401, "sign in first", "")),
    }
}

/// Signs out.
pub fn logout(ask: &Ask<'_>) -> Answer {
    let (user, session) = own(ask)?;
    ask.web.database.close_session(user.id, session.id)?;
    let ended = Some(String::new().into());
    // With the provider he is signed in still, and would be here again without a word.
    let there =
        ask.web.oidc.as_ref().filter(|_| user.by_provider).and_then(super::oidc::Provider::end_session);
    if let Some(there) = there {
        let frame = super::view::Frame { user: None, network: String::new(), ..ask.frame.clone() };
        return Ok(Reply { cookie: ended, ..Reply::page(pages::signed_out(&frame, &there)) });
    }
    Ok(Reply { cookie: ended, ..Reply::to("/login") })
}

/// Shows the form of a link that sets a password; looking at it spends nothing.
pub fn init_form(ask: &Ask<'_>) -> Answer {
    let link = ask.fields.required("link");
    about(ask, link)?;
    Ok(Reply::page(pages::first_admin(&ask.frame, link, None)))
}

/// Says whom a link is about. That to make the first admin is worth nothing once there is one.
fn about(ask: &Ask<'_>, link: &str) -> Result<String, Refused> {
    let found = ask.web.database.link(Purpose::Password, link, ask.now)?;
    // Whoever signs in by a provider is no way in where that is gone.
    let is_admin = |user: &User| user.role == Role::Admin && !user.by_provider;
    match found {
        Some(about) if about != FIRST || !ask.web.database.users()?.iter().any(is_admin) => Ok(about),
        _ => {
            ask.web.throttle().wrong_secret(ask.peer, ask.now)?;
            Err(no_link())
        }
    }
}

fn no_link() -> Refused {
    Refused::new(404, "this link is not good, or not any more", "`wgrelay web init` makes another")
}

/// Uses a link up, and sets the password of whom it is about.
pub fn init(ask: &Ask<'_>) -> Answer {
    let (link, typed) = (ask.fields.required("link"), ask.fields.required("password"));
    let about = about(ask, link)?;
    let wrong = |why: &str| Ok(Reply::page(pages::first_admin(&ask.frame, link, Some(why))).status(400));
    let name = ask.fields.required("user");
    // The first admin takes the name that he likes; any other link says whose it is.
    if about != FIRST && name != about {
        return wrong("this link is for another name");
    }
    if about == FIRST && (!is_name(name) || ask.web.database.user(name)?.is_some()) {
        return wrong("a user's name has 1 to 64 letters, digits, or . _ @ -, and is nobody else's");
    }
    if typed != ask.fields.required("again") {
        return wrong("the two passwords differ");
    }
    let hashed = match password::hash(typed) {
        Ok(hashed) => hashed,
        Err(refused) if refused.status == 400 => return wrong(&refused.message),
        Err(refused) => return Err(refused),
    };
    if ask.web.database.use_link(Purpose::Password, link, ask.now)?.as_deref() != Some(about.as_str()) {
        return Err(no_link());
    }
    if about == FIRST {
        ask.web.database.add_user(name, Role::Admin, Some(&hashed), ask.now)?;
    } else {
        ask.web.database.set_password(name, &hashed)?;
    }
    note(ask, name, "set a password by a link", 303)?;
    Ok(Reply::to("/login"))
}

/// Checks the password of who signed in, once more, and a code where that is asked for and there is one.
pub(super) fn proved_again(ask: &Ask<'_>, with_code: bool) -> Result<(), Refused> {
    let (user, session) = own(ask)?;
    if user.by_provider {
        // His password is with the provider, and so is whether he typed it.
        if is_within(session.proved, PROVED, ask.now) {
            return Ok(());
        }
        let hint = "sign in again at /oidc/login?again=yes, and type your password there";
        return Err(Refused::new(403, "you have not proved of late who you are", hint));
    }
    let who = Guesser { is_known: true, is_at_home: is_at_home(ask, &user.name)? };
    ask.web.throttle().begin(&user.name, ask.peer, who, ask.now)?;
    let is_proved = password::is_right(ask.field("password").unwrap_or_default(), user.password.as_deref())
        && (!with_code || ask.web.uses_code(user, ask.field("code").unwrap_or_default(), ask.now)?);
    if !is_proved {
        let (message, hint) = if with_code && user.totp.is_some() {
            ("the password or the code is wrong", "your own password, and a code that was not used yet")
        } else {
            ("the password is wrong", "your own password, once more")
        };
        return Err(Refused::new(403, message, hint));
    }
    ask.web.throttle().passed(&user.name, ask.peer);
    ask.web.database.prove_session(session.id, ask.now)
}

/// Shows a spoke's file and code, to whoever types his password again.
pub fn node_file(ask: &Ask<'_>) -> Answer {
    spoke_file(ask, Use::File)
}

/// The same, of what may leave of that.
pub(super) fn spoke_file(ask: &Ask<'_>, what: Use) -> Answer {
    // Only who signs in by a provider has none to give.
    if ask.field("password").is_none() && !own(ask)?.0.by_provider {
        return Err(Refused::new(400, "password is missing", ""));
    }
    proved_again(ask, false)?;
    ask.web.database.use_up(what, &ask.caller.name(), ask.now)?;
    let name = ask.fields.required("node");
    let file = ask.web.agent.call(&Procedure::Export { by: ask.caller.name(), node: name.into() })?;
    let conf = file["content"].as_str().unwrap_or_default();
    let qr = file["svg"].as_str().ok_or("its private key is not here, or the file is too long for a code");
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, conf);
    let href = zeroize::Zeroizing::new(format!("data:application/octet-stream;base64,{encoded}"));
    let shown = pages::NodeFile { name, file_name: &format!("{name}.conf"), conf, qr, href: &href };
    Ok(Reply::page(pages::node_file(&ask.frame, &shown)))
}
