//! The verbs of users and rules at a closed cluster: a name server and a broker that ask who sends each request, and whether they may. Each
//! verb with the right key, with a wrong one, without a right, and without keys.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use common::{Run, program};
use rmq_broker::{BrokerConfig, BrokerServer, RunningBroker};
use rmq_client::{Client, Credentials, ErrorKind, Message};
use rmq_namesrv::{NameServer, NameServerConfig, RunningNameServer};
use serde_json::Value;
use tempfile::TempDir;

/// A super user.
const ROOT: &str = "root";
/// A user whom both servers know. The name server lets the user look at the cluster, and no rule of the broker allows anything.
const CARL: &str = "carl";
/// A user with one password at the name server and another one at the broker.
const EVE: &str = "eve";
/// A user whom the name server knows and the broker does not.
const FAY: &str = "fay";
/// The context that signs nothing.
const NOBODY: &str = "nobody";
/// The context of [`ROOT`] with a wrong password.
const WRONG: &str = "wrong";

/// What the broker says of the requests of each context that it does not serve.
const NOT_SIGNED: &str = "username cannot be null";
const WRONG_KEY: &str = "check signature failed";
const NO_RIGHT: &str = "User:carl has no permission to access Cluster:prod";

const USERS: &str = r#"{
  "users": [
    {"username":"carl","password":"carl-password","userType":"Normal"},
    {"username":"eve","password":"eve-password","userType":"Normal"},
    {"username":"fay","password":"fay-password","userType":"Normal"}
  ],
  "acls": [
    {"subject":"User:carl","policies":[{"policyType":"Custom","entries":[{"resource":"Cluster:*","actions":["Get"],"decision":"Allow"}]}]},
    {"subject":"User:eve","policies":[{"policyType":"Custom","entries":[{"resource":"Cluster:*","actions":["Get"],"decision":"Allow"}]}]},
    {"subject":"User:fay","policies":[{"policyType":"Custom","entries":[{"resource":"Cluster:*","actions":["Get"],"decision":"Allow"}]}]}
  ]
}"#;

/// A closed cluster in this process, and the configuration of an `rmq-ctl` with a context for each user.
struct Closed {
    name_server: RunningNameServer,
    broker: RunningBroker,
    folder: TempDir,
    /// Where the configuration of `rmq-ctl` is.
    home: PathBuf,
}

impl Closed {
    /// With users, and contexts that sign.
    async fn start() -> Self {
        let closed = Self::start_servers().await;
        for (context, user, password) in [
            (ROOT, ROOT, "root-password"),
            (WRONG, ROOT, "another-password"),
            (CARL, CARL, "carl-password"),
            (EVE, EVE, "eve-password"),
            (FAY, FAY, "fay-password"),
        ] {
            closed.context(context).await;
            let line = ["login", user, "--into", context, "--no-check"];
            closed.run_with(ROOT, &line, password).await.ok();
        }
        closed.context(NOBODY).await;
        for (user, password) in [(CARL, "carl-password"), (EVE, "another-password")] {
            let line = ["create", "user", user, "--password-file", "-"];
            closed.run_with(ROOT, &line, password).await.ok();
        }
        closed
    }

