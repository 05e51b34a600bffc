//! Administration: topics, groups, offsets, brokers.

mod brokers;
mod clients;
mod groups;
mod members;
mod messages;
mod name_servers;
mod offsets;
mod topics;
mod traces;
mod tracks;
mod transactions;
mod users;

use std::collections::BTreeMap;

use rmq_protocol::route::ClusterInfo;

use crate::client::Client;
use crate::error::Error;
use crate::remote::Remote;

pub use groups::GroupSpec;
pub use topics::TopicSpec;
#[cfg(feature = "fuzzing")]
pub(crate) use traces::steps_of;
pub use traces::{TraceKind, TraceStep};
pub use tracks::{MessageTrack, TrackKind};

/// Topics, groups, offsets and brokers of a cluster. Cheap to clone.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use rmq_client::TopicSpec;
/// client.admin().create_topic(&TopicSpec::new("orders").queues(8)).await?;
/// println!("{:?}", client.admin().topics().await?);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// As [`Admin::masters`], but only those that are named; all when none is.
    ///
    /// # Errors
    /// When a name is unknown.
    async fn masters_named(
        &self,
        cluster: Option<&str>,
        names: &[String],
    ) -> Result<Vec<(String, Remote)>, Error> {
        self.masters_in(&self.client.cluster_info().await?, cluster, names)
    }

    /// All masters, by broker name; those of one cluster where one is named.
    async fn masters(&self, cluster: Option<&str>) -> Result<Vec<(String, Remote)>, Error> {
        self.masters_named(cluster, &[]).await
    }

    /// The same of what a name server said.
    fn masters_in(
        &self,
        info: &ClusterInfo,
        cluster: Option<&str>,
        names: &[String],
    ) -> Result<Vec<(String, Remote)>, Error> {
        if let Some(cluster) = cluster
            && !info.cluster_addr_table.contains_key(cluster)
        {
            let known: Vec<_> = info.cluster_addr_table.keys().map(String::as_str).collect();
            let what = format!(
                "there is no cluster \"{cluster}\"; known clusters: {}",
                known.join(", ")
            );
            return Err(Error::new(crate::ErrorKind::NotFound, what));
        }
        let mut masters: Vec<_> = info
            .broker_addr_table
            .iter()
            .filter(|(_, data)| cluster.is_none_or(|cluster| data.cluster == cluster))
            .filter_map(|(name, data)| Some((name.clone(), self.client.remote(data.master()?))))
            .collect();
        if masters.is_empty() {
            let what = "no broker is registered at the name servers";
            return Err(Error::new(crate::ErrorKind::Unreachable, what)
                .advice("start a broker, or wait until it has registered"));
        }
        if let Some(unknown) = names
            .iter()
            .find(|name| !masters.iter().any(|(known, _)| known == *name))
        {
            let known: Vec<_> = masters.iter().map(|(name, _)| name.as_str()).collect();
            let what = format!(
                "there is no broker \"{unknown}\" with a master; known brokers: {}",
                known.join(", ")
            );
            return Err(Error::new(crate::ErrorKind::NotFound, what));
        }
        masters.retain(|(name, _)| names.is_empty() || names.contains(name));
        Ok(masters)
    }
}

/// Bytes of settings in one request, about: a broker takes 16 MiB, and answers when all are stored.
const LIST_BYTES_MAX: usize = 1 << 20;

/// Settings of each master, in parts that fit a request.
struct ByMaster<T>(BTreeMap<String, (Remote, Vec<Part<T>>)>);

/// Settings, and their bytes.
type Part<T> = (Vec<T>, usize);

impl<T> Default for ByMaster<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Clone> ByMaster<T> {
    fn add(&mut self, masters: Vec<(String, Remote)>, settings: &T, bytes: usize) {
        for (name, remote) in masters {
            let (_, parts) = self.0.entry(name).or_insert_with(|| (remote, Vec::new()));
            match parts.last_mut() {
                Some((part, size)) if *size + bytes <= LIST_BYTES_MAX => {
                    part.push(settings.clone());
                    *size += bytes;
                }
                _ => parts.push((vec![settings.clone()], bytes)),
            }
        }
    }

    /// Where to send what.
    fn requests(self) -> impl Iterator<Item = (Remote, Vec<T>)> {
        self.0.into_values().flat_map(|(remote, parts)| {
            parts
                .into_iter()
                .map(move |(part, _)| (remote.clone(), part))
        })
    }
}
