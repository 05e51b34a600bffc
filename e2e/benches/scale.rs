//! How the operator does with 1,000 broker groups: a real API server and controller-manager, and no nodes. The bench plays kubelet and
//! volume binder: it reports pods ready and claims bound. Brokers do not answer, as there are none.
//!
//! With `--replicas 3` each group has an election, which the bench ends once as its brokers would. Before that, three real brokers elect a
//! master in the same API server, and what they ask of it when nothing happens is counted: brokers of other groups ask as much.
//!
//! `cargo bench -p rmq-e2e --bench scale -- [--groups 1000] [--namespaces 100] [--replicas 1] [--seconds 360]`
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program talks to its terminal"
)]

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::object::HasStatus;
use kube::{Api, Client, Resource, ResourceExt};
use rmq_crds::{BrokerGroup, BrokerGroupElection, Condition, NameServer};
use rmq_lab::ControlPlane;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Requests of the bench at the same time.
const AT_ONCE: usize = 32;
/// Longest wait for a phase.
const WITHIN: Duration = Duration::from_secs(900);
/// The operator has settled when it wrote nothing for this long.
const QUIET: Duration = Duration::from_secs(30);

/// For so long the requests of three brokers are counted.
const ELECTED_FOR: Duration = Duration::from_secs(60);

struct Sizes {
    groups: usize,
    namespaces: usize,
    replicas: usize,
    seconds: u64,
}

