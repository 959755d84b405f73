//! Signing in and out, links that set a password, and the password again where keys leave.

use super::ask::{Ask, Reply};
use super::caller::Caller;
use super::database::{FIRST, Purpose, SessionRow, User, is_name};
use super::guard::is_own_path;
use super::pages::{self, LoginView};
use super::procedure::{Procedure, Refused};
use super::view::Role;
use super::{password, secret, totp};

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
    if let Err(refused) = ask.web.throttle().may_try(name, ask.address, ask.now) {
        return Ok(waits(&refused));
    }
    match proved(ask, name)? {
        Some(user) => {
            ask.web.throttle().passed(name, ask.address);
            let opened = ask.web.database.open_session(user.id, &ask.address.to_string(), ask.now)?;
            Ok(Reply { cookie: Some(opened.cookie), ..Reply::to(next(ask)) })
        }
        None => {
            ask.web.throttle().failed(name, ask.address, ask.now);
            note_failure(ask, name)?;
            Ok(Reply::page(pages::login(&ask.frame, LoginView::Wrong(name), next(ask))).status(401))
        }
    }
}

/// Says who proved to be that one: by password, and code where there is one.
fn proved(ask: &Ask<'_>, name: &str) -> Result<Option<User>, Refused> {
    let user = ask.web.database.user(name)?;
    let hashed = user.as_ref().and_then(|user| user.password.as_deref());
    if !password::is_right(ask.fields.required("password"), hashed) {
        return Ok(None);
    }
    let Some(user) = user else { return Ok(None) };
    let code = ask.field("code").unwrap_or_default();
    let is_second = match &user.totp {
        None => true,
        Some(shared) => match totp::step_of(shared, code, ask.now, user.totp_step) {
            // Of two at once with one code, one gets in.
            Some(step) => ask.web.database.use_totp(user.id, step)?,
            None => ask.web.database.use_recovery(user.id, &secret::hash(code))?,
        },
    };
    Ok(is_second.then_some(user))
}

fn note_failure(ask: &Ask<'_>, name: &str) -> Result<(), Refused> {
    // What was typed as a name may have been a password: only names that there are get written down.
    let is_known = ask.web.database.user(name)?.is_some();
    let who = if is_known { name } else { "nobody that is known" };
    ask.web.database.record(&super::database::Entry {
        at: ask.now,
        who: who.into(),
        address: ask.address.to_string(),
        action: "login failed".into(),
        about: String::new(),
        status: 401,
    })
}

/// Returns who signed in.
fn own<'a>(ask: &'a Ask<'_>) -> Result<(&'a User, &'a SessionRow), Refused> {
    match ask.caller {
        Caller::User(user, session) => Ok((user, session)),
        _ => Err(Refused::new(401, "sign in first", "")),
    }
}

/// Signs out.
pub fn logout(ask: &Ask<'_>) -> Answer {
    let (user, session) = own(ask)?;
    ask.web.database.close_session(user.id, session.id)?;
    Ok(Reply { cookie: Some(String::new().into()), ..Reply::to("/login") })
}

/// Shows the form of a link that sets a password; looking at it spends nothing.
pub fn init_form(ask: &Ask<'_>) -> Answer {
    let link = ask.fields.required("link");
    ask.web.throttle().may_try("a link", ask.address, ask.now)?;
    if ask.web.database.link(Purpose::Password, link, ask.now)?.is_none() {
        ask.web.throttle().failed("a link", ask.address, ask.now);
        return Err(no_link());
    }
    Ok(Reply::page(pages::first_admin(&ask.frame, link, None)))
}

fn no_link() -> Refused {
    Refused::new(404, "this link is not good, or not any more", "`wgrelay web init` makes another")
}

/// Uses a link up, and sets the password of whom it is about.
pub fn init(ask: &Ask<'_>) -> Answer {
    let (link, typed) = (ask.fields.required("link"), ask.fields.required("password"));
    ask.web.throttle().may_try("a link", ask.address, ask.now)?;
    let Some(about) = ask.web.database.link(Purpose::Password, link, ask.now)? else {
        ask.web.throttle().failed("a link", ask.address, ask.now);
        return Err(no_link());
    };
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
    Ok(Reply::to("/login"))
}

/// Checks the password of who signed in, once more.
fn again(ask: &Ask<'_>) -> Result<(), Refused> {
    let (user, session) = own(ask)?;
    ask.web.throttle().may_try(&user.name, ask.address, ask.now)?;
    if !password::is_right(ask.fields.required("password"), user.password.as_deref()) {
        ask.web.throttle().failed(&user.name, ask.address, ask.now);
        return Err(Refused::new(
            403,
            "the password is wrong",
            "keys leave here: your own password, once more",
        ));
    }
    ask.web.database.prove_session(session.id, ask.now)
}

/// Shows a spoke's file and code, to whoever types his password again.
pub fn node_file(ask: &Ask<'_>) -> Answer {
    again(ask)?;
    let name = ask.fields.required("node");
    let file = ask.web.agent.call(&Procedure::Export { by: ask.caller.name(), node: name.into() })?;
    let conf = file["content"].as_str().unwrap_or_default();
    let qr = file["svg"].as_str().ok_or("its private key is not here, or the file is too long for a code");
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, conf);
    let href = zeroize::Zeroizing::new(format!("data:application/octet-stream;base64,{encoded}"));
    let shown = pages::NodeFile { name, file_name: &format!("{name}.conf"), conf, qr, href: &href };
    Ok(Reply::page(pages::node_file(&ask.frame, &shown)))
}
