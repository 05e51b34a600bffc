//! A replica copies a live master over real sockets. No heartbeat helps: whatever arrives was sent because something happened.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{ASYNC, append, config, follower, identity, log, master, seat};
use rmq_protocol::message::LogPosition;
use rmq_protocol::{MemberId, Seat};
use rmq_replication::{
    Asked, Clock, Counts, End, Followed, Following, Greeting, Identity, MasterEvent, Members,
    ReasonKind, ReplicaEvent, ReplicationConfig, Source, Target, ask, follow, follow_apart,
    install, serve,
};
use rmq_store::fs::SimulatedDisk;
use rmq_store::{FlushMode, Follower, History, Master, RetentionRound, Store};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes, and far shorter than anybody's patience.
const PATIENCE: Duration = Duration::from_secs(20);

fn config_without_heartbeat() -> ReplicationConfig {
    ReplicationConfig {
        heartbeat: Duration::from_secs(3_600),
        silence_max: Duration::from_secs(7_200),
        back_off: (Duration::from_millis(5), Duration::from_millis(5)),
        ..ReplicationConfig::default()
    }
}

fn clock() -> Clock {
    let origin = Instant::now();
    Arc::new(move || origin.elapsed())
}

struct Serving {
    master: Master,
    members: Arc<Members>,
    address: String,
    events: UnboundedReceiver<MasterEvent>,
    questions: UnboundedReceiver<Asked>,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Serving {
    async fn start(master: Master, counts: Counts) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::start_at(master, counts, listener)
    }

    fn start_at(master: Master, counts: Counts, listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("an address").to_string();
        let (tell, events) = unbounded_channel();
        let (asked, questions) = unbounded_channel();
        let replicated = master.clone();
        let members = Arc::new(Members::new(
            MemberId(0),
            counts,
            clock(),
            Box::new(move |position| replicated.replicated(position)),
        ));
        let source = Source {
            identity: identity(0),
            epoch: master.epochs().last().expect("an epoch").number,
            store: (*master).clone(),
            members: Arc::clone(&members),
            events: tell,
            questions: asked,
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(
            listener,
            source,
            config_without_heartbeat(),
            stop.clone(),
        ));
        Self {
            master,
            members,
            address,
            events,
            questions,
            stop,
            task,
        }
    }

    async fn event(&mut self) -> MasterEvent {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        event.expect("in time").expect("an event")
    }

    async fn stop(self) -> Master {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("no error");
        self.master
    }
}

struct Replica {
    store: Arc<Follower>,
    followed: Arc<Followed>,
    events: UnboundedReceiver<ReplicaEvent>,
    stop: CancellationToken,
    task: JoinHandle<End>,
}

impl Replica {
    fn start(store: Follower, identity: Identity, address: &str, epoch: u64) -> Self {
        let store = Arc::new(store);
        let followed = Arc::<Followed>::default();
        let (tell, events) = unbounded_channel();
        let stop = CancellationToken::new();
        let following = Following {
            target: Target {
                address: address.to_owned(),
                member: None,
                epoch,
            },
            store: Arc::clone(&store),
            identity,
            config: config_without_heartbeat(),
            events: tell,
            followed: Arc::clone(&followed),
        };
        let task = tokio::spawn(follow(following, stop.clone()));
        Self {
            store,
            followed,
            events,
            stop,
            task,
        }
    }

    async fn event(&mut self) -> ReplicaEvent {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        event.expect("in time").expect("an event")
    }

    /// Waits until the store has confirmed a position.
    async fn confirmed(&self, position: u64) {
        let mut confirmed = self.store.watch_confirmed();
        let waited = confirmed.wait_for(|confirmed| *confirmed >= position);
        let waited = tokio::time::timeout(PATIENCE, waited).await;
        waited.expect("in time").expect("open");
    }

    /// Nothing holds the store any more.
    async fn stop(self) -> Follower {
        self.stop.cancel();
        assert!(matches!(self.task.await.expect("no panic"), End::Stopped));
        Arc::try_unwrap(self.store).expect("following has ended")
    }
}

async fn settled(master: &Master, end: LogPosition) {
    let settled = tokio::time::timeout(PATIENCE, master.settled(end)).await;
    settled.expect("in time").expect("settled");
}

fn disk() -> SimulatedDisk {
    SimulatedDisk::new()
}

