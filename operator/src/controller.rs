//! The wiring of all kinds: what is watched, who is woken by what, and what happens after a failure.

use std::fmt::Debug;
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::{Stream, StreamExt, future};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Api, Client, Resource, ResourceExt};
use rmq_crds::{
    BrokerGroup, Condition, ConditionStatus, Conditions, NameServer, SubscriptionGroup, Topic,
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::build::names;
use crate::conditions::Verdict;
use crate::context::{Context, Stores};
use crate::error::Error;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::{broker_group, name_server, server, settings};

/// Everything is looked at again after this long, give or take a fifth: somebody may have changed brokers by hand.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// Longest pause after failures in a row.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Objects of one kind that are worked on at the same time.
const CONCURRENCY: u16 = 16;
/// Bytes of one page of a list, roughly: objects are a few KiB.
const PAGE: u32 = 200;

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Namespaces to look after, separated by commas. Default: all.
    #[arg(long, env = "RMQ_OPERATOR_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,

    /// Image of name servers and brokers whose objects name none.
    #[arg(long, env = "RMQ_OPERATOR_IMAGE", default_value = concat!("ghcr.io/rmq-rs/rmq:", env!("CARGO_PKG_VERSION")))]
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
    let version = client
        .apiserver_version()
        .await
        .map_err(Error::doing("asking the API server for its version"))?;
    tracing::info!(kubernetes = version.git_version, "connected");
    ready.store(true, Ordering::Release);

    let identity = options.identity.clone().unwrap_or_else(|| {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "rmq-operator".to_owned());
        format!("{host}-{}", std::process::id())
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

    let recorder = Recorder::new(
        client.clone(),
        Reporter {
            controller: "rmq-operator".to_owned(),
            instance: Some(identity),
        },
    );
    let scopes: Vec<Option<String>> = if options.namespaces.is_empty() {
        vec![None]
    } else {
        options.namespaces.iter().cloned().map(Some).collect()
    };
    for scope in scopes {
        let task = look_after(
            client.clone(),
            scope,
            options.image.clone(),
            recorder.clone(),
            metrics.clone(),
        );
        tasks.spawn(async move {
            task.await;
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

fn api<K>(client: &Client, scope: Option<&String>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Objects that can be watched.
trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// The store that a watch fills, and the stream of what it saw.
fn stored<K: Watched>(
    events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static,
) -> (
    Store<K>,
    impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
) {
    let (store, writer) = reflector::store();
    let stream = events.modify(strip).reflect(writer).touched_objects();
    (store, stream)
}

/// A watch of our children: the store, and the stream that fills it and wakes.
fn children<K: Watched>(
    client: &Client,
    scope: Option<&String>,
    selector: &str,
) -> (
    Store<K>,
    impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
) {
    let config = watcher::Config::default().labels(selector).page_size(PAGE);
    stored(watcher(api::<K>(client, scope), config).default_backoff())
}

/// What nobody reads takes half of the memory.
fn strip<K: ResourceExt>(object: &mut K) {
    object.managed_fields_mut().clear();
}

/// A watch of our own kinds. One object that is not what the definition says is told about and does not stop the others.
fn own<K: Watched>(
    client: &Client,
    scope: Option<&String>,
    recorder: &Recorder,
) -> (
    Store<K>,
    impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
) {
    let all = api::<DeserializeGuard<K>>(client, scope);
    let (client, recorder) = (client.clone(), recorder.clone());
    let events = watcher(all, watcher::Config::default().page_size(PAGE))
        .default_backoff()
        .filter_map(move |event| {
            let parsed = event
                .map(|event| parse(event, &client, &recorder))
                .transpose();
            future::ready(parsed)
        });
    stored(events)
}

fn parse<K: Watched>(
    event: watcher::Event<DeserializeGuard<K>>,
    client: &Client,
    recorder: &Recorder,
) -> Option<watcher::Event<K>> {
    use watcher::Event;
    let fine = |guard: DeserializeGuard<K>| match guard.0 {
        Ok(object) => Some(object),
        Err(invalid) => {
            tokio::spawn(tell_invalid::<K>(
                invalid.metadata,
                invalid.error,
                client.clone(),
                recorder.clone(),
            ));
            None
        }
    };
    match event {
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
        Event::InitApply(guard) => fine(guard).map(Event::InitApply),
        Event::Apply(guard) => fine(guard).map(Event::Apply),
        Event::Delete(guard) => guard.0.ok().map(Event::Delete),
    }
}

async fn tell_invalid<K: Watched>(
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    error: String,
    client: Client,
    recorder: Recorder,
) {
    let name = metadata.name.clone().unwrap_or_default();
    let namespace = metadata.namespace.clone().unwrap_or_default();
    tracing::warn!(kind = %K::kind(&()), namespace, name, "is not what its definition says: {error}");
    let message = format!(
        "{error}; correct the object, or install the definitions of this operator's version (rmq-operator crds)"
    );
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::now());
    let mut conditions: Vec<Condition> = Vec::new();
    Verdict::stalled("InvalidObject", message.clone()).write(
        &mut conditions,
        metadata.generation,
        &now,
    );
    let api: Api<DeserializeGuard<K>> = Api::namespaced(client, &namespace);
    let patch = json!({"status": {"conditions": conditions}});
    if let Err(error) = api
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
    {
        tracing::warn!(namespace, name, "cannot say so in its status: {error}");
    }
    let reference = k8s_openapi::api::core::v1::ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: Some(name),
        namespace: Some(namespace),
        uid: metadata.uid,
        ..Default::default()
    };
    let event = kube::runtime::events::Event {
        type_: kube::runtime::events::EventType::Warning,
        reason: "InvalidObject".to_owned(),
        note: Some(message.chars().take(1_000).collect()),
        action: "Read".to_owned(),
        secondary: None,
    };
    // The log has it.
    let _ = recorder.publish(&event, &reference).await;
}

/// All kinds in one namespace, or in all.
async fn look_after(
    client: Client,
    scope: Option<String>,
    image: String,
    recorder: Recorder,
    metrics: Arc<Metrics>,
) {
    let scope = scope.as_ref();
    let selector = format!("app.kubernetes.io/managed-by={}", names::FIELD_MANAGER);
    let (name_servers, name_server_events) = own::<NameServer>(&client, scope, &recorder);
    let (broker_groups, broker_group_events) = own::<BrokerGroup>(&client, scope, &recorder);
    let (topics, topic_events) = own::<Topic>(&client, scope, &recorder);
    let (subscription_groups, subscription_group_events) =
        own::<SubscriptionGroup>(&client, scope, &recorder);
    let (stateful_sets, stateful_set_events) = children(&client, scope, &selector);
    let (services, service_events) = children(&client, scope, &selector);
    let (config_maps, config_map_events) = children(&client, scope, &selector);
    let (disruption_budgets, disruption_budget_events) = children(&client, scope, &selector);
    let (pods, pod_events) = children::<k8s_openapi::api::core::v1::Pod>(&client, scope, &selector);
    let (claims, claim_events) = children::<k8s_openapi::api::core::v1::PersistentVolumeClaim>(
        &client,
        scope,
        &format!("{}={}", names::COMPONENT, names::BROKER),
    );
    let context = Arc::new(Context {
        client,
        image,
        recorder,
        metrics,
        clusters: Default::default(),
        stores: Stores {
            name_servers: name_servers.clone(),
            broker_groups: broker_groups.clone(),
            topics: topics.clone(),
            subscription_groups: subscription_groups.clone(),
            stateful_sets,
            services,
            config_maps,
            disruption_budgets,
            pods,
            claims,
        },
        failures: Default::default(),
        turns: Default::default(),
        quiet: Default::default(),
    });

    // One stream of wakes for each kind of child; each goes to the kind that made it.
    let (to_name_servers, to_broker_groups) = split(vec![
        wakes(stateful_set_events),
        wakes(service_events),
        wakes(config_map_events),
        wakes(disruption_budget_events),
        wakes(pod_events),
        wakes(claim_events),
    ]);
    let (name_server_changes, name_server_wakes) = tee(name_server_events);
    let (broker_group_changes, broker_group_wakes) = tee(broker_group_events);

    let groups = broker_groups.clone();
    let siblings = broker_groups.clone();
    let to_groups = name_server_wakes
        .clone()
        .stream()
        .flat_map(move |(namespace, name)| {
            futures_util::stream::iter(refs_of(&groups, &namespace, |group: &BrokerGroup| {
                group.spec.name_server_ref.name == name
            }))
        });
    // The end of one group's restart is the turn of the next.
    let to_siblings = broker_group_wakes
        .clone()
        .stream()
        .flat_map(move |(namespace, name)| {
            let cluster = siblings.get(&ObjectRef::new(&name).within(&namespace));
            let cluster = cluster.map(|group| group.spec.name_server_ref.name.clone());
            let waiting = refs_of(&siblings, &namespace, |group: &BrokerGroup| {
                Some(&group.spec.name_server_ref.name) == cluster.as_ref()
                    && group.name_any() != name
                    && group.status.as_ref().is_some_and(|status| {
                        status
                            .conditions
                            .of("Progressing")
                            .is_some_and(|progressing| progressing.reason == "RestartPending")
                    })
            });
            futures_util::stream::iter(waiting)
        });
    let to_topics = settings_wakes(
        &topics,
        &broker_groups,
        &name_server_wakes,
        &broker_group_wakes,
    );
    let to_subscriptions = settings_wakes(
        &subscription_groups,
        &broker_groups,
        &name_server_wakes,
        &broker_group_wakes,
    );

    let config = || {
        ControllerConfig::default()
            .concurrency(CONCURRENCY)
            .debounce(Duration::from_millis(50))
    };
    let name_servers = Controller::for_stream(name_server_changes, name_servers)
        .with_config(config())
        .reconcile_on(
            to_name_servers.map(|(namespace, name)| ObjectRef::new(&name).within(&namespace)),
        )
        .run(
            |object, context| {
                look(object, context, |object, context| {
                    Box::pin(async move { name_server::reconcile(&object, &context).await })
                })
            },
            after_failure,
            context.clone(),
        )
        .for_each(|_| future::ready(()));
    let broker_groups = Controller::for_stream(broker_group_changes, broker_groups)
        .with_config(config())
        .reconcile_on(
            to_broker_groups.map(|(namespace, name)| ObjectRef::new(&name).within(&namespace)),
        )
        .reconcile_on(to_groups)
        .reconcile_on(to_siblings)
        .run(
            |object, context| {
                look(object, context, |object, context| {
                    Box::pin(async move { broker_group::reconcile(&object, &context).await })
                })
            },
            after_failure,
            context.clone(),
        )
        .for_each(|_| future::ready(()));
    let topics = Controller::for_stream(topic_events, topics)
        .with_config(config())
        .reconcile_on(to_topics)
        .run(
            |object: Arc<Topic>, context| {
                look(object, context, |object, context| {
                    Box::pin(async move { settings::reconcile(&*object, &context).await })
                })
            },
            after_failure,
            context.clone(),
        )
        .for_each(|_| future::ready(()));
    let subscription_groups =
        Controller::for_stream(subscription_group_events, subscription_groups)
            .with_config(config())
            .reconcile_on(to_subscriptions)
            .run(
                |object: Arc<SubscriptionGroup>, context| {
                    look(object, context, |object, context| {
                        Box::pin(async move { settings::reconcile(&*object, &context).await })
                    })
                },
                after_failure,
                context.clone(),
            )
            .for_each(|_| future::ready(()));
    // Any of them ends only when its watch does.
    tokio::select! {
        () = name_servers => {}
        () = broker_groups => {}
        () = topics => {}
        () = subscription_groups => {}
    }
}

/// Namespace and name of an object.
type Key = (String, String);

/// Whose child was touched: component, namespace and name of the owner.
type Wake = (String, Key);

fn wakes<K>(
    events: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
) -> futures_util::stream::BoxStream<'static, Wake>
where
    K: Resource<DynamicType = ()> + 'static,
{
    events
        .filter_map(|event| {
            let wake = event.ok().and_then(|object| {
                let labels = object.labels();
                let component = labels.get(names::COMPONENT)?.clone();
                let of = if component == names::NAME_SERVER {
                    names::CLUSTER
                } else {
                    names::BROKER_GROUP
                };
                Some((component, (object.namespace()?, labels.get(of)?.clone())))
            });
            future::ready(wake)
        })
        .boxed()
}

/// Wakes for name servers, and wakes for broker groups.
fn split(
    streams: Vec<futures_util::stream::BoxStream<'static, Wake>>,
) -> (
    impl Stream<Item = Key> + Send + 'static,
    impl Stream<Item = Key> + Send + 'static,
) {
    let (name_servers, to_name_servers) = tokio::sync::mpsc::unbounded_channel();
    let (broker_groups, to_broker_groups) = tokio::sync::mpsc::unbounded_channel();
    let mut all = futures_util::stream::select_all(streams);
    tokio::spawn(async move {
        while let Some((component, key)) = all.next().await {
            let sent = if component == names::NAME_SERVER {
                name_servers.send(key)
            } else {
                broker_groups.send(key)
            };
            if sent.is_err() {
                return;
            }
        }
    });
    (received(to_name_servers), received(to_broker_groups))
}

fn received<T: Send + 'static>(
    receiver: tokio::sync::mpsc::UnboundedReceiver<T>,
) -> impl Stream<Item = T> + Send + 'static {
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        let item = receiver.recv().await?;
        Some((item, receiver))
    })
}

