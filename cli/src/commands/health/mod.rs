//! `rmq-ctl health`: is the cluster well, and if not, why. Reads only.

mod brokers;
mod uses;

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use rmq_client::protocol::requests::GetBrokerClusterInfo;
use rmq_client::protocol::route::ClusterInfo;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::kubernetes::Wanted;
use crate::output::Output;
use crate::render::{Listing, RenderOptions, Row, WatchOptions, schema_of};
use crate::stop;

pub(super) use brokers::{Broker, look as look_at_broker};

/// Between looks of --wait.
const PAUSE: Duration = Duration::from_millis(250);

/// Options of `health`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads only. Exit code 0: all is well; 10: something is not.
Asks each name server and each broker: whether it answers and is registered, the disk, the store, the permissions (PERM: what broker
and routes let clients do), the memory of connections, the clock; then the topics and groups that nobody can use.

Examples:
  rmq-ctl health
  rmq-ctl health --wait=30s
  rmq-ctl health -o json"
)]
pub(crate) struct Options {
    /// Wait until all is well: for 60s at most, or as said.
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "60s", value_parser = crate::when::parse_length)]
    wait: Option<Duration>,

    #[command(flatten)]
    watch: WatchOptions,

    #[command(flatten)]
    render: RenderOptions,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Check {
    /// Which rule, such as `name-server-answers`.
    pub(crate) id: &'static str,
    /// Of what, such as `broker/broker-a`.
    pub(crate) subject: String,
    pub(crate) is_fine: bool,
    /// Whether it is no problem, but worth knowing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_note: bool,
    /// Of a broker: what clients may do there, `rw`, `r`, `w` or `-`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) perm: Option<String>,
    pub(crate) says: String,
}

impl Check {
    pub(crate) fn new(
        id: &'static str,
        subject: impl Into<String>,
        is_fine: bool,
        says: impl Into<String>,
    ) -> Self {
        Self {
            id,
            subject: subject.into(),
            is_fine,
            is_note: false,
            perm: None,
            says: says.into(),
        }
    }

    /// No problem, but worth knowing.
    pub(crate) fn note(
        id: &'static str,
        subject: impl Into<String>,
        says: impl Into<String>,
    ) -> Self {
        Self {
            is_note: true,
            ..Self::new(id, subject, true, says)
        }
    }

    fn of_perm(self, perm: String) -> Self {
        Self {
            perm: Some(perm),
            ..self
        }
    }

    fn state(&self) -> &'static str {
        match (self.is_fine, self.is_note) {
            (false, _) => "PROBLEM",
            (true, true) => "note",
            (true, false) => "ok",
        }
    }
}

/// What name servers know, by their address.
pub(super) type Views = Vec<(String, ClusterInfo)>;

/// What each name server that answers knows.
pub(super) async fn views(cluster: &Cluster) -> Views {
    let mut views = Vec::new();
    for addr in cluster.client.url().name_servers() {
        let answer = cluster
            .client
            .remote(addr)
            .call(&GetBrokerClusterInfo {}, b"")
            .await;
        let info = answer
            .ok()
            .and_then(|answer| ClusterInfo::from_json(answer.body()).ok());
        views.extend(info.map(|info| (addr.clone(), info)));
    }
    views
}