/// Appends from several threads while two replicas copy: each acknowledgement says that both have it.
async fn copies(counts: Counts, flush: FlushMode) {
    let master = master(config("m", flush), disk());
    let before = append(&master, "before", &[1; 500]);
    settled(&master, before.end).await;
    let serving = Serving::start(master, counts).await;
    serving.members.require(&[seat(0), seat(1), seat(2)]);
    let replicas = [1, 2].map(|member| {
        let store = follower(config("r", flush), disk());
        Replica::start(store, identity(member), &serving.address, 0)
    });
    let senders = (0..4).map(|sender: u8| {
        let master = serving.master.clone();
        let stores = [0, 1].map(|replica: usize| Arc::clone(&replicas[replica].store));
        tokio::spawn(async move {
            for number in 0..50_u32 {
                let body = vec![sender; 10 + (number as usize * 97) % 3_000];
                let appended = append(&master, &format!("t{sender}"), &body);
                settled(&master, appended.end).await;
                for store in &stores {
                    let positions = store.positions();
                    let has = match counts {
                        Counts::Received => positions.written,
                        Counts::Flushed => positions.flushed,
                    };
                    assert!(has >= appended.end.0, "{positions:?}");
                }
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("acknowledged");
    }
    let end = serving.master.positions().written;
    for mut replica in replicas {
        assert!(
            matches!(replica.event().await, ReplicaEvent::Connected { master, .. } if master == seat(0))
        );
        assert!(matches!(
            replica.event().await,
            ReplicaEvent::CaughtUp { .. }
        ));
        // The last position is told although nothing follows.
        replica.confirmed(end).await;
        assert_eq!(replica.followed.master_begin(), Some(LogPosition(0)));
        assert_eq!(log(&replica.store, end), log(&serving.master, end));
        assert_eq!(replica.store.epochs(), serving.master.epochs());
        replica.stop().await.close().expect("closed");
    }
    serving.stop().await.close().expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_message_is_at_both_replicas() {
    copies(Counts::Received, ASYNC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_message_is_on_the_disks_of_both_replicas() {
    copies(Counts::Flushed, FlushMode::Sync).await;
}

/// With a flush from time to time at the replica, the report of it comes by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_flushes_later_is_reported() {
    let flush = FlushMode::Async {
        interval_ms: 5,
        bytes: 1 << 30,
    };
    copies(Counts::Flushed, flush).await;
}

/// A replica that has everything gets a message from the thread that has written it: the thread on which the tasks of the master run is held up
/// meanwhile.
#[tokio::test]
async fn what_is_written_leaves_without_a_task() {
    let serving = Serving::start(master(config("m", ASYNC), disk()), Counts::Received).await;
    serving.members.require(&[seat(0), seat(1)]);
    let store = Arc::new(follower(config("r", ASYNC), disk()));
    let (events, _told) = unbounded_channel();
    let stop = CancellationToken::new();
    let following = Following {
        target: Target {
            address: serving.address.clone(),
            member: None,
            epoch: 0,
        },
        store: Arc::clone(&store),
        identity: identity(1),
        config: config_without_heartbeat(),
        events,
        followed: Arc::default(),
    };
    let end = tokio::spawn(follow_apart(following, stop.clone()));
    for size in [10, 3_000, 9_000, 100] {
        let first = append(&serving.master, "t", b"the replica has it");
        settled(&serving.master, first.end).await;
        let second = append(&serving.master, "t", &vec![7; size]);
        serving.master.write_out().expect("written");
        let (done, received) = std::sync::mpsc::channel();
        let done = move |outcome| {
            let _ = done.send(outcome);
        };
        store.receive(second.end, Box::new(done));
        let received = received.recv_timeout(PATIENCE).expect("in time");
        received.expect("written at the replica");
        assert!(serving.master.positions().confirmed < second.end.0);
        settled(&serving.master, second.end).await;
    }
    let written = serving.master.positions().written;
    assert_eq!(log(&store, written), log(&serving.master, written));
    stop.cancel();
    assert!(matches!(end.await.expect("no panic"), End::Stopped));
    serving.stop().await.close().expect("closed");
}

/// A replica that takes nothing holds the confirmed position back, and nothing of it is seen; the master knows who is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_does_not_report_holds_confirmed_back() {
    let mut serving = Serving::start(master(config("m", ASYNC), disk()), Counts::Received).await;
    serving.members.require(&[seat(0), seat(1)]);
    let appended = append(&serving.master, "t", b"unconfirmed");
    serving.master.write_out().expect("written");
    assert_eq!(serving.master.positions().confirmed, 0);
    assert_eq!(serving.members.missing(appended.end), [MemberId(1)]);
    let queue = serving.master.queue("t", 0).expect("a queue");
    assert_eq!(queue.max_offset(), 0, "nothing is visible");
    let replica = Replica::start(
        follower(config("r", ASYNC), disk()),
        identity(1),
        &serving.address,
        0,
    );
    assert!(
        matches!(serving.event().await, MasterEvent::Joined { seat: joined, .. } if joined == seat(1))
    );
    settled(&serving.master, appended.end).await;
    assert_eq!(queue.max_offset(), 1);
    let progress = serving.members.progress(appended.end);
    assert!(
        progress[0].is_connected && progress[0].lag_bytes == 0,
        "{progress:?}"
    );
    assert_eq!(progress[0].lag, Duration::ZERO);
    replica.confirmed(appended.end.0).await;
    replica.stop().await.abandon();
    assert!(
        matches!(serving.event().await, MasterEvent::Left { seat: left, .. } if left == seat(1))
    );
    let next = append(&serving.master, "t", b"again");
    serving.master.write_out().expect("written");
    assert_eq!(serving.members.missing(next.end), [MemberId(1)]);
    serving.members.require(&[seat(0)]);
    settled(&serving.master, next.end).await;
    serving.stop().await.abandon();
}

/// Whoever is not of the group is sent away with the reason, on both sides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_with_the_reason() {
    let mut serving = Serving::start(master(config("m", ASYNC), disk()), Counts::Received).await;
    serving
        .members
        .admit([(MemberId(1), Some(seat(1).incarnation))]);
    let wiped = Seat {
        incarnation: rmq_protocol::Incarnation(5),
        ..seat(1)
    };
    let wrong = |change: fn(&mut Identity)| {
        let mut identity = identity(1);
        change(&mut identity);
        identity
    };
    let mut of_other_data = identity(1);
    of_other_data.seat = wiped;
    let cases = [
        (
            wrong(|it| it.cluster = "d".to_owned()),
            0,
            ReasonKind::Cluster,
            "cluster",
        ),
        (
            wrong(|it| it.group = "h".to_owned()),
            0,
            ReasonKind::Group,
            "broker name",
        ),
        (identity(0), 0, ReasonKind::Member, "its own number"),
        (identity(7), 0, ReasonKind::Member, "add it to the members"),
        (of_other_data, 0, ReasonKind::Incarnation, "old disk"),
        (
            wrong(|it| it.segment_bytes = 1),
            0,
            ReasonKind::SegmentSize,
            "same segment size",
        ),
        (
            identity(1),
            9,
            ReasonKind::StaleMaster,
            "another member is the master",
        ),
    ];
    for (identity, epoch, kind, text) in cases {
        let store = follower(config("r", ASYNC), disk());
        let mut replica = Replica::start(store, identity, &serving.address, epoch);
        match replica.event().await {
            ReplicaEvent::Refused { reason } => {
                assert_eq!(reason.kind, kind);
                assert!(reason.text.contains(text), "{reason}");
            }
            other => panic!("{kind:?}: {other:?}"),
        }
        if kind == ReasonKind::StaleMaster {
            match serving.event().await {
                MasterEvent::Superseded { by, epoch } => assert_eq!((by, epoch), (seat(1), 9)),
                other => panic!("{other:?}"),
            }
        }
        match serving.event().await {
            MasterEvent::Refused { peer, reason } => {
                assert!(peer.is_some());
                assert_eq!(reason.kind, kind);
            }
            other => panic!("{kind:?}: {other:?}"),
        }
        replica.stop().await.abandon();
        while serving.events.try_recv().is_ok() {}
    }
    serving.stop().await.abandon();
}

/// An old master wrote what nobody else has: that is cut, and the log continues as the new master's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_master_comes_back_as_a_replica() {
    let (old_disk, new_disk) = (disk(), disk());
    let serving = Serving::start(
        master(config("m", ASYNC), old_disk.clone()),
        Counts::Received,
    )
    .await;
    serving.members.require(&[seat(0), seat(1)]);
    let replica = Replica::start(
        follower(config("r", ASYNC), new_disk.clone()),
        identity(1),
        &serving.address,
        0,
    );
    let shared = append(&serving.master, "t", b"both have it");
    settled(&serving.master, shared.end).await;
    let store = replica.stop().await;
    // Nobody confirms this.
    append(&serving.master, "t", b"only the old master has it");
    serving.master.write_out().expect("written");
    assert_eq!(serving.master.positions().confirmed, shared.end.0);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let old = serving.stop().await;
    old.abandon();
    drop(old);
    let new = store.promote(2).expect("promoted");
    new.replicated(None);
    let next = append(&new, "t", b"the new master wrote this");
    settled(&new, next.end).await;
    let mut serving = Serving::start_at(new, Counts::Received, listener);
    // A follower takes for confirmed what its tables have.
    let store = follower(
        config("m", ASYNC),
        old_disk.after_crash(old_disk.steps(), rmq_store::fs::Crash::Kill),
    );
    assert!(store.positions().written > shared.end.0);
    let mut of_old = identity(0);
    of_old.seat = seat(2);
    let mut replica = Replica::start(store, of_old, &serving.address, 2);
    match replica.event().await {
        ReplicaEvent::Cut { position, end, .. } => {
            assert_eq!(position, shared.end);
            assert!(end > shared.end);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        replica.event().await,
        ReplicaEvent::Connected { epoch: 2, .. }
    ));
    replica.confirmed(next.end.0).await;
    assert_eq!(
        log(&replica.store, next.end.0),
        log(&serving.master, next.end.0)
    );
    assert_eq!(replica.store.epochs(), serving.master.epochs());
    assert!(matches!(serving.event().await, MasterEvent::Joined { .. }));
    replica.stop().await.abandon();
    serving.stop().await.abandon();
}

/// A second connection of a member takes the place of the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_has_one_connection() {
    let mut serving = Serving::start(master(config("m", ASYNC), disk()), Counts::Received).await;
    serving.members.require(&[seat(0), seat(1)]);
    let start = || {
        let store = follower(config("r", ASYNC), disk());
        Replica::start(store, identity(1), &serving.address, 0)
    };
    let mut first = start();
    assert!(matches!(
        first.event().await,
        ReplicaEvent::Connected { .. }
    ));
    assert!(matches!(first.event().await, ReplicaEvent::CaughtUp { .. }));
    let mut second = start();
    assert!(matches!(
        second.event().await,
        ReplicaEvent::Connected { .. }
    ));
    match first.event().await {
        ReplicaEvent::Lost { reason } => assert_eq!(reason.kind, ReasonKind::Replaced),
        other => panic!("{other:?}"),
    }
    first.stop().await.abandon();
    second.stop().await.abandon();
    while let Ok(event) = serving.events.try_recv() {
        assert!(!matches!(event, MasterEvent::Refused { .. }), "{event:?}");
    }
    serving.members.close();
    serving.stop().await.abandon();
}

/// The log is compared first: what is confirmed here and not there is never cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_confirmed_is_not_cut() {
    let replica_disk = disk();
    let lone = master(config("r", ASYNC), replica_disk.clone());
    let appended = append(&lone, "t", b"confirmed here");
    settled(&lone, appended.end).await;
    lone.close().expect("closed");
    drop(lone);
    // A master of a later epoch that never had it.
    let other = follower(config("m", ASYNC), disk())
        .promote(5)
        .expect("promoted");
    other.replicated(None);
    let serving = Serving::start(other, Counts::Received).await;
    let store = follower(config("r", ASYNC), replica_disk);
    assert_eq!(store.positions().confirmed, appended.end.0);
    let replica = Replica::start(store, identity(1), &serving.address, 0);
    let ended = tokio::time::timeout(PATIENCE, replica.task).await;
    match ended.expect("in time").expect("no panic") {
        End::Diverged(parting) => {
            let reason = parting.reason;
            assert!(reason.text.contains("nothing was cut"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(replica.store.positions().written, appended.end.0);
    replica.store.abandon();
    serving.stop().await.abandon();
}

/// A candidate asks at the port of any member, with any epoch; strangers get no answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_answered_at_the_port() {
    let mut serving = Serving::start(master(config("m", ASYNC), disk()), Counts::Received).await;
    let store = follower(config("r", ASYNC), disk());
    let mut questions = std::mem::replace(&mut serving.questions, unbounded_channel().1);
    let answering = tokio::spawn(async move {
        while let Some(asked) = questions.recv().await {
            let mut answer = format!("{} asks: ", asked.from.member).into_bytes();
            answer.extend(asked.question);
            answer.resize(10_000, b'.');
            // The one who asked waits.
            let _ = asked.answer.send(answer);
        }
    });
    let limits = config_without_heartbeat();
    for epoch in [0, 7] {
        let greeting = Greeting::of(&identity(1), epoch, &store);
        let answer = ask(&serving.address, greeting, b"where are you?", &limits).await;
        let answer = answer.expect("an answer");
        assert!(answer.starts_with(b"1 asks: where are you?"));
        assert_eq!(answer.len(), 10_000);
    }
    match serving.event().await {
        MasterEvent::Superseded { by, epoch } => assert_eq!((by, epoch), (seat(1), 7)),
        other => panic!("{other:?}"),
    }
    let mut stranger = identity(1);
    stranger.group = "h".to_owned();
    let greeting = Greeting::of(&stranger, 0, &store);
    let refused = ask(&serving.address, greeting, b"?", &limits).await;
    assert_eq!(refused.expect_err("refused").kind, ReasonKind::Group);
    // Nobody copies from a member that is no master; questions are answered.
    serving.members.close();
    let greeting = Greeting::of(&identity(1), 0, &store);
    let answer = ask(&serving.address, greeting, b"and now?", &limits).await;
    assert!(answer.expect("an answer").starts_with(b"1 asks: and now?"));
    let mut replica = Replica::start(store, identity(1), &serving.address, 0);
    match replica.event().await {
        ReplicaEvent::Refused { reason } => assert_eq!(reason.kind, ReasonKind::NotMaster),
        other => panic!("{other:?}"),
    }
    replica.stop().await.abandon();
    let address = serving.address.clone();
    let store = follower(config("other", ASYNC), disk());
    serving.stop().await.abandon();
    answering.await.expect("no panic");
    let greeting = Greeting::of(&identity(1), 0, &store);
    let gone = ask(&address, greeting, b"?", &limits).await;
    assert_eq!(gone.expect_err("nobody listens").kind, ReasonKind::Gone);
    store.abandon();
}

/// The master has no log any more from where the replica's ends: a snapshot, and the log from there on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_an_empty_disk_takes_a_snapshot() {
    let master = master(config("m", ASYNC), disk());
    let mut last = LogPosition(0);
    for number in 0..200_u8 {
        last = append(&master, "t", &[number; 2_000]).end;
    }
    settled(&master, last).await;
    let round = RetentionRound {
        now_ms: Some(i64::MAX / 2),
        needed_from: None,
    };
    master.run_retention(round).expect("removed");
    assert!(master.positions().min > 0, "segments have expired");
    let serving = Serving::start(master, Counts::Received).await;
    serving.members.require(&[seat(0), seat(1)]);
    let replica_disk = disk();
    let store = follower(config("r", ASYNC), replica_disk.clone());
    let greeting = Greeting::of(&identity(1), 0, &store);
    let replica = Replica::start(store, identity(1), &serving.address, 0);
    match replica.task.await.expect("no panic") {
        End::NeedsSnapshot { reason } => assert!(reason.text.contains("snapshot"), "{reason}"),
        other => panic!("{other:?}"),
    }
    replica.store.close().expect("closed");
    drop(replica.store);
    let installed = install(
        &serving.address,
        greeting,
        History::All,
        (config("r", ASYNC), Arc::new(replica_disk.clone())),
        &config_without_heartbeat(),
    )
    .await
    .expect("installed");
    assert_eq!(serving.members.needed_from(), Some(installed.begins));
    let store = follower(config("r", ASYNC), replica_disk);
    let replica = Replica::start(store, identity(1), &serving.address, 0);
    let next = append(&serving.master, "t", b"after the snapshot");
    settled(&serving.master, next.end).await;
    replica.confirmed(next.end.0).await;
    assert_eq!(replica.store.incomplete_below(), None);
    assert_eq!(
        log(&replica.store, next.end.0),
        log(&serving.master, next.end.0)
    );
    let queues = [&**replica.store, &*serving.master].map(|store: &Store| {
        let queue = store.queue("t", 0).expect("a queue");
        (queue.min_offset(), queue.max_offset())
    });
    assert_eq!(queues[0], queues[1]);
    replica.stop().await.abandon();
    serving.stop().await.abandon();
}
