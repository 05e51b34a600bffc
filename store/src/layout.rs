//! Names of files and folders.
//!
//! ```text
//! <dir>/lock                       locked while the store is open; says by whom
//! <dir>/format                     the format of everything below, one line
//! <dir>/damage                     what of the log is known to be damaged; missing when nothing is
//! <dir>/epochs                     which master has written which part of the log
//! <dir>/incarnation                which data these are: a random number
//! <dir>/install                    the store is being made from a snapshot; missing otherwise
//! <dir>/life                       in which life of the system the store was open last, and what is in doubt since
//! <dir>/watermark                  how far the log is known to be durable
//! <dir>/log/00000000000000000000   a segment of the log, named by the position of its first byte, 20 digits
//! <dir>/quarantine/…               what was cut off the end of the log
//! <dir>/index/…                    run files and tables, derived from the log
//! ```

use std::path::{Path, PathBuf};

pub(crate) const FORMAT: &str = "rmq-store 3";
/// Has no incarnation; everything else is the same.
pub(crate) const FORMAT_WITHOUT_INCARNATION: &str = "rmq-store 2";
/// Has neither epochs nor an incarnation; everything else is the same.
pub(crate) const FORMAT_WITHOUT_EPOCHS: &str = "rmq-store 1";

pub(crate) fn lock(dir: &Path) -> PathBuf {
    dir.join("lock")
}

pub(crate) fn format(dir: &Path) -> PathBuf {
    dir.join("format")
}

/// Whether a line names a format of a store, of whatever version.
pub(crate) fn is_format(line: &str) -> bool {
    line.strip_prefix("rmq-store ").is_some_and(|version| {
        !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
    })
}

pub(crate) fn damage(dir: &Path) -> PathBuf {
    dir.join("damage")
}

pub(crate) fn epochs(dir: &Path) -> PathBuf {
    dir.join("epochs")
}

pub(crate) fn incarnation(dir: &Path) -> PathBuf {
    dir.join("incarnation")
}

pub(crate) fn install(dir: &Path) -> PathBuf {
    dir.join("install")
}

pub(crate) fn life(dir: &Path) -> PathBuf {
    dir.join("life")
}

pub(crate) fn quarantine(dir: &Path) -> PathBuf {
    dir.join("quarantine")
}

pub(crate) fn watermark(dir: &Path) -> PathBuf {
    dir.join("watermark")
}

pub(crate) fn log(dir: &Path) -> PathBuf {
    dir.join("log")
}

pub(crate) fn index(dir: &Path) -> PathBuf {
    dir.join("index")
}

pub(crate) fn segment(dir: &Path, base: u64) -> PathBuf {
    log(dir).join(format!("{base:020}"))
}

/// The position in a segment's name.
pub(crate) fn segment_base(name: &str) -> Option<u64> {
    (name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| name.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_go_both_ways() {
        let path = segment(Path::new("d"), 1 << 30);
        assert_eq!(path, Path::new("d/log/00000000001073741824"));
        assert_eq!(segment_base("00000000001073741824"), Some(1 << 30));
        assert_eq!(segment_base("0000000000107374182x"), None);
        assert_eq!(segment_base("1073741824"), None);
    }
}
