//! A real etcd (Debian: etcd-server) with one member.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::net::Machine;

/// Longest time until it serves.
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// Between two tries to reach it.
const AGAIN: Duration = Duration::from_millis(50);

/// An etcd on a machine of its own. It ends with this value.
#[derive(Debug)]
pub struct Etcd {
    machine: Machine,
    folder: PathBuf,
    process: Option<Child>,
}

impl Etcd {
    /// Starts it on a folder that it may fill.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub fn start(machine: Machine, folder: PathBuf) -> Result<Self, String> {
        std::fs::create_dir_all(&folder).map_err(|error| format!("{error}"))?;
        let mut etcd = Self {
            machine,
            folder,
            process: None,
        };
        etcd.start_again()?;
        Ok(etcd)
    }

    /// Where clients come, `http://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}:2379", self.machine.at())
    }

    /// The machine that it is on.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// SIGKILL: what is on its disk stays.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself: then it is gone as well.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it on what it had.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub fn start_again(&mut self) -> Result<(), String> {
        self.kill();
        let failed = |error: std::io::Error| format!("etcd: {error}");
        let path = self.folder.join("etcd.log");
        let log = File::options().create(true).append(true).open(&path);
        let (clients, peers) = (self.url(), format!("http://{}:2380", self.machine.at()));
        let process = self
            .machine
            .command("etcd")
            .args(["--name", "one", "--logger", "zap", "--log-level", "warn"])
            .arg("--data-dir")
            .arg(self.folder.join("data"))
            .args(["--listen-client-urls", &clients])
            .args(["--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers])
            .args(["--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("one={peers}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        self.process = Some(process);
        let began = Instant::now();
        let at = SocketAddr::from((self.machine.at(), 2379));
        while let Err(error) = TcpStream::connect_timeout(&at, AGAIN * 10) {
            if began.elapsed() > STARTS_WITHIN {
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                return Err(format!("etcd does not serve at {at}: {error}\n{log}"));
            }
            std::thread::sleep(AGAIN);
        }
        Ok(())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}
