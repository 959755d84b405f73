//! A message as mail: every letter in it is ASCII, and no line of it can end it, since its text is base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::message::Message;
use super::target::Target;
use crate::model::Timestamp;

/// Letters of a line.
const LINE: usize = 76;
/// Bytes of a subject in one word of base64.
const WORD: usize = 42;

/// Writes it, with its head, and CRLF at the end of each line.
pub fn mail(message: &Message<'_>, target: &Target) -> String {
    let domain = target.sender.rsplit('@').next().unwrap_or("localhost");
    let head = [
        format!("From: wgrelay <{}>", target.sender),
        format!("To: <{}>", target.recipient),
        format!("Subject: {}", subject(&message.title())),
        format!("Date: {}", date(message.now)),
        format!("Message-ID: <{}@{domain}>", message.sending.id),
        "Auto-Submitted: auto-generated".into(),
        "MIME-Version: 1.0".into(),
        "Content-Type: text/plain; charset=utf-8".into(),
        "Content-Transfer-Encoding: base64".into(),
        String::new(),
    ];
    let encoded = STANDARD.encode(message.text());
    let lines = encoded.as_bytes().chunks(LINE).map(|line| String::from_utf8_lossy(line).into_owned());
    head.into_iter().chain(lines).map(|line| line + "\r\n").collect()
}

/// Writes a subject: as it is where it is ASCII and short, else in words of base64.
fn subject(text: &str) -> String {
    if text.len() <= LINE && text.bytes().all(|b| (b' '..=b'~').contains(&b)) && !text.contains("=?") {
        return text.to_owned();
    }
    let (mut words, mut word) = (Vec::new(), String::new());
    for c in text.chars() {
        if word.len() + c.len_utf8() > WORD {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let encoded = words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
    encoded.collect::<Vec<_>>().join("\r\n ")
}

/// Writes a time as mail has it.
fn date(at: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = Timestamp(at).to_string();
    let (day, time) = text.split_once('T').unwrap_or((&text, ""));
    let mut parts = day.split('-');
    let (year, month, day) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let month = month.parse::<usize>().ok().and_then(|n| MONTHS.get(n.wrapping_sub(1))).unwrap_or(&"Jan");
    let weekday = DAYS[usize::try_from(at / 86_400 % 7).unwrap_or_default()];
    format!("{weekday}, {day} {month} {year} {} +0000", time.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::notify::event::{Event, Topic};
    use crate::web::notify::{Given, Queue};

    #[test]
    fn a_mail_is_ascii_and_no_text_of_anybodys_ends_it() {
        let given = Given {
            name: "mail",
            kind: "mail",
            url: "smtps://mail.example",
            sender: Some("wgrelay@example.com"),
            recipient: Some("anna@example.com"),
            ..Given::default()
        };
        let target = Target::read(&given).unwrap();
        let mut queue = Queue::default();
        let message = "drift: 表 differs\r\n.\r\nRCPT TO:<x@x>".to_owned();
        queue.push(Event { event: Topic::Drift, at: 0, about: "table".into(), message, over: false });
        let sending = queue.due(0, || "msg_1".into()).unwrap();
        let mail = mail(&Message { sending: &sending, network: "wg0", now: 1_796_083_200 }, &target);
        assert!(mail.is_ascii());
        assert!(mail.contains("\r\nDate: Tue, 01 Dec 2026 00:00:00 +0000\r\n"), "{mail}");
        assert!(mail.contains("\r\nSubject: =?utf-8?B?"), "{mail}");
        assert!(mail.contains("\r\nMessage-ID: <msg_1@example.com>\r\n"), "{mail}");
        assert!(
            mail.split("\r\n").all(|line| line != "." && line.len() < 100 && !line.contains(['\r', '\n']))
        );
        let (_, body) = mail.split_once("\r\n\r\n").unwrap();
        let text = String::from_utf8(STANDARD.decode(body.replace("\r\n", "")).unwrap()).unwrap();
        assert_eq!(text, "1970-01-01T00:00:00Z drift: 表 differs  .  RCPT TO:<x@x>\n");
    }

    #[test]
    fn times_are_written_as_mail_has_them() {
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert_eq!(date(1_709_210_096), "Thu, 29 Feb 2024 12:34:56 +0000");
        assert_eq!(subject("wg0: docker is offline"), "wg0: docker is offline");
    }
}
