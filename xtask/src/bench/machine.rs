//! How busy the machine is with other work, from `/proc/stat`.

use std::thread::park_timeout;
use std::time::{Duration, Instant};

/// Ticks a second in `/proc`, the same on every architecture that Linux supports today.
const TICKS_PER_SECOND: f64 = 100.0;
/// A machine is calm when it is less busy than this.
const CALM: f64 = 0.25;
/// How long to wait for a calm machine before measuring all the same.
const PATIENCE: Duration = Duration::from_secs(4);

/// The machine's clock of busy and total time, in ticks over all CPUs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticks {
    busy: f64,
    total: f64,
}

impl Ticks {
    /// Zeros where the system keeps no such account, so that nothing counts as foreign.
    pub(crate) fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        Self::parse(&stat)
    }

    fn parse(stat: &str) -> Self {
        let line = stat.lines().next().unwrap_or_default();
        // user nice system idle iowait irq softirq steal
        let fields = line.split_whitespace().skip(1).take(8);
        let fields: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
        let total = fields.iter().sum();
        Self { busy: total - fields.iter().skip(3).take(2).sum::<f64>(), total }
    }

    /// The share of the machine since `earlier` that went to others than us.
    pub(crate) fn foreign_share_since(self, earlier: Self, own_seconds: f64) -> f64 {
        let busy = self.busy - earlier.busy - own_seconds * TICKS_PER_SECOND;
        (busy / (self.total - earlier.total).max(1.0)).max(0.0)
    }
}

/// Waits until other work leaves the machine mostly idle, or patience ends.
pub(crate) fn wait_until_calm() {
    let begin = Instant::now();
    loop {
        let before = Ticks::now();
        // Waking early would only make one more look.
        park_timeout(Duration::from_millis(150));
        if Ticks::now().foreign_share_since(before, 0.0) < CALM || begin.elapsed() > PATIENCE {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_leaves_out_idle_and_waiting_for_disks() {
        let ticks = Ticks::parse("cpu  10 1 5 100 20 2 3 4 50 0\ncpu0 1 1 1 1");
        assert_eq!((ticks.busy, ticks.total), (25.0, 145.0));
    }

    #[test]
    fn own_time_is_not_foreign() {
        let before = Ticks { busy: 100.0, total: 1000.0 };
        let after = Ticks { busy: 180.0, total: 1200.0 };
        assert_eq!(after.foreign_share_since(before, 0.5), 30.0 / 200.0);
        assert_eq!(after.foreign_share_since(before, 0.9), 0.0);
    }
}
