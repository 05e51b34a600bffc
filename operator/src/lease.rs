//! One process leads, others wait: a Lease of Kubernetes, changed only in the version that was read.
//!
//! A waiting process takes the Lease when it saw it unchanged for its whole duration, by its own clock; the times in it are for people.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;

use crate::error::Error;

/// Not renewed for this long: somebody else may take it.
const DURATION: Duration = Duration::from_secs(15);
/// Not renewed for this long: the holder no longer acts.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries.
const RETRY: Duration = Duration::from_secs(2);

/// Leadership of one name in one namespace.
pub(crate) struct Leadership {
    api: Api<Lease>,
    name: String,
    identity: String,
    held: Option<Lease>,
}

impl Leadership {
    pub(crate) fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            held: None,
        }
    }

    /// Waits until this process leads.
    pub(crate) async fn acquire(&mut self) -> Result<(), Error> {
        let mut seen: Option<(Option<String>, Instant)> = None;
        loop {
            match self.api.get_opt(&self.name).await {
                Ok(None) => {
                    let lease = self.lease(None);
                    match self.api.create(&PostParams::default(), &lease).await {
                        Ok(made) => {
                            self.held = Some(made);
                            return Ok(());
                        }
                        Err(error) => tracing::info!("cannot make the lease: {error}"),
                    }
                }
                Ok(Some(lease)) => {
                    let holder = lease
                        .spec
                        .as_ref()
                        .and_then(|spec| spec.holder_identity.clone())
                        .unwrap_or_default();
                    let version = lease.metadata.resource_version.clone();
                    let since = match &seen {
                        Some((known, since)) if *known == version => *since,
                        _ => {
                            let now = Instant::now();
                            seen = Some((version, now));
                            now
                        }
                    };
                    if (holder.is_empty() || holder == self.identity || since.elapsed() >= DURATION)
                        && self.take(lease).await
                    {
                        return Ok(());
                    }
                    tracing::debug!(holder, "waiting for the lease");
                }
                Err(error) => tracing::warn!("cannot read the lease: {error}"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn take(&mut self, old: Lease) -> bool {
        let lease = self.lease(Some(&old));
        match self
            .api
            .replace(&self.name, &PostParams::default(), &lease)
            .await
        {
            Ok(lease) => {
                self.held = Some(lease);
                true
            }
            Err(error) => {
                tracing::info!("the lease was not to be had: {error}");
                false
            }
        }
    }

    /// Renews until that is no longer possible; then nothing may be done any more.
    pub(crate) async fn keep(&mut self) -> Error {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RETRY).await;
            let Some(held) = self.held.clone() else {
                return Error::Fatal("the lease is not held".to_owned());
            };
            let lease = self.lease(Some(&held));
            let sent = Instant::now();
            let answer = tokio::time::timeout(
                DEADLINE,
                self.api.replace(&self.name, &PostParams::default(), &lease),
            )
            .await;
            match answer {
                Ok(Ok(lease)) => {
                    self.held = Some(lease);
                    renewed = sent;
                }
                Ok(Err(kube::Error::Api(status))) if status.code == 409 || status.code == 404 => {
                    // Perhaps our own renewal, whose answer was lost.
                    match self.api.get(&self.name).await {
                        Ok(lease)
                            if lease
                                .spec
                                .as_ref()
                                .and_then(|spec| spec.holder_identity.as_deref())
                                == Some(&self.identity) =>
                        {
                            self.held = Some(lease);
                        }
                        _ => return Error::Fatal("another process has taken the lease".to_owned()),
                    }
                }
                Ok(Err(error)) => tracing::warn!("cannot renew the lease: {error}"),
                Err(_) => tracing::warn!("cannot renew the lease: no answer"),
            }
            if renewed.elapsed() >= DEADLINE {
                return Error::Fatal(format!(
                    "the lease was not renewed for {} s",
                    DEADLINE.as_secs()
                ));
            }
        }
    }

    /// Lets the next one in at once.
    pub(crate) async fn release(&mut self) {
        let Some(mut lease) = self.held.take() else {
            return;
        };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
        }
        if let Err(error) = self
            .api
            .replace(&self.name, &PostParams::default(), &lease)
            .await
        {
            tracing::info!("the lease runs out by itself: {error}");
        }
    }

    fn lease(&self, old: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = old.and_then(|old| old.spec.as_ref());
        let is_ours = spec.and_then(|spec| spec.holder_identity.as_deref()) == Some(&self.identity);
        let transitions = spec.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: old.and_then(|old| old.metadata.resource_version.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: spec
                    .filter(|_| is_ours)
                    .and_then(|spec| spec.acquire_time.clone())
                    .or(Some(now.clone())),
                renew_time: Some(now),
                lease_transitions: Some(if is_ours || old.is_none() {
                    transitions
                } else {
                    transitions + 1
                }),
                ..LeaseSpec::default()
            }),
        }
    }
}
