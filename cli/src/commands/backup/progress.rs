//! How far a backup or a restore is, on stderr: a bar on a terminal, a line now and then elsewhere.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rmq_backup::Progress;

use crate::numbers;
use crate::output::Output;

/// Between two lines where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);

/// Shows bytes, rate and the time that is left.
pub(crate) struct Shown<'a> {
    output: &'a Output,
    bar: RefCell<ProgressBar>,
    what: Cell<&'static str>,
    total: Cell<u64>,
    done: Cell<u64>,
    began: Cell<Instant>,
    said: Cell<Instant>,
}

impl<'a> Shown<'a> {
    pub(crate) fn new(output: &'a Output) -> Self {
        let now = Instant::now();
        Self {
            output,
            bar: RefCell::new(ProgressBar::hidden()),
            what: Cell::new(""),
            total: Cell::new(0),
            done: Cell::new(0),
            began: Cell::new(now),
            said: Cell::new(now),
        }
    }
}

impl Progress for Shown<'_> {
    fn begins(&self, what: &'static str, bytes: u64) {
        let now = Instant::now();
        self.what.set(what);
        self.total.set(bytes);
        self.done.set(0);
        self.began.set(now);
        self.said.set(now);
        self.bar.borrow().finish_and_clear();
        if self.output.shows_progress() {
            let form = match bytes {
                0 => "{prefix:8} {bytes}, {bytes_per_sec}",
                _ => "{prefix:8} {bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            };
            let bar = ProgressBar::new(bytes).with_prefix(what);
            bar.set_style(
                ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            *self.bar.borrow_mut() = bar;
        }
    }

    fn moved(&self, bytes: u64) {
        self.done.set(self.done.get() + bytes);
        self.bar.borrow().inc(bytes);
        if self.output.shows_progress() || self.said.get().elapsed() < EVERY {
            return;
        }
        self.said.set(Instant::now());
        let (done, total) = (self.done.get(), self.total.get());
        let seconds = self.began.get().elapsed().as_secs_f64().max(0.001);
        let rate = done as f64 / seconds;
        let of = match total {
            0 => String::new(),
            total => {
                let left = total.saturating_sub(done) as f64 / rate.max(1.0);
                let left = numbers::length((left * 1e3) as i64);
                format!(" of {}, {left} left", numbers::bytes(total))
            }
        };
        self.output.say(&format!(
            "{}: {}{of}, {}/s",
            self.what.get(),
            numbers::bytes(done),
            numbers::bytes(rate as u64)
        ));
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.bar.borrow().finish_and_clear();
    }
}
