//! What the attributes of a type say: where the trait is, and how the type is represented.

use proc_macro2::Ident;
use syn::{Attribute, Error, LitStr, Path, Result, Token, parenthesized, parse_quote, token};

/// The integers that an enumeration may be.
const INTEGERS: [&str; 10] =
    ["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "usize", "isize"];

/// What `#[plain(..)]` and `#[repr(..)]` say.
pub(crate) struct Options {
    /// Where the trait is.
    pub(crate) home: Path,
    /// The integer of `#[repr(u8)]`.
    pub(crate) integer: Option<Ident>,
    /// What of `#[repr(..)]` is not as in C.
    pub(crate) odd: Option<Error>,
}

impl Options {
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self { home: parse_quote!(::procession), integer: None, odd: None };
        for attribute in attributes {
            if attribute.path().is_ident("plain") {
                options.read_plain(attribute)?;
            } else if attribute.path().is_ident("repr") {
                options.read_repr(attribute)?;
            }
        }
        Ok(options)
    }

    fn read_plain(&mut self, attribute: &Attribute) -> Result<()> {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("of `plain` there is `crate = \"path\"` only"));
            }
            let path: LitStr = meta.value()?.parse()?;
            self.home = path.parse_with(Path::parse_mod_style)?;
            Ok(())
        })
    }

    fn read_repr(&mut self, attribute: &Attribute) -> Result<()> {
        attribute.parse_nested_meta(|meta| {
            let integer = meta.path.get_ident().filter(|name| INTEGERS.iter().any(|it| name == it));
            if let Some(name) = integer {
                self.integer = Some(name.clone());
            }
            if meta.path.is_ident("packed") || meta.path.is_ident("align") {
                let text =
                    "what is shared lies as C has it without `packed` and `align`: leave that out";
                self.odd = Some(meta.error(text));
            }
            // The number in `align(8)`.
            if meta.input.peek(token::Paren) {
                let number;
                parenthesized!(number in meta.input);
                number.parse::<proc_macro2::TokenStream>()?;
            }
            if meta.input.peek(Token![=]) {
                return Err(meta.error("not a representation"));
            }
            Ok(())
        })
    }
}
