//! A bucket of a server that speaks S3.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreExt, RetryConfig};

use super::http::Connections;
use super::signing::Signing;
use super::{Entry, PlaceError, PlaceOptions, Storage, failed};

/// How often a request is tried again: what passes within seconds. What lasts longer is for who runs the command again, which continues.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(8),
            base: 2.0,
        },
        max_retries: 4,
        retry_timeout: Duration::from_secs(180),
    }
}

/// Objects below a prefix.
#[derive(Debug)]
pub(super) struct Bucket {
    text: String,
    prefix: Path,
    store: AmazonS3,
}

impl Bucket {
    /// `rest` is what follows `s3://` in `text`.
    pub(super) fn open(text: &str, rest: &str, options: &PlaceOptions) -> Result<Self, PlaceError> {
        let wrong = |reason: String| PlaceError::Name {
            text: text.to_owned(),
            reason,
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong("the bucket is missing".to_owned()));
        }
        let prefix = Path::parse(prefix.trim_matches('/'));
        let prefix = prefix.map_err(|error| wrong(error.to_string()))?;
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_http_connector(Connections)
            .with_crypto_provider(Arc::new(Signing))
            .with_retry(retries());
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &options.region {
            builder = builder.with_region(region);
        }
        let store = builder.build().map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            text: text.trim_end_matches('/').to_owned(),
            prefix,
            store,
        })
    }

    fn path(&self, name: &str) -> Path {
        let parts = self.prefix.parts();
        let name = Path::from(name);
        parts.chain(name.parts()).collect()
    }

    fn error(
        &self,
        doing: &'static str,
        name: &str,
    ) -> impl FnOnce(object_store::Error) -> PlaceError {
        let name = format!("{}/{name}", self.text);
        move |error| match error {
            object_store::Error::NotFound { .. } => PlaceError::Missing { name },
            error => failed(doing, name, error),
        }
    }
}

impl Storage for Bucket {
    fn put<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<(), PlaceError>> {
        async move {
            let put = self.store.put(&self.path(name), bytes.into()).await;
            put.map(drop).map_err(self.error("write", name))
        }
        .boxed()
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Bytes, PlaceError>> {
        async move {
            let found = self.store.get(&self.path(name)).await;
            let found = found.map_err(self.error("read", name))?;
            found.bytes().await.map_err(self.error("read", name))
        }
        .boxed()
    }

    fn head<'a>(&'a self, name: &'a str, bytes: u64) -> BoxFuture<'a, Result<Bytes, PlaceError>> {
        async move {
            let found = self.store.get_range(&self.path(name), 0..bytes).await;
            found.map_err(self.error("read", name))
        }
        .boxed()
    }

    fn list<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<Entry>, PlaceError>> {
        async move {
            let path = self.path(folder);
            let all: Vec<_> = self
                .store
                .list(Some(&path))
                .try_collect()
                .await
                .map_err(self.error("list", folder))?;
            let skip = match self.prefix.as_ref().len() {
                0 => 0,
                prefix => prefix + 1,
            };
            let entries = all.into_iter().filter_map(|found| {
                Some(Entry {
                    name: found.location.as_ref().get(skip..)?.to_owned(),
                    bytes: found.size,
                    written_ms: found.last_modified.timestamp_millis(),
                })
            });
            Ok(entries.collect())
        }
        .boxed()
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), PlaceError>> {
        async move {
            match self.store.delete(&self.path(name)).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                removed => removed.map_err(self.error("remove", name)),
            }
        }
        .boxed()
    }
}
