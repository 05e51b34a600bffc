//! Where the members of a broker group in this process keep who is their master: in memory, and in a file of the data folder.

use std::path::PathBuf;
use std::sync::Arc;

use rmq_election::place::memory::{Memory, MemoryPlace};
use rmq_election::place::{
    Answer, Changes, Lease, Place, PlaceError, Record, Swap, Version, Versioned,
};
use tokio::sync::Mutex;

use crate::error::Failure;
use crate::exit_code::Exit;

/// The record of a group: in memory, and in a file for the next start.
pub(super) struct Kept {
    memory: Memory,
    file: Arc<PathBuf>,
    /// Swaps, one after the other.
    swaps: Arc<Mutex<()>>,
}

impl Kept {
    /// What the file keeps, or nothing.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) async fn open(file: PathBuf) -> Result<Self, Failure> {
        let memory = Memory::new();
        let cannot = |error: std::io::Error| {
            Failure::new(
                Exit::Failed,
                "the members of a broker group cannot elect their master",
            )
            .fact("file", file.display())
            .cause(&error)
            .try_this("remove the data folder (--data), or start with --tmp")
        };
        match std::fs::read(&file) {
            Ok(text) => {
                let record: Record =
                    serde_json::from_slice(&text).map_err(|error| cannot(error.into()))?;
                let swapped = memory
                    .way("rmq-ctl dev")
                    .compare_and_swap(None, record)
                    .await;
                swapped.map_err(|error| cannot(std::io::Error::other(error.to_string())))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(error)),
        }
        Ok(Self {
            memory,
            file: Arc::new(file),
            swaps: Arc::default(),
        })
    }

    /// The way of one member.
    pub(super) fn way(&self, slot: i64) -> KeptWay {
        KeptWay {
            way: self.memory.way(format!("member {slot}")),
            file: Arc::clone(&self.file),
            swaps: Arc::clone(&self.swaps),
        }
    }
}

/// One member's way to the record.
pub(super) struct KeptWay {
    way: MemoryPlace,
    file: Arc<PathBuf>,
    swaps: Arc<Mutex<()>>,
}

impl KeptWay {
    /// The file has the next record before a member sees it: a record that nobody saw is a swap without an answer.
    fn keep(&self, record: &Record) -> Result<(), PlaceError> {
        let failed = |error: std::io::Error| PlaceError::Failed {
            place: self.file.display().to_string(),
            problem: error.to_string(),
        };
        let text = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
        let next = self.file.with_extension("election.next");
        // A few kilobytes, at each change of the master or of the set.
        std::fs::write(&next, text)
            .and_then(|()| std::fs::rename(&next, &*self.file))
            .map_err(failed)
    }
}

impl Place for KeptWay {
    fn read(&self) -> Answer<'_, Option<Versioned<Record>>> {
        self.way.read()
    }

    fn compare_and_swap(
        &self,
        expected: Option<Version>,
        next: Record,
    ) -> Answer<'_, Swap<Record>> {
        Box::pin(async move {
            let _one = self.swaps.lock().await;
            let now = self.way.read().await?;
            if now.as_ref().map(|now| now.version) == expected {
                self.keep(&next)?;
            }
            self.way.compare_and_swap(expected, next).await
        })
    }

    fn read_lease(&self) -> Answer<'_, Option<Versioned<Lease>>> {
        self.way.read_lease()
    }

    fn swap_lease(&self, expected: Option<Version>, next: Lease) -> Answer<'_, Swap<Lease>> {
        self.way.swap_lease(expected, next)
    }

    fn watch(&self) -> Changes<'_> {
        self.way.watch()
    }
}

#[cfg(test)]
mod tests {
    use rmq_election::place::{AckMode, Policy};

    use super::*;

    #[tokio::test]
    async fn a_record_is_there_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("broker.election");
        let policy = Policy {
            ack_mode: AckMode::InSync,
            min_in_sync: 2,
        };
        let record = Record {
            epoch: 7,
            ..Record::vacant(Vec::new(), policy)
        };
        let way = Kept::open(file.clone()).await.unwrap().way(0);
        assert_eq!(way.read().await, Ok(None));
        let first = way.compare_and_swap(None, record.clone()).await.unwrap();
        assert_eq!(first, Swap::Won(Version(1)));
        // Who is late changes nothing, neither here nor in the file.
        let late = Record {
            epoch: 8,
            ..record.clone()
        };
        let lost = way.compare_and_swap(None, late).await.unwrap();
        assert!(matches!(lost, Swap::Lost(Some(_))));
        let again = Kept::open(file.clone()).await.unwrap().way(1);
        let read = again.read().await.unwrap().unwrap();
        assert_eq!(read.value, record);
        std::fs::write(&file, "{").unwrap();
        assert!(Kept::open(file).await.is_err());
    }
}
