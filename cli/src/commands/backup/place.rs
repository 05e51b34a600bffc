//! The place of backups, as the command line names it.

use clap::Args;
use rmq_backup::{Fault, Found, Manifest, Place, PlaceError, PlaceOptions};

use crate::codes;
use crate::error::Failure;

/// Options of every verb that works with a place of backups.
#[derive(Debug, Clone, Args)]
pub(crate) struct AtOptions {
    /// The S3 server of an s3:// place, such as `https://minio.example:9000`. Default: `AWS_ENDPOINT_URL`, or AWS.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,

    /// The region of an s3:// place. Default: `AWS_REGION`, or us-east-1.
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
}

impl AtOptions {
    pub(crate) fn open(&self, text: &str) -> Result<Place, Failure> {
        let options = PlaceOptions {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
        };
        Place::open(text, &options).map_err(|error| {
            Failure::coded(&codes::INVALID, "the place of the backups cannot be used")
                .cause(&error)
                .try_this("a folder, or s3://BUCKET/PREFIX with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")
        })
    }
}

/// A place that cannot be read or written.
pub(crate) fn not_reached(what: &str, place: &Place, error: &PlaceError) -> Failure {
    Failure::coded(&codes::IO, what)
        .fact("place", place.text())
        .cause(error)
}

/// A backup that is damaged.
pub(crate) fn damaged(what: &str, place: &Place, fault: &Fault) -> Failure {
    Failure::coded(&codes::BACKUP, what)
        .fact("place", place.text())
        .because(fault.to_string())
}

/// The one group of a place, or the one that is named.
pub(crate) async fn group(place: &Place, wanted: Option<&str>) -> Result<String, Failure> {
    let groups = rmq_backup::groups(place).await;
    let groups = groups.map_err(|error| not_reached("cannot list backups", place, &error))?;
    let none = |what: String| Failure::coded(&codes::NOT_FOUND, what).fact("place", place.text());
    match (wanted, groups.as_slice()) {
        (Some(wanted), groups) if groups.iter().any(|group| group == wanted) => {
            Ok(wanted.to_owned())
        }
        (None, [only]) => Ok(only.clone()),
        (_, []) => Err(none("there are no backups".to_owned())
            .try_this("rmq-ctl backup GROUP --to PLACE takes one")),
        (Some(wanted), groups) => Err(none(format!(
            "there are no backups of broker group \"{wanted}\""
        ))
        .because(format!("there are backups of {}", groups.join(", ")))),
        (None, groups) => Err(Failure::coded(&codes::INVALID, "of which broker group")
            .fact("place", place.text())
            .because(format!("there are backups of {}", groups.join(", ")))
            .try_this(format!("--group {}", groups[0]))),
    }
}

/// The backups of a group, oldest first.
pub(crate) async fn list(place: &Place, group: &str) -> Result<Vec<Found>, Failure> {
    let found = rmq_backup::list(place, group).await;
    found.map_err(|error| not_reached("cannot list backups", place, &error))
}

/// The newest backup of a group, or the one that is named.
pub(crate) async fn one(
    place: &Place,
    group: &str,
    wanted: Option<&str>,
) -> Result<Manifest, Failure> {
    let mut found = list(place, group).await?;
    let Some(wanted) = wanted else {
        return match found.pop() {
            Some(Ok(newest)) => Ok(newest),
            Some(Err(fault)) => Err(damaged("the newest backup is damaged", place, &fault)
                .try_this("--backup ID, with an older one of `rmq-ctl backup list`")),
            None => Err(Failure::coded(&codes::NOT_FOUND, "there are no backups")
                .fact("place", place.text())),
        };
    };
    let ids: Vec<String> = found
        .iter()
        .flatten()
        .map(|backup| backup.id.clone())
        .collect();
    let fault = found.iter().find_map(|one| match one {
        Err(fault) if fault.name.contains(wanted) => Some(fault.clone()),
        _ => None,
    });
    if let Some(fault) = fault {
        return Err(damaged("the backup is damaged", place, &fault));
    }
    let mut whole = found.into_iter().flatten();
    whole.find(|backup| backup.id == wanted).ok_or_else(|| {
        Failure::coded(
            &codes::NOT_FOUND,
            format!("there is no backup \"{wanted}\""),
        )
        .fact("place", place.text())
        .because(format!("there are {}", ids.join(", ")))
    })
}
