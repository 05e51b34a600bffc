//! Groups of three that a person mends with nothing but a kubeconfig: settings, another master, a member made again, an object made again,
//! a record that was deleted, a backup that another group begins with. These scenarios share one cluster, which nobody outside can dial.

use std::process::Stdio;
use std::time::Duration;

use rmq_e2e::s3::{self, BUCKET, CREDENTIALS, S3};

use crate::ctl::{Outside, inner_cluster};
use crate::together::Scenario;
use crate::world::{IMAGE, SYSTEM, World, demand, group, until};

const NAMESPACE: &str = "mending";
const GROUP: &str = "brokergroup/a";
/// Messages that are sent before anything happens.
const MESSAGES: usize = 40;

/// One after the other: they share a cluster.
pub(crate) fn by_a_person(world: &World) -> Result<(), String> {
    let all: [(&str, Scenario); 3] = [
        ("members", of_three),
        ("made again", continued),
        ("from a backup", restored),
    ];
    for (name, run) in all {
        run(world).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

impl Outside<'_> {
    fn send(&self, count: usize) -> Result<(), String> {
        let mut sends = self.command(&["send", "orders", "--quiet"]);
        sends.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut sends = sends.spawn().map_err(|error| error.to_string())?;
        let text: String = (0..count)
            .map(|number| format!("book {number}\n"))
            .collect();
        let mut input = sends.stdin.take().ok_or("no stdin")?;
        let written = std::io::Write::write_all(&mut input, text.as_bytes());
        drop(input);
        let ended = sends.wait().map_err(|error| error.to_string())?;
        written.map_err(|error| error.to_string())?;
        demand(ended.success(), format!("rmq-ctl send: {ended}"))
    }

    /// Waits until so many messages can be read.
    fn reads(&self, count: usize) -> Result<(), String> {
        until(Duration::from_secs(60), || {
            let args = ["tail", "orders", "--last", "1000", "-o", "body"];
            let bodies = self.ends(&args, 0, "book")?;
            let has = bodies.lines().count();
            demand(has == count, format!("{has} of {count} messages"))
        })
    }
}

/// Settings reach every member, a person moves the master, and the operator makes a member again, each through the API server.
fn of_three(world: &World) -> Result<(), String> {
    start(world)?;
    let person = Outside::new(world, NAMESPACE)?;
    person.send(MESSAGES)?;
    let patch = r#"{"spec":{"config":{"retentionHours":24}}}"#;
    world.patch(NAMESPACE, GROUP, patch)?;
    until(Duration::from_secs(60), || {
        let logs = [
            "logs",
            "-l",
            "app.kubernetes.io/name=rmq-operator",
            "--tail=-1",
        ];
        let logs = world.kubectl(SYSTEM, &logs)?;
        let given = |slot: i32| {
            let address = format!("a-broker-{slot}.a-broker.{NAMESPACE}.svc:10911");
            let mut lines = logs.lines();
            lines.any(|line| line.contains(&address) && line.contains("fileReservedTime"))
        };
        let has: Vec<i32> = (0..3).filter(|slot| given(*slot)).collect();
        demand(has.len() == 3, format!("members {has:?} got the setting"))
    })?;
    world.wait_condition(NAMESPACE, GROUP, "ConfigSynced", "True", "")?;

    let master = master(world)?;
    let to = if master == "a-broker-0" { "1" } else { "0" };
    let switch = ["broker", "switchover", "a", "--to", to, "--yes"];
    person.ends(&switch, 0, "switched over")?;
    let pod = format!("a-broker-{to}");
    world.wait_for(NAMESPACE, GROUP, ".status.master", |now| now == pod)?;
    let promote = ["broker", "promote", "a", "2", "--accept-loss", "--yes"];
    person.ends(&promote, 6, "is the master and answers")?;

    let rebuild = |member: &str| {
        let wait = "4m";
        ["broker", "rebuild", "a", member, "--yes", "--wait", wait].map(str::to_owned)
    };
    let anew = |member: &str, code: i32, text: &str| {
        let args = rebuild(member);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        person.ends(&args, code, text)
    };
    anew(to, 6, "is the master: hand over first")?;
    let volume = |uid: &str| world.get(NAMESPACE, "pvc/data-a-broker-2", uid);
    let before = volume(".metadata.uid")?;
    anew("a-broker-2", 0, "is made anew")?;
    let after = volume(".metadata.uid")?;
    demand(before != after, "the volume is the old one")?;
    let wish = world.get(NAMESPACE, GROUP, ".metadata.annotations.rmq\\.rs/rebuild")?;
    demand(wish.is_empty(), format!("the annotation says {wish}"))?;
    whole(world)?;
    person.reads(MESSAGES)
}

/// The object goes and comes back: its volumes and its election are continued. Then the election is deleted by mistake, and a person
/// promotes a member.
fn continued(world: &World) -> Result<(), String> {
    start(world)?;
    let person = Outside::new(world, NAMESPACE)?;
    let messages = messages(&person)?;
    let epoch = |what: &str| {
        let epoch = world.get(NAMESPACE, "brokergroupelection/a-broker", ".status.epoch")?;
        let number: i64 = epoch.parse().map_err(|_| format!("{what}: {epoch:?}"))?;
        Ok::<i64, String>(number)
    };
    let before = epoch("before")?;
    let skip = ["annotate", GROUP, "rmq.rs/skip-drain=true"];
    world.kubectl(NAMESPACE, &skip)?;
    let gone = ["delete", GROUP, "--timeout=90s"];
    world.kubectl(NAMESPACE, &gone)?;
    let pods = [
        "wait",
        "pod",
        "-l",
        "rmq.rs/broker-group=a",
        "--for=delete",
        "--timeout=90s",
    ];
    world.kubectl(NAMESPACE, &pods)?;
    demand(
        epoch("retained")? >= before,
        "the election stays with the volumes",
    )?;
    start(world)?;
    demand(
        epoch("again")? > before,
        "the new object continues the election",
    )?;
    person.reads(messages)?;

    let delete = ["delete", "brokergroupelection", "a-broker"];
    world.kubectl(NAMESPACE, &delete)?;
    world.wait_condition(NAMESPACE, GROUP, "MasterElected", "False", "")?;
    let promote = [
        "broker",
        "promote",
        "a",
        "1",
        "--accept-loss",
        "--yes",
        "--wait",
        "2m",
    ];
    person.ends(&promote, 0, "master")?;
    whole(world)?;
    let now = master(world)?;
    demand(now == "a-broker-1", format!("{now} is the master"))?;
    person.reads(messages)
}

/// Other groups begin with a backup of the first, one from a volume and one from a bucket.
fn restored(world: &World) -> Result<(), String> {
    s3::needs()?;
    let s3 = S3::start(world.lab.api_server().0)?;
    start(world)?;
    let person = Outside::new(world, NAMESPACE)?;
    let messages = messages(&person)?;
    let uid = 10_001;
    world.lab.apply(&format!(
        "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: backups, namespace: {NAMESPACE}}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: backup, namespace: {NAMESPACE}}}
spec:
  restartPolicy: Never
  securityContext: {{runAsNonRoot: true, runAsUser: {uid}, runAsGroup: {uid}, fsGroup: {uid}, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: backup
      image: {IMAGE}
      command: [rmq-ctl, --nameserver, \"main-namesrv-0.main-namesrv.{NAMESPACE}.svc:9876\", backup, a, --to, /backups/prod]
      env: [{{name: HOME, value: /tmp}}]
      securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
      volumeMounts: [{{name: backups, mountPath: /backups}}]
  volumes: [{{name: backups, persistentVolumeClaim: {{claimName: backups}}}}]
"
    ))?;
    world.wait_for(NAMESPACE, "pod/backup", ".status.phase", |phase| {
        phase == "Succeeded" || phase == "Failed"
    })?;
    // A place that has none first: it is said why nothing begins.
    let from = |place: &str| begins_with("r", &format!("claimName: backups, place: {place}"));
    let restored = "brokergroup/r";
    world.lab.apply(&from("nothing"))?;
    world.wait_condition(NAMESPACE, restored, "Restored", "False", "RestoreFailed")?;
    world.kubectl(
        NAMESPACE,
        &["delete", restored, "pvc/data-r-broker-0", "--timeout=90s"],
    )?;
    world.lab.apply(&from("prod"))?;
    // Another one begins with the same, from a bucket.
    world.lab.apply(&from_bucket(world, &person, &s3)?)?;
    for (group, place) in [(restored, "prod"), ("brokergroup/s", BUCKET)] {
        world.wait_condition(NAMESPACE, group, "Restored", "True", place)?;
        world.wait_condition(NAMESPACE, group, "ReplicasInSync", "True", "3 of 3")?;
        world.wait_settled(NAMESPACE, group)?;
    }
    let pods = [
        "get",
        "pod",
        "r-broker-restore",
        "s-broker-restore",
        "--ignore-not-found",
        "-o",
        "name",
    ];
    until(Duration::from_secs(60), || {
        let left = world.kubectl(NAMESPACE, &pods)?;
        demand(left.is_empty(), format!("{left} is left"))
    })?;
    // All three groups have them now.
    person.reads(3 * messages)?;
    world.discard(NAMESPACE)
}

/// Takes a backup of the first group into a bucket, from outside of the cluster; a group that begins with it.
fn from_bucket(world: &World, person: &Outside<'_>, s3: &S3) -> Result<String, String> {
    let place = format!("s3://{BUCKET}/prod");
    let mut backup = person.command(&["backup", "a", "--to", &place]);
    backup
        .envs(CREDENTIALS)
        .env("AWS_ENDPOINT_URL", s3.endpoint());
    let output = backup.output().map_err(|error| error.to_string())?;
    let err = String::from_utf8_lossy(&output.stderr);
    demand(
        output.status.success(),
        format!("a backup into {place}: {}\n{err}", output.status),
    )?;
    let literals = CREDENTIALS.map(|(name, value)| format!("--from-literal={name}={value}"));
    let mut secret = vec!["create", "secret", "generic", "bucket"];
    secret.extend(literals.iter().map(String::as_str));
    world.kubectl(NAMESPACE, &secret)?;
    let endpoint = s3.endpoint();
    Ok(begins_with(
        "s",
        &format!("place: \"{place}\", endpoint: \"{endpoint}\", secretRef: {{name: bucket}}"),
    ))
}

/// A group of three that begins with a backup.
fn begins_with(name: &str, from: &str) -> String {
    let more = format!("  replicas: 3\n  restoreFrom: {{{from}}}\n");
    group(NAMESPACE, name, &more).replace("  listeners: {external: {type: NodePort}}\n", "")
}

/// The messages that there are; some are sent when there are none.
fn messages(person: &Outside<'_>) -> Result<usize, String> {
    let args = ["tail", "orders", "--last", "1000", "-o", "body"];
    let has = person.ends(&args, 0, "")?.lines().count();
    if has > 0 {
        return Ok(has);
    }
    person.send(MESSAGES)?;
    Ok(MESSAGES)
}

fn start(world: &World) -> Result<(), String> {
    world.namespace(NAMESPACE)?;
    let all = inner_cluster(NAMESPACE);
    let inner = |name: &str, more: &str| {
        group(NAMESPACE, name, more).replace("  listeners: {external: {type: NodePort}}\n", "")
    };
    let three =
        inner("a", "  replicas: 3\n").replace("deletionPolicy: Delete", "deletionPolicy: Retain");
    let all = all.replace(&inner("b", ""), "");
    world.lab.apply(&all.replace(&inner("a", ""), &three))?;
    whole(world)?;
    let objects = ["nameserver/main", "topic/orders"];
    world.wait_ready(NAMESPACE, &objects)
}

/// Waits until the group has a master and all members in sync, and nothing goes on.
fn whole(world: &World) -> Result<(), String> {
    world.wait_condition(NAMESPACE, GROUP, "MasterElected", "True", "")?;
    world.wait_condition(NAMESPACE, GROUP, "ReplicasInSync", "True", "3 of 3")?;
    world.wait_settled(NAMESPACE, GROUP)
}

fn master(world: &World) -> Result<String, String> {
    world.wait_for(NAMESPACE, GROUP, ".status.master", |pod| !pod.is_empty())
}
