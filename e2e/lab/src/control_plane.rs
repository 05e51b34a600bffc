//! A control plane without nodes: etcd and kube-apiserver, and kube-controller-manager where objects shall get children. It needs no root,
//! listens on ports of the system's choice, and runs beside a whole cluster.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rmq_ports::Port;

use crate::{binaries, lab_dir};

/// Longest wait for a part to answer: a busy machine needs its time.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Who the kubeconfigs are of, all with every right; requests of the second are audited.
const USERS: [&str; 2] = ["admin", AUDITED];
/// The user whose requests stand in the audit log.
pub const AUDITED: &str = "audited";

/// What this machine lacks for a control plane; none when it has all.
#[must_use]
pub fn missing_for_control_plane() -> Option<String> {
    for program in ["openssl", "curl"] {
        let found = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if found.is_err() {
            return Some(format!("{program} is not installed"));
        }
    }
    binaries::key().err()
}

/// A control plane that was started; its parts are ended, by their process ids, when the value is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    dir: tempfile::TempDir,
    parts: Vec<Child>,
    _ports: [Port; 3],
}

impl ControlPlane {
    /// Starts etcd and kube-apiserver.
    ///
    /// # Errors
    /// What did not start, with the end of its log.
    pub fn start() -> Result<Self, String> {
        binaries::build()?;
        // etcd writes much and keeps nothing.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let dir = tempfile::Builder::new()
            .prefix("rmq-control-plane-")
            .tempdir_in(&parent)
            .map_err(|error| format!("{}: {error}", parent.display()))?;
        let hold = || Port::hold().map_err(|error| format!("no free port: {error}"));
        let ports = [hold()?, hold()?, hold()?];
        let [client, peer, api] = [0, 1, 2].map(|index: usize| ports[index].number());
        let mut plane = Self {
            dir,
            parts: Vec::new(),
            _ports: ports,
        };
        let client = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        plane.part(
            "etcd",
            &[
                "--name=e0".to_owned(),
                format!("--data-dir={}", plane.path("etcd").display()),
                "--unsafe-no-fsync".to_owned(),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster=e0={peer}"),
                "--log-level=warn".to_owned(),
            ],
        )?;
        plane.keys(api)?;
        let at = |name: &str| plane.path(name).display().to_string();
        let flags = [
            format!("--etcd-servers={client}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={api}"),
            format!("--cert-dir={}", at("tls")),
            format!("--token-auth-file={}", at("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", at("accounts.pub")),
            format!("--service-account-signing-key-file={}", at("accounts.key")),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            // Nobody outside of this machine is served.
            "--endpoint-reconciler-type=none".to_owned(),
            // Pods that nothing runs need no account.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            format!("--audit-policy-file={}", at("audit.yaml")),
            format!("--audit-log-path={}", plane.audit_log().display()),
        ];
        plane.part("kube-apiserver", &flags)?;
        plane.wait_ready(api)?;
        Ok(plane)
    }

    /// Starts kube-controller-manager with these controllers.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run_controllers(&mut self, controllers: &[&str]) -> Result<(), String> {
        let flags = [
            format!("--kubeconfig={}", self.kubeconfig().display()),
            format!("--controllers={}", controllers.join(",")),
            format!(
                "--service-account-private-key-file={}",
                self.path("accounts.key").display()
            ),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            // It is not what is measured.
            "--kube-api-qps=2000".to_owned(),
            "--kube-api-burst=2000".to_owned(),
            "--concurrent-statefulset-syncs=16".to_owned(),
        ];
        self.part("kube-controller-manager", &flags)
    }

