//! `status --watch`: the status each second, on the terminal's other screen where there is one.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::context::Context;
use super::exit::Exit;
use super::fault::Fault;
use super::interrupt::interruptions;
use super::status::text;
use crate::app;

/// How long a picture stands, in milliseconds.
const EVERY: u16 = 1000;

/// Shows the status until it is left with q or Ctrl-C, or the reader goes away.
pub fn watch(ctx: &Context) -> Result<Exit, Fault> {
    let interrupted = interruptions()?;
    app::status_is_of_this_node(ctx)?;
    let screen = if io::stdout().is_terminal() && !ctx.out.json { Some(Screen::open()?) } else { None };
    let mut healthy = true;
    while !interrupted.load(Ordering::SeqCst) {
        let status = app::status_again(&ctx.later())?;
        healthy = status.is_healthy();
        let picture = if ctx.out.json {
            ctx.out.json_line(&status)?
        } else {
            let out = ctx.out.measured();
            let mut picture = text(&out, &status);
            for problem in &status.problems {
                picture += &format!("{}\n", problem.message);
            }
            out.fold(&picture)
        };
        let shown = if screen.is_some() { draw(&picture) } else { print(&picture) };
        match shown {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => break,
            other => other?,
        }
        if left(screen.is_some(), &interrupted)? {
            break;
        }
    }
    drop(screen);
    Ok(if healthy { Exit::Done } else { Exit::No })
}

fn print(picture: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(picture.as_bytes())?;
    out.flush()
}

/// Draws over the last picture, so that nothing flickers; what does not fit is left out.
fn draw(picture: &str) -> io::Result<()> {
    let height = terminal_size::terminal_size().map_or(24, |(_, h)| usize::from(h.0));
    let mut text = String::from("\x1b[H");
    for line in picture.lines().take(height.saturating_sub(2)) {
        text += line;
        text += "\x1b[K\r\n";
    }
    text += "\x1b[K\r\n\x1b[2mq leaves\x1b[0m\x1b[K\x1b[J";
    print(&text)
}

/// Waits for the next picture; says whether the user left before.
fn left(keys: bool, interrupted: &AtomicBool) -> io::Result<bool> {
    // Short waits, because a signal is a flag here and wakes nobody.
    for _ in 0..EVERY / 50 {
        if interrupted.load(Ordering::SeqCst) {
            return Ok(true);
        }
        let stdin = io::stdin();
        let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        let fds = if keys { &mut fds[..] } else { &mut [][..] };
        if matches!(poll(fds, PollTimeout::from(50u8)), Ok(1..)) {
            let mut key = [0u8; 16];
            let count = nix::unistd::read(stdin.as_fd(), &mut key)?;
            const CTRL_C: u8 = 3;
            if count == 0 || key[..count].iter().any(|k| matches!(*k, b'q' | b'Q' | CTRL_C)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The terminal's other screen, with keys that arrive one by one; dropping it puts everything back.
struct Screen {
    before: Option<Termios>,
}

impl Screen {
    fn open() -> io::Result<Self> {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
            tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?;
        }
        let screen = Self { before };
        print("\x1b[?1049h\x1b[?25l")?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = print("\x1b[?25h\x1b[?1049l");
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}
