//! A server under test: a process on a fresh directory.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rmq_ports::Port;
use rmq_protocol::code::RequestCode;
use rmq_protocol::requests::GetRouteinfoByTopic;
use rustix::process::{Pid, Signal, kill_process};

use crate::apache;
use crate::load::{Target, create_topics};
use crate::stop;
use crate::wire::Desk;

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// Between attempts to reach a server that starts.
const RETRY: Duration = Duration::from_micros(500);
/// What the other ports of a server of this protocol are away from its own: the second one for clients, and a broker's for replicas.
const NEIGHBOURS: &[i16] = &[-2, 1];

/// When a server counts as started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// It creates a topic: a broker.
    Topic,
    /// It answers a route query, with whatever code: a name server.
    Route,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    _ports: [Port; 2],
    addr: String,
    dir: PathBuf,
    started_in: Duration,
}

impl Server {
    /// Starts `command`, in which `{port}`, `{management}` (another free port) and `{dir}` are replaced, and waits until it
    /// is ready. `reference …` is this program's own reference server, `apache …` the broker of Apache RocketMQ. Words are split at spaces;
    /// there is no shell.
    ///
    /// # Errors
    /// When it cannot be started, ends, or is not ready within a minute.
    pub fn start(command: &str, dir: &Path, ready: Ready) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let ports = [Port::hold_with(NEIGHBOURS)?, Port::hold()?];
        let [port, management] = [ports[0].number(), ports[1].number()];
        let mut words: Vec<String> = command
            .split_whitespace()
            .map(|word| {
                word.replace("{port}", &port.to_string())
                    .replace("{management}", &management.to_string())
                    .replace("{dir}", &dir.to_string_lossy())
            })
            .collect();
        if words.first().is_some_and(|word| word == "reference") {
            let own = std::env::current_exe()?;
            words.insert(0, own.to_string_lossy().into_owned());
            words.extend([
                "--listen".to_owned(),
                format!("127.0.0.1:{port}"),
                "--dir".to_owned(),
                dir.to_string_lossy().into_owned(),
            ]);
        }
        if apache::is_meant(command) {
            words = apache::command(&words, dir, port)?;
        }
        let (program, arguments) = words
            .split_first()
            .ok_or_else(|| io::Error::other("the command is empty"))?;
        let log = File::create(dir.with_extension("log"))?;
        let began = Instant::now();
        let mut server = Command::new(program);
        server
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = stop::unless_stopping(|| {
            server.spawn().map_err(|error| {
                io::Error::new(error.kind(), format!("cannot start {program}: {error}"))
            })
        })?;
        let mut server = Self {
            child,
            _ports: ports,
            addr: format!("127.0.0.1:{port}"),
            dir: dir.to_owned(),
            started_in: Duration::ZERO,
        };
        server.wait_until_ready(began, ready)?;
        Ok(server)
    }

    fn wait_until_ready(&mut self, began: Instant, ready: Ready) -> io::Result<()> {
        loop {
            let outcome = Desk::connect(&self.addr).and_then(|mut desk| match ready {
                Ready::Topic => create_topics(&mut desk, &["bench_start".to_owned()], 4),
                Ready::Route => {
                    let query = GetRouteinfoByTopic {
                        topic: "bench_start".into(),
                        accept_standard_json_only: None,
                    };
                    desk.ask(RequestCode::GetRouteinfoByTopic.as_i32(), &query, &[])
                        .map(|_| ())
                }
            });
            self.started_in = began.elapsed();
            let Err(error) = outcome else {
                return Ok(());
            };
            let log = self.dir.with_extension("log");
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!(
                    "the server ended with {status}; see {}",
                    log.display()
                )));
            }
            if began.elapsed() > READY_WITHIN {
                return Err(io::Error::other(format!(
                    "the server is not ready after {READY_WITHIN:?} ({error}); see {}",
                    log.display()
                )));
            }
            std::thread::sleep(RETRY);
        }
    }

    /// From starting the process to its first good answer.
    #[must_use]
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where a load goes.
    #[must_use]
    pub fn target(&self) -> Target {
        Target {
            addr: self.addr.clone(),
            pid: Some(self.child.id()),
            dir: Some(self.dir.clone()),
        }
    }

    /// Asks it to stop and waits; kills it when it does not.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn stop(mut self) -> io::Result<()> {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            kill_process(pid, Signal::TERM)?;
        }
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > STOP_WITHIN {
                self.child.kill()?;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Kills it as a crash would.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Nothing is left to do when it is gone already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
