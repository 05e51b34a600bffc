//! `rmq-ctl restore`: a store for a broker that has none, from a backup.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use rmq_backup::RestoreError;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::backup::place::{self, AtOptions, damaged, not_reached};
use super::backup::progress::Shown;
use super::dev::servers::store_config;
use crate::codes;
use crate::error::Failure;
use crate::numbers;
use crate::output::Output;
use crate::render::{RenderOptions, schema_of};

/// Options of `restore`.
#[derive(Debug, Args)]
#[command(
    after_help = "Changes a folder of this machine, and asks no broker: the broker that is to use the folder must not run. In a group, one member is restored, and the
others copy from it. A folder that has something is refused; one in which a restore was interrupted begins again. All is checked before the command
says that it is done. The page docs/operate/backup.md has the steps.

Examples:
  rmq-ctl restore --from ./backups --store ./restored
  rmq-ctl restore --from ./backups --store ./restored --if-empty
  rmq-ctl restore --from s3://backups --store ./restored --endpoint http://localhost:9000"
)]
pub(crate) struct Options {
    /// Where the backups are: a folder, or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "PLACE")]
    from: String,

    /// The folder of the broker's data (dataDir): empty, or new.
    #[arg(long, value_name = "FOLDER")]
    store: PathBuf,

    /// The broker group whose backup it is; not needed where there are backups of one.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,

    /// The backup, an ID of `rmq-ctl backup list`. Default: the newest.
    #[arg(long, value_name = "ID")]
    backup: Option<String>,

    /// Do nothing where the folder has a store already: for pods and scripts that may run twice.
    #[arg(long)]
    if_empty: bool,

    #[command(flatten)]
    at: AtOptions,

    #[command(flatten)]
    render: RenderOptions,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct RestoreAbout {
    group: String,
    backup: String,
    store: String,
    /// The store has the log from the first position to the second, in bytes.
    begins: u64,
    position: u64,
    /// Records of the log.
    records: u64,
    /// The epoch that begins at the position.
    epoch: u64,
}

pub(crate) async fn run(options: &Options, output: &Output) -> Result<(), Failure> {
    if options.if_empty && rmq_backup::has_store(&options.store) {
        let store = options.store.display();
        output.say(&format!("{store} has a store already: nothing is restored"));
        return Ok(());
    }
    let place = options.at.open(&options.from)?;
    let group = place::group(&place, options.group.as_deref()).await?;
    let backup = place::one(&place, &group, options.backup.as_deref()).await?;
    let store = store_config(&backup.cluster, &backup.group, &options.store);
    let began = Instant::now();
    let shown = Shown::new(output);
    let restored = rmq_backup::restore(&place, &backup, store, &shown).await;
    drop(shown);
    let restored = restored.map_err(|error| {
        let what = format!("backup {} is not restored", backup.id);
        match error {
            RestoreError::Place(error) => not_reached(&what, &place, &error),
            RestoreError::Damaged(fault) => damaged(&what, &place, &fault).try_this(
                "rmq-ctl backup verify says what else is damaged; --backup ID takes an older one",
            ),
            error @ RestoreError::NotEmpty { .. } => {
                Failure::coded(&codes::INVALID, what).cause(&error)
            }
            error => Failure::coded(&codes::IO, what)
                .fact("place", place.text())
                .cause(&error),
        }
    })?;
    let folder = options.store.display().to_string();
    let about = RestoreAbout {
        group: backup.group.clone(),
        backup: backup.id.clone(),
        store: folder.clone(),
        begins: restored.begins.0,
        position: restored.end.0,
        records: restored.records,
        epoch: restored.epoch,
    };
    let took = numbers::length(i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX));
    let show = |output: &Output| {
        output.data(&format!(
            "backup {} of {} restored to {folder} in {took}: {} records, the log from {} to {}",
            backup.id, backup.group, restored.records, restored.begins, restored.end
        ));
        output.say(&format!(
            "messages older than the broker's retentionHours go when the broker runs; the broker of this folder keeps the size of segments: segmentBytes {}",
            backup.segment_bytes
        ));
    };
    let schema = schema_of::<RestoreAbout>;
    let value = json!(about);
    options
        .render
        .object("Restore", schema, &backup.id, &value, output, show)
}
