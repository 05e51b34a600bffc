//! What a broker says of itself, and what clients meet there.

use std::collections::BTreeMap;

use rmq_client::protocol::bodies::{
    KvTable, SubscriptionGroupConfig, SubscriptionGroupTable, TopicConfig, TopicConfigTable,
    parse_properties,
};
use rmq_client::protocol::requests::{
    GetAllSubscriptionGroupConfig, GetAllTopicConfig, GetBrokerConfig, GetBrokerRuntimeInfo,
    GetRouteinfoByTopic,
};
use rmq_client::protocol::route::{ClusterInfo, TopicRoute, perm};

use super::Check;
use crate::cluster::Cluster;
use crate::commands::get::perm_text;
use crate::numbers;

/// A disk that is fuller is a problem: brokers refuse messages above 95 % (`diskFullRatio`), unless they are configured otherwise.
const DISK_RATIO_MAX: f64 = 0.85;
/// For how long a clock that jumped has to agree with the time that passed before anything goes by age: `clockSettleMinutes`.
const CLOCK_SETTLE_MINUTES: i64 = 60;

/// A broker group as its master answers.
pub(in crate::commands) struct Broker {
    name: String,
    /// The cluster of RocketMQ that it belongs to.
    pub(super) cluster: String,
    address: String,
    figures: BTreeMap<String, String>,
    settings: BTreeMap<String, String>,
    pub(super) topics: BTreeMap<String, TopicConfig>,
    pub(super) groups: BTreeMap<String, SubscriptionGroupConfig>,
    /// Name servers whose routes lack a permission that the broker itself gives, and what they have.
    routes: Vec<(String, i32)>,
}

/// Asks the master of a broker group for its figures and settings, and the name servers for what their routes permit there.
///
/// # Errors
/// The check that says why it does not answer.
pub(in crate::commands) async fn look(
    cluster: &Cluster,
    name: &str,
    views: &[(String, ClusterInfo)],
) -> Result<Broker, Check> {
    let subject = format!("broker/{name}");
    let known = views
        .iter()
        .filter_map(|(_, info)| info.broker_addr_table.get(name))
        .find_map(|data| Some((data, data.master()?)));
    let Some((data, address)) = known else {
        return Err(Check::new(
            "broker-has-master",
            &subject,
            false,
            "no master",
        ));
    };
    // At this address, not by name: the name server that is asked for a name may be one that does not know it.
    let remote = cluster.client.remote(address);
    let silent = |error: String| Check::new("broker-answers", &subject, false, error);
    let figures = remote.call(&GetBrokerRuntimeInfo {}, b"").await;
    let figures = figures.map_err(|error| silent(error.to_string()))?;
    let figures = KvTable::from_json(figures.body());
    let figures = figures.map_err(|error| silent(error.to_string()))?.table;
    let settings = remote.call(&GetBrokerConfig {}, b"").await;
    let settings = settings.map_err(|error| silent(error.to_string()))?;
    let settings = parse_properties(settings.body());
    let settings = settings.map_err(|error| silent(error.to_string()))?;
    let settings = settings.into_iter().collect();
    let mut broker = Broker {
        name: name.to_owned(),
        cluster: data.cluster.clone(),
        address: address.to_owned(),
        figures,
        settings,
        topics: BTreeMap::new(),
        groups: BTreeMap::new(),
        routes: Vec::new(),
    };
    broker.routes = broker.routes(cluster, views).await;
    Ok(broker)
}

impl Broker {
    /// What the broker's own settings permit.
    fn own_perm(&self) -> i32 {
        let told = self.settings.get("brokerPermission");
        told.and_then(|text| text.parse().ok())
            .unwrap_or(perm::READ | perm::WRITE)
    }

    /// What clients may do here, as far as the broker, its routes and its store let them.
    pub(in crate::commands) fn perm(&self) -> i32 {
        let routes = self.routes.iter().map(|(_, in_route)| in_route);
        routes.fold(self.own_perm(), |all, in_route| all & in_route)
    }

    pub(super) fn store_problem(&self) -> Option<&str> {
        self.figures.get("storeProblem").map(String::as_str)
    }

