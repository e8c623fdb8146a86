//! What the derive of `Plain` writes.
//!
//! It names three things in the home of the trait: `plain::{Plain, Layout, Fingerprint}`, and two that walk along the fields,
//! `plain::{Writer, Reader}`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{
    Data, DataEnum, DeriveInput, Error, Fields, GenericParam, Generics, Index, Member, Path,
    Result, Type, parse_quote,
};

use crate::options::Options;

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let options = Options::of(&input.attrs)?;
    if let Some(lifetime) = input.generics.lifetimes().next() {
        let text =
            "what lies in shared memory has no references: they would point into one process only";
        return Err(Error::new_spanned(lifetime, text));
    }
    match &input.data {
        Data::Struct(data) => derive_struct(input, options, &data.fields),
        Data::Enum(data) => derive_enum(input, &options, data),
        Data::Union(data) => {
            let text = "a union does not say which of its fields is there, so that nobody could check what is read";
            Err(Error::new(data.union_token.span, text))
        }
    }
}

fn derive_struct(input: &DeriveInput, options: Options, fields: &Fields) -> Result<TokenStream> {
    if let Some(error) = options.odd {
        return Err(error);
    }
    if fields.is_empty() {
        let text = "a structure without fields has nothing that could be shared";
        return Err(Error::new_spanned(&input.ident, text));
    }
    for field in fields {
        refuse_pointers(&field.ty)?;
    }
    let home = options.home;
    let members: Vec<Member> = fields
        .iter()
        .enumerate()
        .map(|(at, field)| match &field.ident {
            Some(name) => Member::Named(name.clone()),
            None => Member::Unnamed(Index::from(at)),
        })
        .collect();
    let names = members.iter().map(|member| match member {
        Member::Named(name) => name.to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    });
    let types: Vec<&Type> = fields.iter().map(|field| &field.ty).collect();
    let kinds =
        types.iter().map(|ty| quote_spanned!(ty.span()=> <#ty as #home::plain::Plain>::TYPE));
    let layout = quote!(#home::plain::Layout::EMPTY #(.and::<#types>())*);
    let name = path_of(input);
    let body = quote! {
        const SIZE: usize = #layout.size();
        const ALIGN: usize = #layout.align();
        const TYPE: #home::plain::Fingerprint = #home::plain::Fingerprint::new(#name) #(.with(#names, #kinds))*;

        #[inline]
        fn store(self, out: &mut [u8]) {
            let mut fields = #home::plain::Writer::new::<Self>(out);
            #(fields.put(self.#members);)*
            fields.finish();
        }

        #[inline]
        fn load(bytes: &[u8]) -> ::core::option::Option<Self> {
            let mut fields = #home::plain::Reader::new::<Self>(bytes);
            ::core::option::Option::Some(Self { #(#members: fields.take()?),* })
        }
    };
    Ok(implementation(input, &home, &body))
}

fn derive_enum(input: &DeriveInput, options: &Options, data: &DataEnum) -> Result<TokenStream> {
    if let Some(variant) = data.variants.iter().find(|variant| !variant.fields.is_empty()) {
        let text = "an enumeration with fields has no layout of its own in shared memory: \
                    use a structure with the fields, and an enumeration without that says which of them count";
        return Err(Error::new_spanned(&variant.fields, text));
    }
    let Some(integer) = &options.integer else {
        let text =
            "say which integer the enumeration is in shared memory: `#[repr(u8)]`, or another";
        return Err(Error::new_spanned(&input.ident, text));
    };
    if data.variants.is_empty() {
        return Err(Error::new_spanned(
            &input.ident,
            "an enumeration without variants has no values",
        ));
    }
    let home = &options.home;
    let variants: Vec<_> = data.variants.iter().map(|variant| &variant.ident).collect();
    let names = variants.iter().map(ToString::to_string);
    let name = path_of(input);
    let body = quote! {
        const SIZE: usize = <#integer as #home::plain::Plain>::SIZE;
        const ALIGN: usize = <#integer as #home::plain::Plain>::ALIGN;
        const TYPE: #home::plain::Fingerprint =
            #home::plain::Fingerprint::new(#name) #(.with(#names, <#integer as #home::plain::Plain>::TYPE))*;

        #[inline]
        fn store(self, out: &mut [u8]) {
            #home::plain::Plain::store(self as #integer, out);
        }

        #[inline]
        fn load(bytes: &[u8]) -> ::core::option::Option<Self> {
            let number = <#integer as #home::plain::Plain>::load(bytes)?;
            #(if number == Self::#variants as #integer {
                return ::core::option::Option::Some(Self::#variants);
            })*
            ::core::option::Option::None
        }
    };
    Ok(implementation(input, home, &body))
}

/// Its name with those of the modules that it is in, which are known where the code is compiled.
fn path_of(input: &DeriveInput) -> TokenStream {
    let name = input.ident.to_string();
    quote!(::core::concat!(::core::module_path!(), "::", #name))
}

/// Wraps `body` into the `impl`.
fn implementation(input: &DeriveInput, home: &Path, body: &TokenStream) -> TokenStream {
    let name = &input.ident;
    let generics = with_bounds(input.generics.clone(), home);
    let (before, after, conditions) = generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #before #home::plain::Plain for #name #after #conditions {
            #body
        }
    }
}

/// Its type parameters are plain.
fn with_bounds(mut generics: Generics, home: &Path) -> Generics {
    for parameter in &mut generics.params {
        if let GenericParam::Type(parameter) = parameter {
            parameter.bounds.push(parse_quote!(#home::plain::Plain));
        }
    }
    generics
}

/// Types of which it can be seen that they point to what only one process has. Others are refused because the trait is missing.
fn refuse_pointers(ty: &Type) -> Result<()> {
    match ty {
        Type::Reference(_) | Type::Ptr(_) | Type::FnPtr(_) => {
            let text = "what lies in shared memory has no references and pointers: they would point into one process only";
            Err(Error::new_spanned(ty, text))
        }
        Type::Array(array) => refuse_pointers(&array.elem),
        Type::Paren(inner) => refuse_pointers(&inner.elem),
        Type::Group(inner) => refuse_pointers(&inner.elem),
        _ => Ok(()),
    }
}
