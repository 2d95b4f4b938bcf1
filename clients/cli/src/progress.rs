//! Progress on a terminal, on stderr; nothing elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;

use asof_offline::{Phase, Progress};
use indicatif::{ProgressBar, ProgressStyle};

use crate::output;

/// A line that tells how far a command is.
pub struct Line {
    bar: ProgressBar,
    phase: Mutex<Option<Phase>>,
}

impl Line {
    /// A line that is shown on a terminal only.
    pub fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        Self {
            bar,
            phase: Mutex::new(None),
        }
    }

    /// Says what is being done and how many rows are.
    pub fn rows(&self, what: &str, rows: u64) {
        self.bar
            .set_message(format!("{what}: {}", output::counted(rows, "row")));
    }

    /// The same, as a bar where it is known of how many.
    pub fn rows_of(&self, what: &str, rows: u64, total: Option<u64>) {
        self.rows(what, rows);
        if self.bar.length() != total {
            self.styled(total);
        }
        self.bar.set_position(rows);
    }

    /// Whether anybody sees it.
    pub fn is_shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// A bar of that length, or a line where none is known.
    fn styled(&self, total: Option<u64>) {
        match total {
            Some(total) => {
                self.bar.set_length(total);
                let style = ProgressStyle::with_template("{msg} [{bar:30}] {percent}% {eta} left");
                self.bar
                    .set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            }
            None => {
                self.bar.unset_length();
                self.bar.set_style(ProgressStyle::default_spinner());
            }
        }
    }

    /// Takes the line away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Progress for Line {
    fn advance(&self, phase: &Phase, done: u64, total: Option<u64>) {
        let mut current = self
            .phase
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if current.as_ref() != Some(phase) {
            *current = Some(phase.clone());
            self.styled(total);
        }
        self.bar.set_position(done);
        match phase {
            Phase::Spine => self.rows("reading the spine", done),
            Phase::Sources => self.rows("reading the sources", done),
            Phase::Write => self.rows("writing the dataset", done),
        }
    }
}
