//! Connections to the clusters' name servers and brokers, kept for the next look.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rmq_client::protocol::route::perm;
use rmq_client::{Client, ErrorKind, Tls};
use rmq_plan::{Change, Resource, Survey};
use tokio::sync::oneshot;

use crate::error::Error;
use crate::objects::names;
use crate::signer::Signer;

/// Longest wait for an answer. The next look asks again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// How long a survey answers for all objects of a cluster: they are looked at together.
const SURVEY_LASTS: Duration = Duration::from_secs(1);

/// Topics or groups in one write. A broker that flushes each to its disk has to answer in [`REQUEST_TIMEOUT`].
const WRITE_MAX: usize = 64;

/// Clients by the addresses of their name servers.
#[derive(Default)]
pub(crate) struct Clusters {
    clients: Mutex<HashMap<String, Connected>>,
    /// With what requests are signed, by the address of each name server; none: they are not.
    signers: Mutex<HashMap<String, Signer>>,
    /// By the one host name of the cluster's name servers.
    security: Mutex<HashMap<String, Security>>,
    /// By addresses and noun. The lock is held while brokers are asked, so that all looks wait for one answer.
    surveys: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Known>>>>>,
    /// By addresses and noun.
    writes: Mutex<HashMap<String, Arc<Writes>>>,
}

/// How the operator connects to a cluster.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Security {
    uses_tls: bool,
    /// By the servers that were looked at.
    secured: BTreeMap<String, Secured>,
}

/// The files of servers, in PEM: whom they trust, and what they show.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secured {
    pub(crate) trusted: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl fmt::Debug for Secured {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secured").finish_non_exhaustive()
    }
}

impl Security {
    /// Trusts whom any of the servers trusts, and shows a certificate of theirs where a server asks for one.
    fn tls(&self) -> Option<Tls> {
        // The name servers' certificate lives as long as the cluster.
        let name_servers = self.secured.get(names::NAME_SERVER);
        let shown = name_servers.or_else(|| self.secured.values().next());
        let shown = shown.filter(|_| self.uses_tls)?;
        let trusted: String = self.secured.values().map(|of| &*of.trusted).collect();
        let (certificate, key) = (&*shown.certificate, &*shown.key);
        Some(Tls::new().ca_pem(trusted).certificate_pem(certificate, key))
    }
}

/// A client, and with what it signs.
#[derive(Clone)]
struct Connected {
    client: Client,
    signer: Option<Signer>,
}

impl Connected {
    fn signs_with(&self, signer: Option<&Signer>) -> bool {
        match (&self.signer, signer) {
            (Some(own), Some(other)) => own.is(other),
            (own, other) => own.is_none() && other.is_none(),
        }
    }
}

/// Changes of one cluster. Changes that arrive during a write wait for its end; then they are written together.
#[derive(Default)]
struct Writes {
    waiting: Mutex<VecDeque<Waiting>>,
    /// Held during a write.
    turn: tokio::sync::Mutex<()>,
}

struct Waiting {
    what: Arc<(Resource, Change)>,
    /// Gets whether the write of all succeeded.
    written: oneshot::Sender<bool>,
}

impl Writes {
    /// Writes the change together with others. False when the write failed: another change may be the reason.
    async fn join(&self, client: &Client, what: Arc<(Resource, Change)>) -> bool {
        let (written, mut answer) = oneshot::channel();
        self.waiting.lock().push_back(Waiting { what, written });
        loop {
            let turn = tokio::select! {
                biased;
                // An error: the look that was writing it has ended.
                answer = &mut answer => return answer.unwrap_or(false),
                turn = self.turn.lock() => turn,
            };
            let batch: Vec<Waiting> = {
                let mut waiting = self.waiting.lock();
                let count = waiting.len().min(WRITE_MAX);
                waiting.drain(..count).collect()
            };
            let all = batch.iter().map(|waiting| {
                let (settings, change) = &*waiting.what;
                (settings, change)
            });
            let done = rmq_plan::write_all(client, all).await;
            if let Err(error) = &done {
                tracing::debug!(together = batch.len(), "not written together: {error}");
            }
            for waiting in batch {
                // A look that no longer waits asks again later.
                let _ = waiting.written.send(done.is_ok());
            }
            drop(turn);
        }
    }
}

