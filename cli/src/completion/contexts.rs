//! Contexts that a shell completes: from the configuration and the kubeconfig, without a server.

use clap_complete::engine::ArgValueCompleter;

use super::candidates::starting_with;
use crate::config::{Config, Source};
use crate::kubernetes;

/// Completes contexts of the configuration.
pub(crate) fn context_completer() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &std::ffi::OsStr| {
        let Ok((config, _)) = Config::load(Source::Nearest) else {
            return Vec::new();
        };
        starting_with(config.contexts.into_keys(), typed)
    })
}

/// Completes contexts of the kubeconfig.
pub(crate) fn kube_context_completer() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &std::ffi::OsStr| starting_with(kubernetes::contexts(), typed))
}
