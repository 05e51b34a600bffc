//! The wiring of all kinds: what is watched, who is woken by what, and what happens after a failure.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::{StreamExt, future};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::core::DeserializeGuard;
use kube::core::object::HasStatus;
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use rmq_crds::{
    BrokerGroup, Condition, ConditionStatus, Conditions, NameServer, SubscriptionGroup, Topic,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::broker_group::live;
use crate::build::names;
use crate::conditions::{Status, Verdict};
use crate::context::{Context, Stores};
use crate::error::Error;
use crate::lease::Leadership;
use crate::metrics::{CONDITIONS, Metrics};
use crate::watch::{Invalid, Watch, Watched};
use crate::{broker_group, name_server, server, settings};

/// Everything is looked at again once in this time: somebody may have changed brokers by hand.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// Longest pause after failures in a row.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Objects of one kind that are worked on at the same time.
const CONCURRENCY: u16 = 16;
/// Bytes of one page of a list, roughly: objects are a few KiB.
const PAGE: u32 = 100;

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Namespaces to look after, separated by commas. Default: all.
    #[arg(long, env = "RMQ_OPERATOR_NAMESPACES", value_delimiter = ',', value_parser = namespace)]
    pub namespaces: Vec<String>,

    /// Image of name servers and brokers whose objects name none.
    #[arg(long, env = "RMQ_OPERATOR_IMAGE", default_value = concat!("rmq:", env!("CARGO_PKG_VERSION")))]
    pub image: String,

    /// Where /livez, /readyz and /metrics are served, host:port.
    #[arg(long, env = "RMQ_OPERATOR_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: String,

    /// Namespace of the Lease by which one of several operators leads. Default: the pod's own.
    #[arg(long, env = "RMQ_OPERATOR_LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// Name of that Lease.
    #[arg(long, env = "RMQ_OPERATOR_LEASE", default_value = "rmq-operator")]
    pub lease: String,

    /// Who this process is, in the Lease. Default: the host name with the process id.
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,

    /// Kubeconfig to use. Default: the pod's service account, or $KUBECONFIG.
    #[arg(long, env = "RMQ_OPERATOR_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
}

/// A name that a namespace can have (RFC 1123 label): with another one the operator would look after nothing, or after everything.
fn namespace(text: &str) -> Result<String, String> {
    let name = text.trim();
    let is_inner = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let is_name = (1..=63).contains(&name.len())
        && name.chars().all(|letter| is_inner(letter) || letter == '-')
        && name.starts_with(is_inner)
        && name.ends_with(is_inner);
    if is_name {
        Ok(name.to_owned())
    } else {
        Err(format!(
            "{text:?} is no name of a namespace: small letters, digits and -, at most 63; separated by commas, as shop,billing"
        ))
    }
}

