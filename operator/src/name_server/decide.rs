//! Decides what one look at a NameServer object does. Pure.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use rmq_crds::{NameServer, NameServerStatus, ServerTlsMode};

use crate::conditions::Verdict;
use crate::credentials::Access;
use crate::forms;
use crate::keys;
use crate::objects::tls::Tls;
use crate::objects::{Children, names};
use crate::observe;
use crate::requeue;
use crate::tls;

use super::look::{Observed, external_addresses};
use super::{children, scale_in};

/// Between two looks at name servers that wait to go.
const LOOK: Duration = Duration::from_secs(3);
/// Until the next look at name servers that have got another certificate.
const SOON: Duration = Duration::from_secs(1);

/// What a look does, in this order: the children, then the status.
pub(super) struct Decision {
    /// Certificates that are made before the children.
    pub(super) tls: Option<tls::Due>,
    /// The children as they must be. None: they stay as they are.
    pub(super) children: Option<Children>,
    /// The new status, and the verdict that becomes its conditions. None: the status stays as it is.
    pub(super) status: Option<(NameServerStatus, Verdict)>,
    pub(super) requeue: Action,
}

/// The decision on what was seen.
pub(super) fn decide(observed: &Observed<'_>) -> Decision {
    let object = observed.object;
    if object.metadata.deletion_timestamp.is_some() {
        return Decision {
            tls: None,
            children: None,
            status: None,
            requeue: Action::await_change(),
        };
    }
    let mut status = object.status.clone().unwrap_or_default();
    if observed.is_paused() {
        return say(observed, None, status, Verdict::paused());
    }
    let mut problems =
        keys::problems::<rmq_config::NameServerConfig>("spec.config", &object.spec.config);
    problems.extend(forms::of_name_server(object));
    if !problems.is_empty() {
        let verdict = Verdict::stalled("InvalidSpec", problems.join("; "));
        return say(observed, None, status, verdict);
    }
    if let Access::Problem(verdict) = &observed.access {
        return say(observed, None, status, verdict.clone());
    }
    if let Some(problem) = &observed.tls.problem {
        let verdict = Verdict::stalled(problem.reason, &*problem.message);
        return say(observed, None, status, verdict);
    }
    let (stage, waits) = tls::of_name_servers(&tls::OfNameServers {
        wanted: object
            .spec
            .tls
            .as_ref()
            .map(|tls| tls.mode)
            .unwrap_or(ServerTlsMode::Disabled),
        groups: &observed.spans.groups,
    });
    let secret = observed.tls.secret.as_deref();
    let pods_tls = secret
        .filter(|_| stage != tls::Stage::Plain)
        .map(|secret| Tls {
            stage,
            secret,
            wanted: object.spec.tls.as_ref(),
        });
    let told = tls::Told {
        wanted: object.spec.tls.as_ref(),
        seen: &observed.tls,
        span: observed.spans.name_servers,
        waits: waits.as_deref(),
        now: observed.now,
        generation: object.metadata.generation,
    };
    status.tls = tls::tell(&told, &mut status.conditions);
    let due = observed.tls.due(observed.now);
    let has = observed.has();
    let held = scale_in::held(object, has, &observed.shown);
    let enforced = enforced(observed);
    let waits_for_keys = waits_for_brokers(observed, enforced.is_some());
    let mut wanted = children::build(object, observed.default_image, enforced, pods_tls);
    if held.is_some() {
        for set in &mut wanted.stateful_sets {
            set.spec.get_or_insert_default().replicas = Some(has);
        }
    }
    let status = filled(observed, status);
    let pods = observed.pods.iter().map(|pod| &**pod);
    let problem = observe::problems(pods, []).into_iter().next();
    let problem = problem.or_else(|| observed.missing.clone());
    let verdict = judge(object, observed.set.as_deref(), problem);
    let held = held.map(|why| ("ScaleInPending", why));
    let decision = match held.or(waits_for_keys) {
        // A problem comes first: it may be the reason.
        Some((reason, why)) if !verdict.stalled => {
            let verdict = Verdict {
                ready: (status.ready_replicas >= object.spec.replicas).into(),
                ..Verdict::progressing(reason, why)
            };
            Decision {
                tls: None,
                children: Some(wanted),
                status: Some((status, verdict)),
                requeue: Action::requeue(LOOK),
            }
        }
        _ => say(observed, Some(wanted), status, verdict),
    };
    match due {
        None => decision,
        // No watch shows the new certificate.
        Some(due) => Decision {
            tls: Some(due),
            requeue: Action::requeue(SOON),
            ..decision
        },
    }
}

