//! `rmq-ctl broker replication`: the members of a broker group. Reads only.

use clap::Args;
use rmq_client::protocol::bodies::{GroupStatus, LostRange};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::epochs;
use super::group::{look, no_group};
use crate::cluster::{Cluster, ClusterOptions};
use crate::completion::names::broker_completer;
use crate::error::Failure;
use crate::facts::broker_group::{BrokerGroup, Member, Said};
use crate::facts::check::Check;
use crate::facts::checks::members;
use crate::numbers;
use crate::output::Output;
use crate::render::{RenderOptions, WatchOptions, schema_of, table};

/// Options of `broker replication`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The broker group, or the address of one of its members.
    #[arg(value_name = "GROUP", add = broker_completer())]
    name: String,

    /// Show which master wrote which part of the log, at each member.
    #[arg(long)]
    epochs: bool,

    #[command(flatten)]
    watch: WatchOptions,

    #[command(flatten)]
    render: RenderOptions,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ReplicationAbout {
    name: String,
    cluster: String,
    /// How the master is chosen: `static`, `etcd`, `kubernetes` or `memory`.
    election: String,
    /// Where master, epoch and in-sync set are kept; empty with fixed roles.
    place: String,
    /// Whether the member that knows most cannot reach it.
    place_away: bool,
    /// `Stable`, `Electing`, `Transferring` or `Vacant`.
    phase: String,
    /// Counts the masters of the group.
    epoch: u64,
    /// The slot of the member that says that it is the master.
    master: Option<u64>,
    ack_mode: String,
    min_in_sync: u32,
    /// Why the master takes no messages; absent when it takes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    writes_closed: Option<String>,
    /// Consumers see the log up to here, position in bytes.
    confirmed: u64,
    /// Where the log ends, position in bytes.
    end: u64,
    /// The request for another master that is not answered yet, or was answered last.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<RequestAbout>,
    /// What an election of the past may have lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    possibly_lost: Option<LostAbout>,
    members: Vec<MemberAbout>,
    findings: Vec<Check>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct RequestAbout {
    request: String,
    /// `open`, `done` or `refused`.
    state: &'static str,
    /// `switchover` or `promote` with the member, or why it was refused.
    says: String,
}

/// A part of the log, positions in bytes.
#[derive(Serialize, JsonSchema)]
struct LostAbout {
    epoch: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct MemberAbout {
    /// The slot; absent when nobody tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<u64>,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    replication: Option<String>,
    /// `master`, `replica` or `?`.
    role: &'static str,
    /// In words of the member, or that it does not answer.
    state: String,
    answers: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_sync: Option<bool>,
    /// Whether the master has a connection to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    connected: Option<bool>,
    /// End of what it has received, and of what its disk has; positions in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flushed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_ms: Option<u64>,
    /// Whether it lacks history, and cannot be the master.
    partial: bool,
    /// Which data it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    incarnation: Option<String>,
    /// Name servers that have it in their routes.
    name_servers: Vec<String>,
}

pub(super) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster, output).await?;
    let name = cluster.known_broker(&options.name).await?;
    let look = async || {
        let group = look(&cluster, &name).await;
        let Some(told) = group.told() else {
            return Err(no_group(&group, &cluster));
        };
        if options.epochs {
            let listing = epochs::list(&group, &cluster).await?;
            return options.render.list(&listing, output);
        }
        let about = about(&group, told);
        let show = |output: &Output| show(&group, told, &about, options.render.is_wide(), output);
        let schema = schema_of::<ReplicationAbout>;
        options.render.object(
            "BrokerReplication",
            schema,
            &name,
            &json!(about),
            output,
            show,
        )
    };
    options.watch.run(output, look).await
}

fn about(group: &BrokerGroup, told: &GroupStatus) -> ReplicationAbout {
    let worth_knowing = |check: &Check| !check.is_fine || check.is_note;
    ReplicationAbout {
        name: group.name.clone(),
        cluster: group.cluster.clone(),
        election: told.election.clone(),
        place: told.place.clone(),
        place_away: told.place_away,
        phase: told.phase.clone(),
        epoch: told.epoch,
        master: group.master().map(|(_, status)| status.me.0),
        ack_mode: told.ack_mode.clone(),
        min_in_sync: told.min_in_sync,
        writes_closed: told.writes_closed.clone(),
        confirmed: told.confirmed,
        end: told.end,
        request: request(told),
        possibly_lost: told.possibly_lost.map(|lost| LostAbout {
            epoch: lost.epoch,
            from: lost.from,
            to: lost.to,
        }),
        members: group.members.iter().map(|one| member(group, one)).collect(),
        findings: members::checks(group)
            .into_iter()
            .filter(worth_knowing)
            .collect(),
    }
}

fn request(told: &GroupStatus) -> Option<RequestAbout> {
    if let Some(open) = &told.switchover {
        return Some(RequestAbout {
            request: open.request.clone(),
            state: "open",
            says: format!("{} to member {}", open.kind, open.to),
        });
    }
    let ended = told.outcome.as_ref()?;
    Some(RequestAbout {
        request: ended.request.clone(),
        state: if ended.ok { "done" } else { "refused" },
        says: ended.text.clone(),
    })
}

