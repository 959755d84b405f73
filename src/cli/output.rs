//! Results on stdout, talk on stderr; colour by role, decided once; a reader that went away is no error.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use zeroize::Zeroizing;

use super::args::{Color, Global};
use super::printable::{printable, printable_json};
use super::secret_json::secret_json;
use super::typed::Typed;
use super::wrap::fold;
use crate::model::{Problem, Severity};

/// What a piece of text means; the colour follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// As it should be.
    Good,
    /// Wrong.
    Bad,
    /// Worth a look.
    Warn,
    /// Less important.
    Dim,
    /// A heading or the main word.
    Head,
    /// A name that the user chose.
    Name,
}

impl Role {
    /// Every escape sequence that painting makes.
    pub fn sequences() -> Vec<String> {
        let roles = [Self::Good, Self::Bad, Self::Warn, Self::Dim, Self::Head, Self::Name];
        let reset = Self::Good.style().render_reset().to_string();
        // The longest first: one begins with another.
        let mut all: Vec<String> = roles.iter().map(|role| role.style().render().to_string()).collect();
        all.push(reset);
        all.sort_by_key(|sequence| std::cmp::Reverse(sequence.len()));
        all
    }

    const fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            // Yellow is hard to read on white, plain magenta on black.
            Self::Warn => AnsiColor::Magenta.on_default().bold(),
            Self::Dim => Style::new().dimmed(),
            // Names too: cyan is hard to read on white, blue on black.
            Self::Head | Self::Name => Style::new().bold(),
        }
    }
}

/// Where a command's words go.
#[derive(Debug, Clone)]
pub struct Output {
    /// Whether the result is to be JSON.
    pub json: bool,
    quiet: bool,
    color_out: bool,
    color_err: bool,
    width: Option<usize>,
    talk_width: Option<usize>,
    /// The options that proposed commands need.
    typed: Typed,
}