fn main() -> ExitCode {
    match sizes().and_then(|sizes| run(&sizes)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn sizes() -> Result<Sizes, String> {
    let mut sizes = Sizes {
        groups: 1_000,
        namespaces: 100,
        replicas: 1,
        seconds: 360,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        // cargo adds it.
        if arg == "--bench" {
            continue;
        }
        let value = args.next().and_then(|value| value.parse::<usize>().ok());
        let value = value.ok_or_else(|| format!("{arg} needs a number"))?;
        match arg.as_str() {
            "--groups" => sizes.groups = value,
            "--namespaces" => sizes.namespaces = value.max(1),
            "--replicas" => sizes.replicas = value.clamp(1, 5),
            "--seconds" => sizes.seconds = u64::try_from(value).unwrap_or(360),
            _ => return Err(format!("{arg} is no option")),
        }
    }
    Ok(sizes)
}

fn run(sizes: &Sizes) -> Result<bool, String> {
    if let Some(why) = rmq_lab::missing_for_control_plane() {
        return Err(why);
    }
    let mut plane = ControlPlane::start()?;
    plane.run_controllers(&[
        "statefulset-controller",
        "garbage-collector-controller",
        "disruption-controller",
        "endpointslice-controller",
    ])?;
    let runtime = tokio::runtime::Runtime::new().map_err(text)?;
    runtime.block_on(measure(&plane, sizes))
}

async fn measure(plane: &ControlPlane, sizes: &Sizes) -> Result<bool, String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = connect(plane.kubeconfig()).await?;
    install(&client).await?;
    let mut audit = Audit::new(plane.audit_log());
    if sizes.replicas > 1 {
        let requests = quiet_group(plane, &client, &mut audit).await?;
        println!(
            "requests of three quiet brokers in {} s: {requests:?}",
            ELECTED_FOR.as_secs()
        );
    }
    let children = || count_children(&client);
    let before = children().await?;
    make_objects(&client, sizes).await?;
    println!(
        "{} BrokerGroup objects of {} replicas and {} NameServer objects in {} namespaces",
        sizes.groups, sizes.replicas, sizes.namespaces, sizes.namespaces
    );

    let operator = Operator::start(plane)?;
    let started = Instant::now();
    let nodes = tokio::spawn(be_the_nodes(client.clone()));
    // A StatefulSet, a ConfigMap and a headless Service for each; a group with replicas has a Service for its master and one for the others.
    let services = if sizes.replicas > 1 { 2 } else { 0 };
    let wanted = before + 3 * (sizes.groups + sizes.namespaces) + services * sizes.groups;
    wait("all children", || async {
        let has = children().await?;
        demand(
            has >= wanted,
            format!("{} of {}", has - before, wanted - before),
        )
    })
    .await?;
    let all_children = started.elapsed();
    wait("all pods ready", || async {
        let ready = ready(&client).await?;
        let all = sizes.groups + sizes.namespaces;
        demand(ready == all, format!("{ready} of {all} objects are ready"))
    })
    .await?;
    let all_ready = started.elapsed();
    let creation = operator.durations()?;
    audit.read()?;
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < QUIET {
        if started.elapsed() > WITHIN * 2 {
            return Err(format!("the operator goes on writing: {:?}", audit.read()?));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = without_leases(audit.read()?);
        if now.iter().any(|(what, _)| is_write(what)) {
            quiet_since = Instant::now();
        }
    }
    let settled = started.elapsed() - QUIET;

    let (first, from) = (operator.durations()?, Instant::now());
    audit.read()?;
    let mut peak = 0;
    let mut requests = BTreeMap::<String, u64>::new();
    while from.elapsed() < Duration::from_secs(sizes.seconds) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        peak = peak.max(operator.memory("VmRSS")?);
        for (what, count) in without_leases(audit.read()?) {
            *requests.entry(what).or_default() += count;
        }
    }
    let window = operator.durations()?.since(&first);
    nodes.abort();

    let objects = sizes.groups + sizes.namespaces;
    let writes: u64 = requests
        .iter()
        .filter(|(what, _)| is_write(what))
        .map(|(_, count)| count)
        .sum();
    let others: u64 = requests
        .iter()
        .filter(|(what, _)| is_read(what))
        .map(|(_, count)| count)
        .sum();
    let per_object = others as f64 / objects as f64 * 300.0 / sizes.seconds as f64;
    let mut is_met = true;
    let mut row = |what: &str, bound: &str, value: String, holds: bool| {
        is_met &= holds;
        println!(
            "| {what} | {bound} | {value}{} |",
            if holds { "" } else { ", NOT MET" }
        );
    };
    println!("\n| figure | bound | measured |\n| --- | --- | --- |");
    row(
        "all children made",
        "",
        format!("{:.1} s", all_children.as_secs_f64()),
        true,
    );
    row(
        "all objects ready (pods reported by the bench)",
        "",
        format!("{:.1} s", all_ready.as_secs_f64()),
        true,
    );
    row(
        "last write after the start",
        "",
        format!("{:.0} s", settled.as_secs_f64()),
        true,
    );
    row(
        "looks while they were made: number, p99",
        "",
        format!("{}, {}", creation.count(), creation.quantile(0.99)),
        true,
    );
    row(
        "writes in steady state",
        "0",
        format!("{writes} in {} s", sizes.seconds),
        writes == 0,
    );
    row(
        "requests per object and 5 minutes",
        "1",
        format!("{per_object:.3}"),
        per_object <= 1.0,
    );
    row(
        "looks in steady state",
        "",
        format!("{}", window.count()),
        window.count() > 0,
    );
    row(
        "p99 of a look",
        "50 ms",
        window.quantile(0.99).clone(),
        window.share(0.05) >= 0.99,
    );
    row(
        "memory, highest in steady state",
        "100 MiB",
        format!("{} MiB", peak >> 10),
        peak <= 100 << 10,
    );
    row(
        "memory, highest ever",
        "",
        format!("{} MiB", operator.memory("VmHWM")? >> 10),
        true,
    );
    println!("\nrequests in steady state (the lease that it renews apart): {requests:?}");
    Ok(is_met)
}

fn is_write(what: &str) -> bool {
    ["create", "update", "patch", "delete"]
        .iter()
        .any(|verb| what.starts_with(verb))
}

/// A watch is one connection for minutes.
fn is_read(what: &str) -> bool {
    !is_write(what) && !what.starts_with("watch")
}

/// Name servers and broker groups, evenly over the namespaces.
async fn make_objects(client: &Client, sizes: &Sizes) -> Result<(), String> {
    let namespaces: Vec<String> = (0..sizes.namespaces)
        .map(|index| format!("shop-{index}"))
        .collect();
    each(namespaces.clone(), |namespace| async move {
        let object = json!({"metadata": {"name": namespace}});
        let api: Api<Namespace> = Api::all(client.clone());
        let object = serde_json::from_value(object).map_err(text)?;
        api.create(&PostParams::default(), &object)
            .await
            .map_err(text)?;
        let object = json!({"metadata": {"name": "main"}, "spec": {}});
        create::<NameServer>(client, &namespace, object).await
    })
    .await?;
    let groups =
        (0..sizes.groups).map(|index| (namespaces[index % namespaces.len()].clone(), index));
    each(
        groups.collect(),
        |(namespace, index): (String, usize)| async move {
            let object = json!({
                "metadata": {"name": format!("group-{index}")},
                "spec": {"nameServerRef": {"name": "main"}, "storage": {"size": "20Gi"}, "replicas": sizes.replicas},
            });
            create::<BrokerGroup>(client, &namespace, object).await
        },
    )
    .await
}

async fn create<K>(client: &Client, namespace: &str, object: Value) -> Result<(), String>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let mut object = object;
    object["apiVersion"] = json!(K::api_version(&()));
    object["kind"] = json!(K::kind(&()));
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let object = serde_json::from_value(object).map_err(text)?;
    api.create(&PostParams::default(), &object)
        .await
        .map(drop)
        .map_err(text)
}

