//! Key-value settings by namespace, such as the fixed queues of order topics; bounded, and kept in a file where one is configured.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rmq_protocol::bodies::KvTable;

/// Namespace of order topics' queues.
pub(crate) const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Bytes of one namespace as a body: it is answered in one frame, and that of order topics with every registration of a broker.
const NAMESPACE_BYTES_MAX: usize = 12 << 20;

type Tables = BTreeMap<String, BTreeMap<String, String>>;

/// All namespaces.
#[derive(Debug)]
pub(crate) struct KvConfigs {
    file: Option<PathBuf>,
    tables: Mutex<Tables>,
}

/// Why a setting was not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KvError {
    #[error(
        "the key-value settings would take {bytes} bytes, at most {max} are allowed (kvBytesMax)"
    )]
    Full { bytes: usize, max: usize },
    #[error(
        "the key-value settings of namespace {namespace} would take {bytes} bytes in an answer, at most {NAMESPACE_BYTES_MAX} are allowed; use several namespaces"
    )]
    Namespace { namespace: String, bytes: usize },
    #[error("cannot write {path}: {source}")]
    Write { path: String, source: io::Error },
}

impl KvConfigs {
    /// Reads the file, where one is configured and exists.
    pub(crate) fn open(path: &str) -> io::Result<Self> {
        let file = (!path.is_empty()).then(|| PathBuf::from(path));
        let tables = match &file {
            Some(file) => match std::fs::read(file) {
                Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Tables::new(),
                Err(error) => return Err(error),
            },
            None => Tables::new(),
        };
        Ok(Self {
            file,
            tables: Mutex::new(tables),
        })
    }

    pub(crate) fn get(&self, namespace: &str, key: &str) -> Option<String> {
        self.tables.lock().get(namespace)?.get(key).cloned()
    }

    /// A namespace as a body; `None` when there is none.
    pub(crate) fn table(&self, namespace: &str) -> Option<KvTable> {
        let table = self.tables.lock().get(namespace)?.clone();
        Some(KvTable { table })
    }

    /// Puts a setting; the value that it had.
    pub(crate) fn put(
        &self,
        namespace: &str,
        key: &str,
        value: &str,
        bytes_max: usize,
    ) -> Result<Option<String>, KvError> {
        let mut tables = self.tables.lock();
        let mut changed = tables.clone();
        let before = changed
            .entry(namespace.to_owned())
            .or_default()
            .insert(key.to_owned(), value.to_owned());
        let bytes = bytes_of(&changed);
        if bytes > bytes_max {
            return Err(KvError::Full {
                bytes,
                max: bytes_max,
            });
        }
        let table = changed.get(namespace).cloned().unwrap_or_default();
        let bytes = KvTable { table }.to_json().len();
        if bytes > NAMESPACE_BYTES_MAX {
            return Err(KvError::Namespace {
                namespace: namespace.to_owned(),
                bytes,
            });
        }
        self.persist(&changed)?;
        *tables = changed;
        Ok(before)
    }

    /// Deletes a setting; the value that it had.
    pub(crate) fn delete(&self, namespace: &str, key: &str) -> Result<Option<String>, KvError> {
        let mut tables = self.tables.lock();
        let mut changed = tables.clone();
        let mut before = None;
        if let Some(table) = changed.get_mut(namespace) {
            before = table.remove(key);
            if table.is_empty() {
                changed.remove(namespace);
            }
        }
        self.persist(&changed)?;
        *tables = changed;
        Ok(before)
    }

    /// Whole file, under another name first: a crash leaves the old one or the new one.
    fn persist(&self, tables: &Tables) -> Result<(), KvError> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        let write = |path: &Path| -> io::Result<()> {
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder {
                std::fs::create_dir_all(folder)?;
            }
            let beside = path.with_extension("new");
            let mut file = std::fs::File::create(&beside)?;
            file.write_all(&serde_json::to_vec(tables).map_err(io::Error::other)?)?;
            file.sync_all()?;
            std::fs::rename(&beside, path)?;
            std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        write(path).map_err(|source| KvError::Write {
            path: path.display().to_string(),
            source,
        })
    }
}

fn bytes_of(tables: &Tables) -> usize {
    let pairs = tables.iter().flat_map(|(namespace, table)| {
        table
            .iter()
            .map(move |(key, value)| (namespace, key, value))
    });
    pairs
        .map(|(namespace, key, value)| namespace.len() + key.len() + value.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_a_restart_and_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/kv.json");
        let path = path.to_str().unwrap();
        let kv = KvConfigs::open(path).unwrap();
        kv.put("ns", "k", "é", 100).unwrap();
        kv.put("ns", "gone", "x", 100).unwrap();
        kv.delete("ns", "gone").unwrap();
        assert!(matches!(
            kv.put("ns", "big", &"x".repeat(100), 100),
            Err(KvError::Full { .. })
        ));
        let again = KvConfigs::open(path).unwrap();
        assert_eq!(again.get("ns", "k").as_deref(), Some("é"));
        assert_eq!(again.table("ns").unwrap().table.len(), 1);
        again.delete("ns", "k").unwrap();
        assert!(again.table("ns").is_none());
    }

    #[test]
    fn a_damaged_file_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kv.json");
        std::fs::write(&path, "not json").unwrap();
        assert!(KvConfigs::open(path.to_str().unwrap()).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "not json");
    }
}
