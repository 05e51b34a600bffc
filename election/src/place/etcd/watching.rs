//! The changes of the two keys: first as they are, then one stream of etcd, from the revision after that on.

use std::collections::VecDeque;

use etcd_client::{KeyValue, Txn, TxnOp, WatchOptions, WatchResponse, WatchStream};
use futures_util::stream;
use tokio::time::{Instant, timeout};

use super::endpoints::{Endpoints, text_of};
use super::keys::{Keys, first_of, value};
use crate::place::{Change, Changes, PlaceError, Version, Versioned};

/// A stream that lasted so long was good.
const GOOD: std::time::Duration = std::time::Duration::from_secs(5);

/// All changes from now on. A stream that ends is begun again, at the next endpoint; each endpoint gets one try before that is an error.
pub(super) fn changes<'a>(endpoints: &'a Endpoints, keys: &'a Keys) -> Changes<'a> {
    let watching = Watching {
        endpoints,
        keys,
        stream: None,
        next: VecDeque::new(),
        record: None,
        lease: None,
        failures: 0,
    };
    Box::pin(stream::unfold(Some(watching), |watching| async move {
        let mut watching = watching?;
        match watching.next().await {
            Ok(change) => Some((Ok(change), Some(watching))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

struct Watching<'a> {
    endpoints: &'a Endpoints,
    keys: &'a Keys,
    stream: Option<Stream>,
    next: VecDeque<Change>,
    /// The versions that were told last; `Some(None)`: that there is nothing.
    record: Option<Option<Version>>,
    lease: Option<Option<Version>>,
    /// Streams that ended, one after another.
    failures: usize,
}

struct Stream {
    changes: WatchStream,
    /// Index of the endpoint.
    at: usize,
    since: Instant,
}

impl Watching<'_> {
    async fn next(&mut self) -> Result<Change, PlaceError> {
        loop {
            if let Some(change) = self.next.pop_front() {
                return Ok(change);
            }
            let Some(stream) = &mut self.stream else {
                self.begin().await?;
                continue;
            };
            let problem = match stream.changes.message().await {
                Ok(Some(answer)) if !answer.canceled() => {
                    self.take(&answer)?;
                    continue;
                }
                Ok(Some(answer)) => match (answer.compact_revision(), answer.cancel_reason()) {
                    (0, "") => "etcd has ended the watch".to_owned(),
                    (0, reason) => reason.to_owned(),
                    // Too slow: what is there now is read again.
                    _ => "the changes since then are compacted away".to_owned(),
                },
                Ok(None) => "the connection is closed".to_owned(),
                Err(error) => text_of(&error),
            };
            let (at, was_good) = (stream.at, stream.since.elapsed() >= GOOD);
            self.stream = None;
            self.failures = if was_good { 1 } else { self.failures + 1 };
            let error = self.endpoints.failed_at(at, &problem).await;
            if self.failures > self.endpoints.len() {
                return Err(error);
            }
        }
    }

    /// Reads both keys, and watches from the revision of that on.
    async fn begin(&mut self) -> Result<(), PlaceError> {
        let (endpoints, keys) = (self.endpoints, self.keys);
        let both = [&keys.record, &keys.lease].map(|key| TxnOp::get(key.as_str(), None));
        let answer = endpoints.read(Txn::new().and_then(both)).await?;
        let revision = answer.header().map_or(0, |header| header.revision());
        let answers = answer.op_responses();
        self.is(&keys.record, first_of(answers.first()).as_ref())?;
        self.is(&keys.lease, first_of(answers.get(1)).as_ref())?;

        let (client, at) = endpoints.connection().await?;
        // The two keys are neighbours, and end with the zero byte after the second one.
        let range = WatchOptions::new()
            .with_range([keys.lease.as_bytes(), b"\0"].concat())
            .with_start_revision(revision.saturating_add(1));
        let mut client = client.watch_client();
        let watch = client.watch(keys.record.as_str(), Some(range));
        let problem = match timeout(endpoints.timeout(), watch).await {
            Ok(Ok(changes)) => {
                let since = Instant::now();
                self.stream = Some(Stream { changes, at, since });
                return Ok(());
            }
            Ok(Err(error)) => text_of(&error),
            Err(_) => "no answer to a watch".to_owned(),
        };
        Err(endpoints.failed_at(at, &problem).await)
    }

    fn take(&mut self, answer: &WatchResponse) -> Result<(), PlaceError> {
        for event in answer.events() {
            let Some(kv) = event.kv() else { continue };
            let key = kv.key();
            // A deletion has the key alone: versions of a key count from 1.
            let now = Some(kv).filter(|kv| kv.version() != 0);
            if key == self.keys.record.as_bytes() {
                self.is(&self.keys.record, now)?;
            } else if key == self.keys.lease.as_bytes() {
                self.is(&self.keys.lease, now)?;
            }
        }
        Ok(())
    }

    /// This is in the key now: a change, unless it was told already.
    fn is(&mut self, key: &str, now: Option<&KeyValue>) -> Result<(), PlaceError> {
        if key == self.keys.record {
            let record = now.map(value).transpose()?;
            if is_new(&mut self.record, record.as_ref()) {
                self.next.push_back(Change::Record(record));
            }
        } else {
            let lease = now.map(value).transpose()?;
            if is_new(&mut self.lease, lease.as_ref()) {
                self.next.push_back(Change::Lease(lease));
            }
        }
        Ok(())
    }
}

fn is_new<T>(told: &mut Option<Option<Version>>, now: Option<&Versioned<T>>) -> bool {
    let version = now.map(|now| now.version);
    let is_new = *told != Some(version);
    *told = Some(version);
    is_new
}