/// Runs until `stop`, or until another process leads.
///
/// # Errors
/// When the API server cannot be reached, the definitions are not installed, or leadership is lost: end the process then.
pub async fn run(options: Options, stop: CancellationToken) -> Result<(), Error> {
    // Somebody else may have chosen already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = match &options.kubeconfig {
        Some(path) => {
            let fatal = |error: kube::config::KubeconfigError| {
                Error::Fatal(format!("kubeconfig {}: {error}", path.display()))
            };
            let file = kube::config::Kubeconfig::read_from(path).map_err(fatal)?;
            kube::Config::from_custom_kubeconfig(file, &Default::default())
                .await
                .map_err(fatal)?
        }
        None => kube::Config::infer()
            .await
            .map_err(|error| Error::Fatal(format!("no API server is configured: {error}")))?,
    };
    let own_namespace = config.default_namespace.clone();
    let client = Client::try_from(config).map_err(Error::doing("connecting to the API server"))?;
    let metrics = Metrics::new();
    let ready = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind(&options.listen)
        .await
        .map_err(|error| Error::Fatal(format!("cannot listen on {}: {error}", options.listen)))?;
    let mut tasks: JoinSet<Error> = JoinSet::new();
    {
        let (metrics, ready) = (metrics.clone(), ready.clone());
        tasks.spawn(async move {
            match server::serve(listener, metrics, ready).await {
                Ok(()) => Error::Fatal("the health server ended".to_owned()),
                Err(error) => Error::Fatal(format!("the health server ended: {error}")),
            }
        });
    }
    let version = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        version = client.apiserver_version() => version,
    };
    let version = version.map_err(Error::doing("asking the API server for its version"))?;
    tracing::info!(kubernetes = version.git_version, "connected");

    let identity = options.identity.clone().unwrap_or_else(|| {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "rmq-operator".to_owned());
        format!("{host}-{}", std::process::id())
    });
    let recorder = Recorder::new(
        client.clone(),
        Reporter {
            controller: "rmq-operator".to_owned(),
            instance: Some(identity.clone()),
        },
    );
    // A process that does not lead knows everything too, so that it can go on at once.
    let mut watches = JoinSet::new();
    let scopes: Vec<Option<&String>> = match options.namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().map(Some).collect(),
    };
    let watched: Vec<(Arc<Context>, Receivers)> = scopes
        .into_iter()
        .map(|scope| watch(&client, scope, &options, &recorder, &metrics, &mut watches))
        .collect();
    let contexts: Vec<Arc<Context>> = watched.iter().map(|(context, _)| context.clone()).collect();
    watches.spawn(async move {
        for context in contexts {
            context.stores.ready().await;
        }
        ready.store(true, Ordering::Release);
    });

    let lease_namespace = options.lease_namespace.clone().unwrap_or(own_namespace);
    let mut leadership = Leadership::new(
        client.clone(),
        &lease_namespace,
        &options.lease,
        identity.clone(),
    );
    tracing::info!(
        identity,
        lease = options.lease,
        namespace = lease_namespace,
        "waiting for the lease"
    );
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        Some(ended) = tasks.join_next() => return Err(ended.unwrap_or_else(|error| Error::Fatal(error.to_string()))),
        acquired = leadership.acquire() => acquired?,
    }
    tracing::info!(identity, "leads");
    metrics.leads(true);
    for (context, receivers) in watched {
        tasks.spawn(async move {
            act(context, receivers).await;
            Error::Fatal("a controller ended".to_owned())
        });
    }
    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(()),
        lost = leadership.keep() => Err(lost),
        Some(ended) = tasks.join_next() => Err(ended.unwrap_or_else(|error| Error::Fatal(error.to_string()))),
    };
    metrics.leads(false);
    // Whatever is being done is finished or cut off before anybody else begins.
    tasks.shutdown().await;
    if outcome.is_ok() {
        leadership.release().await;
    }
    outcome
}

/// All kinds in one namespace, or in all: known from now on, acted on when this process leads.
fn watch(
    client: &Client,
    scope: Option<&String>,
    options: &Options,
    recorder: &Recorder,
    metrics: &Arc<Metrics>,
    watches: &mut JoinSet<()>,
) -> (Arc<Context>, Receivers) {
    let ours = format!("app.kubernetes.io/managed-by={}", names::FIELD_MANAGER);
    let stores = Stores {
        name_servers: own(client, scope, recorder, watches, |_| Vec::new()),
        broker_groups: own(client, scope, recorder, watches, |group: &BrokerGroup| {
            vec![names::cluster_term(
                &group.namespace().unwrap_or_default(),
                &group.spec.name_server_ref.name,
            )]
        }),
        topics: own(client, scope, recorder, watches, settings::terms::<Topic>),
        subscription_groups: own(
            client,
            scope,
            recorder,
            watches,
            settings::terms::<SubscriptionGroup>,
        ),
        stateful_sets: children(client, scope, &ours, watches),
        services: children(client, scope, &ours, watches),
        config_maps: children(client, scope, &ours, watches),
        disruption_budgets: children(client, scope, &ours, watches),
        pods: trimmed(client, scope, &ours, watches, trim_pod),
        claims: children(client, scope, names::BROKER_GROUP, watches),
    };
    let (queues, receivers) = queues();
    let context = Context {
        client: client.clone(),
        image: options.image.clone(),
        recorder: recorder.clone(),
        metrics: metrics.clone(),
        clusters: Default::default(),
        stores,
        queues,
        failures: Default::default(),
        turns: Default::default(),
        live: Default::default(),
        asking: tokio::sync::Semaphore::new(live::AT_ONCE),
        quiet: Default::default(),
    };
    (Arc::new(context), receivers)
}

