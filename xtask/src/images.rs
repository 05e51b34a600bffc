//! `cargo xtask images`: the container image as an OCI archive, without an engine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use rmq_lab::oci::{File, Image};

use crate::test::{cargo, root, target_dir};

/// Name of the image that is built here.
pub(crate) const NAME: &str = concat!("ghcr.io/rmq-rs/rmq:", env!("CARGO_PKG_VERSION"));
/// User that everything runs as.
const USER: u64 = 10_001;
/// One image for all: together they are smaller than two images that share the C library only.
const PROGRAMS: [&str; 4] = ["rmq-broker", "rmq-namesrv", "rmq-operator", "rmq-ctl"];

/// Builds the programs and the archive; returns where it is.
pub(crate) fn build() -> Result<PathBuf, String> {
    let root = root();
    let mut command = cargo(&root, &["build", "--quiet", "--release"]);
    for program in PROGRAMS {
        command.args(["-p", program]);
    }
    let status = command
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err("the programs cannot be built".to_owned());
    }
    let release = target_dir(&root).join("release");
    let archive = target_dir(&root).join("images/rmq.tar");
    write(&release, &archive)?;
    Ok(archive)
}

/// The image of programs that are built already.
fn write(release: &Path, archive: &Path) -> Result<(), String> {
    let mut files: Vec<File> = ["etc", "etc/ssl", "etc/ssl/certs", "usr", "usr/bin"]
        .into_iter()
        .map(|path| File::folder(path, 0o755, 0))
        .collect();
    files.push(File::folder("tmp", 0o1777, 0));
    files.push(File::folder("data", 0o755, USER));
    files.push(File::text(
        "etc/passwd",
        format!("root:x:0:0:root:/:/\nrmq:x:{USER}:{USER}:rmq:/data:/\n"),
    ));
    files.push(File::text(
        "etc/group",
        format!("root:x:0:\nrmq:x:{USER}:\n"),
    ));
    files.push(File::text(
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\n",
    ));
    // Certificate authorities, for clients that use TLS.
    if let Ok(authorities) = std::fs::read("/etc/ssl/certs/ca-certificates.crt") {
        files.push(File::text("etc/ssl/certs/ca-certificates.crt", authorities));
    }
    let mut libraries = BTreeSet::new();
    for program in PROGRAMS {
        let path = release.join(program);
        files.push(File::program(format!("usr/bin/{program}"), read(&path)?));
        libraries.extend(libraries_of(&path)?);
    }
    let mut folders = BTreeSet::new();
    for library in &libraries {
        let mut folder = library.parent();
        while let Some(path) = folder.filter(|path| path.parent().is_some()) {
            folders.insert(path.to_owned());
            folder = path.parent();
        }
    }
    let inside = |path: &Path| path.to_string_lossy().trim_start_matches('/').to_owned();
    for folder in folders {
        let path = inside(&folder);
        if !files.iter().any(|file| file.path == path) {
            files.push(File::folder(path, 0o755, 0));
        }
    }
    for library in libraries {
        files.push(File::program(inside(&library), read(&library)?));
    }
    let image = Image {
        name: NAME.to_owned(),
        user: USER,
        entrypoint: Vec::new(),
        env: Vec::new(),
        labels: [
            ("org.opencontainers.image.title", "rmq"),
            (
                "org.opencontainers.image.version",
                env!("CARGO_PKG_VERSION"),
            ),
            ("org.opencontainers.image.licenses", "Apache-2.0"),
            (
                "org.opencontainers.image.source",
                "https://github.com/rmq-rs/rmq",
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec(),
        files,
    };
    let folder = archive.parent().ok_or("an archive lies in a folder")?;
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let digest = image
        .write(archive)
        .map_err(|error| format!("{}: {error}", archive.display()))?;
    let bytes = std::fs::metadata(archive)
        .map(|file| file.len())
        .unwrap_or(0);
    println!(
        "{NAME}: {} ({} MiB, {digest})",
        archive.display(),
        bytes >> 20
    );
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Shared libraries that a program loads, with the loader itself.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .map_err(|error| format!("ldd: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from);
    Ok(found.collect())
}
