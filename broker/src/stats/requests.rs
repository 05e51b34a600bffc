//! How long requests took, and why some were refused. Threads count apart from each other, and a batch counts once: a request costs a
//! few nanoseconds. The reader adds the parts.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_transport::{Answered, Clock};
use smallvec::SmallVec;

/// Upper bounds of the classes, inclusive, microseconds; one more class takes the rest.
pub(crate) const BOUNDS_US: [u64; 15] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000,
];
/// Classes, with the one for the rest.
const CLASSES: usize = BOUNDS_US.len() + 1;
/// What a code has: its classes, and the microseconds of all.
const CELLS: usize = CLASSES + 1;
/// Parts that threads share out among themselves.
const PARTS: usize = 8;
/// Every request code, rising.
const CODES: [RequestCode; RequestCode::ALL.len()] = rising();

const fn rising() -> [RequestCode; RequestCode::ALL.len()] {
    let mut codes = [RequestCode::SendMessage; RequestCode::ALL.len()];
    let mut at = 0;
    while at < codes.len() {
        codes[at] = RequestCode::ALL[at];
        let mut lower = at;
        while lower > 0 && codes[lower - 1].as_i32() > codes[lower].as_i32() {
            let code = codes[lower];
            codes[lower] = codes[lower - 1];
            codes[lower - 1] = code;
            lower -= 1;
        }
        at += 1;
    }
    codes
}

/// Requests of one code: how many by class, and what they took together, microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Took {
    pub(crate) counts: [u64; CLASSES],
    pub(crate) sum_us: u64,
}

/// What a batch answered in place: request codes with numbers.
pub(crate) type Tally = SmallVec<[(i32, u64); 2]>;

/// Counts one request.
pub(crate) fn note(tally: &mut Tally, request: i32) {
    // Most batches have requests of one code.
    match tally.iter_mut().find(|(code, _)| *code == request) {
        Some((_, requests)) => *requests += 1,
        None => tally.push((request, 1)),
    }
}

/// A part has cache lines of its own. It takes memory once a thread counts in it.
#[repr(align(128))]
#[derive(Default)]
struct Part(OnceLock<Box<[AtomicU64]>>);

/// All requests since the start.
pub(crate) struct Requests {
    parts: [Part; PARTS],
    /// By place in [`ResponseCode::ALL`].
    refused: Box<[AtomicU64]>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}

/// The part of this thread.
fn part() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    OWN.with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT.fetch_add(1, Ordering::Relaxed) % PARTS);
        }
        own.get()
    })
}

