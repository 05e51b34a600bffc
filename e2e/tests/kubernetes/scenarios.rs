//! What must hold.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rmq_client::{Client, Message, Queue, TopicSpec};
use rmq_e2e::foreign;

use crate::load::Load;
use crate::world::{NEXT_IMAGE, SYSTEM, World, chart, cluster, group, until};

type Scenario = fn(&World) -> Result<(), String>;

/// In this order.
pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("installed_by_charts", installed_by_charts),
    ("pages_of_the_documentation", pages),
    ("rules_of_the_schema", rules_of_the_schema),
    ("rights_of_the_operator", rights_of_the_operator),
    ("java_and_rust_from_outside_and_inside", java_and_rust),
    ("configuration_and_image_rolls_under_load", rolls),
    ("pods_deleted_killed_and_evicted", pods_lost),
    ("name_servers_scaled", name_servers_scaled),
    ("topics_drift_conflict_and_deletion", topics),
    ("a_group_added_and_drained_away", group_added_and_drained),
    ("operator_killed_during_a_roll", operator_killed),
    ("api_server_restarted_during_a_roll", api_server_restarted),
    ("bad_objects", bad_objects),
    ("volumes_grow", volumes_grow),
    ("a_node_lost_for_good", node_lost),
    ("a_namespace_goes", namespace_goes),
];