/// A survey, and when it was made.
type Known = (Instant, Result<Arc<Current>, String>);

/// All topics or groups of a cluster as one survey saw them, and the names of those that were changed since.
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

    /// The change that the brokers need. None when it was changed since the survey.
    pub(crate) fn plan(&self, settings: &Resource) -> Option<Change> {
        let is_changed = self.changed.lock().contains(settings.name());
        (!is_changed).then(|| self.survey.plan(settings))
    }

    /// Marks as changed since the survey.
    pub(crate) fn changed(&self, settings: &Resource) {
        self.changed.lock().insert(settings.name().to_owned());
    }
}

/// The key of surveys and writes.
fn key(settings: &Resource, addresses: &[String]) -> String {
    format!("{} {}", settings.noun(), addresses.join(";"))
}

/// Whether the brokers have no such topic or group.
pub(crate) fn is_gone(error: &rmq_client::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoRoute)
}

impl Clusters {
    /// A client of these name servers (`host:port`).
    pub(crate) async fn client(&self, addresses: &[String]) -> Result<Client, Error> {
        let key = addresses.join(";");
        let signer = addresses
            .first()
            .and_then(|addr| self.signers.lock().get(addr).cloned());
        if let Some(known) = self.clients.lock().get(&key)
            && known.signs_with(signer.as_ref())
        {
            return Ok(known.client.clone());
        }
        let mut builder = Client::builder(key.clone()).request_timeout(REQUEST_TIMEOUT);
        if let Some(signer) = &signer {
            builder = builder.credentials(signer.credentials());
        }
        let host = addresses.first().and_then(|addr| names::all_of(addr));
        let tls = host.and_then(|host| self.security.lock().get(host)?.tls());
        if let Some(tls) = tls {
            builder = builder.tls(tls);
        }
        let client = builder.connect().await?;
        let connected = Connected {
            client: client.clone(),
            signer,
        };
        let before = self.clients.lock().insert(key, connected);
        if let Some(before) = before {
            before.client.shutdown().await;
        }
        Ok(client)
    }

    /// Has requests to the cluster of these name servers signed with this, or not signed.
    pub(crate) fn sign(&self, addresses: &[String], signer: Option<&Signer>) {
        let mut signers = self.signers.lock();
        for addr in addresses {
            match signer {
                Some(signer) => signers.insert(addr.clone(), signer.clone()),
                None => signers.remove(addr),
            };
        }
    }