    /// Whether messages can be sent to it, and then whether it gives messages.
    pub(super) fn serves(&self) -> (bool, bool) {
        let perm = self.perm();
        (
            perm::is_writable(perm) && self.store_problem().is_none(),
            perm::is_readable(perm),
        )
    }

    /// A drain takes the permission from all topics of a broker at once, so the one with the broker's own name shows it.
    async fn routes(
        &self,
        cluster: &Cluster,
        views: &[(String, ClusterInfo)],
    ) -> Vec<(String, i32)> {
        let full = perm::READ | perm::WRITE;
        let request = GetRouteinfoByTopic {
            topic: self.name.as_str().into(),
            accept_standard_json_only: Some(true),
        };
        let mut lacking = Vec::new();
        for (address, _) in views {
            let answer = cluster.client.remote(address).call(&request, b"").await;
            let route = answer
                .ok()
                .and_then(|answer| TopicRoute::from_json(answer.body()).ok());
            let queues = route.into_iter().flat_map(|route| route.queue_datas);
            let own = queues.filter(|data| data.broker_name == self.name);
            for data in own {
                if data.perm & full != self.own_perm() & full {
                    lacking.push((address.clone(), data.perm));
                }
            }
        }
        lacking
    }

    /// Asks for the settings of all topics and groups too: one request each.
    pub(super) async fn look_at_tables(&mut self, cluster: &Cluster) -> Result<(), Check> {
        let failed = |error: String| {
            Check::new(
                "broker-answers",
                format!("broker/{}", self.name),
                false,
                error,
            )
        };
        let remote = cluster.client.remote(&self.address);
        let topics = GetAllTopicConfig {
            topic_seq: None,
            data_version: None,
            max_topic_num: None,
        };
        let topics = remote.call(&topics, b"").await;
        let topics = topics.map_err(|error| failed(error.to_string()))?;
        let topics = TopicConfigTable::from_json(topics.body());
        let topics = topics.map_err(|error| failed(error.to_string()))?;
        let groups = GetAllSubscriptionGroupConfig {
            group_seq: None,
            data_version: None,
            max_group_num: None,
        };
        let groups = remote.call(&groups, b"").await;
        let groups = groups.map_err(|error| failed(error.to_string()))?;
        let groups = SubscriptionGroupTable::from_json(groups.body());
        let groups = groups.map_err(|error| failed(error.to_string()))?;
        self.topics = topics.topic_config_table;
        self.groups = groups.subscription_group_table;
        Ok(())
    }

    /// A figure of the runtime information.
    pub(in crate::commands) fn figure(&self, key: &str) -> Option<&str> {
        self.figures.get(key).map(String::as_str)
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.figures.get(key)?.parse().ok()
    }

    pub(in crate::commands) fn name(&self) -> &str {
        &self.name
    }

    /// Version of rmq, where the broker says one.
    pub(in crate::commands) fn version(&self) -> Option<&str> {
        self.figure("rmqVersion")
    }

    /// All that is looked at.
    pub(in crate::commands) fn checks(&self) -> Vec<Check> {
        let subject = format!("broker/{}", self.name);
        let check = |id, is_fine, says: String| Check::new(id, &subject, is_fine, says);
        let mut checks = vec![check("broker-answers", true, "answers".to_owned())];
        checks.extend(rivals(&self.figures, &subject));
        let ratio = self.figures.get("commitLogDiskRatio");
        if let Some(ratio) = ratio
            .and_then(|text| text.parse::<f64>().ok())
            .filter(|ratio| *ratio >= 0.0)
        {
            let says = format!("{} of the disk is used", numbers::percent(ratio));
            checks.push(check("broker-disk", ratio < DISK_RATIO_MAX, says));
        }
        checks.push(self.writable().of_perm(perm_text(self.perm())));
        checks.push(self.readable());
        if let Some(waiting) = self.number("connectionMemoryWaiting")
            && waiting > 0
        {
            let bytes = |key| numbers::bytes(self.number(key).unwrap_or(0).max(0).unsigned_abs());
            let says = format!(
                "{waiting} connections and answers wait, as connections hold {} of {} (memoryBytes): slow readers, or too many large messages at once",
                bytes("connectionMemoryBytes"),
                bytes("connectionMemoryLimitBytes")
            );
            checks.push(check("broker-memory", false, says));
        }
        checks.extend(self.clock());
        checks
    }

