//! `enroll`: makes this machine's key here, enrols its public half by a link that is good once, and writes the .conf.
#![expect(clippy::disallowed_methods, reason = "the key has a file before the link is used up")]

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::output::Role;
use crate::app::random;
use crate::model::{NodeName, PrivateKey};
use crate::store::folder::write_private;
use crate::web::client::Link;

/// `enroll`
#[derive(Debug, Args)]
pub struct Enroll {
    /// The link, as it was sent: https, or http to this machine itself
    pub url: String,
    /// Write the configuration there, mode 0600; it must not be there yet
    #[arg(short, long, value_name = "FILE", default_value = "wg0.conf")]
    pub out: PathBuf,
    /// Trust the certificates of this file (PEM) instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Enrols this machine.
pub fn enroll(ctx: &Context, args: &Enroll) -> Result<Exit, Fault> {
    let link = Link::read(&args.url)?;
    let private = random::private_key();
    // Before the link is used up: it is known that the file can be written, and a key whose answer got lost is not lost.
    keep(&args.out, &private)?;
    let answer = match link.enroll(&private.public_key().to_string(), args.ca.as_deref()) {
        Ok(answer) => answer,
        Err(refused) if refused.status == 0 => {
            let hint = format!("ask whether it is there; its private key is in {}", args.out.display());
            return Err(Fault::failed(refused.message, hint));
        }
        Err(refused) => {
            let _ = std::fs::remove_file(&args.out);
            return Err(refused.into());
        }
    };
    let kept = |why: &str| {
        let hint =
            format!("this machine is enrolled all the same; its private key is in {}", args.out.display());
        Fault::failed(why, hint)
    };
    let content = answer["content"].as_str().ok_or_else(|| kept("the answer has no configuration in it"))?;
    let content =
        filled(content, &private).ok_or_else(|| kept("the configuration has no place for the key"))?;
    let node: NodeName = answer["node"]
        .as_str()
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| kept("the answer does not say which node this is"))?;
    write_private(&args.out, content.as_bytes()).map_err(|e| kept(&e.to_string()))?;
    let is_applied = answer["applied"] == true;
    if ctx.out.json {
        ctx.out.json(&json!({
            "version": 1, "node": node, "file": args.out.display().to_string(), "applied": is_applied,
        }))?;
        return Ok(Exit::Done);
    }
    let file = args.out.display();
    ctx.out.say(&format!(
        "{} as {node}; wrote {file} (mode 0600: it holds the private key, which is nowhere else)",
        ctx.out.paint_talk(Role::Good, "enrolled")
    ));
    if runs_commands(&content) {
        ctx.out.say(&format!("{file} has commands (PreUp, PostUp): read them before wg-quick runs them"));
    }
    if !is_applied {
        ctx.out.say("the relay takes it in when its operator applies the network");
    }
    Ok(Exit::Done)
}

/// Writes the key into a file that was not there.
fn keep(path: &Path, private: &PrivateKey) -> Result<(), Fault> {
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let key = private.expose_base64();
        let text = Zeroizing::new(format!("[Interface]\nPrivateKey = {}\n", key.as_str()));
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|e| {
        let hint = match e.kind() {
            std::io::ErrorKind::AlreadyExists => "`--out FILE` names another; nothing was asked of the relay",
            _ => "nothing was asked of the relay",
        };
        Fault::failed(format!("cannot write {}: {e}", path.display()), hint)
    })
}

/// Puts the key where the file says that it goes; `None`: it does not, or in more places than one.
fn filled(content: &str, private: &PrivateKey) -> Option<Zeroizing<String>> {
    let is_place = |line: &str| line.trim_start_matches(['#', ' ']).starts_with("PrivateKey =");
    if content.lines().filter(|line| is_place(line)).count() != 1 {
        return None;
    }
    let mut text = Zeroizing::new(String::with_capacity(content.len() + 64));
    for line in content.lines() {
        if is_place(line) {
            text.push_str("PrivateKey = ");
            text.push_str(&private.expose_base64());
        } else {
            text.push_str(line);
        }
        text.push('\n');
    }
    Some(text)
}

/// Says whether wg-quick would run commands of this file.
fn runs_commands(content: &str) -> bool {
    content.lines().any(|line| {
        let key = line.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        ["preup", "postup", "predown", "postdown"].contains(&key.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_goes_where_the_file_says_and_nowhere_else() {
        let private = PrivateKey::from_bytes([7; 32]);
        let text =
            "[Interface]\n# PrivateKey = (fill it in)\nAddress = 10.0.0.2/24\n\n[Peer]\nPublicKey = x\n";
        let own = private.expose_base64();
        let expected = text.replace("# PrivateKey = (fill it in)", &format!("PrivateKey = {}", own.as_str()));
        assert_eq!(filled(text, &private).unwrap().as_str(), expected);
        for none in ["[Interface]\n", "# PrivateKey = a\n# PrivateKey = b\n"] {
            assert!(filled(none, &private).is_none());
        }
        assert!(runs_commands("a\n postup = id\n") && !runs_commands("# PostUp = id\nAddress = 1\n"));
    }
}
