//! Connections to the clusters' name servers and brokers, kept for the next look.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rmq_client::Client;
use rmq_plan::{Change, Settings, Survey};

use crate::error::Error;

/// A server that does not answer is asked again at the next look.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// What was asked this short a time ago is not asked again: objects of a cluster are looked at together.
const SURVEY_LASTS: Duration = Duration::from_secs(1);

/// Clients by the addresses of their name servers.
#[derive(Default)]
pub(crate) struct Clusters {
    clients: Mutex<HashMap<String, Client>>,
    /// By addresses and noun. The lock is held while brokers are asked, so that all who want to know wait for one answer.
    surveys: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Known>>>>>,
}

/// An answer, and when it came.
type Known = (Instant, Result<Arc<Current>, String>);

/// All topics or groups of a cluster, but for those that were changed since.
#[derive(Default)]
pub(crate) struct Current {
    survey: Survey,
    changed: Mutex<HashSet<String>>,
}

impl Current {
    /// Brokers that have a master.
    pub(crate) fn masters(&self) -> &[String] {
        self.survey.masters()
    }

    /// What would change; none when it is not known any more.
    pub(crate) fn plan(&self, settings: &Settings) -> Option<Change> {
        let is_changed = self.changed.lock().contains(settings.name());
        (!is_changed).then(|| self.survey.plan(settings))
    }

    /// This one is no longer as it was seen.
    pub(crate) fn changed(&self, settings: &Settings) {
        self.changed.lock().insert(settings.name().to_owned());
    }
}

impl Clusters {
    /// A client of these name servers (`host:port`).
    pub(crate) async fn client(&self, addresses: &[String]) -> Result<Client, Error> {
        let key = addresses.join(";");
        if let Some(client) = self.clients.lock().get(&key) {
            return Ok(client.clone());
        }
        let client = Client::builder(key.clone())
            .request_timeout(REQUEST_TIMEOUT)
            .connect()
            .await?;
        Ok(self.clients.lock().entry(key).or_insert(client).clone())
    }

    /// What the cluster has of the kind of `settings`.
    pub(crate) async fn survey(
        &self,
        addresses: &[String],
        settings: &Settings,
    ) -> Result<Arc<Current>, Error> {
        let key = format!("{} {}", settings.noun(), addresses.join(";"));
        let place = Arc::clone(self.surveys.lock().entry(key).or_default());
        let mut known = place.lock().await;
        if let Some((at, answer)) = &*known
            && at.elapsed() < SURVEY_LASTS
        {
            return answer.clone().map_err(Error::ClusterAway);
        }
        let asked = async {
            let client = self.client(addresses).await?;
            let survey = match settings {
                Settings::Topic(_) => Survey::of_topics(&client).await?,
                Settings::Group(_) => Survey::of_groups(&client).await?,
            };
            Ok::<_, Error>(Arc::new(Current {
                survey,
                changed: Mutex::default(),
            }))
        };
        let answer = asked.await.map_err(|error| error.to_string());
        *known = Some((Instant::now(), answer.clone()));
        answer.map_err(Error::ClusterAway)
    }

    /// Ends the connections to these name servers.
    pub(crate) async fn forget(&self, addresses: &[String]) {
        let cluster = addresses.join(";");
        self.surveys
            .lock()
            .retain(|key, _| !key.ends_with(&cluster));
        let mut gone: Vec<Client> = Vec::new();
        {
            let mut clients = self.clients.lock();
            gone.extend(clients.remove(&addresses.join(";")));
            gone.extend(addresses.iter().filter_map(|addr| clients.remove(addr)));
        }
        for client in gone {
            client.shutdown().await;
        }
    }

    /// Brokers with a master that this name server shows; none when it does not answer.
    pub(crate) async fn brokers_at(&self, addr: &str) -> Option<BTreeSet<String>> {
        let client = self.client(std::slice::from_ref(&addr.to_owned())).await;
        let info = client.ok()?.cluster_info().await.ok()?;
        let brokers = info.broker_addr_table.into_iter();
        let shown = brokers.filter(|(_, data)| data.master().is_some());
        Some(shown.map(|(name, _)| name).collect())
    }

    /// Name servers that do not route this topic to all of these brokers yet (or do not answer): a client may ask any of them.
    pub(crate) async fn unrouted_at(
        &self,
        addresses: &[String],
        topic: &str,
        brokers: &[String],
    ) -> Vec<String> {
        let asked = addresses.iter().map(async |addr| {
            let client = self.client(std::slice::from_ref(addr)).await.ok()?;
            let route = client.refresh_route(topic).await.ok()?;
            let shown = &route.raw().queue_datas;
            let is_shown = |broker: &String| shown.iter().any(|data| data.broker_name == *broker);
            brokers.iter().all(is_shown).then_some(())
        });
        let shown = futures_util::future::join_all(asked).await;
        let each = addresses.iter().zip(shown);
        each.filter(|(_, shown)| shown.is_none())
            .map(|(addr, _)| addr.clone())
            .collect()
    }

    /// Name servers that do not have this broker in their routes (or do not answer).
    pub(crate) async fn missing_at(&self, addresses: &[String], broker: &str) -> Vec<String> {
        let shown = addresses.iter().map(|addr| self.brokers_at(addr));
        let shown = futures_util::future::join_all(shown).await;
        let knows = |shown: Option<BTreeSet<String>>| shown.is_some_and(|all| all.contains(broker));
        let each = addresses.iter().zip(shown);
        each.filter(|(_, shown)| !knows(shown.clone()))
            .map(|(addr, _)| addr.clone())
            .collect()
    }
}
