//! What rows have in common.

use std::ops::Deref;
use std::time::Duration;

use procession::Manager;
use procession_tests::wait_until;

/// What CPython's tests wait at most for what does not come (`TIMEOUT1`).
pub(crate) const TIMEOUT: Duration = Duration::from_millis(100);

/// A manager that has no object left when the row ends, as CPython's fixture checks (`_number_of_objects() == 0`).
pub(crate) struct Managed(Manager);

impl Managed {
    pub(crate) fn start() -> Self {
        Self(Manager::start().unwrap())
    }
}

impl Deref for Managed {
    type Target = Manager;

    fn deref(&self) -> &Manager {
        &self.0
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            wait_until("no object is left", || self.0.object_count().unwrap() == 0);
        }
    }
}
