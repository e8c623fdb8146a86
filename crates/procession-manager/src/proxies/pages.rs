//! Going through a container page by page.

use std::collections::VecDeque;
use std::fmt;

use procession_core::Result;

/// How many items a page has at most: enough that a page costs more than the round trip for it.
pub(super) const ITEMS: u32 = 1024;
/// How many bytes of them: what fits a pipe twice over.
pub(super) const BYTES: u64 = 128 << 10;

/// What is in a container of a manager's, fetched page by page.
///
/// It is live: what is put in or taken out in the meantime, behind what was fetched, counts. A page that cannot be fetched is an error, and the
/// last item.
#[must_use = "nothing is fetched before it is asked for"]
pub struct Pages<'a, T> {
    here: VecDeque<T>,
    /// Fetches the next page; an empty one is the last.
    fetch: Box<dyn FnMut() -> Result<VecDeque<T>> + 'a>,
    is_over: bool,
}

impl<'a, T> Pages<'a, T> {
    pub(super) fn new(fetch: impl FnMut() -> Result<VecDeque<T>> + 'a) -> Self {
        Self { here: VecDeque::new(), fetch: Box::new(fetch), is_over: false }
    }
}

impl<T> Iterator for Pages<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        if self.here.is_empty() && !self.is_over {
            match (self.fetch)() {
                Ok(page) => {
                    self.is_over = page.is_empty();
                    self.here = page;
                }
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
        self.here.pop_front().map(Ok)
    }
}

impl<T> fmt::Debug for Pages<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("fetched", &self.here.len()).finish_non_exhaustive()
    }
}
