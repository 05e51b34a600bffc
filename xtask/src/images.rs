//! `cargo xtask images`: the container image as an OCI archive, without an engine.

use std::path::{Path, PathBuf};
use std::process::Command;

use rmq_lab::oci::{self, File, Image};
use sha2::{Digest, Sha256};

use crate::sbom;
use crate::test::{cargo, has_subcommand, root, target_dir};

/// Name of the image that is built here: a local one, of no registry.
pub(crate) const NAME: &str = concat!("rmq:", env!("CARGO_PKG_VERSION"));
/// User that everything runs as.
const USER: u64 = 10_001;
/// One image for all, 27 MiB packed: one name to mirror, pin and upgrade, and `rmq-ctl` is where a broker is. One for each (4 to 13 MiB,
/// 32 together) would save a node at most 23 MiB, once.
const PROGRAMS: [&str; 4] = ["rmq-broker", "rmq-namesrv", "rmq-operator", "rmq-ctl"];

/// Where the image has the lists of what the programs are made of.
const LISTS: &str = "usr/share/sbom";
/// The SHA-256 of the files beside it.
const CHECKSUMS: &str = "SHA256SUMS";

/// The C library gives buffers from 1 MiB on back when they are freed (docs/reference/limits.md).
const ENV: [&str; 1] = ["MALLOC_MMAP_THRESHOLD_=1048576"];

const LABELS: [(&str, &str); 3] = [
    ("org.opencontainers.image.title", "rmq"),
    (
        "org.opencontainers.image.version",
        env!("CARGO_PKG_VERSION"),
    ),
    ("org.opencontainers.image.licenses", "Apache-2.0"),
];

/// Builds the programs and the archive; returns where it is.
pub(crate) fn build() -> Result<PathBuf, String> {
    let root = root();
    // With cargo-auditable, each program carries the list of its crates in itself (`cargo audit bin` reads it).
    let mut command = match has_subcommand(&root, "auditable") {
        true => cargo(&root, &["auditable", "build", "--quiet", "--release"]),
        false => cargo(&root, &["build", "--quiet", "--release"]),
    };
    for program in PROGRAMS {
        command.args(["-p", program]);
    }
    let status = command
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err("the programs cannot be built".to_owned());
    }
    pack(&released())
}

