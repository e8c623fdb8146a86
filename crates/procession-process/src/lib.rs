#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod build_id;
mod builder;
mod child;
mod current;
mod init;
pub mod panic;
mod process;
mod reaper;
mod report;
mod request;
mod server;
mod start;
mod status;
mod stream;
mod target;
pub mod trampoline;

pub use builder::Builder;
pub use current::parent_args;
pub use init::init;
pub use process::Process;
pub use start::{
    Context, StartMethod, force_start_method, set_start_method, start_method, start_method_if_set,
    start_methods,
};
pub use status::{Death, ExitStatus, JoinError, Panic};
pub use stream::Stream;
pub use target::Target;

/// What the macros of this crate expand to; not for anybody else.
#[doc(hidden)]
pub mod __private {
    pub use crate::init::{note_test_child, run_test_child};
    pub use procession_sys::before_main;
}
