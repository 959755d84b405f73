//! A document as text, in the order in which wg-quick(8)'s own examples are read: the interface, then each peer.

use std::fmt::{self, Write};

use zeroize::Zeroizing;

use super::scan::trim;
use super::script::MARK;
use super::{Document, Interface, Key, Peer, Section};

/// Whether comment lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comments {
    /// Comments and notes, and an empty line between sections.
    Keep,
    /// Nothing that a program does not need: for QR codes, where each byte counts.
    Drop,
}

/// Writes a document. The text is wiped when dropped: it holds the private key.
pub fn render(document: &Document, comments: Comments) -> Zeroizing<String> {
    // Measured first and then written into its final place, so that no outgrown copy of a key stays in memory.
    let mut length = Length(0);
    write_document(&mut length, document, comments).expect("counting does not fail");
    let mut text = Zeroizing::new(String::with_capacity(length.0));
    write_document(&mut *text, document, comments).expect("a String takes everything");
    text
}

struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

fn write_document<W: Write>(out: &mut W, document: &Document, comments: Comments) -> fmt::Result {
    let i = &document.interface;
    header(out, Section::Interface, &i.comments, &i.notes, comments)?;
    interface(out, i)?;
    for peer in &document.peers {
        if comments == Comments::Keep {
            out.write_char('\n')?;
        }
        header(out, Section::Peer, &peer.comments, &peer.notes, comments)?;
        write_peer(out, peer)?;
    }
    script(out, &document.script, comments)
}

/// Writes the script, which is no comment to the hooks that call it.
fn script<W: Write>(out: &mut W, lines: &[String], comments: Comments) -> fmt::Result {
    if comments == Comments::Keep && !lines.is_empty() {
        out.write_char('\n')?;
    }
    lines.iter().try_for_each(|line| writeln!(out, "{}", format!("{MARK}{line}").trim_end()))
}

fn header<W: Write>(
    out: &mut W,
    section: Section,
    above: &[String],
    below: &[String],
    comments: Comments,
) -> fmt::Result {
    if comments == Comments::Drop {
        return writeln!(out, "{section}");
    }
    comment(out, above)?;
    writeln!(out, "{section}")?;
    comment(out, below)
}

fn comment<W: Write>(out: &mut W, comments: &[String]) -> fmt::Result {
    // Whatever a program may take for a line break starts a new comment line.
    for line in comments.iter().flat_map(|c| c.split(|c: char| c.is_control() && c != '\t')) {
        // What reads it cuts off the same and no more: a no-break space is a part of a comment.
        match trim(line) {
            "" => writeln!(out, "#")?,
            text => writeln!(out, "# {text}")?,
        }
    }
    Ok(())
}

fn interface<W: Write>(out: &mut W, i: &Interface) -> fmt::Result {
    if let Some(key) = &i.private_key {
        line(out, Key::PrivateKey, key.expose_base64().as_str())?;
    }
    list(out, Key::Address, &i.addresses)?;
    optional(out, Key::ListenPort, i.listen_port)?;
    match i.fwmark {
        Some(0) => line(out, Key::FwMark, "off")?,
        Some(mark) => line(out, Key::FwMark, format_args!("{mark:#x}"))?,
        None => {}
    }
    list(out, Key::Dns, &i.dns)?;
    optional(out, Key::Mtu, i.mtu)?;
    optional(out, Key::Table, i.table.as_ref())?;
    for (key, hooks) in [
        (Key::PreUp, &i.pre_up),
        (Key::PostUp, &i.post_up),
        (Key::PreDown, &i.pre_down),
        (Key::PostDown, &i.post_down),
    ] {
        for hook in hooks {
            line(out, key, hook.as_str())?;
        }
    }
    optional(out, Key::SaveConfig, i.save_config)
}

fn write_peer<W: Write>(out: &mut W, peer: &Peer) -> fmt::Result {
    line(out, Key::PublicKey, peer.public_key)?;
    if let Some(key) = &peer.preshared_key {
        line(out, Key::PresharedKey, key.expose_base64().as_str())?;
    }
    list(out, Key::AllowedIps, &peer.allowed_ips)?;
    optional(out, Key::Endpoint, peer.endpoint.as_ref())?;
    optional(out, Key::PersistentKeepalive, peer.keepalive)
}

fn line<W: Write>(out: &mut W, key: Key, value: impl fmt::Display) -> fmt::Result {
    writeln!(out, "{key} = {value}")
}

fn optional<W: Write>(out: &mut W, key: Key, value: Option<impl fmt::Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| line(out, key, value))
}

fn list<W: Write>(out: &mut W, key: Key, values: &[impl fmt::Display]) -> fmt::Result {
    let Some((first, rest)) = values.split_first() else { return Ok(()) };
    write!(out, "{key} = {first}")?;
    for value in rest {
        write!(out, ", {value}")?;
    }
    out.write_char('\n')
}
