//! The cluster that a command talks to: which one, and the connection to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rmq_client::{
    Client, ClientBuilder, ClusterUrl, Connector, Credentials, ErrorKind, TcpConnector, Timeouts,
    Tls,
};
use rmq_plan::{Change, Resource};

use crate::codes;
use crate::config::{Config, CredentialsRef, Source};
use crate::error::Failure;
use crate::kubernetes::{self, Found, Kubernetes, KubernetesRef};
use crate::output::Output;
use crate::program::is_plugin;
use crate::tls::{TlsOptions, TlsRef};

/// Options of every command that talks to a cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterOptions {
    /// Name servers: rmq://HOST:PORT,… or HOST:PORT;…. Wins over RMQ_URL, NAMESRV_ADDR and the context.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "ADDR",
        help_heading = "Cluster"
    )]
    pub(crate) nameserver: Option<String>,

    /// The context: of the configuration file (see `rmq-ctl config`), else of the kubeconfig. `kubectl rmq` looks into the kubeconfig first.
    #[arg(
        long,
        global = true, hide_short_help = true,
        value_name = "NAME",
        help_heading = "Cluster",
        env = "RMQ_CONTEXT",
        add = crate::completion::contexts::context_completer()
    )]
    pub(crate) context: Option<String>,

    /// Time limit of one request: 10s, or seconds. Default 5s.
    #[arg(long, global = true, hide_short_help = true, value_name = "TIME", help_heading = "Cluster", value_parser = parse_timeout)]
    pub(crate) timeout: Option<Duration>,

    /// How often a command that can be repeated is tried again when a server cannot be reached or does not answer.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "N",
        default_value_t = 0,
        help_heading = "Cluster"
    )]
    pub(crate) retries: u32,

    /// The namespace in Kubernetes: of the cluster, and of the objects that `export` writes and `apply` takes.
    #[arg(short, long, global = true, hide_short_help = true, value_name = "NAME", help_heading = "Cluster", value_parser = parse_namespace)]
    pub(crate) namespace: Option<String>,

    /// The NameServer object of the cluster in Kubernetes. Default: the only one of the namespace.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "NAME",
        help_heading = "Cluster",
        conflicts_with = "nameserver"
    )]
    pub(crate) cluster: Option<String>,

    /// The context of the kubeconfig: the cluster is reached through its API server.
    #[arg(
        long,
        global = true, hide_short_help = true,
        value_name = "NAME",
        help_heading = "Cluster",
        add = crate::completion::contexts::kube_context_completer()
    )]
    pub(crate) kube_context: Option<String>,

    /// The kubeconfig: the cluster is reached through the API server that it names. Default: KUBECONFIG, or ~/.kube/config.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "FILE",
        help_heading = "Cluster"
    )]
    pub(crate) kubeconfig: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) tls: TlsOptions,

    /// Print times in UTC.
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) utc: bool,
}

/// No request waits longer, whatever `wait` is allowed.
const MAX_REQUEST: Duration = Duration::from_secs(3_600);

impl ClusterOptions {
    /// Without a command line: as the environment and the configuration say.
    pub(crate) fn of_environment(timeout: Duration) -> Self {
        Self {
            nameserver: None,
            context: std::env::var("RMQ_CONTEXT")
                .ok()
                .filter(|name| !name.is_empty()),
            timeout: Some(timeout),
            retries: 0,
            namespace: None,
            cluster: None,
            kube_context: None,
            kubeconfig: None,
            tls: TlsOptions::default(),
            utc: false,
        }
    }

    /// What the options say of Kubernetes.
    pub(crate) fn kubernetes(&self) -> KubernetesRef {
        KubernetesRef {
            kubeconfig: self.kubeconfig.clone(),
            context: self.kube_context.clone(),
            namespace: self.namespace.clone(),
            cluster: self.cluster.clone(),
        }
    }

    /// Whether the options ask for Kubernetes; a namespace alone does not.
    pub(crate) fn wants_kubernetes(&self) -> bool {
        self.kubeconfig.is_some() || self.kube_context.is_some() || self.cluster.is_some()
    }
}

