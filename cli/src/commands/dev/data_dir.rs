//! The folder that a development cluster keeps its data in, and the lock that keeps a second one out.
//!
//! `dev.lock` in the folder is locked while a cluster runs, and holds one line of JSON: who runs it and where it listens.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::exit_code::Exit;

const LOCK_FILE: &str = "dev.lock";

/// A data folder that this process holds.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    lock: File,
    /// Removes the folder of `--tmp` when dropped.
    throw_away: Option<tempfile::TempDir>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Holder {
    pid: u32,
    #[serde(default)]
    name_server: Option<String>,
    #[serde(default)]
    broker: Option<String>,
}

impl DataDir {
    /// Creates the folder when it is missing and locks it.
    ///
    /// Fails with [`Exit::Conflict`] when another cluster runs on it.
    pub(crate) fn open(given: Option<PathBuf>, tmp: bool) -> Result<Self, Failure> {
        let throw_away = if tmp {
            Some(
                tempfile::Builder::new()
                    .prefix("rmq-dev-")
                    .tempdir()
                    .map_err(|error| {
                        Failure::new(Exit::Failed, "cannot create a throw-away folder")
                            .fact("in", std::env::temp_dir().display())
                            .cause(&error)
                            .try_this("set TMPDIR to a folder that can be written")
                    })?,
            )
        } else {
            None
        };
        let path = match (&throw_away, given) {
            (Some(folder), _) => folder.path().to_owned(),
            (None, Some(path)) => path,
            (None, None) => default_path()?,
        };
        let cannot = |error: std::io::Error| {
            Failure::new(Exit::Failed, "cannot use the data folder")
                .fact("folder", path.display())
                .cause(&error)
                .try_this("rmq-ctl dev --data DIR   (a folder that can be written)")
                .try_this("rmq-ctl dev --tmp        (keeps nothing)")
        };
        fs::create_dir_all(&path).map_err(cannot)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK_FILE))
            .map_err(cannot)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(already_running(&path, &mut lock)),
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
        let mut dir = Self {
            path,
            lock,
            throw_away,
        };
        dir.write(&Holder {
            pid: std::process::id(),
            name_server: None,
            broker: None,
        })?;
        Ok(dir)
    }

    /// Leaves the addresses for a second start to print.
    pub(crate) fn announce(&mut self, name_server: &str, broker: &str) -> Result<(), Failure> {
        self.write(&Holder {
            pid: std::process::id(),
            name_server: Some(name_server.to_owned()),
            broker: Some(broker.to_owned()),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the folder is removed at the end.
    pub(crate) fn is_throw_away(&self) -> bool {
        self.throw_away.is_some()
    }

    fn write(&mut self, holder: &Holder) -> Result<(), Failure> {
        let line = serde_json::to_string(holder).expect("a struct of strings is always valid JSON");
        let written = self
            .lock
            .set_len(0)
            .and_then(|()| self.lock.rewind())
            .and_then(|()| writeln!(self.lock, "{line}"));
        written.map_err(|error| {
            Failure::new(Exit::Failed, "cannot write the lock file")
                .fact("file", self.path.join(LOCK_FILE).display())
                .cause(&error)
        })
    }
}

fn already_running(path: &Path, lock: &mut File) -> Failure {
    let mut text = String::new();
    // Only to say more; the lock itself has decided.
    let holder = lock
        .read_to_string(&mut text)
        .ok()
        .and_then(|_| serde_json::from_str::<Holder>(&text).ok());
    let mut failure = Failure::new(
        Exit::Conflict,
        "a cluster is already running on this data folder",
    )
    .fact("folder", path.display());
    if let Some(holder) = holder {
        failure = failure.fact("process", holder.pid);
        if let Some(name_server) = holder.name_server {
            failure = failure.fact("name server", name_server);
        }
        if let Some(broker) = holder.broker {
            failure = failure.fact("broker", broker);
        }
    }
    failure
        .try_this("use the running one: its name server address is above")
        .try_this("rmq-ctl dev --tmp   (a second one, which keeps nothing)")
        .try_this("rmq-ctl dev --data DIR   (a second one with its own data)")
}

/// `$XDG_DATA_HOME/rmq/dev`, by default `~/.local/share/rmq/dev` (XDG Base Directory Specification).
fn default_path() -> Result<PathBuf, Failure> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("rmq").join("dev"))
        .ok_or_else(|| {
            Failure::new(Exit::Usage, "there is no folder for the data")
                .because("neither XDG_DATA_HOME nor HOME is set to an absolute path")
                .try_this("rmq-ctl dev --data DIR")
                .try_this("rmq-ctl dev --tmp")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_cluster_is_told_about_the_first() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("deep/data");
        let mut first = DataDir::open(Some(path.clone()), false).expect("the first one gets it");
        first
            .announce("127.0.0.1:1", "127.0.0.1:2")
            .expect("the lock file can be written");
        let refused =
            DataDir::open(Some(path.clone()), false).expect_err("the second one is refused");
        assert_eq!(refused.exit_code(), Exit::Conflict);
        let details = refused.details();
        assert!(
            details.contains(&("name server", "127.0.0.1:1")),
            "{details:?}"
        );
        assert!(
            details.contains(&("process", std::process::id().to_string().as_str())),
            "{details:?}"
        );
        drop(first);
        DataDir::open(Some(path), false).expect("it is free again");
    }

    #[test]
    fn a_throw_away_folder_is_removed() {
        let dir = DataDir::open(None, true).expect("a temporary folder");
        let path = dir.path().to_owned();
        assert!(path.join(LOCK_FILE).exists());
        drop(dir);
        assert!(!path.exists());
    }
}
