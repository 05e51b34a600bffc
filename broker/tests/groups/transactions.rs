//! Transactions: nothing of a half message is seen before its commit, each ends once, and producers that forget are asked. No test waits for
//! real.

use std::sync::Arc;
use std::time::Duration;

use rmq_broker::{BrokerConfig, BrokerServer, Deps, RunningBroker};
use rmq_protocol::bodies::{HeartbeatData, ProducerData, TransactionList, TransactionState};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::message::{OffsetMessageId, RecordView, flags, property};
use rmq_protocol::requests::{
    CheckTransactionState, EndTransaction, GetTransactions, Request, ResumeCheckHalfMessage,
    SendMessageReply,
};
use rmq_transport::{Caller, CallerConfig, Exchange, IncomingRequests, ManualClock, TcpConnector};
use tokio::sync::mpsc;

use crate::support::{self, Client, PATIENCE, Refused, Rig, message, pull, remark};

const START_MS: i64 = 1_800_000_000_000;
const TOPIC: &str = "orders";
const GROUP: &str = "payers";
/// What a producer sends with a half message.
const HALF: &str = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}payers\u{2}UNIQ_KEY\u{1}U1\u{2}KEYS\u{1}k1\u{2}TAGS\u{1}paid\u{2}";
const COMMIT: i32 = flags::TRANSACTION_COMMIT;
const ROLL_BACK: i32 = flags::TRANSACTION_ROLLBACK;

/// What a producer is asked.
#[derive(Debug)]
struct Check {
    offset: i64,
    position: i64,
    transaction: String,
    topic: String,
    queue_id: i32,
    body: String,
    checks: String,
}

struct Questions(mpsc::UnboundedSender<Check>);

impl IncomingRequests for Questions {
    fn request(&self, exchange: &mut Exchange<'_>) {
        let code = exchange.header.code;
        assert_eq!(code, RequestCode::CheckTransactionState.as_i32());
        let fields = CheckTransactionState::decode(&exchange.header.fields).expect("fields");
        let record = RecordView::parse(exchange.body).expect("the half message");
        let id: OffsetMessageId = fields
            .offset_msg_id
            .as_deref()
            .expect("an id")
            .parse()
            .expect("an offset id");
        assert_eq!(id.position.0 as i64, fields.commit_log_offset);
        assert_eq!(fields.transaction_id, fields.msg_id);
        let check = Check {
            offset: fields.tran_state_table_offset,
            position: fields.commit_log_offset,
            transaction: fields.transaction_id.expect("an id").into_owned(),
            topic: record.topic().to_owned(),
            queue_id: record.queue_id().0,
            body: String::from_utf8_lossy(record.body()).into_owned(),
            checks: record
                .property(property::TRANSACTION_CHECK_TIMES)
                .expect("a number")
                .to_owned(),
        };
        // The test may have ended.
        let _ = self.0.send(check);
    }
}

/// A member of a producer group.
struct Producer {
    client: Client,
    asked: mpsc::UnboundedReceiver<Check>,
}

impl Producer {
    async fn join(broker: &RunningBroker, id: &str, group: &str) -> Self {
        let (questions, asked) = mpsc::unbounded_channel();
        let client = Client(Caller::new(
            broker.addr().to_string(),
            Arc::new(TcpConnector),
            CallerConfig::default(),
            Arc::new(Questions(questions)),
        ));
        let data = HeartbeatData {
            client_id: id.to_owned(),
            producer_data_set: vec![ProducerData {
                group_name: group.to_owned(),
            }],
            ..HeartbeatData::default()
        };
        let answer = client
            .call(RequestCode::HeartBeat, &(), &data.to_json())
            .await;
        assert_eq!(answer.code(), 0, "{}", remark(&answer));
        Self { client, asked }
    }

    async fn is_asked(&mut self) -> Check {
        tokio::time::timeout(PATIENCE, self.asked.recv())
            .await
            .expect("a question in time")
            .expect("a question")
    }

