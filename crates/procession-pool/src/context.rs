//! Pools from a context.

use procession_process::Context;

use crate::Builder;

/// What a [`Context`] makes beside processes. In the prelude of `procession`.
///
/// # Examples
///
/// ```
/// # fn main() -> procession_core::Result<()> {
/// # procession_process::init();
/// use procession_pool::ContextExt;
/// use procession_process::{Context, StartMethod};
///
/// let pool = Context::new(StartMethod::Spawn).pool().workers(std::num::NonZeroUsize::MIN).build()?;
/// assert_eq!(pool.map(|x: u32| x + 1, 0..3)?, [1, 2, 3]);
/// # Ok(())
/// # }
/// ```
pub trait ContextExt {
    /// Describes a pool whose workers are started by this context's method.
    fn pool(self) -> Builder;
}

impl ContextExt for Context {
    fn pool(self) -> Builder {
        Builder::new().context(self)
    }
}