/// Writes what each program is made of into a folder.
pub(crate) fn list(folder: &Path) -> Result<(), String> {
    let failed = |error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    for program in PROGRAMS {
        let path = folder.join(sbom::file_name(program));
        std::fs::write(&path, sbom::of(&root(), program)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Writes the SHA-256 of files of a folder as `sha256sum --check` reads them.
fn write_checksums(folder: &Path, names: &[String]) -> Result<(), String> {
    let mut lines = String::new();
    for name in names {
        let path = folder.join(name);
        let failed = |error| format!("{}: {error}", path.display());
        let mut hash = Sha256::new();
        let mut file = std::fs::File::open(&path).map_err(failed)?;
        std::io::copy(&mut file, &mut hash).map_err(failed)?;
        for byte in hash.finalize() {
            lines.push_str(&format!("{byte:02x}"));
        }
        lines.push_str(&format!("  {name}\n"));
    }
    let path = folder.join(CHECKSUMS);
    std::fs::write(&path, lines).map_err(|error| format!("{}: {error}", path.display()))
}

/// Where release programs are.
pub(crate) fn released() -> PathBuf {
    target_dir(&root()).join("release")
}

/// The archive of programs that lie in `folder`, without their debug information; returns where the archive is.
pub(crate) fn pack(folder: &Path) -> Result<PathBuf, String> {
    let images = target_dir(&root()).join("images");
    let archive = images.join("rmq.tar");
    let stripped = images.join("programs");
    strip(folder, &stripped)?;
    list(&stripped)?;
    let digest = write(&stripped, &PROGRAMS, &archive)?;
    let lists = PROGRAMS.map(sbom::file_name);
    let names = PROGRAMS.iter().map(ToString::to_string).chain(lists);
    write_checksums(&stripped, &names.collect::<Vec<_>>())?;
    write_checksums(&images, &["rmq.tar".to_owned()])?;
    let bytes = std::fs::metadata(&archive).map_or(0, |file| file.len());
    println!(
        "{NAME}: {} ({} MiB, {digest})",
        archive.display(),
        bytes >> 20
    );
    Ok(archive)
}

/// Copies the programs without debug information, which would be most of an image's bytes.
fn strip(from: &Path, to: &Path) -> Result<(), String> {
    std::fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    for program in PROGRAMS {
        let mut strip = Command::new("strip");
        strip.arg("--strip-debug").arg("-o").arg(to.join(program));
        let status = strip
            .arg(from.join(program))
            .status()
            .map_err(|error| format!("strip (Debian package binutils): {error}"))?;
        if !status.success() {
            return Err(format!("strip of {program} ended with {status}"));
        }
    }
    Ok(())
}

/// Writes the image of programs that are built already; returns its digest.
fn write(release: &Path, programs: &[&str], archive: &Path) -> Result<String, String> {
    let paths: Vec<PathBuf> = programs.iter().map(|name| release.join(name)).collect();
    let mut files = oci::surroundings(USER)?;
    files.extend(oci::libraries(&paths)?);
    for (name, path) in programs.iter().zip(&paths) {
        let content =
            std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        files.push(File::program(format!("usr/bin/{name}"), content));
        let list = release.join(sbom::file_name(name));
        let content =
            std::fs::read(&list).map_err(|error| format!("{}: {error}", list.display()))?;
        files.push(File::text(
            format!("{LISTS}/{}", sbom::file_name(name)),
            content,
        ));
    }
    let image = Image {
        name: NAME.to_owned(),
        user: USER,
        entrypoint: Vec::new(),
        env: ENV.map(str::to_owned).to_vec(),
        labels: LABELS
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        files,
    };
    let folder = archive.parent().ok_or("an archive lies in a folder")?;
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    image
        .write(archive)
        .map_err(|error| format!("{}: {error}", archive.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn entries(bytes: impl Read) -> BTreeMap<String, (tar::Header, Vec<u8>)> {
        let mut all = BTreeMap::new();
        for entry in tar::Archive::new(bytes).entries().expect("an archive") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("content");
            let header = entry.header().clone();
            let path = path.trim_end_matches('/').to_owned();
            assert!(all.insert(path, (header, content)).is_none(), "twice");
        }
        all
    }

    /// A program of this machine stands for ours: what surrounds it is the same.
    #[test]
    fn the_image_runs_without_root_and_is_the_same_each_time() {
        let own = std::env::current_exe().expect("a path");
        let name = own
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        let dir = std::env::temp_dir().join(format!("rmq-image-{}", std::process::id()));
        let release = dir.as_path();
        std::fs::create_dir_all(release).expect("made");
        std::fs::copy(&own, release.join(name)).expect("copied");
        std::fs::write(release.join(sbom::file_name(name)), "{}").expect("written");
        let (one, other) = (dir.join("one.tar"), dir.join("other.tar"));
        let digest = write(release, &[name], &one).expect("written");
        assert_eq!(digest, write(release, &[name], &other).expect("written"));
        write_checksums(release, &[name.to_owned(), "one.tar".to_owned()]).expect("written");
        let mut check = Command::new("sha256sum");
        check
            .current_dir(release)
            .args(["--check", "--strict", "--quiet", CHECKSUMS]);
        assert!(check.status().expect("coreutils").success());
        let bytes = std::fs::read(&one).expect("read");
        assert_eq!(bytes, std::fs::read(&other).expect("read"));
        std::fs::remove_dir_all(&dir).expect("removed");

        let blobs = entries(bytes.as_slice());
        let blob = |digest: &serde_json::Value| {
            let digest = digest.as_str().expect("a digest");
            &blobs[&digest.replace("sha256:", "blobs/sha256/")].1
        };
        let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).expect("JSON");
        let manifest = json(blob(&digest.into()));
        let config = json(blob(&manifest["config"]["digest"]));
        assert_eq!(config["config"]["User"], "10001:10001");
        for (label, value) in LABELS {
            assert_eq!(config["config"]["Labels"][label], value);
        }
        let layer = blob(&manifest["layers"][0]["digest"]).as_slice();
        let layer = entries(flate2::read::GzDecoder::new(layer));
        for (path, (header, _)) in &layer {
            let mode = header.mode().expect("a mode");
            assert_eq!(header.mtime().expect("a time"), 0, "{path}");
            assert_eq!(mode & 0o6000, 0, "{path} runs as its owner");
            if path != "tmp" {
                assert_eq!(mode & 0o022, 0, "{path} can be written by others");
            }
            if let Some((folder, _)) = path.rsplit_once('/') {
                assert!(layer.contains_key(folder), "{path} has no folder");
            }
        }
        let text = |path: &str| String::from_utf8_lossy(&layer[path].1).into_owned();
        assert!(text("etc/passwd").contains("rmq:x:10001:10001:"));
        assert!(text("etc/nsswitch.conf").contains("hosts: files dns"));
        let authorities = text("etc/ssl/certs/ca-certificates.crt");
        assert!(authorities.matches("BEGIN CERTIFICATE").count() > 50);
        assert!(layer.contains_key(&format!("usr/bin/{name}")));
        assert_eq!(text(&format!("{LISTS}/{name}.cdx.json")), "{}");
        assert!(layer.keys().any(|path| path.contains("/libc.so")));
        assert!(layer.keys().any(|path| path.contains("/ld-linux")));
        assert!(!layer.keys().any(|path| path.ends_with("/sh")), "no shell");
    }

    #[test]
    fn the_dockerfile_makes_the_same() {
        let text = std::fs::read_to_string(root().join("Dockerfile")).expect("a Dockerfile");
        for program in PROGRAMS {
            assert!(text.contains(&format!("-p {program}")), "{program}: built");
            let copied = format!("target/release/{program}");
            assert!(text.contains(&copied), "{program}: copied");
        }
        for (label, value) in LABELS {
            assert!(text.contains(&format!("{label}={value}")), "{label}");
        }
        for variable in ENV {
            assert!(text.contains(variable), "{variable}");
        }
        assert!(text.contains(NAME), "the name");
        assert!(text.contains(&format!("xtask -- sbom --to /out/{LISTS}")));
        assert!(text.contains(&format!("USER {USER}:{USER}")), "the user");
        for file in oci::surroundings(USER).expect("certificates") {
            let content = file.content.unwrap_or_default();
            if file.path.ends_with("ca-certificates.crt") || content.is_empty() {
                assert!(text.contains(&file.path), "{}", file.path);
            } else {
                let written = String::from_utf8_lossy(&content).replace('\n', "\\n");
                let line = format!("printf '{written}' > /out/{}", file.path);
                assert!(text.contains(&line), "{line}");
            }
        }
    }
}
