//! Container images as OCI archives, without an engine: one layer, the same bytes for the same input.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A file or folder of the image.
#[derive(Debug, Clone)]
pub struct File {
    /// Path without the leading slash.
    pub path: String,
    /// None: a folder.
    pub content: Option<Vec<u8>>,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub user: u64,
}

impl File {
    /// A program that everybody may run.
    #[must_use]
    pub fn program(path: impl Into<String>, content: Vec<u8>) -> Self {
        Self {
            path: path.into(),
            content: Some(content),
            mode: 0o755,
            user: 0,
        }
    }

    /// A file that everybody may read.
    #[must_use]
    pub fn text(path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            content: Some(content.into()),
            mode: 0o644,
            user: 0,
        }
    }

    /// A folder of `user`.
    #[must_use]
    pub fn folder(path: impl Into<String>, mode: u32, user: u64) -> Self {
        Self {
            path: path.into(),
            content: None,
            mode,
            user,
        }
    }
}

/// A name as nodes keep it: kubelets ask containerd for `rmq:1` under the name that an engine would look up for it
/// (`distribution/reference`, `normalize.go`).
#[must_use]
pub fn qualified(name: &str) -> String {
    match name.split_once('/') {
        None => format!("docker.io/library/{name}"),
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
    }
}

/// Certificate authorities of this machine, and where programs look for them in an image.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// A path of this machine as an image has it.
fn inside(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

/// What every image has besides its programs: the names of users, how names of hosts are looked up, certificate authorities, and
/// `/tmp` and `/data` to write to, where a pod mounts something there.
///
/// # Errors
/// Where this machine has no certificate authorities.
pub fn surroundings(user: u64) -> Result<Vec<File>, String> {
    let authorities = read(Path::new(AUTHORITIES)).map_err(|error| {
        format!("{error}; Debian's package ca-certificates has the certificate authorities")
    })?;
    Ok(vec![
        File::folder("tmp", 0o1777, 0),
        File::folder("data", 0o755, user),
        File::text(
            "etc/passwd",
            format!("root:x:0:0:root:/:/\nrmq:x:{user}:{user}:rmq:/data:/\n"),
        ),
        File::text("etc/group", format!("root:x:0:\nrmq:x:{user}:\n")),
        File::text(
            "etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\n",
        ),
        File::text(inside(Path::new(AUTHORITIES)), authorities),
    ])
}

/// The shared libraries that programs and libraries of this machine load, with the loader itself.
///
/// # Errors
/// When `ldd` cannot tell, or a library is missing.
pub fn libraries(of: &[PathBuf]) -> Result<Vec<File>, String> {
    let mut found = BTreeSet::new();
    for program in of {
        let output = Command::new("ldd")
            .arg(program)
            .output()
            .map_err(|error| format!("ldd: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || text.contains("not found") {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("ldd {}: {text}{said}", program.display()));
        }
        let words = text.split_whitespace().filter(|word| word.starts_with('/'));
        found.extend(words.map(|word| PathBuf::from(word.trim_end_matches(':'))));
    }
    let files = found.iter();
    files
        .map(|path| Ok(File::program(inside(path), read(path)?)))
        .collect()
}

/// A folder of this machine with everything in it, at `path` of an image.
///
/// # Errors
/// When it cannot be read.
pub fn tree(folder: &Path, path: &str) -> Result<Vec<File>, String> {
    let failed = |error: io::Error| format!("{}: {error}", folder.display());
    let mut files = vec![File::folder(path, 0o755, 0)];
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let from = entry.map_err(failed)?.path();
        let name = from.file_name().unwrap_or_default().to_string_lossy();
        let to = format!("{path}/{name}");
        let about = std::fs::metadata(&from).map_err(failed)?;
        if about.is_dir() {
            files.extend(tree(&from, &to)?);
        } else if about.permissions().mode() & 0o111 == 0 {
            files.push(File::text(to, read(&from)?));
        } else {
            files.push(File::program(to, read(&from)?));
        }
    }
    Ok(files)
}

/// Sorted, each path once, and every folder before what is in it.
fn complete(files: &[File]) -> Vec<File> {
    let mut all = BTreeMap::new();
    for file in files {
        let parents = file.path.match_indices('/').map(|(at, _)| &file.path[..at]);
        for parent in parents {
            all.entry(parent.to_owned())
                .or_insert_with(|| File::folder(parent, 0o755, 0));
        }
    }
    all.extend(files.iter().map(|file| (file.path.clone(), file.clone())));
    all.into_values().collect()
}

/// An image for this machine's architecture.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Name with tag.
    pub name: String,
    /// User and group that run it.
    pub user: u64,
    /// What is run; empty: the pod says it.
    pub entrypoint: Vec<String>,
    /// Environment, `NAME=value`.
    pub env: Vec<String>,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// What is in it.
    pub files: Vec<File>,
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

fn archive(files: &[File]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(file.mode);
        header.set_uid(file.user);
        header.set_gid(file.user);
        header.set_mtime(0);
        let content = file.content.as_deref().unwrap_or_default();
        header.set_size(content.len() as u64);
        header.set_entry_type(match file.content {
            Some(_) => tar::EntryType::Regular,
            None => tar::EntryType::Directory,
        });
        builder.append_data(&mut header, &file.path, content)?;
    }
    builder.into_inner()
}

