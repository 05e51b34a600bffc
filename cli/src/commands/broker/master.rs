//! `rmq-ctl broker switchover` and `promote`: another master. Change state.

use std::time::Duration;

use clap::Args;
use rmq_client::protocol::bodies::{GroupStatus, LostRange};
use rmq_client::protocol::requests::{GroupWish, RequestGroupMaster};
use tokio::time::Instant;

use super::group::{look, no_group};
use super::outcome::{self, Ended};
use super::replication::range;
use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::completion::names::{broker_completer, member_completer};
use crate::error::Failure;
use crate::facts::broker_group::{BrokerGroup, Member};
use crate::numbers;
use crate::output::Output;
use crate::stop;
use crate::when;
use crate::write::WriteOptions;

#[derive(Debug, Args)]
struct Common {
    /// Wait for the end of it for this time at most.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = when::parse_length)]
    wait: Duration,

    #[command(flatten)]
    write: WriteOptions,
}

/// Options of `broker switchover`.
#[derive(Debug, Args)]
pub(super) struct SwitchoverOptions {
    /// The broker group, or the address of one of its members.
    #[arg(value_name = "GROUP", add = broker_completer())]
    name: String,

    /// The member that becomes the master: its slot (MEMBER of `rmq-ctl broker replication`), or its address.
    #[arg(long, value_name = "MEMBER", add = member_completer())]
    to: String,

    #[command(flatten)]
    common: Common,
}

/// Options of `broker promote`.
#[derive(Debug, Args)]
pub(super) struct PromoteOptions {
    /// The broker group, or the address of one of its members.
    #[arg(value_name = "GROUP", add = broker_completer())]
    name: String,

    /// The member that becomes the master: its slot (MEMBER of `rmq-ctl broker replication`), or its address.
    #[arg(value_name = "MEMBER", add = member_completer())]
    member: String,

    /// Messages that were acknowledged may be lost, and you accept that.
    #[arg(long)]
    accept_loss: bool,

    #[command(flatten)]
    common: Common,
}

/// A group whose master shall be another member.
struct Change {
    cluster: Cluster,
    group: BrokerGroup,
}

impl Change {
    /// `None` after a dry run that asks no server.
    async fn of(
        name: &str,
        what: &str,
        common: &Common,
        cluster: &ClusterOptions,
        output: &Output,
    ) -> Result<Option<Self>, Failure> {
        if common.write.is_client_run() {
            output.data(&format!("dry run: {what} (no server was asked)"));
            return Ok(None);
        }
        let cluster = Cluster::connect(cluster, output).await?;
        let name = cluster.known_broker(name).await?;
        let group = look(&cluster, &name).await;
        if !group.is_told() {
            return Err(no_group(&group, &cluster));
        }
        Ok(Some(Self { cluster, group }))
    }

    fn refused(&self, why: impl Into<String>) -> Failure {
        let what = format!(
            "the master of broker group \"{}\" is not changed",
            self.group.name
        );
        let failure = Failure::coded(&codes::MASTER, what);
        failure.fact("asked", &self.cluster.name).because(why)
    }

    /// The member that is meant, of a group that elects its master.
    fn target(&self, text: &str) -> Result<&Member, Failure> {
        let group = &self.group;
        if !group.is_elected() {
            return Err(self
                .refused("the roles of its members are fixed (election: static): brokerId 0 is the master")
                .try_this("docs/operate/failover.md says how to move the role by hand, and how to let the members elect"));
        }
        group.find(text).ok_or_else(|| {
            let what = format!("broker group \"{}\" has no member \"{text}\"", group.name);
            Failure::coded(&codes::NOT_FOUND, what)
                .fact("asked", &self.cluster.name)
                .because(format!("its members: {}", group.names()))
        })
    }

