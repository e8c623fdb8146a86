//! What the file of a lock holds: who has the lock, or blanks.

use std::fmt;

/// The length of a record, and of the blanks that it is cleared with: so that one overwrites the other whole, in one call, and
/// no room has to be found on a disk that is full.
pub(super) const LEN: usize = 64;

/// What the file holds while nobody has the lock, once somebody had it.
pub(super) const BLANK: [u8; LEN] = {
    let mut blank = [b' '; LEN];
    blank[LEN - 1] = b'\n';
    blank
};

/// The process that has a [`NamedLock`](crate::NamedLock), for people to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedOwner {
    /// Its number, as it knows it itself: in a container, say, that is not what others call it.
    pub pid: u32,
    /// When it started, in clock ticks since its machine booted: process numbers are reused, both together are not. `None` when
    /// the owner does not say.
    pub start_ticks: Option<u64>,
}

impl NamedOwner {
    /// What the owner writes into the file.
    pub(super) fn record(&self) -> [u8; LEN] {
        let mut text = format!("{}\n", self.pid);
        if let Some(ticks) = self.start_ticks {
            text.push_str(&format!("started {ticks} ticks after boot"));
        }
        let mut record = BLANK;
        for (place, byte) in record[..LEN - 1].iter_mut().zip(text.bytes()) {
            *place = byte;
        }
        record
    }
}

impl fmt::Display for NamedOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)
    }
}

/// What was found in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing, or blanks: nobody has the lock, or whoever has it has not said so yet.
    Blank,
    /// Somebody has the lock, or died over it.
    Owner(NamedOwner),
    /// Somebody died while it wrote, or something else writes into the file.
    Garbage,
}

impl Content {
    /// Reads what a file begins with.
    pub(super) fn of(bytes: &[u8]) -> Self {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Self::Blank;
        }
        match owner(bytes) {
            Some(owner) => Self::Owner(owner),
            None => Self::Garbage,
        }
    }
}

fn owner(bytes: &[u8]) -> Option<NamedOwner> {
    let text = std::str::from_utf8(bytes).ok()?;
    // A number without its line break may be the half of one.
    let (pid, rest) = text.split_once('\n')?;
    let pid = number(pid).and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0)?;
    let start_ticks = match rest.trim_ascii_end() {
        // A pid file as others write it.
        "" => None,
        line => {
            let ticks = line.strip_prefix("started ")?.strip_suffix(" ticks after boot")?;
            Some(number(ticks)?)
        }
    };
    Some(NamedOwner { pid, start_ticks })
}

/// Digits and nothing else; `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_owner() -> impl Strategy<Value = NamedOwner> {
        (1..=u32::MAX, any::<Option<u64>>())
            .prop_map(|(pid, start_ticks)| NamedOwner { pid, start_ticks })
    }

    #[test]
    fn the_longest_record_fits() {
        let longest = NamedOwner { pid: u32::MAX, start_ticks: Some(u64::MAX) };
        let record = longest.record();
        let expected = "4294967295\nstarted 18446744073709551615 ticks after boot";
        assert_eq!(str::from_utf8(&record).unwrap().trim_ascii_end(), expected);
        assert_eq!(Content::of(&record), Content::Owner(longest));
    }

    #[test]
    fn a_pid_file_of_others_names_its_process() {
        let owner = NamedOwner { pid: 4711, start_ticks: None };
        assert_eq!(Content::of(b"4711\n"), Content::Owner(owner));
        assert_eq!(owner.to_string(), "process 4711");
    }

    #[test]
    fn blanks_are_nobody_and_everything_else_is_somebody() {
        for blank in [&b""[..], b"\n", b" \t\r\n", &BLANK, &BLANK[..7]] {
            assert_eq!(Content::of(blank), Content::Blank, "{blank:?}");
        }
        for garbage in [
            &b"\0"[..],
            &[0; LEN],
            b"4711",
            b"0\n",
            b"+4711\n",
            b" 4711\n",
            b"47 11\n",
            b"4294967296\n",
            b"4711\nstarted",
            b"4711\nstarted ticks after boot\n",
            b"4711\nstarted -1 ticks after boot\n",
            b"4711\n\xff",
            b"hello\n",
            b"\n4711\n",
        ] {
            assert_eq!(Content::of(garbage), Content::Garbage, "{garbage:?}");
        }
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(owner in any_owner()) {
            let record = owner.record();
            prop_assert_eq!(Content::of(&record), Content::Owner(owner));
            let text = str::from_utf8(&record).unwrap();
            // What `head -1` and `cat` show.
            prop_assert_eq!(text.lines().next().unwrap(), owner.pid.to_string());
            prop_assert!(text.ends_with('\n'));
        }

        /// A record over blanks or over another record, and blanks over a record, cut off anywhere.
        #[test]
        fn a_torn_write_is_never_taken_for_nobody(
            (new, old) in (any_owner(), any_owner()), cut in 1..LEN,
        ) {
            let torn = |old: &[u8], new: &[u8]| [&new[..cut], &old[cut..]].concat();
            prop_assert_ne!(Content::of(&torn(&BLANK, &new.record())), Content::Blank);
            prop_assert_ne!(Content::of(&torn(&old.record(), &new.record())), Content::Blank);
            prop_assert_ne!(Content::of(&new.record()[..cut]), Content::Blank);
            let torn = torn(&old.record(), &BLANK);
            let rest_is_blank = old.record()[cut..].iter().all(u8::is_ascii_whitespace);
            prop_assert_eq!(Content::of(&torn) == Content::Blank, rest_is_blank);
        }

        /// A process number that is read is one that was written, or the beginning of a file is no record.
        #[test]
        fn a_torn_record_over_blanks_names_nobody_else(owner in any_owner(), cut in 0..LEN) {
            let torn = [&owner.record()[..cut], &BLANK[cut..]].concat();
            if let Content::Owner(read) = Content::of(&torn) {
                prop_assert_eq!(read.pid, owner.pid);
                prop_assert!(read.start_ticks.is_none() || read == owner);
            }
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..2 * LEN)) {
            let is_blank = bytes.iter().all(u8::is_ascii_whitespace);
            prop_assert_eq!(Content::of(&bytes) == Content::Blank, is_blank);
        }
    }
}
