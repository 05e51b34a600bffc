//! Clients in pods and outside.

use std::process::Command;
use std::time::Duration;

use rmq_client::{Client, Message};
use rmq_e2e::foreign;

use crate::world::{IMAGE, World, cluster, demand, group, outside};

/// The unmodified Java client and our own, by the external listeners; rmq-ctl in a pod, by the names of the pods.
pub(crate) fn java_and_rust(world: &World) -> Result<(), String> {
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
            IMAGE
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
