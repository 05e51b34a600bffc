//! The connection machine on scripted streams: what is read in which pieces, and what the peer takes, is exactly given.

mod memory;

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use rmq_protocol::code::ResponseCode;
use rmq_protocol::frame::HeaderEncoding;
use rmq_protocol::header::{CommandHead, FLAG_ONE_WAY, FLAG_RESPONSE, Header, NoFields};
use rmq_protocol::limits::{FRAME_BYTES_MAX, FrameLimits};

use bytes::BytesMut;
use rmq_protocol::frame::{self, Split};
use tokio::io::ReadBuf;

use super::*;
use crate::exchange::Exchange;
use crate::reply::Replies;
use crate::{Busy, ManualClock, Reply, Ticket, scratch, spare};

const ECHO: i32 = 10;
const AT_BATCH_END: i32 = 11;
const PARK: i32 = 12;
const SILENT: i32 = 13;
const LARGE: i32 = 14;
const LARGE_BYTES: usize = 100_000;
/// Answers with the largest body that fits a frame, and as many bytes more as the request's body says.
const TOO_LARGE: i32 = 15;
/// Answered by the test, after the end of the batch.
const LATER: i32 = 16;
/// Takes a ticket and drops it at once, or at the end of the batch.
const DROP: i32 = 17;
const DROP_AT_BATCH_END: i32 = 18;
/// Answered in place, without a body.
const OK: i32 = 19;

/// Bytes of a frame's head in an answer with this correlation id.
fn frame_head_bytes(opaque: i32) -> usize {
    let mut out = BytesMut::new();
    let head = CommandHead::response(0, opaque);
    frame::encode_frame_head(&mut out, HeaderEncoding::Json, &head, &(), FRAME_BYTES_MAX);
    out.len()
}

#[derive(Default)]
struct Echo {
    requests: AtomicUsize,
    batches: AtomicUsize,
    parked: Mutex<Vec<crate::PendingReply>>,
    later: Mutex<Vec<(Vec<Ticket>, Busy)>>,
    gathers: AtomicBool,
}

#[derive(Default)]
struct Tickets {
    echoes: Vec<(Ticket, Vec<u8>)>,
    later: Vec<Ticket>,
    dropped: Vec<Ticket>,
}

impl Service for Echo {
    type Batch = Tickets;

    fn request(&self, batch: &mut Self::Batch, exchange: &mut Exchange<'_>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match exchange.header.code {
            ECHO => {
                let body = exchange.body.to_vec();
                exchange.ok_body(&NoFields, &body);
            }
            AT_BATCH_END => {
                let ticket = exchange.ticket();
                batch.echoes.push((ticket, exchange.body.to_vec()));
            }
            LATER => batch.later.push(exchange.ticket()),
            DROP => drop(exchange.ticket()),
            DROP_AT_BATCH_END => batch.dropped.push(exchange.ticket()),
            OK => exchange.ok(&()),
            PARK => self.parked.lock().push(exchange.park()),
            TOO_LARGE => {
                let more = usize::from(exchange.body[0] - b'0');
                let bytes = FRAME_BYTES_MAX - frame_head_bytes(exchange.header.opaque) + more;
                exchange.ok_body(&(), &vec![b'x'; bytes]);
            }
            LARGE => exchange.ok_body(&(), &[b'x'; LARGE_BYTES]),
            _ => {}
        }
    }

    fn gathers(&self, batch: &Self::Batch) -> bool {
        self.gathers.load(Ordering::Relaxed) && !batch.echoes.is_empty()
    }

    fn batch_end(&self, batch: &mut Self::Batch, replies: &mut Replies<'_>) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        batch.dropped.clear();
        if !batch.later.is_empty() {
            let later = std::mem::take(&mut batch.later);
            self.later.lock().push((later, replies.busy()));
        }
        for (ticket, body) in batch.echoes.drain(..) {
            replies.to(ticket).ok_body(&(), &body);
        }
    }
}

/// A stream whose reads are given and whose writes are kept.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<ScriptState>>);

#[derive(Default)]
struct ScriptState {
    reads: VecDeque<Vec<u8>>,
    /// After the last read: the end, or nothing for ever.
    ends: bool,
    reader: Option<std::task::Waker>,
    writes: Vec<Vec<u8>>,
    /// Bytes that the peer still takes; `None` is no limit.
    takes: Option<usize>,
    writer: Option<std::task::Waker>,
    /// What is written is kept back until it is flushed.
    keeps_back: bool,
    kept: Vec<u8>,
    /// Flushing, or the goodbye, waits.
    is_stuck: bool,
    goodbyes: usize,
}

impl ScriptState {
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_stuck {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if !self.kept.is_empty() {
            let kept = std::mem::take(&mut self.kept);
            self.writes.push(kept);
        }
        Poll::Ready(Ok(()))
    }
}

