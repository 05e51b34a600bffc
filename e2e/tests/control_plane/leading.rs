//! Who of several operators acts, and where it may.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use rmq_crds::{BrokerGroup, NameServer};
use serde_json::json;

use crate::world::{Operator, Outcome, World, demand, group, name_server, text, until};

/// An operator as a process. It is killed when it is dropped.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(world: &World, namespace: &str, identity: &str, logs: &Path) -> Result<Self, String> {
        let log = logs.join(identity);
        let out = File::create(&log).map_err(text)?;
        let child = Command::new(rmq_e2e::process::binary("rmq-operator"))
            .args(["run", "--listen", "127.0.0.1:0", "--namespaces", namespace])
            .args(["--lease-namespace", namespace, "--identity", identity])
            .arg("--kubeconfig")
            .arg(world.plane.kubeconfig())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(out)
            .spawn()
            .map_err(text)?;
        Ok(Self { child, log })
    }

    /// Waits for its end; the code, and what it said last.
    async fn ended(&mut self) -> Result<(Option<i32>, String), String> {
        let status = until("the end of an operator", async || {
            let status = self.child.try_wait().map_err(text)?;
            status.ok_or_else(|| "it runs".to_owned())
        })
        .await?;
        let log = std::fs::read_to_string(&self.log).map_err(text)?;
        let last = log.lines().last().unwrap_or_default().to_owned();
        Ok((status.code(), last))
    }

    fn runs(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|ended| ended.is_none())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn wait_leader(world: &World, namespace: &str, identity: &str) -> Result<Lease, String> {
    let what = format!("{identity} leads");
    world
        .wait(namespace, "rmq-operator", &what, |lease: &Lease| {
            let spec = lease.spec.as_ref();
            spec.and_then(|spec| spec.holder_identity.as_deref()) == Some(identity)
        })
        .await
}

/// One acts and one waits; when the first is stopped, the other goes on at once.
pub(crate) fn one_of_two(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "two";
        let first = world.looked_after(namespace).await?;
        wait_leader(world, namespace, "first").await?;
        let second = Operator::start(world, namespace, "second", world.plane.kubeconfig());
        world.cluster(namespace).await?;
        let set: StatefulSet = world
            .wait(namespace, "a-broker", "the brokers", |_| true)
            .await?;
        let before = wait_leader(world, namespace, "first").await?;
        first.stop().await?;
        let after = wait_leader(world, namespace, "second").await?;
        let transitions = |lease: &Lease| {
            let spec = lease.spec.as_ref();
            spec.and_then(|spec| spec.lease_transitions).unwrap_or(0)
        };
        demand(
            transitions(&after) == transitions(&before) + 1,
            format!("the lease does not count: {after:?}"),
        )?;
        // It takes over what there is, and does not make it again.
        world
            .create::<BrokerGroup>(namespace, group("b", json!({})))
            .await?;
        world
            .wait::<StatefulSet>(namespace, "b-broker", "more brokers", |_| true)
            .await?;
        let same = world.api::<StatefulSet>(namespace).get("a-broker").await;
        demand(
            same.map_err(text)?.metadata.uid == set.metadata.uid,
            "the second operator made a StatefulSet again",
        )?;
        second.stop().await
    })
}

/// Killed, it says nothing: the other takes over when the lease was not renewed for its whole duration.
pub(crate) fn killed(world: &World) -> Outcome {
    let logs = tempfile::tempdir().map_err(text)?;
    world.runtime.block_on(async {
        let namespace = "killed";
        world.namespace(namespace).await?;
        let first = Process::start(world, namespace, "first", logs.path())?;
        wait_leader(world, namespace, "first").await?;
        let mut second = Process::start(world, namespace, "second", logs.path())?;
        world
            .create::<NameServer>(namespace, name_server("main"))
            .await?;
        world
            .wait::<StatefulSet>(namespace, "main-namesrv", "the name servers", |_| true)
            .await?;
        drop(first);
        wait_leader(world, namespace, "second").await?;
        world
            .create::<BrokerGroup>(namespace, group("a", json!({})))
            .await?;
        world
            .wait::<StatefulSet>(namespace, "a-broker", "the brokers", |_| true)
            .await?;
        demand(second.runs(), "the second operator ended")
    })
}

