//! What the system tells everybody about a process.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{call, fail};
use crate::Result;

/// The fields of `/proc/[pid]/stat` that we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// The number of the parent; zero when it is in another pid namespace.
    pub(super) parent: u32,
    /// How many threads it has; a zombie has one, which has ended.
    pub(super) threads: usize,
    /// When it started, in clock ticks since the machine booted.
    pub(super) start_ticks: u64,
    /// Whether any thread of it still runs; those of a zombie have all ended.
    pub(super) lives: bool,
    /// How long it ran on processors, in clock ticks; what it has waited for of its children does not count.
    pub(super) processor_ticks: u64,
    /// How many pages of its memory are resident.
    pub(super) resident_pages: u64,
}

/// Reads about the process `pid`; `None` when there is none.
///
/// # Errors
///
/// When this process may open no more descriptors.
///
/// # Source
///
/// `proc(5)`, `/proc/[pid]/stat`.
pub(super) fn read(pid: u32) -> Result<Option<Stat>> {
    let path = format!("/proc/{pid}/stat");
    let subject = || path.clone();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut buffer = [0; MOST];
    let answer = call("read", subject, || {
        let file = rustix::fs::open(&path, flags, Mode::empty())?;
        rustix::io::read(&file, &mut buffer)
    });
    match answer {
        Ok(length) => match parse(&buffer[..length]) {
            Some(stat) => Ok(Some(stat)),
            None => Err(fail("understand", path, Errno::INVAL)),
        },
        // The process ended before the file was opened, or before it was read.
        Err(error) if GONE.contains(&error.code().raw()) => Ok(None),
        Err(error) => Err(error),
    }
}

const GONE: [i32; 2] = [Errno::NOENT.raw_os_error(), Errno::SRCH.raw_os_error()];

/// A name of 64 bytes and 51 numbers of 20 digits fit: one read takes the whole line.
const MOST: usize = 2048;

fn parse(line: &[u8]) -> Option<Stat> {
    // The second field is the program's name in parentheses, and may hold any bytes itself, spaces and parentheses too.
    let end_of_name = line.windows(2).rposition(|pair| pair == b") ")?;
    let rest = std::str::from_utf8(&line[end_of_name + 2..]).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().take(22).collect();
    // `proc(5)` counts from 1, and the first one here is the third: state 3, parent 4, user time 14, system time 15,
    // threads 20, start 22, resident pages 24.
    let field = |number: usize| fields.get(number - 3).copied();
    let threads = field(20)?.parse().ok()?;
    let lives = match field(3)? {
        "X" | "x" => false,
        // The first thread has ended; the others may not have.
        "Z" => threads > 1,
        _ => true,
    };
    let (parent, start_ticks) = (field(4)?.parse().ok()?, field(22)?.parse().ok()?);
    let processor_ticks = field(14)?.parse::<u64>().ok()? + field(15)?.parse::<u64>().ok()?;
    let resident_pages = field(24)?.parse().ok()?;
    Some(Stat { parent, threads, start_ticks, lives, processor_ticks, resident_pages })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "S 17 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 5 6 7";

    #[test]
    fn names_may_hold_anything() {
        let expected = Stat {
            parent: 17,
            threads: 1,
            start_ticks: 4242,
            lives: true,
            processor_ticks: 5 + 6,
            resident_pages: 6,
        };
        for name in ["a", "a b", "a) S 99 (b", ")", ") ", "((\u{fc})\n"] {
            let line = format!("123 ({name}) {TAIL}\n");
            assert_eq!(parse(line.as_bytes()), Some(expected), "{name}");
        }
        let mut line = b"123 (\xff\xfe) ".to_vec();
        line.extend(TAIL.as_bytes());
        assert_eq!(parse(&line), Some(expected));
    }

    #[test]
    fn a_zombie_lives_while_it_has_other_threads() {
        let lives = |state: &str, threads: u32| {
            let tail = TAIL.replacen('S', state, 1).replace("20 0 1", &format!("20 0 {threads}"));
            parse(format!("1 (a) {tail}").as_bytes()).map(|stat| stat.lives)
        };
        assert_eq!(lives("R", 1), Some(true));
        assert_eq!(lives("Z", 1), Some(false));
        assert_eq!(lives("Z", 2), Some(true));
        assert_eq!(lives("X", 2), Some(false));
    }

    #[test]
    fn half_a_line_is_refused() {
        let line = format!("123 (a) {TAIL}");
        let cut = line.find(" 4242").unwrap();
        assert_eq!(parse(&line.as_bytes()[..cut]), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn a_process_that_goes_meanwhile_is_gone() {
        let child = super::super::testing::Child::run(|| super::super::testing::pause());
        let path = format!("/proc/{}/stat", child.pid);
        let file = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        assert_eq!(read(child.pid).unwrap().unwrap().parent, std::process::id());
        drop(child);
        let code = rustix::io::read(file.unwrap(), &mut [0; 8]).unwrap_err();
        assert!(GONE.contains(&code.raw_os_error()), "{code}");
        let code = std::fs::File::open(path).unwrap_err().raw_os_error().unwrap();
        assert!(GONE.contains(&code), "{code}");
        assert_eq!(read(u32::MAX), Ok(None));
    }
}
