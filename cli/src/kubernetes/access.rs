//! Which Kubernetes and which NameServer object a command means, and the way to the pods.
//!
//! Nothing here is built before a command needs a cluster and has no address of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, ResourceExt};
use rmq_client::{Connector, TcpConnector};
use rmq_crds::NameServer;
use serde::{Deserialize, Serialize};

use super::connector::PodConnector;
use super::problem::Problem;
use crate::codes;
use crate::error::Failure;

/// Longest look at Kubernetes that no option asks for.
const AUTO_WITHIN: Duration = Duration::from_secs(2);
/// Longest wait for an answer that an option asks for; a login program may run first.
const WITHIN: Duration = Duration::from_secs(30);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// NameServer objects that are looked at in one namespace.
const LISTED_MAX: u32 = 100;

/// Where a cluster is in Kubernetes. What is not said: the kubeconfig's usual place, its current context, that one's namespace, and
/// the only NameServer object there.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct KubernetesRef {
    /// The kubeconfig file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Its context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<String>,
    /// The namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    /// The NameServer object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
}

impl KubernetesRef {
    /// Itself, with what `other` does not say.
    pub(crate) fn or(self, other: &Self) -> Self {
        Self {
            kubeconfig: self.kubeconfig.or_else(|| other.kubeconfig.clone()),
            context: self.context.or_else(|| other.context.clone()),
            namespace: self.namespace.or_else(|| other.namespace.clone()),
            cluster: self.cluster.or_else(|| other.cluster.clone()),
        }
    }

    /// For lists of contexts.
    pub(crate) fn summary(&self) -> String {
        let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".to_owned());
        format!(
            "kubernetes: context {}, namespace {}, NameServer {}",
            part(&self.context),
            part(&self.namespace),
            part(&self.cluster)
        )
    }
}

/// A namespace of a Kubernetes cluster, and who we are there.
#[derive(Clone)]
pub(crate) struct Kubernetes {
    pub(super) client: kube::Client,
    pub(crate) namespace: String,
    /// The NameServer object; none when only addresses were given.
    pub(crate) cluster: Option<String>,
    /// For messages: which access is used.
    access: String,
    /// Whether this process runs in a pod: addresses can be dialled.
    is_inside: bool,
}

/// The result of a look that no option asks for.
pub(crate) enum Found {
    /// Exactly one NameServer object, and the addresses of its servers.
    One(Kubernetes, String),
    /// Nothing that can be used; with the reason when Kubernetes was there.
    Nothing(Option<String>),
}

/// What a kubeconfig, or the pod that this runs in, says.
struct Access {
    config: kube::Config,
    name: String,
    is_inside: bool,
}

impl Kubernetes {
    /// The Kubernetes that `reference` means, without a look at any object.
    pub(crate) async fn open(reference: &KubernetesRef) -> Result<Self, Failure> {
        let access = access(reference).await?.ok_or_else(|| {
            Failure::coded(&codes::CONFIG, "there is no kubeconfig")
                .because("KUBECONFIG is not set, there is no ~/.kube/config, and this is no pod with a service account")
                .try_this("--kubeconfig FILE")
        })?;
        Self::with(access, reference, CONNECT_WITHIN).await
    }

    async fn with(
        mut access: Access,
        reference: &KubernetesRef,
        connect_within: Duration,
    ) -> Result<Self, Failure> {
        // Only the first call decides; the provider is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        access.config.connect_timeout = Some(connect_within);
        let namespace = reference
            .namespace
            .clone()
            .unwrap_or_else(|| access.config.default_namespace.clone());
        let config = access.config;
        // A login program that the kubeconfig names is run here, and may take its time.
        let built = tokio::task::spawn_blocking(move || kube::Client::try_from(config)).await;
        let client = match built {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(unusable(&access.name, &error)),
            Err(error) => return Err(unusable(&access.name, &error)),
        };
        Ok(Self {
            client,
            namespace,
            cluster: reference.cluster.clone(),
            access: access.name,
            is_inside: access.is_inside,
        })
    }

