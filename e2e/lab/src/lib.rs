//! A real Kubernetes on one machine: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, CoreDNS, and three nodes, each with
//! containerd, kubelet and kube-proxy in namespaces of its own.
//!
//! The binaries are built from one Go module (`kubernetes/`) and kept in the user's cache. Scripts in `scripts/` start and stop the parts;
//! `cargo xtask cluster` gives the same cluster to a developer. It needs root and cgroup v1. A control plane without nodes needs neither.

mod binaries;
mod cluster;
mod control_plane;
pub mod oci;

pub use binaries::{build, key};
pub use cluster::{Lab, missing, missing_packages};
pub use control_plane::{AUDITED, ControlPlane, missing_for_control_plane};

use std::path::PathBuf;

/// The folder that downloads and builds are kept in.
#[must_use]
pub fn cache_dir() -> PathBuf {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("rmq")
}

/// Where the cluster lives: binaries, certificates, state of nodes, logs.
#[must_use]
pub fn lab_dir() -> PathBuf {
    cache_dir().join("kube")
}

fn own(part: &str) -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(part)
}
