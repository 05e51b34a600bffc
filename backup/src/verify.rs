//! Reading all of a backup, and checking each record of it.

use std::collections::BTreeSet;

use bytes::Bytes;
use rmq_store::SnapshotCheck;

use crate::fault::Fault;
use crate::manifest::{Manifest, PartOf, sha256, unhex};
use crate::part;
use crate::place::{Place, PlaceError};
use crate::progress::Progress;

/// What was read of backups.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    /// Backups that were read.
    pub backups: usize,
    /// Bytes of files that were read; what several backups share is read once.
    pub bytes: u64,
    /// Intact records.
    pub records: u64,
    /// Rows of tables.
    pub rows: u64,
    /// All that is wrong.
    pub faults: Vec<Fault>,
}

/// The chunks of a file with tables.
pub(crate) fn chunks(file: &[u8]) -> impl Iterator<Item = Result<&[u8], &'static str>> {
    let mut rest = file;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let cut = "a chunk is cut off";
        let Some((length, after)) = rest.split_first_chunk::<4>() else {
            rest = &[];
            return Some(Err(cut));
        };
        let Some((chunk, after)) = after.split_at_checked(u32::from_le_bytes(*length) as usize)
        else {
            rest = &[];
            return Some(Err(cut));
        };
        rest = after;
        Some(Ok(chunk))
    })
}

/// Checks a file with tables against its manifest.
pub(crate) fn check_tables(file: &[u8], bytes: u64, sum: &str) -> Result<(), String> {
    if file.len() as u64 != bytes {
        return Err(format!(
            "it has {} bytes and should have {bytes}",
            file.len()
        ));
    }
    match sha256(file) == sum {
        true => Ok(()),
        false => Err("its checksum is wrong: it is damaged".to_owned()),
    }
}

/// Checks a part of the log against its manifest. Returns its records and their number. Takes its time.
pub(crate) fn check_part<'a>(file: &'a [u8], part: &PartOf) -> Result<(&'a [u8], u64), String> {
    if file.len() as u64 != part.bytes {
        return Err(format!(
            "it has {} bytes and should have {}",
            file.len(),
            part.bytes
        ));
    }
    let sum = unhex(&part.sha256).ok_or("its manifest has no checksum of it")?;
    let (records, checked) = part::open(file, part.name(), sum)?;
    Ok((records, checked.records))
}

/// Names of a backup's files.
impl Manifest {
    pub(crate) fn tables_name(&self, file: &str) -> String {
        format!("{}/tables/{}/{file}", self.group, self.id)
    }

    pub(crate) fn part_name(&self, part: &PartOf) -> String {
        format!("{}/log/{}/{}", self.group, self.lineage, part.name())
    }
}

/// Reads all of these backups.
///
/// # Errors
/// The place cannot be read. What is wrong with the backups is in [`Verified::faults`].
pub async fn verify(
    place: &Place,
    backups: &[Manifest],
    progress: &dyn Progress,
) -> Result<Verified, PlaceError> {
    let mut seen = BTreeSet::new();
    let all = backups.iter().flat_map(|backup| {
        let log = backup.log.iter();
        log.map(|part| (backup.part_name(part), part.bytes))
    });
    let log: u64 = all
        .filter(|(name, _)| seen.insert(name.clone()))
        .map(|(_, bytes)| bytes)
        .sum();
    progress.begins("check", log);
    let mut verified = Verified {
        backups: backups.len(),
        ..Verified::default()
    };
    let mut read = BTreeSet::new();
    for backup in backups {
        verified.tables(place, backup).await?;
        for part in &backup.log {
            let name = backup.part_name(part);
            if !read.insert((name.clone(), part.sha256.clone())) {
                continue;
            }
            let Some(file) = verified.file(place, &name).await? else {
                continue;
            };
            progress.moved(file.len() as u64);
            let part = part.clone();
            let checked = tokio::task::spawn_blocking(move || {
                check_part(&file, &part).map(|(_, records)| records)
            });
            match checked.await.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(records) => verified.records += records,
                Err(says) => verified.fault(place, &name, says),
            }
        }
    }
    Ok(verified)
}

impl Verified {
    fn fault(&mut self, place: &Place, name: &str, says: impl Into<String>) {
        self.faults.push(Fault::new(place.full(name), says));
    }

    /// Reads a file; `None`: it is not there, which is a fault.
    async fn file(&mut self, place: &Place, name: &str) -> Result<Option<Bytes>, PlaceError> {
        match place.storage().get(name).await {
            Ok(file) => {
                self.bytes += file.len() as u64;
                Ok(Some(file))
            }
            Err(PlaceError::Missing { .. }) => {
                self.fault(place, name, "it is missing");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn tables(&mut self, place: &Place, backup: &Manifest) -> Result<(), PlaceError> {
        let mut check = Some(SnapshotCheck::default());
        for table in &backup.tables {
            let name = backup.tables_name(&table.name);
            let Some(file) = self.file(place, &name).await? else {
                check = None;
                continue;
            };
            if let Err(says) = check_tables(&file, table.bytes, &table.sha256) {
                self.fault(place, &name, says);
                check = None;
                continue;
            }
            let Some(check) = &mut check else { continue };
            for chunk in chunks(&file) {
                let taken = match chunk {
                    Ok(chunk) => check.take(chunk).map_err(|error| error.to_string()),
                    Err(says) => Err(says.to_owned()),
                };
                if let Err(says) = taken {
                    self.fault(place, &name, says);
                    return Ok(());
                }
            }
        }
        let Some(check) = check else { return Ok(()) };
        let name = format!("{}/tables/{}", backup.group, backup.id);
        match check.finish() {
            Ok((header, rows)) => {
                self.rows += rows;
                let is_same = header.position.0 == backup.position
                    && header.segment_bytes == backup.segment_bytes
                    && header.epochs == backup.epochs()
                    && rows == backup.rows
                    && (header.begins.0..=header.segment.0).contains(&backup.begins);
                if !is_same {
                    self.fault(
                        place,
                        &name,
                        "the tables are not those that the manifest names",
                    );
                }
            }
            Err(error) => self.fault(place, &name, error.to_string()),
        }
        Ok(())
    }
}
