//! Where messages go: what whoever adds one gives, and what of it makes sense.

use std::fmt;

use zeroize::Zeroizing;

use super::event::Topic;
use super::message::make_secret;
use super::url::Url;
use crate::web::database::is_name;
use crate::web::procedure::Refused;

/// So many places are told.
pub const MOST_TARGETS: usize = 20;

/// What is sent there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// JSON, signed.
    Webhook,
    /// A text, to a topic of ntfy.
    Ntfy,
    /// Mail, handed in at a server.
    Mail,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Webhook, Self::Ntfy, Self::Mail];

    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Ntfy => "ntfy",
            Self::Mail => "mail",
        }
    }

    /// Reads it by its name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A place that is told. Its secret is in no text of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// What it is called.
    pub name: String,
    /// What is sent.
    pub kind: Kind,
    /// Where.
    pub url: Url,
    /// Of what.
    pub topics: Vec<Topic>,
    /// Of a webhook, what signs; of ntfy, its token; of mail, the account's password. `None`: there is none.
    pub secret: Option<Zeroizing<String>>,
    /// Of mail: the account.
    pub account: Option<String>,
    /// Of mail: from whom, and to whom.
    pub sender: String,
    /// To whom.
    pub recipient: String,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({}: {} to {})", self.name, self.kind.as_str(), self.url)
    }
}

/// What is given to add one, as it was typed.
#[derive(Clone, Copy, Default)]
pub struct Given<'a> {
    /// What it is called.
    pub name: &'a str,
    /// `webhook`, `ntfy` or `mail`.
    pub kind: &'a str,
    /// Where.
    pub url: &'a str,
    /// Names with commas between; `None`: of everything.
    pub events: Option<&'a str>,
    /// Of ntfy its token, of mail the account's password.
    pub secret: Option<&'a str>,
    /// Of mail.
    pub account: Option<&'a str>,
    /// Of mail.
    pub sender: Option<&'a str>,
    /// Of mail.
    pub recipient: Option<&'a str>,
}

impl Target {
    /// Makes one of what was given; what signs a webhook's messages is made here.
    ///
    /// # Errors
    /// 400: what of it is missing, or makes no sense.
    pub fn read(given: &Given<'_>) -> Result<Self, Refused> {
        let no = |message: &str, hint: &str| Err(Refused::new(400, message, hint));
        if !is_name(given.name) {
            return no("a name has 1 to 64 letters, digits, or . _ @ -", "");
        }
        let Some(kind) = Kind::of(given.kind) else {
            return no("what is sent is webhook, ntfy or mail", "");
        };
        let url = Url::read(given.url)?;
        if url.is_http() == (kind == Kind::Mail) {
            return no(
                "that address is none for this",
                "https://… for webhook and ntfy; smtps://HOST, or smtp://HOST, for mail",
            );
        }
        let topics = topics(given.events)?;
        let is_mail = kind == Kind::Mail;
        if !is_mail && (given.account.is_some() || given.sender.is_some() || given.recipient.is_some()) {
            return no("an account, a sender and a recipient are for mail", "");
        }
        if kind == Kind::Webhook && given.secret.is_some() {
            return no("what signs the messages is made here", "leave it out");
        }
        if given.secret.is_some_and(|secret| secret.is_empty() || secret.len() > 256 || !is_token(secret)) {
            return no(
                "a token or a password has 256 letters at most, without spaces and control characters",
                "",
            );
        }
        let (sender, recipient) = (given.sender.unwrap_or_default(), given.recipient.unwrap_or_default());
        if is_mail && !(is_mail_address(sender) && is_mail_address(recipient)) {
            return no("mail goes from one address to another", "such as wgrelay@example.com");
        }
        if is_mail && given.account.is_some() != given.secret.is_some() {
            return no("an account has its password", "give both, or none");
        }
        if given
            .account
            .is_some_and(|account| account.len() > 256 || !account.bytes().all(|b| b.is_ascii_graphic()))
        {
            return no("an account has 256 letters of ASCII at most", "");
        }
        let secret = match kind {
            Kind::Webhook => Some(make_secret()?),
            Kind::Ntfy | Kind::Mail => given.secret.map(|secret| Zeroizing::new(secret.to_owned())),
        };
        Ok(Self {
            name: given.name.into(),
            kind,
            url,
            topics,
            secret,
            account: given.account.map(Into::into),
            sender: sender.into(),
            recipient: recipient.into(),
        })
    }

