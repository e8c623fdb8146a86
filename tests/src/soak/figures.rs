//! Times, and the table of them.

use std::time::Duration;

/// What was measured in one column of one row.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<Duration>);

impl Samples {
    pub(super) fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// The least sample that at least so many thousandths of all are not above (nearest rank).
    fn quantile(&self, thousandths: usize) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * thousandths).div_ceil(1000).max(1);
        sorted.get(rank - 1).copied()
    }
}

/// The samples that a column's quantiles are of, in milliseconds: their number, then the quantiles.
pub(super) fn cells(samples: &Samples) -> String {
    let mut text = format!("  | {:>7}", samples.0.len());
    for thousandths in [500, 990, 999, 1000] {
        text += &match samples.quantile(thousandths) {
            Some(time) => format!(" {:>8.2}", time.as_secs_f64() * 1e3),
            None => format!(" {:>8}", "-"),
        };
    }
    text
}

/// The heading of [`cells`].
pub(super) fn heading(what: &str) -> String {
    format!("  | {what:>7} {:>8} {:>8} {:>8} {:>8}", "p50", "p99", "p99.9", "max")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let mut samples = Samples::default();
        assert_eq!(
            cells(&samples).split_whitespace().collect::<Vec<_>>(),
            ["|", "0", "-", "-", "-", "-"]
        );
        for number in (1..=1000).rev() {
            samples.add(Duration::from_millis(number));
        }
        let expected = ["|", "1000", "500.00", "990.00", "999.00", "1000.00"];
        assert_eq!(cells(&samples).split_whitespace().collect::<Vec<_>>(), expected);
    }
}
