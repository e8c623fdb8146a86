#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod after_fork;
mod birth;
mod build_id;
mod builder;
mod child;
mod children;
mod current;
mod ending;
mod executable;
mod exit_code;
mod fork;
mod in_thread;
mod init;
mod launch;
mod memory_events;
pub mod panic;
mod plan;
mod process;
mod reaper;
mod report;
mod request;
mod requester;
mod resources;
mod run;
mod server;
mod start;
mod status;
mod stream;
mod target;
mod template;
pub mod trampoline;

pub use after_fork::after_fork;
pub use builder::{Builder, OnDrop, Run};
pub use child::Child;
pub use children::active_children;
pub use current::{CurrentProcess, ParentProcess, current_process, parent_args, parent_process};
pub use ending::{OnDrain, drain_on_interrupt, exit_on_interrupt, exit_on_terminate, on_drain};
pub use executable::{executable, set_executable};
pub use exit_code::{ExitReason, exit};
pub use init::init;
pub use process::Process;
pub use requester::preload_fork_server;
pub use resources::Resource;
pub use start::{
    Context, StartMethod, force_start_method, set_start_method, start_method, start_method_if_set,
    start_methods,
};
pub use status::{Death, ExitStatus, JoinError, Panic, Reason};
pub use stream::Stream;
pub use target::Target;
pub use template::Template;

/// The number of processors that this process may use: at most those that it is bound to, and what its control groups
/// grant it of them, rounded up.
///
/// # Errors
///
/// [`ErrorKind::Os`](procession_core::ErrorKind::Os) when the system does not tell.
///
/// # Source
///
/// CPython `multiprocessing.cpu_count()`, `os.process_cpu_count()` (3.13); `sched_getaffinity(2)`, the kernel's "Control Group
/// v2", `cpu.max`.
#[doc(alias = "process_cpu_count")]
pub fn cpu_count() -> procession_core::Result<std::num::NonZeroUsize> {
    Ok(procession_sys::cpu::usable()?)
}

/// What the macros of this crate expand to; not for anybody else.
#[doc(hidden)]
pub mod __private {
    pub use crate::init::{note_test_child, run_test_child};
    pub use procession_sys::before_main;
}
