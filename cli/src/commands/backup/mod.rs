//! `rmq-ctl backup`: copies of a broker group's data in a folder or a bucket.

mod member;
pub(crate) mod place;
pub(crate) mod progress;

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use rmq_backup::{Found, Manifest, PART_BYTES_MAX, Place, TakeError, Taken};
use rmq_client::protocol::ResponseCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use self::member::{Copied, choose};
use self::place::{AtOptions, damaged, not_reached};
use self::progress::Shown;
use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::completion::names::{broker_completer, member_completer};
use crate::error::Failure;

use crate::numbers;
use crate::output::Output;
use crate::render::{Listing, RenderOptions, Row, schema_of};
use crate::when;
use crate::write::WriteOptions;

/// Time limit of one request, unless --timeout says another: a broker writes its tables to disk before it gives them.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Options of `backup`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Reads only, from a running broker: everything that is confirmed when it begins. A second backup in the same place copies only what is new, and
one that was interrupted continues where it was. By default a replica in sync is copied, which spares the master. The page docs/operate/backup.md has
the rest. Credentials of s3:// places are those of the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, a web identity or an
instance role.

Examples:
  rmq-ctl backup broker-a --to ./backups
  rmq-ctl backup broker-a --to ./backups --rate 50MiB -o json
  rmq-ctl backup broker-a --to s3://backups/prod --endpoint http://localhost:9000
  rmq-ctl backup list ./backups"
)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,

    #[command(flatten)]
    take: TakeOptions,
}

#[derive(Debug, Args)]
struct TakeOptions {
    /// The broker group, or the address of one of its members.
    #[arg(value_name = "GROUP", required = true, add = broker_completer())]
    name: Option<String>,

    /// Where to: a folder, or s3://BUCKET/PREFIX. Each group has a folder of its own there.
    #[arg(long, value_name = "PLACE", required = true)]
    to: Option<String>,

    /// The member to copy: its slot, or its address. Default: a replica in sync, or else the master.
    #[arg(long, value_name = "MEMBER", add = member_completer())]
    member: Option<String>,

    /// No more bytes a second than this, such as 50MiB.
    #[arg(long, value_name = "BYTES", value_parser = numbers::parse_bytes)]
    rate: Option<u64>,

    /// Bytes of a part of the log, 64KiB to 512MiB: what an interruption loses at most. Two parts are in memory.
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = parse_part)]
    part_size: u64,

    #[command(flatten)]
    at: AtOptions,

    #[command(flatten)]
    render: RenderOptions,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the backups in a place.
    #[command(after_help = "Reads only, and asks no broker.

Examples:
  rmq-ctl backup list ./backups
  rmq-ctl backup list ./backups --group broker-a -o json")]
    List(ListOptions),
    /// Read all of the backups in a place, and check each record.
    #[command(
        after_help = "Reads only, and asks no broker. What several backups share is read once. Exit code 10: something is damaged or missing.

Examples:
  rmq-ctl backup verify ./backups
  rmq-ctl backup verify ./backups --group broker-a --newest"
    )]
    Verify(VerifyOptions),
    /// Remove old backups, and what no other backup needs of them.
    #[command(
        after_help = "Changes the place, and asks no broker. Not while a backup is taken there.

Examples:
  rmq-ctl backup remove ./backups --keep 7 --dry-run
  rmq-ctl backup remove ./backups --group broker-a --keep 30 --yes"
    )]
    Remove(RemoveOptions),
}

#[derive(Debug, Args)]
struct PlaceOptions {
    /// A folder, or s3://BUCKET/PREFIX.
    #[arg(value_name = "PLACE")]
    place: String,

    /// Only backups of this broker group.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,

    #[command(flatten)]
    at: AtOptions,
}

#[derive(Debug, Args)]
struct ListOptions {
    #[command(flatten)]
    of: PlaceOptions,

    #[command(flatten)]
    render: RenderOptions,
}