fn api<K>(client: &Client, scope: Option<&String>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// A watch of our children, each found by whose it is.
fn children<K: Watched>(
    client: &Client,
    scope: Option<&String>,
    selector: &str,
    watches: &mut JoinSet<()>,
) -> Watch<K> {
    trimmed(client, scope, selector, watches, |_| {})
}

/// Of pods there are many, and of their specs the images are looked at.
fn trim_pod(pod: &mut Pod) {
    if let Some(spec) = &mut pod.spec {
        let images = spec.containers.iter().map(|container| Container {
            name: container.name.clone(),
            image: container.image.clone(),
            ..Container::default()
        });
        *spec = PodSpec {
            containers: images.collect(),
            ..PodSpec::default()
        };
    }
}

/// The same, without what `trim` takes away.
fn trimmed<K: Watched>(
    client: &Client,
    scope: Option<&String>,
    selector: &str,
    watches: &mut JoinSet<()>,
    trim: fn(&mut K),
) -> Watch<K> {
    let (watch, feed) = Watch::new(|object: &K| names::owner_term(object).into_iter().collect());
    let feed = feed.trimmed(trim);
    let config = watcher::Config::default().labels(selector).page_size(PAGE);
    watches.spawn(feed.run(watcher(api::<K>(client, scope), config).default_backoff()));
    watch
}

/// A watch of one of our own kinds.
fn own<K: Watched>(
    client: &Client,
    scope: Option<&String>,
    recorder: &Recorder,
    watches: &mut JoinSet<()>,
    terms: fn(&K) -> Vec<String>,
) -> Watch<K> {
    let (watch, feed) = Watch::new(terms);
    let all = api::<DeserializeGuard<K>>(client, scope);
    let known = watch.clone();
    let mut invalid = Invalid::new(client.clone(), recorder.clone());
    let events = watcher(all, watcher::Config::default().page_size(PAGE))
        .default_backoff()
        .filter_map(move |event| {
            let sorted = event
                .map(|event| invalid.sort_out(event, &known))
                .transpose();
            future::ready(sorted)
        });
    watches.spawn(feed.run(events));
    watch
}

type Sender<K> = mpsc::UnboundedSender<ObjectRef<K>>;
type Receiver<K> = mpsc::UnboundedReceiver<ObjectRef<K>>;

/// Objects that shall be looked at; many wakes of one are one look.
pub(crate) struct Queues {
    name_servers: Sender<NameServer>,
    broker_groups: Sender<BrokerGroup>,
    topics: Sender<Topic>,
    subscription_groups: Sender<SubscriptionGroup>,
}

/// The other ends of [`Queues`].
struct Receivers {
    name_servers: Receiver<NameServer>,
    broker_groups: Receiver<BrokerGroup>,
    topics: Receiver<Topic>,
    subscription_groups: Receiver<SubscriptionGroup>,
}

fn queues() -> (Queues, Receivers) {
    let (name_servers, of_name_servers) = mpsc::unbounded_channel();
    let (broker_groups, of_broker_groups) = mpsc::unbounded_channel();
    let (topics, of_topics) = mpsc::unbounded_channel();
    let (subscription_groups, of_subscription_groups) = mpsc::unbounded_channel();
    let queues = Queues {
        name_servers,
        broker_groups,
        topics,
        subscription_groups,
    };
    let receivers = Receivers {
        name_servers: of_name_servers,
        broker_groups: of_broker_groups,
        topics: of_topics,
        subscription_groups: of_subscription_groups,
    };
    (queues, receivers)
}

impl Queues {
    /// Has a group looked at.
    pub(crate) fn wake_group(&self, namespace: &str, name: &str) {
        wake(&self.broker_groups, namespace, name);
    }
}

fn wake<K>(queue: &Sender<K>, namespace: &str, name: &str)
where
    K: Resource<DynamicType = ()>,
{
    // Nobody reads any more when the process ends.
    let _ = queue.send(ObjectRef::new(name).within(namespace));
}

/// Who is woken by what.
fn wire(context: &Arc<Context>) {
    let stores = &context.stores;
    owners_of(&stores.stateful_sets, context);
    owners_of(&stores.services, context);
    owners_of(&stores.config_maps, context);
    owners_of(&stores.disruption_budgets, context);
    owners_of(&stores.pods, context);
    owners_of(&stores.claims, context);
    let listening = Arc::downgrade(context);
    stores.name_servers.listen(move |old, new| {
        let (Some(context), Some(object)) = (listening.upgrade(), new.or(old)) else {
            return;
        };
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        changed(
            &context,
            &context.queues.name_servers,
            object,
            new.is_none(),
        );
        // Connections to name servers that are gone, or are others now.
        let addresses = old.map(names::name_server_addresses);
        if addresses.is_some() && addresses != new.map(names::name_server_addresses) {
            let context = context.clone();
            let addresses = addresses.unwrap_or_default();
            tokio::spawn(async move { context.clusters.forget(&addresses).await });
        }
        let cluster = names::cluster_term(&namespace, &name);
        for group in context.stores.broker_groups.of(&cluster) {
            context.queues.wake_group(&namespace, &group.name_any());
        }
        let news = |object: Option<&NameServer>| {
            object.map(|object| {
                let ready = object.status.as_ref().map(|status| status.ready_replicas);
                (object.metadata.deletion_timestamp.is_some(), ready)
            })
        };
        if news(old) != news(new) {
            wake_settings(&context, &cluster, &namespace);
        }
    });
    let listening = Arc::downgrade(context);
    stores.broker_groups.listen(move |old, new| {
        let (Some(context), Some(object)) = (listening.upgrade(), new.or(old)) else {
            return;
        };
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        changed(
            &context,
            &context.queues.broker_groups,
            object,
            new.is_none(),
        );
        let cluster = names::cluster_term(&namespace, &object.spec.name_server_ref.name);
        // The end of one group's restart is the turn of the next, and the end of a group that of a name.
        for sibling in context.stores.broker_groups.of(&cluster) {
            let waits = |type_: &str, reason: &str| {
                let status = sibling.status.as_ref();
                status
                    .and_then(|status| status.conditions.of(type_))
                    .is_some_and(|condition| condition.reason == reason)
            };
            if sibling.name_any() != name
                && (waits("Progressing", "RestartPending") || waits("Stalled", "ResourceConflict"))
            {
                context.queues.wake_group(&namespace, &sibling.name_any());
            }
        }
        let news = |object: Option<&BrokerGroup>| {
            object.map(|object| {
                let ready = object.status.as_ref().map(|status| status.ready_replicas);
                (object.metadata.deletion_timestamp.is_some(), ready)
            })
        };
        if news(old) != news(new) {
            wake_settings(&context, &cluster, &namespace);
        }
    });
    settings_changed::<Topic>(context, |queues| &queues.topics);
    settings_changed::<SubscriptionGroup>(context, |queues| &queues.subscription_groups);
}

/// Whoever made the child is looked at.
fn owners_of<K: Watched>(watch: &Watch<K>, context: &Arc<Context>) {
    let listening = Arc::downgrade(context);
    watch.listen(move |old, new| {
        let owner = new.or(old).and_then(names::owner);
        if let (Some(context), Some((component, namespace, name))) = (listening.upgrade(), owner) {
            if component == names::NAME_SERVER {
                wake(&context.queues.name_servers, &namespace, &name);
            } else {
                context.queues.wake_group(&namespace, &name);
            }
        }
    });
}

/// An object of our own was changed, or is gone.
fn changed<K: Watched>(context: &Context, queue: &Sender<K>, object: &K, is_gone: bool) {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    if is_gone {
        context.metrics.forget(&K::kind(&()), &namespace, &name);
        context.failures.lock().remove(&key(object));
        context
            .quiet
            .lock()
            .remove(&object.uid().unwrap_or_default());
    } else {
        wake(queue, &namespace, &name);
    }
}

/// Topics and groups are looked at when their cluster or one of its brokers comes, goes, or serves again.
fn wake_settings(context: &Context, cluster: &str, namespace: &str) {
    for topic in context.stores.topics.of(cluster) {
        wake(&context.queues.topics, namespace, &topic.name_any());
    }
    for group in context.stores.subscription_groups.of(cluster) {
        wake(
            &context.queues.subscription_groups,
            namespace,
            &group.name_any(),
        );
    }
}

/// What an object gives up may be another's.
fn settings_changed<K: settings::Kind>(context: &Arc<Context>, queue: fn(&Queues) -> &Sender<K>) {
    let listening = Arc::downgrade(context);
    K::watch(&context.stores).listen(move |old, new| {
        let (Some(context), Some(object)) = (listening.upgrade(), new.or(old)) else {
            return;
        };
        if let (Some(old), Some(new)) = (old, new) {
            settings::touched(old, new, &context);
        }
        let queue = queue(&context.queues);
        changed(&context, queue, object, new.is_none());
        if new.is_none() {
            for rival in K::watch(&context.stores).of(&settings::name_term(object)) {
                wake(
                    queue,
                    &rival.namespace().unwrap_or_default(),
                    &rival.name_any(),
                );
            }
        }
    });
}

/// Kinds of our own.
pub(crate) trait Reconciled:
    Watched + HasStatus<Status: Status + Clone + Default + Send + Sync>
{
    /// One look: brings the object nearer to what it shall be.
    fn reconcile(
        &self,
        context: &Arc<Context>,
    ) -> impl Future<Output = Result<Action, Error>> + Send;
}

impl Reconciled for NameServer {
    async fn reconcile(&self, context: &Arc<Context>) -> Result<Action, Error> {
        name_server::reconcile(self, context).await
    }
}

impl Reconciled for BrokerGroup {
    async fn reconcile(&self, context: &Arc<Context>) -> Result<Action, Error> {
        broker_group::reconcile(self, context).await
    }
}

impl Reconciled for Topic {
    async fn reconcile(&self, context: &Arc<Context>) -> Result<Action, Error> {
        settings::reconcile(self, context).await
    }
}

impl Reconciled for SubscriptionGroup {
    async fn reconcile(&self, context: &Arc<Context>) -> Result<Action, Error> {
        settings::reconcile(self, context).await
    }
}

/// Acts on what is watched, as long as this process leads.
async fn act(context: Arc<Context>, receivers: Receivers) {
    // A child that is only not seen yet is not made again.
    context.stores.ready().await;
    wire(&context);
    // Each goes on for ever.
    tokio::select! {
        () = control(&context, &context.stores.name_servers, receivers.name_servers) => {}
        () = control(&context, &context.stores.broker_groups, receivers.broker_groups) => {}
        () = control(&context, &context.stores.topics, receivers.topics) => {}
        () = control(&context, &context.stores.subscription_groups, receivers.subscription_groups) => {}
    }
}

async fn control<K: Reconciled>(context: &Arc<Context>, watch: &Watch<K>, queue: Receiver<K>) {
    let wakes = futures_util::stream::unfold(queue, |mut queue| async move {
        let wake = queue.recv().await?;
        Some((wake, queue))
    });
    let config = ControllerConfig::default()
        .concurrency(CONCURRENCY)
        .debounce(Duration::from_millis(50));
    // Wakes are all that it gets: the watch is fed by its own task.
    Controller::for_stream(futures_util::stream::pending(), watch.store())
        .with_config(config)
        .reconcile_on(wakes)
        .run(look::<K>, after_failure, context.clone())
        .for_each(|_| future::ready(()))
        .await;
}

/// One look at an object, measured. What cannot go on until somebody does something stands in its status.
async fn look<K: Reconciled>(object: Arc<K>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let outcome = object.reconcile(&context).await;
    let kind = K::kind(&());
    let reason = outcome.as_ref().err().map(Error::reason);
    context.metrics.looked(&kind, started.elapsed(), reason);
    let refused = match outcome {
        Err(error) => match error.verdict() {
            Some(verdict) => verdict,
            None => return Err(error),
        },
        Ok(action) => {
            context.failures.lock().remove(&key(&*object));
            return Ok(action);
        }
    };
    let status = object.status().cloned().unwrap_or_default();
    context.record(&*object, status, &refused).await?;
    Ok(again(BACKOFF_MAX / 2))
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!(
        "{}/{}/{}",
        K::kind(&()),
        object.namespace().unwrap_or_default(),
        object.name_any()
    )
}

/// Longer and longer pauses; a conflict only means that the cache is a moment behind.
fn after_failure<K>(object: Arc<K>, error: &Error, context: Arc<Context>) -> Action
where
    K: Resource<DynamicType = ()> + Send + Sync + 'static,
{
    if error.is_conflict() {
        return Action::requeue(Duration::from_millis(300));
    }
    let failures = {
        let mut all = context.failures.lock();
        let failures = all.entry(key(&*object)).or_insert(0);
        *failures += 1;
        *failures
    };
    tracing::warn!(kind = %K::kind(&()), namespace = object.namespace(), name = object.name_any(), failures, "{error}");
    if failures == 3 {
        let (reason, text) = (error.reason(), error.to_string());
        tokio::spawn(async move { context.warn(&*object, reason, text).await });
    }
    Action::requeue(BACKOFF_MAX.min(Duration::from_millis(500 << failures.min(7))))
}

/// Look again after this long.
pub(crate) fn again(after: Duration) -> Action {
    Action::requeue(after)
}

/// How long it is until the next look at objects of this seed, in periods of [`LOOK_AGAIN`]: not all objects at once, but those of one seed
/// together.
fn until_next(seed: &str, now_ms: u64) -> Duration {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    let period = u64::try_from(LOOK_AGAIN.as_millis()).unwrap_or(u64::MAX);
    let phase = hasher.finish() % period;
    // One that was looked at just before its time is not looked at twice.
    let after = period - (now_ms + phase) % period;
    let is_soon = after < period / 10;
    Duration::from_millis(if is_soon { after + period } else { after })
}

/// When to look again at an object of this verdict. While something is waited for, as much later as it lasts already: what is watched
/// wakes the object, so this is only for what is not.
pub(crate) fn next_after<K>(
    object: &K,
    verdict: &Verdict,
    pause: RangeInclusive<Duration>,
    seed: &str,
) -> Action
where
    K: Resource<DynamicType = ()> + HasStatus<Status: Status>,
{
    let type_ = match (verdict.stalled, verdict.progressing) {
        (true, _) => "Stalled",
        (_, true) => "Progressing",
        _ => {
            let now = crate::time::now().as_millisecond();
            return again(until_next(seed, u64::try_from(now).unwrap_or(0)));
        }
    };
    let conditions = object.status().map(Status::conditions).unwrap_or_default();
    let since = conditions
        .iter()
        .find(|condition| condition.type_ == type_ && condition.status == "True");
    let lasts = since.map_or(0, |since| {
        let lasts = crate::time::now().duration_since(since.last_transition_time.0);
        u64::try_from(lasts.as_secs()).unwrap_or(0)
    });
    again(Duration::from_secs(lasts).clamp(*pause.start(), *pause.end()))
}

/// An event when an object's reason is another one than before, and the figure of its condition.
pub(crate) async fn tell<K>(
    context: &Context,
    object: &K,
    before: Option<&[Condition]>,
    verdict: &Verdict,
) where
    K: Resource<DynamicType = ()>,
{
    let figure = |status| match status {
        ConditionStatus::True => 1,
        ConditionStatus::False => 0,
        ConditionStatus::Unknown => -1,
    };
    let namespace = object.namespace().unwrap_or_default();
    let figures = [
        figure(verdict.ready),
        i64::from(verdict.progressing),
        i64::from(verdict.stalled),
    ];
    for (condition, value) in CONDITIONS.into_iter().zip(figures) {
        let (kind, name) = (K::kind(&()), object.name_any());
        context
            .metrics
            .condition(&kind, &namespace, &name, condition, value);
    }
    let ready = before.and_then(|conditions| {
        conditions
            .iter()
            .find(|condition| condition.type_ == "Ready")
    });
    let is_new = ready.is_none_or(|ready| {
        ready.reason != verdict.reason || (verdict.stalled && ready.message != verdict.message)
    });
    if !is_new {
        return;
    }
    if verdict.stalled {
        context
            .warn(object, verdict.reason, &*verdict.message)
            .await;
    } else if verdict.ready == ConditionStatus::True || ready.is_some() {
        context
            .note(object, verdict.reason, &*verdict.message)
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_namespaces_are_taken() {
        assert_eq!(namespace(" shop-2 ").as_deref(), Ok("shop-2"));
        for wrong in [
            "",
            " ",
            "a b",
            "a;b",
            "Shop",
            "-a",
            "a-",
            "a/b",
            &"a".repeat(64),
        ] {
            let refused = namespace(wrong).expect_err(wrong);
            assert!(refused.contains("shop,billing"), "{refused}");
        }
    }

    #[test]
    fn looks_are_spread_and_those_of_one_seed_come_together() {
        let now = 1_764_000_000_000;
        let period = u64::try_from(LOOK_AGAIN.as_millis()).expect("a small number");
        for seed in ["a", "b", "c", "d"] {
            let due = now + until_next(seed, now).as_millis() as u64;
            assert_ne!(due, now + until_next("x", now).as_millis() as u64);
            // Asked a little later, it is the same time; asked at that time, it is a period later.
            assert_eq!(
                now + 1_000 + until_next(seed, now + 1_000).as_millis() as u64,
                due
            );
            assert_eq!(until_next(seed, due).as_millis() as u64, period);
        }
        let soon = (0..period).map(|ms| until_next("a", now + ms));
        assert!(soon.clone().min() >= Some(LOOK_AGAIN / 10));
        assert!(soon.max() <= Some(LOOK_AGAIN * 11 / 10));
    }
}
