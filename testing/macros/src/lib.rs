//! `#[rmq_testing::test]`: an async test that gets a cluster of its own. Use it from `rmq-testing`, which re-exports it.

use proc_macro::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Ident, ItemFn, LitInt, Token, parse_macro_input};

/// `brokers = 2, name_servers = 2`
struct Arguments(Vec<(Ident, LitInt)>);

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let pair = |input: ParseStream<'_>| {
            let name: Ident = input.parse()?;
            if name != "brokers" && name != "name_servers" && name != "replicas" {
                let known = "known arguments: brokers = N, name_servers = N, replicas = N";
                return Err(syn::Error::new(name.span(), known));
            }
            input.parse::<Token![=]>()?;
            Ok((name, input.parse()?))
        };
        let pairs = Punctuated::<_, Token![,]>::parse_terminated_with(input, pair)?;
        Ok(Self(pairs.into_iter().collect()))
    }
}

/// Makes a test of an async function that takes a `TestCluster`. Arguments: `brokers = N`, `name_servers = N`, `replicas = N`; one of each without, and no replica.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let Arguments(arguments) = parse_macro_input!(arguments as Arguments);
    let mut function = parse_macro_input!(item as ItemFn);
    if function.sig.asyncness.take().is_none() || function.sig.inputs.len() != 1 {
        let message = "a test is an async function with one argument, the TestCluster";
        return syn::Error::new_spanned(&function.sig, message)
            .to_compile_error()
            .into();
    }
    let inputs = std::mem::take(&mut function.sig.inputs);
    let Some(syn::FnArg::Typed(cluster)) = inputs.first() else {
        let message = "a test is a free function";
        return syn::Error::new_spanned(&function.sig.ident, message)
            .to_compile_error()
            .into();
    };
    let (pattern, kind) = (&cluster.pat, &cluster.ty);
    let settings = arguments.iter().map(|(name, count)| quote!(.#name(#count)));
    let (attributes, visibility, signature, body) = (
        &function.attrs,
        &function.vis,
        &function.sig,
        &function.block,
    );
    quote! {
        #(#attributes)*
        #[::core::prelude::v1::test]
        #visibility #signature {
            ::rmq_testing::run(
                ::rmq_testing::TestCluster::builder() #(#settings)*,
                |cluster: #kind| async move {
                    let #pattern = cluster;
                    #body
                },
            )
        }
    }
    .into()
}
