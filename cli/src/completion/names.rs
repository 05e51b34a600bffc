//! Names that a shell completes: asked of the cluster that the environment or the configuration names, within two seconds.

use std::time::{Duration, SystemTime};

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};

use super::candidates::starting_with;
use crate::cluster::{Cluster, ClusterOptions, resolve};
use crate::facts::topics;
use crate::runtime::on_cluster;

/// Longest wait: a person holds the tab key.
const WITHIN: Duration = Duration::from_secs(2);
/// How long names that were read are good.
const CACHED_FOR: Duration = Duration::from_secs(10);

/// Completes topics.
pub(crate) fn topic_completer() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &std::ffi::OsStr| names("topics", typed))
}

/// Completes consumer groups.
pub(crate) fn group_completer() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &std::ffi::OsStr| names("groups", typed))
}

/// Completes brokers.
pub(crate) fn broker_completer() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &std::ffi::OsStr| names("brokers", typed))
}

/// Completes members of broker groups, by their addresses: the slots of a group that is not typed yet are not known.
pub(crate) fn member_completer() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &std::ffi::OsStr| names("members", typed))
}

fn names(kind: &'static str, typed: &std::ffi::OsStr) -> Vec<CompletionCandidate> {
    // A completion cannot show errors.
    let asked = on_cluster(async { Ok(tokio::time::timeout(WITHIN, cached_or_asked(kind)).await) });
    let names = match asked {
        Ok(Ok(Some(names))) => names,
        _ => Vec::new(),
    };
    starting_with(names, typed)
}

async fn cached_or_asked(kind: &str) -> Option<Vec<String>> {
    let options = ClusterOptions::of_environment(WITHIN);
    let place = resolve(&options).await.ok()?;
    let cache = cache_file(kind, &place.name());
    if let Some(names) = cache.as_deref().and_then(cached) {
        return Some(names);
    }
    let names = ask(kind, Cluster::open(place, &options).await.ok()?).await?;
    if let Some(cache) = cache
        && !names.is_empty()
    {
        let folder = cache.parent().map(std::fs::create_dir_all);
        // Without a cache the next key asks again.
        let _ = folder.map(|_| std::fs::write(&cache, names.join("\n")));
    }
    Some(names)
}

async fn ask(kind: &str, cluster: Cluster) -> Option<Vec<String>> {
    match kind {
        "topics" => topics::names(&cluster, false).await.ok(),
        "groups" => cluster.client.admin().groups().await.ok(),
        "members" => {
            let info = cluster.client.cluster_info().await.ok()?;
            let groups = info.broker_addr_table.into_values();
            let members = groups.flat_map(|group| group.broker_addrs.into_values());
            Some(members.collect())
        }
        _ => {
            let info = cluster.client.cluster_info().await.ok()?;
            Some(info.broker_addr_table.into_keys().collect())
        }
    }
}

fn cache_file(kind: &str, url: &str) -> Option<std::path::PathBuf> {
    let folder = std::env::var_os("XDG_CACHE_HOME")
        .filter(|folder| !folder.is_empty())
        .map(std::path::PathBuf::from)
        .or_else(|| Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let place: String = url
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect();
    Some(
        folder
            .join("rmq")
            .join("names")
            .join(format!("{kind}-{place}")),
    )
}

fn cached(file: &std::path::Path) -> Option<Vec<String>> {
    let written = file.metadata().ok()?.modified().ok()?;
    let age = SystemTime::now().duration_since(written).ok()?;
    if age > CACHED_FOR {
        return None;
    }
    let text = std::fs::read_to_string(file).ok()?;
    Some(text.lines().map(str::to_owned).collect())
}