    /// All topics, or all groups, of the cluster: of the kind that `settings` are.
    pub(crate) async fn survey(
        &self,
        addresses: &[String],
        settings: &Resource,
    ) -> Result<Arc<Current>, Error> {
        let key = key(settings, addresses);
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
                Resource::Topic(_) => Survey::of_topics(&client).await?,
                Resource::Group(_) => Survey::of_groups(&client).await?,
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

    /// Drops the last survey of this kind, so that the next look asks the brokers.
    pub(crate) fn survey_again(&self, addresses: &[String], settings: &Resource) {
        self.surveys.lock().remove(&key(settings, addresses));
    }

    /// Carries out a change at the brokers, together with other changes of this cluster at this time. Each change gets its own error.
    pub(crate) async fn carry_out(
        &self,
        addresses: &[String],
        what: &Arc<(Resource, Change)>,
    ) -> Result<(), Error> {
        let (settings, change) = &**what;
        let client = self.client(addresses).await?;
        let key = key(settings, addresses);
        let writes = Arc::clone(self.writes.lock().entry(key).or_default());
        if writes.join(&client, Arc::clone(what)).await {
            rmq_plan::shown(&client, settings, change).await?;
        } else {
            rmq_plan::carry_out(&client, settings, change).await?;
        }
        Ok(())
    }

    /// Ends the connections to these name servers.
    pub(crate) async fn forget(&self, addresses: &[String]) {
        let cluster = addresses.join(";");
        self.surveys
            .lock()
            .retain(|key, _| !key.ends_with(&cluster));
        self.writes.lock().retain(|key, _| !key.ends_with(&cluster));
        let mut gone: Vec<Connected> = Vec::new();
        {
            let mut clients = self.clients.lock();
            gone.extend(clients.remove(&addresses.join(";")));
            gone.extend(addresses.iter().filter_map(|addr| clients.remove(addr)));
        }
        for connected in gone {
            connected.client.shutdown().await;
        }
    }

    /// How the operator connects to the cluster with this host of all name servers from now on: with TLS or plain, and by what was seen of the
    /// servers `source`. Connections that are otherwise end.
    pub(crate) async fn secure(
        &self,
        host: &str,
        uses_tls: bool,
        source: &str,
        secured: Option<Secured>,
    ) {
        let is_other = {
            let mut all = self.security.lock();
            let security = all.entry(host.to_owned()).or_default();
            let before = security.clone();
            security.uses_tls = uses_tls;
            match secured {
                Some(secured) => security.secured.insert(source.to_owned(), secured),
                None => security.secured.remove(source),
            };
            let used = |security: &Security| security.uses_tls.then(|| security.secured.clone());
            used(&before) != used(security)
        };
        if !is_other {
            return;
        }
        let gone: Vec<Client> = {
            let mut clients = self.clients.lock();
            let is_of = |addresses: &str| {
                let first = addresses.split(';').next();
                first.and_then(names::all_of) == Some(host)
            };
            let gone = clients.extract_if(|addresses, _| is_of(addresses));
            gone.map(|(_, connected)| connected.client).collect()
        };
        for client in gone {
            client.shutdown().await;
        }
    }

    /// Brokers with a master that this name server shows. None when it does not answer.
    pub(crate) async fn brokers_at(&self, addr: &str) -> Option<BTreeSet<String>> {
        let client = self.client(std::slice::from_ref(&addr.to_owned())).await;
        let info = client.ok()?.cluster_info().await.ok()?;
        let brokers = info.broker_addr_table.into_iter();
        let shown = brokers.filter(|(_, data)| data.master().is_some());
        Some(shown.map(|(name, _)| name).collect())
    }

    /// Name servers that do not route this topic to all of these brokers yet, or do not answer. A client may ask any of them.
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

    /// The first name server that still lets producers write to this broker, in words. None when no name server does. A name server that
    /// does not answer the operator may answer a producer, so it counts.
    pub(crate) async fn writable_at(&self, addresses: &[String], broker: &str) -> Option<String> {
        let asked = addresses.iter().map(async |addr| {
            let client = self.client(std::slice::from_ref(addr)).await.ok();
            let silent = || format!("name server {addr} does not answer");
            let Some(client) = client else {
                return Some(silent());
            };
            let Ok(topics) = client.admin().topics().await else {
                return Some(silent());
            };
            for topic in topics {
                let route = match client.refresh_route(&topic).await {
                    Ok(route) => route,
                    Err(error) if error.kind() == ErrorKind::NoRoute => continue,
                    Err(_) => return Some(silent()),
                };
                let queues = route.raw().queue_datas.iter();
                let mut of_broker = queues.filter(|data| data.broker_name == broker);
                if of_broker.any(|data| perm::is_writable(data.perm)) {
                    return Some(format!(
                        "name server {addr} still lets producers write to topic {topic} there"
                    ));
                }
            }
            None
        });
        let open = futures_util::future::join_all(asked).await;
        open.into_iter().flatten().next()
    }

    /// Name servers that do not show this broker, or do not answer.
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

#[cfg(test)]
mod tests {
    use futures_util::future::{join, join_all};
    use rmq_client::protocol::RequestCode;
    use rmq_crds::{SubscriptionGroup, SubscriptionGroupSpec, Topic, TopicSpec};
    use rmq_testing::TestCluster;

    use super::*;

    fn topic(name: &str) -> Resource {
        let spec = TopicSpec {
            queues: 2,
            ..TopicSpec::default()
        };
        Resource::Topic(Topic::new(name, spec))
    }

    /// Carries out all changes at once. The first write gets no answer until all others wait.
    async fn bring(
        cluster: &TestCluster,
        clusters: &Clusters,
        addresses: &[String],
        all: impl IntoIterator<Item = Resource>,
    ) -> Vec<Result<(), Error>> {
        let all: Vec<Resource> = all.into_iter().collect();
        let current = clusters.survey(addresses, &all[0]).await.expect("a survey");
        let key = key(&all[0], addresses);
        let others = all.len() - 1;
        let all = all.into_iter().map(|settings| {
            let change = current.plan(&settings).expect("as it was surveyed");
            Arc::new((settings, change))
        });
        let brokers = [0, 1].map(|broker| cluster.broker(broker));
        for broker in &brokers {
            broker.cut().await;
        }
        let brought = all.map(async |what| clusters.carry_out(addresses, &what).await);
        let all_wait = async {
            let writes = Arc::clone(clusters.writes.lock().entry(key).or_default());
            while writes.waiting.lock().len() < others {
                tokio::task::yield_now().await;
            }
            for broker in &brokers {
                broker.heal().await;
            }
        };
        join(join_all(brought), all_wait).await.0
    }

    #[rmq_testing::test(brokers = 2)]
    async fn what_many_want_at_once_is_written_together_and_each_has_its_own_error(
        cluster: TestCluster,
    ) {
        let clusters = Clusters::default();
        let addresses = [cluster.name_server_list()];
        let asked = |code| [0, 1].map(|broker| cluster.broker(broker).requests(code));

        let all = (0..200).map(|number| topic(&format!("t-{number}")));
        for brought in bring(&cluster, &clusters, &addresses, all).await {
            brought.expect("a topic");
        }
        // One write for the first, then the others in full batches.
        let lists = 1 + 199_usize.div_ceil(WRITE_MAX);
        assert_eq!(asked(RequestCode::UpdateAndCreateTopicList), [lists; 2]);
        assert_eq!(asked(RequestCode::UpdateAndCreateTopic), [0; 2]);

        // A broker takes no topic of the system's.
        let all = ["first", "before", "SCHEDULE_TOPIC_XXXX", "after"].map(topic);
        let mut brought = bring(&cluster, &clusters, &addresses, all).await;
        let error = brought.remove(2).expect_err("refused").to_string();
        assert!(error.contains("SCHEDULE_TOPIC_XXXX"), "{error}");
        for brought in brought {
            brought.expect("a topic");
        }

        let all = (0..50).map(|number| {
            let spec = SubscriptionGroupSpec::default();
            Resource::Group(SubscriptionGroup::new(&format!("g-{number}"), spec))
        });
        for brought in bring(&cluster, &clusters, &addresses, all).await {
            brought.expect("a group");
        }
        let lists = RequestCode::UpdateAndCreateSubscriptiongroupList;
        assert_eq!(asked(lists), [2; 2]);
        assert_eq!(asked(RequestCode::UpdateAndCreateSubscriptiongroup), [0; 2]);

        clusters.forget(&addresses).await;
        let names = (0..200).map(|number| format!("t-{number}"));
        let names = names.chain(["first", "before", "after"].map(str::to_owned));
        let current = clusters
            .survey(&addresses, &topic("t"))
            .await
            .expect("a survey");
        for name in names {
            let change = current.plan(&topic(&name)).expect("as it was surveyed");
            assert_eq!(change.action, rmq_plan::Action::Same, "{name}");
        }
        clusters.forget(&addresses).await;
    }

    #[rmq_testing::test]
    async fn a_dropped_survey_is_made_again(cluster: TestCluster) {
        let clusters = Clusters::default();
        let addresses = [cluster.name_server_list()];
        let settings = topic("t");
        let client = clusters.client(&addresses).await.expect("a client");
        let action = async || {
            let current = clusters.survey(&addresses, &settings).await;
            let current = current.expect("a survey");
            current.plan(&settings).map(|change| change.action)
        };
        let create = async |queues| {
            let spec = rmq_client::TopicSpec::new("t").queues(queues);
            let created = client.admin().create_topic(&spec).await;
            created.expect("a topic");
            clusters.survey_again(&addresses, &settings);
        };
        assert_eq!(action().await, Some(rmq_plan::Action::Create));
        create(2).await;
        assert_eq!(action().await, Some(rmq_plan::Action::Same));
        create(3).await;
        assert_eq!(action().await, Some(rmq_plan::Action::Update));
        clusters.forget(&addresses).await;
    }
}
