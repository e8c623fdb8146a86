//! Points in time at which a wait ends.

use std::time::{Duration, Instant};

/// The end of a wait, on the monotonic clock: a moment, or never.
///
/// A step of the wall clock does not move it. A duration too large to add to the clock means never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(End);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Past,
    At(Instant),
    Never,
}

impl Deadline {
    /// A wait without end.
    pub const NEVER: Self = Self(End::Never);

    /// No wait: the moment has passed. No clock is looked at to find that out.
    pub const PAST: Self = Self(End::Past);

    /// The moment that is `timeout` from now.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_sys::Deadline;
    /// use std::time::Duration;
    ///
    /// assert!(Deadline::after(Duration::ZERO).has_passed());
    /// assert!(!Deadline::after(Duration::MAX).has_passed());
    /// ```
    pub fn after(timeout: Duration) -> Self {
        match timeout.is_zero() {
            true => Self::PAST,
            false => Self(Instant::now().checked_add(timeout).map_or(End::Never, End::At)),
        }
    }

    /// The given moment.
    pub fn at(moment: Instant) -> Self {
        Self(End::At(moment))
    }

    /// What is left of the wait: `None` for a wait without end, zero once the moment has passed.
    pub fn remaining(self) -> Option<Duration> {
        match self.0 {
            End::Past => Some(Duration::ZERO),
            End::At(moment) => Some(moment.saturating_duration_since(Instant::now())),
            End::Never => None,
        }
    }

    /// The earlier of two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        match (self.0, other.0) {
            (End::Past, _) | (_, End::Never) => self,
            (_, End::Past) | (End::Never, _) => other,
            (End::At(one), End::At(other)) => Self(End::At(one.min(other))),
        }
    }

    /// Whether the moment has passed.
    pub fn has_passed(self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }
}
