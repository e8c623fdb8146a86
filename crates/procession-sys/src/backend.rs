//! Chooses the operating system once.
//!
//! A port is one directory beside `linux/` with the same modules: `barrier`, `block`, `claim`, `clock`, `cpu`, `doorbell`, `fd`, `file_lock`, `fork`, `futex`, `image`,
//! `lifeline`, `memory`, `net`, `oom`, `pidfd`, `poll`, `process`, `random`, `signal`, `socket`, `sparse`, `spawn`, `stdio`, `surroundings`,
//! `tree`, `usage`, `user` and `wipe`. No other file of the workspace names an operating system.

#[cfg(not(target_os = "linux"))]
compile_error!("procession has no backend for this operating system yet; see docs/platform.md");

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::*;