#[derive(Debug, Args)]
struct VerifyOptions {
    #[command(flatten)]
    of: PlaceOptions,

    /// Only this backup.
    #[arg(long, value_name = "ID")]
    backup: Option<String>,

    /// Only the newest backup of each group.
    #[arg(long, conflicts_with = "backup")]
    newest: bool,

    #[command(flatten)]
    render: RenderOptions,
}

#[derive(Debug, Args)]
struct RemoveOptions {
    #[command(flatten)]
    of: PlaceOptions,

    /// How many of the newest backups stay: 1 or more.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,

    #[command(flatten)]
    write: WriteOptions,
}

fn parse_part(text: &str) -> Result<u64, String> {
    let bytes = numbers::parse_bytes(text)?;
    match (64 << 10..=PART_BYTES_MAX as u64).contains(&bytes) {
        true => Ok(bytes),
        false => Err("a part has 64KiB to 512MiB".to_owned()),
    }
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    match &options.what {
        None => take(&options.take, cluster, output).await,
        Some(What::List(options)) => list(options, cluster, output).await,
        Some(What::Verify(options)) => verify(options, output).await,
        Some(What::Remove(options)) => remove(options, output).await,
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct BackupAbout {
    group: String,
    id: String,
    place: String,
    /// The slot of the member that was copied, and whether it was the master.
    member: u64,
    from_master: bool,
    /// When the copying began, RFC 3339.
    began: String,
    ended: String,
    /// The backup has the log from the first position to the second, in bytes.
    begins: u64,
    position: u64,
    /// Bytes of all of its files, those that it shares with others among them.
    bytes: u64,
    /// Bytes of them that were new.
    sent_bytes: u64,
}

fn about(backup: &Manifest, place: &Place) -> BackupAbout {
    BackupAbout {
        group: backup.group.clone(),
        id: backup.id.clone(),
        place: place.text().to_owned(),
        member: backup.member,
        from_master: backup.from_master,
        began: backup.began.to_string(),
        ended: backup.ended.to_string(),
        begins: backup.begins,
        position: backup.position,
        bytes: backup.bytes(),
        sent_bytes: backup.sent_bytes,
    }
}

async fn take(
    options: &TakeOptions,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    // The parser has seen to both.
    let name = options.name.as_deref().unwrap_or_default();
    let place = options.at.open(options.to.as_deref().unwrap_or_default())?;
    let mut patient = cluster.clone();
    patient.timeout = Some(cluster.timeout.unwrap_or(REQUEST_TIMEOUT));
    let cluster = Cluster::connect(&patient, output).await?;
    let name = cluster.known_broker(name).await?;
    let (address, label) = choose(&cluster, &name, options.member.as_deref()).await?;
    output.detail(&format!("{label} of {name} is copied, at {address}"));
    let mut source = Copied::new(cluster.client.remote(&address));
    let how = rmq_backup::TakeOptions {
        part_bytes: usize::try_from(options.part_size).unwrap_or(usize::MAX),
        bytes_per_second: options.rate,
    };
    let began = Instant::now();
    let shown = Shown::new(output);
    let taken = rmq_backup::take(&mut source, &place, &how, &shown).await;
    drop(shown);
    let taken = taken.map_err(|error| not_taken(&name, &address, &place, &cluster, error))?;
    tell(&taken, began.elapsed(), output);
    let backup = &taken.manifest;
    let value = json!(about(backup, &place));
    let schema = schema_of::<BackupAbout>;
    let took = numbers::length(i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX));
    let show = |output: &Output| {
        output.data(&format!(
            "backup {} of {name} taken from {label} in {took}: {}, {} of it new",
            backup.id,
            numbers::bytes(backup.bytes()),
            numbers::bytes(backup.sent_bytes),
        ));
    };
    options
        .render
        .object("Backup", schema, &backup.id, &value, output, show)
}

/// What people should know of a backup that was taken.
fn tell(taken: &Taken, took: Duration, output: &Output) {
    output.detail(&format!(
        "{} parts written, {} of the log were there already, {took:?}",
        taken.sent_parts,
        numbers::bytes(taken.reused_bytes)
    ));
    if taken.left_out_bytes > 0 {
        output.say(&format!(
            "warning: the oldest {} of the log are not in the backup: segments of another size (segmentBytes) lie there",
            numbers::bytes(taken.left_out_bytes)
        ));
    }
}

fn not_taken(
    name: &str,
    address: &str,
    place: &Place,
    cluster: &Cluster,
    error: TakeError<rmq_client::Error>,
) -> Failure {
    let what = format!("no backup of broker group \"{name}\" is taken");
    let again = "run it again: it continues where it was";
    match error {
        TakeError::Source { source, .. }
            if source.broker_code() == Some(ResponseCode::QueryNotFound.as_i32()) =>
        {
            Failure::coded(&codes::TIMEOUT, what)
                .fact("member", address)
                .cause(&source)
                .try_this(again)
        }
        TakeError::Source { source, .. } => cluster
            .failed(what, source)
            .fact("member", address)
            .try_this(again),
        TakeError::Place(error) => not_reached(&what, place, &error).try_this(again),
        TakeError::Busy(fault) => Failure::coded(&codes::IN_USE, what)
            .fact("place", place.text())
            .because(fault.to_string()),
        error => Failure::coded(&codes::PROTOCOL, what)
            .fact("member", address)
            .cause(&error),
    }
}

/// The groups that are meant.
async fn groups(of: &PlaceOptions) -> Result<(Place, Vec<String>), Failure> {
    let place = of.at.open(&of.place)?;
    if of.group.is_some() {
        let group = place::group(&place, of.group.as_deref()).await?;
        return Ok((place, vec![group]));
    }
    let groups = rmq_backup::groups(&place).await;
    let groups = groups.map_err(|error| not_reached("cannot list backups", &place, &error))?;
    Ok((place, groups))
}

async fn list(
    options: &ListOptions,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let (place, groups) = groups(&options.of).await?;
    let mut rows = Vec::new();
    for group in groups {
        for found in place::list(&place, &group).await? {
            let backup = match found {
                Ok(backup) => backup,
                Err(fault) => {
                    output.say(&format!("warning: {fault}"));
                    continue;
                }
            };
            let role = match backup.from_master {
                true => "master",
                false => "replica",
            };
            let cells = vec![
                group.clone(),
                backup.id.clone(),
                when::show_time(backup.began.as_millisecond(), cluster.utc),
                format!("{} ({role})", backup.member),
                numbers::bytes(backup.bytes()),
                numbers::bytes(backup.sent_bytes),
                backup.begins.to_string(),
                backup.position.to_string(),
            ];
            rows.push(Row::new(&backup.id, cells, &about(&backup, &place)));
        }
    }
    let listing = Listing {
        kind: "BackupList",
        schema: schema_of::<BackupAbout>,
        noun: "backup",
        columns: &["GROUP", "ID", "TAKEN", "MEMBER", "SIZE", "NEW"],
        wide_columns: &["FROM", "TO"],
        rows,
        empty: format!("there are no backups in {}", place.text()),
    };
    options.render.list(&listing, output)
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct VerifyAbout {
    place: String,
    /// Backups that were read.
    backups: usize,
    /// Bytes of files that were read.
    bytes: u64,
    /// Intact records of the log.
    records: u64,
    /// Rows of tables.
    rows: u64,
    /// All that is damaged or missing.
    faults: Vec<FaultAbout>,
}

#[derive(Serialize, JsonSchema)]
struct FaultAbout {
    name: String,
    says: String,
}

async fn verify(options: &VerifyOptions, output: &Output) -> Result<(), Failure> {
    let (place, groups) = groups(&options.of).await?;
    let mut backups = Vec::new();
    let mut faults = Vec::new();
    for group in &groups {
        if let Some(wanted) = &options.backup {
            let ids = place::list(&place, group).await?;
            let is_here = |found: &Found| match found {
                Ok(backup) => backup.id == *wanted,
                Err(fault) => fault.name.contains(wanted),
            };
            match ids.into_iter().find(is_here) {
                Some(Ok(backup)) => backups.push(backup),
                Some(Err(fault)) => faults.push(fault),
                None => {}
            }
            continue;
        }
        let mut found = place::list(&place, group).await?;
        if options.newest {
            found = found.split_off(found.len().saturating_sub(1));
        }
        for one in found {
            match one {
                Ok(backup) => backups.push(backup),
                Err(fault) => faults.push(fault),
            }
        }
    }
    if backups.is_empty() && faults.is_empty() {
        let wanted = options.backup.as_deref();
        let what = wanted.map_or_else(
            || "there are no backups".to_owned(),
            |wanted| format!("there is no backup \"{wanted}\""),
        );
        return Err(Failure::coded(&codes::NOT_FOUND, what).fact("place", place.text()));
    }
    let shown = Shown::new(output);
    let verified = rmq_backup::verify(&place, &backups, &shown).await;
    drop(shown);
    let verified = verified.map_err(|error| not_reached("cannot read a backup", &place, &error))?;
    faults.extend(verified.faults);
    let about = VerifyAbout {
        place: place.text().to_owned(),
        backups: verified.backups,
        bytes: verified.bytes,
        records: verified.records,
        rows: verified.rows,
        faults: faults
            .iter()
            .map(|fault| FaultAbout {
                name: fault.name.clone(),
                says: fault.says.clone(),
            })
            .collect(),
    };
    let show = |output: &Output| {
        output.data(&format!(
            "{} backups read: {} records and {} rows of tables are intact, {}",
            about.backups,
            about.records,
            about.rows,
            numbers::bytes(about.bytes)
        ));
        for fault in &faults {
            output.data(&format!("damaged: {fault}"));
        }
    };
    let schema = schema_of::<VerifyAbout>;
    let value = json!(about);
    let render = &options.render;
    render.object("BackupCheck", schema, "check", &value, output, show)?;
    match faults.as_slice() {
        [] => Ok(()),
        [first, ..] => Err(damaged(
            &format!("{} files of backups are damaged or missing", faults.len()),
            &place,
            first,
        )
        .try_this(
            "take another backup: parts that are damaged are copied again when they are removed",
        )),
    }
}

async fn remove(options: &RemoveOptions, output: &Output) -> Result<(), Failure> {
    let place = options.of.at.open(&options.of.place)?;
    let group = place::group(&place, options.of.group.as_deref()).await?;
    let keep = usize::try_from(options.keep).unwrap_or(usize::MAX);
    let not_removed = |error| match error {
        TakeError::Place(error) => not_reached("cannot remove backups", &place, &error),
        error => Failure::coded(&codes::IN_USE, "no backup is removed")
            .fact("place", place.text())
            .cause(&error),
    };
    let would = rmq_backup::remove(&place, &group, keep, true).await;
    let would = would.map_err(not_removed)?;
    if would.ids.is_empty() {
        output.say(&format!(
            "there is nothing to remove: {group} has no more than {keep} backups"
        ));
        return Ok(());
    }
    let what = format!(
        "remove {} backups of {group} ({}), with {} that no other one has",
        would.ids.len(),
        would.ids.join(", "),
        numbers::bytes(would.bytes)
    );
    if !options.write.agreed(&what, None, output)? {
        return Ok(());
    }
    let removed = rmq_backup::remove(&place, &group, keep, false).await;
    let removed = removed.map_err(not_removed)?;
    for id in &removed.ids {
        output.data(&format!("backup/{id} removed"));
    }
    output.say(&format!(
        "{} files with {} are gone",
        removed.files,
        numbers::bytes(removed.bytes)
    ));
    Ok(())
}
