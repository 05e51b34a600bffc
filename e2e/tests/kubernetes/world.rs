//! The cluster, the operator in it, and what tests ask of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rmq_client::Client;
use rmq_lab::Lab;

use crate::java::Program;

/// The image that `cargo xtask images` writes.
pub(crate) const IMAGE: &str = concat!("rmq:", env!("CARGO_PKG_VERSION"));
/// The same under another name: what a roll changes to.
pub(crate) const NEXT_IMAGE: &str = "rmq:next";
/// Where the operator runs.
pub(crate) const SYSTEM: &str = "rmq-system";
/// How many nodes there are.
pub(crate) const NODES: u8 = 3;

/// Everything that the tests share.
pub(crate) struct World {
    pub(crate) lab: Lab,
    pub(crate) runtime: tokio::runtime::Runtime,
    /// The Java client beside our loads.
    pub(crate) java: OnceLock<Result<Program, String>>,
}

/// What this machine lacks.
pub(crate) fn missing() -> Option<String> {
    rmq_lab::missing().or_else(|| match archive() {
        Some(path) if path.exists() => None,
        Some(path) => Some(format!("{} is not there", path.display())),
        None => {
            Some("RMQ_E2E_IMAGE does not name an image archive; try: cargo xtask images".to_owned())
        }
    })
}

fn archive() -> Option<PathBuf> {
    std::env::var_os("RMQ_E2E_IMAGE").map(PathBuf::from)
}

/// A chart of this project.
pub(crate) fn chart(name: &str) -> String {
    let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts");
    charts.join(name).display().to_string()
}

impl World {
    /// Starts the cluster and installs the operator by its charts.
    pub(crate) fn start() -> Result<Self, String> {
        let archive = archive().ok_or("no image archive")?;
        let lab = Lab::up(NODES, &[archive])?;
        lab.tag_image(NODES, IMAGE, NEXT_IMAGE)?;
        let world = Self {
            lab,
            runtime: tokio::runtime::Runtime::new().map_err(|error| error.to_string())?,
            java: OnceLock::new(),
        };
        world.namespace(SYSTEM)?;
        crate::pages::install(&world.lab)?;
        Ok(world)
    }