async fn each<T, F: Future<Output = Result<(), String>>>(
    items: Vec<T>,
    run: impl Fn(T) -> F,
) -> Result<(), String> {
    let mut all = stream::iter(items.into_iter().map(run)).buffer_unordered(AT_ONCE);
    while let Some(outcome) = all.next().await {
        outcome?;
    }
    Ok(())
}

/// Reports pods ready, claims bound and masters elected, as they come.
async fn be_the_nodes(client: Client) {
    loop {
        // The next round tries again what did not go.
        let _ = report_pods(&client).await;
        let _ = report_claims(&client).await;
        let _ = report_elections(&client).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn report_pods(client: &Client) -> Result<(), String> {
    let all: Api<Pod> = Api::all(client.clone());
    let waiting = ListParams::default()
        .fields("status.phase=Pending")
        .limit(500);
    let waiting = all.list(&waiting).await.map_err(text)?;
    each(waiting.items, |pod| async move {
        let now = jiff_now();
        let condition = |type_: &str| json!({"type": type_, "status": "True", "lastTransitionTime": now});
        let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let containers: Vec<Value> = containers
            .iter()
            .map(|container| {
                json!({
                    "name": container.name, "image": container.image, "imageID": "sha256:0", "containerID": "containerd://0",
                    "ready": true, "started": true, "restartCount": 0, "state": {"running": {"startedAt": now}},
                })
            })
            .collect();
        let conditions: Vec<Value> = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition).into();
        let status = json!({"status": {
            "phase": "Running", "hostIP": "10.0.0.1", "podIP": "10.1.0.1", "startTime": now,
            "conditions": conditions, "containerStatuses": containers,
        }});
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let patched = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(&status)).await;
        patched.map(drop).map_err(text)
    })
    .await
}

