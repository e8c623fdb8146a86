//! What the attribute `shared` writes: a proxy for a type of the user's, and how a server finds its methods.
//!
//! It names, in the home of the library: `Result`, `Manager`, and `manager::{Proxy, Shared, __private}`.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, Error, FnArg, GenericArgument, ImplItem, ImplItemFn, ItemImpl, LitStr, Pat, Path,
    PathArguments, ReceiverKind, Result, ReturnType, Safety, Type, Visibility, parse_quote,
};

/// What the attribute says.
pub(crate) struct Options {
    home: Path,
}

/// One function of the block.
struct Method<'a> {
    name: &'a Ident,
    docs: Vec<&'a Attribute>,
    visibility: &'a Visibility,
    arguments: Vec<(&'a Ident, &'a Type)>,
    returns: TokenStream,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Makes a value of the type.
    Makes,
    /// Makes one, or fails.
    MayMake,
    /// Is called with one.
    Calls,
}

impl Options {
    pub(crate) fn of(attribute: proc_macro::TokenStream) -> Result<Self> {
        let mut home: Path = parse_quote!(::procession);
        let parser = syn::meta::parser(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("of `shared` there is `crate = \"path\"` only"));
            }
            let path: LitStr = meta.value()?.parse()?;
            home = path.parse_with(Path::parse_mod_style)?;
            Ok(())
        });
        syn::parse::Parser::parse(parser, attribute)?;
        Ok(Self { home })
    }
}

