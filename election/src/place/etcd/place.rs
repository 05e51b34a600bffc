//! The place: reads, swaps and watches of the two keys.

use std::fmt;

use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::{EtcdConfig, WrongEtcdConfig};
use super::endpoints::Endpoints;
use super::keys::{Keys, first_of, place_of, value, version};
use super::watching;
use crate::place::{
    Answer, Changes, Lease, Place, PlaceError, Record, Swap, Version, Versioned, stored,
};

/// The place of one group in an etcd.
pub struct EtcdPlace {
    endpoints: Endpoints,
    keys: Keys,
}

impl fmt::Debug for EtcdPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdPlace")
            .field("keys", &self.keys)
            .field("endpoints", &self.endpoints)
            .finish()
    }
}

impl EtcdPlace {
    /// The place; nothing is connected until it is asked.
    ///
    /// # Errors
    /// When the configuration cannot be right.
    pub fn new(config: &EtcdConfig) -> Result<Self, WrongEtcdConfig> {
        config.check()?;
        Ok(Self {
            endpoints: Endpoints::new(config),
            keys: Keys::of(config),
        })
    }

    /// The key of the record, for messages and tools.
    #[must_use]
    pub fn record_key(&self) -> &str {
        &self.keys.record
    }

    /// The key of the lease.
    #[must_use]
    pub fn lease_key(&self) -> &str {
        &self.keys.lease
    }

    async fn get<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<Versioned<T>>, PlaceError> {
        let txn = Txn::new().and_then([TxnOp::get(key, None)]);
        let answer = self.endpoints.read(txn).await?;
        let kv = first_of(answer.op_responses().first());
        kv.map(|kv| value(&kv)).transpose()
    }

    async fn swap<T: DeserializeOwned + Serialize>(
        &self,
        key: &str,
        expected: Option<Version>,
        next: T,
    ) -> Result<Swap<T>, PlaceError> {
        let text = stored::write(&next).map_err(|problem| PlaceError::Failed {
            place: place_of(key),
            problem: format!("the new value is not stored: {problem}"),
        })?;
        // No key has a revision that large.
        let revision = expected.map_or(0, |version| i64::try_from(version.0).unwrap_or(i64::MAX));
        let txn = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, revision)])
            .and_then([TxnOp::put(key, text, None)])
            .or_else([TxnOp::get(key, None)]);
        let answer = self.endpoints.change(txn).await?;
        if answer.succeeded() {
            let revision = answer.header().map_or(0, |header| header.revision());
            return Ok(Swap::Won(version(revision)));
        }
        let kv = first_of(answer.op_responses().first());
        Ok(Swap::Lost(kv.map(|kv| value(&kv)).transpose()?))
    }
}

impl Place for EtcdPlace {
    fn read(&self) -> Answer<'_, Option<Versioned<Record>>> {
        Box::pin(self.get(&self.keys.record))
    }

    fn compare_and_swap(
        &self,
        expected: Option<Version>,
        next: Record,
    ) -> Answer<'_, Swap<Record>> {
        Box::pin(self.swap(&self.keys.record, expected, next))
    }

    fn read_lease(&self) -> Answer<'_, Option<Versioned<Lease>>> {
        Box::pin(self.get(&self.keys.lease))
    }

    fn swap_lease(&self, expected: Option<Version>, next: Lease) -> Answer<'_, Swap<Lease>> {
        Box::pin(self.swap(&self.keys.lease, expected, next))
    }

    fn watch(&self) -> Changes<'_> {
        watching::changes(&self.endpoints, &self.keys)
    }
}
