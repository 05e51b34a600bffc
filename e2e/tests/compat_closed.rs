//! Servers that ask who sends each request and whether they may, with the original clients: Java and mqadmin 5.5.0, Go v2.1.2, and C++ 2.0.0
//! in its Python package. Each with the right key, with a wrong one, and without a right. Budget: 90 s.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::Duration;

use rmq_client::protocol::bodies::{AclEntry, AclInfo, AclPolicy, UserInfo};
use rmq_client::{Client, Credentials, TopicSpec};
use rmq_e2e::clients;
use rmq_e2e::foreign::{self, Needs, Outcomes};
use rmq_e2e::process::Process;
use tempfile::TempDir;

/// Of the Java program, in its order.
const JAVA: &[&str] = &[
    "closed_admin",
    "closed_mqadmin_acls",
    "closed_mqadmin_tools",
    "closed_mqadmin_users",
    "closed_producer",
    "closed_pull_consumer",
    "closed_push_consumer",
    "closed_transactions",
];

const GO_RIGHT: &str = "go_right_key";
const GO_REFUSED: &str = "go_refused";
const CPP_RIGHT: &str = "cpp_right_key";
const CPP_REFUSED: &str = "cpp_refused";

/// Of the Go program. What it asks name servers for its administration needs a user there.
const OF_GO: &[&str] = &[
    "pull_from_offset",
    "push_retry_dead_letter",
    "send_sync",
    "transactions",
];
/// Of the Python program.
const OF_CPP: &[&str] = &["pull", "push_tags", "send_and_push"];

const ROOT: (&str, &str) = ("root", "root-password");
/// The topic that Go and C++ try to use, and a user who may use another one only.
const TRIED: &str = "tried";
/// The same for C++.
const TRIED_BY_CPP: &str = "tried-by-cpp";
const STRANGER: (&str, &str) = ("stranger", "stranger-password");
/// Longest time of one program.
const DEADLINE: Duration = Duration::from_secs(120);
/// Longest time for something that happens by itself.
const WITHIN: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let own = [GO_RIGHT, GO_REFUSED, CPP_RIGHT, CPP_REFUSED];
    let all: Vec<&str> = JAVA.iter().chain(&own).copied().collect();
    foreign::main("closed", &all, needs, Box::new(run))
}

fn needs() -> Needs {
    clients::java_needs()?;
    clients::go_needs()?;
    clients::python_needs()
}

fn run(scenarios: &[String]) -> Result<Outcomes, String> {
    let servers = Servers::start()?;
    let chosen = |name: &str| scenarios.iter().any(|scenario| scenario == name);
    let java: Vec<&str> = JAVA.iter().copied().filter(|name| chosen(name)).collect();
    let alone = [
        (GO_RIGHT, go_right as fn(&Servers) -> Result<(), String>),
        (GO_REFUSED, go_refused),
        (CPP_RIGHT, cpp_right),
        (CPP_REFUSED, cpp_refused),
    ];
    // They mostly wait, so they run beside each other.
    std::thread::scope(|scope| {
        let servers = &servers;
        let others: Vec<_> = alone
            .into_iter()
            .filter(|(name, _)| chosen(name))
            .map(|(name, test)| (name, scope.spawn(move || test(servers))))
            .collect();
        let mut outcomes = match java.is_empty() {
            true => Outcomes::new(),
            false => of_java(servers, &java)?,
        };
        for (name, ended) in others {
            let ended = ended
                .join()
                .unwrap_or_else(|_| Err("it panicked".to_owned()));
            outcomes.insert(name.to_owned(), ended);
        }
        Ok(outcomes)
    })
}

/// A name server and a broker, both closed.
struct Servers {
    folder: TempDir,
    name_server: Process,
    broker: Process,
    /// The Go program, which two scenarios run.
    go: OnceLock<Result<PathBuf, String>>,
}