/// Who wants to know of changed objects.
#[derive(Clone)]
struct Wakes(tokio::sync::broadcast::Sender<Key>);

impl Wakes {
    fn stream(self) -> impl Stream<Item = Key> + Send + 'static {
        futures_util::stream::unfold(self.0.subscribe(), |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(key) => return Some((key, receiver)),
                    // Those will be looked at by the timer.
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
    }
}

/// The same stream, and who else wants to know.
fn tee<K>(
    events: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
) -> (
    impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
    Wakes,
)
where
    K: Resource<DynamicType = ()> + 'static,
{
    let (sender, _) = tokio::sync::broadcast::channel(4_096);
    let wakes = Wakes(sender.clone());
    let stream = events.inspect(move |event| {
        if let Ok(object) = event {
            // Nobody listening is fine.
            let _ = sender.send((object.namespace().unwrap_or_default(), object.name_any()));
        }
    });
    (stream, wakes)
}

fn refs_of<K>(store: &Store<K>, namespace: &str, wanted: impl Fn(&K) -> bool) -> Vec<ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let found = store
        .state_filter(|object| object.namespace().as_deref() == Some(namespace) && wanted(object));
    found
        .iter()
        .map(|object| ObjectRef::from_obj(&**object))
        .collect()
}

/// Topics and groups are looked at when their cluster or one of its brokers changes.
fn settings_wakes<K: settings::Kind>(
    store: &Store<K>,
    groups: &Store<BrokerGroup>,
    name_servers: &Wakes,
    broker_groups: &Wakes,
) -> impl Stream<Item = ObjectRef<K>> + Send + 'static {
    let of = |store: &Store<K>, namespace: &str, cluster: &str| {
        let wanted = |object: &K| {
            object
                .name_server_ref()
                .is_some_and(|reference| reference.name == cluster)
        };
        futures_util::stream::iter(refs_of(store, namespace, wanted))
    };
    let by_name_server = store.clone();
    let by_name_server = name_servers
        .clone()
        .stream()
        .flat_map(move |(namespace, name)| of(&by_name_server, &namespace, &name));
    let (by_group, groups) = (store.clone(), groups.clone());
    let by_group = broker_groups
        .clone()
        .stream()
        .flat_map(move |(namespace, name)| {
            let group = groups.get(&ObjectRef::new(&name).within(&namespace));
            let cluster = group
                .map(|group| group.spec.name_server_ref.name.clone())
                .unwrap_or_default();
            of(&by_group, &namespace, &cluster)
        });
    futures_util::stream::select(by_name_server, by_group)
}