    async fn start_servers() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let users_file = folder.path().join("users.json");
        std::fs::write(&users_file, USERS).unwrap();
        let hidden = |text: &str| rmq_config::HiddenText::new(text.to_owned());
        let root = r#"{"username":"root","password":"root-password"}"#;
        let inner = r#"{"accessKey":"inner","secretKey":"inner-password"}"#;
        let config = NameServerConfig {
            listen: "127.0.0.1:0".to_owned(),
            management: String::new(),
            authentication: true,
            authorization: true,
            init_user: hidden(root),
            inner_credentials: hidden(inner),
            users_file,
            // Tests here fail often from one address.
            authentication_failures_per_second: 100_000,
            ..NameServerConfig::default()
        };
        let deps = rmq_namesrv::Deps::default();
        let name_server = NameServer::start(config, deps).await.unwrap();
        let config = BrokerConfig {
            listen: "127.0.0.1:0".to_owned(),
            fast_port: false,
            management: String::new(),
            cluster_name: "prod".to_owned(),
            broker_name: "broker-a".to_owned(),
            name_servers: name_server.local_addr().to_string(),
            data_dir: folder.path().join("data"),
            authentication: true,
            authorization: true,
            init_user: hidden(root),
            inner_credentials: hidden(inner),
            authentication_failures_per_second: 100_000,
            ..BrokerConfig::default()
        };
        let deps = rmq_broker::Deps::default();
        let broker = BrokerServer::start(config, deps).await.unwrap();
        broker.registered().await;
        Self {
            name_server,
            broker,
            home: folder.path().join("home"),
            folder,
        }
    }

    fn servers(&self) -> String {
        self.name_server.local_addr().to_string()
    }

    /// A context of this cluster that signs nothing.
    async fn context(&self, name: &str) {
        let line = [
            "config",
            "set-context",
            name,
            "--nameserver",
            &self.servers(),
        ];
        self.bare(&line, "").await.ok();
    }

    /// Runs `rmq-ctl` with the context.
    async fn run(&self, context: &str, line: &[&str]) -> Run {
        self.run_with(context, line, "").await
    }

    async fn run_with(&self, context: &str, line: &[&str], stdin: &str) -> Run {
        self.bare(&[line, &["--context", context]].concat(), stdin)
            .await
    }

    /// Runs `rmq-ctl` with this configuration, while the servers of this process go on.
    async fn bare(&self, line: &[&str], stdin: &str) -> Run {
        let line: Vec<String> = line.iter().map(|&word| word.to_owned()).collect();
        let input = self.folder.path().join("stdin");
        std::fs::write(&input, stdin).unwrap();
        let home = self.home.clone();
        let run = tokio::task::spawn_blocking(move || {
            let output = program()
                .args(&line)
                .env("XDG_CONFIG_HOME", home)
                .env("KUBECONFIG", "/nonexistent")
                .stdin(std::fs::File::open(input).unwrap())
                .output()
                .expect("it runs");
            let line: Vec<&str> = line.iter().map(String::as_str).collect();
            Run::new(&line, output)
        });
        run.await.unwrap()
    }

    /// The items of a list, as JSON.
    async fn items(&self, line: &[&str]) -> Vec<Value> {
        let out = self.run(ROOT, &[line, &["-o", "json"]].concat()).await.ok();
        let list: Value = serde_json::from_str(&out).expect("JSON");
        list["items"].as_array().expect("a list").clone()
    }

    /// All that the verbs here can change, to be compared.
    async fn state(&self) -> (Vec<Value>, Vec<Value>) {
        let users = self.items(&["get", "users"]).await;
        (users, self.items(&["get", "acls"]).await)
    }

    /// The file with the keys of a context.
    fn keys(&self, context: &str) -> PathBuf {
        let name = format!("rmq/credentials/{context}.yml");
        self.home.join(name)
    }

    async fn stop(self) {
        self.broker.shutdown().await.unwrap();
        self.name_server.shutdown().await;
    }
}

