//! Clients in pods and outside.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rmq_client::{Client, Message};
use rmq_e2e::foreign;

use crate::images;
use crate::world::{IMAGE, World, demand, group, outside, until};

/// Scenarios of the Java program that send and receive.
const JAVA: [&str; 2] = ["send_sync", "push_concurrent"];
/// Where the brokers of this scenario run, so that their external addresses are known.
const NODE: u8 = 2;

/// The unmodified Java client, our client crate and rmq-ctl: in pods by the names of the pods, then from outside by external listeners of
/// each type.
pub(crate) fn in_pods_and_outside(world: &World) -> Result<(), String> {
    let java = foreign::build_dir("java")?;
    foreign::maven("java", &java)?;
    world.namespace("clients")?;
    let topic = |name: &str| {
        format!(
            "---\napiVersion: rmq.rs/v1alpha1\nkind: Topic\nmetadata: {{name: {name}, namespace: clients}}\nspec: {{nameServerRef: {{name: main}}}}\n"
        )
    };
    world.lab.apply(
        &[
            "apiVersion: rmq.rs/v1alpha1\nkind: NameServer\nmetadata: {name: main, namespace: clients}\nspec: {}\n".to_owned(),
            topic("orders"),
            topic("bills"),
            // One: the Java program looks at clusters with one broker.
            group("clients", "a", &format!("  pod: {{nodeSelector: {{kubernetes.io/hostname: n{NODE}}}}}\n"))
                .replace("  listeners: {external: {type: NodePort}}\n", ""),
        ]
        .concat(),
    )?;
    world.wait_ready("clients", &["brokergroup/a", "topic/orders", "topic/bills"])?;
    in_pods(world, &java)?;
    world.kubectl(
        "clients",
        &[
            "patch",
            "nameserver",
            "main",
            "--type=merge",
            "-p",
            r#"{"spec":{"externalListener":{"type":"NodePort"}}}"#,
        ],
    )?;
    listener(world, r#"{"type":"NodePort"}"#)?;
    world.wait_settled("clients", "brokergroup/a")?;
    let name_servers = outside(world, "clients")?;
    our_own(world, &name_servers)?;
    let mut command = Command::new("java");
    command
        .args(["-Xmx256m", "-cp"])
        .arg(format!("{0}/compat.jar:{0}/lib/*", java.display()))
        .args(["rmq.compat.Main", &name_servers])
        .args(JAVA);
    let outcomes = foreign::run(&mut command, Duration::from_secs(180))?;
    for name in JAVA {
        match outcomes.get(name) {
            Some(Ok(())) => {}
            other => return Err(format!("java {name} from outside: {other:?}")),
        }
    }
    load_balancer(world, &name_servers)?;
    host_port(world, &name_servers)?;
    world.discard("clients")
}

/// Another external listener for the brokers.
fn listener(world: &World, external: &str) -> Result<(), String> {
    let patch =
        format!(r#"[{{"op":"add","path":"/spec/listeners","value":{{"external":{external}}}}}]"#);
    world
        .kubectl(
            "clients",
            &["patch", "brokergroup", "a", "--type=json", "-p", &patch],
        )
        .map(drop)
}

fn in_pods(world: &World, java: &Path) -> Result<(), String> {
    // All on one node, which alone gets the images.
    for archive in [images::java(java)?, images::service()?] {
        world.lab.import_image(1, &archive)?;
    }
    let name_servers = world.get("clients", "nameserver/main", ".status.addresses")?;
    let pod = |name: &str, image: &str, command: &[&str]| {
        world.lab.apply(&format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: clients}}
spec:
  nodeName: n1
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext: {{runAsNonRoot: true, runAsUser: 10001, seccompProfile: {{type: RuntimeDefault}}}}
  volumes: [{{name: tmp, emptyDir: {{}}}}]
  containers:
  - name: client
    image: {image}
    imagePullPolicy: Never
    command: {command:?}
    env: [{{name: NAMESRV_ADDR, value: \"{name_servers}\"}}, {{name: HOME, value: /tmp}}]
    volumeMounts: [{{name: tmp, mountPath: /tmp}}]
    securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
"
        ))
    };
    let ended = |name: &str| {
        let phase = world.wait_for(
            "clients",
            &format!("pod/{name}"),
            ".status.phase",
            |phase| phase == "Succeeded" || phase == "Failed",
        )?;
        let said = world.kubectl("clients", &["logs", name])?;
        demand(phase == "Succeeded", format!("{name}: {phase}: {said}"))?;
        Ok::<_, String>(said)
    };
    let mut arguments = vec![
        "/java/bin/java",
        "-Xmx256m",
        "-Duser.home=/tmp",
        "-cp",
        "/app/compat.jar:/app/lib/*",
        "rmq.compat.Main",
        &name_servers,
    ];
    arguments.extend(JAVA);
    pod("java", images::JAVA, &arguments)?;
    // It bills every order: it receives and sends.
    pod("first-service", images::SERVICE, &["first-service"])?;
    // It begins with what comes after it.
    pod(
        "waiter",
        IMAGE,
        &["rmq-ctl", "wait", "group/billing", "--for", "members=1"],
    )?;
    ended("waiter")?;
    pod(
        "sender",
        IMAGE,
        &["rmq-ctl", "send", "orders", "from a pod"],
    )?;
    ended("sender")?;
    pod(
        "reader",
        IMAGE,
        &[
            "rmq-ctl", "tail", "bills", "--since", "1h", "--follow", "--max", "1",
        ],
    )?;
    let bill = ended("reader")?;
    demand(
        bill.contains("bill for from a pod"),
        format!("the service sends: {bill}"),
    )?;
    let said = ended("java")?;
    for name in JAVA {
        demand(
            said.lines().any(|line| line == format!("ok {name}")),
            format!("java {name} in a pod: {said}"),
        )?;
    }
    world.kubectl(
        "clients",
        &["delete", "pod", "first-service", "--wait=false"],
    )?;
    Ok(())
}

/// Our own client, from outside.
fn our_own(world: &World, name_servers: &str) -> Result<(), String> {
    // A node takes a moment to forward a port that it did not have.
    until(Duration::from_secs(30), || {
        let sent = world.runtime.block_on(async {
            let client = Client::connect(name_servers).await?;
            client
                .wait_for_route("orders", Duration::from_secs(30))
                .await?;
            let sent = client
                .producer()
                .send(Message::new("orders", "from outside"))
                .await;
            client.shutdown().await;
            sent
        });
        sent.map(drop).map_err(|error| error.to_string())
    })
}

/// Nothing of the lab gives addresses to load balancers; this does what a cloud's controller does.
fn load_balancer(world: &World, name_servers: &str) -> Result<(), String> {
    listener(world, r#"{"type":"LoadBalancer"}"#)?;
    world.wait_condition(
        "clients",
        "brokergroup/a",
        "Progressing",
        "True",
        "a-broker-external has no port or address yet",
    )?;
    let node = world.lab.address(NODE);
    world.kubectl(
        "clients",
        &[
            "patch",
            "service",
            "a-broker-external",
            "--subresource=status",
            "--type=merge",
            "-p",
            &format!(r#"{{"status":{{"loadBalancer":{{"ingress":[{{"ip":"{node}"}}]}}}}}}"#),
        ],
    )?;
    world.wait_settled("clients", "brokergroup/a")?;
    told(world, &format!("{node}:10911"))?;
    our_own(world, name_servers)
}

/// Pod Security "restricted" has no ports of the node: it says so, and where they are allowed it works.
fn host_port(world: &World, name_servers: &str) -> Result<(), String> {
    listener(world, r#"{"type":"HostPort","hostPort":31911}"#)?;
    world.wait_condition("clients", "brokergroup/a", "Stalled", "True", "hostPort")?;
    world.lab.kubectl(&[
        "label",
        "namespace",
        "clients",
        "pod-security.kubernetes.io/enforce=privileged",
        "--overwrite",
    ])?;
    world.wait_settled("clients", "brokergroup/a")?;
    told(world, &format!("{}:31911", world.lab.address(NODE)))?;
    our_own(world, name_servers)
}

/// What clients are told must be this.
fn told(world: &World, wanted: &str) -> Result<(), String> {
    let address = world.get("clients", "brokergroup/a", ".status.address")?;
    demand(
        address == wanted,
        format!("clients are told {address}, not {wanted}"),
    )
}
