//! `rmq-ctl apply`, `diff` and `export`: topics and groups as YAML, the same that the operator takes.

use clap::Args;
use serde_json::json;

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::kubernetes::OwnerOptions;
use crate::manifest::{self, Manifest, Manifests};
use crate::output::Output;
use crate::render::{Listing, RenderOptions, Row, schema_of, table};
use crate::write::WriteOptions;
use rmq_plan::{Action, Change};

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
    after_help = "Reads only. Exit code 0: nothing would change; 1: something would; more: an error.

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

/// Options of `export`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads only. What it prints is for `rmq-ctl apply` and, with the operator, for `kubectl apply`.

Examples:
  rmq-ctl export > cluster.yaml
  rmq-ctl export topics -n shop --name-server-ref rmq
  rmq-ctl export groups"
)]
pub(crate) struct ExportOptions {
    /// What to print. Default: both.
    #[arg(value_enum)]
    nouns: Vec<ExportNoun>,

    /// Name of the NameServer object that the manifests shall refer to.
    #[arg(long, value_name = "NAME")]
    name_server_ref: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ExportNoun {
    /// Topics.
    #[value(alias = "topic", alias = "t")]
    Topics,
    /// Consumer groups.
    #[value(alias = "group", alias = "g")]
    Groups,
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
    let objects: Vec<(&Manifest, &Change)> = manifests
        .objects
        .iter()
        .map(|(object, _)| object)
        .zip(&changes)
        .collect();
    carry_out_all(&objects, &options.write, &cluster, output).await
}

/// Shows what is lost, asks, and makes the changes one by one; goes on after a failure and says which it were.
pub(super) async fn carry_out_all(
    objects: &[(&Manifest, &Change)],
    write: &WriteOptions,
    cluster: &Cluster,
    output: &Output,
) -> Result<(), Failure> {
    let mut losses: Vec<String> = objects
        .iter()
        .flat_map(|(_, change)| {
            change.losses().map(move |loss| {
                format!(
                    "{}/{}: {} {} -> {}",
                    change.kind,
                    change.name,
                    loss.field,
                    loss.from.as_deref().unwrap_or("-"),
                    loss.to.as_deref().unwrap_or("-")
                )
            })
        })
        .collect();
    for (_, change) in objects {
        losses.extend(unreachable(change, cluster).await?);
    }
    if write.dry_run.is_some() {
        for (_, change) in objects {
            output.data(&would(change));
        }
        for loss in &losses {
            output.say(&format!("takes something away from clients: {loss}"));
        }
        return Ok(());
    }
    if !losses.is_empty() {
        output.heading("This takes something away from clients:");
        for loss in &losses {
            output.say(&format!("  {loss}"));
        }
        write.agreed("go on", None, output)?;
    }
    let mut failed = Vec::new();
    for (object, change) in objects {
        match cluster.carry_out(object, change).await {
            Ok(()) => output.data(&format!(
                "{}/{} {}",
                change.kind,
                change.name,
                match change.action {
                    Action::Create => "created",
                    Action::Update => "configured",
                    Action::Same => "unchanged",
                }
            )),
            Err(failure) => {
                output.error(&failure);
                failed.push((format!("{}/{}", change.kind, change.name), failure));
            }
        }
    }
    let done = objects.len() - failed.len();
    match failed.pop() {
        None => Ok(()),
        Some((_, failure)) if done == 0 && failed.is_empty() => Err(failure),
        Some((last, _)) => {
            let mut names: Vec<String> = failed.into_iter().map(|(name, _)| name).collect();
            names.push(last);
            let exit = if done == 0 {
                Exit::Failed
            } else {
                Exit::Partly
            };
            Err(Failure::new(
                exit,
                format!("{done} done, {} failed: {}", names.len(), names.join(", ")),
            ))
        }
    }
}

/// Messages that a topic with fewer queues to read leaves behind: nobody can consume them until the queues are read again.
async fn unreachable(change: &Change, cluster: &Cluster) -> Result<Option<String>, Failure> {
    let fewer: Vec<_> = change
        .losses()
        .filter(|loss| change.kind == "topic" && loss.field == "readQueues")
        .collect();
    if fewer.is_empty() {
        return Ok(None);
    }
    let topic = &change.name;
    let failed = |error| cluster.failed(format!("cannot look at topic \"{topic}\""), error);
    let admin = cluster.client.admin();
    let is_left_out = |broker: &str, queue: i32| {
        fewer.iter().any(|loss| {
            let read = loss.to.as_ref().and_then(|to| to.parse::<i32>().ok());
            loss.brokers.iter().any(|name| name == broker) && read.is_some_and(|read| queue >= read)
        })
    };
    let stats = admin.topic_stats(topic).await.map_err(failed)?;
    let left = stats.offset_table.0.iter().filter(|(queue, at)| {
        is_left_out(&queue.broker_name, queue.queue_id) && super::get::messages(at) > 0
    });
    let left: Vec<i64> = left.map(|(_, at)| super::get::messages(at)).collect();
    if left.is_empty() {
        return Ok(None);
    }
    let mut says = format!(
        "topic/{topic}: {} messages in {} queues can no longer be read",
        left.iter().sum::<i64>(),
        left.len()
    );
    for group in admin.groups_of_topic(topic).await.map_err(failed)? {
        let queues = super::lag::of_group(cluster, &group)
            .await
            .map_err(failed)?;
        let waiting = super::lag::total(
            queues
                .iter()
                .filter(|queue| queue.topic == *topic && is_left_out(&queue.broker, queue.queue)),
        );
        if waiting > 0 {
            says.push_str(&format!(
                "; group \"{group}\" has not consumed {waiting} of them"
            ));
        }
    }
    Ok(Some(says))
}

fn would(change: &Change) -> String {
    let head = format!("{}/{}", change.kind, change.name);
    match change.action {
        Action::Same => format!("{head} unchanged"),
        Action::Create => format!("{head} would be created"),
        Action::Update => {
            let fields = change.fields.iter().map(|field| {
                format!(
                    "{} {} -> {}",
                    field.field,
                    field.from.as_deref().unwrap_or("-"),
                    field.to.as_deref().unwrap_or("-")
                )
            });
            let fields: Vec<String> = fields.collect();
            format!("{head} would be changed: {}", fields.join(", "))
        }
    }
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
                field.field.clone(),
                field.from.clone().unwrap_or_else(|| "-".to_owned()),
                field.to.clone().unwrap_or_else(|| "-".to_owned()),
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

pub(crate) async fn export(
    options: &ExportOptions,
    cluster_options: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    use rmq_client::protocol::names::is_system_group;
    let cluster = Cluster::connect(cluster_options, output).await?;
    let failed = |error| cluster.failed("cannot export", error);
    let admin = cluster.client.admin();
    let is_wanted = |noun| options.nouns.is_empty() || options.nouns.contains(&noun);
    let mut documents = Vec::new();
    if is_wanted(ExportNoun::Topics) {
        for topic in super::get::topic_names(&cluster, false).await? {
            let configs = match admin.topic_config(&topic).await {
                Ok(configs) => configs,
                // Deleted while the list was read.
                Err(error) if error.kind() == rmq_client::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            warn_if_different("topic", &topic, &configs, output);
            let Some((_, config)) = configs.first() else {
                continue;
            };
            let mut spec = rmq_plan::topic_manifest(config);
            let object = object_name(&topic);
            spec.topic_name = spec.topic_name.filter(|name| *name != object);
            documents.push(document("Topic", &object, &spec, options, cluster_options));
        }
    }
    if is_wanted(ExportNoun::Groups) {
        for group in admin.groups().await.map_err(failed)? {
            if is_system_group(&group) {
                continue;
            }
            let configs = admin.group_config(&group).await.map_err(failed)?;
            warn_if_different("group", &group, &configs, output);
            let Some((_, config)) = configs.first() else {
                continue;
            };
            let mut spec = rmq_plan::group_manifest(config);
            let object = object_name(&group);
            spec.group_name = spec.group_name.filter(|name| *name != object);
            documents.push(document(
                "SubscriptionGroup",
                &object,
                &spec,
                options,
                cluster_options,
            ));
        }
    }
    output.value(documents.join("---\n").trim_end());
    Ok(())
}

fn warn_if_different<C: PartialEq>(
    noun: &str,
    name: &str,
    configs: &[(String, C)],
    output: &Output,
) {
    let differ = configs.windows(2).any(|pair| pair[0].1 != pair[1].1);
    if differ {
        let brokers: Vec<&str> = configs.iter().map(|(broker, _)| broker.as_str()).collect();
        output.say(&format!(
            "warning: {noun} \"{name}\" differs between its brokers ({}); the first one's settings are printed",
            brokers.join(", ")
        ));
    }
}

fn document(
    kind: &str,
    name: &str,
    spec: &impl serde::Serialize,
    options: &ExportOptions,
    cluster: &ClusterOptions,
) -> String {
    let mut metadata = json!({"name": name});
    if let Some(namespace) = &cluster.namespace {
        metadata["namespace"] = json!(namespace);
    }
    let mut spec = json!(spec);
    if let Some(name) = &options.name_server_ref {
        spec["nameServerRef"] = json!({"name": name});
    }
    // In the order that people know.
    let body = crate::yaml::write(&json!({"metadata": metadata, "spec": spec}));
    format!(
        "apiVersion: {}\nkind: {kind}\n{body}",
        rmq_crds::API_VERSION
    )
}

/// The name of a Kubernetes object for a name of RocketMQ: itself where it is one, else lower case with a hash of the whole name. It
/// depends on that name alone, so it stays when other topics come and go.
fn object_name(name: &str) -> String {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let is_fine = name.len() <= OBJECT_NAME_MAX
        && bytes.first().copied().is_some_and(is_letter)
        && bytes.last().copied().is_some_and(is_letter)
        && bytes.iter().all(|byte| is_letter(*byte) || *byte == b'-');
    if is_fine {
        return name.to_owned();
    }
    let plain: String = name
        .to_lowercase()
        .chars()
        .map(|letter| match letter {
            'a'..='z' | '0'..='9' => letter,
            _ => '-',
        })
        .take(OBJECT_NAME_MAX - HASH_DIGITS - 1)
        .collect();
    let hash = fnv1a(bytes) & ((1 << (4 * HASH_DIGITS)) - 1);
    match plain.trim_matches('-') {
        "" => format!("x-{hash:0HASH_DIGITS$x}"),
        plain => format!("{plain}-{hash:0HASH_DIGITS$x}"),
    }
}

/// Longest name that is given; also a label's longest value.
const OBJECT_NAME_MAX: usize = 63;
/// Hexadecimal digits of a hash: names that differ in case only, or in the letters that became '-', get different ones.
const HASH_DIGITS: usize = 8;

/// The 64-bit hash FNV-1a (IETF draft-eastlake-fnv).
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// A table of changes for people, on stderr.
pub(super) fn show(change: &Change, output: &Output) {
    let rows: Vec<Vec<String>> = change
        .fields
        .iter()
        .map(|field| {
            vec![
                field.field.clone(),
                field.from.clone().unwrap_or_else(|| "-".to_owned()),
                field.to.clone().unwrap_or_else(|| "-".to_owned()),
                field.brokers.join(","),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let text = table(
            &["SETTING", "BEFORE", "AFTER", "BROKERS"],
            rows,
            false,
            None,
        );
        output.say_block(&text);
    }
}

/// A manifest that was made from arguments, not from a file.
pub(super) fn invalid(what: impl Into<String>) -> Failure {
    Failure::coded(&codes::INVALID, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_names_are_kubernetes_names_and_stay() {
        // These must never change: they are in people's repositories.
        for (name, object) in [
            ("orders", "orders"),
            ("a-b-3", "a-b-3"),
            ("A_B", "a-b-HASH"),
            ("_", "x-HASH"),
            ("%RETRY%g", "retry-g-HASH"),
            ("-a", "a-HASH"),
        ] {
            let made = object_name(name);
            match object.strip_suffix("HASH") {
                Some(begin) => {
                    let rest = made.strip_prefix(begin).unwrap_or_else(|| panic!("{made}"));
                    assert_eq!(rest.len(), HASH_DIGITS, "{made}");
                }
                None => assert_eq!(made, object),
            }
        }
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(
            object_name("A_B"),
            format!("a-b-{:08x}", fnv1a(b"A_B") & 0xffff_ffff)
        );
        let long = "x".repeat(127);
        let names = [
            "a-b",
            "a_b",
            "A-B",
            "A_b",
            "a|b",
            "Orders",
            "_",
            "__",
            &long,
            &long[1..],
        ];
        let made: std::collections::BTreeSet<String> =
            names.iter().map(|name| object_name(name)).collect();
        assert_eq!(made.len(), names.len(), "{made:?}");
        for made in made {
            assert!(
                made.len() <= OBJECT_NAME_MAX && object_name(&made) == made,
                "{made}"
            );
        }
    }
}