    /// Writes the request down and waits for its end.
    async fn request(
        &self,
        kind: GroupWish,
        target: &Member,
        wait: Duration,
        output: &Output,
    ) -> Result<Ended, Failure> {
        let number = format!("rmq-ctl-{}-{}", when::now_ms(), std::process::id());
        let slot = target.slot.map_or(0, |slot| slot.0);
        let request = RequestGroupMaster {
            kind,
            member: i64::try_from(slot).unwrap_or(i64::MAX),
            accept_loss: kind == GroupWish::Promote,
            request: number.as_str().into(),
        };
        let deadline = Instant::now() + wait;
        let began = Instant::now();
        self.write_down(&request).await?;
        output.detail(&format!("request {number} is written down"));
        let watched = async {
            let watched = outcome::watch(
                &self.cluster,
                &self.group,
                (kind, &number),
                (began, deadline),
            );
            Ok(watched.await)
        };
        match stop::unless_stopped("waiting", watched).await? {
            Some(ended) if ended.ok => Ok(ended),
            Some(ended) => Err(self
                .refused(format!("the group has not done it: {}", ended.text))
                .try_this(format!("rmq-ctl broker replication {}", self.group.name))),
            None => Err(Failure::coded(
                &codes::TIMEOUT,
                format!(
                    "the {kind} of broker group \"{}\" is not finished after {wait:?}",
                    self.group.name
                ),
            )
            .fact("request", &number)
            .because("the request is written down, and the group may still carry it out")
            .try_this(format!(
                "rmq-ctl broker replication {} --watch",
                self.group.name
            ))),
        }
    }

