//! What the demo shows: results on standard output, a progress bar on standard error.

use std::fmt::Display;
use std::io::{Write, stdout};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Both outputs; lines never tear the bar.
#[derive(Debug)]
pub struct Screen {
    bar: ProgressBar,
}

impl Screen {
    /// With a bar that ends at `events`; where standard error is no terminal there is no bar.
    pub fn new(events: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(events), ProgressDrawTarget::stderr());
        let template = "{elapsed:>4} [{bar:32}] {human_pos} of {human_len} events put  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar }
    }

    /// Prints a line of results. A closed standard output is no reason to stop archiving.
    pub fn line(&self, line: impl Display) {
        self.bar.suspend(|| {
            let _ = writeln!(stdout(), "{line}");
        });
    }

    /// So many more events are put.
    pub fn put(&self, more: u64) {
        self.bar.inc(more);
    }

    /// What is being waited for.
    pub fn waiting(&self, what: impl Display) {
        self.bar.set_message(what.to_string());
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// `1234567` as `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(count(7), "7");
        assert_eq!(count(999), "999");
        assert_eq!(count(20_000), "20,000");
        assert_eq!(count(1_234_567), "1,234,567");
    }
}