/// Default time limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The default through the API server of Kubernetes, where a connection takes several round trips.
const KUBERNETES_TIMEOUT: Duration = Duration::from_secs(15);

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let length = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => crate::when::parse_length(text)?,
    };
    if length.is_zero() || length > Duration::from_secs(86_400) {
        return Err("it lies between 1ms and 1d".to_owned());
    }
    Ok(length)
}

/// With mqadmin, `-n` is the name server; here it is kubectl's namespace.
fn parse_namespace(text: &str) -> Result<String, String> {
    if text.contains([':', ';', '.']) {
        return Err(format!(
            "-n is the namespace; for a name server write --nameserver {text}"
        ));
    }
    let is_fine = !text.is_empty()
        && text.len() <= 63
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if is_fine {
        Ok(text.to_owned())
    } else {
        Err("a namespace has lower-case letters, digits and '-', at most 63".to_owned())
    }
}

/// A connected cluster.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// For messages: which name servers, and who said so.
    pub(crate) name: String,
    /// The access key that requests are signed with.
    pub(crate) signs_as: Option<String>,
    /// The Kubernetes that it was found in.
    pub(crate) kubernetes: Option<Kubernetes>,
    /// Print times in UTC.
    pub(crate) utc: bool,
}

impl Cluster {
    pub(crate) async fn connect(
        options: &ClusterOptions,
        output: &Output,
    ) -> Result<Self, Failure> {
        let place = resolve(options).await?;
        place.tell(output);
        Self::open(place, options).await
    }

    /// As [`Cluster::connect`], for those who ask again and again.
    pub(crate) async fn connect_quietly(options: &ClusterOptions) -> Result<Self, Failure> {
        Self::open(resolve(options).await?, options).await
    }

    /// Connects to a place that was resolved before.
    pub(crate) async fn open(place: Place, options: &ClusterOptions) -> Result<Self, Failure> {
        let name = place.name();
        let connected = place.builder(options).connect().await;
        let client = connected.map_err(|error| {
            let failure = Failure::of("cannot connect to the cluster", &name, error);
            match &place.note {
                Some(note) => failure.fact("kubernetes", note),
                None => failure,
            }
        })?;
        let signs_as = place.credentials.as_ref();
        Ok(Self {
            signs_as: signs_as.map(|credentials| credentials.access_key().to_owned()),
            client,
            name,
            kubernetes: place.kubernetes,
            utc: options.utc,
        })
    }

    /// A failure of a request to this cluster.
    pub(crate) fn failed(&self, what: impl Into<String>, error: rmq_client::Error) -> Failure {
        Failure::of(what, &self.name, error)
    }

    /// What would change for the cluster to be as `resource` says.
    pub(crate) async fn plan(&self, resource: &Resource) -> Result<Change, Failure> {
        rmq_plan::plan(&self.client, resource)
            .await
            .map_err(|error| {
                let what = format!("cannot look at {} \"{}\"", resource.noun(), resource.name());
                self.failed(what, error)
            })
    }

    /// Carries the change out.
    pub(crate) async fn carry_out(
        &self,
        resource: &Resource,
        change: &Change,
    ) -> Result<(), Failure> {
        rmq_plan::carry_out(&self.client, resource, change)
            .await
            .map_err(|error| {
                let what = format!("cannot change {} \"{}\"", resource.noun(), resource.name());
                self.failed(what, error)
            })
    }

    /// There is no such group; `hint` says what to do with a name that is close.
    pub(crate) fn no_group(
        &self,
        group: &str,
        known: &[String],
        hint: impl FnOnce(&str) -> String,
    ) -> Failure {
        let failure = Failure::coded(&codes::NOT_FOUND, format!("there is no group \"{group}\""))
            .fact("asked", &self.name);
        match closest(group, known) {
            Some(close) => failure.try_this(hint(close)),
            None => failure,
        }
    }

