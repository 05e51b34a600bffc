//! The name that the program was started under.

/// Whether this was started as `kubectl-rmq`: a plugin of kubectl.
pub(crate) fn is_plugin() -> bool {
    std::env::args_os().next().is_some_and(|program| {
        std::path::Path::new(&program)
            .file_stem()
            .is_some_and(|name| name == "kubectl-rmq")
    })
}