async fn report_claims(client: &Client) -> Result<(), String> {
    let all: Api<PersistentVolumeClaim> = Api::all(client.clone());
    let claims = all.list(&ListParams::default()).await.map_err(text)?;
    let is_bound = |claim: &PersistentVolumeClaim| {
        let status = claim.status.as_ref();
        status.and_then(|status| status.phase.as_deref()) == Some("Bound")
    };
    let waiting = claims.items.into_iter().filter(|claim| !is_bound(claim));
    each(waiting.collect(), |claim| async move {
        let status = json!({"status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "20Gi"}}});
        let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &claim.namespace().unwrap_or_default());
        let patched = api.patch_status(&claim.name_any(), &PatchParams::default(), &Patch::Merge(&status)).await;
        patched.map(drop).map_err(text)
    })
    .await
}

async fn report_elections(client: &Client) -> Result<(), String> {
    let all: Api<BrokerGroupElection> = Api::all(client.clone());
    let elections = all.list(&ListParams::default()).await.map_err(text)?;
    let waiting = elections
        .items
        .into_iter()
        .filter(|election| election.status.is_none());
    each(waiting.collect(), |election| async move {
        let seat = |slot: i64| json!({"slot": slot, "incarnation": format!("{:032x}", slot + 1)});
        let slots = election.spec.members.iter().map(|member| member.slot);
        let in_sync: Vec<Value> = slots.map(seat).collect();
        let Some(master) = in_sync.first().cloned() else {
            return Ok(());
        };
        let term = json!({"epoch": 1, "master": master, "start": 0, "reason": "First"});
        let status = json!({"status": {
            "phase": "Stable", "epoch": 1, "master": master, "inSync": in_sync, "inSyncVersion": 1, "history": [term],
        }});
        let namespace = election.namespace().unwrap_or_default();
        let api: Api<BrokerGroupElection> = Api::namespaced(client.clone(), &namespace);
        let (name, params) = (election.name_any(), PatchParams::default());
        let patched = api.patch_status(&name, &params, &Patch::Merge(&status)).await;
        patched.map(drop).map_err(text)
    })
    .await
}

fn jiff_now() -> String {
    k8s_openapi::jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// StatefulSets, ConfigMaps and Services that there are.
async fn count_children(client: &Client) -> Result<usize, String> {
    Ok(count::<StatefulSet>(client).await?
        + count::<ConfigMap>(client).await?
        + count::<Service>(client).await?)
}

/// How many there are, without reading them.
async fn count<K>(client: &Client) -> Result<usize, String>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::all(client.clone());
    let one = api
        .list_metadata(&ListParams::default().limit(1))
        .await
        .map_err(text)?;
    let rest = one.metadata.remaining_item_count.unwrap_or(0);
    Ok(one.items.len() + usize::try_from(rest).unwrap_or(0))
}

/// Objects of ours that say that they are ready.
async fn ready(client: &Client) -> Result<usize, String> {
    Ok(ready_of::<NameServer>(client).await? + ready_of::<BrokerGroup>(client).await?)
}

async fn ready_of<K>(client: &Client) -> Result<usize, String>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + HasStatus<Status: Serialize>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::all(client.clone());
    let all = api.list(&ListParams::default()).await.map_err(text)?;
    let is_ready = |object: &&K| {
        let status = serde_json::to_value(object.status()).unwrap_or_default();
        let conditions: Vec<Condition> =
            serde_json::from_value(status["conditions"].clone()).unwrap_or_default();
        conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    Ok(all.items.iter().filter(is_ready).count())
}

/// The operator as a process of its own.
struct Operator {
    process: Process,
    port: u16,
}

impl Operator {
    fn start(plane: &ControlPlane) -> Result<Self, String> {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(text)?
            .port();
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scale-operator.log");
        let mut command = Command::new(rmq_e2e::process::binary("rmq-operator"));
        command
            .args(["run", "--lease-namespace", "default"])
            .args(["--listen", &format!("127.0.0.1:{port}"), "--kubeconfig"])
            .arg(plane.audited_kubeconfig())
            .stderr(File::create(&log).map_err(text)?);
        let process = Process::start(&mut command)?;
        println!("the operator's log is {}", log.display());
        Ok(Self { process, port })
    }

    /// A figure of the process, KiB.
    fn memory(&self, name: &str) -> Result<u64, String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))
            .map_err(text)?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        value.ok_or_else(|| format!("the operator has ended, or has no {name}"))
    }

    /// How long looks took since it was started.
    fn durations(&self) -> Result<Histogram, String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(text)?;
        stream
            .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
            .map_err(text)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(text)?;
        Ok(Histogram::of(&answer))
    }
}