fn member(group: &BrokerGroup, member: &Member) -> MemberAbout {
    let view = group.view(member);
    let role = group.role(member);
    let state = match &member.said {
        Said::Status(status, _) if status.state.is_empty() => role.to_owned(),
        Said::Status(status, _) => status.state.clone(),
        Said::Nothing(_) => "does not answer".to_owned(),
        Said::Unsupported => "does not tell".to_owned(),
    };
    MemberAbout {
        member: member.slot.map(|slot| slot.0),
        address: member.address.clone(),
        replication: view.replication().map(str::to_owned),
        role,
        state,
        answers: !matches!(member.said, Said::Nothing(_)),
        epoch: member.status().map(|status| status.epoch),
        in_sync: view.in_sync(),
        connected: view.is_connected(),
        received: view.received(),
        flushed: view.flushed(),
        lag_bytes: view.lag_bytes(),
        lag_ms: view.lag_ms(),
        partial: view.is_partial(),
        incarnation: view.incarnation(),
        name_servers: member
            .registered
            .iter()
            .map(|(server, _)| server.clone())
            .collect(),
    }
}

/// `from 1024 to 2048 (1.0 KiB)`; what is not known is left out.
pub(super) fn range(lost: &LostRange) -> String {
    match (lost.from, lost.to) {
        (Some(from), Some(to)) => format!(
            "from position {from} to {to} ({})",
            numbers::bytes(to.saturating_sub(from))
        ),
        (Some(from), None) => format!("from position {from} on"),
        (None, _) => "from a position on that is not known yet".to_owned(),
    }
}

fn show(
    group: &BrokerGroup,
    told: &GroupStatus,
    about: &ReplicationAbout,
    is_wide: bool,
    output: &Output,
) {
    output.data(&format!("Broker group {}", group.name));
    output.data("");
    let width = output.width();
    output.block(&table(
        &["WHAT", "VALUE"],
        facts(group, told, about),
        false,
        width,
    ));
    output.data("");
    output.data("Members");
    let mut headers = vec![
        "MEMBER", "ROLE", "STATE", "ADDRESS", "IN-SYNC", "RECEIVED", "FLUSHED", "LAG", "SINCE",
    ];
    if is_wide {
        headers.extend(["EPOCH", "REPLICATION", "DATA"]);
    }
    let rows = about.members.iter().map(|member| row(member, is_wide));
    output.block(&table(&headers, rows.collect(), false, width));
    output.data("");
    output.data("Findings");
    if about.findings.is_empty() {
        output.data("  none");
        return;
    }
    let rows = about.findings.iter().map(|check| {
        vec![
            check.state().to_owned(),
            check.subject.clone(),
            check.id.to_owned(),
            check.says.clone(),
        ]
    });
    let headers = ["STATE", "SUBJECT", "CHECK", "SAYS"];
    output.block(&table(&headers, rows.collect(), false, width));
}

fn facts(group: &BrokerGroup, told: &GroupStatus, about: &ReplicationAbout) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |what: &str, value: String| rows.push(vec![what.to_owned(), value]);
    let election = match told.election.as_str() {
        "static" => "static: the roles are fixed".to_owned(),
        election if told.place.is_empty() => election.to_owned(),
        election => format!("{election}, {}", told.place),
    };
    row("election", election);
    if told.place_away {
        row("place", "cannot be reached".to_owned());
    }
    row("phase", told.phase.clone());
    row("epoch", told.epoch.to_string());
    let master = match group.master() {
        Some((master, _)) => format!("{} ({})", master.label(), master.address),
        None => "none".to_owned(),
    };
    row("master", master);
    row(
        "acknowledgements",
        format!("{}, minInSync {}", told.ack_mode, told.min_in_sync),
    );
    let writes = match (&told.writes_closed, group.master()) {
        (Some(why), _) => format!("refused: {why}"),
        (None, Some(_)) => "taken".to_owned(),
        (None, None) => "refused: there is no master".to_owned(),
    };
    row("writes", writes);
    let waiting = told.end.saturating_sub(told.confirmed);
    row(
        "log",
        format!(
            "confirmed to {}, ends at {} ({} not confirmed)",
            told.confirmed,
            told.end,
            numbers::bytes(waiting)
        ),
    );
    if let Some(request) = &about.request {
        let says = match request.says.as_str() {
            "" => String::new(),
            says => format!(": {says}"),
        };
        row(
            "last request",
            format!("{} {}{says}", request.request, request.state),
        );
    }
    if let Some(lost) = &told.possibly_lost {
        row(
            "may be lost",
            format!("with the election of epoch {}, {}", lost.epoch, range(lost)),
        );
    }
    rows
}

fn row(member: &MemberAbout, is_wide: bool) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let number = |number: Option<u64>| or_none(number.map(|number| number.to_string()));
    let yes_or_no = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
    let since = |ms: u64| numbers::length(i64::try_from(ms).unwrap_or(i64::MAX));
    let mut cells = vec![
        number(member.member),
        member.role.to_owned(),
        member.state.clone(),
        member.address.clone(),
        or_none(member.in_sync.map(yes_or_no)),
        number(member.received),
        number(member.flushed),
        or_none(member.lag_bytes.map(numbers::bytes)),
        or_none(member.lag_ms.filter(|ms| *ms > 0).map(since)),
    ];
    if is_wide {
        cells.push(number(member.epoch));
        cells.push(or_none(member.replication.clone()));
        cells.push(or_none(member.incarnation.clone()));
    }
    cells
}