impl Servers {
    fn start() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (user, password) = ROOT;
        let root = format!(r#"{{"username":"{user}","password":"{password}"}}"#);
        let inner = r#"{"accessKey":"inner","secretKey":"inner-password"}"#;
        for (name, bytes) in [
            ("root.json", root.as_bytes()),
            ("inner.json", inner.as_bytes()),
            ("users.key", &[7; 32]),
        ] {
            std::fs::write(path(name), bytes).map_err(|error| error.to_string())?;
        }
        let closed = [
            "authenticationEnabled=true".to_owned(),
            "authorizationEnabled=true".to_owned(),
            format!("initAuthenticationUserFile={}", path("root.json")),
            format!(
                "innerClientAuthenticationCredentialsFile={}",
                path("inner.json")
            ),
            // The clients of all scenarios come from one address, and some fail again and again.
            "authenticationFailuresPerSecond=100000".to_owned(),
        ];
        let start = |program: &str, args: &[&str], settings: &[String]| {
            let mut args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
            for setting in closed.iter().chain(settings) {
                args.extend(["--set".to_owned(), setting.clone()]);
            }
            Process::start(program, &args, Path::new(&path(&format!("{program}.log"))))
        };
        let at = ["--listen", "127.0.0.1:0", "--management", ""];
        let name_server = start("rmq-namesrv", &at, &[]);
        let data = path("data");
        let own = [
            "--advertise",
            "127.0.0.1",
            "--data",
            &data,
            "--name-servers",
            name_server.addr(),
        ];
        let settings = [
            format!("userSecretsKeyFile={}", path("users.key")),
            "transactionTimeOut=1000".to_owned(),
            format!("segmentBytes={}", 16 << 20),
        ];
        let broker = start("rmq-broker", &[&at[..], &own].concat(), &settings);
        let servers = Self {
            folder,
            name_server,
            broker,
            go: OnceLock::new(),
        };
        let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
        let prepared = async { tokio::time::timeout(WITHIN, servers.prepare()).await };
        match runtime.block_on(prepared) {
            Ok(prepared) => prepared.map_err(|error| error.to_string())?,
            Err(_) => return Err(format!("no broker registers:\n{}", servers.broker.log())),
        }
        Ok(servers)
    }

    fn go(&self) -> Result<PathBuf, String> {
        let built = self.go.get_or_init(|| clients::go(self.folder.path()));
        built.clone()
    }

    /// Waits for the broker, and makes the topics and users of clients that cannot.
    async fn prepare(&self) -> Result<(), rmq_client::Error> {
        let (user, password) = ROOT;
        let builder = Client::builder(format!("rmq://{}", self.name_server.addr()));
        let builder = builder.credentials(Credentials::new(user, password));
        let client = builder.connect().await?;
        while client.cluster_info().await?.broker_addr_table.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let topics = OF_CPP.iter().map(|scenario| format!("cpp-{scenario}"));
        for topic in topics.chain([TRIED, TRIED_BY_CPP].map(str::to_owned)) {
            let spec = TopicSpec::new(topic).queues(2);
            client.admin().create_topic(&spec).await?;
        }
        let of_go = ["Topic:go-*", "Group:go-*", "Topic:%DLQ%go-*"];
        give(&client, "gopher", &of_go).await?;
        give(&client, "snake", &["Topic:cpp-*", "Group:cpp-*"]).await?;
        give(&client, STRANGER.0, &["Topic:elsewhere", "Group:*"]).await?;
        client.shutdown().await;
        Ok(())
    }
}

/// A user who may everything to some resources, and whose password ends with `-password`.
async fn give(client: &Client, name: &str, resources: &[&str]) -> Result<(), rmq_client::Error> {
    let user = UserInfo {
        username: Some(name.to_owned()),
        password: Some(format!("{name}-password")),
        ..UserInfo::default()
    };
    client.admin().create_user(&user).await?;
    let entry = |resource: &&str| AclEntry {
        actions: vec!["All".to_owned()],
        decision: Some("Allow".to_owned()),
        resource: Some((*resource).to_owned()),
        source_ips: None,
    };
    let acl = AclInfo {
        policies: vec![AclPolicy {
            entries: resources.iter().map(entry).collect(),
            policy_type: None,
        }],
        subject: Some(format!("User:{name}")),
    };
    client.admin().put_acl(&acl).await
}

fn of_java(servers: &Servers, scenarios: &[&str]) -> Result<Outcomes, String> {
    let (user, password) = ROOT;
    let home = servers.folder.path().join("java");
    let options = [
        format!("-Dcompat.accessKey={user}"),
        format!("-Dcompat.secretKey={password}"),
    ];
    let main = ["rmq.compat.Main", "closed"];
    let mut list = clients::java(&home, &[])?;
    foreign::check_list(list.args(main).arg("list"), JAVA)?;
    let mut java = clients::java(&home, &options)?;
    java.args(main).arg(servers.name_server.addr());
    foreign::run(java.args(scenarios), DEADLINE)
}

