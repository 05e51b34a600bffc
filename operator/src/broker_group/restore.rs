//! A group that begins with a backup: before it has any broker, a pod restores the backup into the volume of the first one. The others copy
//! from that broker. A volume that was there before is never touched. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    EnvFromSource, PersistentVolumeClaimVolumeSource, Pod, SecretEnvSource, Volume,
};
use kube::ResourceExt;
use kube::runtime::controller::Action;
use rmq_crds::{BrokerGroup, BrokerGroupStatus, RestoreFrom, RestoreStatus};

use crate::conditions::Verdict;
use crate::events::News;
use crate::objects::names::{self, Labels};
use crate::objects::{Children, metadata, pod};
use crate::observe::{self, Problem};
use crate::requeue;

use super::children;
use super::decision::{Decision, Step};
use super::observed::{Observed, Restorer};
use super::said::Said;

/// The condition.
const TYPE: &str = "Restored";
/// Where the volume with the backups is mounted.
const BACKUPS: &str = "/backups";
/// Between two looks while the next step only waits for a watch.
const SOON: std::time::Duration = std::time::Duration::from_secs(1);

/// The pod that restores, of these pods of the group.
pub(super) fn restorer(pods: &[Arc<Pod>]) -> Option<Restorer> {
    let pod = pods.first()?;
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    let containers = status
        .and_then(|status| status.container_statuses.as_ref())
        .into_iter()
        .flatten();
    let mut ends = containers.filter_map(|container| {
        let last = container.last_state.as_ref()?.terminated.as_ref()?;
        let said = last.message.as_deref().unwrap_or_default().trim();
        Some(format!("it ended with code {}: {said}", last.exit_code))
    });
    Some(Restorer {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        has_succeeded: phase == Some("Succeeded"),
        has_failed: phase == Some("Failed"),
        is_terminating: pod.metadata.deletion_timestamp.is_some(),
        problem: observe::of_pod(pod),
        ended: ends.next(),
    })
}

/// What is done about a group that has not got its backup yet. None: it has, or wants none.
pub(super) fn decide(observed: &Observed<'_>, status: &BrokerGroupStatus) -> Option<Decision> {
    let from = observed.object.spec.restore_from.as_ref()?;
    match &status.restore {
        Some(restore) if restore.finished.is_some() => None,
        Some(restore) => Some(goes_on(observed, from, restore, status.clone())),
        None => Some(begin(observed, from, status.clone())),
    }
}

/// The pod that has restored a backup, which goes when the status says that this is done.
pub(super) fn end(observed: &Observed<'_>) -> Option<Step> {
    let status = observed.object.status.as_ref()?;
    status.restore.as_ref()?.finished.as_ref()?;
    let restorer = observed.restorer.as_ref()?;
    (!restorer.is_terminating).then(|| ends(restorer))
}

fn ends(restorer: &Restorer) -> Step {
    Step::EndRestore {
        pod: restorer.name.clone(),
        uid: restorer.uid.clone(),
    }
}

/// Writes down that the volumes that are made from now on are those of the restore.
fn begin(observed: &Observed<'_>, from: &RestoreFrom, mut status: BrokerGroupStatus) -> Decision {
    let claims: Vec<String> = observed
        .claims
        .iter()
        .map(|claim| claim.name_any())
        .collect();
    if observed.set.is_some() || !claims.is_empty() {
        let name = observed.name();
        let has = match claims.is_empty() {
            true => "the group has brokers".to_owned(),
            false => format!("volume claim {} exists", claims.join(", ")),
        };
        let message = format!(
            "spec.restoreFrom is for a group without volumes, and {has}: delete it (kubectl delete pvc …), or make brokergroup {name} without restoreFrom to go on with what it has"
        );
        Said::new(TYPE, false, "VolumesExist", &*message).set(&mut status, observed);
        let verdict = Verdict::stalled("VolumesExist", message);
        return Decision::status(status, verdict, Action::await_change());
    }
    status.restore = Some(RestoreStatus {
        since: observed.time(),
        finished: None,
    });
    let message = format!("the group begins with a backup of {}", from.place);
    Said::new(TYPE, false, "Restoring", &*message).set(&mut status, observed);
    Decision {
        events: vec![News::normal("RestoreStarted", &*message)],
        ..Decision::status(
            status,
            Verdict::progressing("Restoring", message),
            Action::requeue(SOON),
        )
    }
}