impl Script {
    fn reading(reads: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let script = Self::default();
        script.0.lock().reads.extend(reads);
        script
    }

    fn ending(reads: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let script = Self::reading(reads);
        script.0.lock().ends = true;
        script
    }

    fn push(&self, bytes: Vec<u8>) {
        let mut state = self.0.lock();
        state.reads.push_back(bytes);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    fn take_more(&self, takes: Option<usize>) {
        let mut state = self.0.lock();
        state.takes = takes;
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
    }

    /// The same, of a stream that keeps back what is not flushed.
    fn keeping_back(self) -> Self {
        self.0.lock().keeps_back = true;
        self
    }

    fn get_stuck(&self, is_stuck: bool) {
        self.0.lock().is_stuck = is_stuck;
    }

    fn written(&self) -> Vec<u8> {
        self.0.lock().writes.concat()
    }

    fn unread(&self) -> usize {
        self.0.lock().reads.len()
    }
}

impl AsyncRead for Script {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        match state.reads.pop_front() {
            Some(mut bytes) => {
                let fits = bytes.len().min(buf.remaining());
                buf.put_slice(&bytes[..fits]);
                if fits < bytes.len() {
                    bytes.drain(..fits);
                    state.reads.push_front(bytes);
                }
                Poll::Ready(Ok(()))
            }
            None if state.ends => Poll::Ready(Ok(())),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        let fits = state.takes.map_or(buf.len(), |takes| takes.min(buf.len()));
        if fits == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(takes) = &mut state.takes {
            *takes -= fits;
        }
        if state.keeps_back {
            state.kept.extend_from_slice(&buf[..fits]);
        } else {
            state.writes.push(buf[..fits].to_vec());
        }
        Poll::Ready(Ok(fits))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        state.goodbyes += 1;
        state.poll_flush(cx)
    }
}

struct Bench {
    script: Script,
    service: Arc<Echo>,
    peer: Arc<Peer>,
    clock: ManualClock,
}

type Running = Pin<Box<dyn Future<Output = CloseReason>>>;

fn start(script: Script, limits: TransportLimits) -> (Bench, Running) {
    let memory = MemoryBudget::new(0, limits.connections_max);
    start_within(script, limits, &memory, &ManualClock::at(1_000_000))
}

fn start_within(
    script: Script,
    limits: TransportLimits,
    memory: &Arc<MemoryBudget>,
    clock: &ManualClock,
) -> (Bench, Running) {
    let addr = "127.0.0.1:1".parse().unwrap();
    let peer = Arc::new(Peer::new(
        crate::server::next_peer_id(),
        addr,
        addr,
        limits.parked_requests_max,
        Arc::clone(memory),
    ));
    let service = Arc::new(Echo::default());
    let clock = clock.clone();
    let connection = Connection::new(
        script.clone(),
        Arc::clone(&service),
        Arc::clone(&peer),
        Arc::new(limits),
        Arc::clone(memory),
        Arc::new(clock.clone()),
    );
    let bench = Bench {
        script,
        service,
        peer,
        clock,
    };
    (bench, Box::pin(connection.run()))
}

/// Polls once; everything in these tests is ready or waits for the test itself.
fn poll(running: &mut Running) -> Poll<CloseReason> {
    running
        .as_mut()
        .poll(&mut Context::from_waker(std::task::Waker::noop()))
}

fn request(code: i32, opaque: i32, flag: i32, body: &[u8]) -> Vec<u8> {
    let mut head = CommandHead::request(code, opaque);
    head.flag = flag;
    let encoding = if opaque % 2 == 0 {
        HeaderEncoding::Json
    } else {
        HeaderEncoding::Binary
    };
    let mut out = BytesMut::new();
    frame::encode_frame(&mut out, encoding, &head, &[("name", "value")], body);
    out.to_vec()
}

/// Code, opaque and body of every answer.
fn answers(mut bytes: &[u8]) -> Vec<(i32, i32, Vec<u8>)> {
    let limits = FrameLimits::default();
    let mut all = Vec::new();
    while let Split::Frame { frame, consumed } = frame::split(bytes, &limits).unwrap() {
        let header = Header::decode(frame.encoding, frame.header, &limits).unwrap();
        assert!(header.is_response());
        let expected = if header.opaque % 2 == 0 {
            HeaderEncoding::Json
        } else {
            HeaderEncoding::Binary
        };
        assert_eq!(
            frame.encoding, expected,
            "answers speak as their request did"
        );
        all.push((header.code, header.opaque, frame.body.to_vec()));
        bytes = &bytes[consumed..];
    }
    assert!(bytes.is_empty(), "{} bytes are no frame", bytes.len());
    all
}

proptest! {
    #[test]
    fn frames_may_be_split_anywhere(
        bodies in prop::collection::vec((prop::bool::ANY, prop::collection::vec(any::<u8>(), 0..300)), 1..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        takes in 1usize..400,
    ) {
        let mut all = Vec::new();
        for (opaque, (at_end, body)) in bodies.iter().enumerate() {
            let code = if *at_end { AT_BATCH_END } else { ECHO };
            all.extend(request(code, opaque as i32, 0, body));
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(all.len())).collect();
        cuts.extend([0, all.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let pieces: Vec<Vec<u8>> = cuts.windows(2).map(|pair| all[pair[0]..pair[1]].to_vec()).collect();
        let (bench, mut running) = start(Script::ending(pieces), TransportLimits::default());
        // The peer takes the answers bit by bit.
        bench.script.take_more(Some(takes));
        let mut rounds = 0;
        while poll(&mut running).is_pending() {
            bench.script.take_more(Some(takes));
            rounds += 1;
            prop_assert!(rounds < 100_000);
        }
        let mut answers = answers(&bench.script.written());
        answers.sort_by_key(|answer| answer.1);
        let expected: Vec<(i32, i32, Vec<u8>)> = bodies
            .into_iter()
            .enumerate()
            .map(|(opaque, (_, body))| (0, opaque as i32, body))
            .collect();
        prop_assert_eq!(answers, expected);
    }

    #[test]
    fn arbitrary_bytes_end_a_connection_or_wait_for_more(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let (_bench, mut running) = start(Script::ending([bytes]), TransportLimits::default());
        prop_assert!(poll(&mut running).is_ready(), "the stream has ended");
    }
}

#[test]
fn thousands_of_frames_of_one_read_are_one_batch_and_one_write() {
    let all: Vec<u8> = (0..2_000)
        .flat_map(|opaque| request(AT_BATCH_END, opaque, 0, b""))
        .collect();
    assert!(all.len() < scratch::READ_BYTES);
    let (bench, mut running) = start(Script::reading([all]), TransportLimits::default());
    assert!(poll(&mut running).is_pending());
    assert_eq!(bench.script.0.lock().writes.len(), 1);
    assert_eq!(bench.service.batches.load(Ordering::Relaxed), 1);
    assert_eq!(answers(&bench.script.written()).len(), 2_000);
}

#[test]
fn a_large_frame_in_small_pieces_is_put_together() {
    let body: Vec<u8> = (0..1_000_000u32).map(|byte| byte as u8).collect();
    let bytes = request(ECHO, 2, 0, &body);
    let pieces: Vec<Vec<u8>> = bytes.chunks(9_999).map(<[u8]>::to_vec).collect();
    let (bench, mut running) = start(Script::reading(pieces), TransportLimits::default());
    assert!(poll(&mut running).is_pending());
    assert_eq!(answers(&bench.script.written()), [(0, 2, body)]);
}

#[test]
fn only_the_flag_bit_makes_a_request_one_way() {
    let reads = [
        request(ECHO, 1, FLAG_ONE_WAY, b"a"),
        // Nobody answers it, and nobody waits.
        request(SILENT, 2, FLAG_ONE_WAY, b"b"),
        request(ECHO, 3, 4, b"c"),
    ];
    let (bench, mut running) = start(Script::reading(reads), TransportLimits::default());
    assert!(poll(&mut running).is_pending());
    assert_eq!(answers(&bench.script.written()), [(0, 3, b"c".to_vec())]);
    assert_eq!(bench.service.requests.load(Ordering::Relaxed), 3);
}

#[test]
fn a_request_is_never_met_with_silence() {
    let reads = [request(SILENT, 1, 0, b""), request(PARK, 2, 0, b"")];
    let (bench, mut running) = start(Script::reading(reads), TransportLimits::default());
    assert!(poll(&mut running).is_pending());
    assert_eq!(bench.peer.parked(), 1);
    // Dropped without an answer.
    bench.service.parked.lock().clear();
    assert!(poll(&mut running).is_pending());
    let codes: Vec<(i32, i32)> = answers(&bench.script.written())
        .iter()
        .map(|answer| (answer.0, answer.1))
        .collect();
    assert_eq!(codes, [(1, 1), (1, 2)]);
    assert_eq!(bench.peer.parked(), 0);
}

#[test]
fn a_response_that_nobody_waits_for_is_dropped() {
    let reads = [
        request(0, 77, FLAG_RESPONSE, b"late"),
        request(ECHO, 1, 0, b""),
    ];
    let (bench, mut running) = start(Script::reading(reads), TransportLimits::default());
    assert!(poll(&mut running).is_pending());
    assert_eq!(answers(&bench.script.written()).len(), 1);
}

#[test]
fn a_peer_that_does_not_read_is_not_read() {
    let limits = TransportLimits {
        out_bytes_pause: 3 * LARGE_BYTES,
        ..TransportLimits::default()
    };
    let all: Vec<u8> = (0..50)
        .flat_map(|opaque| request(LARGE, opaque, 0, b""))
        .collect();
    let script = Script::reading([all, request(ECHO, 100, 0, b"last")]);
    script.take_more(Some(0));
    let (bench, mut running) = start(script, limits);
    assert!(poll(&mut running).is_pending());
    // Also within one read, what is prepared is bounded.
    assert_eq!(bench.service.requests.load(Ordering::Relaxed), 3);
    assert_eq!(bench.script.unread(), 1);
    bench.script.take_more(Some(2 * LARGE_BYTES));
    assert!(poll(&mut running).is_pending());
    assert!(bench.service.requests.load(Ordering::Relaxed) < 10);
    bench.script.take_more(None);
    assert!(poll(&mut running).is_pending());
    assert_eq!(answers(&bench.script.written()).len(), 51);
    assert_eq!(bench.script.unread(), 0);
}

#[test]
fn no_more_requests_are_parked_than_allowed() {
    let limits = TransportLimits {
        parked_requests_max: 4,
        ..TransportLimits::default()
    };
    let all: Vec<u8> = (0..10)
        .flat_map(|opaque| request(PARK, opaque, 0, b""))
        .collect();
    let (bench, mut running) = start(Script::reading([all]), limits);
    let mut answered = Vec::new();
    while answered.len() < 10 {
        assert!(poll(&mut running).is_pending());
        let waiting = std::mem::take(&mut *bench.service.parked.lock());
        assert!((1..=4).contains(&waiting.len()), "{}", waiting.len());
        // Answered in another order than asked.
        for pending in waiting.into_iter().rev() {
            pending.ok(&());
        }
        assert!(poll(&mut running).is_pending());
        answered = answers(&bench.script.written());
    }
    assert_eq!(
        bench.service.requests.load(Ordering::Relaxed),
        10,
        "every request was handled once"
    );
}

#[test]
fn answers_from_elsewhere_are_collected() {
    let reads = (0..100).map(|opaque| request(PARK, opaque, 0, b""));
    let (bench, mut running) = start(Script::reading(reads), TransportLimits::default());
    assert!(poll(&mut running).is_pending());
    let waiting = std::mem::take(&mut *bench.service.parked.lock());
    for pending in waiting {
        pending.ok(&());
    }
    assert!(poll(&mut running).is_pending());
    assert_eq!(bench.script.0.lock().writes.len(), 1);
    assert_eq!(answers(&bench.script.written()).len(), 100);
    assert_eq!(bench.peer.parked(), 0);
}

#[test]
fn answers_of_a_batch_may_leave_together_after_its_end() {
    let all = (0..100).flat_map(|opaque| request(LATER, opaque, 0, b""));
    let script = Script::reading([all.collect()]);
    let (bench, mut running) = start(script, TransportLimits::default());
    assert!(poll(&mut running).is_pending());
    assert_eq!(bench.peer.parked(), 1, "one stands for all");
    let (tickets, busy) = bench.service.later.lock().pop().unwrap();
    assert_eq!(tickets.len(), 100);
    assert!(bench.peer.send_with(|replies| {
        for ticket in tickets {
            replies.to(ticket).ok(&());
        }
    }));
    drop(busy);
    assert!(poll(&mut running).is_pending());
    assert_eq!(bench.script.0.lock().writes.len(), 1);
    assert_eq!(answers(&bench.script.written()).len(), 100);
    assert_eq!(bench.peer.parked(), 0);
}

#[test]
fn a_dropped_ticket_answers_wherever_it_is_dropped() {
    let reads = [
        request(DROP, 1, 0, b""),
        request(DROP_AT_BATCH_END, 2, 0, b""),
        request(DROP, 100, FLAG_ONE_WAY, b""),
        [LATER; 3]
            .into_iter()
            .zip(3..)
            .flat_map(|(code, opaque)| request(code, opaque, 0, b""))
            .collect(),
        request(LATER, 6, 0, b""),
    ];
    let (bench, mut running) = start(Script::reading(reads), TransportLimits::default());
    assert!(poll(&mut running).is_pending());
    let (_, last_busy) = bench.service.later.lock().remove(1);
    let (mut tickets, busy) = bench.service.later.lock().remove(0);
    let elsewhere = tickets.pop();
    std::thread::spawn(move || drop(elsewhere)).join().unwrap();
    // While the outbox is locked.
    assert!(bench.peer.send_with(|replies| {
        drop(tickets.pop());
        if let Some(ticket) = tickets.pop() {
            replies.to(ticket).ok(&());
        }
    }));
    drop(busy);
    assert!(poll(&mut running).is_pending());
    let mut given: Vec<(i32, i32)> = answers(&bench.script.written())
        .iter()
        .map(|answer| (answer.1, answer.0))
        .collect();
    given.sort_unstable();
    assert_eq!(given, [(1, 1), (2, 1), (3, 0), (4, 1), (5, 1), (6, 1)]);
    // A drain ends with the last of them.
    bench.peer.drain();
    assert!(poll(&mut running).is_pending());
    drop(last_busy);
    assert_eq!(poll(&mut running), Poll::Ready(CloseReason::Stopping));
}

#[test]
fn a_ticket_that_outlives_its_connection_is_dropped_in_silence() {
    let reads = [request(LATER, 1, 0, b"")];
    let (bench, mut running) = start(Script::ending(reads), TransportLimits::default());
    assert_eq!(poll(&mut running), Poll::Ready(CloseReason::ByPeer));
    drop(std::mem::take(&mut *bench.service.later.lock()));
    assert!(bench.script.written().is_empty());
    assert_eq!(bench.peer.parked(), 0);
}

#[test]
fn a_thousand_requests_of_a_read_allocate_hardly_more_than_thirty() {
    let read = |requests: i32| -> Vec<u8> {
        let codes = [OK, OK, LATER].into_iter().cycle().zip(0..requests);
        codes
            .flat_map(|(code, opaque)| request(code, 2 * opaque, 0, b"body"))
            .collect()
    };
    let (bench, mut running) = start(Script::default(), TransportLimits::default());
    let mut tickets = Vec::with_capacity(1_000);
    let mut allocations = |requests: i32| {
        bench.script.push(read(requests));
        bench.script.0.lock().writes = Vec::with_capacity(4);
        bench.service.later.lock().reserve(1);
        let counted = allocation_counter::measure(|| {
            assert!(poll(&mut running).is_pending());
            for (later, busy) in bench.service.later.lock().drain(..) {
                tickets.extend(later);
                drop(busy);
            }
            bench.peer.send_with(|replies| {
                for ticket in tickets.drain(..) {
                    replies.to(ticket).ok(&());
                }
            });
            assert!(poll(&mut running).is_pending());
        });
        assert_eq!(
            answers(&bench.script.written()).len(),
            requests as usize,
            "all are answered"
        );
        counted.count_total
    };
    // Buffers grow to their size first.
    allocations(1_000);
    let [few, many] = [30, 1_000].map(&mut allocations);
    // Not one for each request: the outbox and the service's own list of tickets grow from nothing, by doubling.
    assert!(many <= few + 20, "{few} for 30 requests, {many} for 1000");
}

#[test]
fn what_came_before_a_bad_frame_is_answered() {
    let mut bytes = request(ECHO, 2, 0, b"good");
    bytes.extend_from_slice(&[0xff; 12]);
    let (bench, mut running) = start(Script::reading([bytes]), TransportLimits::default());
    let Poll::Ready(CloseReason::BadFrame(why)) = poll(&mut running) else {
        panic!("the connection must end");
    };
    assert!(why.contains("length"), "{why}");
    assert_eq!(answers(&bench.script.written()), [(0, 2, b"good".to_vec())]);
    assert!(!bench.peer.send_with(|_| {}), "the peer is gone");
}

#[test]
fn frames_beyond_a_limit_end_the_connection_before_they_arrive() {
    let cases: [(&[u8], &str); 5] = [
        (&[0x02, 0, 0, 0], "at most"),
        (&[0, 0, 0, 3], "minimum"),
        (&[0, 0, 0, 8, 0, 0, 0, 5], "does not fit"),
        (&[0, 0xf0, 0, 0, 0, 0x0f, 0, 0], "header of"),
        (&[0, 0, 0, 8, 9, 0, 0, 1], "unknown header encoding"),
    ];
    for (bytes, expected) in cases {
        let script = Script::reading([bytes.to_vec()]);
        let (_bench, mut running) = start(script, TransportLimits::default());
        let Poll::Ready(CloseReason::BadFrame(why)) = poll(&mut running) else {
            panic!("{bytes:x?} must end the connection");
        };
        assert!(why.contains(expected), "{why}");
    }
}

#[test]
fn a_tls_handshake_is_named() {
    let script = Script::reading([vec![0x16, 3, 1, 2, 0, 1]]);
    let (_bench, mut running) = start(script, TransportLimits::default());
    assert_eq!(poll(&mut running), Poll::Ready(CloseReason::Tls));
}

#[test]
fn memory_follows_what_arrives_and_not_what_is_announced() {
    let mut bytes = (16u32 << 20).to_be_bytes().to_vec();
    bytes.extend_from_slice(&[0, 0, 1, 0]);
    bytes.extend_from_slice(&[b' '; 1_000]);
    let allocated = allocation_counter::measure(|| {
        let script = Script::reading([bytes.clone()]);
        let (_bench, mut running) = start(script, TransportLimits::default());
        assert!(poll(&mut running).is_pending());
    });
    assert!(
        allocated.bytes_max < 2 * scratch::READ_BYTES as u64,
        "{} bytes",
        allocated.bytes_max
    );
}

#[test]
fn an_answer_that_no_reader_takes_is_an_error_instead() {
    let reads = [[
        request(TOO_LARGE, 2, 0, b"0"),
        request(TOO_LARGE, 4, 0, b"1"),
        request(ECHO, 6, 0, b"next"),
    ]
    .concat()];
    let (bench, mut running) = start(Script::reading(reads), TransportLimits::default());
    assert!(poll(&mut running).is_pending());
    while bench.script.written().len() < FRAME_BYTES_MAX {
        assert!(poll(&mut running).is_pending());
    }
    let written = bench.script.written();
    let mut rest = &written[..];
    let mut answers = Vec::new();
    while let Ok(Split::Frame { frame, consumed }) = frame::split(rest, &FrameLimits::default()) {
        assert!(consumed <= FRAME_BYTES_MAX, "Java reads {FRAME_BYTES_MAX}");
        let header =
            Header::decode(frame.encoding, frame.header, &FrameLimits::default()).expect("valid");
        let remark = header.remark.map(|remark| remark.to_string());
        answers.push((header.opaque, header.code, frame.body.len(), remark));
        rest = &rest[consumed..];
    }
    assert_eq!(answers.len(), 3, "{answers:?}");
    let largest = FRAME_BYTES_MAX - frame_head_bytes(2);
    assert_eq!((answers[0].1, answers[0].2), (0, largest));
    assert_eq!((answers[1].1, answers[1].2), (1, 0));
    let remark = answers[1].3.as_deref().unwrap_or_default();
    assert!(
        remark.contains("16777217 bytes") && remark.contains("16777216"),
        "{remark}"
    );
    assert_eq!((answers[2].0, answers[2].2), (6, 4));
}

#[test]
fn a_request_that_no_reader_takes_is_not_sent() {
    let (bench, mut running) = start(Script::default(), TransportLimits::default());
    let body = vec![b'x'; FRAME_BYTES_MAX];
    let peer = Arc::clone(&bench.peer);
    assert!(matches!(
        peer.request_one_way(ECHO, &(), &body),
        Err(crate::PeerCallError::TooLarge(bytes)) if bytes > FRAME_BYTES_MAX
    ));
    assert!(peer.request_one_way(ECHO, &(), b"small").is_ok());
    assert!(poll(&mut running).is_pending());
    assert!(bench.script.written().len() < 1_000);
}

#[test]
fn an_idle_connection_holds_no_buffers() {
    scratch::with(|_| {});
    let warm = request(ECHO, 1, 0, &[b'x'; 10_000]);
    let mut kept = None;
    let allocated = allocation_counter::measure(|| {
        let script = Script::reading([warm.clone()]);
        let (bench, mut running) = start(script, TransportLimits::default());
        assert!(poll(&mut running).is_pending());
        // The record of what was written is the test's own memory.
        bench.script.0.lock().writes = Vec::new();
        spare::take();
        kept = Some((bench, running));
    });
    assert!(
        allocated.bytes_current < 4 * 1_024,
        "an idle connection holds {} bytes",
        allocated.bytes_current
    );
}

#[test]
fn an_empty_poll_allocates_nothing() {
    let reads = [request(ECHO, 1, 0, b"x")];
    let (bench, mut running) = start(Script::reading(reads), TransportLimits::default());
    assert!(poll(&mut running).is_pending());
    let allocated = allocation_counter::measure(|| {
        for _ in 0..100 {
            assert!(poll(&mut running).is_pending());
        }
    });
    assert_eq!(allocated.count_total, 0);
    drop(bench);
}

#[test]
fn time_limits() {
    let limits = TransportLimits {
        started_frame_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(120),
        write_stall_timeout: Duration::from_secs(25),
        ..TransportLimits::default()
    };
    let half = || request(ECHO, 2, 0, b"12345678")[..20].to_vec();
    let whole = || request(ECHO, 2, 0, b"12345678");
    let cases: [(Vec<Vec<u8>>, u64, CloseReason); 4] = [
        (
            vec![half()],
            30,
            CloseReason::StartedFrame(limits.started_frame_timeout),
        ),
        // A peer may connect ahead of its first request, as the original's proxy does.
        (vec![], 120, CloseReason::Idle(limits.idle_timeout)),
        (
            vec![whole(), half()],
            30,
            CloseReason::StartedFrame(limits.started_frame_timeout),
        ),
        (vec![whole()], 120, CloseReason::Idle(limits.idle_timeout)),
    ];
    for (reads, seconds, reason) in cases {
        let (bench, mut running) = start(Script::reading(reads), limits.clone());
        assert!(poll(&mut running).is_pending());
        bench
            .clock
            .advance(Duration::from_secs(seconds) - Duration::from_millis(1));
        assert!(poll(&mut running).is_pending(), "{reason} is too early");
        bench.clock.advance(Duration::from_millis(1));
        assert_eq!(poll(&mut running), Poll::Ready(reason));
    }

    // A peer that drips bytes does not extend the time of its frame.
    let (bench, mut running) = start(Script::reading([whole()]), limits.clone());
    assert!(poll(&mut running).is_pending());
    for byte in half() {
        bench.script.push(vec![byte]);
        assert!(poll(&mut running).is_pending());
        bench.clock.advance(Duration::from_millis(1_499));
        assert!(poll(&mut running).is_pending());
    }
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(
        poll(&mut running),
        Poll::Ready(CloseReason::StartedFrame(limits.started_frame_timeout))
    );

    // A large frame over a slow link gets the time that its bytes need, and no more.
    let slow = TransportLimits {
        frame_bytes_per_second_min: 1_000,
        ..limits.clone()
    };
    let large = request(ECHO, 3, 0, &[b'x'; 60_000]);
    let (bench, mut running) = start(Script::default(), slow.clone());
    for piece in large[..50_000].chunks(5_000) {
        bench.script.push(piece.to_vec());
        assert!(poll(&mut running).is_pending());
        bench.clock.advance(Duration::from_secs(5));
        assert!(poll(&mut running).is_pending());
    }
    bench.clock.advance(Duration::from_secs(29));
    assert!(poll(&mut running).is_pending());
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(
        poll(&mut running),
        Poll::Ready(CloseReason::StartedFrame(slow.started_frame_timeout))
    );

    // A peer that asks and does not read.
    let script = Script::reading([whole()]);
    script.take_more(Some(5));
    let (bench, mut running) = start(script, limits.clone());
    assert!(poll(&mut running).is_pending());
    bench.clock.advance(Duration::from_secs(24));
    assert!(poll(&mut running).is_pending());
    bench.clock.advance(Duration::from_secs(16));
    assert_eq!(
        poll(&mut running),
        Poll::Ready(CloseReason::WriteStall(limits.write_stall_timeout))
    );

    // Traffic starts the idle time again, without a new timer for each read.
    let (bench, mut running) = start(Script::reading([whole()]), limits);
    for _ in 0..10 {
        assert!(poll(&mut running).is_pending());
        bench.clock.advance(Duration::from_secs(100));
        bench.script.push(whole());
    }
    assert!(poll(&mut running).is_pending());
    assert_eq!(bench.clock.sleepers(), 1);
}

#[test]
fn a_draining_connection_answers_what_is_parked_and_ends() {
    let reads = [request(PARK, 1, 0, b""), request(PARK, 2, 0, b"")];
    let (bench, mut running) = start(Script::reading(reads), TransportLimits::default());
    assert!(poll(&mut running).is_pending());
    bench.peer.drain();
    bench.script.push(request(ECHO, 3, 0, b"too late"));
    assert!(poll(&mut running).is_pending());
    for pending in std::mem::take(&mut *bench.service.parked.lock()) {
        assert!(poll(&mut running).is_pending());
        pending.ok(&());
    }
    assert_eq!(poll(&mut running), Poll::Ready(CloseReason::Stopping));
    assert_eq!(answers(&bench.script.written()).len(), 2);
}

#[test]
fn closing_sends_what_is_ready_first() {
    let (bench, mut running) = start(
        Script::reading([request(PARK, 1, 0, b"")]),
        TransportLimits::default(),
    );
    assert!(poll(&mut running).is_pending());
    for pending in std::mem::take(&mut *bench.service.parked.lock()) {
        pending.fail(ResponseCode::SystemBusy, "go elsewhere");
    }
    bench.peer.close(CloseReason::Local("test"));
    assert_eq!(poll(&mut running), Poll::Ready(CloseReason::Local("test")));
    assert_eq!(answers(&bench.script.written())[0].0, 2);
}

#[test]
fn a_stream_that_keeps_data_back_is_flushed_once_for_each_write() {
    let reads = [
        [request(ECHO, 1, 0, b"a"), request(AT_BATCH_END, 2, 0, b"b")].concat(),
        request(PARK, 3, 0, b""),
    ];
    let script = Script::reading(reads).keeping_back();
    let (bench, mut running) = start(script, TransportLimits::default());
    assert!(poll(&mut running).is_pending());
    assert_eq!(answers(&bench.script.written()).len(), 2);
    for pending in std::mem::take(&mut *bench.service.parked.lock()) {
        pending.ok(&());
    }
    assert!(poll(&mut running).is_pending());
    assert_eq!(answers(&bench.script.written()).len(), 3);
    assert_eq!(bench.script.0.lock().writes.len(), 2);
}

#[test]
fn a_flush_that_waits_holds_up_the_end_and_not_the_reading() {
    let limits = TransportLimits {
        write_stall_timeout: Duration::from_secs(25),
        ..TransportLimits::default()
    };
    let stuck = |reads: Vec<Vec<u8>>| {
        let script = Script::reading(reads).keeping_back();
        script.get_stuck(true);
        start(script, limits.clone())
    };
    let (bench, mut running) = stuck(vec![request(ECHO, 1, 0, b""), request(ECHO, 2, 0, b"")]);
    assert!(poll(&mut running).is_pending());
    assert_eq!(bench.service.requests.load(Ordering::Relaxed), 2);
    bench.peer.drain();
    assert!(poll(&mut running).is_pending(), "answers are kept back");
    bench.script.get_stuck(false);
    assert_eq!(poll(&mut running), Poll::Ready(CloseReason::Stopping));
    assert_eq!(answers(&bench.script.written()).len(), 2);

    let (bench, mut running) = stuck(vec![request(ECHO, 1, 0, b"")]);
    assert!(poll(&mut running).is_pending());
    bench.clock.advance(Duration::from_secs(30));
    assert_eq!(
        poll(&mut running),
        Poll::Ready(CloseReason::WriteStall(limits.write_stall_timeout))
    );
}

#[test]
fn a_stream_may_say_goodbye_for_a_moment() {
    let (bench, mut running) = start(Script::default(), TransportLimits::default());
    assert!(poll(&mut running).is_pending());
    bench.script.get_stuck(true);
    bench.peer.close(CloseReason::Local("test"));
    assert!(poll(&mut running).is_pending());
    assert!(!bench.peer.send_with(|_| {}), "nothing follows the goodbye");
    bench.script.push(request(ECHO, 1, 0, b"too late"));
    assert!(poll(&mut running).is_pending());
    assert_eq!(bench.service.requests.load(Ordering::Relaxed), 0);
    bench.script.get_stuck(false);
    assert_eq!(poll(&mut running), Poll::Ready(CloseReason::Local("test")));
    assert_eq!(bench.script.0.lock().goodbyes, 3);

    let (bench, mut running) = start(Script::default(), TransportLimits::default());
    bench.script.get_stuck(true);
    bench.peer.close(CloseReason::Local("test"));
    assert!(poll(&mut running).is_pending());
    bench.clock.advance(SHUTDOWN_TIMEOUT);
    assert_eq!(poll(&mut running), Poll::Ready(CloseReason::Local("test")));
}

#[test]
fn batches_of_busy_connections_end_together_and_a_lone_one_does_not_wait() {
    let start_gathering = || {
        let (bench, running) = start(Script::default(), TransportLimits::default());
        bench.service.gathers.store(true, Ordering::Relaxed);
        (bench, running)
    };
    let ended = |bench: &Bench| bench.service.batches.load(Ordering::Relaxed);
    let (first, mut first_running) = start_gathering();
    let (second, mut second_running) = start_gathering();
    for round in 1..=3 {
        first.script.push(request(AT_BATCH_END, 1, 0, b""));
        second.script.push(request(AT_BATCH_END, 2, 0, b""));
        assert!(poll(&mut first_running).is_pending());
        assert!(poll(&mut second_running).is_pending());
        assert_eq!((ended(&first), ended(&second)), (round - 1, round - 1));
        assert!(poll(&mut first_running).is_pending());
        assert_eq!((ended(&first), ended(&second)), (round, round - 1));
        assert!(poll(&mut second_running).is_pending());
        assert_eq!(ended(&second), round);
    }
    // Once in vain, and then no more.
    first.script.push(request(AT_BATCH_END, 1, 0, b""));
    let mut polls = 0;
    while ended(&first) < 4 {
        assert!(poll(&mut first_running).is_pending());
        polls += 1;
    }
    assert_eq!(polls, 2);
    first.script.push(request(AT_BATCH_END, 1, 0, b""));
    assert!(poll(&mut first_running).is_pending());
    assert_eq!(ended(&first), 5);
}

#[test]
fn a_gathering_connection_that_ends_answers_first() {
    let reads = [request(AT_BATCH_END, 1, 0, b"last"), vec![0xff; 8]];
    let (bench, mut running) = start(Script::ending(reads), TransportLimits::default());
    bench.service.gathers.store(true, Ordering::Relaxed);
    let reason = loop {
        if let Poll::Ready(reason) = poll(&mut running) {
            break reason;
        }
    };
    assert!(matches!(reason, CloseReason::BadFrame(_)), "{reason}");
    assert_eq!(answers(&bench.script.written()).len(), 1);
}
