//! The operator as a process: its options, its connection to the API server, and the lease by which one of several processes acts.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clusters::Clusters;
use crate::context::Context;
use crate::error::Error;
use crate::events::Events;
use crate::forms;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::queues::{Queues, Receivers};
use crate::{server, watches, wiring};

/// Between two questions at start to an API server that is away.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Namespaces to look after, separated by commas. Default: all.
    #[arg(long, env = "RMQ_OPERATOR_NAMESPACES", value_delimiter = ',', value_parser = namespace)]
    pub namespaces: Vec<String>,

    /// Image of name servers and brokers whose objects name none.
    #[arg(long, env = "RMQ_OPERATOR_IMAGE", default_value = concat!("rmq:", env!("CARGO_PKG_VERSION")), value_parser = image)]
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

/// A reference that a node can fetch.
fn image(text: &str) -> Result<String, String> {
    let reference = text.trim();
    match forms::image::reference(reference) {
        Ok(()) => Ok(reference.to_owned()),
        Err(why) => Err(format!("{text:?} {why}")),
    }
}

/// Runs until `stop`, or until another process leads.
///
/// # Errors
/// When no API server is configured, it refuses this process, or leadership is lost: end the process then. The process waits for an API server that is away.
pub async fn run(options: Options, stop: CancellationToken) -> Result<(), Error> {
    // An error means that the process has chosen a provider before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = configuration(&options).await?;
    let own_namespace = config.default_namespace.clone();
    let client = Client::try_from(config).map_err(Error::doing("connecting to the API server"))?;
    let metrics = Metrics::new();
    let ready = Arc::new(AtomicBool::new(false));
    let mut tasks: JoinSet<Error> = JoinSet::new();
    serve(&options, &metrics, &ready, &mut tasks).await?;
    let version = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        version = version(&client, ASK_AGAIN) => version?,
    };
    tracing::info!(kubernetes = version, "connected");

    let identity = options.identity.clone().unwrap_or_else(|| {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "rmq-operator".to_owned());
        format!("{host}-{}", std::process::id())
    });
    let mut watching = JoinSet::new();
    let watched = watch(&client, &options, &identity, &metrics, &mut watching);
    let contexts: Vec<Arc<Context>> = watched.iter().map(|(context, _)| context.clone()).collect();
    watching.spawn(async move {
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
        Some(ended) = tasks.join_next() => return Err(ended.unwrap_or_else(|error| Error::Fatal(error.to_string()))),
        leads = leadership.acquire(&stop) => {
            if !leads {
                return Ok(());
            }
        }
    }
    tracing::info!(identity, "leads");
    metrics.leads(true);
    for (context, receivers) in watched {
        tasks.spawn(async move {
            wiring::act(context, receivers).await;
            Error::Fatal("a controller ended".to_owned())
        });
    }
    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(()),
        lost = leadership.keep() => Err(lost),
        Some(ended) = tasks.join_next() => Err(ended.unwrap_or_else(|error| Error::Fatal(error.to_string()))),
    };
    metrics.leads(false);
    // All looks end before the lease is free for another process.
    tasks.shutdown().await;
    if outcome.is_ok() {
        leadership.release().await;
    }
    outcome
}

/// The version of the API server. One that is away is asked again: Kubernetes starts a process that ended later and later.
async fn version(client: &Client, again: Duration) -> Result<String, Error> {
    loop {
        let error = match client.apiserver_version().await {
            Ok(version) => return Ok(version.git_version),
            Err(error) => error,
        };
        let refuses =
            matches!(&error, kube::Error::Api(status) if (400..500).contains(&status.code));
        let error = Error::doing("asking the API server for its version")(error);
        if refuses {
            return Err(error);
        }
        tracing::warn!("{error}; trying again in {again:?}");
        tokio::time::sleep(again).await;
    }
}

