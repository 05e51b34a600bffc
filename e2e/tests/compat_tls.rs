//! TLS from end to end: the certificates that docs/operate/certificates.md makes, servers that take nothing plain, the original Java client and
//! `mqadmin`, our client, and a group that copies its log.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rmq_client::{Client, Message, Tls, TopicSpec};
use rmq_e2e::clients;
use rmq_e2e::foreign::{self, Needs, Outcomes};
use rmq_e2e::page::{blocks, text_of};
use rmq_e2e::process::Process;
use rmq_ports::Port;
use tempfile::TempDir;

/// Java clients that verify the servers, and show nothing.
const JAVA: &str = "java_one_way";
/// Java clients with certificates, at servers that require them.
const JAVA_MUTUAL: &str = "java_mutual";
/// A Java client that speaks plain to such servers.
const JAVA_PLAIN: &str = "java_plain_is_refused";
/// Three members copy, all of it with TLS.
const GROUP: &str = "replicas";

/// Of the Java program, through everything that connects: name server, broker, administration.
const SCENARIOS: &[&str] = &[
    "admin_cluster",
    "lite_pull_subscribe",
    "mqadmin_clusterList",
    "mqadmin_topicRoute",
    "push_concurrent",
    "send_compressed",
    "send_sync",
    "transaction_commit_rollback",
];

const DEADLINE: Duration = Duration::from_secs(180);
/// Longest time for something that happens by itself.
const WITHIN: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let all = [GROUP, JAVA, JAVA_MUTUAL, JAVA_PLAIN];
    foreign::main("tls", &all, needs, Box::new(run))
}

fn needs() -> Needs {
    for (tool, argument, package) in [
        ("bash", "--version", "bash"),
        ("openssl", "version", "openssl"),
    ] {
        if !foreign::has(tool, argument) {
            return Err(format!("`{tool}` is not installed (Debian: {package})"));
        }
    }
    clients::java_needs()
}

fn run(scenarios: &[String]) -> Result<Outcomes, String> {
    let mut outcomes = Outcomes::new();
    for scenario in scenarios {
        let ended = match scenario.as_str() {
            JAVA => java(false),
            JAVA_MUTUAL => java(true),
            JAVA_PLAIN => java_plain(),
            _ => in_runtime(group()),
        };
        outcomes.insert(scenario.clone(), ended);
    }
    Ok(outcomes)
}

fn in_runtime(test: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(test)
}

/// A folder with what the page makes: `ca.crt`, `server.crt`, `server.key`.
struct Certificates(TempDir);

impl Certificates {
    fn make() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let page = text_of("operate/certificates.md")?;
        let commands = blocks(&page)
            .into_iter()
            .filter(|block| block.info == "console");
        let mut count = 0;
        for line in commands.flat_map(|block| {
            let lines = block.text.lines().map(str::to_owned);
            lines.collect::<Vec<_>>()
        }) {
            let command = line.strip_prefix("$ ").ok_or("a line that is no command")?;
            let mut shell = Command::new("bash");
            foreign::build(shell.current_dir(folder.path()).args(["-c", command]))?;
            count += 1;
        }
        match count {
            3 => Ok(Self(folder)),
            other => Err(format!("the page has {other} commands and not 3")),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The settings of a server that takes only TLS.
    fn settings(&self, is_mutual: bool) -> Vec<String> {
        let mut settings = vec![
            "tlsMode=enforcing".to_owned(),
            format!("tlsCertificateFile={}", self.text("server.crt")),
            format!("tlsKeyFile={}", self.text("server.key")),
        ];
        if is_mutual {
            settings.push("tlsClientAuth=require".to_owned());
            settings.push(format!("tlsCaFile={}", self.text("ca.crt")));
        }
        settings
    }

    /// The same of a broker, which connects with TLS too.
    fn of_broker(&self, is_mutual: bool) -> Vec<String> {
        let mut settings = self.settings(is_mutual);
        settings.push("tlsOutgoing=true".to_owned());
        settings.push(format!("tlsOutgoingCaFile={}", self.text("ca.crt")));
        if is_mutual {
            let (certificate, key) = (self.text("server.crt"), self.text("server.key"));
            settings.push(format!("tlsOutgoingCertificateFile={certificate}"));
            settings.push(format!("tlsOutgoingKeyFile={key}"));
        }
        settings
    }

    /// The properties of the page with these files.
    fn properties(&self, is_mutual: bool) -> Result<PathBuf, String> {
        let page = text_of("operate/certificates.md")?;
        let mut blocks = blocks(&page).into_iter();
        let block = blocks.find(|block| block.info == "properties");
        let block = block.ok_or("the page shows no properties")?;
        let mut text = block
            .text
            .replace("/etc/rmq/tls/ca.crt", &self.text("ca.crt"));
        if is_mutual {
            for (key, file) in [("certPath", "server.crt"), ("keyPath", "server.key")] {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "tls.client.{key}={}", self.text(file));
            }
        }
        let path = self.path("tls.properties");
        std::fs::write(&path, text).map_err(|error| error.to_string())?;
        Ok(path)
    }

    fn tls(&self) -> Tls {
        Tls::new()
            .ca_file(self.path("ca.crt"))
            .certificate_files(self.path("server.crt"), self.path("server.key"))
    }

    async fn client(&self, name_server: &str) -> Result<Client, String> {
        let client = Client::builder(format!("rmq://{name_server}")).tls(self.tls());
        client.connect().await.map_err(|error| error.to_string())
    }
}

