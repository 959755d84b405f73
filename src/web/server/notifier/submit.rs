//! A message by mail, handed in at a server (RFC 6409): by TLS, from the beginning or by STARTTLS, and never in clear but at an address
//! that was allowed, without a password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::super::connect::{connect, secure};
use super::{ALLOWED_BY, Means};
use crate::web::notify::{Message, Scheme, Target, mail as written};

/// A line of a server's may be so long, and an answer have so many.
const LINE: usize = 1000;
const LINES: usize = 64;

/// Hands it in.
pub(super) async fn mail(message: &Message<'_>, target: &Target, means: &Means) -> Result<(), String> {
    let stream = connect(&target.url, &means.reach, ALLOWED_BY).await?;
    let own = stream.local_addr().map_err(|e| e.to_string())?.ip().to_canonical();
    let peer = stream.peer_addr().map_err(|e| e.to_string())?.ip().to_canonical();
    let own = if own.is_ipv6() { format!("[IPv6:{own}]") } else { format!("[{own}]") };
    let text = written(message, target);
    if target.url.scheme == Scheme::Smtps {
        let mut talk = Talk::new(secure(stream, &target.url, &means.tls).await?);
        talk.expect("", 220).await?;
        let offers = talk.expect(&format!("EHLO {own}"), 250).await?;
        return talk.hand_in(&offers, target, &text).await;
    }
    let mut talk = Talk::new(stream);
    talk.expect("", 220).await?;
    let offers = talk.expect(&format!("EHLO {own}"), 250).await?;
    if !offers.iter().any(|offer| offer.eq_ignore_ascii_case("STARTTLS")) {
        // Whoever is between could have left that offer out.
        if target.secret.is_none() && means.reach.allowed.iter().any(|net| net.contains(&peer)) {
            return talk.hand_in(&offers, target, &text).await;
        }
        return Err("it does not offer STARTTLS".into());
    }
    talk.expect("STARTTLS", 220).await?;
    let stream = talk.into_clear()?;
    let mut talk = Talk::new(secure(stream, &target.url, &means.tls).await?);
    let offers = talk.expect(&format!("EHLO {own}"), 250).await?;
    talk.hand_in(&offers, target, &text).await
}

/// A conversation: a line there, an answer back.
struct Talk<S> {
    stream: S,
    came: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    fn new(stream: S) -> Self {
        Self { stream, came: Vec::new() }
    }

    /// Returns what is spoken over, to go on by TLS. What came before that could be anybody's.
    fn into_clear(self) -> Result<S, String> {
        if self.came.is_empty() { Ok(self.stream) } else { Err("something was said before TLS began".into()) }
    }

    async fn hand_in(&mut self, offers: &[String], target: &Target, text: &str) -> Result<(), String> {
        if let (Some(account), Some(password)) = (&target.account, &target.secret) {
            self.log_in(offers, account, password).await?;
        }
        self.expect(&format!("MAIL FROM:<{}>", target.sender), 250).await?;
        self.expect(&format!("RCPT TO:<{}>", target.recipient), 250).await?;
        self.expect("DATA", 354).await?;
        self.expect(&format!("{text}."), 250).await?;
        // It was taken: how the conversation ends changes nothing.
        let _ = self.say("QUIT").await;
        Ok(())
    }

    async fn log_in(&mut self, offers: &[String], account: &str, password: &str) -> Result<(), String> {
        let is_auth = |offer: &&String| offer.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("AUTH "));
        let has = |way: &str| {
            let ways = offers.iter().filter(is_auth).flat_map(|offer| offer.split_whitespace().skip(1));
            ways.into_iter().any(|own| own.eq_ignore_ascii_case(way))
        };
        let encoded = |text: &str| Zeroizing::new(STANDARD.encode(text));
        if has("PLAIN") {
            let both = Zeroizing::new(format!("\0{account}\0{password}"));
            let line = Zeroizing::new(format!("AUTH PLAIN {}", encoded(&both).as_str()));
            self.expect(&line, 235).await?;
        } else if has("LOGIN") {
            self.expect("AUTH LOGIN", 334).await?;
            self.expect(&encoded(account), 334).await?;
            self.expect(&encoded(password), 235).await?;
        } else {
            return Err("it takes no password (AUTH PLAIN or LOGIN)".into());
        }
        Ok(())
    }

    async fn say(&mut self, line: &str) -> Result<(), String> {
        let lost = |e: std::io::Error| format!("it listens no more: {e}");
        self.stream.write_all(line.as_bytes()).await.map_err(lost)?;
        self.stream.write_all(b"\r\n").await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)
    }

    /// Says a line, or where it is empty nothing, and returns the texts of the answer. What the server says besides its number is
    /// shown to nobody: it may say a password again.
    async fn expect(&mut self, line: &str, code: u16) -> Result<Vec<String>, String> {
        if !line.is_empty() {
            self.say(line).await?;
        }
        let mut texts = Vec::new();
        loop {
            let line = self.line().await?;
            let said = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            let Some(said) = said else { return Err("it does not speak SMTP".into()) };
            if said != code && !(code == 250 && said == 251) {
                return Err(format!("it answers {said}"));
            }
            texts.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(texts);
            }
            if texts.len() >= LINES {
                return Err("it says too much".into());
            }
        }
    }

    async fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.came.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.came.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            if self.came.len() > LINE {
                return Err("it says too much".into());
            }
            let mut bytes = [0; 512];
            match self.stream.read(&mut bytes).await {
                Ok(0) => return Err("it ended the conversation".into()),
                Ok(n) => self.came.extend_from_slice(&bytes[..n]),
                Err(error) => return Err(format!("it says nothing more: {error}")),
            }
        }
    }
}
