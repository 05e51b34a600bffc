//! Which backups there are.

use std::collections::BTreeSet;

use crate::fault::Fault;
use crate::manifest::Manifest;
use crate::place::{Place, PlaceError};

/// A backup, or what is wrong with its manifest.
pub type Found = Result<Manifest, Fault>;

/// Broker groups that have backups in a place, sorted.
///
/// # Errors
/// The place cannot be read.
pub async fn groups(place: &Place) -> Result<Vec<String>, PlaceError> {
    let entries = place.storage().list("").await?;
    let groups: BTreeSet<String> = entries
        .iter()
        .filter_map(|entry| {
            let (group, rest) = entry.name.split_once('/')?;
            rest.starts_with("backups/").then(|| group.to_owned())
        })
        .collect();
    Ok(groups.into_iter().collect())
}

/// Names of the manifests of a group, oldest first.
pub(crate) async fn manifests(place: &Place, group: &str) -> Result<Vec<String>, PlaceError> {
    let entries = place.storage().list(&format!("{group}/backups")).await?;
    let names = entries.into_iter().map(|entry| entry.name);
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".json")).collect();
    names.sort();
    Ok(names)
}

/// Reads a manifest.
pub(crate) async fn read(place: &Place, name: &str) -> Result<Found, PlaceError> {
    let bytes = place.storage().get(name).await?;
    Ok(Manifest::read(&place.full(name), &bytes))
}

/// The backups of a group, oldest first.
///
/// # Errors
/// The place cannot be read.
pub async fn list(place: &Place, group: &str) -> Result<Vec<Found>, PlaceError> {
    let mut found = Vec::new();
    for name in manifests(place, group).await? {
        match read(place, &name).await {
            // Removed meanwhile.
            Err(PlaceError::Missing { .. }) => {}
            one => found.push(one?),
        }
    }
    Ok(found)
}

/// The newest backup of a group; `None`: there is none.
///
/// # Errors
/// The place cannot be read.
pub async fn newest(place: &Place, group: &str) -> Result<Option<Found>, PlaceError> {
    match manifests(place, group).await?.last() {
        Some(name) => read(place, name).await.map(Some),
        None => Ok(None),
    }
}
