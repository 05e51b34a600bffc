//! Where backups are kept: names with bytes, written as a whole or not at all.

mod bucket;
mod folder;
mod http;
mod signing;

use std::fmt;
use std::sync::Arc;

pub use bytes::Bytes;
use futures_util::future::BoxFuture;

use self::bucket::Bucket;
use self::folder::Folder;

/// Why a place does not do what it is asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The text names no place.
    #[error("{text:?} is no place for backups: write a folder, or s3://BUCKET/PREFIX: {reason}")]
    Name {
        /// The text.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// There is nothing of this name.
    #[error("{name} is not there")]
    Missing {
        /// The name, with the place.
        name: String,
    },
    /// The disk or the server refuses.
    #[error("cannot {doing} {name}: {source}")]
    Failed {
        /// What was tried.
        doing: &'static str,
        /// The name, with the place.
        name: String,
        /// What the system or the server says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Something in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, from the beginning of the place.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, Unix milliseconds.
    pub written_ms: i64,
}

/// What a place can do. Names have `/` between their parts.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Writes all of it, durably, or nothing.
    fn put<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<(), PlaceError>>;
    /// All of it.
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Bytes, PlaceError>>;
    /// The first `bytes` of it, or all when it has fewer.
    fn head<'a>(&'a self, name: &'a str, bytes: u64) -> BoxFuture<'a, Result<Bytes, PlaceError>>;
    /// Everything below a folder, in no order.
    fn list<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<Entry>, PlaceError>>;
    /// Removes it; what is not there is no error.
    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), PlaceError>>;
}

/// What is to be known of a place beside its name.
#[derive(Debug, Clone, Default)]
pub struct PlaceOptions {
    /// The server of a bucket, as `https://minio.example:9000`; `None`: what `AWS_ENDPOINT_URL` says, or AWS.
    pub endpoint: Option<String>,
    /// The region of a bucket; `None`: what `AWS_REGION` says, or `us-east-1`.
    pub region: Option<String>,
}

/// A place for backups. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Place {
    text: String,
    storage: Arc<dyn Storage>,
}

impl Place {
    /// A folder, or `s3://BUCKET/PREFIX` with credentials from the environment as the tools of AWS have them. Nothing is asked yet.
    ///
    /// # Errors
    /// [`PlaceError::Name`].
    pub fn open(text: &str, options: &PlaceOptions) -> Result<Self, PlaceError> {
        let storage: Arc<dyn Storage> = match text.split_once("://") {
            Some(("s3", rest)) => Arc::new(Bucket::open(text, rest, options)?),
            Some(_) => {
                return Err(PlaceError::Name {
                    text: text.to_owned(),
                    reason: "only s3:// is known".to_owned(),
                });
            }
            None if text.is_empty() => {
                return Err(PlaceError::Name {
                    text: text.to_owned(),
                    reason: "it is empty".to_owned(),
                });
            }
            None => Arc::new(Folder::new(text)),
        };
        Ok(Self {
            text: text.trim_end_matches('/').to_owned(),
            storage,
        })
    }

    /// Any other storage; `text` names it for people.
    #[must_use]
    pub fn of(text: impl Into<String>, storage: Arc<dyn Storage>) -> Self {
        Self {
            text: text.into(),
            storage,
        }
    }

    /// As it was named.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is behind it.
    #[must_use]
    pub fn shared(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.storage)
    }

    /// A name in this place, for people.
    pub(crate) fn full(&self, name: &str) -> String {
        format!("{}/{name}", self.text)
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }
}

/// An error of a system or server.
fn failed(
    doing: &'static str,
    name: String,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> PlaceError {
    PlaceError::Failed {
        doing,
        name,
        source: source.into(),
    }
}
