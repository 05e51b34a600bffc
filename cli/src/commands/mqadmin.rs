//! `rmq-ctl mqadmin`: what an old `mqadmin` line is called here. Asks no server and runs nothing.

use std::collections::BTreeMap;

use clap::Args;

use crate::codes;
use crate::error::Failure;
use crate::output::Output;

/// Options of `mqadmin`.
#[derive(Debug, Args)]
#[command(after_help = "Asks no server.

Examples:
  rmq-ctl mqadmin topicList -n ns-0:9876
  rmq-ctl mqadmin updateTopic -n ns-0:9876 -c DefaultCluster -t orders -r 8 -w 8
  rmq-ctl mqadmin            # the whole table")]
pub(crate) struct Options {
    /// The command and its options, as mqadmin takes them. Default: the table of all commands.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "LINE"
    )]
    line: Vec<String>,
}

/// An mqadmin command (`tools/…/command/**`) and what it is here.
pub(crate) struct Row {
    pub(crate) command: &'static str,
    pub(crate) what: &'static str,
    pub(crate) here: Here,
}

/// What a command is here.
pub(crate) enum Here {
    /// A line: `{x}` is the value of option -x, `{x:NAME}` with another name for people, `{x!perm}` and `{x!time}` a value that is
    /// written otherwise here; what stands in `[…]` is left out when its option is not given.
    Line(&'static str),
    /// Not here, and why.
    Out(&'static str),
}

use Here::{Line, Out};

macro_rules! rows {
    ($($command:literal $what:literal => $here:expr;)*) => {
        /// All commands of mqadmin 5.5.
        pub(crate) const ROWS: &[Row] = &[$(Row { command: $command, what: $what, here: $here }),*];
    };
}

const STATIC: &str = "topics with fixed logical queues are not supported; the servers answer their codes with \"not supported\"";
const SECURITY: &str = "the servers have no users and ACLs yet";
const REPLICATION: &str =
    "broker groups have one member yet; there is no replication to look at or to steer";
const LITE: &str = "there are no lite topics";
const ROCKSDB: &str = "the store is not RocksDB";
const TRACE: &str =
    "the servers keep no message traces yet; rmq-ctl describe message ID shows who has consumed it";

rows! {
    "updateTopic" "create or change a topic" => Line("create topic {t:TOPIC} [--queues {w}] [--perm {p!perm}] [--broker-cluster {c}]");
    "updateTopicList" "create or change topics from a file" => Line("apply -f {f:FILE}");
    "updateTopicPerm" "change a topic's permission" => Line("set topic {t:TOPIC} perm={p!perm}");
    "deleteTopic" "delete a topic" => Line("delete topic {t:TOPIC}");
    "topicList" "list topics" => Line("get topics");
    "topicClusterList" "clusters that have a topic" => Line("describe topic {t:TOPIC} --route");
    "topicRoute" "the route of a topic" => Line("describe topic {t:TOPIC} --route");
    "topicStatus" "offsets of a topic's queues" => Line("get queues -t {t:TOPIC}");
    "updateOrderConf" "the setting of order topics" => Line("set topic {t:TOPIC} order-conf={v:VALUE}");
    "allocateMQ" "which client would get which queue" => Line("describe topic {t:TOPIC} --plan-for {i:CLIENTS}");
    "updateStaticTopic" "topic with fixed logical queues" => Out(STATIC);
    "remappingStaticTopic" "move logical queues" => Out(STATIC);
    "statsAll" "rates of topics and groups" => Line("top");
    "updateSubGroup" "create or change a group" => Line("create group {g:GROUP} [--max-attempts {r}]");
    "updateSubGroupList" "create or change groups from a file" => Line("apply -f {f:FILE}");
    "deleteSubGroup" "delete a group" => Line("delete group {g:GROUP}");
    "getConsumerConfig" "settings of a group" => Line("describe group {g:GROUP}");
    "setConsumeMode" "pull or pop" => Out("the servers deliver by pull only; pop is not supported yet");
    "consumerProgress" "how far groups are behind" => Line("lag [{g}]");
    "consumerStatus" "what a client does" => Line("describe client {i:CLIENT} -g {g:GROUP}");
    "consumerConnection" "members of a group" => Line("get clients -g {g:GROUP}");
    "producerConnection" "producers of a topic" => Line("get clients --producers [-t {t}]");
    "producer" "producers of a broker" => Line("get clients --producers [--broker {b}]");
    "brokerConsumeStats" "lag of all groups at a broker" => Line("lag --broker {b:BROKER}");
    "startMonitoring" "a process that logs lag" => Out("rmq-ctl lag -w --fail-above N, and alerts on the metrics, do this");
    "resetOffsetByTime" "move a group's offsets" => Line("offsets reset {g:GROUP} -t {t:TOPIC} --to {s!time}");
    "skipAccumulatedMessage" "pass over what is there" => Line("offsets skip {g:GROUP} -t {t:TOPIC}");
    "cloneGroupOffset" "copy offsets" => Line("offsets copy {s:GROUP} {d:GROUP} -t {t:TOPIC}");
    "sendMessage" "send one message" => Line("send {t:TOPIC} {p:BODY} [--key {k}] [--tag {c}]");
    "consumeMessage" "read messages" => Line("tail {t:TOPIC} [--since {s!time}] [--until {e!time}] [--queue {i}] [--max {c}]");
    "queryMsgById" "a message by its place" => Line("describe message {i:ID}");
    "queryMsgByUniqueKey" "a message by its producer's id" => Line("find message {i:ID} [-t {t}]");
    "queryMsgByKey" "messages by business key" => Line("find message -t {t:TOPIC} --key {k:KEY}");
    "queryMsgByOffset" "the message at a place" => Line("find message -t {t:TOPIC} --offset {b:BROKER}/{i:QUEUE}@{o:OFFSET}");
    "queryMsgTraceById" "the trace of a message" => Out(TRACE);
    "printMsg" "print a topic's messages" => Line("tail {t:TOPIC} [--since {b!time}] [--until {e!time}] [--tag {s}]");
    "printMsgByQueue" "print a queue's messages" => Line("tail {t:TOPIC} --queue {a:BROKER}/{i:QUEUE} [--since {b!time}] [--until {e!time}]");
    "queryCq" "entries of a consume queue" => Line("describe queue {t:TOPIC}/{b:BROKER}/{q:QUEUE}");
    "checkMsgSendRT" "time of sends" => Line("bench latency -t {t:TOPIC} [--count {a}] [--size {s}]");
    "sendMsgStatus" "send test messages" => Line("bench produce [--count {c}] [--size {s}]");
    "dumpCompactionLog" "decode a compaction log" => Out("there are no compaction logs");
    "clusterList" "brokers with versions and rates" => Line("get brokers -o wide");
    "clusterRT" "time of sends to a cluster" => Line("bench latency [--count {a}] [--size {s}]");
    "brokerStatus" "figures of a broker" => Line("describe broker {b:BROKER}");
    "getBrokerConfig" "settings of a broker" => Line("get config-keys --broker {b:BROKER}");
    "updateBrokerConfig" "change a broker's setting" => Line("set broker {b:BROKER} {k:NAME}={v:VALUE}");
    "cleanExpiredCQ" "remove expired entries" => Line("broker clean {b:BROKER} --consume-queues");
    "cleanUnusedTopic" "remove queues of deleted topics" => Line("broker clean {b:BROKER} --unused-topics");
    "deleteExpiredCommitLog" "remove expired segments" => Line("broker clean {b:BROKER} --expired-log");
    "setCommitLogReadAheadMode" "read-ahead of the log" => Out("the store reads ahead by what it sees");
    "resetMasterFlushOffset" "repair a replica's mark" => Out(REPLICATION);
    "getColdDataFlowCtrInfo" "limits of cold reads" => Out("there is no limit of cold reads");
    "updateColdDataFlowCtrGroupConfig" "limit a group's cold reads" => Out("there is no limit of cold reads");
    "removeColdDataFlowCtrGroupConfig" "lift that limit" => Out("there is no limit of cold reads");
    "wipeWritePerm" "stop writes to a broker" => Line("broker drain {b:BROKER}");
    "addWritePerm" "allow writes to a broker" => Line("broker undrain {b:BROKER}");
    "addBroker" "add a broker to a container" => Out("a process is one broker; the operator scales");
    "removeBroker" "remove a broker from a container" => Out("a process is one broker; the operator scales");
    "checkRocksdbCqWriteProgress" "compare RocksDB and files" => Out(ROCKSDB);
    "switchTimerEngine" "choose the timer" => Out("there is one timer");
    "haStatus" "state of replication" => Out(REPLICATION);
    "getSyncStateSet" "replicas in sync" => Out(REPLICATION);
    "getBrokerEpoch" "epochs of a broker" => Out(REPLICATION);
    "getControllerMetaData" "the controller" => Out("there is no controller: the operator decides");
    "getControllerConfig" "the controller's settings" => Out("there is no controller: the operator decides");
    "updateControllerConfig" "change them" => Out("there is no controller: the operator decides");
    "electMaster" "choose a master" => Out(REPLICATION);
    "cleanBrokerMetadata" "forget a dead broker" => Out("there is no controller; name servers forget a dead broker by themselves");
    "getNamesrvConfig" "settings of a name server" => Line("describe nameserver {n:ADDRESS}");
    "updateNamesrvConfig" "change them" => Out("name servers take their settings from their file and command line");
    "updateKvConfig" "set a value at the name servers" => Line("set kv {s:SPACE} {k:KEY}={v:VALUE}");
    "deleteKvConfig" "remove a value" => Line("delete kv {s:SPACE} {k:KEY}");
    "createUser" "users" => Out(SECURITY);
    "updateUser" "users" => Out(SECURITY);
    "deleteUser" "users" => Out(SECURITY);
    "getUser" "users" => Out(SECURITY);
    "listUser" "users" => Out(SECURITY);
    "copyUser" "users" => Out(SECURITY);
    "createAcl" "access rules" => Out(SECURITY);
    "updateAcl" "access rules" => Out(SECURITY);
    "deleteAcl" "access rules" => Out(SECURITY);
    "getAcl" "access rules" => Out(SECURITY);
    "listAcl" "access rules" => Out(SECURITY);
    "copyAcl" "access rules" => Out(SECURITY);
    "exportMetadata" "dump topics and groups" => Line("export");
    "exportConfigs" "dump settings" => Line("export");
    "exportMetrics" "dump figures" => Out("the brokers' management port serves all figures as Prometheus metrics");
    "exportMetadataInRocksDB" "convert RocksDB" => Out(ROCKSDB);
    "rocksDBConfigToJson" "convert RocksDB" => Out(ROCKSDB);
    "exportPopRecord" "dump pop records" => Out("the servers deliver by pull only; pop is not supported yet");
    "getBrokerLiteInfo" "lite topics" => Out(LITE);
    "getParentTopicInfo" "lite topics" => Out(LITE);
    "getLiteTopicInfo" "lite topics" => Out(LITE);
    "getLiteGroupInfo" "lite topics" => Out(LITE);
    "getLiteClientInfo" "lite topics" => Out(LITE);
    "triggerLiteDispatch" "lite topics" => Out(LITE);
}

pub(crate) fn run(options: &Options, output: &Output) -> Result<(), Failure> {
    let Some((command, args)) = options.line.split_first() else {
        for row in ROWS {
            let here = match row.here {
                Line(line) => format!("rmq-ctl {}", translate(line, &BTreeMap::new())),
                Out(why) => format!("- ({why})"),
            };
            output.data(&format!(
                "{:34} {}\n{:34}   {here}",
                row.command, row.what, ""
            ));
        }
        return Ok(());
    };
    let Some(row) = ROWS
        .iter()
        .find(|row| row.command.eq_ignore_ascii_case(command))
    else {
        let known: Vec<String> = ROWS.iter().map(|row| row.command.to_owned()).collect();
        let mut failure = Failure::coded(
            &codes::NOT_FOUND,
            format!("mqadmin has no command \"{command}\""),
        );
        if let Some(close) = crate::cluster::closest(command, &known) {
            failure = failure.try_this(format!("rmq-ctl mqadmin {close}   (close match)"));
        }
        return Err(failure);
    };
    match row.here {
        Line(line) => {
            let given = given(args)?;
            let mut text = format!("rmq-ctl {}", translate(line, &given));
            if let Some(addr) = given.get(&'n').filter(|_| !line.contains("{n")) {
                text.push_str(&format!(" --nameserver '{addr}'"));
            }
            output.data(&text);
            let is_addr = |value: &String| value.contains(':');
            if line.contains("BROKER") && given.get(&'b').is_some_and(is_addr) {
                output.say("rmq-ctl takes the broker's name, not its address: rmq-ctl get brokers");
            }
            Ok(())
        }
        Out(why) => Err(Failure::coded(
            &codes::NOT_FOUND,
            format!("mqadmin {} has no counterpart", row.command),
        )
        .because(why)),
    }
}

/// Options by their letter. mqadmin's long names begin with another letter in some commands; the letters are what people write.
fn given(args: &[String]) -> Result<BTreeMap<char, String>, Failure> {
    let mut given = BTreeMap::new();
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        let name = arg
            .strip_prefix('-')
            .filter(|name| name.chars().count() == 1);
        let Some(letter) = name.and_then(|name| name.chars().next()) else {
            return Err(
                Failure::coded(&codes::INVALID, format!("\"{arg}\" is not understood"))
                    .because("write mqadmin's options by their letter, such as -t TOPIC"),
            );
        };
        let value = args
            .next_if(|next| !(next.starts_with('-') && next.len() == 2))
            .cloned()
            .unwrap_or_else(|| "true".to_owned());
        given.insert(letter, value);
    }
    Ok(given)
}

/// Fills in a line.
pub(crate) fn translate(line: &str, given: &BTreeMap<char, String>) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(['[', '{']) {
        out.push_str(&rest[..at]);
        let is_optional = rest[at..].starts_with('[');
        let close = if is_optional { ']' } else { '}' };
        let Some(end) = rest[at..].find(close).map(|end| at + end) else {
            break;
        };
        let inner = &rest[at + 1..end];
        if is_optional {
            let letter = inner
                .split_once('{')
                .and_then(|(_, name)| name.chars().next());
            if letter.is_some_and(|letter| given.contains_key(&letter)) {
                out.push_str(&translate(inner, given));
            }
        } else {
            out.push_str(&value(inner, given));
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn value(name: &str, given: &BTreeMap<char, String>) -> String {
    let letter = name.chars().next().unwrap_or_default();
    let (_, shown) = name.split_once(':').unwrap_or(("", ""));
    let (_, form) = name.split_once('!').unwrap_or(("", ""));
    let Some(value) = given.get(&letter) else {
        return match form {
            "perm" => "rw".to_owned(),
            "time" => "TIME".to_owned(),
            _ if shown.is_empty() => "VALUE".to_owned(),
            _ => shown.to_owned(),
        };
    };
    match form {
        "perm" => match value.as_str() {
            "6" | "7" => "rw",
            "4" => "r",
            "2" => "w",
            "0" => "-",
            other => other,
        }
        .to_owned(),
        "time" => quoted(&time(value)),
        _ => quoted(value),
    }
}

/// `2026-01-31#09:00:00:000`, `now` and milliseconds as they are written here.
fn time(value: &str) -> String {
    if value == "now" || value == "currentTimeMillis" {
        return "latest".to_owned();
    }
    match value.split_once('#') {
        Some((date, time)) => {
            let mut parts = time.splitn(4, ':');
            let mut part = || parts.next().unwrap_or("00");
            format!("{date} {}:{}:{}", part(), part(), part())
        }
        None => value.to_owned(),
    }
}

fn quoted(value: &str) -> String {
    let is_plain = value
        .chars()
        .all(|letter| letter.is_alphanumeric() || "-_./:@%,=+".contains(letter));
    if is_plain && !value.is_empty() {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let row = ROWS.iter().find(|row| row.command == words[0]).unwrap();
        let Line(line) = row.here else {
            panic!("{text} has a line")
        };
        translate(line, &given(&words[1..]).unwrap())
    }

    #[test]
    fn old_lines_become_new_ones() {
        for (old, new) in [
            ("topicList -n a:9876", "get topics"),
            (
                "updateTopic -c DefaultCluster -t orders -r 8 -w 8 -p 4",
                "create topic orders --queues 8 --perm r --broker-cluster DefaultCluster",
            ),
            (
                "resetOffsetByTime -g g -t t -s 2026-01-31#09:00:00:000",
                "offsets reset g -t t --to '2026-01-31 09:00:00'",
            ),
            (
                "resetOffsetByTime -g g -t t -s now",
                "offsets reset g -t t --to latest",
            ),
            ("consumerProgress", "lag"),
            ("consumerProgress -g g", "lag g"),
            (
                "queryMsgByOffset -t t -b broker-a -i 3 -o 42",
                "find message -t t --offset broker-a/3@42",
            ),
        ] {
            assert_eq!(line(old), new);
        }
    }

    #[test]
    fn commands_are_listed_once() {
        let mut names: Vec<&str> = ROWS.iter().map(|row| row.command).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(all >= 89, "{all} rows");
    }
}