fn with_settings(mut args: Vec<String>, settings: Vec<String>) -> Vec<String> {
    for setting in settings {
        args.extend(["--set".to_owned(), setting]);
    }
    args
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// A name server and a broker.
struct Servers {
    certificates: Certificates,
    name_server: Process,
    _broker: Process,
}

impl Servers {
    fn start(is_mutual: bool) -> Result<Self, String> {
        let certificates = Certificates::make()?;
        let args = words(&["--listen", "127.0.0.1:0", "--management", ""]);
        let args = with_settings(args, certificates.settings(is_mutual));
        let name_server = Process::start("rmq-namesrv", &args, &certificates.path("namesrv.log"));
        let data = certificates.text("data");
        let args = words(&[
            "--listen",
            "127.0.0.1:0",
            "--management",
            "",
            "--advertise",
            "127.0.0.1",
            "--name-servers",
            name_server.addr(),
            "--data",
            &data,
        ]);
        let args = with_settings(args, certificates.of_broker(is_mutual));
        let broker = Process::start("rmq-broker", &args, &certificates.path("broker.log"));
        let servers = Self {
            certificates,
            name_server,
            _broker: broker,
        };
        in_runtime(servers.registered(1))?;
        Ok(servers)
    }

    async fn registered(&self, groups: usize) -> Result<(), String> {
        let client = self.certificates.client(self.name_server.addr()).await?;
        until("a broker registers", async || {
            let info = client
                .cluster_info()
                .await
                .map_err(|error| error.to_string())?;
            Ok(info.broker_addr_table.len() >= groups)
        })
        .await
    }
}

async fn until<F: Future<Output = Result<bool, String>>>(
    what: &str,
    mut holds: impl FnMut() -> F,
) -> Result<(), String> {
    let end = tokio::time::Instant::now() + WITHIN;
    loop {
        let held = holds().await;
        match held {
            Ok(true) => return Ok(()),
            held if tokio::time::Instant::now() > end => {
                return Err(format!("{what}: not within {WITHIN:?}, but {held:?}"));
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn java(is_mutual: bool) -> Result<(), String> {
    let servers = Servers::start(is_mutual)?;
    let certificates = &servers.certificates;
    let properties = certificates.properties(is_mutual)?;
    let options = [
        "-Dtls.enable=true".to_owned(),
        format!("-Dtls.config.file={}", properties.display()),
    ];
    let mut java = clients::java(certificates.0.path(), &options)?;
    java.args(["rmq.compat.Main", servers.name_server.addr()]);
    let outcomes = foreign::run(java.args(SCENARIOS), DEADLINE)?;
    for scenario in SCENARIOS {
        match outcomes.get(*scenario) {
            Some(Ok(())) => {}
            Some(Err(why)) => return Err(format!("{scenario}: {why}")),
            None => {
                return Err(format!(
                    "{scenario}: the program ended without a line about it"
                ));
            }
        }
    }
    Ok(())
}

fn java_plain() -> Result<(), String> {
    let servers = Servers::start(false)?;
    let mut java = clients::java(servers.certificates.0.path(), &[])?;
    java.args(["rmq.compat.Main", servers.name_server.addr(), "send_sync"]);
    // It tries until it is ended.
    let outcomes = foreign::run(&mut java, Duration::from_secs(20));
    if outcomes.is_ok_and(|outcomes| outcomes.values().any(Result::is_ok)) {
        return Err("a plain client was served".to_owned());
    }
    let log = servers.name_server.log();
    match log.contains("the peer speaks plain, and this port takes only TLS") {
        true => Ok(()),
        false => Err(format!("the log does not say why:\n{log}")),
    }
}

/// Three members with fixed roles, one master and two replicas, and acknowledgements that wait for all.
async fn group() -> Result<(), String> {
    let certificates = Certificates::make()?;
    let args = words(&["--listen", "127.0.0.1:0", "--management", ""]);
    let args = with_settings(args, certificates.settings(true));
    let log = certificates.path("namesrv.log");
    let name_server = tokio::task::block_in_place(|| Process::start("rmq-namesrv", &args, &log));
    let port = Port::hold().map_err(|error| error.to_string())?;
    let replication = port.addr().to_string();
    let mut members = Vec::new();
    for id in 0..3 {
        let (data, id) = (certificates.text(&format!("data-{id}")), id.to_string());
        let args = words(&[
            "--listen",
            "127.0.0.1:0",
            "--management",
            "",
            "--advertise",
            "127.0.0.1",
            "--name-servers",
            name_server.addr(),
            "--data",
            &data,
        ]);
        let mut settings = certificates.of_broker(true);
        settings.push(format!("brokerId={id}"));
        settings.push("ackMode=inSync".to_owned());
        settings.push("minInSync=3".to_owned());
        match id.as_str() {
            "0" => settings.push(format!("replicationListen={replication}")),
            _ => {
                settings.push("replicationListen=127.0.0.1:0".to_owned());
                settings.push(format!("replicationMaster={replication}"));
            }
        }
        let args = with_settings(args, settings);
        let log = certificates.path(&format!("broker-{id}.log"));
        members.push(tokio::task::block_in_place(|| {
            Process::start("rmq-broker", &args, &log)
        }));
    }
    let client = certificates.client(name_server.addr()).await?;
    let failed = |error: rmq_client::Error| error.to_string();
    until("a topic can be made", async || {
        let spec = TopicSpec::new("orders").queues(1);
        client
            .admin()
            .create_topic(&spec)
            .await
            .map(|()| true)
            .map_err(failed)
    })
    .await?;
    let producer = client.producer();
    until("all members are in sync", async || {
        let sent = producer.send(Message::new("orders", "first")).await;
        sent.map(|_| true).map_err(failed)
    })
    .await?;
    for number in 0..500 {
        let body = format!("{number}").repeat(200);
        producer
            .send(Message::new("orders", body))
            .await
            .map_err(failed)?;
    }
    client.shutdown().await;
    drop(members);
    Ok(())
}
