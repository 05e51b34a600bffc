//! What a shell is offered.

use clap_complete::engine::CompletionCandidate;

/// The names that begin as typed.
pub(super) fn starting_with(
    names: impl IntoIterator<Item = String>,
    typed: &std::ffi::OsStr,
) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    names
        .into_iter()
        .filter(|name| name.starts_with(&*typed))
        // Other names cannot be typed, and a shell prints names unescaped.
        .filter(|name| name.chars().all(rmq_texts::is_shown_as_it_is))
        .map(CompletionCandidate::new)
        .collect()
}
