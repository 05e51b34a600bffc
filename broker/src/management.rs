//! What the management port tells of a broker.

use std::fmt;
use std::sync::Arc;

use rmq_process::Managed;
use rmq_protocol::bodies::FindingSeverity;
use rmq_store::StoreHealth;
use rmq_transport::{TlsServer, TransportLimits};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::group_status::group_status;
use crate::broker::Broker;
use crate::metrics;

/// Serves the management port until `stop`, whichever life the broker is in.
pub(crate) fn serve(
    listener: TcpListener,
    tls: Option<Arc<TlsServer>>,
    current: watch::Receiver<Option<Arc<Broker>>>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let managed = Arc::new(Management(current));
        let served = match tls {
            None => rmq_process::serve_management(listener, managed, stop.cancelled_owned()).await,
            Some(tls) => {
                let streams = tls.streams(listener, &TransportLimits::default(), stop.clone());
                let stop = stop.cancelled_owned();
                rmq_process::serve_management_streams(streams, managed, stop).await
            }
        };
        if let Err(error) = served {
            tracing::error!("the management port ended: {error}");
        }
    })
}

/// What it says between two lives.
const CLOSED: &str = "[-] store: closed, and soon to be opened again\n";

struct Management(watch::Receiver<Option<Arc<Broker>>>);

impl Management {
    fn broker(&self) -> Option<Arc<Broker>> {
        self.0.borrow().clone()
    }
}

impl Managed for Management {
    const VERSION: &'static str = concat!("rmq-broker ", env!("CARGO_PKG_VERSION"));

    /// With a store that takes no messages a restart would end the reads and mend nothing: the text says so.
    fn live(&self) -> String {
        let Some(broker) = self.broker() else {
            return format!("ok\n{CLOSED}");
        };
        match store_problem(&broker) {
            None => "ok\n".to_owned(),
            Some(problem) => format!("ok\n[-] store: {problem}\n"),
        }
    }

    /// Each check with its outcome.
    fn ready(&self) -> Result<String, String> {
        let Some(broker) = &self.broker() else {
            return Err(format!("{CLOSED}not ready\n"));
        };
        let mut checks = Vec::new();
        let mut check = |name: String, problem: Option<String>| checks.push((name, problem));
        check(
            "running".to_owned(),
            broker
                .is_stopping()
                .then(|| "the broker is stopping".to_owned()),
        );
        check("store".to_owned(), store_problem(broker));
        for finding in group_status(broker).findings {
            if finding.severity > FindingSeverity::Note {
                check("group".to_owned(), Some(finding.text));
            }
        }
        let servers = broker.registrations.health();
        for server in &servers {
            let problem = match (&server.rival, server.registered) {
                (_, false) => Some(
                    server
                        .error
                        .clone()
                        .unwrap_or_else(|| "not registered yet".to_owned()),
                ),
                (Some(rival), true) => Some(format!(
                    "another broker, {rival}, is registered under this broker's name and id"
                )),
                (None, true) => None,
            };
            check(format!("name server {}", server.addr), problem);
        }
        let none_registered =
            !servers.is_empty() && servers.iter().all(|server| !server.registered);
        // One name server that is down does not make the broker useless, and what is wrong with the group ends no reads.
        let is_ready = checks
            .iter()
            .filter(|(name, _)| !name.starts_with("name server") && name != "group")
            .all(|(_, problem)| problem.is_none())
            && !none_registered;
        let mut text = String::new();
        for (name, problem) in &checks {
            match problem {
                None => text.push_str(&format!("[+] {name} ok\n")),
                Some(problem) => text.push_str(&format!("[-] {name}: {problem}\n")),
            }
        }
        text.push_str(if is_ready { "ready\n" } else { "not ready\n" });
        if is_ready { Ok(text) } else { Err(text) }
    }

    fn metrics(&self) -> Result<String, fmt::Error> {
        match self.broker() {
            Some(broker) => metrics::encode(&broker),
            None => Ok("# EOF\n".to_owned()),
        }
    }
}

/// Why the store takes no messages, if it takes none.
fn store_problem(broker: &Broker) -> Option<String> {
    match broker.store.health() {
        StoreHealth::Writable => None,
        StoreHealth::Refusing { reason } => Some(format!("takes no messages for now: {reason}")),
        StoreHealth::ReadOnly { reason } => Some(until_restart(&reason)),
    }
}

/// What to do about a store that never takes messages again by itself.
pub(crate) fn until_restart(reason: &str) -> String {
    format!(
        "{reason}; the store is read-only until a restart: mend the cause, then restart the broker"
    )
}
