#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod options;
mod plain;
mod shared;

use proc_macro::TokenStream;
use syn::{DeriveInput, ItemImpl, parse_macro_input};

/// Says how values of a structure, or of an enumeration without fields, lie in memory that processes share: as in C.
///
/// It implements the trait `Plain`, whose documentation says what that is for. A structure has fields that are plain, named or
/// not, and may be generic over plain types. Its `repr` does not matter: what is shared is written and read field by field. An
/// enumeration says which integer it is: `#[repr(u8)]`.
///
/// `#[plain(crate = "path")]` on the type says where to find the trait, if not in `::procession`.
#[proc_macro_derive(Plain, attributes(plain))]
pub fn derive_plain(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    plain::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Lets a manager's server have values of a type, and processes call their methods: makes a proxy of the methods of a block.
///
/// For `impl Maths { .. }` the proxy is `MathsProxy`. It has every method of the block, with the same arguments, and what a method returns within a
/// `Result`: calls may fail. A function without `self` that returns `Self` makes a value at the server; at the proxy it takes the manager first.
/// Arguments and what is returned are values that serde writes and reads; what a method says by `Err` is such a value as well. What is not to
/// be called from elsewhere stands in another block.
///
/// A server has to know the type: `Manager::builder().register::<Maths>()`. One call at a time runs on a value; the others of that value wait.
///
/// `#[shared(crate = "path")]` says where to find the library, if not in `::procession`.
#[proc_macro_attribute]
pub fn shared(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let block = parse_macro_input!(item as ItemImpl);
    let expanded =
        shared::Options::of(attribute).and_then(|options| shared::expand(&options, &block));
    expanded.unwrap_or_else(syn::Error::into_compile_error).into()
}