    /// A namespace that refuses pods that ask for more than they need.
    pub(crate) fn namespace(&self, name: &str) -> Result<(), String> {
        self.lab.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels: {{pod-security.kubernetes.io/enforce: restricted}}\n"
        ))?;
        Ok(())
    }

    /// Removes it without waiting: the tests after this one need its pods' place.
    pub(crate) fn discard(&self, name: &str) -> Result<(), String> {
        self.lab
            .kubectl(&["delete", "namespace", name, "--wait=false"])
            .map(drop)
    }

    pub(crate) fn kubectl(&self, namespace: &str, args: &[&str]) -> Result<String, String> {
        let mut all = vec!["-n", namespace];
        all.extend(args);
        self.lab.kubectl(&all)
    }

    /// Changes an object, by a merge patch.
    pub(crate) fn patch(&self, namespace: &str, object: &str, patch: &str) -> Result<(), String> {
        let args = ["patch", object, "--type=merge", "-p", patch];
        self.kubectl(namespace, &args).map(drop)
    }

    /// A field of an object.
    pub(crate) fn get(&self, namespace: &str, object: &str, path: &str) -> Result<String, String> {
        self.kubectl(
            namespace,
            &["get", object, "-o", &format!("jsonpath={{{path}}}")],
        )
    }

    /// `kubectl wait` for a condition, as the docs say it.
    pub(crate) fn wait_ready(&self, namespace: &str, objects: &[&str]) -> Result<(), String> {
        let mut args = vec!["wait", "--for=condition=Ready", "--timeout=180s"];
        args.extend(objects);
        self.kubectl(namespace, &args).map(drop)
    }

    /// Waits until a field has a value.
    pub(crate) fn wait_for(
        &self,
        namespace: &str,
        object: &str,
        path: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String, String> {
        until(Duration::from_secs(180), || {
            // The API server may be away for a moment.
            let value = self.get(namespace, object, path).unwrap_or_default();
            if wanted(&value) {
                Ok(value)
            } else {
                Err(format!("{object} {path} is {value:?}"))
            }
        })
    }

    /// Waits until a condition has this status and a message that contains `text`.
    pub(crate) fn wait_condition(
        &self,
        namespace: &str,
        object: &str,
        condition: &str,
        status: &str,
        text: &str,
    ) -> Result<(), String> {
        let path =
            format!(".status.conditions[?(@.type==\"{condition}\")]['status','reason','message']");
        self.wait_for(namespace, object, &path, |value| {
            value.starts_with(status) && value.contains(text)
        })
        .map(drop)
    }

    /// Waits until an object has taken up its last change and nothing goes on any more.
    pub(crate) fn wait_settled(&self, namespace: &str, object: &str) -> Result<(), String> {
        until(Duration::from_secs(240), || {
            let state = self.get(
                namespace,
                object,
                ".metadata.generation},{.status.observedGeneration},{.status.conditions[?(@.type==\"Ready\")].status},{.status.conditions[?(@.type==\"Progressing\")].status},{.status.conditions[?(@.type==\"Progressing\")].message",
            )?;
            let parts: Vec<&str> = state.splitn(5, ',').collect();
            match parts.as_slice() {
                [wanted, seen, "True", "False", ..] if wanted == seen => Ok(()),
                _ => Err(format!("{object}: {state}")),
            }
        })
    }

    /// Makes a pod go by this command, and waits until another one of its name serves: the object of its group shows neither at once.
    pub(crate) fn replaced(
        &self,
        namespace: &str,
        pod: &str,
        command: &[&str],
    ) -> Result<(), String> {
        let object = format!("pod/{pod}");
        let before = self.get(namespace, &object, ".metadata.uid")?;
        self.kubectl(namespace, command)?;
        let path = ".metadata.uid},{.status.conditions[?(@.type==\"Ready\")].status";
        self.wait_for(
            namespace,
            &object,
            path,
            |now| matches!(now.split_once(','), Some((uid, "True")) if uid != before),
        )
        .map(drop)
    }

    /// What a person would look at first.
    pub(crate) fn state(&self) -> String {
        let look = |args: &[&str]| self.lab.kubectl(args).unwrap_or_else(|error| error);
        // Long lines push what matters out of a log that is cut.
        let short = |text: String| {
            let lines = text.lines().map(|line| line.chars().take(400).collect());
            lines.collect::<Vec<String>>().join("\n")
        };
        let conditions = r#"jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}:{range .status.conditions[*]} {.type}={.status} {.reason}: {.message};{end}{"\n"}{end}"#;
        let mut state = vec![
            look(&["get", "pods", "-A", "-o", "wide"]),
            short(look(&["get", "rmq", "-A", "-o", conditions])),
            short(look(&[
                "-n",
                SYSTEM,
                "logs",
                "-l",
                "app.kubernetes.io/name=rmq-operator",
                "--tail=15",
            ])),
        ];
        let failed = r#"jsonpath={range .items[?(@.status.phase=="Failed")]}{.metadata.namespace} {.metadata.name}{"\n"}{end}"#;
        for pod in look(&["get", "pods", "-A", "-o", failed]).lines() {
            if let Some((namespace, name)) = pod.split_once(' ') {
                let logs = look(&["-n", namespace, "logs", name, "--tail=10"]);
                state.push(format!("logs of {pod}:\n{}", short(logs)));
            }
        }
        state.join("\n")
    }

    /// After a scenario that failed half way: nodes are on and take pods, so that the next one fails for its own reasons only.
    pub(crate) fn mend(&self) {
        for node in 1..=NODES {
            // Those that run say so.
            let _ = self.lab.start_node(node);
        }
        let all = [
            "taint",
            "node",
            "--all",
            "node.kubernetes.io/out-of-service-",
        ];
        let _ = self.lab.kubectl(&all);
        let _ = self.lab.kubectl(&["uncordon", "n1", "n2", "n3"]);
    }

    pub(crate) fn end(self) {
        if let Err(error) = self.lab.down() {
            #[expect(clippy::print_stderr, reason = "somebody has to stop it by hand")]
            {
                eprintln!("the cluster was not stopped: {error}");
            }
        }
    }
}

