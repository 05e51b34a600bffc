//! `rmq-ctl apply` and `diff`: topics and groups as YAML, the same that the operator takes.

use clap::Args;
use rmq_plan::{Action, Change, Resource};
use serde_json::json;

use crate::changes::carry_out_all;
use crate::cluster::{Cluster, ClusterOptions};
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::kubernetes::OwnerOptions;
use crate::manifest::{self, Manifests};
use crate::output::Output;
use crate::render::{Listing, RenderOptions, Row, schema_of};
use crate::write::WriteOptions;

/// Options of `apply`.
#[derive(Debug, Args)]
#[command(
    after_help = "Changes state. Asks before it takes something away from clients: fewer queues, a permission, consuming.

Examples:
  rmq-ctl apply -f topics.yaml
  rmq-ctl apply -f manifests/ --dry-run
  rmq-ctl export | rmq-ctl apply -f - --yes"
)]
pub(crate) struct ApplyOptions {
    /// Files, folders, or - for stdin.
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    file: Vec<String>,

    #[command(flatten)]
    write: WriteOptions,

    #[command(flatten)]
    owner: OwnerOptions,
}

/// Options of `diff`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads only. Exit code 0: nothing would change; 1: something would change; 2 or more: an error.

Examples:
  rmq-ctl diff -f topics.yaml
  rmq-ctl diff -f manifests/ -o json"
)]
pub(crate) struct DiffOptions {
    /// Files, folders, or - for stdin.
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    file: Vec<String>,

    #[command(flatten)]
    render: RenderOptions,
}

/// Changes of all objects, in the order of the files.
async fn plan_all(
    manifests: &Manifests,
    cluster: &Cluster,
    output: &Output,
) -> Result<Vec<Change>, Failure> {
    for skipped in &manifests.skipped {
        output.say(&format!("passed over {skipped}"));
    }
    for server in &manifests.servers {
        output.say(&format!(
            "passed over {}: {} is for the operator (kubectl apply)",
            server.place, server.kind
        ));
    }
    let mut changes = Vec::with_capacity(manifests.objects.len());
    for (object, place) in &manifests.objects {
        let planned = cluster.plan(object).await;
        changes.push(planned.map_err(|failure| failure.fact("for", place))?);
    }
    Ok(changes)
}

pub(crate) async fn apply(
    options: &ApplyOptions,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let manifests = manifest::load(&options.file, cluster.namespace.as_deref())?;
    // All of them go to the one cluster that is asked.
    manifests.refuse_rivals(|_| "")?;
    if options.write.is_client_run() {
        for (object, _) in &manifests.objects {
            output.data(&format!(
                "{}/{} would be applied (no server was asked)",
                object.noun(),
                object.name()
            ));
        }
        return Ok(());
    }
    let cluster = Cluster::connect(cluster, output).await?;
    let changes = plan_all(&manifests, &cluster, output).await?;
    let changed: Vec<(&str, &str)> = changes
        .iter()
        .filter(|change| change.action != Action::Same)
        .map(|change| (change.kind, change.name.as_str()))
        .collect();
    let kubernetes = cluster.kubernetes.as_ref();
    options.owner.check(kubernetes, &changed, output).await?;
    let objects: Vec<(&Resource, &Change)> = manifests
        .objects
        .iter()
        .map(|(object, _)| object)
        .zip(&changes)
        .collect();
    carry_out_all(&objects, &options.write, &cluster, output).await
}

pub(crate) async fn diff(
    options: &DiffOptions,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let differs = match differences(options, cluster, output).await {
        Ok(differs) => differs,
        // 1 means "differs", as with diff(1).
        Err(failure) => return Err(failure.exit_at_least(Exit::Usage)),
    };
    if differs {
        return Err(Failure::silent(Exit::Failed));
    }
    Ok(())
}

async fn differences(
    options: &DiffOptions,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<bool, Failure> {
    let manifests = manifest::load(&options.file, cluster.namespace.as_deref())?;
    // All of them go to the one cluster that is asked.
    manifests.refuse_rivals(|_| "")?;
    let cluster = Cluster::connect(cluster, output).await?;
    let changes = plan_all(&manifests, &cluster, output).await?;
    let mut rows = Vec::new();
    for change in changes
        .iter()
        .filter(|change| change.action != Action::Same)
    {
        let name = format!("{}/{}", change.kind, change.name);
        for field in &change.fields {
            let cells = vec![
                name.clone(),
                field.field.to_string(),
                field.from_text(),
                field.to_text(),
                field.brokers.join(","),
            ];
            let value = json!({
                "kind": change.kind, "name": change.name, "action": change.action, "field": field.field,
                "from": field.from, "to": field.to, "brokers": field.brokers, "takesAway": field.takes_away,
            });
            rows.push(Row::new(name.clone(), cells, &value));
        }
    }
    let differs = !rows.is_empty();
    let listing = Listing {
        kind: "ChangeList",
        schema: schema_of::<Change>,
        noun: "change",
        columns: &["OBJECT", "FIELD", "IS", "WOULD BE", "BROKERS"],
        wide_columns: &[],
        rows,
        empty: "nothing would change".to_owned(),
    };
    options.render.list(&listing, output)?;
    Ok(differs)
}
