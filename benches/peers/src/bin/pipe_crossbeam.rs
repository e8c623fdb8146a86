//! Family `pipe`, for scale: crossbeam-channel, for the threads of one process. A vector moves without being copied.

use std::io;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

#[expect(dead_code, reason = "clocks of another family")]
#[path = "../../../src/clock.rs"]
mod clock;
#[path = "../../../src/freight.rs"]
mod freight;
#[expect(dead_code, reason = "the steps of another family")]
#[path = "../../../src/line.rs"]
mod line;
#[expect(dead_code, reason = "the loop of another family")]
#[path = "../../../src/measure.rs"]
mod measure;

use line::{Line, Way, follow, lead, pipe_steps};

/// Numbers on their way.
const WORDS: usize = 1024;
/// Vectors on their way: of the longest, so many fit into the memory of most machines.
const VECTORS: usize = 16;

struct End {
    words: (Sender<u64>, Receiver<u64>),
    vectors: (Sender<Vec<u8>>, Receiver<Vec<u8>>),
}

impl Line for End {
    const WAYS: &'static [Way] = &[Way::Owned];

    #[inline]
    fn send_word(&mut self, word: u64) -> io::Result<()> {
        self.words.0.send(word).map_err(io::Error::other)
    }

    #[inline]
    fn recv_word(&mut self) -> io::Result<u64> {
        self.words.1.recv().map_err(io::Error::other)
    }

    fn give(&mut self, message: Vec<u8>) -> io::Result<()> {
        self.vectors.0.send(message).map_err(io::Error::other)
    }

    fn take(&mut self) -> io::Result<Vec<u8>> {
        self.vectors.1.recv().map_err(io::Error::other)
    }
}

fn main() -> io::Result<()> {
    let ((word_there, their_words), (word_back, my_words)) = (bounded(WORDS), bounded(WORDS));
    let ((there, theirs), (back, mine)) = (bounded(VECTORS), bounded(VECTORS));
    let mut mine = End { words: (word_there, my_words), vectors: (there, mine) };
    let mut theirs = End { words: (word_back, their_words), vectors: (back, theirs) };
    let steps = &pipe_steps::<End>();
    thread::scope(|scope| {
        let follower = scope.spawn(move || follow(&mut theirs, steps));
        let led = lead(&mut mine, steps);
        drop(mine);
        let followed =
            follower.join().map_err(|_panic| io::Error::other("the follower panicked"))?;
        followed.and(led)
    })
}
