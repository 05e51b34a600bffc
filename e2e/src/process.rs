//! A server as a process: built, started with a port of the system's choice, and surely ended.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

/// Where the binaries are, instead of those that cargo builds: a folder with `rmq-broker`, `rmq-namesrv`, `rmq-ctl`, `rmq-operator`,
/// `rmq-bench` and the example services.
pub const BINARIES_VARIABLE: &str = "RMQ_E2E_BIN";

/// The path of a server's binary, built in the profile of this test where no folder is given.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| match std::env::var_os(BINARIES_VARIABLE) {
        Some(folder) => folder.into(),
        None => build(),
    });
    folder.join(name)
}

fn build() -> PathBuf {
    // A test runs as target/<profile>/deps/<name>.
    let test = std::env::current_exe().expect("a running program has a path");
    let folder = test
        .parent()
        .and_then(Path::parent)
        .expect("a test lies two folders below its target folder")
        .to_owned();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "build",
        "--quiet",
        "--package",
        "rmq-broker",
        "--package",
        "rmq-namesrv",
        "--package",
        "rmq-ctl",
        "--package",
        "rmq-operator",
        "--package",
        "rmq-bench",
        "--package",
        "first-service",
        "--package",
        "order-service",
    ]);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    cargo.arg("--target-dir").arg(
        folder
            .parent()
            .expect("a profile's folder lies in the target folder"),
    );
    let status = cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the servers cannot be built");
    folder
}

/// A running server. It is killed when it is dropped, so that a failing test leaves nothing behind.
#[derive(Debug)]
pub struct Process {
    child: Child,
    addr: String,
    log: PathBuf,
}

impl Process {
    /// Starts a server, its log (stderr) in the file `log`, and waits until it says where it listens.
    ///
    /// # Panics
    /// When it cannot be started or ends before it listens; the log is in the message.
    #[must_use]
    pub fn start(name: &str, args: &[String], log: &Path) -> Self {
        Self::start_with(name, args, &[], log)
    }

    /// The same with more variables in its environment.
    ///
    /// # Panics
    /// As [`Process::start`].
    #[must_use]
    pub fn start_with(name: &str, args: &[String], env: &[(&str, String)], log: &Path) -> Self {
        let mut command = Command::new(binary(name));
        command
            .args(args)
            .envs(env.iter().map(|(name, value)| (name, value)));
        Self::run(&mut command, log)
    }

    /// Runs a command that becomes a server.
    ///
    /// # Panics
    /// As [`Process::start`].
    #[must_use]
    pub fn run(command: &mut Command, log: &Path) -> Self {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("the log file can be written");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("stdout is piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        let addr = line.trim().strip_prefix("listening on ").map(str::to_owned);
        let (Ok(_), Some(addr)) = (read, addr) else {
            let _ = child.kill();
            let status = child.wait();
            panic!(
                "{command:?} did not start ({status:?}, said {line:?}); its log:\n{}",
                text_of(log)
            );
        };
        Self {
            child,
            addr,
            log: log.to_owned(),
        }
    }

    /// Where it listens, `host:port`.
    #[must_use]
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far, earlier processes with the same file included.
    #[must_use]
    pub fn log(&self) -> String {
        text_of(&self.log)
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When the system cannot say.
    pub fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("a child can be waited for")
            .is_none()
    }

    /// SIGKILL: it has no time for anything.
    ///
    /// # Panics
    /// When it had ended by itself before.
    pub fn kill(mut self) {
        assert!(
            self.is_running(),
            "it ended by itself; its log:\n{}",
            self.log()
        );
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// SIGTERM, and its exit status.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().expect("a child can be waited for")
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a child can be signalled");
    }

    /// Its anonymous resident memory, bytes.
    ///
    /// # Panics
    /// When the system does not say.
    #[must_use]
    pub fn anonymous_bytes(&self) -> u64 {
        anonymous_bytes(self.pid()).expect("Linux says RssAnon")
    }

    /// Where it serves its metrics, `host:port`, as its log says.
    ///
    /// # Panics
    /// When the log does not say.
    #[must_use]
    pub fn management(&self) -> String {
        let log = self.log();
        let told = log.rsplit("management=").next().unwrap_or_default();
        let addr = told.split_whitespace().next().unwrap_or_default();
        assert!(addr.contains(':') && log.contains("management="), "{log}");
        addr.to_owned()
    }
}

/// The anonymous resident memory of a process, bytes; `None` when it runs no more.
#[must_use]
pub fn anonymous_bytes(pid: u32) -> Option<u64> {
    let status = text_of(Path::new(&format!("/proc/{pid}/status")));
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes = line.trim().trim_end_matches("kB").trim();
    kilobytes
        .parse::<u64>()
        .ok()
        .map(|kilobytes| kilobytes * 1024)
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended when all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
