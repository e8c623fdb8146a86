#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod array;
mod error;
mod frozen;
mod list;
mod memory;
mod number;
pub mod plain;
pub mod pool;
mod raw;
mod scope;
mod string;
mod typecode;
mod value;

pub use array::{Array, ArrayGuard, Iter, RawArray};
pub use frozen::{SharedSlice, SharedVec};
pub use list::{Item, ShareableList};
pub use memory::{SharedMemory, SharedMemoryOptions, SharedView};
pub use number::{Integer, Number};
pub use plain::Plain;
pub use procession_sys::block::HugePages;
pub use raw::RawValue;
pub use scope::SharedMemoryScope;
pub use typecode::Typecode;
pub use value::{Value, ValueGuard};