    fn is_not_asked(&mut self) {
        assert!(self.asked.try_recv().is_err(), "nobody asks");
    }
}

/// A half message as its producer knows it.
#[derive(Debug, Clone, Copy)]
struct Half {
    offset: i64,
    position: i64,
}

impl From<SendMessageReply> for Half {
    fn from(sent: SendMessageReply) -> Self {
        let id: OffsetMessageId = sent.msg_id.parse().expect("an offset id");
        Self {
            offset: sent.queue_offset,
            position: id.position.0 as i64,
        }
    }
}

impl From<&Check> for Half {
    fn from(check: &Check) -> Self {
        Self {
            offset: check.offset,
            position: check.position,
        }
    }
}

async fn half(client: &Client, body: &str) -> Half {
    client.put(TOPIC, HALF, body).await.into()
}

fn fields_of_end(half: Half, kind: i32) -> EndTransaction<'static> {
    EndTransaction {
        topic: Some(TOPIC.into()),
        producer_group: GROUP.into(),
        tran_state_table_offset: half.offset,
        commit_log_offset: half.position,
        commit_or_rollback: kind,
        from_transaction_check: Some(false),
        msg_id: "U1".into(),
        transaction_id: Some("U1".into()),
        broker_name: None,
    }
}

async fn end(client: &Client, half: Half, kind: i32) -> Result<(), Refused> {
    end_with(client, &fields_of_end(half, kind)).await
}

async fn end_with(client: &Client, fields: &EndTransaction<'_>) -> Result<(), Refused> {
    let answer = client.call(RequestCode::EndTransaction, fields, &[]).await;
    match answer.code() {
        0 => Ok(()),
        code => Err(Refused {
            code,
            remark: remark(&answer),
        }),
    }
}

async fn bodies(client: &Client) -> Vec<String> {
    let pulled = client.pull(&pull(TOPIC, 0, 0)).await;
    pulled.bodies().into_iter().map(str::to_owned).collect()
}

async fn list(client: &Client, parked: bool) -> TransactionList {
    let wanted = GetTransactions {
        behind: None,
        parked: Some(parked),
        max_num: None,
    };
    let answer = client
        .call(RequestCode::GetTransactions, &wanted, &[])
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    TransactionList::from_json(answer.body()).expect("a list")
}

