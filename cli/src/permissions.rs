//! Permissions as people write them: `rw`, `r`, `w` or `-`.

use rmq_client::protocol::route::perm;

/// What clients may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Perm {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// Reads a permission.
///
/// # Errors
/// Another text; the error says what to write.
pub(crate) fn parse(text: &str) -> Result<Perm, String> {
    let perm = |read, write| Ok(Perm { read, write });
    match text {
        "rw" | "wr" => perm(true, true),
        "r" => perm(true, false),
        "w" => perm(false, true),
        "-" => perm(false, false),
        _ => Err("write rw, r, w or -".to_owned()),
    }
}

/// The text of a permission.
pub(crate) fn text(perm: i32) -> String {
    let mut text = String::new();
    if perm::is_readable(perm) {
        text.push('r');
    }
    if perm::is_writable(perm) {
        text.push('w');
    }
    if text.is_empty() {
        text.push('-');
    }
    text
}
