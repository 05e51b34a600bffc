//! `rmq-ctl` outside of the cluster, with nothing but a kubeconfig: the nodes' network is not used.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rmq_e2e::foreign;
use rmq_e2e::process::binary;

use crate::world::{World, cluster, demand, outside, until};

const NAMESPACE: &str = "ctl";

/// Two name servers and two brokers with the names of their pods: nobody outside can dial them.
pub(crate) fn inner_cluster(namespace: &str) -> String {
    cluster(namespace)
        .replace(
            "spec:\n  externalListener: {type: NodePort}\n",
            "spec: {}\n",
        )
        .replace("  listeners: {external: {type: NodePort}}\n", "")
}

/// `rmq-ctl`, as somebody with this kubeconfig and nothing else runs it.
pub(crate) fn ctl(kubeconfig: &Path, home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary("rmq-ctl"));
    for name in [
        "RMQ_LOG",
        "RMQ_URL",
        "NAMESRV_ADDR",
        "RMQ_CONTEXT",
        "XDG_CONFIG_HOME",
    ] {
        command.env_remove(name);
    }
    command
        .args(args)
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", home)
        .current_dir(home)
        .stdin(Stdio::null());
    command
}

/// Makes this member the master, by the addresses outside; it has to be in sync. A busy machine may take a move back.
pub(crate) fn switch_over(world: &World, namespace: &str, slot: &str) -> Result<(), String> {
    let addresses = outside(world, namespace)?;
    let home = tempfile::tempdir().map_err(|error| error.to_string())?;
    let args = ["--nameserver", &addresses, "broker", "switchover", "a"];
    let args = [&args[..], &["--to", slot, "--yes"]].concat();
    until(Duration::from_secs(60), || {
        let output = ctl(&home.path().join("none"), home.path(), &args).output();
        let output = output.map_err(|error| format!("rmq-ctl: {error}"))?;
        let err = String::from_utf8_lossy(&output.stderr);
        demand(
            output.status.success(),
            format!("a switchover to member {slot}: {}\n{err}", output.status),
        )
    })
}

/// Somebody with a kubeconfig, who works in one namespace.
pub(crate) struct Outside<'w> {
    world: &'w World,
    namespace: &'static str,
    home: tempfile::TempDir,
}

impl<'w> Outside<'w> {
    pub(crate) fn new(world: &'w World, namespace: &'static str) -> Result<Self, String> {
        let home = tempfile::tempdir().map_err(|error| error.to_string())?;
        Ok(Self {
            world,
            namespace,
            home,
        })
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut all = vec!["-n", self.namespace];
        all.extend(args);
        ctl(&self.world.lab.kubeconfig(), self.home.path(), &all)
    }

    fn run(&self, args: &[&str]) -> Result<Output, String> {
        let output = self.command(args).output();
        output.map_err(|error| format!("rmq-ctl: {error}"))
    }

    /// What it printed; it has to end well and to say `text`.
    fn says(&self, args: &[&str], text: &str) -> Result<String, String> {
        self.ends(args, 0, text)
    }

    /// What it printed; it ends with this code and says `text`.
    pub(crate) fn ends(&self, args: &[&str], code: i32, text: &str) -> Result<String, String> {
        let output = self.run(args)?;
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr);
        demand(
            output.status.code() == Some(code) && (out.contains(text) || err.contains(text)),
            format!("rmq-ctl {}: {}\n{out}{err}", args.join(" "), output.status),
        )?;
        Ok(out)
    }

    fn fails(&self, args: &[&str], code: i32, text: &str) -> Result<(), String> {
        let output = self.run(args)?;
        let err = String::from_utf8_lossy(&output.stderr);
        demand(
            output.status.code() == Some(code) && err.contains(text),
            format!("rmq-ctl {}: {}\n{err}", args.join(" "), output.status),
        )
    }
}