    /// As [`Cluster::failed`] for one topic: when it is not there, names that are close are shown.
    pub(crate) async fn topic_failed(&self, topic: &str, error: rmq_client::Error) -> Failure {
        if error.kind() != ErrorKind::NoRoute && error.kind() != ErrorKind::NotFound {
            return self.failed(format!("cannot read topic \"{topic}\""), error);
        }
        if self.client.refresh_route(topic).await.is_ok() {
            // There is one, but none of its queues can be used.
            return Failure::coded(&codes::DENIED, format!("topic \"{topic}\" cannot be used"))
                .fact("asked", &self.name)
                .cause(&error)
                .try_this(format!("rmq-ctl doctor {topic}"));
        }
        let mut failure =
            Failure::coded(&codes::NO_ROUTE, format!("topic \"{topic}\" has no route"))
                .fact("asked", &self.name)
                .because("no broker has registered this topic at the name server");
        let topics = self.client.admin().topics().await.unwrap_or_default();
        if let Some(close) = closest(topic, &topics) {
            failure = failure.try_this(format!("rmq-ctl describe topic {close}   (close match)"));
        }
        failure.try_this(format!("rmq-ctl create topic {topic}"))
    }
}

/// The known name that is nearest to a mistyped one.
pub(crate) fn closest<'n>(name: &str, known: &'n [String]) -> Option<&'n str> {
    let scored = known.iter().map(|other| {
        let score = strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
        (score, other)
    });
    let (score, best) = scored.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (score > 0.8).then_some(best.as_str())
}

/// Which cluster, who said so, who is asking, and on which way.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) source: String,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) kubernetes: Option<Kubernetes>,
    /// How addresses are reached.
    pub(crate) connector: Arc<dyn Connector>,
    /// Why a Kubernetes that was looked at was not chosen.
    pub(crate) note: Option<String>,
}

impl Place {
    /// For messages.
    pub(crate) fn name(&self) -> String {
        format!("{} ({})", self.url, self.source)
    }

    /// Says with `-v` what was chosen.
    pub(crate) fn tell(&self, output: &Output) {
        if let Some(note) = &self.note {
            output.detail(note);
        }
        output.detail(&format!("cluster: {}", self.name()));
    }

    /// A client of these name servers.
    pub(crate) fn builder(&self, options: &ClusterOptions) -> ClientBuilder {
        let mut timeouts = Timeouts::default();
        let usual = match &self.kubernetes {
            Some(_) => {
                timeouts.connect = KUBERNETES_TIMEOUT;
                KUBERNETES_TIMEOUT
            }
            None => REQUEST_TIMEOUT,
        };
        timeouts.request = options.timeout.unwrap_or(usual).min(MAX_REQUEST);
        let builder = Client::builder(self.url.clone())
            .timeouts(timeouts)
            .connector(Arc::clone(&self.connector));
        match &self.credentials {
            Some(credentials) => builder.credentials(credentials.clone()),
            None => builder,
        }
    }
}

/// Where the addresses of name servers come from.
enum Way {
    Addresses(String, Option<Box<Kubernetes>>),
    Objects(KubernetesRef),
}