/// One look at an object, measured.
async fn look<K>(
    object: Arc<K>,
    context: Arc<Context>,
    reconcile: impl FnOnce(
        Arc<K>,
        Arc<Context>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Action, Error>> + Send>>,
) -> Result<Action, Error>
where
    K: Resource<DynamicType = ()> + Send + Sync + 'static,
{
    let started = Instant::now();
    let outcome = reconcile(object.clone(), context.clone()).await;
    let kind = K::kind(&());
    let reason = outcome.as_ref().err().map(Error::reason);
    context.metrics.looked(&kind, started.elapsed(), reason);
    if outcome.is_ok() {
        context.failures.lock().remove(&key(&*object));
        if object.meta().deletion_timestamp.is_some() {
            let namespace = object.namespace().unwrap_or_default();
            context
                .metrics
                .ready(&kind, &namespace, &object.name_any(), None);
        }
    }
    outcome
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

/// Look again some time: not all objects at once.
fn next_look<K: Resource<DynamicType = ()>>(object: &K) -> Action {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    object.uid().unwrap_or_default().hash(&mut hasher);
    let spread = hasher.finish() % 400;
    // 240 s to 360 s.
    Action::requeue(LOOK_AGAIN * 4 / 5 + LOOK_AGAIN * u32::try_from(spread).unwrap_or(0) / 1_000)
}

/// When to look again at an object of this verdict: `soon`, unless nothing is to be waited for.
pub(crate) fn next_after<K: Resource<DynamicType = ()>>(
    object: &K,
    verdict: &Verdict,
    soon: Duration,
) -> Action {
    if verdict.progressing || verdict.stalled {
        again(soon)
    } else {
        next_look(object)
    }
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
    let value = match verdict.ready {
        ConditionStatus::True => 1,
        ConditionStatus::False => 0,
        ConditionStatus::Unknown => -1,
    };
    let namespace = object.namespace().unwrap_or_default();
    context
        .metrics
        .ready(&K::kind(&()), &namespace, &object.name_any(), Some(value));
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