    /// Through the member that has the most to do with it, or else through any.
    async fn write_down(&self, request: &RequestGroupMaster<'_>) -> Result<(), Failure> {
        let admin = self.cluster.client.admin();
        let what = format!(
            "cannot ask broker group \"{}\" for another master",
            self.group.name
        );
        let master = self.group.master().map(|(master, _)| master);
        // When the record of the group is lost, only the member itself begins a new one.
        let target = self.group.members.iter().filter(|one| {
            request.kind == GroupWish::Promote
                && one.slot.and_then(|slot| i64::try_from(slot.0).ok()) == Some(request.member)
        });
        let mut members: Vec<&Member> = master.into_iter().chain(target).collect();
        let others = self
            .group
            .members
            .iter()
            .filter(|one| one.status().is_some());
        let first: Vec<&str> = members.iter().map(|one| one.address.as_str()).collect();
        let others: Vec<&Member> = others
            .filter(|one| !first.contains(&one.address.as_str()))
            .collect();
        members.extend(others);
        let mut failed = None;
        for member in members {
            match admin.request_group_master(&member.address, request).await {
                Ok(()) => return Ok(()),
                // The group has decided; another member would say the same.
                Err(error) if error.broker_code().is_some() => {
                    return Err(self
                        .refused(error.to_string())
                        .try_this(format!("rmq-ctl broker replication {}", self.group.name)));
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(match failed {
            Some(error) => self.cluster.failed(what, error),
            None => no_group(&self.group, &self.cluster),
        })
    }
}

pub(super) async fn switchover(
    options: &SwitchoverOptions,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let (to, common) = (&options.to, &options.common);
    let what = format!(
        "make member {to} the master of broker group \"{}\"",
        options.name
    );
    let Some(change) = Change::of(&options.name, &what, common, cluster, output).await? else {
        return Ok(());
    };
    let group = &change.group;
    let target = change.target(to)?;
    let (name, label) = (&group.name, target.label());
    let Some((master, _)) = group.master() else {
        return Err(change
            .refused("nobody is the master now, so nobody can hand over; the members elect one by themselves when a member in sync is there")
            .try_this(format!("rmq-ctl broker replication {name} --watch")));
    };
    if master.slot == target.slot {
        output.data(&format!("broker/{name} unchanged: {label} is the master"));
        return Ok(());
    }
    if group.view(target).in_sync() != Some(true) {
        return Err(not_in_sync(&change, target));
    }
    let what = format!(
        "make {label} ({}) the master of broker group \"{name}\" instead of {}; writes stop for less than a second",
        target.address,
        master.label()
    );
    if !common.write.agreed(&what, None, output)? {
        return Ok(());
    }
    let ended = change
        .request(GroupWish::Switchover, target, common.wait, output)
        .await?;
    let gap = match ended.gap {
        Some(gap) => format!(
            "; no messages were taken for {} at most",
            numbers::length(i64::try_from(gap.as_millis()).unwrap_or(i64::MAX))
        ),
        None => String::new(),
    };
    output.data(&format!(
        "broker/{name} switched over: {label} is the master of epoch {}{gap}",
        ended.status.epoch
    ));
    Ok(())
}

fn not_in_sync(change: &Change, target: &Member) -> Failure {
    let group = &change.group;
    let lag = match group.view(target).lag_bytes() {
        Some(lag) => format!(", it lacks {}", numbers::bytes(lag)),
        None => String::new(),
    };
    let able: Vec<String> = group.in_sync().into_iter().map(Member::label).collect();
    let failure = change.refused(format!(
        "{} is not in sync{lag}, so acknowledged messages would be lost",
        target.label()
    ));
    let failure = match able.is_empty() {
        true => failure.fact("in sync", "no other member"),
        false => failure.fact("in sync", able.join(", ")),
    };
    failure.try_this(format!(
        "rmq-ctl broker replication {} --watch   (until it is in sync)",
        group.name
    ))
}

pub(super) async fn promote(
    options: &PromoteOptions,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let common = &options.common;
    let what = format!(
        "make member {} the master of broker group \"{}\", whatever it lacks",
        options.member, options.name
    );
    let Some(change) = Change::of(&options.name, &what, common, cluster, output).await? else {
        return Ok(());
    };
    let group = &change.group;
    let target = change.target(&options.member)?;
    let (name, label) = (&group.name, target.label());
    if let Some((master, _)) = group.master() {
        let failure = change.refused(format!(
            "{} is the master and answers, so nothing needs to be lost",
            master.label()
        ));
        return Err(failure.try_this(format!(
            "rmq-ctl broker switchover {name} --to {}",
            options.member
        )));
    }
    if target.status().is_none() {
        let failure = change.refused(format!(
            "{label} does not answer at {}, and only a member that runs can become the master",
            target.address
        ));
        return Err(failure.try_this("start it"));
    }
    let losses = losses(group, target);
    if !options.accept_loss {
        let failure = Failure::coded(&codes::UNCONFIRMED, format!("not confirmed: {what}"));
        return Err(failure
            .because(losses.join("; "))
            .try_this(format!(
                "wait for a member in sync: rmq-ctl broker replication {name} --watch"
            ))
            .try_this("add --accept-loss when none will come back"));
    }
    output.heading("Acknowledged messages may be lost:");
    for loss in &losses {
        output.say(&format!("  {loss}"));
    }
    let what = format!(
        "make {label} ({}) the master of broker group \"{name}\", whatever it lacks",
        target.address
    );
    if !common.write.agreed(&what, Some(name), output)? {
        return Ok(());
    }
    let ended = change
        .request(GroupWish::Promote, target, common.wait, output)
        .await?;
    output.data(&format!(
        "broker/{name} promoted: {label} is the master of epoch {}; {}",
        ended.status.epoch,
        lost(&ended.status, known_end(group))
    ));
    Ok(())
}

/// What is known of the loss, before it happens.
fn losses(group: &BrokerGroup, target: &Member) -> Vec<String> {
    let (name, label) = (&group.name, target.label());
    let end = target.status().map_or(0, |status| status.end);
    let mut losses = vec![format!(
        "the log of {label} ends at position {end}: every message behind it is gone for good, also when a member that has it comes back"
    )];
    let others = group.members.iter().filter(|one| one.slot != target.slot);
    for other in others {
        let text = match other.status() {
            Some(status) if status.end > end => format!(
                "{} has {} more, to position {}: rmq-ctl broker promote {name} {} would lose less",
                other.label(),
                numbers::bytes(status.end - end),
                status.end,
                other
                    .slot
                    .map_or_else(|| other.address.clone(), |slot| slot.to_string())
            ),
            Some(_) => format!("{} has no more than that", other.label()),
            None => format!(
                "{} does not answer, and may have more: what it has, it cuts off when it comes back, and keeps under quarantine/",
                other.label()
            ),
        };
        losses.push(text);
    }
    losses
}

/// How far the log of any member reached, as far as those who answer know.
fn known_end(group: &BrokerGroup) -> Option<u64> {
    let said = group.members.iter().filter_map(Member::status);
    let ends = said.flat_map(|status| {
        let received = status.members.iter().filter_map(|member| member.received);
        received.chain([status.end])
    });
    ends.max()
}

/// What the group says of the loss, afterwards. `end` is what was known of the end of the log before.
fn lost(status: &GroupStatus, end: Option<u64>) -> String {
    match status.possibly_lost {
        Some(lost) if lost.epoch == status.epoch => {
            let end = end.filter(|end| lost.from.is_some_and(|from| *end > from));
            let lost = LostRange {
                to: lost.to.max(end),
                ..lost
            };
            format!("messages may be lost {}", range(&lost))
        }
        _ => "the group knows of no loss".to_owned(),
    }
}
