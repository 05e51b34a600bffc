//! Many connections and a budget that is far too small for all: the bound holds, everybody is served, nothing waits for ever.

use std::task::Wake;

use super::*;
use crate::reading::{CHARGED_FROM, PARKED_BYTES, SHORT_TIMEOUT};
use crate::writing::SHORT_READ_TIMEOUT;
use crate::{MemoryBudget, MemoryUse};

/// Remembers that somebody was woken: these tests poll nobody else, so that a lost wake hangs them.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Client {
    bench: Bench,
    running: Running,
    flag: Arc<Flag>,
    ended: Option<CloseReason>,
}

impl Client {
    fn new(script: Script, memory: &Arc<MemoryBudget>, clock: &ManualClock) -> Self {
        let (bench, running) = start_within(script, TransportLimits::default(), memory, clock);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        Self {
            bench,
            running,
            flag,
            ended: None,
        }
    }

    fn answers(&self) -> usize {
        let written = self.bench.script.written();
        let (mut rest, mut count) = (&written[..], 0);
        while let Ok(Split::Frame { consumed, .. }) = frame::split(rest, &FrameLimits::default()) {
            rest = &rest[consumed..];
            count += 1;
        }
        count
    }
}

/// Polls whoever was woken until nobody is; looks at the budget after each poll.
fn run(clients: &mut [Client], memory: &MemoryBudget, mut look: impl FnMut(MemoryUse)) {
    let mut polls = 0;
    while let Some(client) = clients
        .iter_mut()
        .find(|client| client.ended.is_none() && client.flag.0.swap(false, Ordering::SeqCst))
    {
        let waker = std::task::Waker::from(Arc::clone(&client.flag));
        if let Poll::Ready(reason) = client
            .running
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
        {
            client.ended = Some(reason);
        }
        look(memory.usage());
        polls += 1;
        assert!(polls < 1_000_000, "they wake each other for ever");
        // The next look starts with another one, so that all take turns.
        let first = clients.len() / 2;
        clients.rotate_left(first.max(1) % clients.len());
    }
}

const FREE: usize = 300_000;
const RESERVE: usize = 200_000;
const ALLOWANCE: usize = 1_000;
/// The bound, with one read beyond it and what a buffer keeps ahead.
const BOUND: usize = FREE + RESERVE + 100_000;

#[test]
fn frames_that_together_are_too_much_arrive_one_after_the_other() {
    let memory = MemoryBudget::tiny(FREE, RESERVE, 1 << 20, ALLOWANCE);
    let clock = ManualClock::at(1_000_000);
    let frames: Vec<Vec<u8>> = (0..20)
        .map(|number| request(ECHO, number, 0, &[number as u8; 150_000]))
        .collect();
    let mut clients: Vec<Client> = frames
        .iter()
        .map(|_| Client::new(Script::default(), &memory, &clock))
        .collect();
    let scripts: Vec<Script> = clients
        .iter()
        .map(|client| client.bench.script.clone())
        .collect();
    let mut most = 0;
    for at in (0..160_000).step_by(20_000) {
        for (script, frame) in scripts.iter().zip(&frames) {
            let piece = &frame[at.min(frame.len())..(at + 20_000).min(frame.len())];
            if !piece.is_empty() {
                script.push(piece.to_vec());
            }
        }
        run(&mut clients, &memory, |usage| {
            assert!(usage.received <= BOUND, "{usage:?}");
            most = most.max(usage.received);
        });
    }
    assert!(most > FREE, "the reserve was needed: {most}");
    for client in &clients {
        assert_eq!((client.answers(), &client.ended), (1, &None));
    }
    let usage = memory.usage();
    assert_eq!((usage.received, usage.waiting_to_read), (0, 0), "{usage:?}");
}

