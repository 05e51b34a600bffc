//! Who writes or removes in the folder of a group: removing takes parts away that a backup which is being taken may count on.
//!
//! Each puts a note first and looks for the notes of others then. So of two that begin at once, one sees the other at least.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::fault::Fault;
use crate::place::{Place, PlaceError};

/// A note is renewed this often.
const RENEW: Duration = Duration::from_secs(30);
/// A note that nobody has renewed for so long is left from somebody who was killed, milliseconds. Long enough for some renewals that fail.
const STALE_MS: i64 = 180_000;
/// Whoever could not renew his note for so long ends: others may soon take it for left.
const LOST: Duration = Duration::from_secs(120);

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A backup is taken.
    Backup,
    /// Old backups are removed.
    Remove,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Remove => "remove",
        }
    }
}

/// A note that is in the place.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
}

/// Why somebody does not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotBegun {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Other(Fault),
}

impl Running {
    /// Begins, unless another one is at work that must not be at the same time.
    pub(crate) async fn begin(
        place: &Place,
        group: &str,
        kind: Kind,
        id: &str,
    ) -> Result<Self, NotBegun> {
        let folder = format!("{group}/running");
        let running = Self {
            name: format!("{folder}/{}-{id}", kind.word()),
        };
        running.renew(place).await?;
        let notes = place.storage().list(&folder).await?;
        let own = notes.iter().find(|note| note.name == running.name);
        // By the clock of the place.
        let now_ms = own.map_or(i64::MIN, |own| own.written_ms);
        let other = notes.iter().find(|note| {
            let word = note.name.rsplit('/').next().unwrap_or_default();
            let is_other = match kind {
                // Two backups do each other no harm.
                Kind::Backup => word.starts_with(Kind::Remove.word()),
                Kind::Remove => true,
            };
            is_other && note.name != running.name && now_ms - note.written_ms < STALE_MS
        });
        if let Some(other) = other {
            let ago = (now_ms - other.written_ms).max(0) / 1_000;
            let left = (STALE_MS / 1_000 - ago).max(1);
            let fault = Fault::new(
                place.full(&other.name),
                format!(
                    "somebody is at work here, and said so {ago} s ago: wait until it has ended; when it was killed, the note counts for {left} s more, unless you remove it"
                ),
            );
            running.end(place).await?;
            return Err(NotBegun::Other(fault));
        }
        Ok(running)
    }

    /// Says that it is still at work.
    async fn renew(&self, place: &Place) -> Result<(), PlaceError> {
        let text = format!("process {}\n", std::process::id());
        place.storage().put(&self.name, Bytes::from(text)).await
    }

    /// Does the work and says meanwhile that it goes on.
    pub(crate) async fn during<T, E: From<PlaceError>>(
        &self,
        place: &Place,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::select! {
            done = work => done,
            lost = self.keep(place) => Err(lost.into()),
        }
    }

    /// Renews the note until that has failed for a while.
    async fn keep(&self, place: &Place) -> PlaceError {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RENEW).await;
            match self.renew(place).await {
                Ok(()) => renewed = Instant::now(),
                Err(error) if renewed.elapsed() >= LOST => return error,
                // The next try may succeed.
                Err(_) => {}
            }
        }
    }

    pub(crate) async fn end(self, place: &Place) -> Result<(), PlaceError> {
        place.storage().remove(&self.name).await
    }
}
