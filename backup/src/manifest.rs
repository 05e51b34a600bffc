//! What a backup says of itself: one file, written last. A backup without it is none.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use rmq_protocol::message::LogPosition;
use rmq_store::Epoch;

use crate::fault::Fault;
use crate::part::PartName;

/// The version that this program writes and reads.
const FORMAT: u32 = 1;

/// What a backup has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Version of this file: 1.
    pub format: u32,
    /// The name of the backup: when it began, and the position.
    pub id: String,
    /// The cluster.
    pub cluster: String,
    /// The broker group.
    pub group: String,
    /// The slot of the member that was copied.
    pub member: u64,
    /// Which data the member had.
    pub incarnation: String,
    /// Whether it was the master.
    pub from_master: bool,
    /// When the copying began. The backup has everything that was confirmed then.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// The backup has the log below this position, and the tables at it.
    pub position: u64,
    /// The log begins here.
    pub begins: u64,
    /// Size of the segments, bytes.
    pub segment_bytes: u64,
    /// Which masters have written the log, oldest first.
    pub epochs: Vec<EpochOf>,
    /// Rows of the tables.
    pub rows: u64,
    /// The tables, in order.
    pub tables: Vec<TablesOf>,
    /// The folder of the parts.
    pub lineage: String,
    /// The log, in order, without gaps.
    pub log: Vec<PartOf>,
    /// What of it was copied by this backup, and is not of one before: bytes of the log.
    pub sent_bytes: u64,
}

/// A master of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochOf {
    /// Its number.
    pub number: u64,
    /// The position of its first byte.
    pub first: u64,
}

/// A file with some of the tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablesOf {
    /// Its name in the folder of the tables of this backup.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its checksum, 64 hexadecimal digits.
    pub sha256: String,
}

/// A file with a part of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartOf {
    /// The position of its first byte.
    pub from: u64,
    /// The position of what follows.
    pub to: u64,
    /// The epoch of its last byte.
    pub epoch: u64,
    /// The first position of that epoch.
    pub epoch_first: u64,
    /// The size of the file.
    pub bytes: u64,
    /// The checksum that the file carries, 64 hexadecimal digits.
    pub sha256: String,
}

impl PartOf {
    pub(crate) fn name(&self) -> PartName {
        PartName {
            from: self.from,
            to: self.to,
            epoch: self.epoch,
            epoch_first: self.epoch_first,
        }
    }
}

/// The file.
#[derive(Serialize, Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    manifest: &'a RawValue,
    /// Of the text of the manifest.
    sha256: String,
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The 32 bytes of a checksum.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

impl Manifest {
    pub(crate) const FORMAT: u32 = FORMAT;

