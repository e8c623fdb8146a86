#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod options;
mod plain;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

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
