//! Objects of our own kinds that do not match their definition: their status and an event say so, and no look sees them until they are
//! corrected.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::events::{Event as Told, EventType, Recorder};
use kube::runtime::watcher::Event;
use kube::{Api, Client, ResourceExt};
use rmq_crds::Condition;
use serde_json::json;

use crate::conditions::Verdict;
use crate::events::NOTE_MAX;
use crate::time;
use crate::watch::{Watch, Watched};

/// Takes the objects out of a watch that do not match their definition, and tells of each once.
pub(crate) struct Invalid<K> {
    client: Client,
    recorder: Recorder,
    /// By uid: the generation and the error that was told last.
    told: HashMap<String, (Option<i64>, String)>,
    kind: std::marker::PhantomData<K>,
}

impl<K: Watched> Invalid<K> {
    pub(crate) fn new(client: Client, recorder: Recorder) -> Self {
        Self {
            client,
            recorder,
            told: HashMap::new(),
            kind: std::marker::PhantomData,
        }
    }

    /// The event without an object that cannot be read. One bad object does not stop the others.
    pub(crate) fn sort_out(
        &mut self,
        event: Event<DeserializeGuard<K>>,
        known: &Watch<K>,
    ) -> Option<Event<K>> {
        match event {
            Event::Init => Some(Event::Init),
            Event::InitDone => Some(Event::InitDone),
            Event::InitApply(guard) => self.read(guard).ok().map(Event::InitApply),
            Event::Apply(guard) => match self.read(guard) {
                Ok(object) => Some(Event::Apply(object)),
                // The object as it was before is no longer true.
                Err(metadata) => {
                    let namespace = metadata.namespace.unwrap_or_default();
                    let old = known.get(&namespace, &metadata.name.unwrap_or_default())?;
                    Some(Event::Delete((*old).clone()))
                }
            },
            Event::Delete(guard) => {
                self.told.remove(&guard.uid().unwrap_or_default());
                guard.0.ok().map(Event::Delete)
            }
        }
    }

    fn read(&mut self, guard: DeserializeGuard<K>) -> Result<K, Box<ObjectMeta>> {
        let uid = guard.uid().unwrap_or_default();
        let invalid = match guard.0 {
            Ok(object) => {
                self.told.remove(&uid);
                return Ok(object);
            }
            Err(invalid) => invalid,
        };
        let said = (invalid.metadata.generation, invalid.error.clone());
        if self.told.get(&uid) != Some(&said) {
            self.told.insert(uid, said);
            tokio::spawn(tell_invalid::<K>(
                invalid.metadata.clone(),
                invalid.error,
                self.client.clone(),
                self.recorder.clone(),
            ));
        }
        Err(Box::new(invalid.metadata))
    }
}

/// Tells of an object that cannot be read, in its status and with an event.
async fn tell_invalid<K: Watched>(
    metadata: ObjectMeta,
    error: String,
    client: Client,
    recorder: Recorder,
) {
    let name = metadata.name.clone().unwrap_or_default();
    let namespace = metadata.namespace.clone().unwrap_or_default();
    tracing::warn!(kind = %K::kind(&()), namespace, name, "does not match its definition: {error}");
    let message = format!(
        "{error}; correct the object, or install the definitions of this operator's version (rmq-operator crds)"
    );
    let now = Time(time::now());
    let mut conditions: Vec<Condition> = Vec::new();
    Verdict::stalled("InvalidObject", message.clone()).write(
        &mut conditions,
        metadata.generation,
        &now,
    );
    let api: Api<DeserializeGuard<K>> = Api::namespaced(client, &namespace);
    let patch =
        json!({"status": {"observedGeneration": metadata.generation, "conditions": conditions}});
    if let Err(error) = api
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
    {
        tracing::warn!(
            namespace,
            name,
            "cannot write the status of an object that does not match its definition: {error}"
        );
    }
    let reference = ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: Some(name),
        namespace: Some(namespace),
        uid: metadata.uid,
        ..Default::default()
    };
    let event = Told {
        type_: EventType::Warning,
        reason: "InvalidObject".to_owned(),
        note: Some(message.chars().take(NOTE_MAX).collect()),
        action: "Read".to_owned(),
        secondary: None,
    };
    // The log has the error anyway.
    let _ = recorder.publish(&event, &reference).await;
}