    fn writable(&self) -> Check {
        let subject = format!("broker/{}", self.name);
        let drained: Vec<&str> = self
            .routes
            .iter()
            .filter(|(_, in_route)| !perm::is_writable(*in_route))
            .map(|(address, _)| address.as_str())
            .collect();
        let problem = if let Some(problem) = self.store_problem() {
            Some(problem.to_owned())
        } else if !perm::is_writable(self.own_perm()) {
            Some(format!(
                "its write permission is off (rmq-ctl set broker {} brokerPermission=6)",
                self.name
            ))
        } else if !drained.is_empty() {
            let by = drained.join(", ");
            Some(format!(
                "it is drained, the routes of {by} have no write permission (rmq-ctl broker undrain {})",
                self.name
            ))
        } else {
            None
        };
        match problem {
            None => Check::new("broker-writable", subject, true, "takes messages"),
            Some(problem) => {
                let says = format!("takes no messages: {problem}");
                Check::new("broker-writable", subject, false, says)
            }
        }
    }

    fn readable(&self) -> Check {
        let is_permitted = perm::is_readable(self.perm());
        let says = match is_permitted {
            true => "gives messages".to_owned(),
            false => format!(
                "gives no messages: its read permission is off (rmq-ctl set broker {} brokerPermission=6)",
                self.name
            ),
        };
        let subject = format!("broker/{}", self.name);
        Check::new("broker-readable", subject, is_permitted, says)
    }

    /// A clock that jumped and has not agreed with the time that passed for long enough since.
    fn clock(&self) -> Option<Check> {
        let jump = self.figures.get("lastClockJump")?;
        let settle_ms = self.settle_ms();
        let agreed_ms = self.number("clockAgreedMillis")?;
        let says = format!(
            "its clock jumped ({}); nothing is removed by age until the clock has agreed with itself for {}, so far {}: look at the machine's time service",
            jump_text(jump),
            numbers::length(settle_ms),
            numbers::length(agreed_ms)
        );
        let subject = format!("broker/{}", self.name);
        (agreed_ms < settle_ms).then(|| Check::new("broker-clock", subject, false, says))
    }

    fn settle_ms(&self) -> i64 {
        let told = self.settings.get("clockSettleMinutes");
        let minutes: i64 = told
            .and_then(|text| text.parse().ok())
            .unwrap_or(CLOCK_SETTLE_MINUTES);
        minutes.saturating_mul(60_000)
    }

    /// What is no problem and explains something that a person may wonder about.
    pub(in crate::commands) fn notes(&self) -> Vec<Check> {
        let subject = format!("broker/{}", self.name);
        let mut notes = Vec::new();
        let mut note = |id, says: String| notes.push(Check::note(id, &subject, says));
        if let Some(jump) = self.figures.get("lastClockJump")
            && self.clock().is_none()
        {
            let says = format!(
                "its clock jumped ({}) and has agreed with itself since; times of messages around it are off",
                jump_text(jump)
            );
            note("broker-clock-jumped", says);
        }
        if let Some(held) = self.number("bytesHeldForDelayedMessages")
            && held > 0
        {
            let says = format!(
                "{} of the log stay beyond the time of retention, as delayed messages in there are not delivered yet",
                numbers::bytes(held.unsigned_abs())
            );
            note("broker-held-segments", says);
        }
        let leftover = self.figures.get("leftoverDelayLevels");
        for level in leftover.iter().flat_map(|text| text.split(' ')) {
            let (level, waiting) = level.split_once(':').unwrap_or((level, "?"));
            let says = format!(
                "delayLevels does not have level {level} any more; {waiting} messages still wait there and are delivered when their delay is over"
            );
            note("broker-delay-levels", says);
        }
        if let Some(problem) = self.figures.get("fastPortProblem") {
            let says = format!(
                "its fast port is not served, clients with vipChannelEnabled cannot send: {problem} (free the port, or set fastPort: false)"
            );
            note("broker-fast-port", says);
        }
        notes
    }
}

