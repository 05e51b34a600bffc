//! A failed call of the file system, and what it means for the store. The one table:
//!
//! ```text
//!  error             the store            heals by itself
//!  ENOSPC  EDQUOT    refuses messages     when there is room or quota again
//!  EMFILE  ENFILE    refuses messages     when files are closed or the limit is raised
//!  EACCES  EPERM     refuses messages     when the right is given
//!  EFBIG             refuses messages     when the limit is raised
//!  ENOMEM            refuses messages     when there is memory again
//!  EROFS             is read-only         no: Linux mounts so after errors of the disk, and what was not synced may be gone
//!  ENOENT  ENOTDIR   is read-only         no: the folder is gone or not mounted
//!  EIO, all others   is read-only         no: what the disk has is not known any more
//! ```
//! This is about calls that can be made again on another file: a segment, a run, the manifest. A failed write or sync of the log
//! itself makes the store read-only whatever the error.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// A failed call.
#[derive(Debug, thiserror::Error)]
#[error("cannot {call} {}: {source}", path.display())]
pub(crate) struct DiskError {
    pub(crate) call: &'static str,
    pub(crate) path: PathBuf,
    #[source]
    pub(crate) source: io::Error,
}

/// What follows from an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// No messages are taken until the same call succeeds; it is tried again.
    Refuses,
    /// No messages are taken until a restart.
    ReadOnly,
}

/// An error in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) effect: Effect,
    /// What is wrong, and what to do.
    pub(crate) advice: &'static str,
}

impl DiskError {
    pub(crate) fn at(call: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { call, path, source }
    }

    pub(crate) fn effect(&self) -> Effect {
        meaning(&self.source).effect
    }

    /// The call, the path, what the system says, what it means and what to do.
    pub(crate) fn text(&self) -> String {
        format!("{self}: {}", meaning(&self.source).advice)
    }
}

/// The table.
pub(crate) fn meaning(error: &io::Error) -> Meaning {
    let (effect, advice) = match kind(error) {
        Some(Errno::NOSPC) => (
            Effect::Refuses,
            "the disk is full; free space, or shorten the retention",
        ),
        Some(Errno::DQUOT) => (
            Effect::Refuses,
            "the quota is used up; raise it, or shorten the retention",
        ),
        Some(Errno::MFILE) => (
            Effect::Refuses,
            "this process has too many open files; raise its limit (ulimit -n, LimitNOFILE), or use larger segments",
        ),
        Some(Errno::NFILE) => (
            Effect::Refuses,
            "this machine has too many open files; raise the limit (sysctl fs.file-max)",
        ),
        Some(Errno::ACCESS | Errno::PERM) => (
            Effect::Refuses,
            "the user of this process has no right to do this; give the user the data folder and what is in it",
        ),
        Some(Errno::FBIG) => (
            Effect::Refuses,
            "the file would be larger than this process or file system allows; raise the limit (ulimit -f, LimitFSIZE), or use smaller segments",
        ),
        Some(Errno::NOMEM) => (
            Effect::Refuses,
            "the system has no memory for this; free memory, or raise the limit",
        ),
        Some(Errno::ROFS) => (
            Effect::ReadOnly,
            "the file system is mounted read-only, which Linux does after errors of the disk; see the kernel's log",
        ),
        Some(Errno::NOENT | Errno::NOTDIR) => (
            Effect::ReadOnly,
            "a folder of the data is gone; mount or restore it",
        ),
        _ => (Effect::ReadOnly, "the disk fails; see the kernel's log"),
    };
    Meaning { effect, advice }
}

/// The number of the error, also where it was made of a kind only.
fn kind(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error).or_else(|| match error.kind() {
        io::ErrorKind::StorageFull => Some(Errno::NOSPC),
        io::ErrorKind::QuotaExceeded => Some(Errno::DQUOT),
        io::ErrorKind::PermissionDenied => Some(Errno::ACCESS),
        io::ErrorKind::FileTooLarge => Some(Errno::FBIG),
        io::ErrorKind::OutOfMemory => Some(Errno::NOMEM),
        io::ErrorKind::ReadOnlyFilesystem => Some(Errno::ROFS),
        io::ErrorKind::NotFound => Some(Errno::NOENT),
        io::ErrorKind::NotADirectory => Some(Errno::NOTDIR),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_an_effect_and_a_text_of_its_own() {
        use Effect::{ReadOnly, Refuses};
        let table = [
            (Errno::NOSPC, Refuses, "free space"),
            (Errno::DQUOT, Refuses, "quota"),
            (Errno::MFILE, Refuses, "ulimit -n"),
            (Errno::NFILE, Refuses, "fs.file-max"),
            (Errno::ACCESS, Refuses, "no right"),
            (Errno::PERM, Refuses, "no right"),
            (Errno::FBIG, Refuses, "ulimit -f"),
            (Errno::NOMEM, Refuses, "memory"),
            (Errno::ROFS, ReadOnly, "mounted read-only"),
            (Errno::NOENT, ReadOnly, "is gone"),
            (Errno::NOTDIR, ReadOnly, "is gone"),
            (Errno::IO, ReadOnly, "kernel's log"),
            (Errno::NXIO, ReadOnly, "kernel's log"),
            (Errno::NODEV, ReadOnly, "kernel's log"),
            (Errno::STALE, ReadOnly, "kernel's log"),
            (Errno::TIMEDOUT, ReadOnly, "kernel's log"),
        ];
        for (errno, effect, word) in table {
            let source = io::Error::from_raw_os_error(errno.raw_os_error());
            let system = source.to_string();
            let error = DiskError::at("create", Path::new("/d/log/0"))(source);
            let text = error.text();
            assert_eq!(error.effect(), effect, "{text}");
            for part in ["cannot create /d/log/0", &system, word] {
                assert!(text.contains(part), "{part} is not in: {text}");
            }
            assert_eq!(
                text.contains("disk is full"),
                errno == Errno::NOSPC,
                "{text}"
            );
        }
    }
}