pub(crate) fn expand(options: &Options, block: &ItemImpl) -> Result<TokenStream> {
    if let Some((of_trait, _)) = &block.trait_ {
        let text = "what is shared is a block of methods of the type's own, not of a trait";
        return Err(Error::new_spanned(of_trait, text));
    }
    if !block.generics.params.is_empty() {
        let text = "a shared type has no parameters: the server has to know it";
        return Err(Error::new_spanned(&block.generics, text));
    }
    let this = &block.self_ty;
    let name = name_of(this)?;
    let methods = block.items.iter().map(Method::of).collect::<Result<Vec<_>>>()?;
    let home = &options.home;
    let proxy = format_ident!("{name}Proxy");
    let written = write_proxy(home, this, &proxy, &methods);
    let implemented = write_shared(home, this, &proxy, &methods);
    Ok(quote!(#block #written #implemented))
}

fn name_of(this: &Type) -> Result<&Ident> {
    match this {
        Type::Path(path) if path.qself.is_none() => {
            let last = path.path.segments.last().filter(|last| last.arguments.is_none());
            last.map(|last| &last.ident)
                .ok_or_else(|| Error::new_spanned(this, "a shared type has no parameters"))
        }
        _ => Err(Error::new_spanned(this, "a shared type has a name")),
    }
}

impl<'a> Method<'a> {
    fn of(item: &'a ImplItem) -> Result<Self> {
        let ImplItem::Fn(function) = item else {
            let text = "a shared block holds methods; put everything else into another one";
            return Err(Error::new_spanned(item, text));
        };
        let signature = &function.sig;
        if signature.asyncness.is_some()
            || !matches!(signature.safety, Safety::Default)
            || !signature.generics.params.is_empty()
        {
            let text = "a shared method is neither `async` nor `unsafe`, and has no parameters of types or lifetimes";
            return Err(Error::new_spanned(signature, text));
        }
        let kind = Kind::of(function)?;
        let arguments = signature.inputs.iter().filter_map(argument).collect::<Result<_>>()?;
        let returns = match &signature.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, returned) => {
                refuse_references(returned)?;
                quote!(#returned)
            }
        };
        let docs = function.attrs.iter().filter(|it| it.path().is_ident("doc")).collect();
        let (name, visibility) = (&signature.ident, &function.vis);
        Ok(Self { name, docs, visibility, arguments, returns, kind })
    }

    fn types(&self) -> TokenStream {
        let types = self.arguments.iter().map(|(_, of)| of);
        quote!((#(#types,)*))
    }

    fn names(&self) -> TokenStream {
        let names = self.arguments.iter().map(|(name, _)| name);
        quote!(#(#names),*)
    }
}

impl Kind {
    fn of(function: &ImplItemFn) -> Result<Self> {
        let Some(receiver) = function.sig.receiver() else {
            return match &function.sig.output {
                ReturnType::Type(_, made) if is_self(made) => Ok(Self::Makes),
                ReturnType::Type(_, made) if is_result_of_self(made) => Ok(Self::MayMake),
                _ => {
                    let text = "a shared function without `self` makes a value: it returns `Self`, or a `Result` of it";
                    Err(Error::new_spanned(&function.sig, text))
                }
            };
        };
        if !matches!(receiver.kind, ReceiverKind::Reference(..)) {
            let text =
                "a shared method takes `&self` or `&mut self`: the value stays at the server";
            return Err(Error::new_spanned(receiver, text));
        }
        Ok(Self::Calls)
    }
}

fn is_self(made: &Type) -> bool {
    matches!(made, Type::Path(path) if path.path.is_ident("Self"))
}

fn is_result_of_self(made: &Type) -> bool {
    let Type::Path(path) = made else { return false };
    let Some(last) = path.path.segments.last().filter(|last| last.ident == "Result") else {
        return false;
    };
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return false };
    matches!(arguments.args.first(), Some(GenericArgument::Type(first)) if is_self(first))
}

fn argument(argument: &FnArg) -> Option<Result<(&Ident, &Type)>> {
    let FnArg::Typed(typed) = argument else { return None };
    Some(match &*typed.pat {
        Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => {
            refuse_references(&typed.ty).map(|()| (&name.ident, &*typed.ty))
        }
        other => Err(Error::new_spanned(other, "an argument of a shared method has a name")),
    })
}

fn refuse_references(of: &Type) -> Result<()> {
    match of {
        Type::Reference(_) | Type::ImplTrait(_) => {
            let text = "what goes to the server and back are values: owned, and of a type that is written out";
            Err(Error::new_spanned(of, text))
        }
        _ => Ok(()),
    }
}

fn write_proxy(home: &Path, this: &Type, proxy: &Ident, methods: &[Method<'_>]) -> TokenStream {
    let private = quote!(#home::manager::__private);
    let doc = format!("A [`{}`] at a manager's server.", quote!(#this));
    let functions = methods.iter().map(|method| write_function(home, method));
    quote! {
        #[doc = #doc]
        #[must_use = "an object that nobody has is gone"]
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct #proxy(#private::SharedProxy<#this>);

        impl #proxy {
            #(#functions)*

            /// Calls a method by its name, with the tuple of its arguments, and the types that it is declared with.
            ///
            /// # Errors
            ///
            /// `Unsupported` when there is no such method, or it is declared with other types; as `Call::run`.
            pub fn call_by_name<A, R>(&self, method: &str, arguments: &A) -> #home::Result<R>
            where
                A: #private::serde::Serialize,
                R: #private::serde::de::DeserializeOwned,
            {
                self.0.call(method, arguments)
            }
        }

        impl #home::manager::Proxy for #proxy {
            fn __fingerprint() -> u64 {
                <#private::SharedProxy<#this> as #home::manager::Proxy>::__fingerprint()
            }

            fn __of(core: #private::Core) -> Self {
                Self(#home::manager::Proxy::__of(core))
            }

            fn __core(&self) -> &#private::Core {
                #home::manager::Proxy::__core(&self.0)
            }
        }

        impl #private::serde::Serialize for #proxy {
            fn serialize<S: #private::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                #private::serde::Serialize::serialize(&self.0, serializer)
            }
        }

        impl<'de> #private::serde::Deserialize<'de> for #proxy {
            fn deserialize<D: #private::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::core::result::Result<Self, D::Error> {
                #private::serde::Deserialize::deserialize(deserializer).map(Self)
            }
        }
    }
}

fn write_function(home: &Path, method: &Method<'_>) -> TokenStream {
    let Method { name, docs, visibility, arguments, returns, kind } = method;
    let (types, names) = (method.types(), method.names());
    let given = arguments.iter().map(|(name, of)| quote!(#name: #of));
    let comma = if arguments.is_empty() { quote!() } else { quote!(,) };
    let called = name.to_string();
    let errors = "# Errors\n\nAs `Call::run`; `Panicked` when the method panics at the server.";
    match kind {
        Kind::Makes | Kind::MayMake => quote! {
            #(#docs)*
            #[doc = ""]
            #[doc = #errors]
            #visibility fn #name(manager: &#home::Manager, #(#given),*) -> #home::Result<Self> {
                let arguments: #types = (#names #comma);
                #home::manager::__private::SharedProxy::make(manager, #called, &arguments).map(Self)
            }
        },
        Kind::Calls => quote! {
            #(#docs)*
            #[doc = ""]
            #[doc = #errors]
            #visibility fn #name(&self, #(#given),*) -> #home::Result<#returns> {
                let arguments: #types = (#names #comma);
                self.0.call(#called, &arguments)
            }
        },
    }
}

fn write_shared(home: &Path, this: &Type, proxy: &Ident, methods: &[Method<'_>]) -> TokenStream {
    let private = quote!(#home::manager::__private);
    let makers = methods.iter().filter(|method| method.kind != Kind::Calls).map(|method| {
        let (name, types, names) = (method.name, method.types(), method.names());
        let called = name.to_string();
        let comma = if method.arguments.is_empty() { quote!() } else { quote!(,) };
        let made = match method.kind {
            Kind::MayMake => quote!(Self::#name(#names).map_err(#private::refused)),
            _ => quote!(::core::result::Result::Ok(Self::#name(#names))),
        };
        quote! {
            #called => {
                let (#names #comma): #types = given.take_to_make()?;
                #made
            }
        }
    });
    let callers = methods.iter().filter(|method| method.kind == Kind::Calls).map(|method| {
        let (name, types, names) = (method.name, method.types(), method.names());
        let (called, returns) = (name.to_string(), &method.returns);
        let comma = if method.arguments.is_empty() { quote!() } else { quote!(,) };
        quote_spanned! {name.span()=>
            #called => {
                let ((#names #comma), reply) = given.take::<#types, #returns>()?;
                reply.tell(&self.#name(#names))
            }
        }
    });
    quote! {
        impl #home::manager::Shared for #this {
            type Proxy = #proxy;

            fn __make(function: &str, given: #private::Given<'_>) -> #home::Result<Self> {
                match function {
                    #(#makers)*
                    other => ::core::result::Result::Err(given.unknown::<Self>(other)),
                }
            }

            fn __call(
                &mut self,
                method: &str,
                given: #private::Given<'_>,
            ) -> #home::Result<#private::Told> {
                match method {
                    #(#callers)*
                    other => ::core::result::Result::Err(given.unknown::<Self>(other)),
                }
            }
        }
    }
}
