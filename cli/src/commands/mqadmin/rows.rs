//! The commands of mqadmin 5.5 and what each of them, and each of their options, is here.

/// An mqadmin command (`tools/…/command/**`) and what it is here.
pub(crate) struct Row {
    pub(crate) command: &'static str,
    pub(crate) what: &'static str,
    pub(crate) here: Here,
}

/// What a command is here. In a line, `{x}` is the value of option -x, `{x:NAME}` with another name for people, `{x|8}` with the value that
/// mqadmin takes when it is not given, `{x!perm}`, `{x!time}`, `{x!reset}`, `{x!one}` and `{wr!queues}` values that are written otherwise
/// here. `{x?TEXT}` is TEXT when -x is given, `{x=true:TEXT}` and `{x=false:TEXT}` when it is given and true or false, `{x~true:TEXT}` unless it
/// is true. What stands in `[…]` is left out when one of its options is not given.
pub(crate) enum Here {
    /// A line, and the fate of the options that it does not have.
    Line(&'static str, &'static [(&'static str, Fate)]),
    /// Lines by the value of an option: `*` is any, nothing is none.
    Choice(
        &'static str,
        &'static [(&'static str, &'static str)],
        &'static [(&'static str, Fate)],
    ),
    /// Not here, and why.
    Out(&'static str),
}

/// What becomes of an option that a line does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It has no equivalent; what to do instead.
    No(&'static str),
    /// It has none, but this value is what happens without it.
    Unless(&'static str, &'static str),
    /// The line means the same with and without it.
    Same(&'static str),
}

use Fate::{No, Same, Unless};
use Here::{Choice, Line, Out};

macro_rules! rows {
    ($($command:literal $what:literal => $here:expr;)*) => {
        /// All commands of mqadmin 5.5.
        pub(crate) const ROWS: &[Row] = &[$(Row { command: $command, what: $what, here: $here }),*];
    };
}

const STATIC: &str = "topics with fixed logical queues are not supported; the servers answer their codes with \"not supported\"";
const OF_BROKERS: &str = "users are set at all brokers that the name servers know";
const COPIED: &str = "the members of a broker group have the same users by themselves; rmq-ctl create user and set acl make them at all groups";
const NO_CONTROLLER: &str = "there is no controller: the members of a broker group elect their master, and all of them are asked";
const LITE: &str = "there are no lite topics";
const ROCKSDB: &str = "the store is not RocksDB";
const NO_UNITS: &str = "there are no units";
const READS_FROM: &str = "brokers here follow what mqadmin updateSubGroup says of the broker that a slow group reads from; rmq-ctl does not set it";
const ALL_CLUSTERS: &str = "the brokers of all clusters that the name servers know are asked";
const ONE_BROKER: &str = "one broker at a time: -b BROKER";
const NO_DIRECT: &str = "a member cannot be told to consume one message; rmq-ctl dlq resend sends dead letters to a group again";
const NO_FORMAT: &str = "-o json prints the whole message";

rows! {
    "updateTopic" "create or change a topic" => Line("create topic {t:TOPIC} --or-change {wr!queues} [--perm {p!perm}] [--attributes {a}] [--broker {b}] [--broker-cluster {c}]", &[
        ("o", Unless("false", "the order of a topic is a setting of the name servers: rmq-ctl set topic TOPIC 'order-conf=BROKER:QUEUES;…'")),
        ("u", Unless("false", NO_UNITS)),
        ("s", Unless("false", NO_UNITS)),
    ]);
    "updateTopicList" "create or change topics from a file" => Out("its file is JSON; write manifests for rmq-ctl apply -f FILE (rmq-ctl export prints those of a cluster)");
    "updateTopicPerm" "change a topic's permission" => Line("set topic {t:TOPIC} perm={p!perm} [--broker {b}] [--broker-cluster {c}]", &[]);
    "deleteTopic" "delete a topic" => Line("delete topic {t:TOPIC} [--broker-cluster {c}]", &[]);
    "topicList" "list topics" => Line("get topics", &[("c", No("rmq-ctl get topics -o wide shows the clusters, rmq-ctl describe topic TOPIC the groups"))]);
    "topicClusterList" "clusters that have a topic" => Line("describe topic {t:TOPIC} --route", &[]);
    "topicRoute" "the route of a topic" => Line("describe topic {t:TOPIC} --route", &[("l", Same("the route is a table in any case"))]);
    "topicStatus" "offsets of a topic's queues" => Line("get queues -t {t:TOPIC}", &[("c", No(ALL_CLUSTERS))]);
    "updateOrderConf" "the setting of order topics" => Choice("m", &[
        ("put", "set topic {t:TOPIC} order-conf={v:VALUE}"),
        ("get", "describe topic {t:TOPIC}"),
        ("delete", "set topic {t:TOPIC} order-conf="),
    ], &[("v", Same("only put has a value"))]);
    "allocateMQ" "which client would get which queue" => Line("describe topic {t:TOPIC} --plan-for {i:CLIENTS}", &[]);
    "updateStaticTopic" "topic with fixed logical queues" => Out(STATIC);
    "remappingStaticTopic" "move logical queues" => Out(STATIC);
    "statsAll" "rates of topics and groups" => Line("top", &[
        ("a", No("rmq-ctl top sorts by rate: active topics come first")),
        ("t", No("rmq-ctl top shows all topics; rmq-ctl describe topic TOPIC and rmq-ctl lag -t TOPIC one")),
    ]);
    "updateSubGroup" "create or change a group" => Line("create group {g:GROUP} --or-change [--max-attempts {r}] [--retry-queues {q}] {s=false:--no-consume} {d~true:--no-broadcast} {m~true:--no-from-min} {o=true:--ordered} [--attributes {attributes}] [--broker {b}] [--broker-cluster {c}]", &[
        ("p", No("brokers here follow the retry policies that mqadmin updateSubGroup sets; rmq-ctl does not set them")),
        ("i", Unless("0", READS_FROM)),
        ("w", Unless("1", READS_FROM)),
        ("a", Unless("true", "members are told of each other in any case")),
    ]);
    "updateSubGroupList" "create or change groups from a file" => Out("its file is JSON; write manifests for rmq-ctl apply -f FILE (rmq-ctl export prints those of a cluster)");
    "deleteSubGroup" "delete a group" => Line("delete group {g:GROUP} {r=true:--offsets} [--broker {b}] [--broker-cluster {c}]", &[]);
    "getConsumerConfig" "settings of a group" => Line("describe group {g:GROUP}", &[]);
    "setConsumeMode" "pull or pop" => Out("the servers deliver by pull only; pop is not supported yet");
    "consumerProgress" "how far groups are behind" => Line("lag [{g}] [-t {t}]", &[
        ("s", Same("rmq-ctl lag GROUP shows the member that holds each queue")),
        ("c", No(ALL_CLUSTERS)),
    ]);
    "consumerStatus" "what a client does" => Choice("i", &[
        ("", "describe group {g:GROUP}"),
        ("*", "describe client {i} -g {g:GROUP}"),
    ], &[
        ("b", No("the first broker that the client answers through is asked")),
        ("s", No("threads of a client are not shown; run jstack where the client runs")),
    ]);
    "consumerConnection" "members of a group" => Line("get clients -g {g:GROUP} [--broker {b}]", &[]);
    "producerConnection" "producers of a topic" => Line("get clients --producers [-g {g}] [-t {t}]", &[]);
    "producer" "producers of a broker" => Line("get clients --producers [--broker {b}]", &[]);
    "brokerConsumeStats" "lag of all groups at a broker" => Line("lag --broker {b:BROKER} [--timeout {t}ms]", &[
        ("l", No("rmq-ctl lag shows the worst first; --fail-above N fails when a group is farther behind")),
        ("o", Unless("false", "groups that consume in order are not listed apart; rmq-ctl describe group GROUP shows it")),
    ]);
    "startMonitoring" "a process that logs lag" => Out("rmq-ctl lag -w --fail-above N, and alerts on the metrics, do this");
    "resetOffsetByTime" "move a group's offsets" => Choice("o", &[
        ("", "offsets reset {g:GROUP} -t {t:TOPIC} --to {s!reset} [--queue {b}/{q}]"),
        ("*", "offsets reset {g:GROUP} -t {t:TOPIC} --to {o} --queue {b:BROKER}/{q:QUEUE}"),
    ], &[
        ("s", Same("the offset counts, not the time")),
        ("b", No("a broker is named together with a queue, -b BROKER -q QUEUE")),
        ("q", No("a queue is named together with its broker, -b BROKER -q QUEUE")),
        ("f", Unless("true", "offsets go forward and back in any case")),
        ("c", No(ALL_CLUSTERS)),
    ]);
    "skipAccumulatedMessage" "pass over what is there" => Line("offsets skip {g:GROUP} -t {t:TOPIC}", &[
        ("f", Unless("true", "offsets go forward and back in any case")),
        ("c", No(ALL_CLUSTERS)),
    ]);
    "cloneGroupOffset" "copy offsets" => Line("offsets copy {s:GROUP} {d:GROUP} -t {t:TOPIC}", &[
        ("o", Unless("true", "the group that gets the offsets has to be offline")),
    ]);
    "sendMessage" "send one message" => Line("send {t:TOPIC} {p:BODY} [--key {k}] [--tag {c}]", &[
        ("b", No("rmq-ctl send chooses the queue; --ordered-by KEY sends all of a key to one queue")),
        ("i", No("rmq-ctl send chooses the queue; --ordered-by KEY sends all of a key to one queue")),
        ("m", Unless("false", "rmq-ctl send writes no traces")),
    ]);
    "consumeMessage" "read messages" => Line("tail {t:TOPIC} --since {s!time|1970-01-01T00:00:00Z} [--until {e!time}] [--queue {b}/{i}] --max {c|128}", &[
        ("b", No("a broker is named together with a queue, -b BROKER -i QUEUE")),
        ("i", No("a queue is named together with its broker, -b BROKER -i QUEUE")),
        ("o", No("rmq-ctl find message -t TOPIC --offset BROKER/QUEUE@OFFSET shows the message at an offset")),
        ("g", No("rmq-ctl tail needs no group; rmq-ctl consume TOPIC -g GROUP is a member of one and moves its offsets")),
    ]);
    "queryMsgById" "a message by its place" => Line("describe message {i:ID}", &[
        ("t", Same("the id tells the place")),
        ("g", No(NO_DIRECT)), ("d", No(NO_DIRECT)),
        ("s", Unless("false", "rmq-ctl find message ID -o json | rmq-ctl send TOPIC --jsonl sends it again")),
        ("u", No(NO_UNITS)), ("f", No(NO_FORMAT)), ("c", No(ALL_CLUSTERS)),
    ]);
    "queryMsgByUniqueKey" "a message by its producer's id" => Line("find message {i:ID} -t {t:TOPIC}", &[
        ("g", No(NO_DIRECT)), ("d", No(NO_DIRECT)),
        ("a", Same("all messages with the id are listed")),
        ("c", No(ALL_CLUSTERS)),
        ("s", No("all times are searched")), ("e", No("all times are searched")),
    ]);
    "queryMsgByKey" "messages by business key, or by tag" => Choice("p", &[
        ("K", "find message -t {t:TOPIC} --key {k:KEY} [--since {b!time}] [--until {e!time}] --max {m|64}"),
        ("T", "find message -t {t:TOPIC} --tag {k:TAG} [--since {b!time}] [--until {e!time}] --max {m|64}"),
    ], &[
        ("c", No(ALL_CLUSTERS)),
        ("l", No("there are no pages; --since, --until and --max choose")),
    ]);
    "queryMsgByOffset" "the message at a place" => Line("find message -t {t:TOPIC} --offset {b:BROKER}/{i:QUEUE}@{o:OFFSET}", &[
        ("f", No(NO_FORMAT)),
        ("r", No("the topic's own route is asked for")),
    ]);
    "queryMsgTraceById" "the trace of a message" => Line("trace {i:ID} [--trace-topic {t}]", &[
        ("b", No("all times are searched")), ("e", No("all times are searched")),
        ("c", No("up to 64 traces of each broker are shown")),
    ]);
    "printMsg" "print a topic's messages" => Line("tail {t:TOPIC} --since {b!time|1970-01-01T00:00:00Z} [--until {e!time}] [--tag {s}]", &[
        ("c", Unless("UTF-8", "bodies are shown as UTF-8; -o body prints them as they are")),
        ("d", Unless("true", "--format '%q@%o %k' prints messages without their bodies")),
        ("l", No("there are no lite topics")),
    ]);
    "printMsgByQueue" "print a queue's messages" => Line("tail {t:TOPIC} --queue {a:BROKER}/{i:QUEUE} --since {b!time|1970-01-01T00:00:00Z} [--until {e!time}] [--tag {s}]", &[
        ("c", Unless("UTF-8", "bodies are shown as UTF-8; -o body prints them as they are")),
        ("p", Unless("true", "messages are printed in any case")),
        ("d", Unless("true", "--format '%q@%o %k' prints messages without their bodies")),
        ("f", Unless("false", "messages are not counted by tag; --format '%g' | sort | uniq -c does")),
    ]);
    "queryCq" "entries of a consume queue" => Line("find message -t {t:TOPIC} --offset {b:BROKER}/{q:QUEUE}@{i:OFFSET}", &[
        ("c", Unless("1", "rmq-ctl tail TOPIC --queue BROKER/QUEUE prints many")),
        ("g", No("rmq-ctl describe queue TOPIC/BROKER/QUEUE shows where each group is")),
    ]);
    "checkMsgSendRT" "time of sends" => Line("bench latency -t {t:TOPIC} --count {a|100} --size {s|128}", &[]);
    "sendMsgStatus" "send test messages" => Line("bench produce -t {b:TOPIC} --count {c|50} --size {s|128}", &[]);
    "dumpCompactionLog" "decode a compaction log" => Out("there are no compaction logs");
    "clusterList" "brokers with versions and rates" => Line("get brokers -o wide [-w={i}s]", &[
        ("m", No("rmq-ctl top shows messages and rates")),
        ("c", No(ALL_CLUSTERS)),
    ]);
    "clusterRT" "time of sends to a cluster" => Line("bench latency --count {a|100} --size {s|128}", &[
        ("c", No("it measures one topic: -t TOPIC; topics of a broker's name are not made")),
        ("p", Unless("false", "--json and --csv print the figures for programs")),
        ("m", No("machine rooms are not known")),
        ("i", No("it runs once")),
    ]);
    "brokerStatus" "figures of a broker" => Line("describe broker {b:BROKER}", &[("c", No(ONE_BROKER))]);
    "getBrokerConfig" "settings of a broker" => Line("get config-keys --broker {b:BROKER}", &[("c", No(ONE_BROKER))]);
    "updateBrokerConfig" "change a broker's setting" => Line("set broker {b:BROKER} {k:NAME}={v:VALUE}", &[
        ("c", No(ONE_BROKER)),
        ("a", No(ONE_BROKER)),
    ]);
    "cleanExpiredCQ" "remove expired entries" => Line("broker clean {b:BROKER} --consume-queues", &[("c", No(ONE_BROKER))]);
    "cleanUnusedTopic" "remove queues of deleted topics" => Line("broker clean {b:BROKER} --unused-topics", &[("c", No(ONE_BROKER))]);
    "deleteExpiredCommitLog" "remove expired segments" => Line("broker clean {b:BROKER} --expired-log", &[("c", No(ONE_BROKER))]);
    "setCommitLogReadAheadMode" "read-ahead of the log" => Out("the store reads ahead by what it sees");
    "resetMasterFlushOffset" "repair a replica's mark" => Out("a replica compares its log with its master's by itself");
    "getColdDataFlowCtrInfo" "limits of cold reads" => Out("the limit is the attribute cold.read.threshold of a group, which rmq-ctl export groups prints");
    "updateColdDataFlowCtrGroupConfig" "limit a group's cold reads" => Line("set group {g:GROUP} attributes.cold.read.threshold={v:BYTES} [--broker {b}] [--broker-cluster {c}]", &[]);
    "removeColdDataFlowCtrGroupConfig" "lift that limit" => Line("set group {g:GROUP} attributes.cold.read.threshold= [--broker {b}] [--broker-cluster {c}]", &[]);
    "wipeWritePerm" "stop writes to a broker" => Line("broker drain {b:BROKER}", &[]);
    "addWritePerm" "allow writes to a broker" => Line("broker undrain {b:BROKER}", &[]);
    "addBroker" "add a broker to a container" => Out("a process is one broker; the operator scales");
    "removeBroker" "remove a broker from a container" => Out("a process is one broker; the operator scales");
    "checkRocksdbCqWriteProgress" "compare RocksDB and files" => Out(ROCKSDB);
    "switchTimerEngine" "choose the timer" => Out("there is one timer");
    "haStatus" "state of replication" => Line("broker replication {b:GROUP} [-w={i}s]", &[("c", No(ONE_BROKER))]);
    "getSyncStateSet" "replicas in sync" => Line("broker replication {b:GROUP} [-w={i}s]", &[
        ("a", Same(NO_CONTROLLER)),
        ("c", No(ONE_BROKER)),
    ]);
    "getBrokerEpoch" "epochs of a broker" => Line("broker replication {b:GROUP} --epochs [-w={i}s]", &[("c", No(ONE_BROKER))]);
    "getControllerMetaData" "the controller" => Out(NO_CONTROLLER);
    "getControllerConfig" "the controller's settings" => Out(NO_CONTROLLER);
    "updateControllerConfig" "change them" => Out(NO_CONTROLLER);
    "electMaster" "choose a master" => Out("the members elect their master; rmq-ctl broker switchover GROUP --to MEMBER hands over, and MEMBER is the slot that rmq-ctl broker replication GROUP shows");
    "cleanBrokerMetadata" "forget a dead broker" => Out("there is no controller; name servers forget a dead broker by themselves");
    "getNamesrvConfig" "settings of a name server" => Line("describe nameserver {n!one}", &[]);
    "updateNamesrvConfig" "change them" => Out("name servers take their settings from their file and command line");
    "updateKvConfig" "set a value at the name servers" => Line("set kv {s:SPACE} {k:KEY}={v:VALUE}", &[]);
    "deleteKvConfig" "remove a value" => Line("delete kv {s:SPACE} {k:KEY}", &[]);
    "createUser" "users" => Out("rmq-ctl create user USER --password-file FILE makes one (--super a super user): a password is never on the command line");
    "updateUser" "users" => Line("set user {u:USER} --password-file FILE", &[
        ("b", No(OF_BROKERS)), ("c", No(ALL_CLUSTERS)),
        ("p", No("a password is read from a file: never from the command line")),
        ("t", No("--super and --normal set the type")),
        ("s", No("--enable and --disable set the status")),
    ]);
    "deleteUser" "users" => Line("delete user {u:USER}", &[("b", No(OF_BROKERS)), ("c", No(ALL_CLUSTERS))]);
    "getUser" "users" => Line("get users {u:USER}", &[("b", No(OF_BROKERS)), ("c", No(ALL_CLUSTERS))]);
    "listUser" "users" => Line("get users [{f}]", &[("b", No(OF_BROKERS)), ("c", No(ALL_CLUSTERS))]);
    "copyUser" "users" => Out(COPIED);
    "createAcl" "access rules" => Out("rmq-ctl set acl USER --allow Pub,Sub=Topic:orders --deny … --from NETWORK gives rules");
    "updateAcl" "access rules" => Out("rmq-ctl set acl USER --allow Pub,Sub=Topic:orders --deny … --from NETWORK gives rules, each in the place of the one of its resource");
    "deleteAcl" "access rules" => Out("rmq-ctl delete acl USER [RESOURCE] deletes rules");
    "getAcl" "access rules" => Out("rmq-ctl get acls USER prints the rules");
    "listAcl" "access rules" => Line("get acls", &[
        ("b", No(OF_BROKERS)), ("c", No(ALL_CLUSTERS)),
        ("s", No("rmq-ctl get acls USER prints the rules of one user")),
        ("r", No("rmq-ctl get acls | grep RESOURCE")),
    ]);
    "copyAcl" "access rules" => Out(COPIED);
    "exportMetadata" "dump topics and groups" => Line("export {t?topics} {g?groups}", &[
        ("c", No(ALL_CLUSTERS)), ("b", No("all brokers are asked; settings that differ are said")),
        ("f", No("it prints YAML: > FILE keeps it")),
        ("s", No("topics of the system, retry topics and dead letters make themselves")),
    ]);
    "exportConfigs" "dump settings" => Out("rmq-ctl get config-keys --broker BROKER and rmq-ctl describe nameserver ADDRESS print settings, rmq-ctl export topics and groups");
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