/// The first signal ends an operator gently: it gives up the lease. With a second one it ends at once.
pub(crate) fn signals(world: &World) -> Outcome {
    use rustix::process::{Pid, Signal, kill_process};
    let logs = tempfile::tempdir().map_err(text)?;
    world.runtime.block_on(async {
        let namespace = "signals";
        world.namespace(namespace).await?;
        for (identity, signal) in [("first", Signal::TERM), ("second", Signal::INT)] {
            let mut process = Process::start(world, namespace, identity, logs.path())?;
            wait_leader(world, namespace, identity).await?;
            kill_process(Pid::from_child(&process.child), signal).map_err(text)?;
            let (code, said) = process.ended().await?;
            let log = std::fs::read_to_string(&process.log).map_err(text)?;
            demand(
                code == Some(0) && log.contains("a second signal stops at once"),
                format!("it ended with {code:?}: {said}"),
            )?;
            demand(!log.contains('\u{1b}'), "colour codes in a file")?;
            let lease = world.api::<Lease>(namespace).get("rmq-operator").await;
            let holder = lease
                .map_err(text)?
                .spec
                .and_then(|spec| spec.holder_identity);
            demand(
                holder.as_deref().is_none_or(str::is_empty),
                format!("the lease is {holder:?}'s"),
            )?;
        }
        let mut process = Process::start(world, namespace, "third", logs.path())?;
        wait_leader(world, namespace, "third").await?;
        // Both come at once: it is asleep until then.
        let pid = Pid::from_child(&process.child);
        for signal in [Signal::STOP, Signal::TERM, Signal::INT, Signal::CONT] {
            kill_process(pid, signal).map_err(text)?;
        }
        let (code, said) = process.ended().await?;
        demand(
            matches!(code, Some(130 | 143)),
            format!("it ended with {code:?}: {said}"),
        )
    })
}

/// Somebody else holds the lease: who held it ends its process and says why.
pub(crate) fn lease_is_lost(world: &World) -> Outcome {
    let logs = tempfile::tempdir().map_err(text)?;
    world.runtime.block_on(async {
        let namespace = "lost";
        world.namespace(namespace).await?;
        let mut first = Process::start(world, namespace, "first", logs.path())?;
        wait_leader(world, namespace, "first").await?;
        let leases = world.api::<Lease>(namespace);
        let taken = json!({"spec": {"holderIdentity": "somebody else"}});
        leases
            .patch(
                "rmq-operator",
                &PatchParams::default(),
                &Patch::Merge(&taken),
            )
            .await
            .map_err(text)?;
        let (code, said) = first.ended().await?;
        demand(
            code == Some(1) && said.contains("another process has taken the lease"),
            format!("it ended with {code:?}: {said}"),
        )?;
        let kept = leases.get("rmq-operator").await.map_err(text)?;
        let holder = kept.spec.and_then(|spec| spec.holder_identity);
        demand(
            holder.as_deref() == Some("somebody else"),
            format!("the lease is {holder:?}'s"),
        )
    })
}

/// With the rights of the chart for one namespace, it does its work there and nothing elsewhere.
pub(crate) fn namespaces_and_rights(world: &World) -> Outcome {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/rmq-operator");
    let mut helm = world.plane.tool("helm");
    helm.args(["template", "rmq-operator"])
        .arg(chart)
        .args([
            "--namespace",
            "rights-system",
            "--set",
            "watchNamespaces={rights}",
        ])
        .args([
            "--kube-version",
            "v1.34.10",
            "--show-only",
            "templates/rbac.yaml",
        ]);
    let rights = helm.output().map_err(text)?;
    demand(
        rights.status.success(),
        String::from_utf8_lossy(&rights.stderr),
    )?;
    world.runtime.block_on(async {
        for namespace in ["rights", "rights-elsewhere", "rights-system"] {
            world.namespace(namespace).await?;
        }
        let mut kubectl = world.plane.tool("kubectl");
        kubectl
            .args(["apply", "--server-side", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut child = kubectl.spawn().map_err(text)?;
        if let Some(mut stdin) = child.stdin.take() {
            std::io::Write::write_all(&mut stdin, &rights.stdout).map_err(text)?;
        }
        demand(
            child.wait().map_err(text)?.success(),
            "the rights of the chart are refused",
        )?;
        let account = "system:serviceaccount:rights-system:rmq-operator";
        let kubeconfig = world.plane.kubeconfig_as(account)?;
        let operator = Operator::with_rights(world, "rights", "rights-system", kubeconfig);
        for namespace in ["rights", "rights-elsewhere"] {
            world.cluster(namespace).await?;
        }
        world
            .wait::<StatefulSet>("rights", "a-broker", "the brokers", |_| true)
            .await?;
        // All of its rights: statuses, events, finalizers, deletion.
        world
            .wait_condition::<BrokerGroup>("rights", "a", ["Progressing", "True", "Starting", ""])
            .await?;
        let skip = json!({"metadata": {"annotations": {"rmq.rs/skip-drain": "true"}}});
        world.merge::<BrokerGroup>("rights", "a", skip).await?;
        world
            .api::<BrokerGroup>("rights")
            .delete("a", &Default::default())
            .await
            .map_err(text)?;
        world.wait_gone::<BrokerGroup>("rights", "a").await?;
        let elsewhere = world
            .api::<NameServer>("rights-elsewhere")
            .get("main")
            .await
            .map_err(text)?;
        let sets = world.api::<StatefulSet>("rights-elsewhere");
        let sets = sets.list(&Default::default()).await.map_err(text)?;
        demand(
            elsewhere.status.is_none() && sets.items.is_empty(),
            "it touched another namespace",
        )?;
        operator.stop().await
    })
}
