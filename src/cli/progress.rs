//! What a person sees of work that takes longer than a second: one line on stderr, gone when the work is done.
//!
//! Only on a terminal, and never with `--quiet` or `--json`.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::Output;

/// How long work may take unseen.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the line is drawn.
const TICK: Duration = Duration::from_millis(120);

/// The line of one piece of work; dropped, it is gone.
pub struct Progress {
    bar: ProgressBar,
    /// Dropped with the rest, which ends the thread that waits for the first second to pass.
    done: Option<Sender<()>>,
    waiting: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins work of unknown length: `what` is a sentence such as `building the lab of wg0`.
    pub fn of(out: &Output, what: impl Into<String>) -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        Self::begin(out, ProgressBar::no_length(), style, what.into())
    }

    /// Begins work on so many things, each told by [`Progress::one`].
    pub fn of_many(out: &Output, what: impl Into<String>, count: usize) -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg} [{wide_bar}] {pos}/{len}");
        Self::begin(out, ProgressBar::new(count as u64), style, what.into())
    }

    fn begin(
        out: &Output,
        bar: ProgressBar,
        style: Result<ProgressStyle, indicatif::style::TemplateError>,
        what: String,
    ) -> Self {
        bar.set_draw_target(ProgressDrawTarget::hidden());
        if !out.shows_progress() {
            return Self { bar, done: None, waiting: None };
        }
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> ").tick_chars("|/-\\ "));
        }
        bar.set_message(what);
        let (done, is_done) = mpsc::channel::<()>();
        let line = bar.clone();
        let waiting = std::thread::Builder::new().name("progress".into()).spawn(move || {
            if is_done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                line.set_draw_target(ProgressDrawTarget::stderr());
                line.enable_steady_tick(TICK);
            }
        });
        Self { bar, done: Some(done), waiting: waiting.ok() }
    }

    /// Says that one more thing is done.
    pub fn one(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.done = None;
        if let Some(waiting) = self.waiting.take() {
            let _ = waiting.join();
        }
        self.bar.finish_and_clear();
    }
}
