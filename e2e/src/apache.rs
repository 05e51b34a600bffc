//! Apache RocketMQ's own name server and broker, as processes to compare ours with.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rmq_ports::Port;

use crate::cluster::registered;
use crate::foreign::{self, Needs};

/// Below Maven's local repository, once everything was fetched.
const BROKER_JAR: &str = "org/apache/rocketmq/rocketmq-broker/5.5.0/rocketmq-broker-5.5.0.jar";

/// A JVM on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(60);

/// Java, Maven, and what was fetched with it.
///
/// # Errors
/// What is missing.
pub fn needs() -> Needs {
    for (tool, argument, package) in [
        ("java", "-version", "openjdk-17-jdk-headless"),
        ("mvn", "-version", "maven"),
    ] {
        if !foreign::has(tool, argument) {
            return Err(format!("`{tool}` is not installed (Debian: {package})"));
        }
    }
    let fetched = std::env::home_dir()
        .is_some_and(|home| home.join(".m2/repository").join(BROKER_JAR).exists());
    if !fetched && !foreign::may_install() {
        return Err(
            "its Maven parts were never fetched; try: cargo xtask test --install".to_owned(),
        );
    }
    Ok(())
}

/// A running JVM; it ends with this.
#[derive(Debug)]
struct Jvm(Child);

impl Drop for Jvm {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Jvm {
    fn start(built: &Path, home: &Path, class: &str, args: &[String]) -> Result<Self, String> {
        let mut child = Command::new("java")
            .args(["-Xms64m", "-Xmx384m", "-XX:+UseSerialGC"])
            .arg(format!("-Duser.home={}", home.display()))
            .arg("-cp")
            .arg(format!("{}/lib/*", built.display()))
            .arg(class)
            .args(args)
            .env("ROCKETMQ_HOME", home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("java cannot be run: {error}"))?;
        let stdout = child.stdout.take().ok_or("stdout is piped")?;
        let jvm = Self(child);
        let (ready, started) = mpsc::channel();
        std::thread::spawn(move || {
            let mut last = Vec::new();
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line.contains("boot success") {
                    let _ = ready.send(Ok(()));
                }
                last.push(line);
            }
            // Only heard when it never said that it has started.
            let from = last.len().saturating_sub(20);
            let _ = ready.send(Err(last.split_off(from).join("\n")));
        });
        match started.recv_timeout(START_WITHIN) {
            Ok(Ok(())) => Ok(jvm),
            Ok(Err(said)) => Err(format!("{class} ended: {said}")),
            Err(_) => Err(format!("{class} did not start within {START_WITHIN:?}")),
        }
    }
}

/// A name server and a broker of the original. Both end with this.
#[derive(Debug)]
pub struct Apache {
    name_server: String,
    broker: String,
    _servers: [Jvm; 2],
    _ports: [Port; 2],
    _home: tempfile::TempDir,
}

/// What the ports that a server takes are away from its own: its fast port, and a broker's for replicas.
const NEIGHBOURS: &[i16] = &[-2, 1];

impl Apache {
    /// Starts both from what Maven put into `built`; `more` is added to the broker's configuration.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn start(built: &Path, more: &str) -> Result<Self, String> {
        let home = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
        let write = |name: &str, text: &str| -> Result<String, String> {
            let path = home.path().join(name);
            std::fs::write(&path, text).map_err(|error| format!("cannot write {name}: {error}"))?;
            Ok(path.display().to_string())
        };
        let hold = || Port::hold_with(NEIGHBOURS).map_err(|error| format!("no free port: {error}"));
        let ports = [hold()?, hold()?];
        let [port, broker] = [ports[0].number(), ports[1].number()];
        let config = write("namesrv.conf", &format!("listenPort={port}\n"))?;
        let name_server = format!("127.0.0.1:{port}");
        let class = "org.apache.rocketmq.namesrv.NamesrvStartup";
        let first = Jvm::start(built, home.path(), class, &["-c".to_owned(), config])?;
        let store = home.path().join("store");
        let config = write(
            "broker.conf",
            &format!(
                "brokerClusterName=DefaultCluster\nbrokerName=broker-java\nbrokerId=0\nbrokerIP1=127.0.0.1\nlistenPort={broker}\n\
                 haListenPort={1}\nstorePathRootDir={0}\nstorePathCommitLog={0}/commitlog\nmappedFileSizeCommitLog=16777216\n\
                 mappedFileSizeConsumeQueue=300000\nautoCreateTopicEnable=false\n{more}",
                store.display(),
                broker + 1,
            ),
        )?;
        let class = "org.apache.rocketmq.broker.BrokerStartup";
        let args = ["-n", &name_server, "-c", &config].map(str::to_owned);
        let second = Jvm::start(built, home.path(), class, &args)?;
        registered(&name_server)?;
        Ok(Self {
            name_server,
            broker: format!("127.0.0.1:{broker}"),
            _servers: [first, second],
            _ports: ports,
            _home: home,
        })
    }

    /// Where the name server listens, `host:port`.
    #[must_use]
    pub fn name_server(&self) -> &str {
        &self.name_server
    }

    /// Where the broker listens, `host:port`.
    #[must_use]
    pub fn broker(&self) -> &str {
        &self.broker
    }
}
