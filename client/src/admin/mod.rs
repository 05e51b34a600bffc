//! Administration: topics, groups, offsets, brokers.

mod brokers;
mod clients;
mod groups;
mod messages;
mod name_servers;
mod offsets;
mod topics;

use crate::client::Client;
use crate::error::Error;
use crate::remote::Remote;

pub use groups::GroupSpec;
pub use topics::TopicSpec;

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
        let mut masters = self.masters(cluster).await?;
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

    /// All masters, by broker name; those of one cluster where one is named.
    async fn masters(&self, cluster: Option<&str>) -> Result<Vec<(String, Remote)>, Error> {
        let info = self.client.cluster_info().await?;
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
        let masters: Vec<_> = info
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
        Ok(masters)
    }
}