/// `BY ms at WHEN`, as the runtime information has it, for people.
fn jump_text(jump: &str) -> String {
    let parsed = jump.split_once(" ms at ").and_then(|(by, at)| {
        let (by, at): (i64, i64) = (by.parse().ok()?, at.parse().ok()?);
        let direction = if by < 0 { "back" } else { "ahead" };
        // To the second: two clocks are read one after the other.
        let seconds = by.saturating_abs().saturating_add(500) / 1_000;
        Some(format!(
            "{} {direction} at {}",
            numbers::length(seconds * 1_000),
            crate::when::show_time(at, false)
        ))
    });
    parsed.unwrap_or_else(|| jump.to_owned())
}

/// What a broker says of others that are registered under its name and id; nothing when it is alone.
fn rivals(figures: &BTreeMap<String, String>, subject: &str) -> Option<Check> {
    let rivals = figures.get("registrationRivals")?;
    Some(Check::new(
        "broker-alone",
        subject,
        false,
        format!(
            "another broker is registered under its name and id ({rivals}): both take turns in the routes, and clients find only a part of their messages; give one of them another brokerName, or stop it"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(figures: &[(&str, &str)], settings: &[(&str, &str)]) -> Broker {
        let owned = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        Broker {
            name: "a".to_owned(),
            cluster: "DefaultCluster".to_owned(),
            address: String::new(),
            figures: owned(figures),
            settings: owned(settings),
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            routes: Vec::new(),
        }
    }

    #[track_caller]
    fn finds(broker: &Broker, id: &str, says: &str) {
        let checks = broker.checks();
        let bad: Vec<&Check> = checks.iter().filter(|check| !check.is_fine).collect();
        assert_eq!(bad.len(), 1, "{bad:?}");
        assert_eq!(bad[0].id, id);
        assert!(bad[0].says.contains(says), "{bad:?}");
    }

    #[test]
    fn states_that_a_test_can_hardly_plant() {
        assert!(broker(&[], &[]).checks().iter().all(|check| check.is_fine));
        let rival = broker(&[("registrationRivals", "10.0.0.9:10911")], &[]);
        finds(&rival, "broker-alone", "10.0.0.9:10911");
        let memory = [
            ("connectionMemoryWaiting", "3"),
            ("connectionMemoryBytes", "1048576"),
        ];
        finds(
            &broker(&memory, &[]),
            "broker-memory",
            "hold 1.0 MiB of 0 B",
        );
        finds(
            &broker(&[("commitLogDiskRatio", "0.9")], &[]),
            "broker-disk",
            "90% of the disk",
        );
    }

    #[test]
    fn notes_are_for_people() {
        let told = broker(
            &[
                ("lastClockJump", "-7200000 ms at 1700000000000"),
                ("clockAgreedMillis", "7200000"),
                ("bytesHeldForDelayedMessages", "3221225472"),
                ("leftoverDelayLevels", "19:5 20:1"),
                ("fastPortProblem", "127.0.0.1:10909: in use"),
            ],
            &[],
        );
        assert!(told.checks().iter().all(|check| check.is_fine));
        let notes: Vec<String> = told.notes().into_iter().map(|note| note.says).collect();
        for (note, says) in notes.iter().zip([
            "2h back at 2023-11-1",
            "3.0 GiB of the log",
            "level 19 any more; 5 messages",
            "level 20 any more; 1 messages",
            "127.0.0.1:10909",
        ]) {
            assert!(note.contains(says), "{note}");
        }
        assert_eq!(notes.len(), 5);
        let settling = broker(
            &[
                ("lastClockJump", "7200000 ms at 1700000000000"),
                ("clockAgreedMillis", "60000"),
            ],
            &[("clockSettleMinutes", "30")],
        );
        finds(&settling, "broker-clock", "for 30m, so far 1m");
    }
}
