//! Points in time at which a wait ends.

use std::time::{Duration, Instant};

/// The end of a wait, on the monotonic clock: a moment, or never.
///
/// A step of the wall clock does not move it. A duration too large to add to the clock means never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// A wait without end.
    pub const NEVER: Self = Self(None);

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
        Self(Instant::now().checked_add(timeout))
    }

    /// The given moment.
    pub fn at(moment: Instant) -> Self {
        Self(Some(moment))
    }

    /// What is left of the wait: `None` for a wait without end, zero once the moment has passed.
    pub fn remaining(self) -> Option<Duration> {
        self.0.map(|moment| moment.saturating_duration_since(Instant::now()))
    }

    /// The earlier of two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(one), Some(other)) => Self(Some(one.min(other))),
            (one, other) => Self(one.or(other)),
        }
    }

    /// Whether the moment has passed.
    pub fn has_passed(self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }
}