impl Image {
    /// Writes the archive; returns the digest of the image.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, to: &Path) -> io::Result<String> {
        let layer = archive(&complete(&self.files))?;
        let mut packed = GzEncoder::new(Vec::new(), Compression::new(6));
        packed.write_all(&layer)?;
        let packed = packed.finish()?;
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let labels: serde_json::Map<String, Value> = self
            .labels
            .iter()
            .map(|(name, value)| (name.clone(), Value::String(value.clone())))
            .collect();
        let mut env = vec!["PATH=/usr/bin:/".to_owned()];
        env.extend(self.env.iter().cloned());
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Entrypoint": self.entrypoint,
                "Env": env,
                "User": format!("{0}:{0}", self.user),
                "WorkingDir": "/",
                "Labels": labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(&config),
                "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": digest(&packed),
                "size": packed.len(),
            }],
        });
        let manifest = manifest.to_string().into_bytes();
        let image = digest(&manifest);
        let tag = self.name.rsplit(':').next().unwrap_or("latest");
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": image,
                "size": manifest.len(),
                "platform": {"architecture": architecture, "os": "linux"},
                "annotations": {
                    "io.containerd.image.name": qualified(&self.name),
                    "org.opencontainers.image.ref.name": tag,
                },
            }],
        });
        let mut files = vec![
            File::folder("blobs", 0o755, 0),
            File::folder("blobs/sha256", 0o755, 0),
        ];
        for blob in [packed, config, manifest] {
            let name = digest(&blob).replace("sha256:", "blobs/sha256/");
            files.push(File::text(name, blob));
        }
        files.push(File::text("index.json", index.to_string()));
        files.push(File::text(
            "oci-layout",
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        ));
        std::fs::write(to, archive(&files)?)?;
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_kubelets_ask_for() {
        assert_eq!(qualified("rmq:1"), "docker.io/library/rmq:1");
        assert_eq!(qualified("shop/rmq:1"), "docker.io/shop/rmq:1");
        for whole in ["localhost/x:1", "registry.shop:5000/rmq:1", "host:5000/rmq"] {
            assert_eq!(qualified(whole), whole);
        }
    }

    #[test]
    fn the_same_input_gives_the_same_image() {
        let image = Image {
            name: "localhost/x:1".to_owned(),
            user: 10_001,
            entrypoint: vec!["/x".to_owned()],
            files: vec![
                File::program("x", b"program".to_vec()),
                File::folder("data", 0o755, 10_001),
            ],
            ..Image::default()
        };
        let dir = std::env::temp_dir().join(format!("rmq-oci-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let (one, other) = (dir.join("one.tar"), dir.join("other.tar"));
        let first = image.write(&one).expect("written");
        assert_eq!(first, image.write(&other).expect("written"));
        let bytes = std::fs::read(&one).expect("read");
        assert_eq!(bytes, std::fs::read(&other).expect("read"));
        let mut names = Vec::new();
        let mut archive = tar::Archive::new(bytes.as_slice());
        for entry in archive.entries().expect("an archive") {
            names.push(
                entry
                    .expect("an entry")
                    .path()
                    .expect("a path")
                    .display()
                    .to_string(),
            );
        }
        assert!(
            names.contains(&"index.json".to_owned())
                && names.contains(&first.replace("sha256:", "blobs/sha256/"))
        );
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
