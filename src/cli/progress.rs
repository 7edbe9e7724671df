//! Progress on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::Output;
use crate::jobs::meter::Watcher;
use crate::jobs::report::StepReport;

/// Shows the step that runs, on a terminal; nowhere else.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Starts to show progress where the output may.
    pub fn new(output: &Output<'_>) -> Self {
        let target = if output.shows_progress() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar }
    }

    /// Says what the steps that follow are about.
    pub fn about(&self, what: impl Into<String>) {
        self.bar.set_prefix(what.into());
    }

    /// Takes the progress off the terminal.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watcher for Progress {
    fn started(&self, step: &str) {
        self.bar.set_message(step.to_owned());
    }

    fn finished(&self, _report: &StepReport) {
        self.bar.set_message("");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
