//! `rmq-ctl broker rebuild`: a replica is made anew from the others. Changes state, by an annotation that the operator answers.

use std::time::Duration;

use clap::Args;
use rmq_crds::{BrokerGroup, Conditions};
use tokio::time::Instant;

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::completion::names::{broker_completer, member_completer};
use crate::error::Failure;
use crate::kubernetes::Kubernetes;
use crate::output::Output;
use crate::stop;
use crate::when;
use crate::write::WriteOptions;

/// The operator has looked at a changed object.
const LOOKS_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at the object.
const PAUSE: Duration = Duration::from_millis(500);

/// Options of `broker rebuild`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The broker group.
    #[arg(value_name = "GROUP", add = broker_completer())]
    name: String,

    /// The member that is made anew: its slot (MEMBER of `rmq-ctl broker replication`), its pod, or its address.
    #[arg(value_name = "MEMBER", add = member_completer())]
    member: String,

    /// Wait for the end of it for this time at most. What has begun goes on.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = when::parse_length)]
    wait: Duration,

    #[command(flatten)]
    write: WriteOptions,
}

pub(super) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let what = format!(
        "make member {} of broker group \"{}\" anew: its volume is deleted, and it copies everything from the others",
        options.member, options.name
    );
    let Some(slot) = slot(&options.member) else {
        return Err(Failure::coded(
            &codes::INVALID,
            format!("{:?} is no member", options.member),
        )
        .because("a member is named by its number, its pod, or the address of its pod")
        .try_this(format!("rmq-ctl broker replication {}", options.name)));
    };
    if options.write.is_client_run() {
        output.data(&format!("dry run: {what} (no server was asked)"));
        return Ok(());
    }
    let cluster = Cluster::connect(cluster, output).await?;
    let name = cluster.known_broker(&options.name).await?;
    let kubernetes = cluster.kubernetes.as_ref();
    let Some(kubernetes) = kubernetes.filter(|of| of.cluster.is_some()) else {
        return Err(Failure::coded(
            &codes::INVALID,
            format!("broker group \"{name}\" is not known to be one of Kubernetes"),
        )
        .fact("asked", &cluster.name)
        .because("the operator makes members anew; elsewhere a person empties the folder")
        .try_this("--cluster NAME or -n NAMESPACE, when it is one of Kubernetes")
        .try_this("docs/operate/failover.md, \"Replace a disk or a member\""));
    };
    let object = kubernetes.broker_group(&name).await;
    let object =
        object.map_err(|problem| kubernetes.failed("cannot look for the group", &problem))?;
    let Some(object) = object else {
        let what = format!("there is no BrokerGroup of broker group \"{name}\"");
        return Err(Failure::coded(&codes::NOT_FOUND, what).fact("kubernetes", kubernetes.place()));
    };
    if let Some(other) = asked(&object).filter(|other| *other != slot.to_string()) {
        return Err(refused(&name, slot, kubernetes)
            .because(format!("member {other} is being made anew"))
            .try_this("wait until that is done"));
    }
    if !options.write.agreed(&what, None, output)? {
        return Ok(());
    }
    let asked = kubernetes.ask_for_rebuild(&object, Some(slot)).await;
    asked.map_err(|problem| kubernetes.failed("cannot ask for it", &problem))?;
    let waited = done(&name, slot, options.wait, &object, (kubernetes, output));
    stop::unless_stopped("waiting", waited).await?;
    output.data(&format!(
        "broker/{name} member {slot} is made anew, and is in sync"
    ));
    Ok(())
}

/// The number that a member is named by: the end of its pod, or the number itself.
fn slot(text: &str) -> Option<u32> {
    let pod = text.split('.').next()?;
    pod.rsplit('-').next()?.parse().ok()
}

/// The member that somebody has asked for.
fn asked(object: &BrokerGroup) -> Option<String> {
    let annotations = object.metadata.annotations.as_ref()?;
    annotations.get(rmq_crds::REBUILD).cloned()
}

/// How far it is.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The operator has not looked yet, or waits for its turn.
    Waits,
    Refused(String),
    Runs(String),
    Done,
}

fn state(object: &BrokerGroup) -> State {
    let status = object.status.as_ref();
    let rollout = status.and_then(|status| status.rollout.as_ref());
    match (rollout.filter(|of| of.rebuild.is_some()), refusal(object)) {
        (Some(rollout), _) => State::Runs(format!("{}: {:?}", rollout.pod, rollout.step)),
        _ if asked(object).is_none() => State::Done,
        (None, Some(why)) => State::Refused(why),
        (None, None) => State::Waits,
    }
}

