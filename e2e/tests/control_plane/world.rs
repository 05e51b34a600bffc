//! The control plane, operators at work in it, and what tests ask of them.

use std::fmt::{Debug, Display};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::object::HasStatus;
use kube::{Api, Client, Resource, ResourceExt};
use rmq_crds::{BrokerGroup, Condition, NameServer};
use rmq_lab::ControlPlane;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) type Outcome = Result<(), String>;

/// Who tests apply as.
const TESTER: &str = "tester";
/// Longest wait for anything.
const WITHIN: Duration = Duration::from_secs(60);

/// Everything that the tests share.
pub(crate) struct World {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) client: Client,
    pub(crate) plane: ControlPlane,
}

impl World {
    pub(crate) fn start() -> Result<Self, String> {
        // What the operators say, for people who look for a failure.
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("control_plane.log");
        let log = std::fs::File::create(log).map_err(text)?;
        let filter = tracing_subscriber::EnvFilter::try_from_env("RMQ_LOG")
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_writer(log)
            .init();
        let mut plane = ControlPlane::start()?;
        plane.run_controllers(&[
            "namespace-controller",
            "garbage-collector-controller",
            "statefulset-controller",
            // A volume claim that is deleted goes when no pod uses it.
            "persistentvolumeclaim-protection-controller",
        ])?;
        let runtime = tokio::runtime::Runtime::new().map_err(text)?;
        let client = runtime.block_on(async {
            // Somebody else may have chosen already, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let client = connect(plane.kubeconfig()).await?;
            install(&client).await?;
            Ok::<_, String>(client)
        })?;
        Ok(Self {
            runtime,
            client,
            plane,
        })
    }

    /// A namespace of a scenario, and an operator that looks after it.
    pub(crate) async fn looked_after(&self, namespace: &str) -> Result<Operator, String> {
        self.namespace(namespace).await?;
        Ok(Operator::start(
            self,
            namespace,
            "first",
            self.plane.kubeconfig(),
        ))
    }

    pub(crate) async fn namespace(&self, name: &str) -> Outcome {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let object = Namespace {
            metadata: kube::core::ObjectMeta {
                name: Some(name.to_owned()),
                ..Default::default()
            },
            ..Namespace::default()
        };
        let made = api.create(&PostParams::default(), &object).await;
        made.map(drop).map_err(text)
    }

    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Makes an object, or says why it is refused.
    pub(crate) async fn create<K>(&self, namespace: &str, object: Value) -> Result<K, String>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        // Typed objects would not let wrong ones through.
        let api = Api::<kube::core::DynamicObject>::namespaced_with(
            self.client.clone(),
            namespace,
            &kube::core::ApiResource::erase::<K>(&()),
        );
        let mut object = object;
        object["apiVersion"] = json!(K::api_version(&()));
        object["kind"] = json!(K::kind(&()));
        let object = serde_json::from_value(object).map_err(text)?;
        let made = api.create(&PostParams::default(), &object).await;
        let made = serde_json::to_value(made.map_err(text)?).map_err(text)?;
        serde_json::from_value(made).map_err(text)
    }

    /// Changes an object.
    pub(crate) async fn merge<K>(
        &self,
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> Result<K, String>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api: Api<K> = self.api(namespace);
        let patched = api
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        patched.map_err(text)
    }

    /// Server-side apply by another manager than the operator.
    pub(crate) async fn apply<K>(
        &self,
        namespace: &str,
        name: &str,
        object: Value,
    ) -> Result<K, String>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api: Api<K> = self.api(namespace);
        let mut object = object;
        object["apiVersion"] = json!(K::api_version(&()));
        object["kind"] = json!(K::kind(&()));
        let params = PatchParams::apply(TESTER).force();
        let applied = api.patch(name, &params, &Patch::Apply(&object)).await;
        applied.map_err(text)
    }

    /// Waits until an object is as it shall be.
    pub(crate) async fn wait<K>(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        holds: impl Fn(&K) -> bool,
    ) -> Result<K, String>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        let api: Api<K> = self.api(namespace);
        until(what, async || match api.get_opt(name).await {
            Ok(Some(object)) if holds(&object) => Ok(object),
            Ok(Some(object)) => Err(serde_json::to_string(&object).unwrap_or_default()),
            Ok(None) => Err(format!("there is no {} {name}", K::kind(&()))),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Waits until a condition of an object has this status and reason, and a message with `part`.
    pub(crate) async fn wait_condition<K>(
        &self,
        namespace: &str,
        name: &str,
        wanted: [&str; 4],
    ) -> Result<K, String>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + HasStatus<Status: Serialize>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        let [type_, status, reason, part] = wanted;
        self.wait(namespace, name, &format!("{wanted:?}"), |object: &K| {
            conditions(object).iter().any(|condition| {
                condition.type_ == type_
                    && condition.status == status
                    && condition.reason == reason
                    && condition.message.contains(part)
            })
        })
        .await
    }

    /// Waits until an object is gone.
    pub(crate) async fn wait_gone<K>(&self, namespace: &str, name: &str) -> Outcome
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api: Api<K> = self.api(namespace);
        until("the end of an object", async || {
            match api.get_opt(name).await {
                Ok(None) => Ok(()),
                Ok(Some(object)) => Err(format!("{:?}", object.meta())),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Name servers and a broker group.
    pub(crate) async fn cluster(&self, namespace: &str) -> Outcome {
        self.create::<NameServer>(namespace, name_server("main"))
            .await?;
        self.create::<BrokerGroup>(namespace, group("a", json!({})))
            .await?;
        Ok(())
    }
}

/// The conditions of an object.
pub(crate) fn conditions<K: HasStatus<Status: Serialize>>(object: &K) -> Vec<Condition> {
    let status = serde_json::to_value(object.status()).unwrap_or_default();
    serde_json::from_value(status["conditions"].clone()).unwrap_or_default()
}

pub(crate) fn name_server(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"replicas": 1}})
}

