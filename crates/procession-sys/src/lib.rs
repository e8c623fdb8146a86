#![doc = include_str!("../README.md")]

mod backend;
pub mod deadline;
pub mod error;
pub mod number;
pub mod plain;
pub mod prim;
pub mod turn;
pub mod words;

pub use backend::{
    barrier, block, claim, clock, cpu, doorbell, fd, file_lock, fork, futex, image, lifeline,
    memory, net, oom, pidfd, poll, process, random, signal, socket, sparse, spawn, stdio,
    surroundings, terminal, tree, usage, user, wipe,
};
/// Runs a function before `main`, in the program that the macro is expanded in.
///
/// Nothing but noting things down belongs there: the function runs before the standard library is set up, cannot fail,
/// and must not panic.
///
/// # Source
///
/// ELF gABI, "Initialization and Termination Functions": `.init_array`.
#[macro_export]
macro_rules! before_main {
    ($function:path) => {
        const _: () = {
            #[used]
            #[unsafe(link_section = ".init_array")]
            static BEFORE_MAIN: extern "C" fn() = {
                extern "C" fn before_main() {
                    $function();
                }
                before_main
            };
        };
    };
}

pub use deadline::Deadline;
pub use error::{OsCode, OsError, Result};