/// Why the operator refused what was asked for last.
fn refusal(object: &BrokerGroup) -> Option<String> {
    let status = object.status.as_ref()?;
    let known = status.conditions.of("Rebuilding")?;
    let is_refused = !matches!(&*known.reason, "Done" | "Waiting");
    is_refused.then(|| known.message.clone())
}

fn refused(name: &str, slot: u32, kubernetes: &Kubernetes) -> Failure {
    let what = format!("member {slot} of broker group \"{name}\" is not made anew");
    Failure::coded(&codes::NEEDED, what).fact("kubernetes", kubernetes.place())
}

async fn done(
    name: &str,
    slot: u32,
    wait: Duration,
    before: &BrokerGroup,
    (kubernetes, output): (&Kubernetes, &Output),
) -> Result<(), Failure> {
    let deadline = Instant::now() + wait;
    // Until the operator has looked, its answer is that to an earlier question.
    let earlier = refusal(before);
    let looked = Instant::now() + LOOKS_WITHIN;
    let mut told = String::new();
    loop {
        // The API server may be away for a moment; what was asked for stands in the object.
        if let Ok(Some(object)) = kubernetes.broker_group(name).await {
            match state(&object) {
                State::Done => return Ok(()),
                State::Refused(why)
                    if Some(&why) == earlier.as_ref() && Instant::now() < looked => {}
                State::Refused(why) => {
                    // It would begin later, when nobody expects it.
                    let back = kubernetes.ask_for_rebuild(&object, None).await;
                    back.map_err(|problem| kubernetes.failed("cannot take it back", &problem))?;
                    return Err(refused(name, slot, kubernetes)
                        .because(why)
                        .try_this(format!("rmq-ctl broker replication {name}")));
                }
                State::Runs(step) if step != told => {
                    output.detail(&format!("pod {step}"));
                    told = step;
                }
                State::Runs(_) | State::Waits => {}
            }
        }
        if Instant::now() + PAUSE > deadline {
            let what =
                format!("member {slot} of broker group \"{name}\" is not done after {wait:?}");
            return Err(Failure::coded(&codes::TIMEOUT, what)
                .because("the operator goes on with it")
                .try_this(format!("rmq-ctl broker replication {name} --watch")));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_member_is_its_number_its_pod_or_its_address() {
        let texts = ["2", "a-broker-2", "a-broker-2.a-broker.shop.svc:10911"];
        assert!(texts.iter().all(|text| slot(text) == Some(2)));
        let wrong = ["", "x", "a-broker-"];
        assert!(wrong.iter().all(|text| slot(text).is_none()));
    }

    #[test]
    fn the_object_says_how_far_it_is() {
        let look = |wish: Value, status: Value| {
            let object = json!({
                "apiVersion": "rmq.rs/v1alpha1", "kind": "BrokerGroup",
                "metadata": {"name": "a", "annotations": {rmq_crds::REBUILD: wish}},
                "spec": {"nameServerRef": {"name": "main"}, "storage": {"size": "1Gi"}},
                "status": status,
            });
            let mut object = object;
            if wish.is_null() {
                object["metadata"]["annotations"] = json!({});
            }
            state(&serde_json::from_value(object).expect("a BrokerGroup"))
        };
        let condition = |reason: &str| {
            json!({"conditions": [{
                "type": "Rebuilding", "status": "False", "reason": reason, "message": "it is the master",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]})
        };
        assert_eq!(look(json!("2"), Value::Null), State::Waits);
        assert_eq!(look(json!("2"), condition("Done")), State::Waits);
        assert_eq!(look(json!("2"), condition("Waiting")), State::Waits);
        let why = "it is the master".to_owned();
        assert_eq!(look(json!("2"), condition("IsMaster")), State::Refused(why));
        let rollout = json!({"rollout": {
            "pod": "a-broker-2", "podUid": "x", "step": "Stopping", "reason": "RebuildRequested",
            "rebuild": {}, "since": "2026-01-01T00:00:00Z",
        }});
        for wish in [json!("2"), Value::Null] {
            let runs = State::Runs("a-broker-2: Stopping".to_owned());
            assert_eq!(look(wish, rollout.clone()), runs);
        }
        assert_eq!(look(Value::Null, condition("Done")), State::Done);
    }
}
