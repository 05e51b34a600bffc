//! The cluster: up, down, a node off and on, and the tools that talk to it.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::oci::qualified;
use crate::{binaries, lab_dir, own};

/// Programs of Debian that the cluster needs, with their packages.
const PROGRAMS: [(&str, &str); 9] = [
    ("/usr/bin/containerd", "containerd"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/sbin/iptables", "iptables"),
    ("/usr/sbin/nft", "nftables"),
    ("/usr/sbin/ip", "iproute2"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/bin/curl", "curl"),
    ("/usr/bin/ps", "procps"),
];

/// Debian packages that a cluster needs and this machine does not have.
#[must_use]
pub fn missing_packages() -> Vec<&'static str> {
    let is_there = |program: &str| {
        // Where /bin and /sbin are folders of their own.
        let without_usr = program.trim_start_matches("/usr");
        Path::new(program).exists() || Path::new(without_usr).exists()
    };
    let missing = PROGRAMS.iter().filter(|(program, _)| !is_there(program));
    missing.map(|(_, package)| *package).collect()
}

/// What this machine lacks for a cluster; none when it has all.
#[must_use]
pub fn missing() -> Option<String> {
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    if !is_root {
        return Some("nodes need root".to_owned());
    }
    if !Path::new("/sys/fs/cgroup/cpu").is_dir() {
        return Some("nodes need cgroup v1 (/sys/fs/cgroup/cpu)".to_owned());
    }
    let packages = missing_packages();
    if !packages.is_empty() {
        return Some(format!(
            "Debian packages are missing: {}",
            packages.join(" ")
        ));
    }
    binaries::key().err()
}

/// A cluster that was started; one at a time on a machine.
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
    stop: bool,
    /// Held as long as this process may change what runs: another one that wants a cluster is told so.
    _lock: Option<File>,
}

/// Takes the one place for a cluster on this machine.
fn lock(dir: &Path) -> Result<File, String> {
    let path = dir.join("lock");
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(dir).map_err(failed)?;
    // Not truncated: somebody else's number stands in it.
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let owner = std::fs::read_to_string(&path).unwrap_or_default();
            return Err(format!(
                "process {} uses the cluster of this machine, and there can be one only; wait until it ends",
                owner.trim()
            ));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).map_err(failed)?;
    write!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

/// Whether its control plane runs.
fn is_up(dir: &Path) -> bool {
    let pid = std::fs::read_to_string(dir.join("run/etcd.pid")).unwrap_or_default();
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim()));
    status.is_ok_and(|status| status.starts_with("Name:\tetcd") && !status.contains("State:\tZ"))
}

impl Lab {
    /// Starts a cluster with `nodes` nodes, 1 to 3, that know these image archives. It is stopped when the value is dropped, and
    /// also when this process ends in another way.
    ///
    /// # Errors
    /// That another one runs, or what did not start, with the end of its log.
    pub fn up(nodes: u8, images: &[PathBuf]) -> Result<Self, String> {
        let dir = lab_dir();
        let lock = lock(&dir)?;
        if is_up(&dir) && dir.join("kept").exists() {
            return Err(
                "a cluster runs already, started by `cargo xtask cluster up`; stop it first: cargo xtask cluster down"
                    .to_owned(),
            );
        }
        binaries::build()?;
        let store = dir.join("img");
        for image in images {
            let name = image.file_name().ok_or("an image archive has a name")?;
            std::fs::copy(image, store.join(name))
                .map_err(|error| format!("{}: {error}", image.display()))?;
        }
        // What an earlier run left behind.
        script("down.sh", &[])?;
        let lab = Self {
            dir,
            stop: true,
            _lock: Some(lock),
        };
        let mut command = scripted("up.sh", &[]);
        command
            .env("NODES", nodes.to_string())
            .env("OWNER", std::process::id().to_string());
        finish(command, "up.sh")?;
        let version = lab.kubectl(&["version", "-o", "json"])?;
        if !version.contains("\"v1.34.10\"") {
            return Err(format!("not the Kubernetes that was built: {version}"));
        }
        Ok(lab)
    }

    /// The cluster that is running, which is not stopped when the value is dropped.
    ///
    /// # Errors
    /// When none runs.
    pub fn running() -> Result<Self, String> {
        let dir = lab_dir();
        if !is_up(&dir) {
            return Err("no cluster runs; start one: cargo xtask cluster up".to_owned());
        }
        Ok(Self {
            dir,
            stop: false,
            _lock: None,
        })
    }