/// The keys of name servers that are to ask for signatures now. They begin with it when all brokers sign, and stay with it.
fn enforced<'a>(observed: &'a Observed<'_>) -> Option<children::Keys<'a>> {
    let wanted = observed.object.spec.authentication.as_ref()?.enabled;
    let Access::Keyed { secret, broker } = &observed.access else {
        return None;
    };
    let is_safe = observed.is_enforced || observed.unsigned.is_empty();
    (wanted && is_safe).then_some(children::Keys { secret, broker })
}

/// Why name servers do not ask for signatures yet.
fn waits_for_brokers(observed: &Observed<'_>, is_enforced: bool) -> Option<(&'static str, String)> {
    let wanted = observed.object.spec.authentication.as_ref()?.enabled;
    (wanted && !is_enforced).then(|| {
        let groups = observed.unsigned.join(", ");
        let why = format!(
            "name servers ask for signatures when all brokers sign; broker groups with brokers that do not yet: {groups}"
        );
        ("AuthenticationPending", why)
    })
}

/// A look whose verdict says when to look again.
fn say(
    observed: &Observed<'_>,
    children: Option<Children>,
    status: NameServerStatus,
    verdict: Verdict,
) -> Decision {
    let seed = observed.object.uid().unwrap_or_default();
    let (servers, now) = (requeue::SERVERS, observed.now);
    Decision {
        tls: None,
        requeue: requeue::next(observed.object, &verdict, servers, &seed, now),
        children,
        status: Some((status, verdict)),
    }
}

/// The status with the fields that do not depend on the verdict.
fn filled(observed: &Observed<'_>, status: NameServerStatus) -> NameServerStatus {
    let object = observed.object;
    let selector = names::selector(names::NAME_SERVER, &object.name_any());
    let set = observed.set.as_ref();
    let seen = set.and_then(|set| set.status.as_ref());
    let pods: Vec<&Pod> = observed.pods.iter().map(|pod| &**pod).collect();
    NameServerStatus {
        selector: Some(names::as_text(&selector)),
        addresses: Some(names::name_server_addresses(object).join(";")),
        external_addresses: external_addresses(object, observed.service.as_deref(), &pods),
        access_secret: match &observed.access {
            Access::Keyed { secret, .. } => Some(secret.clone()),
            Access::Open | Access::Problem(_) => status.access_secret,
        },
        replicas: seen.map_or(0, |seen| seen.replicas),
        ready_replicas: seen.and_then(|seen| seen.ready_replicas).unwrap_or(0),
        ..status
    }
}

/// The verdict on what was seen.
fn judge(
    object: &NameServer,
    set: Option<&StatefulSet>,
    problem: Option<observe::Problem>,
) -> Verdict {
    let wanted = object.spec.replicas;
    if let Some(problem) = problem {
        return Verdict::stalled(problem.reason, problem.message);
    }
    let Some((set, seen)) = set.and_then(|set| Some((set, set.status.as_ref()?))) else {
        return Verdict::progressing("Creating", "the StatefulSet has no status yet");
    };
    if !observe::is_observed(set) {
        return Verdict::progressing("Updating", "the StatefulSet has not seen the change yet");
    }
    let ready = seen.ready_replicas.unwrap_or(0);
    if ready < wanted || seen.replicas != wanted {
        let message = format!("{ready} of {wanted} name servers are ready");
        return Verdict::progressing("Starting", message);
    }
    let updated = seen.updated_replicas.unwrap_or(0);
    if updated < wanted {
        let message = format!("{updated} of {wanted} name servers are up to date");
        return Verdict {
            ready: true.into(),
            ..Verdict::progressing("Rolling", message)
        };
    }
    Verdict::ready(format!("{wanted} name servers serve"))
}