    /// Bytes of all files of the backup, those of earlier ones among them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let tables: u64 = self.tables.iter().map(|one| one.bytes).sum();
        let log: u64 = self.log.iter().map(|part| part.bytes).sum();
        tables + log
    }

    pub(crate) fn epochs(&self) -> Vec<Epoch> {
        let epochs = self.epochs.iter().map(|epoch| Epoch {
            number: epoch.number,
            first: LogPosition(epoch.first),
        });
        epochs.collect()
    }

    /// The file.
    pub(crate) fn write(&self) -> Vec<u8> {
        let text = serde_json::to_string_pretty(self).and_then(RawValue::from_string);
        let text = text.expect("plain data always serialises");
        let file = File {
            sha256: sha256(text.get().as_bytes()),
            manifest: &text,
        };
        serde_json::to_vec(&file).expect("plain data always serialises")
    }

    /// Reads the file `name`, all of which was checked.
    ///
    /// # Errors
    /// It is damaged, or of another version.
    pub(crate) fn read(name: &str, bytes: &[u8]) -> Result<Self, Fault> {
        let wrong = |says: String| Fault::new(name, says);
        let file: File<'_> = serde_json::from_slice(bytes)
            .map_err(|error| wrong(format!("it is no manifest: {error}")))?;
        if sha256(file.manifest.get().as_bytes()) != file.sha256 {
            return Err(wrong("its checksum is wrong: it is damaged".to_owned()));
        }
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version = serde_json::from_str(file.manifest.get())
            .map_err(|error| wrong(format!("it is no manifest: {error}")))?;
        if version.format != FORMAT {
            return Err(wrong(format!(
                "it has format {}, this version knows format {FORMAT}: use the rmq-ctl that took the backup",
                version.format
            )));
        }
        let manifest: Self = serde_json::from_str(file.manifest.get())
            .map_err(|error| wrong(format!("it is no manifest: {error}")))?;
        manifest.check().map_err(wrong)?;
        Ok(manifest)
    }

    /// Whether its parts are a whole.
    fn check(&self) -> Result<(), String> {
        if self.tables.is_empty() {
            return Err("it has no tables".to_owned());
        }
        if self.begins > self.position {
            return Err("it begins above its end".to_owned());
        }
        let mut at = self.begins;
        for part in &self.log {
            if part.from != at || part.to <= part.from {
                return Err(format!("its log has a gap at position {at}"));
            }
            if unhex(&part.sha256).is_none() {
                return Err(format!("the part from {at} has no checksum"));
            }
            at = part.to;
        }
        if at != self.position {
            return Err(format!(
                "its log ends at {at}, and its tables are those at {}",
                self.position
            ));
        }
        let rises = |pair: &[EpochOf]| match pair {
            [one, next] => one.number < next.number && one.first < next.first,
            _ => true,
        };
        if self.epochs.is_empty() || !self.epochs.windows(2).all(rises) {
            return Err("its epochs are out of order".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifest(cuts: &[u64]) -> Manifest {
        let mut at = 4_096;
        let log = cuts.iter().map(|cut| {
            let from = at;
            at += cut;
            PartOf {
                from,
                to: at,
                epoch: 1,
                epoch_first: 0,
                bytes: cut + 80,
                sha256: sha256(&from.to_le_bytes()),
            }
        });
        Manifest {
            format: FORMAT,
            id: "20260131T090000Z-1".to_owned(),
            cluster: "c".to_owned(),
            group: "broker-a".to_owned(),
            member: 2,
            incarnation: "00".to_owned(),
            from_master: true,
            began: Timestamp::UNIX_EPOCH,
            ended: Timestamp::UNIX_EPOCH,
            begins: 4_096,
            segment_bytes: 1 << 20,
            epochs: vec![EpochOf {
                number: 1,
                first: 0,
            }],
            rows: 3,
            tables: vec![TablesOf {
                name: "0000".to_owned(),
                bytes: 10,
                sha256: sha256(b"x"),
            }],
            lineage: "l".to_owned(),
            log: log.collect(),
            sent_bytes: 7,
            position: at,
        }
    }

    proptest! {
        #[test]
        fn every_manifest_is_read_back(cuts in prop::collection::vec(1_u64..1 << 30, 0..20)) {
            let manifest = manifest(&cuts);
            prop_assert_eq!(Manifest::read("m", &manifest.write()), Ok(manifest));
        }

        #[test]
        fn a_manifest_with_a_flipped_bit_is_refused(cuts in prop::collection::vec(1_u64..1 << 30, 1..4), at: prop::sample::Index, bit in 0_u8..8) {
            let manifest = manifest(&cuts);
            let mut bytes = manifest.write();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let read = Manifest::read("m", &bytes);
            // White space between two tokens of the file says nothing.
            prop_assert!(read.is_err() || read == Ok(manifest), "{at}");
        }

        #[test]
        fn a_manifest_that_lacks_a_part_is_refused(cuts in prop::collection::vec(1_u64..1 << 30, 1..20), gone: prop::sample::Index) {
            let mut manifest = manifest(&cuts);
            manifest.log.remove(gone.index(cuts.len()));
            prop_assert!(Manifest::read("m", &manifest.write()).is_err());
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut later = manifest(&[1]);
        later.format = 2;
        let fault = Manifest::read("m", &later.write()).expect_err("a later one");
        assert!(fault.says.contains("format 2"), "{fault}");
    }
}
