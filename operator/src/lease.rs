//! One process leads, others wait: a Lease of Kubernetes, changed only in the version that was read.
//!
//! A waiting process takes a Lease that did not change for its whole duration, by the process's own clock. The times in the Lease are for
//! people.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// Another process may take a Lease that was not renewed for this long.
const DURATION: Duration = Duration::from_secs(15);
/// The holder no longer acts when it did not renew for this long.
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

    /// Waits until this process leads. False: `stop` came first. No request is cut off by `stop`, because the API server may carry it out
    /// anyway, and the Lease would be held by a process that has ended.
    pub(crate) async fn acquire(&mut self, stop: &CancellationToken) -> bool {
        let mut seen = None;
        loop {
            match tokio::time::timeout(DEADLINE, self.try_to_lead(&mut seen)).await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(_) => tracing::warn!("cannot read or take the lease: no answer"),
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Creates the Lease, or takes it when nobody holds it. `seen` is the last version of it, and when this process saw that version first.
    async fn try_to_lead(&mut self, seen: &mut Option<(Option<String>, Instant)>) -> bool {
        let lease = match self.api.get_opt(&self.name).await {
            Ok(Some(lease)) => lease,
            Ok(None) => {
                let lease = self.lease(None);
                return match self.api.create(&PostParams::default(), &lease).await {
                    Ok(made) => {
                        self.held = Some(made);
                        true
                    }
                    Err(error) => {
                        tracing::info!("cannot make the lease: {error}");
                        false
                    }
                };
            }
            Err(error) => {
                tracing::warn!("cannot read the lease: {error}");
                return false;
            }
        };
        let holder = holder(&lease).unwrap_or_default().to_owned();
        let version = lease.metadata.resource_version.clone();
        let since = match seen {
            Some((known, since)) if *known == version => *since,
            _ => seen.insert((version, Instant::now())).1,
        };
        let is_free = holder.is_empty() || holder == self.identity || since.elapsed() >= DURATION;
        if is_free && self.take(lease).await {
            return true;
        }
        tracing::debug!(holder, "waiting for the lease");
        false
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
                tracing::info!("cannot take the lease: {error}");
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
                    // It may be our own renewal, whose answer was lost.
                    match self.api.get(&self.name).await {
                        Ok(lease) if holder(&lease) == Some(&*self.identity) => {
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

    /// Gives the Lease up, so that another process leads at once.
    pub(crate) async fn release(&mut self) {
        let Some(held) = self.held.take() else {
            return;
        };
        let mut answer = self.free(held).await;
        let is_conflict =
            |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.code == 409);
        // A renewal whose answer was not read has changed the version.
        if answer.as_ref().is_err_and(is_conflict)
            && let Ok(lease) = self.api.get(&self.name).await
            && holder(&lease) == Some(&*self.identity)
        {
            answer = self.free(lease).await;
        }
        if let Err(error) = answer {
            tracing::info!("cannot give up the lease; it expires by itself: {error}");
        }
    }

    /// Writes that nobody holds the Lease.
    async fn free(&self, mut lease: Lease) -> Result<(), kube::Error> {
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
        }
        let params = PostParams::default();
        self.api
            .replace(&self.name, &params, &lease)
            .await
            .map(drop)
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

/// The process that holds the Lease; "" or None: nobody.
fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}