/// Waits until the broker has so many open and parked transactions.
async fn until_counts(client: &Client, open: i64, parked: i64) {
    let waiting = async {
        loop {
            let list = list(client, false).await;
            if (list.open_count, list.parked_count) == (open, parked) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("{open} open and {parked} parked in time"));
}

fn deps(clock: &ManualClock) -> Deps {
    Deps {
        clock: Arc::new(clock.clone()),
        ..Deps::default()
    }
}

async fn start(clock: &ManualClock, change: impl FnOnce(&mut BrokerConfig)) -> Rig {
    let rig = Rig::start_with(deps(clock), change).await;
    rig.client().create_topic(TOPIC, 1, 6).await;
    rig
}

async fn start_again(rig: Rig, clock: &ManualClock, change: impl FnOnce(&mut BrokerConfig)) -> Rig {
    let Rig { broker, folder } = rig;
    broker.kill().await;
    let mut config = support::config(folder.path());
    change(&mut config);
    let broker = BrokerServer::start(config, deps(clock)).await;
    Rig {
        broker: broker.expect("starts again"),
        folder,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_message_is_seen_when_it_is_committed_and_never_when_it_is_rolled_back() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic(TOPIC, 1, 6).await;
    let first = half(&client, "bought").await;
    let second = half(&client, "given up").await;
    client.put(TOPIC, "", "plain").await;
    assert_eq!(bodies(&client).await, ["plain"], "nothing half is visible");
    let shown = list(&client, false).await;
    assert_eq!((shown.open_count, shown.parked_count), (2, 0));
    let row = &shown.transactions[0];
    assert_eq!((row.topic.as_str(), row.queue_id), (TOPIC, 0));
    assert_eq!(
        (row.producer_group.as_str(), row.keys.as_str()),
        (GROUP, "k1")
    );
    assert_eq!(row.transaction_id, "U1");
    assert_eq!(row.commit_log_offset, first.position);
    assert_eq!((row.checks, row.body_size), (0, 6));
    assert_eq!(row.next_check_timestamp - row.store_timestamp, 6_000);

    end(&client, first, COMMIT).await.expect("committed");
    end(&client, second, ROLL_BACK).await.expect("rolled back");
    let frame = client
        .call(RequestCode::PullMessage, &pull(TOPIC, 0, 0), &[])
        .await;
    let records: Vec<RecordView<'_>> = RecordView::iter(frame.body())
        .map(|record| record.expect("whole"))
        .collect();
    assert_eq!(records.len(), 2);
    let record = &records[1];
    assert_eq!(record.body(), b"bought");
    assert_eq!(record.sys_flag(), COMMIT);
    assert_eq!(record.prepared_position(), first.position);
    // As 5.5.0 stores it.
    for (name, value) in [
        (property::TRAN_MSG, Some("true")),
        (property::PGROUP, Some(GROUP)),
        (property::TAGS, Some("paid")),
        (property::UNIQ_KEY, Some("U1")),
        (property::REAL_TOPIC, None),
        (property::REAL_QID, None),
        (property::TRANSACTION_CHECK_TIMES, None),
    ] {
        assert_eq!(record.property(name), value, "{name}");
    }
    let shown = list(&client, false).await;
    assert_eq!((shown.open_count, shown.parked_count), (0, 0));

    // Both the same end and the other one come too late.
    for (half, kind, words) in [
        (first, COMMIT, "committed already"),
        (first, ROLL_BACK, "committed, so it cannot be rolled back"),
        (second, ROLL_BACK, "rolled back already"),
        (second, COMMIT, "rolled back, so it cannot be committed"),
    ] {
        let refused = end(&client, half, kind).await.expect_err("too late");
        assert_eq!(refused.code, ResponseCode::SystemError.as_i32());
        assert!(refused.remark.contains(words), "{}", refused.remark);
    }
    assert_eq!(bodies(&client).await, ["plain", "bought"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_ends_at_once_one_counts() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic(TOPIC, 1, 6).await;
    let mut expected = 0;
    for round in 0..20 {
        let half = half(&client, "once").await;
        let ends = (0..8).map(|number| {
            let client = rig.client();
            let kind = if (number + round) % 2 == 0 {
                COMMIT
            } else {
                ROLL_BACK
            };
            tokio::spawn(async move { end(&client, half, kind).await.is_ok().then_some(kind) })
        });
        let ends: Vec<_> = ends.collect();
        let mut counted = Vec::new();
        for end in ends {
            counted.extend(end.await.expect("no panic"));
        }
        assert_eq!(counted.len(), 1, "round {round}");
        expected += usize::from(counted[0] == COMMIT);
        assert_eq!(bodies(&client).await.len(), expected, "round {round}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_does_not_fit_the_half_message_changes_nothing() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic(TOPIC, 1, 6).await;
    let half = half(&client, "mine").await;
    let plain: Half = client.put(TOPIC, "", "plain").await.into();
    let fields = fields_of_end(half, COMMIT);
    let other_group = EndTransaction {
        producer_group: "thieves".into(),
        ..fields.clone()
    };
    let other_offset = EndTransaction {
        tran_state_table_offset: 7,
        ..fields.clone()
    };
    let no_half = EndTransaction {
        commit_log_offset: plain.position,
        ..fields.clone()
    };
    let negative = EndTransaction {
        commit_log_offset: -1,
        ..fields.clone()
    };
    let strange = EndTransaction {
        commit_or_rollback: 4,
        ..fields
    };
    for (fields, code, words) in [
        (other_group, 1, "The producer group wrong"),
        (other_offset, 1, "The transaction state table offset wrong"),
        (no_half, 1, "the position is not of a half message"),
        (negative, 29, "commitLogOffset is negative"),
        (strange, 29, "commitOrRollback is 4"),
    ] {
        let refused = end_with(&client, &fields).await.expect_err("does not fit");
        assert_eq!(refused.code, code, "{}", refused.remark);
        assert!(refused.remark.contains(words), "{}", refused.remark);
    }
    // A producer that does not know yet is asked later.
    end(&client, half, 0).await.expect("unknown is no error");
    assert_eq!(list(&client, false).await.open_count, 1);
    end(&client, half, COMMIT).await.expect("committed");

    // A topic that is gone keeps its transactions open.
    client.create_topic("short-lived", 1, 6).await;
    let lost: Half = client.put("short-lived", HALF, "lost").await.into();
    let gone = [("topic", "short-lived")];
    let deleted = client
        .call(RequestCode::DeleteTopicInBroker, &gone, &[])
        .await;
    assert_eq!(deleted.code(), 0);
    let refused = end(&client, lost, COMMIT).await.expect_err("no topic");
    assert_eq!(refused.code, ResponseCode::TopicNotExist.as_i32());
    assert_eq!(list(&client, false).await.open_count, 1);
    end(&client, lost, ROLL_BACK).await.expect("rolled back");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_transaction_can_be_is_refused() {
    let rig = Rig::start_with(Deps::default(), |config| config.half_messages_max = 2).await;
    let client = rig.client();
    client.create_topic(TOPIC, 1, 6).await;
    for delay in [
        "DELAY\u{1}3",
        "TIMER_DELAY_SEC\u{1}5",
        "TIMER_DELAY_MS\u{1}5000",
        "TIMER_DELIVER_MS\u{1}9000000000000",
    ] {
        let delayed = format!("{HALF}{delay}\u{2}");
        let refused = client.send(&message(TOPIC, 0, &delayed), b"x").await;
        let refused = refused.expect_err(delay);
        assert_eq!(refused.code, ResponseCode::MessageIllegal.as_i32());
        assert!(
            refused.remark.contains("cannot be delayed"),
            "{delay}: {}",
            refused.remark
        );
    }
    half(&client, "one").await;
    half(&client, "two").await;
    let refused = client.send(&message(TOPIC, 0, HALF), b"three").await;
    let refused = refused.expect_err("too many");
    assert_eq!(refused.code, ResponseCode::SystemBusy.as_i32());
    assert!(
        refused.remark.contains("halfMessagesMax"),
        "{}",
        refused.remark
    );
    // Nobody reads half messages, and nobody sends among them.
    let pulled = client.pull(&pull("RMQ_SYS_TRANS_HALF_TOPIC", 0, 0)).await;
    assert_eq!(pulled.code, ResponseCode::NoPermission.as_i32());
    let sent = client
        .send(&message("RMQ_SYS_TRANS_HALF_TOPIC", 0, ""), b"x")
        .await;
    assert_eq!(sent.expect_err("forbidden").code, 16);
    rig.stop().await;

    let rig = Rig::start_with(Deps::default(), |config| {
        config.reject_transaction_message = true;
    })
    .await;
    let client = rig.client();
    client.create_topic(TOPIC, 1, 6).await;
    let refused = client.send(&message(TOPIC, 0, HALF), b"x").await;
    let refused = refused.expect_err("rejected");
    assert_eq!(refused.code, ResponseCode::NoPermission.as_i32());
    assert!(
        refused.remark.contains("rejectTransactionMessage"),
        "{}",
        refused.remark
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_are_asked_ever_more_seldom_and_then_the_message_is_parked_and_can_come_back() {
    let clock = ManualClock::at(START_MS);
    let rig = start(&clock, |config| config.transaction_check_max = 3).await;
    let client = rig.client();
    let mut producer = Producer::join(&rig.broker, "p1", GROUP).await;
    let mine = half(&producer.client, "undecided").await;
    clock.advance(Duration::from_millis(5_999));
    list(&client, false).await;
    producer.is_not_asked();
    clock.advance(Duration::from_millis(1));
    for (number, wait_ms) in [(1, 30_000), (2, 60_000), (3, 120_000)] {
        let check = producer.is_asked().await;
        assert_eq!((check.offset, check.position), (mine.offset, mine.position));
        assert_eq!((check.topic.as_str(), check.queue_id), (TOPIC, 0));
        assert_eq!(
            (check.body.as_str(), check.transaction.as_str()),
            ("undecided", "U1")
        );
        assert_eq!(check.checks, number.to_string());
        end(&client, mine, 0).await.expect("it does not know");
        // Noted before the time for the next one counts.
        support_until(&client, |list| list.transactions[0].checks == number).await;
        let shown = list(&client, false).await;
        let row = &shown.transactions[0];
        assert_eq!(row.next_check_timestamp - row.last_check_timestamp, wait_ms);
        clock.advance(Duration::from_millis(wait_ms as u64 - 1));
        list(&client, false).await;
        producer.is_not_asked();
        clock.advance(Duration::from_millis(1));
    }
    until_counts(&client, 0, 1).await;
    producer.is_not_asked();
    let parked = list(&client, true).await;
    let row = &parked.transactions[0];
    assert_eq!(row.state, TransactionState::Parked);
    assert_eq!(
        (row.topic.as_str(), row.producer_group.as_str()),
        (TOPIC, GROUP)
    );
    let copies = client.pull(&pull("TRANS_CHECK_MAX_TIME_TOPIC", 0, 0)).await;
    assert_eq!(copies.bodies(), ["undecided"]);
    assert!(bodies(&client).await.is_empty());

    // It comes back, under its id of the list, and is asked about again.
    let resume = |id: &str| ResumeCheckHalfMessage {
        topic: Some(TOPIC.into()),
        msg_id: Some(id.to_owned().into()),
    };
    let code = RequestCode::ResumeCheckHalfMessage;
    let answer = client.call(code, &resume(&row.offset_msg_id), &[]).await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    until_counts(&client, 1, 0).await;
    let again = client.call(code, &resume(&row.offset_msg_id), &[]).await;
    assert_eq!(again.code(), 1, "once");
    let strange = client.call(code, &resume("nonsense"), &[]).await;
    assert!(remark(&strange).contains("offset message id"));
    clock.advance(Duration::from_secs(6));
    let check = producer.is_asked().await;
    assert_eq!(
        (check.body.as_str(), check.checks.as_str()),
        ("undecided", "1")
    );
    end(&client, Half::from(&check), COMMIT)
        .await
        .expect("committed");
    assert_eq!(bodies(&client).await, ["undecided"]);
    until_counts(&client, 0, 0).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_checked_from_the_beginning_is_checked_once_at_a_time() {
    let clock = ManualClock::at(START_MS);
    let rig = start(&clock, |config| config.transaction_check_max = 2).await;
    let client = rig.client();
    let mut producer = Producer::join(&rig.broker, "p1", GROUP).await;
    half(&client, "undecided").await;
    let checked = async |checks| {
        support_until(&client, |list| list.transactions[0].checks == checks).await;
    };
    clock.advance(Duration::from_secs(6));
    producer.is_asked().await;
    checked(1).await;
    clock.advance(Duration::from_secs(30));
    producer.is_asked().await;
    // After the second check it would be parked in a minute.
    checked(2).await;
    clock.advance(Duration::from_secs(20));
    let id = list(&client, false).await.transactions[0]
        .offset_msg_id
        .clone();
    let resume = ResumeCheckHalfMessage {
        topic: Some(TOPIC.into()),
        msg_id: Some(id.into()),
    };
    let code = RequestCode::ResumeCheckHalfMessage;
    let answer = client.call(code, &resume, &[]).await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    clock.advance(Duration::from_millis(100));
    assert_eq!(producer.is_asked().await.checks, "1");
    checked(1).await;
    for (seconds, checks) in [(30, 2), (60, 2)] {
        clock.advance(Duration::from_millis(seconds * 1_000 - 1));
        list(&client, false).await;
        producer.is_not_asked();
        assert_eq!(list(&client, false).await.open_count, 1, "not parked yet");
        clock.advance(Duration::from_millis(1));
        if seconds == 30 {
            assert_eq!(producer.is_asked().await.checks, checks.to_string());
            checked(checks).await;
        }
    }
    until_counts(&client, 0, 1).await;
    producer.is_not_asked();
    rig.stop().await;
}

/// Waits until the list of open transactions is as wanted.
async fn support_until(client: &Client, is_wanted: impl Fn(&TransactionList) -> bool) {
    let waiting = async {
        while !is_wanted(&list(client, false).await) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("the list in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_can_still_be_committed_by_its_producer() {
    let clock = ManualClock::at(START_MS);
    let rig = start(&clock, |config| config.transaction_check_max = 1).await;
    let client = rig.client();
    let mut producer = Producer::join(&rig.broker, "p1", GROUP).await;
    let mine = half(&client, "late").await;
    let other = half(&client, "never").await;
    clock.advance(Duration::from_secs(6));
    producer.is_asked().await;
    producer.is_asked().await;
    support_until(&client, |list| {
        list.transactions.iter().all(|row| row.checks == 1)
    })
    .await;
    clock.advance(Duration::from_secs(30));
    until_counts(&client, 0, 2).await;
    end(&client, mine, COMMIT)
        .await
        .expect("late, and not too late");
    end(&client, other, ROLL_BACK).await.expect("rolled back");
    assert_eq!(bodies(&client).await, ["late"]);
    until_counts(&client, 0, 0).await;
    assert!(end(&client, mine, COMMIT).await.is_err(), "once");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_ask_for_another_time_before_its_first_check() {
    let clock = ManualClock::at(START_MS);
    let rig = start(&clock, |_| {}).await;
    let client = rig.client();
    let mut producer = Producer::join(&rig.broker, "p1", GROUP).await;
    let immune = format!("{HALF}CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}90\u{2}");
    client.put(TOPIC, &immune, "patient").await;
    let hasty = format!("{HALF}CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}1\u{2}");
    client.put(TOPIC, &hasty, "hasty").await;
    clock.advance(Duration::from_secs(1));
    assert_eq!(producer.is_asked().await.body, "hasty");
    support_until(&client, |list| list.transactions[1].checks == 1).await;
    clock.advance(Duration::from_millis(88_999));
    // The second check of the other one.
    assert_eq!(producer.is_asked().await.body, "hasty");
    list(&client, false).await;
    producer.is_not_asked();
    clock.advance(Duration::from_millis(1));
    assert_eq!(producer.is_asked().await.body, "patient");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_member_of_the_group_is_asked_when_the_producer_has_died_and_a_check_that_reaches_nobody_does_not_count()
 {
    let clock = ManualClock::at(START_MS);
    let rig = start(&clock, |_| {}).await;
    let client = rig.client();
    let dying = Producer::join(&rig.broker, "p1", GROUP).await;
    let mut stranger = Producer::join(&rig.broker, "s", "others").await;
    let mine = half(&dying.client, "orphan").await;
    drop(dying);
    let gone = async {
        let group = [("producerGroup", GROUP)];
        let code = RequestCode::GetProducerConnectionList;
        while client.call(code, &group, &[]).await.code() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("gone");
    for _ in 0..40 {
        clock.advance(Duration::from_secs(60));
        let shown = list(&client, false).await;
        assert_eq!((shown.open_count, shown.transactions[0].checks), (1, 0));
    }
    stranger.is_not_asked();
    // The next member is asked as soon as it comes, as often as the group has members.
    let mut second = Producer::join(&rig.broker, "p2", GROUP).await;
    let check = second.is_asked().await;
    assert_eq!(
        (check.body.as_str(), check.checks.as_str()),
        ("orphan", "1")
    );
    assert_eq!(check.position, mine.position);
    end(&second.client, Half::from(&check), COMMIT)
        .await
        .expect("committed");
    assert_eq!(bodies(&client).await, ["orphan"]);
    stranger.is_not_asked();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_no_transaction_and_ends_none_and_a_start_brings_no_storm() {
    let clock = ManualClock::at(START_MS);
    let few = |config: &mut BrokerConfig| config.transaction_checks_per_second = 100;
    let rig = start(&clock, few).await;
    let client = rig.client();
    let mut halves = Vec::new();
    for number in 0..60 {
        halves.push(half(&client, &number.to_string()).await);
    }
    end(&client, halves[0], COMMIT).await.expect("committed");
    end(&client, halves[1], ROLL_BACK)
        .await
        .expect("rolled back");
    let rig = start_again(rig, &clock, few).await;
    let client = rig.client();
    assert_eq!(bodies(&client).await, ["0"]);
    assert_eq!(list(&client, false).await.open_count, 58);
    for (half, kind) in [(0, COMMIT), (0, ROLL_BACK), (1, COMMIT), (1, ROLL_BACK)] {
        let refused = end(&client, halves[half], kind).await.expect_err("ended");
        assert!(
            refused.remark.contains("ended before"),
            "{}",
            refused.remark
        );
    }
    // A day later all of them are due: after the start nobody is asked at once, and then ten in each tenth of a second.
    clock.advance(Duration::from_secs(86_400));
    let rig = start_again(rig, &clock, few).await;
    let client = rig.client();
    let mut producer = Producer::join(&rig.broker, "p1", GROUP).await;
    clock.advance(Duration::from_millis(5_999));
    list(&client, false).await;
    producer.is_not_asked();
    clock.advance(Duration::from_millis(1));
    for round in 1..=5 {
        for _ in 0..10 {
            producer.is_asked().await;
        }
        let checked = |list: &TransactionList| {
            let rows = list.transactions.iter();
            rows.filter(|row| row.checks == 1).count()
        };
        support_until(&client, |list| checked(list) == round * 10).await;
        producer.is_not_asked();
        clock.advance(Duration::from_millis(100));
    }
    for _ in 0..8 {
        producer.is_asked().await;
    }
    support_until(&client, |list| {
        list.transactions.iter().all(|row| row.checks == 1)
    })
    .await;

    // How often they were asked is known over a kill.
    let rig = start_again(rig, &clock, few).await;
    let client = rig.client();
    let shown = list(&client, false).await;
    assert!(shown.transactions.iter().all(|row| row.checks == 1));
    for half in &halves[2..] {
        end(&client, *half, COMMIT).await.expect("committed");
    }
    until_counts(&client, 0, 0).await;
    let rig = start_again(rig, &clock, few).await;
    until_counts(&rig.client(), 0, 0).await;
    assert_eq!(
        rig.client().pull(&pull(TOPIC, 0, 32)).await.records.len(),
        27
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_nobody_ends_is_parked_before_its_message_expires() {
    let clock = ManualClock::at(START_MS);
    let rig = start(&clock, |config| {
        config.clock_settle_minutes = 0;
        config.retention_hours = 2;
    })
    .await;
    let client = rig.client();
    half(&client, "forgotten").await;
    clock.advance(Duration::from_secs(2 * 3_600));
    list(&client, false).await;
    clock.advance(Duration::from_secs(61));
    until_counts(&client, 0, 1).await;
    let copies = client.pull(&pull("TRANS_CHECK_MAX_TIME_TOPIC", 0, 0)).await;
    assert_eq!(copies.bodies(), ["forgotten"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_gives_a_committed_message_back_as_any_other() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic(TOPIC, 1, 6).await;
    client.create_group("readers", |_| {}).await;
    let mine = half(&client, "hard").await;
    end(&client, mine, COMMIT).await.expect("committed");
    // Java consumers that cannot give it back send it to the retry topic by themselves, with its properties.
    client
        .send(&message("%RETRY%readers", 0, HALF), b"hard")
        .await
        .expect("stored");
    let retried = client.pull(&pull("%RETRY%readers", 0, 0)).await;
    assert_eq!(retried.bodies(), ["hard"]);
    assert_eq!(list(&client, false).await.open_count, 0);
    rig.stop().await;
}