fn zeros(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

/// Whether a code refuses what was asked; others say that there is nothing, or that a message is stored with less care than wanted.
pub(crate) fn is_refusal(code: ResponseCode) -> bool {
    !matches!(
        code,
        ResponseCode::Success
            | ResponseCode::FlushSlaveTimeout
            | ResponseCode::SlaveNotAvailable
            | ResponseCode::PullNotFound
            | ResponseCode::PullRetryImmediately
            | ResponseCode::PullOffsetMoved
            | ResponseCode::QueryNotFound
    )
}

impl Requests {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            parts: Default::default(),
            refused: zeros(ResponseCode::ALL.len()),
            clock,
        }
    }

    /// `requests` of one code took so long each.
    pub(crate) fn took(&self, request: i32, us: i64, requests: u64) {
        let Ok(row) = CODES.binary_search_by_key(&request, |code| code.as_i32()) else {
            return;
        };
        let us = u64::try_from(us).unwrap_or(0);
        let class = BOUNDS_US.partition_point(|bound| us > *bound);
        let part = self.parts[part()]
            .0
            .get_or_init(|| zeros(CODES.len() * CELLS));
        let cells = &part[row * CELLS..(row + 1) * CELLS];
        cells[class].fetch_add(requests, Ordering::Relaxed);
        cells[CLASSES].fetch_add(us * requests, Ordering::Relaxed);
    }

    /// A batch that began at `began_us` answered these now.
    pub(crate) fn answered_in_place(&self, tally: &Tally, began_us: i64) {
        if tally.is_empty() {
            return;
        }
        let took = self.clock.monotonic_us() - began_us;
        for (request, requests) in tally {
            self.took(*request, took, *requests);
        }
    }

    pub(crate) fn refused(&self, code: ResponseCode, requests: u64) {
        if let Some(at) = ResponseCode::ALL.iter().position(|known| *known == code) {
            self.refused[at].fetch_add(requests, Ordering::Relaxed);
        }
    }

    /// Refusals by code, those that there were.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (ResponseCode, u64)> {
        let counts = self
            .refused
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        ResponseCode::ALL
            .iter()
            .copied()
            .zip(counts)
            .filter(|(_, count)| *count > 0)
    }

    /// By request code, those that there were.
    pub(crate) fn read(&self) -> Vec<(RequestCode, Took)> {
        let rows = CODES.iter().enumerate().map(|(row, code)| {
            let mut took = Took::default();
            for part in self.parts.iter().filter_map(|part| part.0.get()) {
                let cells = &part[row * CELLS..(row + 1) * CELLS];
                for (count, cell) in took.counts.iter_mut().zip(cells) {
                    *count += cell.load(Ordering::Relaxed);
                }
                took.sum_us += cells[CLASSES].load(Ordering::Relaxed);
            }
            (*code, took)
        });
        rows.filter(|(_, took)| took.counts.iter().any(|count| *count > 0))
            .collect()
    }
}

impl Answered for Requests {
    fn answered(&self, request: i32, response: ResponseCode, began_us: Option<i64>) {
        if let Some(began_us) = began_us {
            self.took(request, self.clock.monotonic_us() - began_us, 1);
        }
        if is_refusal(response) {
            self.refused(response, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use rmq_transport::ManualClock;

    use super::*;

    #[test]
    fn every_thread_is_counted_once_in_its_class() {
        assert!(CODES.is_sorted_by_key(|code| code.as_i32()));
        let requests = Arc::new(Requests::new(Arc::new(ManualClock::at(0))));
        let threads: Vec<_> = (0..2 * PARTS as i64)
            .map(|thread| {
                let requests = Arc::clone(&requests);
                std::thread::spawn(move || {
                    for us in [0, 50, 51, 5_000_000, 5_000_001] {
                        requests.took(RequestCode::SendMessageV2.as_i32(), us, 2);
                    }
                    requests.took(RequestCode::PullMessage.as_i32(), thread, 1);
                    requests.took(-7, 1, 1);
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("it counts");
        }
        let read = requests.read();
        let (code, sends) = read[1];
        assert_eq!((read.len(), code), (2, RequestCode::SendMessageV2));
        let each = 4 * PARTS as u64;
        assert_eq!((sends.counts[0], sends.counts[1]), (2 * each, each));
        assert_eq!(
            (sends.counts[CLASSES - 2], sends.counts[CLASSES - 1]),
            (each, each)
        );
        assert_eq!(sends.sum_us, 10_000_102 * each);
        assert_eq!(read[0].1.counts.iter().sum::<u64>(), 2 * PARTS as u64);
    }

    /// Prints the cost of a batch of sends: `cargo test --release -p rmq-broker cost_of -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    #[allow(clippy::print_stdout, reason = "a measurement")]
    fn cost_of_a_batch() {
        let requests = Requests::new(Arc::new(rmq_transport::SystemClock));
        let began = std::time::Instant::now();
        const ROUNDS: u32 = 2_000_000;
        for round in 0..ROUNDS {
            let mut tally = Tally::new();
            note(&mut tally, 310);
            let took = i64::from(std::hint::black_box(round % 3_000));
            for (request, count) in &tally {
                requests.took(*request, took, *count);
            }
            std::hint::black_box(&tally);
        }
        println!("{:?} a batch", began.elapsed() / ROUNDS);
    }
}