fn demand(holds: bool, otherwise: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

/// A cluster of its own that serves.
fn start(world: &World, namespace: &str) -> Result<(), String> {
    world.namespace(namespace)?;
    world.lab.apply(&cluster(namespace))?;
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

/// The chart of a cluster: everything of one values file is ready.
fn installed_by_charts(world: &World) -> Result<(), String> {
    world.namespace("chart")?;
    world.lab.helm(&[
        "install",
        "main",
        &chart("rmq-cluster"),
        "-n",
        "chart",
        "--set",
        "brokerDefaults.storage.size=1Gi",
        "--set",
        "brokerDefaults.resources.requests.cpu=50m",
        "--set",
        "topics.orders.queues=2",
        "--set",
        "topics.Big_Topic.queues=1",
        "--set",
        "subscriptionGroups.billing.consume=false",
    ])?;
    world.wait_ready(
        "chart",
        &[
            "nameserver/main",
            "brokergroup/main-a",
            "brokergroup/main-b",
            "topic/main-orders",
            "topic/main-big-topic",
            "subscriptiongroup/main-billing",
        ],
    )?;
    let topic = world.get("chart", "topic/main-big-topic", ".status.topicName")?;
    demand(topic == "Big_Topic", format!("the topic is called {topic}"))?;
    // Everything in one namespace passed Pod Security "restricted"; say why not otherwise.
    let pods = world.kubectl("chart", &["get", "pods", "-o", "name"])?;
    demand(
        pods.lines().count() == 4,
        format!("two name servers and two brokers, not {pods}"),
    )?;
    world.discard("chart")
}

/// The commands of the pages, as a reader would run them, on an operator that is installed already.
fn pages(world: &World) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let kubectl = world.lab.tool("kubectl");
    let tools = Path::new(kubectl.get_program())
        .parent()
        .unwrap_or(Path::new("/"));
    let path = format!(
        "{}:{}",
        tools.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    for page in ["docs/start/kubernetes.md", "docs/operate/kubernetes.md"] {
        let text =
            std::fs::read_to_string(root.join(page)).map_err(|error| format!("{page}: {error}"))?;
        let mut commands = 0;
        for block in text.split("```console").skip(1) {
            let (head, rest) = block.split_once('\n').unwrap_or_default();
            if head.contains("no-run") {
                continue;
            }
            let block = rest.split("```").next().unwrap_or_default();
            for command in block
                .split("\n$ ")
                .map(|command| command.trim_start_matches("$ "))
            {
                // Lines that go on end with a backslash; what follows is what it prints.
                let mut lines = Vec::new();
                for line in command.lines() {
                    lines.push(line);
                    if !line.ends_with('\\') {
                        break;
                    }
                }
                let command = lines.join("\n");
                let output = Command::new("bash")
                    .args(["-c", &command])
                    .current_dir(&root)
                    .env("KUBECONFIG", world.lab.kubeconfig())
                    .env("PATH", &path)
                    .output()
                    .map_err(|error| format!("bash: {error}"))?;
                let said = String::from_utf8_lossy(&output.stderr);
                demand(
                    output.status.success(),
                    format!("{page}: {command}: {said}"),
                )?;
                commands += 1;
            }
        }
        demand(commands > 0, format!("{page} has no commands"))?;
    }
    Ok(())
}

/// Rules that the API server itself holds.
fn rules_of_the_schema(world: &World) -> Result<(), String> {
    world.namespace("rules")?;
    world.lab.apply(&group("rules", "probe", ""))?;
    let refused = |patch: &str, why: &str| {
        let patched = world.kubectl(
            "rules",
            &["patch", "brokergroup", "probe", "--type=merge", "-p", patch],
        );
        match patched {
            Err(error) if error.contains(why) => Ok(()),
            other => Err(format!(
                "{patch} should be refused because {why}, not: {other:?}"
            )),
        }
    };
    refused(
        r#"{"spec":{"storage":{"size":"512Mi"}}}"#,
        "size can only grow",
    )?;
    refused(r#"{"spec":{"storage":{"size":null}}}"#, "either size")?;
    refused(r#"{"spec":{"storage":{"size":"plenty"}}}"#, "quantity")?;
    refused(
        r#"{"spec":{"brokerName":"other"}}"#,
        "brokerName cannot be changed",
    )?;
    refused(
        r#"{"spec":{"nameServerRef":{"name":"other"}}}"#,
        "nameServerRef cannot be changed",
    )?;
    refused(
        r#"{"spec":{"listeners":{"external":{"type":"HostPort"}}}}"#,
        "needs hostPort",
    )?;
    refused(
        r#"{"spec":{"config":{"flush":"Sometimes"}}}"#,
        "Unsupported value",
    )?;
    // The examples are taken as they are.
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/examples");
    let examples = examples.display().to_string();
    world.kubectl("rules", &["create", "--dry-run=server", "-f", &examples])?;
    let explained = world
        .lab
        .kubectl(&["explain", "brokergroups.spec.storage.size"])?;
    demand(
        explained.contains("It can grow"),
        format!("kubectl explain says {explained}"),
    )?;
    world.discard("rules")
}

/// What the operator must not be able to do.
fn rights_of_the_operator(world: &World) -> Result<(), String> {
    let account = format!("--as=system:serviceaccount:{SYSTEM}:rmq-operator");
    let can = |args: &[&str]| {
        let mut all = vec!["auth", "can-i", "-q", &account];
        all.extend(args);
        world.lab.kubectl(&all).is_ok()
    };
    for (verb, what) in [
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "pods"),
        ("create", "deployments"),
        ("delete", "namespaces"),
        ("list", "namespaces"),
        ("delete", "persistentvolumeclaims"),
        ("delete", "brokergroups.rmq.rs"),
        ("create", "topics.rmq.rs"),
        ("escalate", "clusterroles"),
        ("update", "customresourcedefinitions"),
    ] {
        demand(
            !can(&[verb, what, "-n", "default"]),
            format!("the operator can {verb} {what}"),
        )?;
    }
    for (verb, subresource) in [
        ("create", "exec"),
        ("get", "log"),
        ("create", "portforward"),
    ] {
        let flag = format!("--subresource={subresource}");
        demand(
            !can(&[verb, "pods", &flag, "-n", "default"]),
            format!("the operator can {verb} pods/{subresource}"),
        )?;
    }
    demand(
        can(&["patch", "statefulsets", "-n", "default"]),
        "the operator cannot do its work",
    )?;
    // With a list of namespaces, nothing anywhere else.
    let scoped = world.lab.helm(&[
        "template",
        "x",
        &chart("rmq-operator"),
        "--set",
        "watchNamespaces={default}",
        "--kube-version",
        "v1.34.10",
        "-n",
        SYSTEM,
    ])?;
    demand(
        !scoped.contains("ClusterRole"),
        "a list of namespaces still makes a ClusterRole",
    )
}

fn outside(world: &World, namespace: &str) -> Result<String, String> {
    world.wait_for(
        namespace,
        "nameserver/main",
        ".status.externalAddresses",
        |value| !value.is_empty(),
    )
}

/// The unmodified Java client and our own, by the external listeners; rmq-ctl in a pod, by the names of the pods.
fn java_and_rust(world: &World) -> Result<(), String> {
    world.namespace("clients")?;
    // The Java program looks at clusters with one broker.
    let all = cluster("clients");
    let one = all
        .split(&group("clients", "b", ""))
        .next()
        .unwrap_or_default();
    world.lab.apply(one)?;
    world.wait_ready("clients", &["brokergroup/a", "topic/orders"])?;
    let addresses = outside(world, "clients")?;
    let failed = |error: rmq_client::Error| error.to_string();
    let sent = world.runtime.block_on(async {
        let client = Client::connect(&*addresses).await?;
        client
            .wait_for_route("orders", Duration::from_secs(30))
            .await?;
        let sent = client
            .producer()
            .send(Message::new("orders", "from outside"))
            .await?;
        client.shutdown().await;
        Ok::<_, rmq_client::Error>(sent)
    });
    sent.map_err(failed)?;
    let built = foreign::build_dir("java")?;
    foreign::maven("java", &built)?;
    let mut java = Command::new("java");
    java.args([
        "-Xmx256m",
        "-cp",
        &format!("{0}/compat.jar:{0}/lib/*", built.display()),
        "rmq.compat.Main",
        &addresses,
    ]);
    let wanted = ["send_sync", "push_concurrent"];
    let outcomes = foreign::run(java.args(wanted), Duration::from_secs(180))?;
    for name in wanted {
        outcomes
            .get(name)
            .cloned()
            .unwrap_or_else(|| Err("it did not run".to_owned()))
            .map_err(|error| format!("java {name}: {error}"))?;
    }
    // A group without an external listener: only pods reach it.
    world.lab.apply(
        &group("clients", "c", "").replace("  listeners: {external: {type: NodePort}}\n", ""),
    )?;
    world.lab.apply("apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: inside, namespace: clients}\nspec: {nameServerRef: {name: main}, brokerGroups: [c]}\n")?;
    world.wait_ready("clients", &["brokergroup/c", "topic/inside"])?;
    let name_servers = world.get("clients", "nameserver/main", ".status.addresses")?;
    let pod = |name: &str, args: &str| {
        format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: clients}}
spec:
  restartPolicy: Never
  securityContext: {{runAsNonRoot: true, runAsUser: 10001, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
  - name: ctl
    image: {}
    command: [rmq-ctl, {args}]
    env: [{{name: NAMESRV_ADDR, value: \"{name_servers}\"}}, {{name: HOME, value: /tmp}}]
    securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
",
            crate::world::IMAGE
        )
    };
    world
        .lab
        .apply(&pod("sender", "send, inside, from a pod"))?;
    world.wait_for("clients", "pod/sender", ".status.phase", |phase| {
        phase == "Succeeded"
    })?;
    world
        .lab
        .apply(&pod("reader", "tail, inside, --last, \"10\""))?;
    let phase = world.wait_for("clients", "pod/reader", ".status.phase", |phase| {
        phase == "Succeeded" || phase == "Failed"
    })?;
    let said = world.kubectl("clients", &["logs", "reader"])?;
    demand(
        phase == "Succeeded" && said.contains("from a pod"),
        format!("the reader: {phase}: {said}"),
    )?;
    world.discard("clients")
}

fn restarts_of(world: &World, namespace: &str) -> Result<String, String> {
    let uids = world.kubectl(
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
    Ok(uids)
}

/// Both groups are restarted, one at a time, and nobody notices.
fn rolls(world: &World) -> Result<(), String> {
    start(world, "rolls")?;
    let before = restarts_of(world, "rolls")?;
    let load = Load::start(world, "rolls")?;
    for name in ["a", "b"] {
        world.kubectl(
            "rolls",
            &[
                "patch",
                "brokergroup",
                name,
                "--type=merge",
                "-p",
                r#"{"spec":{"config":{"retentionHours":24}}}"#,
            ],
        )?;
    }
    watch_one_at_a_time(world, "rolls")?;
    let between = restarts_of(world, "rolls")?;
    demand(
        before
            .split(' ')
            .all(|pod| pod.is_empty() || !between.contains(pod)),
        format!("both brokers restart: {before} {between}"),
    )?;
    for name in ["a", "b"] {
        world.kubectl(
            "rolls",
            &[
                "patch",
                "brokergroup",
                name,
                "--type=merge",
                "-p",
                &format!(r#"{{"spec":{{"image":{{"reference":"{NEXT_IMAGE}"}}}}}}"#),
            ],
        )?;
    }
    watch_one_at_a_time(world, "rolls")?;
    let images = world.kubectl(
        "rolls",
        &[
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/component=broker",
            "-o",
            "jsonpath={.items[*].spec.containers[0].image}",
        ],
    )?;
    demand(
        images == format!("{NEXT_IMAGE} {NEXT_IMAGE}"),
        format!("the images are {images}"),
    )?;
    load.goes_on(100)?;
    load.finish(world)?.expect_no_errors()?;
    let reasons = world.kubectl(
        "rolls",
        &[
            "get",
            "events",
            "--field-selector",
            "reason=BrokerRestarted",
            "-o",
            "jsonpath={.items[*].message}",
        ],
    )?;
    demand(
        reasons.contains("ConfigurationChanged") && reasons.contains("ImageChanged"),
        format!("events say why: {reasons}"),
    )?;
    world.discard("rolls")
}

/// Until both groups are settled; never are both away.
fn watch_one_at_a_time(world: &World, namespace: &str) -> Result<(), String> {
    let started = Instant::now();
    loop {
        let ready = world.kubectl(
            namespace,
            &[
                "get",
                "pods",
                "-l",
                "app.kubernetes.io/component=broker",
                "-o",
                "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}",
            ],
        )?;
        demand(ready.contains("True"), "both brokers are away")?;
        let state = world.kubectl(namespace, &["get", "brokergroups", "-o", "jsonpath={range .items[*]}{.metadata.generation}={.status.observedGeneration}:{.status.conditions[?(@.type==\"Ready\")].status}{.status.conditions[?(@.type==\"Progressing\")].status} {end}"])?;
        let settled = state.split_whitespace().all(|group| {
            let (generations, conditions) = group.split_once(':').unwrap_or_default();
            generations
                .split_once('=')
                .is_some_and(|(wanted, seen)| wanted == seen)
                && conditions == "TrueFalse"
        });
        if settled && !state.is_empty() {
            return Ok(());
        }
        demand(
            started.elapsed() < Duration::from_secs(240),
            format!("the roll does not end: {state}"),
        )?;
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Pods that are deleted, killed and evicted come back with their messages; nodes can only be drained one broker at a time.
fn pods_lost(world: &World) -> Result<(), String> {
    start(world, "pods")?;
    let load = Load::start(world, "pods")?;
    world.kubectl("pods", &["delete", "pod", "a-broker-0", "--wait=false"])?;
    world.wait_settled("pods", "brokergroup/a")?;
    load.goes_on(50)?;
    // No time to say anything to anybody.
    world.kubectl(
        "pods",
        &["delete", "pod", "b-broker-0", "--grace-period=0", "--force"],
    )?;
    world.wait_settled("pods", "brokergroup/b")?;
    load.goes_on(50)?;
    let evict = |pod: &str| {
        let eviction = format!(
            r#"{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"{pod}","namespace":"pods"}}}}"#
        );
        let file =
            std::env::temp_dir().join(format!("rmq-evict-{pod}-{}.json", std::process::id()));
        std::fs::write(&file, eviction).map_err(|error| error.to_string())?;
        let path = format!("/api/v1/namespaces/pods/pods/{pod}/eviction");
        let done =
            world
                .lab
                .kubectl(&["create", "--raw", &path, "-f", &file.display().to_string()]);
        std::fs::remove_file(&file).map_err(|error| error.to_string())?;
        done
    };
    until(Duration::from_secs(30), || {
        world
            .get("pods", "pdb/main-brokers", ".status.disruptionsAllowed")
            .and_then(|allowed| demand(allowed == "1", format!("{allowed} may be evicted")))
    })?;
    evict("a-broker-0")?;
    match evict("b-broker-0") {
        Err(error) if error.contains("disruption budget") => {}
        other => {
            return Err(format!(
                "a second broker is evicted at the same time: {other:?}"
            ));
        }
    }
    world.wait_settled("pods", "brokergroup/a")?;
    load.goes_on(50)?;
    load.finish(world)?;
    world.discard("pods")
}

/// More and fewer name servers: brokers find them, and nothing restarts.
fn name_servers_scaled(world: &World) -> Result<(), String> {
    start(world, "scale")?;
    let before = restarts_of(world, "scale")?;
    let load = Load::start(world, "scale")?;
    let scale = |replicas: &str| {
        world.kubectl(
            "scale",
            &["scale", "nameserver/main", "--replicas", replicas],
        )?;
        world.wait_settled("scale", "nameserver/main")
    };
    scale("3")?;
    let address = world.get("scale", "pod/main-namesrv-2", ".status.podIP")?;
    let brokers = until(Duration::from_secs(30), || {
        let info = world.runtime.block_on(async {
            let client = Client::connect(format!("{address}:9876")).await?;
            let info = client.cluster_info().await?;
            client.shutdown().await;
            Ok::<_, rmq_client::Error>(info)
        });
        let info = info.map_err(|error| error.to_string())?;
        let names: Vec<String> = info.broker_addr_table.keys().cloned().collect();
        demand(
            names == ["a", "b"],
            format!("the new name server knows {names:?}"),
        )
        .map(|()| names)
    })?;
    demand(brokers.len() == 2, "two brokers")?;
    load.goes_on(30)?;
    scale("1")?;
    load.goes_on(100)?;
    let after = restarts_of(world, "scale")?;
    demand(
        before == after,
        format!("brokers restarted: {before} {after}"),
    )?;
    load.finish(world)?.expect_no_errors()?;
    world.discard("scale")
}

fn admin<T>(
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

/// Topics are as their objects say.
fn topics(world: &World) -> Result<(), String> {
    start(world, "topics")?;
    let addresses = outside(world, "topics")?;
    // Somebody changes it at the brokers; the next look puts it back.
    admin(world, &addresses, async |client| {
        client
            .admin()
            .create_topic(&TopicSpec::new("orders").queues(1))
            .await
    })?;
    world.kubectl("topics", &["annotate", "topic", "orders", "look=now"])?;
    until(Duration::from_secs(60), || {
        let configs = admin(world, &addresses, async |client| {
            client.admin().topic_config("orders").await
        })?;
        demand(
            configs.len() == 2
                && configs
                    .iter()
                    .all(|(_, config)| config.write_queue_nums == 4),
            format!("{configs:?}"),
        )
    })?;
    // Two objects for one topic.
    world.lab.apply("apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: rival, namespace: topics}\nspec: {nameServerRef: {name: main}, topicName: orders, queues: 2}\n")?;
    world.wait_condition(
        "topics",
        "topic/rival",
        "Stalled",
        "True",
        "older object orders",
    )?;
    world.kubectl("topics", &["delete", "topic", "rival", "--timeout=30s"])?;
    // A topic with messages is not deleted unless somebody says so.
    world.lab.apply("apiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: full, namespace: topics}\nspec: {nameServerRef: {name: main}, deletionPolicy: Delete}\n")?;
    world.wait_ready("topics", &["topic/full"])?;
    admin(world, &addresses, async |client| {
        client
            .wait_for_route("full", Duration::from_secs(30))
            .await?;
        client
            .producer()
            .send(Message::new("full", "precious"))
            .await
            .map(drop)
    })?;
    world.kubectl("topics", &["delete", "topic", "full", "--wait=false"])?;
    world.wait_condition(
        "topics",
        "topic/full",
        "Stalled",
        "True",
        "still holds 1 messages",
    )?;
    world.kubectl(
        "topics",
        &[
            "patch",
            "topic",
            "full",
            "--type=merge",
            "-p",
            r#"{"spec":{"deleteNonEmpty":true}}"#,
        ],
    )?;
    world.kubectl(
        "topics",
        &["wait", "--for=delete", "topic/full", "--timeout=60s"],
    )?;
    until(Duration::from_secs(30), || {
        let all = admin(world, &addresses, async |client| {
            client.admin().topics().await
        })?;
        demand(
            !all.iter().any(|topic| topic == "full"),
            "the topic is still there",
        )
    })?;
    // Handed back: the object goes, the topic stays.
    world.kubectl(
        "topics",
        &["annotate", "topic", "orders", "rmq.rs/managed=false"],
    )?;
    world.wait_condition("topics", "topic/orders", "Ready", "Unknown", "Unmanaged")?;
    world.kubectl("topics", &["delete", "topic", "orders", "--timeout=30s"])?;
    let all = admin(world, &addresses, async |client| {
        client.admin().topics().await
    })?;
    demand(
        all.iter().any(|topic| topic == "orders"),
        "the topic went with its object",
    )?;
    // A cluster that is made anew gets its settings again.
    world.kubectl(
        "topics",
        &["delete", "brokergroup", "a", "b", "--timeout=60s"],
    )?;
    world.lab.apply(&format!(
        "{}{}",
        group("topics", "a", ""),
        group("topics", "b", "")
    ))?;
    world.wait_ready("topics", &["brokergroup/a", "brokergroup/b"])?;
    until(Duration::from_secs(60), || {
        let groups = admin(world, &addresses, async |client| {
            client.admin().groups().await
        })?;
        demand(
            groups.iter().any(|group| group == "billing"),
            format!("the new brokers know {groups:?}"),
        )
    })?;
    world.discard("topics")
}

/// A third group takes messages; it goes when they were consumed.
fn group_added_and_drained(world: &World) -> Result<(), String> {
    start(world, "drain")?;
    let load = Load::start(world, "drain")?;
    world.lab.apply(&group("drain", "c", ""))?;
    world.wait_ready("drain", &["brokergroup/c"])?;
    load.goes_on(100)?;
    let addresses = outside(world, "drain")?;
    let on_c = || {
        let stats = admin(world, &addresses, async |client| {
            client.admin().topic_stats("orders").await
        })?;
        let of = stats
            .offset_table
            .0
            .iter()
            .filter(|(queue, _)| queue.broker_name == "c");
        Ok::<i64, String>(of.map(|(_, offset)| offset.max_offset).sum())
    };
    until(Duration::from_secs(90), || {
        demand(on_c()? > 20, "the new broker gets messages")
    })?;
    world.kubectl("drain", &["delete", "brokergroup", "c", "--timeout=120s"])?;
    load.goes_on(50)?;
    load.finish(world)?.expect_no_errors()?;
    // What nobody consumes holds a group until its time is over, or somebody says so.
    admin(world, &addresses, async |client| {
        client
            .admin()
            .create_group(&rmq_client::GroupSpec::new("lazy"))
            .await?;
        for id in 0..4 {
            let queue = Queue::new("orders", "b", id);
            client.admin().commit_offset("lazy", &queue, 0).await?;
        }
        Ok(())
    })?;
    world.kubectl("drain", &["delete", "brokergroup", "b", "--wait=false"])?;
    world.wait_condition("drain", "brokergroup/b", "Progressing", "True", "lazy")?;
    world.kubectl(
        "drain",
        &["annotate", "brokergroup", "b", "rmq.rs/skip-drain=true"],
    )?;
    world.kubectl(
        "drain",
        &["wait", "--for=delete", "brokergroup/b", "--timeout=60s"],
    )?;
    world.discard("drain")
}

/// The operator's processes are killed again and again while it restarts brokers.
fn operator_killed(world: &World) -> Result<(), String> {
    start(world, "killed")?;
    let load = Load::start(world, "killed")?;
    for name in ["a", "b"] {
        world.kubectl(
            "killed",
            &["annotate", "brokergroup", name, "rmq.rs/restart=now"],
        )?;
    }
    let before = restarts_of(world, "killed")?;
    for pause in [2, 7, 4] {
        std::thread::sleep(Duration::from_secs(pause));
        world.kubectl(
            SYSTEM,
            &[
                "delete",
                "pod",
                "-l",
                "app.kubernetes.io/name=rmq-operator",
                "--grace-period=0",
                "--force",
            ],
        )?;
    }
    watch_one_at_a_time(world, "killed")?;
    let after = restarts_of(world, "killed")?;
    demand(
        before
            .split(' ')
            .all(|pod| pod.is_empty() || !after.contains(pod)),
        format!("both brokers restart: {before} {after}"),
    )?;
    load.finish(world)?.expect_no_errors()?;
    let leases = world.get(SYSTEM, "lease/rmq-operator", ".spec.holderIdentity")?;
    demand(!leases.is_empty(), "somebody leads")?;
    world.discard("killed")
}

/// The API server is away in the middle of a restart; messages flow on.
fn api_server_restarted(world: &World) -> Result<(), String> {
    start(world, "api")?;
    let load = Load::start(world, "api")?;
    world.kubectl(
        "api",
        &["annotate", "brokergroup", "a", "rmq.rs/restart=now"],
    )?;
    world.wait_for("api", "brokergroup/a", ".status.rollout.step", |step| {
        !step.is_empty()
    })?;
    world.lab.restart_api_server(Duration::from_secs(5))?;
    load.goes_on(50)?;
    world.wait_settled("api", "brokergroup/a")?;
    load.finish(world)?.expect_no_errors()?;
    world.discard("api")
}

/// Each bad object says what is wrong and stops nobody else; corrected, it gets through.
fn bad_objects(world: &World) -> Result<(), String> {
    world.namespace("bad")?;
    let with = |name: &str, from: &str, to: &str| group("bad", name, "").replace(from, to);
    let image = "spec:\n  image: {reference: \"ghcr.io/rmq-rs/rmq:nowhere\", pullPolicy: Never}\n";
    let manifests = [
        with("image", "spec:\n", image),
        with("keys", "segmentBytes: 67108864", "segmentByte: 1, dataDir: /x"),
        with("range", "segmentBytes: 67108864", "segmentBytes: 7"),
        with("class", "{size: 1Gi,", "{size: 1Gi, storageClassName: nowhere,"),
        with("large", "cpu: 50m", "cpu: \"500\""),
        with("many", "spec:\n", "spec:\n  replicas: 3\n"),
        with("lost", "nameServerRef: {name: main}", "nameServerRef: {name: other}"),
        group("bad", "fine", ""),
        "---\napiVersion: rmq.rs/v1alpha1\nkind: NameServer\nmetadata: {name: main, namespace: bad}\nspec: {replicas: 1}\n".to_owned(),
    ];
    world.lab.apply(&manifests.concat())?;
    for (name, text) in [
        ("image", "correct spec.image.reference"),
        ("keys", "did you mean segmentBytes?"),
        ("range", "segment size 7"),
        ("class", "nowhere"),
        ("large", "has no node"),
        ("many", "ReplicationNotSupported"),
        ("lost", "there is no NameServer other"),
    ] {
        world.wait_condition(
            "bad",
            &format!("brokergroup/{name}"),
            "Stalled",
            "True",
            text,
        )?;
    }
    world.wait_ready("bad", &["brokergroup/fine"])?;
    // Corrected, they get through without any cleaning.
    world.lab.apply(
        &[
            group("bad", "keys", ""),
            group("bad", "range", ""),
            group("bad", "large", ""),
            group("bad", "many", ""),
        ]
        .concat(),
    )?;
    world.kubectl(
        "bad",
        &[
            "patch",
            "brokergroup",
            "image",
            "--type=merge",
            "-p",
            &format!(r#"{{"spec":{{"image":{{"reference":"{NEXT_IMAGE}"}}}}}}"#),
        ],
    )?;
    world.wait_ready(
        "bad",
        &[
            "brokergroup/keys",
            "brokergroup/range",
            "brokergroup/large",
            "brokergroup/image",
        ],
    )?;
    // A quota that is used up.
    world.lab.apply("apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none, namespace: bad}\nspec: {hard: {pods: \"1\"}}\n")?;
    world.lab.apply(&group("bad", "quota", ""))?;
    world.wait_condition(
        "bad",
        "brokergroup/quota",
        "Stalled",
        "True",
        "exceeded quota",
    )?;
    world.discard("bad")
}

/// A larger volume, with the broker running on.
fn volumes_grow(world: &World) -> Result<(), String> {
    start(world, "grow")?;
    let before = restarts_of(world, "grow")?;
    world.kubectl(
        "grow",
        &[
            "patch",
            "brokergroup",
            "a",
            "--type=merge",
            "-p",
            r#"{"spec":{"storage":{"size":"2Gi"}}}"#,
        ],
    )?;
    world.wait_for(
        "grow",
        "pvc/data-a-broker-0",
        ".status.capacity.storage",
        |size| size == "2Gi",
    )?;
    world.wait_for(
        "grow",
        "statefulset/a-broker",
        ".spec.volumeClaimTemplates[0].spec.resources.requests.storage",
        |size| size == "2Gi",
    )?;
    world.wait_settled("grow", "brokergroup/a")?;
    let after = restarts_of(world, "grow")?;
    demand(
        before == after,
        format!("brokers restarted: {before} {after}"),
    )?;
    world.discard("grow")
}

/// A node goes and does not come back: somebody says so, and the broker moves with its volume and every message.
fn node_lost(world: &World) -> Result<(), String> {
    start(world, "lost")?;
    let load = Load::start(world, "lost")?;
    let node = world.get("lost", "pod/a-broker-0", ".spec.nodeName")?;
    let number: u8 = node
        .trim_start_matches('n')
        .parse()
        .map_err(|_| format!("no node number: {node}"))?;
    load.finish(world)?;
    let addresses = outside(world, "lost")?;
    let stored = |addresses: &str| {
        let stats = admin(world, addresses, async |client| {
            client.admin().topic_stats("orders").await
        })?;
        let of = stats
            .offset_table
            .0
            .iter()
            .filter(|(queue, _)| queue.broker_name == "a");
        Ok::<i64, String>(of.map(|(_, offset)| offset.max_offset).sum())
    };
    let before = stored(&addresses)?;
    world.lab.kill_node(number)?;
    until(Duration::from_secs(90), || {
        let ready = world.lab.kubectl(&[
            "get",
            "node",
            &node,
            "-o",
            "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}",
        ])?;
        demand(ready != "True", "the node counts as ready")
    })?;
    world.lab.kubectl(&[
        "taint",
        "node",
        &node,
        "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute",
    ])?;
    world.wait_for("lost", "pod/a-broker-0", ".spec.nodeName", |now| {
        !now.is_empty() && now != node
    })?;
    world.wait_settled("lost", "brokergroup/a")?;
    let addresses = outside(world, "lost")?;
    let after = until(Duration::from_secs(60), || stored(&addresses))?;
    demand(
        after >= before,
        format!("{before} messages before, {after} after"),
    )?;
    // On again, for the tests that follow.
    world.lab.start_node(number)?;
    world.lab.kubectl(&[
        "taint",
        "node",
        &node,
        "node.kubernetes.io/out-of-service:NoExecute-",
    ])?;
    world.lab.kubectl(&[
        "wait",
        "--for=condition=Ready",
        &format!("node/{node}"),
        "--timeout=120s",
    ])?;
    world.discard("lost")
}

/// A whole namespace goes at once, whatever is in it.
fn namespace_goes(world: &World) -> Result<(), String> {
    start(world, "gone")?;
    let load = Load::start(world, "gone")?;
    world.kubectl(
        "gone",
        &[
            "patch",
            "topic",
            "orders",
            "--type=merge",
            "-p",
            r#"{"spec":{"deletionPolicy":"Delete"}}"#,
        ],
    )?;
    world.wait_for("gone", "topic/orders", ".metadata.finalizers", |value| {
        value.contains("rmq.rs/cleanup")
    })?;
    load.finish(world)?;
    world
        .lab
        .kubectl(&["delete", "namespace", "gone", "--timeout=60s"])
        .map(drop)
}