/// All of them ended well.
fn all_good(outcomes: &Outcomes, expected: &[&str]) -> Result<(), String> {
    for name in expected {
        match outcomes.get(*name) {
            Some(Ok(())) => {}
            Some(Err(why)) => return Err(format!("{name}: {why}")),
            None => return Err(format!("{name}: the program ended without a line about it")),
        }
    }
    Ok(())
}

/// Each attempt was refused, with this text.
fn all_refused(outcomes: &Outcomes, expected: &[&str], text: &str) -> Result<(), String> {
    for name in expected {
        match outcomes.get(*name) {
            Some(Err(why)) if why.contains(text) => {}
            other => return Err(format!("{name}: expected \"{text}\", found {other:?}")),
        }
    }
    Ok(())
}

/// What comes of attempts with a user's keys.
type Attempt<'a> = &'a dyn Fn(Option<(&str, &str)>) -> Result<Outcomes, String>;

/// The attempts with the key of one who has no right, with a wrong key, without a key, and with one that may everything.
fn refused(attempt: Attempt<'_>, tries: &[&str]) -> Result<(), String> {
    let no_right = "User:stranger has no permission to access Topic:tried";
    all_refused(&attempt(Some(STRANGER))?, tries, no_right)?;
    let wrong = attempt(Some((ROOT.0, "another-password")))?;
    all_refused(&wrong, tries, "check signature failed")?;
    all_refused(&attempt(None)?, tries, "username cannot be null")?;
    all_good(&attempt(Some(ROOT))?, tries)
}

fn with_keys<'c>(command: &'c mut Command, (user, password): (&str, &str)) -> &'c mut Command {
    command
        .env("RMQ_ACCESS_KEY", user)
        .env("RMQ_SECRET_KEY", password)
}

fn go_right(servers: &Servers) -> Result<(), String> {
    let mut go = Command::new(servers.go()?);
    go.args([servers.name_server.addr(), servers.broker.addr()]);
    let keys = ("gopher", "gopher-password");
    let ended = foreign::run(with_keys(&mut go, keys).args(OF_GO), DEADLINE)?;
    all_good(&ended, OF_GO)
}

fn go_refused(servers: &Servers) -> Result<(), String> {
    let program = servers.go()?;
    let (name_server, broker) = (servers.name_server.addr(), servers.broker.addr());
    let attempt = |keys: Option<(&str, &str)>| {
        let mut go = Command::new(&program);
        go.args(["try", name_server, broker, TRIED]);
        if let Some(keys) = keys {
            with_keys(&mut go, keys);
        }
        foreign::run(&mut go, DEADLINE)
    };
    refused(&attempt, &["try_pull", "try_send"])
}

fn cpp_right(servers: &Servers) -> Result<(), String> {
    for scenario in OF_CPP {
        // Each in a process of its own: this client shares much between the producers and consumers of a process.
        let mut cpp = clients::python("compat.py")?;
        cpp.env("HOME", servers.folder.path());
        cpp.args([servers.name_server.addr(), scenario]);
        let keys = ("snake", "snake-password");
        let ended = foreign::run(with_keys(&mut cpp, keys), DEADLINE)?;
        all_good(&ended, &[scenario])?;
    }
    Ok(())
}

fn cpp_refused(servers: &Servers) -> Result<(), String> {
    let attempt = |keys: Option<(&str, &str)>| {
        let mut cpp = clients::python("compat.py")?;
        cpp.env("HOME", servers.folder.path());
        cpp.args(["try", servers.name_server.addr(), TRIED_BY_CPP]);
        if let Some(keys) = keys {
            with_keys(&mut cpp, keys);
        }
        foreign::run(&mut cpp, DEADLINE)
    };
    // This client does not tell what the broker says. The log of the broker does.
    for keys in [Some(STRANGER), Some((ROOT.0, "another-password")), None] {
        all_refused(&attempt(keys)?, &["try_send"], "ProducerSendSyncFailed")?;
    }
    let says = "User:stranger has no permission to access Topic:tried-by-cpp";
    let log = servers.broker.log();
    if !log.contains(says) {
        return Err(format!("the log does not say \"{says}\":\n{log}"));
    }
    all_good(&attempt(Some(ROOT))?, &["try_send"])
}