/// Every kind of verb through the API server, a broker replaced meanwhile, owners, the plugin, and rights that are missing.
pub(crate) fn verbs(world: &World) -> Result<(), String> {
    world.namespace(NAMESPACE)?;
    world.lab.apply(&inner_cluster(NAMESPACE))?;
    world.wait_ready(
        NAMESPACE,
        &[
            "brokergroup/a",
            "brokergroup/b",
            "topic/orders",
            "subscriptiongroup/billing",
        ],
    )?;
    let outside = Outside::new(world, NAMESPACE)?;
    outside.says(&["-v", "get", "topics"], "NameServer ctl/main")?;
    outside.says(&["get", "brokers"], "a-broker-0.a-broker.ctl.svc:10911")?;
    outside.says(&["describe", "topic", "orders"], "Queues")?;
    outside.says(
        &["create", "topic", "mine", "--queues", "2"],
        "topic/mine created",
    )?;
    for number in 0..8 {
        let body = format!("book {number}");
        outside.says(&["send", "orders", &body], "orders/")?;
    }
    let tail = outside.says(&["tail", "orders", "--last", "10", "-o", "body"], "book 7")?;
    demand(tail.lines().count() == 8, format!("tail: {tail}"))?;
    let consumed = [
        "consume", "orders", "-g", "billing", "--from", "first", "--max", "8", "-o", "body",
    ];
    outside.says(&consumed, "book 7")?;
    outside.says(&["lag", "billing"], "orders")?;
    outside.says(&["health"], "")?;
    outside.says(&["doctor", "orders"], "through the API server")?;
    goes_on(&outside)?;
    owners(&outside)?;
    plugin(&outside)?;
    rights(&outside)
}