/// Asks again and again until there is an answer; the last problem when time is over.
pub(crate) fn until<T>(
    limit: Duration,
    mut ask: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let started = Instant::now();
    loop {
        match ask() {
            Ok(value) => return Ok(value),
            Err(problem) if started.elapsed() > limit => {
                return Err(format!("after {} s: {problem}", limit.as_secs()));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(300)),
        }
    }
}

/// Name servers and two broker groups that can be reached from outside, with a topic and a group.
pub(crate) fn cluster(namespace: &str) -> String {
    let mut all = format!(
        "apiVersion: rmq.rs/v1alpha1
kind: NameServer
metadata: {{name: main, namespace: {namespace}}}
spec:
  externalListener: {{type: NodePort}}
---
apiVersion: rmq.rs/v1alpha1
kind: Topic
metadata: {{name: orders, namespace: {namespace}}}
spec: {{nameServerRef: {{name: main}}, queues: 4}}
---
apiVersion: rmq.rs/v1alpha1
kind: SubscriptionGroup
metadata: {{name: billing, namespace: {namespace}}}
spec: {{nameServerRef: {{name: main}}}}
"
    );
    for name in ["a", "b"] {
        all.push_str(&group(namespace, name, ""));
    }
    all
}

/// A small broker group; `more` are lines of its spec.
pub(crate) fn group(namespace: &str, name: &str, more: &str) -> String {
    format!(
        "---
apiVersion: rmq.rs/v1alpha1
kind: BrokerGroup
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  nameServerRef: {{name: main}}
  storage: {{size: 1Gi, deletionPolicy: Delete}}
  resources: {{requests: {{cpu: 50m, memory: 64Mi}}}}
  config: {{autoCreateTopic: true, extra: {{segmentBytes: 67108864}}}}
  listeners: {{external: {{type: NodePort}}}}
{more}"
    )
}

/// What must hold.
pub(crate) fn demand(holds: bool, otherwise: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

/// A cluster that serves; scenarios of one theme share it.
///
/// `config` is what its brokers have besides `cluster`'s, with a comma after each.
pub(crate) fn start(world: &World, namespace: &str, config: &str) -> Result<(), String> {
    world.namespace(namespace)?;
    let config = format!("config: {{{config}");
    world
        .lab
        .apply(&cluster(namespace).replace("config: {", &config))?;
    world.wait_ready(
        namespace,
        &[
            "nameserver/main",
            "brokergroup/a",
            "brokergroup/b",
            "topic/orders",
            "subscriptiongroup/billing",
        ],
    )
}

/// The name servers for clients outside: their port at every node, as nodes go in some scenarios.
pub(crate) fn outside(world: &World, namespace: &str) -> Result<String, String> {
    let address = world.wait_for(
        namespace,
        "nameserver/main",
        ".status.externalAddresses",
        |value| !value.is_empty(),
    )?;
    let (_, port) = address.rsplit_once(':').ok_or("an address has a port")?;
    let nodes = (1..=NODES).map(|node| format!("{}:{port}", world.lab.address(node)));
    Ok(nodes.collect::<Vec<_>>().join(";"))
}

/// The pods of the brokers as `name=uid`: others after a restart.
pub(crate) fn pods_of_brokers(world: &World, namespace: &str) -> Result<BTreeSet<String>, String> {
    let pods = world.kubectl(
        namespace,
        &[
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/component=broker",
            "-o",
            "jsonpath={range .items[*]}{.metadata.name}={.metadata.uid} {end}",
        ],
    )?;
    Ok(pods.split_whitespace().map(str::to_owned).collect())
}

/// Asks brokers and name servers.
pub(crate) fn admin<T>(
    world: &World,
    addresses: &str,
    ask: impl AsyncFnOnce(&Client) -> Result<T, rmq_client::Error>,
) -> Result<T, String> {
    world.runtime.block_on(async {
        let client = Client::connect(addresses)
            .await
            .map_err(|error| error.to_string())?;
        let answer = ask(&client).await.map_err(|error| error.to_string());
        client.shutdown().await;
        answer
    })
}
