//! A process that counts letters for another one.

use std::ffi::CString;

use procession::prelude::*;
use procession::{Death, Error, Resource, Result};

use crate::letters;

/// The process, and the pipe through which it is asked.
pub(crate) struct Worker {
    process: Process,
    pipe: Duplex<CString, i32>,
}

impl Worker {
    pub(crate) fn start() -> Result<Self> {
        let (pipe, theirs) = duplex()?;
        // It is meant to crash: nobody needs its core.
        let builder = Process::builder().name("counter").limit(Resource::Core, Some(0), Some(0));
        Ok(Self { process: builder.spawn(work, (theirs,))?, pipe })
    }

    /// Asks for the number of letters, and gets that or the death of the process.
    pub(crate) fn count(&self, word: &str) -> Result<std::result::Result<i32, Death>> {
        let word = CString::new(word).map_err(|zero| Error::from_foreign(&zero))?;
        let answer = self.pipe.send(word).and_then(|()| self.pipe.recv());
        match answer {
            Ok(letters) => Ok(Ok(letters)),
            // Nobody is there who could answer.
            Err(closed) => match self.process.join() {
                Err(JoinError::Died(death)) => Ok(Err(death)),
                Err(other) => Err(other.into()),
                Ok(()) => Err(closed),
            },
        }
    }

    /// Lets it end: there are no more words.
    pub(crate) fn stop(self) -> Result<()> {
        drop(self.pipe);
        Ok(self.process.join()?)
    }
}

/// What the process does.
fn work(pipe: Duplex<i32, CString>) {
    for word in &pipe {
        let Ok(word) = word else { return };
        if pipe.send(letters::count(&word)).is_err() {
            return;
        }
    }
}
