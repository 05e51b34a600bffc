//! The status of an object: the verdict of a look as conditions, an event when it is another verdict, and the figures of the conditions.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::core::object::HasStatus;
use kube::{Api, Resource, ResourceExt};
use rmq_crds::{Condition, ConditionStatus};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::conditions::{Status, Verdict};
use crate::context::Context;
use crate::error::Error;
use crate::events::News;
use crate::metrics::CONDITIONS;
use crate::time;

/// Manages the fields of statuses (server-side apply).
const FIELD_MANAGER: &str = "rmq-operator-status";

/// Writes the verdict into the new status of an object. Returns the event that tells people of it, when it is another verdict than the
/// object has. Pure.
pub(crate) fn settle<K>(
    object: &K,
    status: &mut K::Status,
    verdict: &Verdict,
    now: &Time,
) -> Option<News>
where
    K: Resource<DynamicType = ()> + HasStatus<Status: Status>,
{
    let generation = object.meta().generation;
    *status.observed_generation() = generation;
    verdict.write(status.conditions_mut(), generation, now);
    news(object.status().map(Status::conditions), verdict)
}

/// The event about a verdict that differs from these conditions.
fn news(before: Option<&[Condition]>, verdict: &Verdict) -> Option<News> {
    let ready = before.and_then(|conditions| {
        conditions
            .iter()
            .find(|condition| condition.type_ == "Ready")
    });
    let is_new = ready.is_none_or(|ready| {
        ready.reason != verdict.reason || (verdict.stalled && ready.message != verdict.message)
    });
    if !is_new {
        None
    } else if verdict.stalled {
        Some(News::warning(verdict.reason, &*verdict.message))
    } else if verdict.ready == ConditionStatus::True || ready.is_some() {
        Some(News::normal(verdict.reason, &*verdict.message))
    } else {
        None
    }
}

/// Settles the verdict, tells of it, and writes the status.
pub(crate) async fn record<K>(
    context: &Context,
    object: &K,
    mut new: K::Status,
    verdict: &Verdict,
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + HasStatus<Status: Status>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let news = settle(object, &mut new, verdict, &Time(time::now()));
    if let Some(news) = news {
        context.events.tell(object, &news).await;
    }
    write(context, object, &new).await
}

/// Writes a status that differs from the object's, and the figures of its conditions. The object must have the version that the status was
/// made of: the API server refuses another one.
pub(crate) async fn write<K>(context: &Context, object: &K, new: &K::Status) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + HasStatus<Status: Status>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    for condition in new.conditions() {
        if CONDITIONS.contains(&&*condition.type_) {
            let figure = match &*condition.status {
                "True" => 1,
                "False" => 0,
                _ => -1,
            };
            let kind = K::kind(&());
            let metrics = &context.metrics;
            metrics.condition(&kind, &namespace, &name, &condition.type_, figure);
        }
    }
    if object.status() == Some(new) {
        return Ok(());
    }
    let api: Api<K> = Api::namespaced(context.client.clone(), &namespace);
    let value = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "resourceVersion": object.resource_version()},
        "status": new,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api
        .patch_status(&name, &params, &Patch::Apply(&value))
        .await
    {
        Ok(_) => Ok(()),
        // The object is gone.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error::doing("writing the status")(error)),
    }
}

#[cfg(test)]
mod tests {
    use rmq_crds::Topic;

    use super::*;

    #[test]
    fn people_hear_of_another_verdict_once() {
        let now = Time(jiff::Timestamp::UNIX_EPOCH);
        let mut topic = Topic::new("orders", rmq_crds::TopicSpec::default());
        topic.metadata.generation = Some(7);
        let mut look = |verdict: &Verdict| {
            let mut status = topic.status.clone().unwrap_or_default();
            let news = settle(&topic, &mut status, verdict, &now);
            assert_eq!(status.observed_generation, Some(7));
            topic.status = Some(status);
            news
        };
        let begins = Verdict::progressing("WaitingForBrokers", "no broker");
        assert_eq!(look(&begins), None, "a new object that begins is no news");
        let serves = Verdict::ready("serves");
        assert_eq!(look(&serves), Some(News::normal("Ready", "serves")));
        assert_eq!(
            look(&Verdict::ready("serves at b")),
            None,
            "another message"
        );
        let wrong = |message| Verdict::stalled("InvalidSpec", message);
        let told = |message| Some(News::warning("InvalidSpec", message));
        assert_eq!(look(&wrong("one")), told("one"));
        assert_eq!(look(&wrong("one")), None);
        assert_eq!(look(&wrong("two")), told("two"), "another problem");
        assert!(look(&begins).is_some(), "it begins again");
    }
}
