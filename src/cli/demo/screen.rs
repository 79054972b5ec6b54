//! Owns what the demo prints: lines with the time since the start, comments in a frame.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio::time::Instant;

use crate::cli::demo::text;

/// Standard output, coloured where a person reads it.
pub struct Screen {
    began: Instant,
    colours: bool,
}

impl Screen {
    #[expect(clippy::new_without_default, reason = "it takes the time of the start")]
    pub fn new() -> Self {
        Screen {
            began: Instant::now(),
            colours: std::io::stdout().is_terminal(),
        }
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn line(&mut self, text: &str) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", text.trim_end())?;
        out.flush()
    }

    /// What somebody does.
    pub fn act(&mut self, what: &str) -> std::io::Result<()> {
        let at = format!("{:6.2} s", self.elapsed().as_secs_f64());
        self.line("")?;
        match self.colours {
            true => self.line(&format!("\u{1b}[2m{at}\u{1b}[0m  \u{1b}[1m{what}\u{1b}[0m")),
            false => self.line(&format!("{at}  {what}")),
        }
    }

    /// A comment as a person would see it.
    pub fn comment(&mut self, markdown: &str, folds: text::Folds<'_>) -> std::io::Result<()> {
        for line in text::shown(markdown, folds).lines() {
            let line = match (self.colours, line.trim_start().chars().next()) {
                (true, Some('+')) => format!("\u{1b}[32m{line}\u{1b}[0m"),
                (true, Some('-')) if !line.contains("──") => format!("\u{1b}[31m{line}\u{1b}[0m"),
                (true, Some('!')) => format!("\u{1b}[33m{line}\u{1b}[0m"),
                _ => line.to_owned(),
            };
            self.line(&format!("          │ {line}"))?;
        }
        Ok(())
    }
}
