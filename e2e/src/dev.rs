//! `rmq-ctl dev` with nothing in it, on ports of the system's choice.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::binary;

/// A cluster as `rmq-ctl dev` makes one. It ends with this.
#[derive(Debug)]
pub struct Dev {
    child: Child,
    name_server: String,
}

impl Dev {
    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("rmq-ctl dev: {error}");
        let mut child = Command::new(binary("rmq-ctl"))
            .args(["dev", "--tmp", "--port", "0", "--broker-port", "0"])
            .arg("--print-json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(&error))?;
        let mut line = String::new();
        let stdout = child.stdout.as_mut().ok_or("stdout is piped")?;
        let read = BufReader::new(stdout).read_line(&mut line);
        // From here on it ends with this, whatever it says.
        let mut dev = Self {
            child,
            name_server: String::new(),
        };
        read.map_err(|error| failed(&error))?;
        let ready: serde_json::Value =
            serde_json::from_str(&line).map_err(|error| failed(&format!("{error}: {line:?}")))?;
        let name_server = ready["nameServer"].as_str();
        dev.name_server = name_server.ok_or_else(|| failed(&line))?.to_owned();
        Ok(dev)
    }

    /// Where its name server listens, `host:port`.
    #[must_use]
    pub fn name_server(&self) -> &str {
        &self.name_server
    }

    /// What a client connects to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("rmq://{}", self.name_server)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Asked to end, it takes its folder along.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}