/// Looks at name servers and brokers.
pub(crate) async fn checks(cluster: &Cluster) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut views: Views = Vec::new();
    for addr in cluster.client.url().name_servers() {
        let subject = format!("nameserver/{addr}");
        let remote = cluster.client.remote(addr);
        let info = match remote.call(&GetBrokerClusterInfo {}, b"").await {
            Ok(answer) => ClusterInfo::from_json(answer.body()).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match info {
            Ok(info) => {
                let brokers = info.broker_addr_table.len();
                checks.push(Check::new(
                    "name-server-answers",
                    subject,
                    true,
                    format!("answers, {brokers} broker groups"),
                ));
                views.push((addr.clone(), info));
            }
            Err(error) => checks.push(Check::new("name-server-answers", subject, false, error)),
        }
    }
    checks.extend(of_objects(cluster, &views).await);
    let registered = registrations(&views);
    if registered.is_empty() && !views.is_empty() {
        checks.push(Check::new(
            "brokers-registered",
            "cluster",
            false,
            "no broker is registered",
        ));
    }
    let mut brokers = Vec::new();
    for (name, missing) in registered {
        let says = if missing.is_empty() {
            "registered with every name server".to_owned()
        } else {
            format!("not registered with {}", missing.join(", "))
        };
        checks.push(Check::new(
            "broker-registered",
            format!("broker/{name}"),
            missing.is_empty(),
            says,
        ));
        match look_at_broker(cluster, &name, &views).await {
            Ok(mut broker) => {
                checks.extend(broker.checks());
                match broker.look_at_tables(cluster).await {
                    Ok(()) => brokers.push(broker),
                    Err(check) => checks.push(check),
                }
            }
            Err(check) => checks.push(check),
        }
    }
    checks.extend(uses::checks(cluster, &views, &brokers).await);
    checks
}

/// Each broker group that any name server knows, and the name servers that do not know it.
pub(super) fn registrations(views: &[(String, ClusterInfo)]) -> Vec<(String, Vec<&str>)> {
    let names: BTreeSet<&String> = views
        .iter()
        .flat_map(|(_, info)| info.broker_addr_table.keys())
        .collect();
    let missing = |name: &String| {
        views
            .iter()
            .filter(|(_, info)| !info.broker_addr_table.contains_key(name))
            .map(|(addr, _)| addr.as_str())
            .collect()
    };
    names
        .into_iter()
        .map(|name| (name.clone(), missing(name)))
        .collect()
}

/// Whether everything is there that the cluster's objects in Kubernetes ask for: a server that is gone is in no route, so nobody else
/// misses it.
pub(super) async fn of_objects(cluster: &Cluster, views: &[(String, ClusterInfo)]) -> Vec<Check> {
    let Some(kubernetes) = &cluster.kubernetes else {
        return Vec::new();
    };
    match kubernetes.wanted().await {
        Ok(wanted) => compared(&wanted, views),
        Err(problem) => {
            let says = format!(
                "what shall be there is not known, only what is: {problem} (`kubectl auth can-i list brokergroups.rmq.rs`)"
            );
            vec![Check::new(
                "objects-readable",
                kubernetes.place(),
                false,
                says,
            )]
        }
    }
}

fn compared(wanted: &[Wanted], views: &[(String, ClusterInfo)]) -> Vec<Check> {
    wanted
        .iter()
        .map(|wanted| {
            let missing = wanted.replicas - wanted.ready;
            let is_unknown = wanted.broker.as_ref().is_some_and(|broker| {
                wanted.replicas > 0
                    && !views
                        .iter()
                        .any(|(_, info)| info.broker_addr_table.contains_key(broker))
            });
            let mut says = match (&wanted.broker, missing) {
                (Some(broker), _) if is_unknown => {
                    format!("no name server knows broker \"{broker}\"")
                }
                (_, 1..) => format!("{} of {} servers serve", wanted.ready, wanted.replicas),
                _ => format!("all {} servers are there", wanted.replicas),
            };
            let is_fine = missing <= 0 && !is_unknown;
            if !is_fine {
                if let Some(why) = &wanted.why {
                    says.push_str(&format!("; {why}"));
                }
                says.push_str(&format!(" (kubectl describe {})", wanted.object));
            }
            Check::new("as-objects-ask", wanted.object.as_str(), is_fine, says)
        })
        .collect()
}

pub(crate) async fn run(
    options: &Options,
    cluster_options: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let looks = look(options, cluster_options, output);
    match (options.wait, options.watch.every()) {
        (Some(_), None) => stop::unless_stopped("waiting", looks).await,
        _ => looks.await,
    }
}