/// How many looks took at most how many seconds, all kinds together.
#[derive(Default)]
struct Histogram(Vec<(f64, u64)>);

impl Histogram {
    fn of(metrics: &str) -> Self {
        let mut histogram = Self::default();
        for line in metrics.lines() {
            let Some(rest) = line.strip_prefix("rmq_operator_reconcile_duration_seconds_bucket{")
            else {
                continue;
            };
            let bound = rest
                .split("le=\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            let bound = match bound {
                Some("+Inf") => f64::INFINITY,
                Some(bound) => bound.parse().unwrap_or(f64::INFINITY),
                None => continue,
            };
            let count = rest
                .rsplit(' ')
                .next()
                .and_then(|count| count.parse::<u64>().ok())
                .unwrap_or(0);
            match histogram.0.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, known)) => *known += count,
                None => histogram.0.push((bound, count)),
            }
        }
        histogram
            .0
            .sort_by(|(one, _), (other, _)| one.total_cmp(other));
        histogram
    }

    fn since(&self, before: &Self) -> Self {
        let of = |bound: f64| {
            before
                .0
                .iter()
                .find(|(known, _)| *known == bound)
                .map_or(0, |(_, count)| *count)
        };
        Self(
            self.0
                .iter()
                .map(|(bound, count)| (*bound, count - of(*bound)))
                .collect(),
        )
    }

    fn count(&self) -> u64 {
        self.0.last().map_or(0, |(_, count)| *count)
    }

    /// The share that took at most this long.
    fn share(&self, seconds: f64) -> f64 {
        let within = self
            .0
            .iter()
            .rev()
            .find(|(bound, _)| *bound <= seconds)
            .map_or(0, |(_, count)| *count);
        within as f64 / self.count().max(1) as f64
    }

    /// The bound that this share stays below.
    fn quantile(&self, share: f64) -> String {
        let enough = |(_, count): &&(f64, u64)| *count as f64 >= share * self.count() as f64;
        let bound = self
            .0
            .iter()
            .find(enough)
            .map_or(f64::INFINITY, |(bound, _)| *bound);
        format!("≤ {} ms", bound * 1_000.0)
    }
}

/// What the operator asked the API server, read as it is written.
struct Audit {
    path: PathBuf,
    at: u64,
    rest: String,
}

impl Audit {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            at: 0,
            rest: String::new(),
        }
    }

    /// Requests since the last call: verb and resource, and how many.
    fn read(&mut self) -> Result<BTreeMap<String, u64>, String> {
        let mut file = File::open(&self.path).map_err(text)?;
        file.seek(SeekFrom::Start(self.at)).map_err(text)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(text)?;
        self.at += bytes.len() as u64;
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        let whole = self.rest.rfind('\n').map_or(0, |end| end + 1);
        let lines: String = self.rest.drain(..whole).collect();
        let mut requests = BTreeMap::new();
        for line in lines.lines() {
            let entry: Value = serde_json::from_str(line).map_err(text)?;
            let of = |path: &str| {
                entry
                    .pointer(path)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            // A watch is told twice: when it begins and when it ends.
            if of("/verb") == "watch" && of("/stage") == "ResponseComplete" {
                continue;
            }
            let resource = of("/objectRef/resource");
            *requests
                .entry(format!("{} {resource}", of("/verb")))
                .or_default() += 1;
        }
        Ok(requests)
    }
}

/// The operator renews its lease all the time.
fn without_leases(mut requests: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    requests.retain(|what, _| !what.ends_with(" leases"));
    requests
}

/// A port whose neighbour is free too: members copy from there.
fn ports() -> Result<u16, String> {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0").map_err(text)?;
        let port = first.local_addr().map_err(text)?.port();
        let next = port.checked_add(1).map(|next| ("127.0.0.1", next));
        if next.is_some_and(|next| TcpListener::bind(next).is_ok()) {
            return Ok(port);
        }
    }
    Err("there are no two free ports side by side".to_owned())
}