    /// The NameServer object that `reference` means, and the addresses of its servers.
    pub(crate) async fn find(reference: &KubernetesRef) -> Result<(Self, String), Failure> {
        let mut kubernetes = Self::open(reference).await?;
        let looked = tokio::time::timeout(WITHIN, kubernetes.name_servers()).await;
        let found = looked
            .unwrap_or_else(|_| Err(Problem::silent(WITHIN)))
            .map_err(|problem| kubernetes.failed("cannot look for the cluster", &problem))?;
        let (name, object) = match found.as_slice() {
            [object] => (object.name_any(), object),
            [] => return Err(kubernetes.no_name_server()),
            several => {
                let names: Vec<String> = several.iter().map(ResourceExt::name_any).collect();
                return Err(
                    Failure::coded(&codes::INVALID, "which cluster is meant is not clear")
                        .fact("kubernetes", kubernetes.place())
                        .because(format!(
                            "there are several NameServers: {}",
                            names.join(", ")
                        ))
                        .try_this(format!("--cluster {}", names[0])),
                );
            }
        };
        let addresses = object
            .status
            .as_ref()
            .and_then(|status| status.addresses.clone());
        let Some(addresses) = addresses else {
            return Err(Failure::coded(
                &codes::UNREACHABLE,
                format!("NameServer \"{name}\" has no addresses yet"),
            )
            .fact("kubernetes", kubernetes.place())
            .because("the operator has not looked at it")
            .try_this(format!(
                "kubectl describe nameserver {name} -n {}",
                kubernetes.namespace
            ))
            .try_this("check that rmq-operator runs and watches this namespace"));
        };
        kubernetes.cluster = Some(name);
        Ok((kubernetes, addresses))
    }

    /// Looks whether there is exactly one NameServer where the kubeconfig points to. Costs nothing without a kubeconfig, and is over soon.
    pub(crate) async fn find_quietly(namespace: Option<&str>) -> Found {
        let reference = KubernetesRef {
            namespace: namespace.map(str::to_owned),
            ..KubernetesRef::default()
        };
        // A kubeconfig that cannot be read is not this command's matter.
        let Ok(Some(access)) = access(&reference).await else {
            return Found::Nothing(None);
        };
        let name = access.name.clone();
        let look = async {
            let kubernetes = Self::with(access, &reference, AUTO_WITHIN).await.ok()?;
            let found = kubernetes.name_servers().await;
            Some((kubernetes, found))
        };
        let (mut kubernetes, found) = match tokio::time::timeout(AUTO_WITHIN, look).await {
            Ok(Some(looked)) => looked,
            Ok(None) => return Found::Nothing(None),
            Err(_) => {
                return Found::Nothing(Some(format!(
                    "Kubernetes ({name}) did not answer within {AUTO_WITHIN:?}"
                )));
            }
        };
        match found.as_deref() {
            Ok([object]) => {
                let status = object.status.as_ref();
                match status.and_then(|status| status.addresses.clone()) {
                    Some(addresses) => {
                        kubernetes.cluster = Some(object.name_any());
                        Found::One(kubernetes, addresses)
                    }
                    None => Found::Nothing(Some(format!(
                        "NameServer {} in Kubernetes has no addresses yet",
                        object.name_any()
                    ))),
                }
            }
            // Kubernetes without rmq is none of this program's business.
            Ok([]) | Err(Problem::NotFound { .. }) => Found::Nothing(None),
            Ok(several) => {
                let names: Vec<String> = several.iter().map(ResourceExt::name_any).collect();
                Found::Nothing(Some(format!(
                    "{} has several NameServers; choose with --cluster: {}",
                    kubernetes.place(),
                    names.join(", ")
                )))
            }
            Err(problem) => Found::Nothing(Some(format!("{}: {problem}", kubernetes.place()))),
        }
    }

    async fn name_servers(&self) -> Result<Vec<NameServer>, Problem> {
        let api: Api<NameServer> = Api::namespaced(self.client.clone(), &self.namespace);
        match &self.cluster {
            Some(name) => match api.get_opt(name).await {
                Ok(found) => Ok(found.into_iter().collect()),
                Err(error) => Err(Problem::of(error, "get", "nameservers", &self.namespace)),
            },
            None => match api.list(&ListParams::default().limit(LISTED_MAX)).await {
                Ok(list) => Ok(list.items),
                Err(error) => Err(Problem::of(error, "list", "nameservers", &self.namespace)),
            },
        }
    }