async fn look(
    options: &Options,
    cluster_options: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let deadline = options.wait.map(|wait| Instant::now() + wait);
    let cluster = loop {
        match (Cluster::connect(cluster_options, output).await, deadline) {
            (Ok(cluster), _) => break cluster,
            (Err(failure), Some(deadline)) if failure.is_passing() && Instant::now() < deadline => {
                sleep(PAUSE).await;
            }
            (Err(failure), _) => return Err(failure),
        }
    };
    let look = async || {
        let mut checks = checks(&cluster).await;
        while let Some(deadline) = deadline
            && checks.iter().any(|check| !check.is_fine)
            && Instant::now() < deadline
        {
            sleep(PAUSE).await;
            checks = self::checks(&cluster).await;
        }
        show(
            &checks,
            "HealthList",
            &options.render,
            &cluster.name,
            output,
        )
    };
    options.watch.run(output, look).await
}

/// Prints checks, and fails when one is not fine.
pub(super) fn show(
    checks: &[Check],
    kind: &'static str,
    render: &RenderOptions,
    cluster: &str,
    output: &Output,
) -> Result<(), Failure> {
    let has_perm = checks.iter().any(|check| check.perm.is_some());
    let rows = checks.iter().map(|check| {
        let mut cells = vec![
            check.state().to_owned(),
            check.subject.clone(),
            check.id.to_owned(),
        ];
        if has_perm {
            cells.push(check.perm.clone().unwrap_or_default());
        }
        cells.push(check.says.clone());
        Row::new(check.subject.clone(), cells, check)
    });
    let listing = Listing {
        kind,
        schema: schema_of::<Check>,
        noun: "check",
        columns: match has_perm {
            true => &["STATE", "SUBJECT", "CHECK", "PERM", "SAYS"],
            false => &["STATE", "SUBJECT", "CHECK", "SAYS"],
        },
        wide_columns: &[],
        rows: rows.collect(),
        empty: "nothing was looked at".to_owned(),
    };
    render.list(&listing, output)?;
    let bad = checks.iter().filter(|check| !check.is_fine).count();
    if bad == 0 {
        return Ok(());
    }
    let first = checks.iter().find(|check| !check.is_fine);
    let mut failure = Failure::coded(
        &codes::CHECK,
        format!("{bad} of {} checks found a problem", checks.len()),
    )
    .fact("asked", cluster);
    if let Some(first) = first {
        failure = failure.because(format!("{}: {}", first.subject, first.says));
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use rmq_client::protocol::route::BrokerData;

    use super::*;

    fn wanted(object: &str, broker: Option<&str>, ready: i32) -> Wanted {
        Wanted {
            object: object.to_owned(),
            broker: broker.map(str::to_owned),
            replicas: 1,
            ready,
            why: (ready < 1).then(|| "PodPending: node(s) had no room".to_owned()),
        }
    }

    #[test]
    fn what_is_in_no_route_is_missed() {
        let mut info = ClusterInfo::default();
        for broker in ["a", "b"] {
            let data = BrokerData::default();
            info.broker_addr_table.insert(broker.to_owned(), data);
        }
        let views = [("ns:9876".to_owned(), info)];
        let name_servers = Wanted {
            replicas: 2,
            ..wanted("nameserver/main", None, 1)
        };
        let checks = compared(
            &[
                name_servers,
                wanted("brokergroup/a", Some("a"), 1),
                // Its node was powered off a moment ago: the operator does not know yet, or the routes do not.
                wanted("brokergroup/b", Some("b"), 0),
                wanted("brokergroup/c", Some("c"), 1),
                wanted("brokergroup/d", Some("d"), 0),
                Wanted {
                    replicas: 0,
                    ..wanted("brokergroup/off", Some("off"), 0)
                },
            ],
            &views,
        );
        let fine: Vec<bool> = checks.iter().map(|check| check.is_fine).collect();
        assert_eq!(fine, [false, true, false, false, false, true], "{checks:?}");
        assert!(checks[0].says.contains("1 of 2 servers"), "{checks:?}");
        assert!(
            checks[3].says.contains("no name server knows broker \"c\""),
            "{checks:?}"
        );
        assert!(checks[4].says.contains("no room"), "{checks:?}");
        assert!(
            checks[4].says.contains("kubectl describe brokergroup/d"),
            "{checks:?}"
        );
    }
}
