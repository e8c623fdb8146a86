//! When which worker ran what.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::time::Duration;

/// A stretch in which a worker ran some tasks of a call, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    pub(crate) worker: usize,
    pub(crate) pid: u32,
    /// What was called.
    pub(crate) function: &'static str,
    /// The place of the first task, and how many there were.
    pub(crate) index: usize,
    pub(crate) count: u32,
    /// In [nanoseconds](procession_sys::clock::nanos).
    pub(crate) began: u64,
    pub(crate) ended: u64,
}

/// How many stretches are kept: 64 MiB of them.
const MOST: usize = 1 << 20;

/// When which worker of a pool ran what, from [`Pool::record`](crate::Pool::record) to [`Pool::timeline`](crate::Pool::timeline).
///
/// It holds a stretch for each chunk of tasks: for each task, when those take longer than a third of a millisecond. Of a million stretches and more, the
/// first million; the others are [counted](Self::dropped).
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    stretches: Vec<Stretch>,
    dropped: u64,
    /// When it was begun.
    since: u64,
}

impl Timeline {
    pub(crate) fn new(since: u64) -> Self {
        Self { since, ..Self::default() }
    }

    pub(crate) fn add(&mut self, stretch: Stretch) {
        match self.stretches.len() < MOST {
            true => self.stretches.push(stretch),
            false => self.dropped += 1,
        }
    }

    /// How many stretches it has.
    pub fn len(&self) -> usize {
        self.stretches.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    /// For how many there was no room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Writes it in the format of Chrome's trace events, which <https://ui.perfetto.dev> opens: a row for each worker.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    ///
    /// # Source
    ///
    /// "Trace Event Format", JSON object format, complete events (`X`) and metadata events (`M`).
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        write!(out, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
        let workers: BTreeMap<usize, u32> =
            self.stretches.iter().rev().map(|stretch| (stretch.worker, stretch.pid)).collect();
        let pid = std::process::id();
        let mut comma = "\n";
        for (worker, first) in workers {
            write!(
                out,
                "{comma}{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":{pid},\"tid\":{worker},\
                 \"args\":{{\"name\":\"worker {worker} (pid {first})\"}}}}"
            )?;
            comma = ",\n";
        }
        for stretch in &self.stretches {
            let Stretch { worker, pid: of, function, index, count, began, ended } = stretch;
            let micros = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e6;
            let (ts, dur) = (began.saturating_sub(self.since), ended.saturating_sub(*began));
            write!(
                out,
                "{comma}{{\"ph\":\"X\",\"name\":\"{}\",\"pid\":{pid},\"tid\":{worker},\"ts\":{:.3},\"dur\":{:.3},\
                 \"args\":{{\"index\":{index},\"tasks\":{count},\"pid\":{of}}}}}",
                Escaped(function),
                micros(ts),
                micros(dur),
            )?;
        }
        writeln!(out, "\n]}}")
    }
}

/// A name as it stands in a string of JSON.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                '\0'..' ' => write!(f, "\\u{:04x}", u32::from(character))?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_json_that_perfetto_opens() {
        let mut timeline = Timeline::new(1000);
        let stretch = Stretch {
            worker: 1,
            pid: 77,
            function: "a::b<\"c\\\n\">",
            index: 5,
            count: 2,
            began: 3000,
            ended: 4500,
        };
        timeline.add(stretch);
        let mut text = Vec::new();
        timeline.write(&mut text).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let events = json["traceEvents"].as_array().unwrap();
        assert_eq!(events[0]["args"]["name"], "worker 1 (pid 77)");
        assert_eq!(events[1]["ph"], "X");
        assert_eq!(events[1]["name"], stretch.function);
        assert_eq!((&events[1]["ts"], &events[1]["dur"]), (&2.0.into(), &1.5.into()));
        assert_eq!(events[1]["args"]["index"], 5);
    }
}