    /// Writes its topics with commas between.
    pub fn events(&self) -> String {
        self.topics.iter().map(|topic| topic.as_str()).collect::<Vec<_>>().join(",")
    }
}

/// Reads topics with commas between; `None`: all of them.
pub(in crate::web) fn topics(given: Option<&str>) -> Result<Vec<Topic>, Refused> {
    let Some(given) = given else { return Ok(Topic::ALL.to_vec()) };
    let read = |name: &str| {
        Topic::of(name.trim()).ok_or_else(|| {
            let all = Topic::ALL.map(Topic::as_str).join(", ");
            Refused::new(400, format!("there is no event {:?}", name.trim()), format!("there are {all}"))
        })
    };
    let mut topics: Vec<Topic> = given.split(',').map(read).collect::<Result<_, _>>()?;
    topics.sort_unstable();
    topics.dedup();
    Ok(topics)
}

fn is_token(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() && c != ' ')
}

/// An address that no server reads in two ways: ASCII, one @, and nothing that ends a line or a command.
fn is_mail_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let plain = |part: &str, more: &[u8]| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    text.len() <= 254 && plain(local, b"._+-=") && plain(domain, b".-") && !local.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOK: Given<'_> = Given {
        name: "chat",
        kind: "webhook",
        url: "https://hooks.example/T0/abc",
        events: Some("drift,node-offline,drift"),
        secret: None,
        account: None,
        sender: None,
        recipient: None,
    };
    const MAIL: Given<'_> = Given {
        name: "mail",
        kind: "mail",
        url: "smtps://mail.example",
        events: None,
        secret: Some("hunter2"),
        account: Some("wgrelay"),
        sender: Some("wgrelay@example.com"),
        recipient: Some("anna@example.com"),
    };

    #[test]
    fn a_target_tells_no_secret_of_its_own() {
        let hook = Target::read(&HOOK).unwrap();
        assert_eq!(hook.events(), "node-offline,drift");
        assert!(hook.secret.as_ref().unwrap().starts_with("whsec_"));
        let shown = format!("{hook:?}");
        assert!(!shown.contains("abc") && !shown.contains("whsec_"), "{shown}");
        let mail = Target::read(&MAIL).unwrap();
        assert_eq!(mail.topics.len(), Topic::ALL.len());
        assert!(!format!("{mail:?}").contains("hunter2"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            Given { name: "a b", ..HOOK },
            Given { kind: "sms", ..HOOK },
            Given { url: "smtps://mail.example", ..HOOK },
            Given { events: Some("drift,rain"), ..HOOK },
            Given { events: Some(""), ..HOOK },
            Given { secret: Some("mine"), ..HOOK },
            Given { recipient: Some("anna@example.com"), ..HOOK },
            Given { kind: "ntfy", secret: Some("a\r\nX: y"), ..HOOK },
            Given { url: "https://mail.example", ..MAIL },
            Given { secret: None, ..MAIL },
            Given { account: None, ..MAIL },
            Given { recipient: None, ..MAIL },
            Given { recipient: Some("anna@example.com>\r\nRCPT TO:<x@x"), ..MAIL },
            Given { recipient: Some("anna@example.com,otto@example.com"), ..MAIL },
            Given { sender: Some("<>"), ..MAIL },
            Given { account: Some("a\0b"), ..MAIL },
        ] {
            assert_eq!(Target::read(&bad).unwrap_err().status, 400, "{:?} {:?}", bad.name, bad.url);
        }
    }
}
