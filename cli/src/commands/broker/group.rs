//! A broker group, looked at by the verbs that are about its members.

use crate::cluster::Cluster;
use crate::codes;
use crate::error::Failure;
use crate::facts::broker_group::{BrokerGroup, Said};
use crate::facts::name_servers;

pub(super) async fn look(cluster: &Cluster, name: &str) -> BrokerGroup {
    let views = name_servers::views(cluster).await;
    BrokerGroup::look(cluster, name, &views).await
}

/// No member tells anything.
pub(super) fn no_group(group: &BrokerGroup, cluster: &Cluster) -> Failure {
    let name = &group.name;
    let why = group.members.iter().map(|member| match &member.said {
        Said::Nothing(error) => format!("{}: {error}", member.address),
        Said::Unsupported | Said::Status(..) => {
            format!("{} does not know this request", member.address)
        }
    });
    let why: Vec<String> = why.collect();
    let is_silent = |said: &Said| matches!(said, Said::Nothing(_));
    let failure = match group.members.iter().all(|member| is_silent(&member.said)) {
        true => Failure::coded(
            &codes::UNREACHABLE,
            format!("no member of broker group \"{name}\" answers"),
        )
        .try_this("rmq-ctl doctor"),
        false => Failure::coded(
            &codes::SERVER,
            format!("the members of broker group \"{name}\" do not tell how it stands"),
        )
        .try_this("mqadmin haStatus, for brokers of Apache RocketMQ"),
    };
    failure.fact("asked", &cluster.name).because(why.join("; "))
}
