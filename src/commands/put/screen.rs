//! What `put` shows while it works: a progress bar, where standard error is a terminal.

use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::producer::Totals;

/// The bar, or nothing.
pub(in crate::commands) struct Screen {
    bar: ProgressBar,
}

impl Screen {
    /// With `bytes` of input in all, as far as that is known.
    pub(in crate::commands) fn new(bytes: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr());
        let template = match bytes {
            Some(_) => "{elapsed:>4} [{bar:32}] {bytes} of {total_bytes}  {msg}",
            None => "{elapsed:>4} {spinner} {bytes}  {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar }
    }

    /// So many bytes of input were taken.
    pub(in crate::commands) fn taken(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// How it goes, `passed` after the start.
    pub(in crate::commands) fn show(&self, totals: &Totals, passed: Duration) {
        if self.bar.is_hidden() {
            return;
        }
        let rate = totals.delivered as f64 / passed.as_secs_f64().max(0.001);
        let mut text = format!("{} records, {rate:.0}/s", totals.delivered);
        if totals.retried > 0 {
            text = format!("{text}, {} sent again", totals.retried);
        }
        self.bar.set_message(text);
        self.bar.tick();
    }

    /// How it goes, in these words.
    pub(in crate::commands) fn say(&self, text: impl FnOnce() -> String) {
        if !self.bar.is_hidden() {
            self.bar.set_message(text());
            self.bar.tick();
        }
    }

    /// Lets something else write to standard error.
    pub(in crate::commands) fn aside(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }

    /// Takes the bar away.
    pub(in crate::commands) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// `12.3 MiB`
pub(in crate::commands) fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}