/// A running `consume` outlives a broker's pod.
fn goes_on(outside: &Outside<'_>) -> Result<(), String> {
    outside.says(&["create", "topic", "watched", "--queues", "2"], "created")?;
    let mut consume = outside
        .command(&[
            "consume", "watched", "-g", "watchers", "--from", "first", "-o", "body",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .map(Running)
        .map_err(|error| error.to_string())?;
    let out = consume.0.stdout.take().ok_or("no pipe")?;
    let (sender, bodies) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let arrives = |body: &str| {
        until(Duration::from_secs(120), || {
            // The broker may be between two pods.
            let _ = outside.run(&["send", "watched", body])?;
            match bodies.recv_timeout(Duration::from_secs(3)) {
                Ok(line) if line == body => Ok(()),
                other => Err(format!("{body} did not arrive: {other:?}")),
            }
        })
    };
    arrives("before")?;
    for pod in ["a-broker-0", "b-broker-0"] {
        outside
            .world
            .replaced(NAMESPACE, pod, &["delete", "pod", pod])?;
    }
    arrives("after")
}

/// A process that is killed when the test leaves it behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a resource owns is not written past it.
fn owners(outside: &Outside<'_>) -> Result<(), String> {
    for args in [
        &["set", "topic", "orders", "queues=8", "--yes"][..],
        &["delete", "topic", "orders", "--yes"],
        &["set", "group", "billing", "max-attempts=3"],
        &["create", "topic", "orders"],
    ] {
        outside.fails(args, 6, "belongs to")?;
    }
    outside.says(
        &[
            "set",
            "topic",
            "orders",
            "queues=5",
            "--yes",
            "--force-unmanaged",
        ],
        "topic/orders",
    )?;
    outside.says(&["set", "topic", "mine", "queues=4"], "topic/mine")?;
    Ok(())
}

/// `kubectl rmq`.
fn plugin(outside: &Outside<'_>) -> Result<(), String> {
    let plugin = outside.home.path().join("kubectl-rmq");
    std::os::unix::fs::symlink(binary("rmq-ctl"), &plugin).map_err(|error| error.to_string())?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut kubectl = outside.world.lab.tool("kubectl");
    kubectl
        .args(["rmq", "-n", NAMESPACE, "get", "topics"])
        .env("PATH", format!("{}:{path}", outside.home.path().display()))
        .env("HOME", outside.home.path());
    let output = kubectl.output().map_err(|error| error.to_string())?;
    let out = String::from_utf8_lossy(&output.stdout);
    demand(
        output.status.success() && out.contains("orders"),
        format!(
            "kubectl rmq: {out}{}",
            String::from_utf8_lossy(&output.stderr)
        ),
    )
}

/// Somebody who may look at the objects, but not connect to pods.
fn rights(outside: &Outside<'_>) -> Result<(), String> {
    let world = outside.world;
    world.lab.apply(&format!(
        "apiVersion: v1
kind: ServiceAccount
metadata: {{name: reader, namespace: {NAMESPACE}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: reader, namespace: {NAMESPACE}}}
rules:
- {{apiGroups: [rmq.rs], resources: [nameservers], verbs: [get, list]}}
- {{apiGroups: [\"\"], resources: [pods], verbs: [get, list]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: reader, namespace: {NAMESPACE}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}}
subjects: [{{kind: ServiceAccount, name: reader, namespace: {NAMESPACE}}}]
"
    ))?;
    let token = world.kubectl(NAMESPACE, &["create", "token", "reader"])?;
    let lacking = outside.home.path().join("reader.kubeconfig");
    std::fs::copy(world.lab.kubeconfig(), &lacking).map_err(|error| error.to_string())?;
    let config = |args: &[&str]| {
        let mut kubectl = world.lab.tool("kubectl");
        kubectl.env("KUBECONFIG", &lacking).arg("config").args(args);
        foreign::build(&mut kubectl)
    };
    config(&[
        "set-credentials",
        "reader",
        &format!("--token={}", token.trim()),
    ])?;
    config(&["set-context", "--current", "--user=reader"])?;
    let args = ["-n", NAMESPACE, "--cluster", "main", "get", "topics"];
    let output = ctl(&lacking, outside.home.path(), &args).output();
    let output = output.map_err(|error| error.to_string())?;
    let err = String::from_utf8_lossy(&output.stderr);
    demand(
        output.status.code() == Some(4)
            && err.contains("pods/portforward in namespace ctl is missing")
            && err.contains("kubectl auth can-i"),
        format!("without the right: {}\n{err}", output.status),
    )
}

/// The unmodified Java and Go clients through `rmq-ctl tunnel`: two name servers, two brokers.
pub(crate) fn tunnel(world: &World) -> Result<(), String> {
    let outside = Outside::new(world, NAMESPACE)?;
    let mut open = outside
        .command(&["tunnel", "--print-json"])
        .stdout(Stdio::piped())
        .spawn()
        .map(Running)
        .map_err(|error| error.to_string())?;
    let mut line = String::new();
    let out = open.0.stdout.as_mut().ok_or("no pipe")?;
    BufReader::new(out)
        .read_line(&mut line)
        .map_err(|error| error.to_string())?;
    let ready: serde_json::Value =
        serde_json::from_str(&line).map_err(|error| format!("{line:?}: {error}"))?;
    let texts = |list: &serde_json::Value, field: &str| -> Vec<String> {
        let items = list.as_array().into_iter().flatten();
        let text = items.filter_map(|item| match field {
            "" => item.as_str(),
            field => item[field].as_str(),
        });
        text.map(str::to_owned).collect()
    };
    let name_servers = texts(&ready["nameServers"], "");
    let brokers = texts(&ready["brokers"], "address");
    demand(
        name_servers.len() == 2 && brokers.len() == 2,
        format!("two of each, not {line}"),
    )?;
    // Each of the two answers with the tunnel's addresses.
    for addr in &name_servers {
        let output = ctl(
            &outside.home.path().join("none"),
            outside.home.path(),
            &["get", "brokers", "--nameserver", addr],
        )
        .output()
        .map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout);
        demand(
            brokers.iter().all(|broker| said.contains(broker.as_str())),
            format!("{addr}: {said}{}", String::from_utf8_lossy(&output.stderr)),
        )?;
    }
    let built = foreign::build_dir("java")?;
    foreign::maven("java", &built)?;
    let wanted = ["send_sync", "push_concurrent"];
    for broker in ["a", "b"] {
        let mut java = Command::new("java");
        java.args([
            "-Xmx256m",
            "-Dcompat.brokers=2",
            &format!("-Dcompat.broker={broker}"),
            "-cp",
            &format!("{0}/compat.jar:{0}/lib/*", built.display()),
            "rmq.compat.Main",
            &name_servers.join(";"),
        ]);
        let outcomes = foreign::run(java.args(wanted), Duration::from_secs(240))?;
        all_well("java", &wanted, &outcomes)?;
    }
    let built = foreign::build_dir("go")?.join("compat");
    let mut build = Command::new("go");
    build
        .current_dir(foreign::source_dir("go"))
        .args(["build", "-o"])
        .arg(&built)
        .arg(".");
    foreign::build(&mut build)?;
    // Its administration takes one name server only.
    for (name_server, broker) in name_servers.iter().zip(&brokers) {
        let mut go = Command::new(&built);
        go.args([name_server, broker]).args(wanted);
        let outcomes = foreign::run(&mut go, Duration::from_secs(240))?;
        all_well("go", &wanted, &outcomes)?;
    }
    outside.world.discard(NAMESPACE)
}

fn all_well(kind: &str, wanted: &[&str], outcomes: &foreign::Outcomes) -> Result<(), String> {
    for name in wanted {
        let outcome = outcomes.get(*name).cloned();
        outcome
            .unwrap_or_else(|| Err("it did not run".to_owned()))
            .map_err(|error| format!("{kind} {name}: {error}"))?;
    }
    Ok(())
}