    fn no_name_server(&self) -> Failure {
        let what = match &self.cluster {
            Some(name) => format!("there is no NameServer \"{name}\""),
            None => "there is no NameServer".to_owned(),
        };
        Failure::coded(&codes::NOT_FOUND, what)
            .fact("kubernetes", self.place())
            .try_this("kubectl get nameservers -A")
            .try_this("-n NAMESPACE, or --kube-context NAME")
    }

    /// Where this is, for messages.
    pub(crate) fn place(&self) -> String {
        format!("namespace {} of {}", self.namespace, self.access)
    }

    /// Who said where the cluster is, for messages.
    pub(crate) fn source(&self) -> String {
        let name = self.cluster.as_deref().unwrap_or("-");
        format!("NameServer {}/{name} of {}", self.namespace, self.access)
    }

    /// How addresses are reached: from a pod directly, else through the API server.
    pub(crate) fn connector(&self) -> Arc<dyn Connector> {
        if self.is_inside {
            return Arc::new(TcpConnector);
        }
        let pods = PodConnector::new(self.client.clone(), self.namespace.clone());
        Arc::new(pods)
    }

    pub(crate) fn failed(&self, what: &str, problem: &Problem) -> Failure {
        Failure::of_kubernetes(what, problem, ("kubernetes", &self.place()))
    }
}

fn unusable(access: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::coded(&codes::CONFIG, "Kubernetes cannot be used")
        .fact("kubernetes", access)
        .cause(error)
        .try_this("kubectl get pods   (whether kubectl can)")
}

/// The kubeconfig that there is.
fn kubeconfig(given: Option<&std::path::Path>) -> Result<Option<Kubeconfig>, Failure> {
    let unreadable = |error: kube::config::KubeconfigError| {
        Failure::coded(&codes::CONFIG, "the kubeconfig cannot be read").cause(&error)
    };
    if let Some(path) = given {
        let read = Kubeconfig::read_from(path);
        return read
            .map(Some)
            .map_err(|error| unreadable(error).fact("file", path.display()));
    }
    if std::env::var_os("KUBECONFIG").is_some_and(|paths| !paths.is_empty()) {
        return Kubeconfig::from_env().map_err(unreadable);
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    match home.map(|home| home.join(".kube").join("config")) {
        Some(path) if path.is_file() => Kubeconfig::read_from(&path)
            .map(Some)
            .map_err(|error| unreadable(error).fact("file", path.display())),
        _ => Ok(None),
    }
}

/// Whether there is a kubeconfig that can be read.
pub(crate) fn is_there() -> bool {
    matches!(kubeconfig(None), Ok(Some(_)))
}

/// Names of the kubeconfig's contexts.
pub(crate) fn contexts() -> Vec<String> {
    match kubeconfig(None) {
        Ok(Some(config)) => config.contexts.into_iter().map(|one| one.name).collect(),
        _ => Vec::new(),
    }
}

async fn access(reference: &KubernetesRef) -> Result<Option<Access>, Failure> {
    if let Some(config) = kubeconfig(reference.kubeconfig.as_deref())? {
        let context = reference.context.clone().or(config.current_context.clone());
        let options = KubeConfigOptions {
            context: reference.context.clone(),
            ..KubeConfigOptions::default()
        };
        let name = format!("context {}", context.as_deref().unwrap_or("(none)"));
        let known: Vec<String> = config.contexts.iter().map(|one| one.name.clone()).collect();
        return match kube::Config::from_custom_kubeconfig(config, &options).await {
            Ok(config) => Ok(Some(Access {
                config,
                name,
                is_inside: false,
            })),
            Err(error) => {
                let failure = Failure::coded(&codes::CONFIG, "the kubeconfig cannot be used");
                Err(failure
                    .fact("kubernetes", name)
                    .fact("contexts", known.join(", "))
                    .cause(&error)
                    .try_this("--kube-context NAME"))
            }
        };
    }
    // A service account's token lies in the pod; without one this is not for us.
    match kube::Config::incluster() {
        Ok(config) => Ok(Some(Access {
            config,
            name: "this pod's service account".to_owned(),
            is_inside: true,
        })),
        Err(_) => Ok(None),
    }
}