/// Parts of the items that have the fields, as one line each.
fn lines(items: &[Value], fields: &[&str]) -> Vec<String> {
    let line = |item: &Value| {
        let cells = fields.iter().map(|field| match &item[*field] {
            Value::String(text) => text.clone(),
            Value::Array(texts) => {
                let texts = texts.iter().filter_map(Value::as_str);
                texts.collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        });
        cells.collect::<Vec<_>>().join(" ")
    };
    items.iter().map(line).collect()
}

const USER: &[&str] = &["name", "type", "status", "brokers"];
const RULE: &[&str] = &[
    "user", "decision", "actions", "resource", "sources", "policy", "brokers",
];

/// Verbs that change something, with what `rmq-ctl` says when they fail.
const CHANGES: &[(&[&str], &str)] = &[
    (&["create", "user", "dan"], "cannot create user \"dan\""),
    (
        &["set", "user", "eve", "--disable", "--yes"],
        "cannot change user \"eve\"",
    ),
    (
        &["set", "acl", "eve", "--allow", "Pub=Topic:orders"],
        "cannot change the rules of user \"eve\"",
    ),
    (
        &["delete", "acl", "eve", "--yes"],
        "cannot change the rules of user \"eve\"",
    ),
    (
        &["delete", "user", "eve", "--yes"],
        "cannot delete user \"eve\"",
    ),
];

/// Verbs that look, with what `rmq-ctl` says when they fail.
const LOOKS: &[(&[&str], &str)] = &[
    (&["get", "users"], "cannot list the users"),
    (&["get", "acls"], "cannot list the rules"),
    (
        &["can-i", "send", "orders", "--as", "eve"],
        "cannot read the rules of user \"eve\"",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_changed_or_shown_without_the_right_key_and_right() {
    let closed = Closed::start().await;
    let before = closed.state().await;
    for (context, why) in [
        (NOBODY, NOT_SIGNED),
        (WRONG, WRONG_KEY),
        (EVE, WRONG_KEY),
        (FAY, "User:fay is not found"),
        (CARL, NO_RIGHT),
    ] {
        for (line, what) in CHANGES.iter().chain(LOOKS) {
            let run = closed.run(context, line).await;
            assert_eq!(run.out, "", "{context} {line:?}");
            run.fails(4, &["error[RMQ-E020]", what, why, "rmq-ctl doctor"]);
        }
        let after = closed.state().await;
        assert_eq!(after, before, "{context}");
    }
    // The right that is missing is named, and the verb works with it.
    let line = ["get", "users"];
    let refused = closed.run(CARL, &line).await;
    refused.fails(4, &["it needs GET, and no rule allows that"]);
    let rule = ["set", "acl", CARL, "--allow", "Get=Cluster:prod"];
    closed.run(ROOT, &rule).await.ok();
    assert!(closed.run(CARL, &line).await.ok().contains(CARL));
    let line = ["create", "user", "dan"];
    let refused = closed.run(CARL, &line).await;
    refused.fails(4, &["it needs UPDATE, and no rule allows that"]);
    let rule = ["set", "acl", CARL, "--allow", "Get,Update=Cluster:prod"];
    closed.run(ROOT, &rule).await.ok();
    closed.run(CARL, &line).await.ok();
    // Not even so is a user made super who makes others so.
    let line = ["create", "user", "dora", "--super"];
    let refused = closed.run(CARL, &line).await;
    refused.fails(4, &["cannot create user \"dora\"", "super"]);
    let own = ["set", "acl", CARL, "--allow", "All=*"];
    let refused = closed.run(CARL, &own).await;
    refused.fails(4, &["cannot change the rules of user \"carl\""]);
    closed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_super_user_makes_changes_and_deletes_users() {
    let closed = Closed::start().await;
    let run = async |line: &[&str]| closed.run(ROOT, line).await;
    let dry = run(&["create", "user", "ann", "--dry-run"]).await.ok();
    assert_eq!(dry, "dry run: create user \"ann\"\n");
    let created = run(&["create", "user", "ann"]).await;
    assert!(created.err.contains("user/ann created"), "{}", created.err);
    let password = created.ok();
    let password = password.trim_end();
    assert!(password.len() >= 20 && !password.contains(char::is_whitespace));
    run(&["create", "user", "ann"])
        .await
        .fails(2, &["user \"ann\" exists already", "rmq-ctl set user ann"]);
    let again = run(&["create", "user", "ann", "--if-not-exists"]).await;
    assert!(again.err.contains("user/ann exists"), "{}", again.err);
    again.ok();
    run(&["create", "user", "sue", "--super"]).await.ok();
    let users = closed.items(&["get", "users"]).await;
    assert_eq!(
        lines(&users, USER),
        [
            "ann Normal enable broker-a",
            "carl Normal enable broker-a",
            "eve Normal enable broker-a",
            "inner Super enable broker-a",
            "root Super enable broker-a",
            "sue Super enable broker-a",
        ]
    );
    let listed = run(&["get", "users", "-o", "yaml"]).await.ok();
    assert!(!listed.contains(password), "a list shows no password");

    // The password is the one that was printed, and a new one takes its place.
    let speaks = async |password: &str| {
        let url = format!("rmq://{}", closed.servers());
        let client = Client::builder(url).credentials(Credentials::new("ann", password));
        let client = client.connect().await.unwrap();
        let sent = client.producer().send(Message::new("orders", "1")).await;
        client.shutdown().await;
        sent.map(|_| ())
    };
    run(&["create", "topic", "orders"]).await.ok();
    let error = speaks(password).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("User:ann has no permission to access Topic:orders"),
        "{text}"
    );
    run(&["set", "acl", "ann", "--allow", "Pub=Topic:orders"])
        .await
        .ok();
    speaks(password).await.unwrap();
    let set = ["set", "user", "ann", "--password-file", "-"];
    run(&set).await.fails(2, &["has no password"]);
    closed.run_with(ROOT, &set, "new-password\n").await.fails(
        2,
        &["not confirmed", "clients with the old one are refused"],
    );
    let set = [&set[..], &["--yes"]].concat();
    closed.run_with(ROOT, &set, "new-password\n").await.ok();
    let error = speaks(password).await.unwrap_err().to_string();
    assert!(error.contains(WRONG_KEY), "{error}");
    speaks("new-password").await.unwrap();

    run(&["set", "user", "ann", "--disable", "--yes"])
        .await
        .ok();
    let error = speaks("new-password").await.unwrap_err().to_string();
    assert!(error.contains("User:ann is disabled"), "{error}");
    run(&["set", "user", "ann", "--enable", "--yes"]).await.ok();
    speaks("new-password").await.unwrap();
    run(&["set", "user", "ann", "--super", "--yes"]).await.ok();
    let users = closed.items(&["get", "users", "ann"]).await;
    assert_eq!(lines(&users, USER), ["ann Super enable broker-a"]);

    run(&["delete", "user", "ann"])
        .await
        .fails(2, &["not confirmed: delete user \"ann\" with the rules"]);
    run(&["delete", "user", "ann", "--yes"]).await.ok();
    let error = speaks("new-password").await.unwrap_err().to_string();
    assert!(error.contains("User:ann is not found"), "{error}");
    assert_eq!(closed.items(&["get", "acls"]).await, [] as [Value; 0]);
    for line in [
        &["delete", "user", "ann", "--yes"][..],
        &["set", "user", "ann", "--enable", "--yes"],
        &["set", "acl", "ann", "--allow", "Pub=Topic:orders"],
        &["delete", "acl", "ann", "--yes"],
        &["can-i", "send", "orders", "--as", "ann"],
    ] {
        run(line).await.fails(3, &["error[RMQ-E018]", "\"ann\""]);
    }
    // The user of the configuration stays.
    run(&["delete", "user", ROOT, "--yes"])
        .await
        .fails(1, &["configuration"]);
    closed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_super_user_sets_lists_and_deletes_rules() {
    let closed = Closed::start().await;
    let run = async |line: &[&str]| closed.run(ROOT, line).await;
    let can = async |line: &[&str]| {
        let run = run(&[&["can-i"], line, &["--as", CARL]].concat()).await;
        (run.code, run.out)
    };
    assert_eq!(
        can(&["send", "orders"]).await,
        (
            4,
            "no  broker-a: no rule allows PUB on Topic:orders\n".to_owned()
        )
    );
    run(&[
        "set",
        "acl",
        CARL,
        "--allow",
        "Pub=Topic:orders",
        "--allow",
        "Sub=Topic:prices-*",
        "--deny",
        "Sub=Topic:prices-secret",
        "--from",
        "10.1.0.0/16,127.0.0.1",
    ])
    .await
    .ok();
    run(&["set", "acl", CARL, "--allow", "Get=*", "--default"])
        .await
        .ok();
    let rules = closed.items(&["get", "acls", CARL]).await;
    assert_eq!(
        lines(&rules, RULE),
        [
            "carl Allow Pub Topic:orders 10.1.0.0/16,127.0.0.1/32 Custom broker-a",
            "carl Allow Sub Topic:prices-* 10.1.0.0/16,127.0.0.1/32 Custom broker-a",
            "carl Deny Sub Topic:prices-secret 10.1.0.0/16,127.0.0.1/32 Custom broker-a",
            "carl Allow Get *  Default broker-a",
        ]
    );
    for (line, code, says) in [
        (
            &["send", "orders"][..],
            0,
            "yes  broker-a: Allow Pub on Topic:orders",
        ),
        (
            &["send", "orders", "--from", "10.2.0.1"],
            4,
            "no rule allows PUB",
        ),
        (
            &["consume", "prices-eur"],
            0,
            "yes  broker-a: Allow Sub on Topic:prices-*",
        ),
        (
            &["consume", "prices-secret"],
            4,
            "no  broker-a: Deny Sub on Topic:prices-secret",
        ),
        (&["get", "group/billing"], 0, "(Default)"),
        (
            &["delete", "orders"],
            4,
            "no rule allows DELETE on Topic:orders",
        ),
    ] {
        let (exit, out) = can(line).await;
        assert!(exit == code && out.contains(says), "{line:?}: {exit} {out}");
    }
    // Who signs is asked about, where nobody is named.
    let own = run(&["can-i", "send", "orders"]).await;
    assert!(own.ok().contains("a super user may everything"));
    for (line, says) in [
        (
            &["set", "acl", CARL, "--allow", "Pub"][..],
            "is not ACTIONS=RESOURCE",
        ),
        (&["set", "acl", CARL, "--allow", "Fly=Topic:orders"], "Fly"),
        (
            &["set", "acl", CARL, "--allow", "Pub=Queue:orders"],
            "Queue",
        ),
        (
            &[
                "set",
                "acl",
                CARL,
                "--allow",
                "Pub=Topic:orders",
                "--from",
                "nowhere",
            ],
            "nowhere",
        ),
        (
            &["delete", "acl", CARL, "Queue:orders", "--yes"],
            "the resource cannot be used",
        ),
    ] {
        run(line).await.fails(2, &["error[RMQ-E001]", says]);
    }
    let delete = ["delete", "acl", CARL, "Topic:orders"];
    run(&delete).await.fails(
        2,
        &["not confirmed: delete the rule of user \"carl\" for Topic:orders"],
    );
    run(&[&delete[..], &["--yes"]].concat()).await.ok();
    assert_eq!(can(&["send", "orders"]).await.0, 4);
    run(&["delete", "acl", CARL, "*", "--default", "--yes"])
        .await
        .ok();
    let rules = closed.items(&["get", "acls", CARL]).await;
    assert_eq!(
        lines(&rules, &["resource"]),
        ["Topic:prices-*", "Topic:prices-secret"]
    );
    run(&["delete", "acl", CARL, "--yes"]).await.ok();
    assert_eq!(closed.items(&["get", "acls"]).await, [] as [Value; 0]);
    // A disabled user may nothing, whatever the rules say.
    run(&["set", "acl", CARL, "--allow", "Pub=Topic:orders"])
        .await
        .ok();
    run(&["set", "user", CARL, "--disable", "--yes"]).await.ok();
    assert_eq!(
        can(&["send", "orders"]).await,
        (4, "no  broker-a: the user is disabled\n".to_owned())
    );
    closed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoami_tells_what_each_broker_says_of_the_keys() {
    let closed = Closed::start().await;
    let whoami = async |context: &str| closed.run(context, &["whoami"]).await;
    let nobody = whoami(NOBODY).await;
    assert!(nobody.err.contains("rmq-ctl login USER"), "{}", nobody.err);
    assert_eq!(nobody.ok(), "nobody: requests are not signed\n");
    for (context, says) in [
        (ROOT, "broker-a: Super"),
        (CARL, "broker-a: recognised, and may not look at users"),
    ] {
        let run = whoami(context).await;
        assert!(run.err.contains(says), "{}", run.err);
        assert_eq!(run.ok(), format!("{context}\n"));
    }
    for (context, says) in [
        (EVE, "broker-a: "),
        (EVE, WRONG_KEY),
        (FAY, "User:fay is not found"),
        (WRONG, "the name servers cannot be asked"),
        (WRONG, WRONG_KEY),
        (WRONG, "rmq-ctl doctor"),
    ] {
        whoami(context).await.fails(4, &[says]);
    }
    closed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn login_keeps_the_keys_where_only_their_owner_reads_them() {
    let mut closed = Closed::start().await;
    closed.home = closed.folder.path().join("another-home");
    let run = async |line: &[&str], stdin: &str| closed.bare(line, stdin).await;
    run(&["login", ROOT], "root-password").await.fails(
        2,
        &[
            "error[RMQ-E003]",
            "there is no current context",
            "set-context",
        ],
    );
    closed.context("prod").await;
    run(&["config", "use-context", "prod"], "").await.ok();
    run(&["login", ROOT], "")
        .await
        .fails(2, &["has no password"]);
    assert!(!closed.keys("prod").exists());

    let login = run(&["login", ROOT], "root-password\n").await;
    for says in ["context \"prod\" signs as \"root\"", "broker-a: Super"] {
        assert!(login.err.contains(says), "{}", login.err);
    }
    assert!(!login.err.contains("root-password"));
    assert_eq!(login.ok(), "");
    let file = closed.keys("prod");
    let mode = || file.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, "accessKey: root\nsecretKey: root-password\n");
    let config = std::fs::read_to_string(closed.home.join("rmq/config.yaml")).unwrap();
    assert!(!config.contains("root-password"), "{config}");
    assert_eq!(run(&["whoami"], "").await.ok(), "root\n");
    run(&["get", "users"], "").await.ok();
    for line in [["config", "view"], ["config", "get-contexts"]] {
        let run = run(&line, "").await;
        assert!(!run.err.contains("root-password"), "{}", run.err);
        assert!(!run.ok().contains("root-password"));
    }

    // A file that others could read does not stay so, and another user takes the place of the first.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let other = closed.folder.path().join("carl.password");
    std::fs::write(&other, "carl-password\n").unwrap();
    let line = ["login", CARL, "--password-file", other.to_str().unwrap()];
    run(&line, "").await.ok();
    assert_eq!(mode(), 0o600);
    assert_eq!(run(&["whoami"], "").await.ok(), "carl\n");

    // A key that a server does not take is said at once.
    run(&["login", ROOT], "another-password").await.fails(
        4,
        &[
            "the name servers cannot be asked",
            WRONG_KEY,
            "rmq-ctl doctor",
        ],
    );
    run(&["login", EVE], "eve-password").await.fails(
        4,
        &[
            WRONG_KEY,
            "user \"eve\" is not recognised by all brokers",
            "rmq-ctl doctor",
        ],
    );
    run(&["login", "no-such", "--into", "no-such"], "x")
        .await
        .fails(2, &["there is no context \"no-such\""]);
    closed.stop().await;
}

/// What doctor finds with a context: the check, whom it is about, and what it says.
async fn access(closed: &Closed, context: &str) -> Vec<(String, String)> {
    let run = closed.run(context, &["doctor", "-o", "json"]).await;
    let report: Value = serde_json::from_str(&run.out).unwrap_or_else(|_| panic!("{}", run.err));
    let checks = report["items"].as_array().unwrap();
    let bad = checks.iter().filter(|check| check["id"] == "access");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let bad: Vec<_> = bad
        .map(|check| (text(&check["subject"]), text(&check["says"])))
        .collect();
    assert!(bad.is_empty() || run.code == 10, "{} {}", run.code, run.err);
    bad
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_tells_a_wrong_key_an_unknown_user_and_a_missing_right_apart() {
    let closed = Closed::start().await;
    let at_name_server = format!("nameserver/{}", closed.servers());
    let broker = "broker/broker-a";
    assert_eq!(access(&closed, ROOT).await, []);
    for (context, subject, says) in [
        (
            NOBODY,
            at_name_server.as_str(),
            &["requests must be signed there", "rmq-ctl login USER"][..],
        ),
        (
            WRONG,
            &at_name_server,
            &[
                "the secret key of user \"root\" is not the one",
                "Clocks do not matter",
                "rmq-ctl login root",
            ],
        ),
        (
            EVE,
            broker,
            &[
                "the secret key of user \"eve\" is not the one",
                "Clocks do not matter",
            ],
        ),
        (
            FAY,
            broker,
            &["there is no user \"fay\" there", "rmq-ctl create user fay"],
        ),
        (
            CARL,
            broker,
            &[
                "the key of user \"carl\" is right, and a right is missing",
                "it needs GET",
                "rmq-ctl set acl carl",
            ],
        ),
    ] {
        let found = access(&closed, context).await;
        assert_eq!(found.len(), 1, "{context}: {found:?}");
        assert_eq!(found[0].0, subject, "{context}");
        for part in says {
            assert!(found[0].1.contains(part), "{context}: {found:?}");
        }
    }
    let line = ["set", "user", CARL, "--disable", "--yes"];
    closed.run(ROOT, &line).await.ok();
    let found = access(&closed, CARL).await;
    let says = "user \"carl\" is disabled: rmq-ctl set user carl --enable";
    assert!(found.len() == 1 && found[0].1.contains(says), "{found:?}");
    closed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_names_the_clock_where_a_certificate_is_out_of_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let authority = rmq_certificates::Authority::new("test CA");
    let ca = authority.write(folder.path(), "ca.crt");
    let wanted = rmq_certificates::Wanted::names(&["127.0.0.1"]).expired();
    let files = authority.sign(&wanted).write(folder.path(), "server");
    let config = NameServerConfig {
        listen: "127.0.0.1:0".to_owned(),
        management: String::new(),
        tls_mode: rmq_config::TlsMode::Enforcing,
        tls_certificate_file: files.certificate,
        tls_key_file: files.key,
        ..NameServerConfig::default()
    };
    let deps = rmq_namesrv::Deps::default();
    let name_server = NameServer::start(config, deps).await.unwrap();
    let address = name_server.local_addr().to_string();
    let line = ["doctor", "--tls-ca", ca.to_str().unwrap()];
    let found = common::servers::findings(&address, &line).await;
    common::servers::only(&found, "name-server-speaks", "has expired");
    common::servers::only(
        &found,
        "name-server-speaks",
        "unless the clock of this machine is wrong",
    );
    name_server.shutdown().await;
}