impl Output {
    /// Decides from the options and the terminals.
    #[expect(clippy::disallowed_methods, reason = "the environment is the command line's to read")]
    pub fn new(global: &Global) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let plain = set("NO_COLOR") || std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let decide = |terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !plain,
        };
        // A pipe gets everything, unless COLUMNS tells otherwise.
        let columns = std::env::var("COLUMNS").ok().and_then(|v| v.parse().ok());
        Self {
            width: columns.or_else(|| terminal_width(io::stdout())).filter(|w| *w > 0),
            talk_width: columns.or_else(|| terminal_width(io::stderr())).filter(|w| *w > 0),
            json: global.json,
            quiet: global.quiet,
            color_out: decide(io::stdout().is_terminal()),
            color_err: decide(io::stderr().is_terminal()),
            typed: Typed::default(),
        }
    }

    /// Returns the same, whose proposed commands have these options.
    #[must_use]
    pub fn proposing(self, typed: Typed) -> Self {
        Self { typed, ..self }
    }

    /// Returns a command, written without the program's name, as it is to be typed for the same network.
    pub fn command(&self, command: &str) -> String {
        self.typed.command(command)
    }

    /// Makes one without colour, of so many columns.
    #[cfg(test)]
    pub fn plain(width: Option<usize>) -> Self {
        Self {
            json: false,
            quiet: false,
            color_out: false,
            color_err: false,
            width,
            talk_width: width,
            typed: Typed::default(),
        }
    }

    /// Says whether somebody watches who wants to see that work goes on.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && !self.json && io::stderr().is_terminal()
    }

    /// Says whether results are coloured.
    pub const fn colored(&self) -> bool {
        self.color_out
    }

    /// Returns the same with the width that the terminal has now; for what is drawn again and again.
    pub fn measured(&self) -> Self {
        Self { width: terminal_width(io::stdout()).or(self.width), ..self.clone() }
    }

    /// How many columns a line may have; `None`: as many as it likes.
    pub const fn width(&self) -> Option<usize> {
        self.width
    }

    /// Paints a text of a result.
    pub fn paint(&self, role: Role, text: &str) -> String {
        paint(self.color_out, role, text)
    }

    /// Paints a text of the talk.
    pub fn paint_talk(&self, role: Role, text: &str) -> String {
        paint(self.color_err, role, text)
    }

    /// Prints a result.
    pub fn result(&self, text: &str) -> io::Result<()> {
        let text = &*printable(text, self.color_out);
        let mut out = io::stdout().lock();
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        forgive(
            out.write_all(text.as_bytes())
                .and_then(|()| out.write_all(end.as_bytes()))
                .and_then(|()| out.flush()),
        )
    }

    /// Gives the commands in the sentences of a result their options, and wraps it at words where it goes to a terminal.
    pub fn fold(&self, text: &str) -> String {
        let text = self.typed.within(text);
        self.width.map_or_else(|| text.to_string(), |width| fold(&text, width))
    }

    /// Prints a result that is sentences.
    pub fn prose(&self, text: &str) -> io::Result<()> {
        self.result(&self.fold(text))
    }

    /// Prints bytes as they are: a picture.
    pub fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        forgive(out.write_all(bytes).and_then(|()| out.flush()))
    }

    /// Prints JSON that is text already, as [`Output::json`] would.
    pub fn json_text(&self, text: &[u8]) -> io::Result<()> {
        self.result(&printable_json(&self.typed.within_json(&String::from_utf8_lossy(text))))
    }

    /// Prints a result as JSON.
    pub fn json<T: Serialize>(&self, value: &T) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
        self.result(&printable_json(&self.typed.within_json(&text)))
    }

    /// Prints a result as JSON that holds keys: what it was made of and in is wiped.
    pub fn secret_json<T: Serialize>(&self, value: &T) -> io::Result<()> {
        let text = secret_json(value)?;
        self.result(&match self.typed.within_json(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(text) => Zeroizing::new(text),
        })
    }

    /// Returns a result as JSON on one line.
    pub fn json_line<T: Serialize>(&self, value: &T) -> io::Result<String> {
        let text = serde_json::to_string(value).map_err(io::Error::other)?;
        Ok(printable_json(&self.typed.within_json(&text)).into_owned() + "\n")
    }

    /// Says something on stderr, unless told to be quiet.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.talk(text);
        }
    }

    /// Says something on stderr that nobody may miss, however quiet.
    pub fn insist(&self, text: &str) {
        self.talk(text);
    }

    /// Tells a problem that nobody may miss, however quiet.
    pub fn insist_on(&self, problem: &Problem) {
        self.talk(&problem_text(self.color_err, problem));
    }

    /// Tells a problem on stderr; warnings keep quiet with `-q`.
    pub fn problem(&self, problem: &Problem) {
        if problem.severity == Severity::Error || !self.quiet {
            self.talk(&problem_text(self.color_err, problem));
        }
    }

    /// Tells what failed and what to do, always.
    pub fn error(&self, message: &str, hint: &str) {
        // What a program said may have lines; none of them begins as ours do.
        let message = message.trim_end().replace('\n', "\n    ");
        self.talk(&format!("{} {message}", paint(self.color_err, Role::Bad, "error:")));
        if !hint.is_empty() {
            self.talk(&format!("  {} {hint}", paint(self.color_err, Role::Head, "hint:")));
        }
    }

    fn talk(&self, text: &str) {
        let text = self.typed.within(text);
        let text = printable(&text, self.color_err);
        let text = self.talk_width.map_or_else(|| text.to_string(), |width| fold(&text, width));
        // Nobody is left to tell when stderr is gone.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// Says something on stderr before it is known how anything is to be said.
pub fn last_words(text: &str) {
    let _ = write!(io::stderr().lock(), "{}", printable(text, false));
}

fn terminal_width(stream: impl AsFd) -> Option<usize> {
    terminal_size::terminal_size_of(stream).map(|(w, _)| usize::from(w.0))
}

/// Returns a problem as a person reads it: place, what, hint.
fn problem_text(color: bool, problem: &Problem) -> String {
    let word = match problem.severity {
        Severity::Error => paint(color, Role::Bad, &format!("error[{}]:", problem.code)),
        Severity::Warning => paint(color, Role::Warn, &format!("warning[{}]:", problem.code)),
    };
    // A file may be called by two lines, and each would look like a problem of its own.
    let place = paint(color, Role::Dim, &format!("{}:", one_line(&problem.place)));
    let mut text = format!("{place} {word} {}", one_line(&problem.message));
    if !problem.hint.is_empty() {
        text += &format!("\n  {} {}", paint(color, Role::Head, "hint:"), one_line(&problem.hint));
    }
    text
}

/// A text on one line: where it is broken, that is shown.
fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains('\n') { text.replace('\n', "\\u{a}").into() } else { text.into() }
}

fn paint(color: bool, role: Role, text: &str) -> String {
    if !color {
        return text.into();
    }
    let style = role.style();
    format!("{}{text}{}", style.render(), style.render_reset())
}

fn forgive(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