/// Flag, then environment, then context, then the only NameServer that the kubeconfig points to, then this machine.
pub(crate) async fn resolve(options: &ClusterOptions) -> Result<Place, Failure> {
    let mut credentials = None;
    let mut tls = None;
    let mut note = None;
    let environment = || {
        ["RMQ_URL", "NAMESRV_ADDR"].into_iter().find_map(|name| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
            Some((name, value))
        })
    };
    let (way, mut source) = if let Some(addr) = &options.nameserver {
        // Other clusters in Kubernetes than ours have no objects, but pods.
        let kubernetes = match options.wants_kubernetes() {
            true => Some(Box::new(Kubernetes::open(&options.kubernetes()).await?)),
            false => None,
        };
        (
            Way::Addresses(addr.clone(), kubernetes),
            "--nameserver".to_owned(),
        )
    } else if options.wants_kubernetes() {
        (Way::Objects(options.kubernetes()), String::new())
    } else if options.context.is_none()
        && let Some((name, value)) = environment()
    {
        (Way::Addresses(value, None), name.to_owned())
    } else if is_plugin() && options.context.is_none() && kubernetes::is_there() {
        // Who says `kubectl` means kubectl's current context, never one that rmq-ctl remembers.
        (Way::Objects(options.kubernetes()), String::new())
    } else {
        let (config, path) = Config::load(Source::Nearest)?;
        let of_kubeconfig = || {
            let name = options.context.as_ref()?;
            let is_known = kubernetes::contexts().contains(name);
            is_known.then(|| KubernetesRef {
                context: Some(name.clone()),
                ..options.kubernetes()
            })
        };
        let is_own = |name: &String| config.contexts.contains_key(name);
        let kubeconfig_first = is_plugin() || !options.context.as_ref().is_some_and(is_own);
        if kubeconfig_first && let Some(reference) = of_kubeconfig() {
            (Way::Objects(reference), String::new())
        } else if let Some((name, context)) = config.context(options.context.as_deref(), &path)? {
            let named = context.credentials.as_ref();
            credentials = named.map(CredentialsRef::read).transpose()?;
            tls = Some(context.tls.as_ref().map(TlsRef::read));
            let source = format!("context \"{name}\"");
            match (&context.nameserver, &context.kubernetes) {
                (Some(addr), None) => (Way::Addresses(addr.clone(), None), source),
                (Some(addr), Some(reference)) => {
                    let kubernetes = Kubernetes::open(&options.kubernetes().or(reference)).await?;
                    (
                        Way::Addresses(addr.clone(), Some(Box::new(kubernetes))),
                        source,
                    )
                }
                (None, Some(reference)) => {
                    (Way::Objects(options.kubernetes().or(reference)), source)
                }
                (None, None) => return Err(config.empty_context(name, &path)),
            }
        } else {
            match Kubernetes::find_quietly(options.namespace.as_deref()).await {
                Found::One(kubernetes, addresses) => {
                    let source = kubernetes.source();
                    let way = Way::Addresses(addresses, Some(Box::new(kubernetes)));
                    (way, format!("found: {source}"))
                }
                Found::Nothing(why) => {
                    note = why;
                    let usual = "localhost:9876".to_owned();
                    (Way::Addresses(usual, None), "the usual address".to_owned())
                }
            }
        }
    };
    let (text, kubernetes) = match way {
        Way::Addresses(text, kubernetes) => (text, kubernetes.map(|kubernetes| *kubernetes)),
        Way::Objects(reference) => {
            let (kubernetes, addresses) = Kubernetes::find(&reference).await?;
            let found = kubernetes.source();
            source = match source.as_str() {
                "" => found,
                named => format!("{named}: {found}"),
            };
            (addresses, Some(kubernetes))
        }
    };
    let url: ClusterUrl = text.parse().map_err(|error: rmq_client::UrlError| {
        Failure::coded(&codes::INVALID, "the address of the cluster cannot be used")
            .fact("from", &source)
            .cause(&error)
    })?;
    let unusable = |error: rmq_client::Error| {
        Failure::coded(&codes::CONFIG, "TLS cannot be used").cause(&error)
    };
    let tls = match (options.tls.read(), tls) {
        (Some(tls), _) => Some(tls),
        // A context says it, and else the environment.
        (None, Some(of_context)) => of_context,
        (None, None) => Tls::from_env().map_err(unusable)?,
    };
    let through: Arc<dyn Connector> = match &kubernetes {
        Some(kubernetes) => kubernetes.connector(),
        None => Arc::new(TcpConnector),
    };
    let connector = match tls {
        Some(tls) => tls.connector(through).map_err(unusable)?,
        None => through,
    };
    Ok(Place {
        connector,
        url: url.to_string(),
        source,
        credentials,
        kubernetes,
        note,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_found() {
        let known = ["order-events", "payments"].map(str::to_owned);
        assert_eq!(closest("orders-events", &known), Some("order-events"));
        assert_eq!(closest("Payment", &known), Some("payments"));
        assert_eq!(closest("zzz", &known), None);
    }
}
