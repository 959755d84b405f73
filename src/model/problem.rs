//! One fault or warning, with its place, a code, a sentence and what to do.

use std::fmt;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file works, but probably not as meant.
    Warning,
}

/// One thing wrong: with a file, a network or a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// A short name that programs can rely on, such as `duplicate-address`.
    pub code: String,
    /// Error or warning.
    pub severity: Severity,
    /// `FILE:LINE:COLUMN` for a file, otherwise what it is about, such as `node.docker`.
    #[serde(rename = "where")]
    pub place: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it; empty where the message says it all.
    pub hint: String,
}

impl Problem {
    /// Makes an error.
    pub fn error(
        code: &str,
        place: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Error, code, place, message, hint)
    }
    /// Makes a warning.
    pub fn warning(
        code: &str,
        place: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, code, place, message, hint)
    }
    fn new(
        severity: Severity,
        code: &str,
        place: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { code: code.into(), severity, place: place.into(), message: message.into(), hint: hint.into() }
    }
    /// Says whether this is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}: {word}[{}]: {}", self.place, self.code, self.message)?;
        if !self.hint.is_empty() {
            write!(f, "\n  hint: {}", self.hint)?;
        }
        Ok(())
    }
}
