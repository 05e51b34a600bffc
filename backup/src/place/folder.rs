//! A folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Entry, PlaceError, Storage, failed};

/// The end of names of what is being written.
const NEW: &str = ".new";
/// What is being written for so long is left from somebody who was killed.
const STALE: Duration = Duration::from_secs(24 * 3_600);

/// Files below a folder. A file gets its name when it is durable.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// Does work of a disk on a thread that may wait.
fn blocking<'a, T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PlaceError> + Send + 'static,
) -> BoxFuture<'a, Result<T, PlaceError>> {
    async move {
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(failed("work on", "a file".to_owned(), error)))
    }
    .boxed()
}

fn on<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> PlaceError + use<'a> {
    move |error| match error.kind() {
        io::ErrorKind::NotFound => PlaceError::Missing {
            name: path.display().to_string(),
        },
        _ => failed(doing, path.display().to_string(), error),
    }
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), PlaceError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}{NEW}", std::process::id()));
    let new = path.with_file_name(name);
    let write = || -> io::Result<()> {
        use io::Write;
        make_folder(parent)?;
        let mut file = fs::File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&new, path)?;
        fs::File::open(parent)?.sync_all()
    };
    let written = match write() {
        // Somebody has removed the folder, which was empty.
        Err(error) if error.kind() == io::ErrorKind::NotFound => write(),
        written => written,
    };
    written.map_err(|error| {
        // What is left of it is no part of a backup.
        let _ = fs::remove_file(&new);
        failed("write", path.display().to_string(), error)
    })
}

/// Makes a folder and those above it, durably.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(Path::new("."));
    make_folder(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    match above.as_os_str().is_empty() {
        true => fs::File::open(".")?.sync_all(),
        false => fs::File::open(above)?.sync_all(),
    }
}

fn head(path: &Path, bytes: u64) -> Result<Bytes, PlaceError> {
    use io::Read;
    let read = || -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        fs::File::open(path)?
            .take(bytes)
            .read_to_end(&mut content)?;
        Ok(content)
    };
    read().map(Bytes::from).map_err(on("read", path))
}

fn list(root: &Path, folder: &Path, found: &mut Vec<Entry>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let data = match entry.metadata() {
            // Removed or named meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            data => data?,
        };
        if data.is_dir() {
            list(root, &path, found)?;
            continue;
        }
        let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) else {
            continue;
        };
        let written = data.modified()?;
        if name.ends_with(NEW) {
            let age = SystemTime::now().duration_since(written);
            if age.is_ok_and(|age| age > STALE) {
                // The next list tries again.
                let _ = fs::remove_file(&path);
            }
            continue;
        }
        let since = written.duration_since(SystemTime::UNIX_EPOCH);
        found.push(Entry {
            name: name.to_owned(),
            bytes: data.len(),
            written_ms: since.map_or(0, |since| since.as_millis() as i64),
        });
    }
    Ok(())
}

impl Storage for Folder {
    fn put<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<(), PlaceError>> {
        let path = self.path(name);
        blocking(move || put(&path, &bytes))
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Bytes, PlaceError>> {
        let path = self.path(name);
        blocking(move || fs::read(&path).map(Bytes::from).map_err(on("read", &path)))
    }

    fn head<'a>(&'a self, name: &'a str, bytes: u64) -> BoxFuture<'a, Result<Bytes, PlaceError>> {
        let path = self.path(name);
        blocking(move || head(&path, bytes))
    }

    fn list<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<Entry>, PlaceError>> {
        let (root, folder) = (self.root.clone(), self.path(folder));
        blocking(move || {
            let mut found = Vec::new();
            let listed = list(&root, &folder, &mut found);
            listed.map_err(|error| failed("list", folder.display().to_string(), error))?;
            Ok(found)
        })
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), PlaceError>> {
        let (root, path) = (self.root.clone(), self.path(name));
        blocking(move || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(on("remove", &path))?,
            }
            // Folders that are empty then go too; one that is not stays.
            let above = path.ancestors().skip(1);
            for folder in above.take_while(|folder| **folder != root) {
                if fs::remove_dir(folder).is_err() {
                    break;
                }
            }
            Ok(())
        })
    }
}
