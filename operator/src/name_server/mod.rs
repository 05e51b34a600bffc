//! `NameServer`: a StatefulSet whose pods need nothing but their names.

mod build;
mod scale_in;

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use rmq_crds::{ExternalType, NameServer, NameServerStatus};

use crate::annotations;
use crate::apply;
use crate::build::{advertised, names};
use crate::conditions::Verdict;
use crate::context::Context;
use crate::controller::{again, next_after};
use crate::error::Error;
use crate::fetch;
use crate::keys;
use crate::listeners;
use crate::observe;

/// How often name servers are asked while some wait to go.
const LOOK: Duration = Duration::from_secs(3);

pub(crate) async fn reconcile(object: &NameServer, context: &Context) -> Result<Action, Error> {
    let name = object.name_any();
    let namespace = object.namespace().unwrap_or_default();
    if object.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let mut status = object.status.clone().unwrap_or_default();
    if annotations::is(object, annotations::PAUSED, "true") {
        return write(context, object, status, &Verdict::paused()).await;
    }
    let mut problems = keys::NAME_SERVER.problems("spec.config", &object.spec.config);
    let listener = object.spec.external_listener.as_ref();
    problems.extend(listeners::problem("spec.externalListener", listener));
    if !problems.is_empty() {
        let verdict = Verdict::stalled("InvalidSpec", problems.join("; "));
        return write(context, object, status, &verdict).await;
    }
    let workload = names::name_servers(&name);
    let stores = &context.stores;
    let set = stores.stateful_sets.get(&namespace, &workload);
    let has = set.as_ref().and_then(|set| set.spec.as_ref()?.replicas);
    let has = has.unwrap_or(0);
    let held = scale_in::held_by(object, has, context).await;
    let mut built = build::build(object, &context.image);
    if held.is_some() {
        for set in &mut built.stateful_sets {
            set.spec.get_or_insert_default().replicas = Some(has);
        }
    }
    apply::children(context, object, &built).await?;
    let selector = names::selector(names::NAME_SERVER, &name);
    let pods = stores
        .pods
        .of(&names::term(names::NAME_SERVER, &namespace, &name));
    let service = stores.services.get(&namespace, &names::external(&workload));
    status.selector = Some(names::as_text(&selector));
    status.addresses = Some(names::name_server_addresses(object).join(";"));
    status.external_addresses =
        external_addresses(object, service.as_deref(), pods.iter().map(|pod| &**pod));
    let missing = match observe::missing_pods(set.as_deref(), object.spec.replicas) {
        true => fetch::why_missing(context, &namespace, &workload, &[]).await,
        false => None,
    };
    let verdict = judge(
        object,
        set.as_deref(),
        pods.iter().map(|pod| &**pod),
        missing,
        &mut status,
    );
    match held {
        // A problem comes first: it may be why.
        Some(why) if !verdict.stalled => {
            let verdict = Verdict {
                ready: (status.ready_replicas >= object.spec.replicas).into(),
                ..Verdict::progressing("ScaleInPending", why)
            };
            write(context, object, status, &verdict).await?;
            Ok(again(LOOK))
        }
        _ => write(context, object, status, &verdict).await,
    }
}

fn judge<'a>(
    object: &NameServer,
    set: Option<&StatefulSet>,
    pods: impl Iterator<Item = &'a Pod>,
    missing: Option<observe::Problem>,
    status: &mut NameServerStatus,
) -> Verdict {
    let wanted = object.spec.replicas;
    let observed = set.and_then(|set| set.status.as_ref());
    status.replicas = observed.map_or(0, |status| status.replicas);
    status.ready_replicas = observed
        .and_then(|status| status.ready_replicas)
        .unwrap_or(0);
    let problem = observe::problems(pods, []).into_iter().next().or(missing);
    if let Some(problem) = problem {
        return Verdict::stalled(problem.reason, problem.message);
    }
    let Some((set, observed)) = set.zip(observed) else {
        return Verdict::progressing("Creating", "the StatefulSet has no status yet");
    };
    if !observe::is_observed(set) {
        return Verdict::progressing("Updating", "the StatefulSet takes up the change");
    }
    if status.ready_replicas < wanted || status.replicas != wanted {
        return Verdict::progressing(
            "Starting",
            format!(
                "{} of {wanted} name servers are ready",
                status.ready_replicas
            ),
        );
    }
    if observed.updated_replicas.unwrap_or(0) < wanted {
        let updated = observed.updated_replicas.unwrap_or(0);
        return Verdict {
            ready: true.into(),
            ..Verdict::progressing(
                "Rolling",
                format!("{updated} of {wanted} name servers are up to date"),
            )
        };
    }
    Verdict::ready(format!("{wanted} name servers serve"))
}

fn external_addresses<'a>(
    object: &NameServer,
    service: Option<&Service>,
    pods: impl Iterator<Item = &'a Pod>,
) -> Option<String> {
    let listener = object.spec.external_listener.as_ref()?;
    let node_of = |pod: &Pod| {
        pod.status
            .as_ref()
            .and_then(|status| status.host_ip.clone())
    };
    match listener.type_ {
        ExternalType::HostPort => {
            let port = listener.host_port?;
            let mut nodes: Vec<String> = pods.filter_map(node_of).collect();
            nodes.sort();
            nodes.dedup();
            Some(
                nodes
                    .iter()
                    .map(|node| format!("{node}:{port}"))
                    .collect::<Vec<_>>()
                    .join(";"),
            )
        }
        ExternalType::NodePort | ExternalType::LoadBalancer => {
            let found = advertised(listener, service)?;
            let host = found.host.or_else(|| pods.filter_map(node_of).min())?;
            Some(format!("{host}:{}", found.port))
        }
    }
}

async fn write(
    context: &Context,
    object: &NameServer,
    status: NameServerStatus,
    verdict: &Verdict,
) -> Result<Action, Error> {
    context.record(object, status, verdict).await?;
    let seed = object.uid().unwrap_or_default();
    Ok(next_after(object, verdict, fetch::PAUSE, &seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_a_name_server() {
        for case in ["name-server-small", "name-server-full"] {
            let object: NameServer = crate::yaml::case(case);
            insta::assert_snapshot!(case, crate::yaml::write(&build::build(&object, "rmq:test")));
        }
    }
}