    /// Kubeconfig of an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("admin.kubeconfig")
    }

    /// Kubeconfig of another administrator, whose requests stand in [`ControlPlane::audit_log`].
    #[must_use]
    pub fn audited_kubeconfig(&self) -> PathBuf {
        self.path("audited.kubeconfig")
    }

    /// One JSON object for each request of [`AUDITED`].
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.path("audit.log")
    }

    /// A kubeconfig by which the administrator acts as somebody else.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig_as(&self, user: &str) -> Result<PathBuf, String> {
        let text = read(&self.kubeconfig())?;
        let path = self.path(&format!("{}.kubeconfig", user.replace(':', "-")));
        let text = text.replace("user: {token", &format!("user: {{as: \"{user}\", token"));
        write(&path, &text)?;
        Ok(path)
    }

    /// A program of the lab, such as kubectl or helm, set up for this control plane.
    #[must_use]
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(lab_dir().join("bin").join(name));
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn part(&mut self, name: &str, flags: &[String]) -> Result<(), String> {
        let log = self.path(&format!("{name}.log"));
        let failed = |error: std::io::Error| format!("{}: {error}", log.display());
        let out = File::create(&log).map_err(failed)?;
        let err = out.try_clone().map_err(failed)?;
        let child = Command::new(lab_dir().join("bin").join(name))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|error| format!("{name}: {error}"))?;
        self.parts.push(child);
        Ok(())
    }

    /// Keys, tokens and the files that speak of them.
    fn keys(&self, port: u16) -> Result<(), String> {
        let key = self.path("accounts.key").display().to_string();
        let public = self.path("accounts.pub").display().to_string();
        let curve = ["ecparam", "-genkey", "-noout", "-name", "prime256v1"];
        openssl(&[curve.as_slice(), &["-out", &key]].concat())?;
        openssl(&["ec", "-in", &key, "-pubout", "-out", &public])?;
        let mut tokens = String::new();
        // The API server makes its own certificate there.
        let authority = self.path("tls/apiserver.crt");
        for user in USERS {
            let token = random()?;
            tokens.push_str(&format!("{token},{user},{user},\"system:masters\"\n"));
            write(
                &self.path(&format!("{user}.kubeconfig")),
                &format!(
                    "apiVersion: v1
kind: Config
clusters: [{{name: lab, cluster: {{server: \"https://127.0.0.1:{port}\", certificate-authority: \"{}\"}}}}]
users: [{{name: user, user: {{token: \"{token}\"}}}}]
contexts: [{{name: lab, context: {{cluster: lab, user: user}}}}]
current-context: lab
",
                    authority.display()
                ),
            )?;
        }
        write(&self.path("tokens.csv"), &tokens)?;
        write(
            &self.path("audit.yaml"),
            &format!(
                "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {{level: Metadata, users: [{AUDITED}]}}
- {{level: None}}
"
            ),
        )
    }

    fn wait_ready(&mut self, port: u16) -> Result<(), String> {
        let started = Instant::now();
        let url = format!("https://127.0.0.1:{port}/readyz");
        loop {
            let answers = Command::new("curl")
                .args(["--insecure", "--silent", "--fail", "--max-time", "5", &url])
                .stdout(Stdio::null())
                .status()
                .is_ok_and(|status| status.success());
            if answers {
                return Ok(());
            }
            for (index, name) in ["etcd", "kube-apiserver"].into_iter().enumerate() {
                let has_ended = self.parts[index].try_wait().is_ok_and(|end| end.is_some());
                if has_ended || started.elapsed() > READY_WITHIN {
                    let log = read(&self.path(&format!("{name}.log")))?;
                    let last: Vec<&str> = log.lines().rev().take(8).collect();
                    let last: Vec<&str> = last.into_iter().rev().collect();
                    return Err(format!("{name} does not serve: {}", last.join("\n")));
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for part in self.parts.iter_mut().rev() {
            // It may have ended by itself.
            let _ = part.kill();
            let _ = part.wait();
        }
    }
}

fn openssl(args: &[&str]) -> Result<(), String> {
    let output = Command::new("openssl")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("openssl: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!(
            "openssl: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }
}

fn random() -> Result<String, String> {
    use std::io::Read;
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| format!("/dev/urandom: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