#[test]
fn everybody_is_served_however_the_pieces_come() {
    let memory = MemoryBudget::tiny(FREE, RESERVE, 1 << 20, ALLOWANCE);
    let clock = ManualClock::at(1_000_000);
    let mut noise = 1_u32;
    let mut random = |below: usize| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 8) as usize % below
    };
    let mut clients: Vec<Client> = (0..12)
        .map(|_| Client::new(Script::default(), &memory, &clock))
        .collect();
    let mut left: Vec<(Script, Vec<u8>)> = clients
        .iter()
        .map(|client| {
            let frames = (0..4).map(|number| {
                let bytes = [10, 900, 40_000, 180_000][(number + 1) % 4];
                request(ECHO, number as i32, 0, &vec![b'x'; bytes])
            });
            (client.bench.script.clone(), frames.flatten().collect())
        })
        .collect();
    while left.iter().any(|(_, bytes)| !bytes.is_empty()) {
        let at = random(left.len());
        let (script, bytes) = &mut left[at];
        let piece = (1 + random(50_000)).min(bytes.len());
        if piece > 0 {
            let rest = bytes.split_off(piece);
            script.push(std::mem::replace(bytes, rest));
        }
        if random(3) == 0 {
            run(&mut clients, &memory, |usage| {
                assert!(usage.received <= BOUND, "{usage:?}");
            });
        }
    }
    run(&mut clients, &memory, |_| {});
    for client in &clients {
        assert_eq!((client.answers(), &client.ended), (4, &None));
    }
    let usage = memory.usage();
    assert_eq!((usage.received, usage.waiting_to_read), (0, 0), "{usage:?}");
}

#[test]
fn a_frame_that_does_not_come_is_given_up_while_others_wait_and_small_requests_pass() {
    let memory = MemoryBudget::tiny(FREE, RESERVE, 1 << 20, ALLOWANCE);
    let clock = ManualClock::at(1_000_000);
    let large = request(ECHO, 2, 0, &[b'x'; 190_000]);
    let unfinished = || Script::reading(large[..180_000].chunks(30_000).map(<[u8]>::to_vec));
    let mut clients: Vec<Client> = (0..3)
        .map(|_| Client::new(unfinished(), &memory, &clock))
        .collect();
    run(&mut clients, &memory, |_| {});
    assert!(memory.usage().received > FREE);

    let honest = Script::reading([large.clone()]);
    clients.push(Client::new(honest.clone(), &memory, &clock));
    let small = Script::reading([request(ECHO, 4, 0, b"small")]);
    clients.push(Client::new(small.clone(), &memory, &clock));
    run(&mut clients, &memory, |usage| {
        assert!(usage.received <= BOUND, "{usage:?}");
    });
    assert!(
        !small.written().is_empty(),
        "a small request waits for nobody"
    );
    assert!(honest.written().is_empty(), "there is no room yet");

    clock.advance(SHORT_TIMEOUT);
    run(&mut clients, &memory, |_| {});
    clock.advance(SHORT_TIMEOUT);
    run(&mut clients, &memory, |_| {});
    assert!(!honest.written().is_empty(), "{:?}", memory.usage());
    let given_up = clients
        .iter()
        .filter(|client| matches!(client.ended, Some(CloseReason::FrameHoldsMemory(_))));
    assert!((1..=3).contains(&given_up.count()));
    let served = [&honest, &small].map(|script| script.written().is_empty());
    assert_eq!(served, [false, false]);
}

#[test]
fn without_want_nobody_is_closed_for_holding_much() {
    let memory = MemoryBudget::tiny(FREE, RESERVE, 1 << 20, ALLOWANCE);
    let clock = ManualClock::at(1_000_000);
    let large = request(ECHO, 2, 0, &[b'x'; 190_000]);
    let script = Script::reading([large[..100_000].to_vec()]);
    let mut clients = vec![Client::new(script.clone(), &memory, &clock)];
    run(&mut clients, &memory, |_| {});
    clock.advance(Duration::from_secs(29));
    run(&mut clients, &memory, |_| {});
    assert_eq!(clients[0].ended, None);
    script.push(large[100_000..].to_vec());
    run(&mut clients, &memory, |_| {});
    assert_eq!(clients[0].answers(), 1);
    drop(clients);
    assert_eq!(memory.usage().received, 0);
}

