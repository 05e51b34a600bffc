//! The changes of the two objects: first as they are, then one stream of the API server for each.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use k8s_openapi::api::coordination::v1 as coordination;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt};
use rmq_crds::BrokerGroupElection;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::errors::{failed, invalid, text};
use super::objects::{self, version_of};
use crate::place::{Change, Changes, PlaceError, Version, Versioned};

/// A stream that was silent for so long may be a connection that nobody told us is gone: the object is read again.
const SILENCE: Duration = Duration::from_secs(20);
/// The API server ends a stream after this, seconds; more than [`SILENCE`].
const WATCH_SECONDS: u32 = 290;
/// Streams that end one after another without a change, at most.
const FAILURES_MAX: u32 = 2;

/// All changes from now on; the first two are the objects as they are.
pub(super) fn changes<'a>(
    elections: &'a Api<BrokerGroupElection>,
    leases: &'a Api<coordination::Lease>,
    name: &'a str,
    place: &'a str,
    limit: Duration,
) -> Changes<'a> {
    let records = Watching::new(elections, name, place, limit);
    let records = of(records, objects::record, Change::Record);
    let leases = Watching::new(leases, name, place, limit);
    let leases = of(leases, objects::lease, Change::Lease);
    // The end of one is the end of both.
    let both = stream::select(records, leases);
    Box::pin(both.scan(false, |is_over, change| {
        let next = (!*is_over).then_some(change);
        *is_over |= matches!(next, Some(Err(_)));
        std::future::ready(next)
    }))
}

/// Changes of one object.
fn of<'a, K, T>(
    watching: Watching<'a, K>,
    read: fn(&K) -> Result<Versioned<T>, String>,
    change: fn(Option<Versioned<T>>) -> Change,
) -> impl Stream<Item = Result<Change, PlaceError>> + Send + 'a
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    T: Send + 'a,
{
    Box::pin(stream::unfold(Some(watching), move |watching| async move {
        let mut watching = watching?;
        let next = watching.next().await.and_then(|object| {
            let value = object.map(|object| read(&object)).transpose();
            value.map_err(|wrong| invalid(watching.place, &wrong))
        });
        match next {
            Ok(value) => Some((Ok(change(value)), Some(watching))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

type Events<K> = Pin<Box<dyn Stream<Item = Result<WatchEvent<K>, kube::Error>> + Send>>;

struct Watching<'a, K> {
    api: &'a Api<K>,
    name: &'a str,
    place: &'a str,
    limit: Duration,
    /// The version that was told last; `Some(None)`: that there is nothing.
    told: Option<Option<Version>>,
    stream: Option<Events<K>>,
    failures: u32,
}

impl<'a, K> Watching<'a, K> {
    fn new(api: &'a Api<K>, name: &'a str, place: &'a str, limit: Duration) -> Self {
        Self {
            api,
            name,
            place,
            limit,
            told: None,
            stream: None,
            failures: 0,
        }
    }
}

impl<K> Watching<'_, K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// The object after its next change; `None`: it is not there.
    async fn next(&mut self) -> Result<Option<K>, PlaceError> {
        loop {
            let Some(stream) = &mut self.stream else {
                let now = self.begin().await?;
                if self.is_new(now.as_ref())? {
                    return Ok(now);
                }
                continue;
            };
            let (now, problem) = match timeout(SILENCE, stream.next()).await {
                Ok(Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)))) => {
                    (Some(object), None)
                }
                Ok(Some(Ok(WatchEvent::Deleted(_)))) => (None, None),
                Ok(Some(Ok(WatchEvent::Bookmark(_)))) => continue,
                // 410: the version is too old to watch from; what is there now is read again.
                Ok(Some(Ok(WatchEvent::Error(status)))) if status.code == 410 => {
                    self.stream = None;
                    continue;
                }
                Ok(Some(Ok(WatchEvent::Error(status)))) => (None, Some(status.message)),
                Ok(Some(Err(error))) => (None, Some(text(&error))),
                // Its time is up, or nobody is there any more: a read tells.
                Ok(None) | Err(_) => {
                    self.stream = None;
                    continue;
                }
            };
            if let Some(problem) = problem {
                self.stream = None;
                self.failures += 1;
                if self.failures >= FAILURES_MAX {
                    return Err(failed(self.place, problem));
                }
                continue;
            }
            self.failures = 0;
            if self.is_new(now.as_ref())? {
                return Ok(now);
            }
        }
    }

    /// Reads the object, and watches it from that version on.
    async fn begin(&mut self) -> Result<Option<K>, PlaceError> {
        let only = format!("metadata.name={}", self.name);
        let params = ListParams::default().fields(&only);
        let list = timeout(self.limit, self.api.list(&params)).await;
        let list = list.map_err(|_| {
            let limit = self.limit.as_millis();
            failed(
                self.place,
                format!("the API server gives no answer in {limit} ms"),
            )
        })?;
        let list = list.map_err(|error| failed(self.place, text(&error)))?;
        let version = list.metadata.resource_version.unwrap_or_default();
        let params = WatchParams::default().fields(&only).timeout(WATCH_SECONDS);
        let stream = timeout(self.limit, self.api.watch(&params, &version)).await;
        let stream = stream.map_err(|_| failed(self.place, "no answer to a watch"))?;
        let stream = stream.map_err(|error| failed(self.place, text(&error)))?;
        self.stream = Some(Box::pin(stream));
        Ok(list.items.into_iter().next())
    }

    /// Whether this was not told yet.
    fn is_new(&mut self, now: Option<&K>) -> Result<bool, PlaceError> {
        let version = now
            .map(|now| version_of(&now.resource_version().unwrap_or_default()))
            .transpose()
            .map_err(|wrong| invalid(self.place, &wrong))?;
        let is_new = self.told != Some(version);
        self.told = Some(version);
        Ok(is_new)
    }
}
