//! `rmq-ctl export`: topics and groups as YAML, the same that the operator takes. Reads only.

use clap::Args;
use rmq_client::protocol::names::is_system_group;
use serde_json::json;

use crate::cluster::{Cluster, ClusterOptions};
use crate::error::Failure;
use crate::facts::topics;
use crate::output::Output;

/// Options of `export`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads only. `rmq-ctl apply` takes the output, and `kubectl apply` does where the operator runs.

Examples:
  rmq-ctl export > cluster.yaml
  rmq-ctl export topics -n shop --name-server-ref rmq
  rmq-ctl export groups"
)]
pub(crate) struct Options {
    /// What to print. Default: both.
    #[arg(value_enum)]
    nouns: Vec<Noun>,

    /// The NameServer object that the manifests refer to.
    #[arg(long, value_name = "NAME")]
    name_server_ref: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Noun {
    /// Topics.
    #[value(alias = "topic", alias = "t")]
    Topics,
    /// Consumer groups.
    #[value(alias = "group", alias = "g")]
    Groups,
}

pub(crate) async fn run(
    options: &Options,
    cluster_options: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster_options, output).await?;
    let failed = |error| cluster.failed("cannot export", error);
    let admin = cluster.client.admin();
    let is_wanted = |noun| options.nouns.is_empty() || options.nouns.contains(&noun);
    let mut documents = Vec::new();
    if is_wanted(Noun::Topics) {
        for topic in topics::names(&cluster, false).await? {
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
    if is_wanted(Noun::Groups) {
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
    options: &Options,
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
