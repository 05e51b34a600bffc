//! The cluster that a program's environment names.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::Error;

const URL: &str = "RMQ_URL";
/// What Java, Go and C++ clients read.
const NAME_SERVERS: &str = "NAMESRV_ADDR";
/// servicebinding.io: one folder for each binding, one file for each entry.
const BINDINGS: &str = "SERVICE_BINDING_ROOT";

/// The address, as [`crate::Client::connect`] takes it.
pub(crate) fn cluster_url(get: impl Fn(&str) -> Option<OsString>) -> Result<String, Error> {
    for name in [URL, NAME_SERVERS] {
        if let Some(value) = get(name).filter(|value| !value.is_empty()) {
            return value.into_string().map_err(|value| {
                Error::invalid(format!("{name} is not text: {}", value.display()))
            });
        }
    }
    let Some(root) = get(BINDINGS).filter(|root| !root.is_empty()) else {
        return Err(Error::invalid(format!(
            "no cluster is named: none of {URL}, {NAME_SERVERS} and {BINDINGS} is set"
        ))
        .advice(format!("set {URL}=rmq://HOST:9876")));
    };
    from_bindings(&PathBuf::from(root))
}

fn from_bindings(root: &Path) -> Result<String, Error> {
    let unreadable = |error| {
        Error::invalid(format!("{BINDINGS}: {} cannot be read", root.display())).source(error)
    };
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(root).map_err(unreadable)? {
        folders.push(entry.map_err(unreadable)?.path());
    }
    // By name, so that the same folder is taken each time.
    folders.sort();
    let binding = folders
        .iter()
        .find(|folder| matches!(entry(folder, "type").as_deref(), Some("rmq" | "rocketmq")));
    let Some(binding) = binding else {
        return Err(Error::invalid(format!(
            "{BINDINGS}: no folder under {} has a file \"type\" that says rmq or rocketmq",
            root.display()
        )));
    };
    if let Some(uri) = entry(binding, "uri") {
        return Ok(uri);
    }
    let Some(host) = entry(binding, "host") else {
        return Err(Error::invalid(format!(
            "{BINDINGS}: {} has neither a file \"uri\" nor a file \"host\"",
            binding.display()
        )));
    };
    Ok(match entry(binding, "port") {
        Some(port) => format!("rmq://{host}:{port}"),
        None => format!("rmq://{host}"),
    })
}

fn entry(folder: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(folder.join(name)).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(set: &[(&str, &str)]) -> Result<String, String> {
        let get = |name: &str| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        cluster_url(get).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_that_is_set_counts() {
        assert_eq!(
            url(&[(URL, "rmq://a"), (NAME_SERVERS, "b")]).unwrap(),
            "rmq://a"
        );
        assert_eq!(
            url(&[(URL, ""), (NAME_SERVERS, "b:1;c:2")]).unwrap(),
            "b:1;c:2"
        );
        assert!(url(&[]).unwrap_err().contains("RMQ_URL"));
    }

    #[test]
    fn a_service_binding_is_found() {
        let root = tempfile::tempdir().unwrap();
        let set = [(BINDINGS, root.path().to_str().unwrap())];
        assert!(url(&set).unwrap_err().contains("\"type\""));
        let write = |folder: &str, name: &str, text: &str| {
            let folder = root.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), text).unwrap();
        };
        write("a-database", "type", "postgresql");
        write("queue", "type", "rmq\n");
        assert!(url(&set).unwrap_err().contains("\"host\""));
        write("queue", "host", "ns-0");
        assert_eq!(url(&set).unwrap(), "rmq://ns-0");
        write("queue", "port", "1234");
        assert_eq!(url(&set).unwrap(), "rmq://ns-0:1234");
        write("queue", "uri", "rmq://ns-0,ns-1");
        assert_eq!(url(&set).unwrap(), "rmq://ns-0,ns-1");
        assert!(
            url(&[(BINDINGS, "/nonexistent")])
                .unwrap_err()
                .contains("cannot be read")
        );
    }
}