/// A broker group of `main` whose spec has these fields too.
pub(crate) fn group(name: &str, more: Value) -> Value {
    let mut spec = json!({"nameServerRef": {"name": "main"}, "storage": {"ephemeral": true}});
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

pub(crate) fn text(error: impl Display) -> String {
    error.to_string()
}

/// What must hold.
pub(crate) fn demand(holds: bool, otherwise: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

/// Asks again and again until there is an answer; the last problem when time is over.
pub(crate) async fn until<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, String> {
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(value) => return Ok(value),
            Err(problem) if started.elapsed() > WITHIN => {
                return Err(format!(
                    "{what}: not within {} s: {problem}",
                    WITHIN.as_secs()
                ));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

pub(crate) async fn connect(kubeconfig: PathBuf) -> Result<Client, String> {
    let file = kube::config::Kubeconfig::read_from(&kubeconfig).map_err(text)?;
    let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await;
    Client::try_from(config.map_err(text)?).map_err(text)
}

async fn install(client: &Client) -> Outcome {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in rmq_crds::definitions() {
        let params = PatchParams::apply(TESTER);
        let name = definition.name_any();
        api.patch(&name, &params, &Patch::Apply(&definition))
            .await
            .map_err(text)?;
        until("the definitions", async || {
            let found = api.get(&name).await.map_err(text)?;
            let status = found.status.unwrap_or_default();
            let is_there =
                status.conditions.iter().flatten().any(|condition| {
                    condition.type_ == "Established" && condition.status == "True"
                });
            demand(is_there, format!("{name} is not established"))
        })
        .await?;
    }
    Ok(())
}

/// An operator in this process.
pub(crate) struct Operator {
    stop: CancellationToken,
    task: JoinHandle<Result<(), rmq_operator::Error>>,
}

impl Operator {
    /// One that looks after this namespace, and has its lease there.
    pub(crate) fn start(
        world: &World,
        namespace: &str,
        identity: &str,
        kubeconfig: PathBuf,
    ) -> Self {
        Self::run(world, namespace, namespace, identity, kubeconfig)
    }

    /// One whose lease is elsewhere.
    pub(crate) fn beside(world: &World, namespace: &str, lease: &str) -> Self {
        Self::with_rights(world, namespace, lease, world.plane.kubeconfig())
    }

    /// One that has the rights of this kubeconfig.
    pub(crate) fn with_rights(
        world: &World,
        namespace: &str,
        lease: &str,
        kubeconfig: PathBuf,
    ) -> Self {
        Self::run(world, namespace, lease, "first", kubeconfig)
    }

    fn run(
        world: &World,
        namespace: &str,
        lease_namespace: &str,
        identity: &str,
        kubeconfig: PathBuf,
    ) -> Self {
        let stop = CancellationToken::new();
        let options = rmq_operator::Options {
            namespaces: vec![namespace.to_owned()],
            image: "rmq:test".to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            lease_namespace: Some(lease_namespace.to_owned()),
            lease: "rmq-operator".to_owned(),
            identity: Some(identity.to_owned()),
            kubeconfig: Some(kubeconfig),
        };
        let task = world
            .runtime
            .spawn(rmq_operator::run(options, stop.clone()));
        Self { stop, task }
    }

    /// Stops it as a pod is stopped.
    pub(crate) async fn stop(self) -> Outcome {
        self.stop.cancel();
        self.task.await.map_err(text)?.map_err(text)
    }
}