fn goes_on(
    observed: &Observed<'_>,
    from: &RestoreFrom,
    restore: &RestoreStatus,
    mut status: BrokerGroupStatus,
) -> Decision {
    let pod = names::restorer(&names::brokers(&observed.name()));
    let place = &from.place;
    let restorer = observed.restorer.as_ref();
    if restorer.is_some_and(|restorer| restorer.has_succeeded) {
        status.restore = Some(RestoreStatus {
            finished: Some(observed.time()),
            ..restore.clone()
        });
        let message = format!("the first broker begins with a backup of {place}");
        Said::new(TYPE, true, "Restored", &*message).set(&mut status, observed);
        return Decision {
            events: vec![News::normal("Restored", &*message)],
            ..Decision::status(
                status,
                Verdict::progressing("Starting", message),
                Action::requeue(SOON),
            )
        };
    }
    let logs = format!("kubectl logs {pod} says more");
    let failed = restorer.and_then(|restorer| restorer.ended.as_ref());
    let problem = restorer.and_then(|restorer| restorer.problem.clone());
    let (reason, message, stalls) = match (observed.missing.clone().or(problem), failed) {
        (Some(Problem { message, .. }), Some(ended)) => (
            "RestoreFailed",
            format!(
                "pod {pod} cannot restore {place}, and tries again: {ended}; {message}; {logs}"
            ),
            true,
        ),
        (Some(Problem { reason, message }), None) => (reason, message, true),
        (None, Some(ended)) => (
            "RestoreFailed",
            format!("pod {pod} cannot restore {place}, and tries again: {ended}; {logs}"),
            true,
        ),
        (None, None) => (
            "Restoring",
            format!(
                "pod {pod} restores a backup of {place}; kubectl logs -f {pod} shows how far it is"
            ),
            false,
        ),
    };
    let said = Said::new(TYPE, false, reason, &*message);
    said.set(&mut status, observed);
    let verdict = match stalls {
        true => Verdict::stalled(reason, message),
        false => Verdict::progressing(reason, message),
    };
    let seed = observed.object.uid().unwrap_or_default();
    let requeue = requeue::next(
        observed.object,
        &verdict,
        requeue::SERVERS,
        &seed,
        observed.now,
    );
    // A pod that Kubernetes gave up, such as one of a node that was shut down, makes room for another one.
    let gave_up = restorer.filter(|restorer| restorer.has_failed && !restorer.is_terminating);
    Decision {
        children: Some(build(observed.object, from, observed.default_image)),
        step: gave_up.map_or(Step::Nothing, ends),
        ..Decision::status(status, verdict, requeue)
    }
}

/// The volume claim of the first broker, and the pod that fills it. Both are made once.
fn build(object: &BrokerGroup, from: &RestoreFrom, default_image: &str) -> Children {
    let name = object.name_any();
    let workload = names::brokers(&name);
    let cluster = &object.spec.name_server_ref.name;
    let labels = names::labels(names::RESTORE, &name, cluster);
    let claim_name = names::claim(&workload, 0);
    let claim = children::claim(object, names::selector(names::BROKER, &name));
    let claim = claim.map(|mut claim| {
        // It has no owner: it outlives the object where the object says so.
        claim.metadata.name = Some(claim_name.clone());
        claim.metadata.namespace = object.namespace();
        claim
    });
    Children {
        claims: claim.into_iter().collect(),
        pods: vec![restorer_pod(
            object,
            from,
            default_image,
            (labels, claim_name),
        )],
        ..Children::default()
    }
}

fn restorer_pod(
    object: &BrokerGroup,
    from: &RestoreFrom,
    default_image: &str,
    (labels, claim): (Labels, String),
) -> Pod {
    let spec = &object.spec;
    let volume = |name: &str, claim_name: &str, read_only: bool| Volume {
        name: name.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim_name.to_owned(),
            read_only: read_only.then_some(true),
        }),
        ..Volume::default()
    };
    let mut volumes = vec![volume("data", &claim, false)];
    let mut mounts = vec![pod::data_mount()];
    if let Some(backups) = &from.claim_name {
        volumes.push(volume("backups", backups, true));
        mounts.push(pod::mount("backups", BACKUPS, true));
    }
    let workload = names::brokers(&object.name_any());
    let template = pod::template(pod::Server {
        name: "restore",
        command: command(from),
        image: &spec.image,
        default_image,
        ports: Vec::new(),
        management_port: names::BROKER_MANAGEMENT_PORT,
        env: vec![pod::text("HOME", "/tmp")],
        resources: children::resources(object),
        config_map: workload.clone(),
        volumes,
        mounts,
        tls: None,
        overrides: &spec.pod,
        labels: labels.clone(),
        annotations: Labels::new(),
        apart: names::brokers_selector(&spec.name_server_ref.name),
        elected: None,
    });
    let mut meta = metadata(object, names::restorer(&workload), &labels);
    if let Some(of) = template.metadata {
        meta.labels = of.labels;
        meta.annotations = of.annotations;
    }
    let mut pod_spec = template.spec.unwrap_or_default();
    pod_spec.restart_policy = Some("OnFailure".to_owned());
    // It is no server: it has no configuration, and nobody asks it how it is.
    let no_config = |name: &str| name != "config";
    if let Some(volumes) = &mut pod_spec.volumes {
        volumes.retain(|volume| no_config(&volume.name));
    }
    for container in &mut pod_spec.containers {
        container.startup_probe = None;
        container.liveness_probe = None;
        container.readiness_probe = None;
        if let Some(mounts) = &mut container.volume_mounts {
            mounts.retain(|mount| no_config(&mount.name));
        }
        container.env_from = from.secret_ref.as_ref().map(|secret| {
            vec![EnvFromSource {
                secret_ref: Some(SecretEnvSource {
                    name: secret.name.clone(),
                    ..SecretEnvSource::default()
                }),
                ..EnvFromSource::default()
            }]
        });
    }
    Pod {
        metadata: meta,
        spec: Some(pod_spec),
        status: None,
    }
}

fn command(from: &RestoreFrom) -> Vec<String> {
    let place = match &from.claim_name {
        Some(_) => format!("{BACKUPS}/{}", from.place),
        None => from.place.clone(),
    };
    let mut command: Vec<String> = ["rmq-ctl", "restore", "--if-empty", "--store", "/data"]
        .map(str::to_owned)
        .into();
    for (option, value) in [
        ("--from", Some(&place)),
        ("--group", from.group.as_ref()),
        ("--backup", from.backup.as_ref()),
        ("--endpoint", from.endpoint.as_ref()),
        ("--region", from.region.as_ref()),
    ] {
        // One word: a value that begins with - is a value.
        command.extend(value.map(|value| format!("{option}={value}")));
    }
    command
}