/// Three real brokers elect a master; what they ask of the API server when nothing happens.
async fn quiet_group(
    plane: &ControlPlane,
    client: &Client,
    audit: &mut Audit,
) -> Result<BTreeMap<String, u64>, String> {
    let name = "bench-broker";
    let ports = [ports()?, ports()?, ports()?];
    let members: Vec<Value> = (0..)
        .zip(ports)
        .map(|(slot, port): (u8, u16)| {
            let client = format!("127.0.0.1:{port}");
            json!({"slot": slot, "replication": format!("127.0.0.1:{}", port + 1), "client": client})
        })
        .collect();
    let spec = json!({"members": members, "ackMode": "inSync", "minInSync": 2});
    let election = json!({"metadata": {"name": name}, "spec": spec});
    create::<BrokerGroupElection>(client, "default", election).await?;
    let home = tempfile::tempdir().map_err(text)?;
    let mut brokers = Vec::new();
    for (slot, port) in (0..).zip(ports) {
        let mut command = Command::new(rmq_e2e::process::binary("rmq-broker"));
        command
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--management", "", "--data"])
            .arg(home.path().join(format!("{slot}")))
            .env("KUBECONFIG", plane.audited_kubeconfig());
        for setting in [
            "brokerName=bench".to_owned(),
            format!("brokerId={slot}"),
            "advertise=127.0.0.1".to_owned(),
            "nameServers=127.0.0.1:1".to_owned(),
            "fastPort=false".to_owned(),
            "election=kubernetes".to_owned(),
            "electionNamespace=default".to_owned(),
            format!("electionName={name}"),
            "ackMode=inSync".to_owned(),
            "segmentBytes=67108864".to_owned(),
        ] {
            command.args(["--set", &setting]);
        }
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("scale-broker-{slot}.log"));
        brokers.push(Process::start(
            command.stderr(File::create(&log).map_err(text)?),
        )?);
    }
    let api: Api<BrokerGroupElection> = Api::namespaced(client.clone(), "default");
    wait("three brokers in sync", || async {
        let status = api.get(name).await.map_err(text)?.status;
        let in_sync = status.map_or(0, |status| status.in_sync.len());
        demand(in_sync == 3, format!("{in_sync} brokers are in sync"))
    })
    .await?;
    tokio::time::sleep(QUIET).await;
    audit.read()?;
    tokio::time::sleep(ELECTED_FOR).await;
    let requests = audit.read()?;
    drop(brokers);
    api.delete(name, &DeleteParams::default())
        .await
        .map_err(text)?;
    Ok(requests)
}

/// A process that ends with its value.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Result<Self, String> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        child.map(Self).map_err(text)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn connect(kubeconfig: PathBuf) -> Result<Client, String> {
    let file = kube::config::Kubeconfig::read_from(&kubeconfig).map_err(text)?;
    let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await;
    Client::try_from(config.map_err(text)?).map_err(text)
}

async fn install(client: &Client) -> Result<(), String> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in rmq_crds::definitions() {
        let name = definition.name_any();
        api.patch(
            &name,
            &PatchParams::apply("bench"),
            &Patch::Apply(&definition),
        )
        .await
        .map_err(text)?;
        wait("the definitions", || async {
            let status = api
                .get(&name)
                .await
                .map_err(text)?
                .status
                .unwrap_or_default();
            let mut conditions = status.conditions.into_iter().flatten();
            let is_there = conditions
                .any(|condition| condition.type_ == "Established" && condition.status == "True");
            demand(is_there, format!("{name} is not established"))
        })
        .await?;
    }
    Ok(())
}

async fn wait<F: Future<Output = Result<(), String>>>(
    what: &str,
    ask: impl Fn() -> F,
) -> Result<(), String> {
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(()) => return Ok(()),
            Err(problem) if started.elapsed() > WITHIN => return Err(format!("{what}: {problem}")),
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}

fn demand(holds: bool, otherwise: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

fn text(error: impl Display) -> String {
    error.to_string()
}