    /// Lets it run on when this process ends.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub fn keep(mut self) -> Result<(), String> {
        let mark = self.dir.join("kept");
        std::fs::write(&mark, "").map_err(|error| format!("{}: {error}", mark.display()))?;
        self.stop = false;
        script("watch.sh", &["stop"])
    }

    /// Stops whatever runs and removes its data; what an earlier one left behind too.
    ///
    /// # Errors
    /// When another process uses it, or something cannot be stopped.
    pub fn clear() -> Result<(), String> {
        let _lock = lock(&lab_dir())?;
        script("down.sh", &[])
    }

    /// Stops it and removes its data.
    ///
    /// # Errors
    /// When something cannot be stopped.
    pub fn down(mut self) -> Result<(), String> {
        self.stop = false;
        script("down.sh", &[])
    }

    /// Kubeconfig of an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("etc/admin.kubeconfig")
    }

    /// A program of the lab, such as kubectl or helm, set up for this cluster.
    #[must_use]
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.dir.join("bin").join(name));
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// What kubectl prints.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        let output = self
            .tool("kubectl")
            .args(args)
            .stdin(Stdio::null())
            .output();
        told(output, &format!("kubectl {}", args.join(" ")))
    }

    /// What Helm prints.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn helm(&self, args: &[&str]) -> Result<String, String> {
        let output = self.tool("helm").args(args).stdin(Stdio::null()).output();
        told(output, &format!("helm {}", args.join(" ")))
    }

    /// What kubectl prints with this on its standard input.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn kubectl_with(&self, args: &[&str], input: &str) -> Result<String, String> {
        let mut child = self
            .tool("kubectl")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("kubectl: {error}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin
                .write_all(input.as_bytes())
                .map_err(|error| format!("kubectl: {error}"))?;
        }
        told(
            child.wait_with_output(),
            &format!("kubectl {}", args.join(" ")),
        )
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// What kubectl says when it fails.
    pub fn apply(&self, manifest: &str) -> Result<String, String> {
        self.kubectl_with(&["apply", "--server-side", "-f", "-"], manifest)
    }

    /// Powers a node off: everything in it is killed at once.
    ///
    /// # Errors
    /// When that does not work.
    pub fn kill_node(&self, node: u8) -> Result<(), String> {
        script("node.sh", &["kill", &node.to_string()])
    }

    /// Powers a node on.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_node(&self, node: u8) -> Result<(), String> {
        script("node.sh", &["up", &node.to_string()])
    }

    /// The address of a node (`scripts/env.sh`).
    #[must_use]
    pub fn address(&self, node: u8) -> String {
        format!("10.199.0.1{node}")
    }

    /// Address and port of the API server (`scripts/env.sh`).
    #[must_use]
    pub fn api_server(&self) -> (&'static str, u16) {
        ("10.199.0.1", 6443)
    }

    /// A command that runs inside a node.
    #[must_use]
    pub fn in_node(&self, node: u8, program: &str) -> Command {
        let pid = self.dir.join(format!("run/n{node}/init.pid"));
        let pid = std::fs::read_to_string(pid).unwrap_or_default();
        let mut command = Command::new("nsenter");
        command.args([
            "-t",
            pid.trim(),
            "-m",
            "-n",
            "-u",
            "-i",
            "-p",
            "--",
            program,
        ]);
        command
    }

    fn images(&self, node: u8, args: &[&str]) -> Result<(), String> {
        let output = self
            .in_node(node, "ctr")
            .args(["-a", "/run/containerd/containerd.sock", "-n", "k8s.io"])
            .arg("images")
            .args(args)
            .output();
        told(output, &format!("node {node}: {}", args.join(" "))).map(drop)
    }

    /// Gives an image that the nodes have another name.
    ///
    /// # Errors
    /// When a node does not have it.
    pub fn tag_image(&self, nodes: u8, image: &str, name: &str) -> Result<(), String> {
        (1..=nodes).try_for_each(|node| {
            self.images(
                node,
                &["tag", "--force", &qualified(image), &qualified(name)],
            )
        })
    }

    /// Gives a node the image of an archive.
    ///
    /// # Errors
    /// When it does not take it.
    pub fn import_image(&self, node: u8, archive: &Path) -> Result<(), String> {
        self.images(node, &["import", &archive.display().to_string()])
    }

    /// Stops the API server and starts it again after `pause`.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn restart_api_server(&self, pause: std::time::Duration) -> Result<(), String> {
        script("apiserver.sh", &["stop"])?;
        std::thread::sleep(pause);
        script("apiserver.sh", &["start"])
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.stop
            && let Err(error) = script("down.sh", &[])
        {
            #[expect(clippy::print_stderr, reason = "somebody has to stop it by hand")]
            {
                eprintln!("the cluster was not stopped: {error}");
            }
        }
    }
}

fn scripted(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command
        .arg(own("scripts").join(name))
        .args(args)
        .env("KUBE_LAB", lab_dir())
        .stdin(Stdio::null());
    command
}

fn script(name: &str, args: &[&str]) -> Result<(), String> {
    finish(scripted(name, args), name)
}

/// The script's children go on: what they write goes to files, so that nobody waits for them here.
fn finish(mut command: Command, name: &str) -> Result<(), String> {
    let log = lab_dir().join(format!("{name}.log"));
    std::fs::create_dir_all(lab_dir())
        .map_err(|error| format!("{}: {error}", lab_dir().display()))?;
    let failed = |error: std::io::Error| format!("{}: {error}", log.display());
    let out = std::fs::File::create(&log).map_err(failed)?;
    let err = out.try_clone().map_err(failed)?;
    let status = command
        .stdout(out)
        .stderr(err)
        .status()
        .map_err(|error| format!("{name}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    let last: Vec<&str> = said.lines().rev().take(15).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(format!("{name} ended with {status}: {}", last.join("\n")))
}

fn told(output: std::io::Result<Output>, what: &str) -> Result<String, String> {
    let output = output.map_err(|error| format!("{what}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!(
            "{what}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }
}
