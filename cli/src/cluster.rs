//! The cluster that a command talks to: which one, and the connection to it.

use std::time::Duration;

use clap::Args;
use rmq_client::{Client, ClusterUrl, Credentials, ErrorKind};
use rmq_plan::{Change, Settings as Manifest};

use crate::codes;
use crate::config::{Config, CredentialsRef, Source};
use crate::error::Failure;
use crate::output::Output;

/// Options of every command that talks to a cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterOptions {
    /// Name servers: rmq://HOST:PORT,… or HOST:PORT;…. Wins over RMQ_URL, NAMESRV_ADDR and the context.
    #[arg(long, global = true, value_name = "ADDR", help_heading = "Cluster")]
    pub(crate) nameserver: Option<String>,

    /// The context of the configuration file (see `rmq-ctl config`).
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Cluster",
        env = "RMQ_CONTEXT",
        add = crate::completion::context_completer()
    )]
    pub(crate) context: Option<String>,

    /// Time limit of one request: 10s, or seconds. Default 5s.
    #[arg(long, global = true, value_name = "TIME", help_heading = "Cluster", value_parser = parse_timeout)]
    pub(crate) timeout: Option<Duration>,

    /// Tries more when a server cannot be reached or does not answer, for commands that can be repeated.
    #[arg(
        long,
        global = true,
        value_name = "N",
        default_value_t = 0,
        help_heading = "Cluster"
    )]
    pub(crate) retries: u32,

    /// The namespace of Kubernetes: what `export` writes and `apply` takes.
    #[arg(short, long, global = true, value_name = "NAME", help_heading = "Cluster", value_parser = parse_namespace)]
    pub(crate) namespace: Option<String>,

    /// Print times in UTC.
    #[arg(long, global = true)]
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
            utc: false,
        }
    }
}

/// Time limit of one request when nobody says otherwise.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// Print times in UTC.
    pub(crate) utc: bool,
}

impl Cluster {
    pub(crate) async fn connect(
        options: &ClusterOptions,
        output: &Output,
    ) -> Result<Self, Failure> {
        let place = resolve(options)?;
        output.detail(&format!("cluster: {}", place.name()));
        Self::open(place, options).await
    }

    /// As [`Cluster::connect`], for names that are looked up while somebody waits for a completion.
    pub(crate) async fn connect_quietly(options: &ClusterOptions) -> Result<Self, Failure> {
        Self::open(resolve(options)?, options).await
    }

    /// Connects to a place that was resolved before.
    pub(crate) async fn open(place: Place, options: &ClusterOptions) -> Result<Self, Failure> {
        let name = place.name();
        let mut builder = Client::builder(place.url);
        if let Some(credentials) = place.credentials {
            builder = builder.credentials(credentials);
        }
        let client = builder
            .request_timeout(options.timeout.unwrap_or(REQUEST_TIMEOUT).min(MAX_REQUEST))
            .connect()
            .await
            .map_err(|error| Failure::of("cannot connect to the cluster", &name, error))?;
        Ok(Self {
            client,
            name,
            utc: options.utc,
        })
    }

    /// A failure of a request to this cluster.
    pub(crate) fn failed(&self, what: impl Into<String>, error: rmq_client::Error) -> Failure {
        Failure::of(what, &self.name, error)
    }

    /// What would change for the cluster to be as `manifest` says.
    pub(crate) async fn plan(&self, manifest: &Manifest) -> Result<Change, Failure> {
        rmq_plan::plan(&self.client, manifest)
            .await
            .map_err(|error| {
                let what = format!("cannot look at {} \"{}\"", manifest.noun(), manifest.name());
                self.failed(what, error)
            })
    }

    /// Makes it so.
    pub(crate) async fn carry_out(
        &self,
        manifest: &Manifest,
        change: &Change,
    ) -> Result<(), Failure> {
        rmq_plan::carry_out(&self.client, manifest, change)
            .await
            .map_err(|error| {
                let what = format!("cannot change {} \"{}\"", manifest.noun(), manifest.name());
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

/// Which cluster, who said so, and who is asking.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) source: String,
    pub(crate) credentials: Option<Credentials>,
}

impl Place {
    /// For messages.
    pub(crate) fn name(&self) -> String {
        format!("{} ({})", self.url, self.source)
    }
}

/// Flag, then environment, then context, then this machine.
pub(crate) fn resolve(options: &ClusterOptions) -> Result<Place, Failure> {
    let mut credentials = None;
    let (text, source) = if let Some(addr) = &options.nameserver {
        (addr.clone(), "--nameserver".to_owned())
    } else if options.context.is_none()
        && let Some((name, value)) = ["RMQ_URL", "NAMESRV_ADDR"].into_iter().find_map(|name| {
            Some((
                name,
                std::env::var(name).ok().filter(|value| !value.is_empty())?,
            ))
        })
    {
        (value, name.to_owned())
    } else {
        let (config, path) = Config::load(Source::Nearest)?;
        match config.context(options.context.as_deref(), &path)? {
            Some((name, context)) => {
                credentials = context
                    .credentials
                    .as_ref()
                    .map(CredentialsRef::read)
                    .transpose()?;
                (context.nameserver.clone(), format!("context \"{name}\""))
            }
            None => ("localhost:9876".to_owned(), "the usual address".to_owned()),
        }
    };
    let url: ClusterUrl = text.parse().map_err(|error: rmq_client::UrlError| {
        Failure::coded(&codes::INVALID, "the address of the cluster cannot be used")
            .fact("from", &source)
            .cause(&error)
    })?;
    Ok(Place {
        url: url.to_string(),
        source,
        credentials,
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
