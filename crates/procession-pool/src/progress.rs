//! How far a call is, on a terminal.

#[cfg(feature = "progress")]
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line on standard error, while that is a terminal; it is taken away in the end.
#[cfg(feature = "progress")]
pub(crate) struct Bar(ProgressBar);

#[cfg(feature = "progress")]
impl Bar {
    pub(crate) fn new(title: &'static str) -> Self {
        // Nothing draws but whoever takes results: a thread of its own could not be forked over.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        bar.set_message(title);
        Self(bar)
    }

    /// So many more are done, of so many in all.
    pub(crate) fn advance(&mut self, done: usize, total: Option<usize>) {
        if let Some(total) = total
            && self.0.length() != Some(total as u64)
        {
            self.0.set_length(total as u64);
            if let Ok(style) = ProgressStyle::with_template(
                "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} eta {eta}",
            ) {
                self.0.set_style(style);
            }
        }
        self.0.inc(done as u64);
    }
}

#[cfg(feature = "progress")]
impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Nothing.
#[cfg(not(feature = "progress"))]
pub(crate) struct Bar;

#[cfg(not(feature = "progress"))]
impl Bar {
    pub(crate) fn new(_title: &'static str) -> Self {
        Self
    }

    pub(crate) fn advance(&mut self, _done: usize, _total: Option<usize>) {}
}
