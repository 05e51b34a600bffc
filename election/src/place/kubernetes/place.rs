//! The place: reads, swaps and watches of the two objects.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1 as coordination;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use rmq_crds::BrokerGroupElection;
use tokio::time::timeout;

use super::account::Account;
use super::errors::{code, failed, invalid, of_change, text};
use super::objects::{self, Requests};
use super::watching;
use crate::place::{Answer, Changes, Lease, Place, PlaceError, Record, Swap, Version, Versioned};

/// The place of one group in Kubernetes.
pub struct KubernetesPlace {
    elections: Api<BrokerGroupElection>,
    leases: Api<coordination::Lease>,
    name: String,
    /// For messages.
    place: String,
    timeout: Duration,
    /// What people ask for in the version that was read last.
    asked: Mutex<Option<(Version, Requests)>>,
}

impl fmt::Debug for KubernetesPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesPlace")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl KubernetesPlace {
    /// The place of the objects `name` in a namespace, as the account of the pod sees them that this process runs in. It connects within the
    /// runtime of the caller.
    ///
    /// # Errors
    /// When there is no account of a pod.
    pub fn connect(namespace: &str, name: &str, timeout: Duration) -> Result<Self, PlaceError> {
        let client = Account::of_pod().and_then(|account| account.client(namespace, timeout));
        let client = client.map_err(|problem| failed(&place_of(namespace, name), problem))?;
        Ok(Self::new(client, namespace, name, timeout))
    }

    /// The same with a client that is there. `timeout`: the longest time of a call. The client must send nothing again by itself.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, timeout: Duration) -> Self {
        Self {
            elections: Api::namespaced(client.clone(), namespace),
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            place: place_of(namespace, name),
            timeout,
            asked: Mutex::new(None),
        }
    }

    /// A request that changes nothing.
    async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, PlaceError> {
        match timeout(self.timeout, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(&self.place, text(&error))),
            Err(_) => Err(failed(&self.place, self.no_answer())),
        }
    }

    /// A request that changes an object. `None`: the object has another version, is there already, or is not there.
    async fn change<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<Option<T>, PlaceError> {
        match timeout(self.timeout, request).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(error)) if matches!(code(&error), Some(404 | 409)) => Ok(None),
            Ok(Err(error)) => Err(of_change(&self.place, &error)),
            Err(_) => Err(PlaceError::Unknown {
                place: self.place.clone(),
                problem: self.no_answer(),
            }),
        }
    }

    fn no_answer(&self) -> String {
        format!(
            "the API server gives no answer in {} ms",
            self.timeout.as_millis()
        )
    }

    async fn read_record(&self) -> Result<Option<Versioned<Record>>, PlaceError> {
        let object = self.ask(self.elections.get_opt(&self.name)).await?;
        object.map(|object| self.record(&object)).transpose()
    }

    async fn read_lease(&self) -> Result<Option<Versioned<Lease>>, PlaceError> {
        let object = self.ask(self.leases.get_opt(&self.name)).await?;
        let lease = |object| objects::lease(&object).map_err(|wrong| invalid(&self.place, &wrong));
        object.map(lease).transpose()
    }

    fn record(&self, object: &BrokerGroupElection) -> Result<Versioned<Record>, PlaceError> {
        let read = || Ok((objects::record(object)?, Requests::of(object)?));
        let (record, asked) = read().map_err(|wrong: String| invalid(&self.place, &wrong))?;
        *self.asked.lock() = Some((record.version, asked));
        Ok(record)
    }

    /// What people ask for in the spec of this version; `None`: the object has another version.
    async fn asked_in(&self, version: Version) -> Result<Option<Requests>, PlaceError> {
        let known = |asked: &Option<(Version, Requests)>| {
            let asked = asked.as_ref().filter(|(of, _)| *of == version);
            asked.map(|(_, asked)| asked.clone())
        };
        if let Some(asked) = known(&self.asked.lock()) {
            return Ok(Some(asked));
        }
        self.read_record().await?;
        Ok(known(&self.asked.lock()))
    }

    async fn swap_record(
        &self,
        expected: Option<Version>,
        next: Record,
    ) -> Result<Swap<Record>, PlaceError> {
        let wrong =
            |wrong: String| failed(&self.place, format!("the record is not stored: {wrong}"));
        let (version, asked) = match expected {
            None => {
                let object =
                    BrokerGroupElection::new(&self.name, objects::spec(&next).map_err(wrong)?);
                let params = PostParams::default();
                let made = self.change(self.elections.create(&params, &object)).await?;
                let Some(made) = made else {
                    return self.lost(&next).await;
                };
                (self.record(&made)?.version, Requests::default())
            }
            Some(version) => match self.asked_in(version).await? {
                Some(asked) => (version, asked),
                None => return self.lost(&next).await,
            },
        };
        let status = objects::status(&next, &asked).map_err(wrong)?;
        let patch = Patch::Merge(objects::status_patch(&status, version).map_err(wrong)?);
        let params = PatchParams::default();
        let patched = self.elections.patch_status(&self.name, &params, &patch);
        match self.change(patched).await? {
            Some(object) => Ok(Swap::Won(self.record(&object)?.version)),
            None => self.lost(&next).await,
        }
    }

    /// A swap found another version.
    async fn lost(&self, next: &Record) -> Result<Swap<Record>, PlaceError> {
        let now = self.read_record().await?;
        if now.as_ref().is_some_and(|now| now.value == *next) {
            // Whose change that was nobody can tell: a client that sends again meets its own.
            return Err(PlaceError::Unknown {
                place: self.place.clone(),
                problem: "the object holds the same as was to be written".to_owned(),
            });
        }
        Ok(Swap::Lost(now))
    }

    async fn swap_lease_of(
        &self,
        expected: Option<Version>,
        next: Lease,
    ) -> Result<Swap<Lease>, PlaceError> {
        let patch = objects::lease_patch(&next, expected, &now());
        let swapped = if expected.is_some() {
            let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
            self.change(self.leases.patch(&self.name, &params, &patch))
                .await?
        } else {
            let object = serde_json::from_value(patch);
            let mut object: coordination::Lease =
                object.map_err(|error| failed(&self.place, error.to_string()))?;
            object.metadata.name = Some(self.name.clone());
            let params = PostParams::default();
            self.change(self.leases.create(&params, &object)).await?
        };
        let of_lease =
            |object| objects::lease(&object).map_err(|wrong| invalid(&self.place, &wrong));
        if let Some(object) = swapped {
            return Ok(Swap::Won(of_lease(object)?.version));
        }
        let now = self.read_lease().await?;
        if now.as_ref().is_some_and(|now| now.value == next) {
            return Err(PlaceError::Unknown {
                place: self.place.clone(),
                problem: "the Lease holds the same as was to be written".to_owned(),
            });
        }
        Ok(Swap::Lost(now))
    }
}

fn place_of(namespace: &str, name: &str) -> String {
    format!("Kubernetes, election {namespace}/{name}")
}

/// The time for people who look at the Lease.
fn now() -> String {
    let now = jiff::Timestamp::now();
    format!("{now:.6}")
}

impl Place for KubernetesPlace {
    fn read(&self) -> Answer<'_, Option<Versioned<Record>>> {
        Box::pin(self.read_record())
    }

    fn compare_and_swap(
        &self,
        expected: Option<Version>,
        next: Record,
    ) -> Answer<'_, Swap<Record>> {
        Box::pin(self.swap_record(expected, next))
    }

    fn read_lease(&self) -> Answer<'_, Option<Versioned<Lease>>> {
        Box::pin(self.read_lease())
    }

    fn swap_lease(&self, expected: Option<Version>, next: Lease) -> Answer<'_, Swap<Lease>> {
        Box::pin(self.swap_lease_of(expected, next))
    }

    fn watch(&self) -> Changes<'_> {
        watching::changes(
            &self.elections,
            &self.leases,
            &self.name,
            &self.place,
            self.timeout,
        )
    }
}