#[test]
fn peers_that_do_not_read_hold_a_bounded_amount_and_make_room_for_others() {
    const SENDING: usize = 400_000;
    const SLOW: usize = 20;
    let memory = MemoryBudget::tiny(1 << 20, RESERVE, SENDING, ALLOWANCE);
    let clock = ManualClock::at(1_000_000);
    let questions = || {
        let all: Vec<u8> = (0..30).flat_map(|n| request(LARGE, n, 0, b"")).collect();
        let script = Script::reading([all]);
        script.take_more(Some(10));
        script
    };
    let mut clients: Vec<Client> = (0..SLOW)
        .map(|_| Client::new(questions(), &memory, &clock))
        .collect();
    let mut most = 0;
    run(&mut clients, &memory, |usage| {
        most = most.max(usage.sending)
    });
    // Each is stopped as soon as there is too much; what it was about to answer is counted too.
    assert!(most < SENDING + SLOW * 3 * LARGE_BYTES, "{most}");
    assert!(most >= SENDING);

    // Somebody who reads waits until there is room; those who do not read are closed.
    let made = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let made = Arc::clone(&made);
        memory.when_room(150_000, move |room| {
            made.fetch_add(1, Ordering::SeqCst);
            drop(room);
        });
    }
    assert_eq!(made.load(Ordering::SeqCst), 0);
    assert!(!memory.has_room(2_000) && memory.has_room(ALLOWANCE));
    clock.advance(SHORT_READ_TIMEOUT);
    run(&mut clients, &memory, |_| {});
    assert_eq!(made.load(Ordering::SeqCst), 3);
    let closed = clients
        .iter()
        .filter(|client| matches!(client.ended, Some(CloseReason::AnswersHoldMemory(_))));
    assert!(closed.count() > 0);
    clock.advance(Duration::from_secs(200));
    run(&mut clients, &memory, |_| {});
    drop(clients);
    assert_eq!(memory.usage().sending, 0);
}

#[test]
fn room_is_given_in_order_and_kept_until_it_is_given_back() {
    let memory = MemoryBudget::tiny(1 << 20, RESERVE, 100, 10);
    let made = Arc::new(Mutex::new(Vec::new()));
    for bytes in [60, 50, 40, 500] {
        let made = Arc::clone(&made);
        memory.when_room(bytes, move |room| made.lock().push((bytes, Some(room))));
    }
    let seen = || {
        made.lock()
            .iter()
            .map(|(bytes, _)| *bytes)
            .collect::<Vec<_>>()
    };
    assert_eq!(seen(), [60], "the second does not fit beside the first");
    assert!(!memory.has_room(11), "others wait");
    assert_eq!(memory.usage().waiting_to_send, 3);
    let room = made.lock()[0].1.take();
    drop(room);
    assert_eq!(seen(), [60, 50, 40]);
    let rooms: Vec<_> = made
        .lock()
        .iter_mut()
        .map(|(_, room)| room.take())
        .collect();
    drop(rooms);
    assert_eq!(
        seen(),
        [60, 50, 40, 500],
        "what is larger than the bound goes alone"
    );
    assert!(!memory.has_room(50));
    let last = made.lock()[3].1.take();
    drop(last);
    assert_eq!(memory.usage().sending, 0);
    assert!(memory.has_room(50));
}

#[test]
fn parked_requests_count() {
    let memory = MemoryBudget::tiny(FREE, RESERVE, 1 << 20, ALLOWANCE);
    let clock = ManualClock::at(1_000_000);
    let parks: Vec<u8> = (0..100).flat_map(|n| request(PARK, n, 0, b"")).collect();
    let mut clients = vec![Client::new(Script::reading([parks]), &memory, &clock)];
    run(&mut clients, &memory, |_| {});
    let expected = 100 * PARKED_BYTES - ALLOWANCE;
    assert!(memory.usage().received.abs_diff(expected) <= CHARGED_FROM);
    clients[0].bench.service.parked.lock().clear();
    run(&mut clients, &memory, |_| {});
    assert_eq!(memory.usage().received, 0);
}