/// How the API server is reached.
async fn configuration(options: &Options) -> Result<kube::Config, Error> {
    let Some(path) = &options.kubeconfig else {
        let inferred = kube::Config::infer().await;
        return inferred
            .map_err(|error| Error::Fatal(format!("no API server is configured: {error}")));
    };
    let fatal = |error: kube::config::KubeconfigError| {
        Error::Fatal(format!("kubeconfig {}: {error}", path.display()))
    };
    let file = kube::config::Kubeconfig::read_from(path).map_err(fatal)?;
    kube::Config::from_custom_kubeconfig(file, &Default::default())
        .await
        .map_err(fatal)
}

/// Serves health and metrics; `ready` says whether the process is ready.
async fn serve(
    options: &Options,
    metrics: &Arc<Metrics>,
    ready: &Arc<AtomicBool>,
    tasks: &mut JoinSet<Error>,
) -> Result<(), Error> {
    let listener = TcpListener::bind(&options.listen)
        .await
        .map_err(|error| Error::Fatal(format!("cannot listen on {}: {error}", options.listen)))?;
    let (metrics, ready) = (metrics.clone(), ready.clone());
    tasks.spawn(async move {
        match server::serve(listener, metrics, ready).await {
            Ok(()) => Error::Fatal("the health server ended".to_owned()),
            Err(error) => Error::Fatal(format!("the health server ended: {error}")),
        }
    });
    Ok(())
}

/// Starts the watches of each namespace, or of all namespaces. A process that does not lead watches too, so that it acts at once when it
/// leads.
fn watch(
    client: &Client,
    options: &Options,
    identity: &str,
    metrics: &Arc<Metrics>,
    watching: &mut JoinSet<()>,
) -> Vec<(Arc<Context>, Receivers)> {
    let reporter = Reporter {
        controller: "rmq-operator".to_owned(),
        instance: Some(identity.to_owned()),
    };
    let recorder = Recorder::new(client.clone(), reporter);
    let namespaces: Vec<Option<&String>> = match options.namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().map(Some).collect(),
    };
    let of_namespace = |namespace: Option<&String>| {
        let stores = watches::start(client, namespace, &recorder, watching);
        let (queues, receivers) = Queues::new();
        let context = Context {
            client: client.clone(),
            image: options.image.clone(),
            events: Events::new(recorder.clone()),
            metrics: metrics.clone(),
            clusters: Clusters::default(),
            credentials: Default::default(),
            stores,
            queues,
        };
        (Arc::new(context), receivers)
    };
    namespaces.into_iter().map(of_namespace).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// An API server that gives these answers to one connection each.
    async fn answers(listener: TcpListener, answers: &[&str]) {
        for answer in answers {
            let (mut asked, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let byte = asked.read_u8().await.expect("a request");
                request.push(byte);
            }
            let answer = answer.as_bytes();
            asked.write_all(answer).await.expect("an answer");
        }
    }

    #[tokio::test]
    async fn an_api_server_that_is_away_is_waited_for_and_one_that_refuses_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let config = kube::Config::new(format!("http://{at}").parse().expect("an address"));
        let client = Client::try_from(config).expect("a client");
        let version = serde_json::json!({
            "major": "1", "minor": "34", "gitVersion": "v1.34.2", "gitCommit": "", "gitTreeState": "", "buildDate": "",
            "goVersion": "", "compiler": "", "platform": "",
        });
        let version = version.to_string();
        let head = "connection: close\r\ncontent-type: application/json\r\ncontent-length";
        let good = format!(
            "HTTP/1.1 200 OK\r\n{head}: {}\r\n\r\n{version}",
            version.len()
        );
        let starting = format!("HTTP/1.1 503 Service Unavailable\r\n{head}: 0\r\n\r\n");
        let refused = format!("HTTP/1.1 403 Forbidden\r\n{head}: 0\r\n\r\n");
        let serving = tokio::spawn(async move {
            // The first closes the connection without a word, as a port that nobody serves.
            answers(listener, &["", &starting, &good, &refused]).await;
        });
        let found = super::version(&client, Duration::from_millis(1)).await;
        assert_eq!(found.expect("it is there by and by"), "v1.34.2");
        let error = super::version(&client, Duration::from_millis(1)).await;
        let error = error.expect_err("it refuses").to_string();
        assert!(error.contains("asking the API server"), "{error}");
        serving.await.expect("all were asked for");
    }

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
}
