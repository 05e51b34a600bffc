//! Removing old backups, and what no other backup needs of them.

use std::collections::BTreeSet;

use crate::fault::Fault;
use crate::look;
use crate::manifest::Manifest;
use crate::place::{Place, PlaceError};
use crate::running::{Kind, NotBegun, Running};
use crate::take::TakeError;

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Backups, oldest first.
    pub ids: Vec<String>,
    /// Files of theirs.
    pub files: usize,
    /// Bytes of these files.
    pub bytes: u64,
}

/// Removes all backups of a group but the newest `keep`; with `dry_run` it only says which. Parts of the log that a remaining backup has stay.
///
/// # Errors
/// [`TakeError::Busy`]: a backup is taken or removed there now, or a manifest of a backup that stays cannot be read, so nobody knows what it needs.
/// [`TakeError::Place`].
pub async fn remove(
    place: &Place,
    group: &str,
    keep: usize,
    dry_run: bool,
) -> Result<Removed, TakeError<std::convert::Infallible>> {
    if dry_run {
        return all(place, group, keep, true).await;
    }
    let id = std::process::id().to_string();
    let running = match Running::begin(place, group, Kind::Remove, &id).await {
        Ok(running) => running,
        Err(NotBegun::Place(error)) => return Err(error.into()),
        Err(NotBegun::Other(fault)) => return Err(TakeError::Busy(fault)),
    };
    let removed = running.during(place, all(place, group, keep, false));
    let removed = removed.await;
    // A note that stays holds others up for a few minutes, and nothing else.
    let _ = running.end(place).await;
    removed
}

/// Files of a backup with their sizes.
fn files(backup: &Manifest) -> impl Iterator<Item = (String, u64)> {
    let tables = backup.tables.iter();
    let tables = tables.map(|table| (backup.tables_name(&table.name), table.bytes));
    let log = backup.log.iter();
    tables.chain(log.map(|part| (backup.part_name(part), part.bytes)))
}

async fn all(
    place: &Place,
    group: &str,
    keep: usize,
    dry_run: bool,
) -> Result<Removed, TakeError<std::convert::Infallible>> {
    let names = look::manifests(place, group).await?;
    let (old, stay) = names.split_at(names.len().saturating_sub(keep));
    let mut needed = BTreeSet::new();
    for name in stay {
        let backup = look::read(place, name).await?;
        let backup = backup.map_err(|fault| {
            TakeError::Busy(Fault::new(
                fault.name,
                format!(
                    "{}; it is not known what this backup needs, so nothing is removed: remove it by hand first",
                    fault.says
                ),
            ))
        })?;
        needed.extend(files(&backup).map(|(name, _)| name));
    }
    let mut removed = Removed::default();
    for name in old {
        let backup = look::read(place, name).await?;
        let id = name.rsplit('/').next().unwrap_or(name);
        removed.ids.push(id.trim_end_matches(".json").to_owned());
        // Without its manifest it is no backup any more, whatever happens next.
        remove_file(place, name, dry_run).await?;
        // Of one that cannot be read, the files stay.
        let Ok(backup) = backup else { continue };
        for (file, bytes) in files(&backup) {
            if needed.insert(file.clone()) {
                remove_file(place, &file, dry_run).await?;
                removed.files += 1;
                removed.bytes += bytes;
            }
        }
    }
    Ok(removed)
}

async fn remove_file(place: &Place, name: &str, dry_run: bool) -> Result<(), PlaceError> {
    match dry_run {
        true => Ok(()),
        false => place.storage().remove(name).await,
    }
}
