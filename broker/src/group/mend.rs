//! What of the log is damaged here comes from another member: a replica asks its master, a master the replicas that are in sync.

use std::collections::BTreeMap;
use std::pin::pin;

use rmq_protocol::Seat;
use rmq_protocol::message::LogPosition;
use rmq_store::{CopyError, DamagedRange, LogPiece, MendError, Mended};

use crate::broker::Broker;
use crate::work::blocking;

/// First and longest pause before the next attempt, milliseconds; it doubles while nothing can be mended.
const PAUSE_MS: (i64, i64) = (500, 60_000);
/// Time for one piece of the log, milliseconds.
const FETCH_MS: i64 = 30_000;
/// The member remembers at most this many failures, and tells each of them once.
const TOLD_MAX: usize = 1_000;

/// Mends what is damaged, for ever.
pub(crate) async fn run(broker: &Broker) {
    let mut mender = Mender {
        broker,
        told: BTreeMap::new(),
    };
    let mut role = broker.role.watch();
    let mut pause_ms = PAUSE_MS.0;
    loop {
        // Before the look, so that nothing is missed that is found from here on.
        let mut found = pin!(broker.store.damage_found());
        found.as_mut().enable();
        role.borrow_and_update();
        let is_mended = mender.round().await;
        if broker.store.damage().is_empty() {
            broker.member.repairs.note_failure(None);
            mender.told.clear();
            pause_ms = PAUSE_MS.0;
            found.await;
            continue;
        }
        if is_mended {
            pause_ms = PAUSE_MS.0;
        }
        let changed = async {
            // The sender lives as long as the broker.
            let _ = role.changed().await;
        };
        tokio::select! {
            () = found => pause_ms = PAUSE_MS.0,
            () = changed => pause_ms = PAUSE_MS.0,
            () = broker.connection_clock.sleep_ms(pause_ms) => pause_ms = (2 * pause_ms).min(PAUSE_MS.1),
        }
    }
}

struct Mender<'b> {
    broker: &'b Broker,
    /// Why ranges were not mended, as people were told.
    told: BTreeMap<(u64, u64), String>,
}

/// What became of a range.
struct Outcome {
    /// What of it is damaged still.
    left: Vec<DamagedRange>,
    /// It was written again, in part at least.
    is_mended: bool,
    /// Why not all of it.
    why: Option<String>,
}

impl Mender<'_> {
    /// Tries all that is damaged. Whether something was mended.
    async fn round(&mut self) -> bool {
        let confirmed = self.broker.store.positions().confirmed;
        let mut is_mended = false;
        for range in self.broker.store.damage() {
            // What is not confirmed may be cut off, and is copied again then.
            if range.to <= confirmed {
                is_mended |= self.mend(range).await;
            }
        }
        is_mended
    }

    async fn mend(&mut self, range: DamagedRange) -> bool {
        let member = &self.broker.member;
        let mut left = vec![range];
        let mut is_mended = false;
        let mut why = String::new();
        let holders = member.holders(LogPosition(range.from), LogPosition(range.to));
        if holders.is_empty() {
            let nobody = "no other member is connected that has it".to_owned();
            member.repairs.note_failure(Some(nobody));
            return false;
        }
        for seat in holders {
            let mut still = Vec::new();
            for part in std::mem::take(&mut left) {
                let outcome = self.mend_from(seat, part).await;
                is_mended |= outcome.is_mended;
                still.extend(outcome.left);
                if let Some(problem) = outcome.why {
                    why = format!("member {}: {problem}", seat.member);
                }
            }
            left = still;
            if left.is_empty() {
                break;
            }
        }
        if is_mended {
            member.repairs.mended();
        }
        if !left.is_empty() {
            self.tell_failure(range, &left, why);
        }
        is_mended
    }

    /// Mends a range with what one member has.
    async fn mend_from(&self, seat: Seat, range: DamagedRange) -> Outcome {
        let mut position = LogPosition(range.from);
        let mut why = None;
        while position.0 < range.to {
            let written = match self.fetch(seat, position, range).await {
                Ok(piece) => self.write(range, piece).await,
                Err(problem) => Err((position, problem)),
            };
            match written {
                Ok(end) => position = end,
                Err((end, problem)) => {
                    position = position.max(end);
                    why = Some(problem);
                    break;
                }
            }
        }
        if position.0 == range.from {
            return Outcome {
                left: vec![range],
                is_mended: false,
                why,
            };
        }
        let store = self.broker.store.clone();
        let mended = blocking(move || store.mended(range)).await;
        match mended.map_err(|error| error.to_string()) {
            Ok(Ok(mended)) => {
                tell(seat, range, &mended);
                Outcome {
                    is_mended: mended.left != [range],
                    left: mended.left,
                    why,
                }
            }
            Ok(Err(error)) => not_durable(range, error.to_string()),
            Err(error) => not_durable(range, error),
        }
    }

    async fn fetch(
        &self,
        seat: Seat,
        from: LogPosition,
        range: DamagedRange,
    ) -> Result<LogPiece, String> {
        let answer = self.broker.member.fetch(seat, from, LogPosition(range.to));
        tokio::select! {
            answer = answer => match answer {
                Ok(Ok(piece)) => Ok(piece),
                Ok(Err(reason)) => Err(reason.text),
                Err(_) => Err("the connection ended".to_owned()),
            },
            () = self.broker.connection_clock.sleep_ms(FETCH_MS) => {
                Err(format!("it gave nothing within {FETCH_MS} ms"))
            }
        }
    }

    /// Writes a piece, or the part of it that is intact. Returns where the log goes on, or how far it came and why no further.
    async fn write(
        &self,
        range: DamagedRange,
        piece: LogPiece,
    ) -> Result<LogPosition, (LogPosition, String)> {
        let store = self.broker.store.clone();
        let position = piece.position;
        let written = blocking(move || {
            let failed = match store.mend(range, position, &piece.bytes) {
                Ok(()) => return Ok(piece.end),
                Err(error) => error,
            };
            // What lies before the first damage there is good.
            let end = match &failed {
                MendError::Damaged(CopyError::Damaged { position, .. }) => LogPosition(*position),
                _ => position,
            };
            let intact = usize::try_from(end.0.saturating_sub(position.0)).unwrap_or(0);
            let intact = piece.bytes.get(..intact).unwrap_or_default();
            match intact.is_empty() || store.mend(range, position, intact).is_err() {
                true => Err((position, failed.to_string())),
                false => Err((end, failed.to_string())),
            }
        });
        written
            .await
            .unwrap_or_else(|error| Err((position, error.to_string())))
    }

    /// Says why a range is damaged still, once.
    fn tell_failure(&mut self, range: DamagedRange, left: &[DamagedRange], why: String) {
        let key = (range.from, range.to);
        let text = why.clone();
        self.broker.member.repairs.note_failure(Some(why.clone()));
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        if self.told.insert(key, why).is_some_and(|told| told == text) {
            return;
        }
        tracing::warn!(
            from = range.from,
            to = range.to,
            ranges_left = left.len(),
            "a damaged range of the log is not mended: {text}; it is tried again"
        );
    }
}

/// A range whose new bytes may not be on the disk is damaged still, as far as anybody knows.
fn not_durable(range: DamagedRange, why: String) -> Outcome {
    Outcome {
        left: vec![range],
        is_mended: false,
        why: Some(why),
    }
}

fn tell(seat: Seat, range: DamagedRange, mended: &Mended) {
    let later = match mended.is_for_the_next_start {
        true => "; the index was built without it, so its messages are served after the next start",
        false => "",
    };
    let (from, to) = (range.from, range.to);
    match mended.left.as_slice() {
        [] => tracing::info!(
            from,
            to,
            member = %seat.member,
            "a damaged range of the log is mended with what another member has{later}"
        ),
        [first, ..] => tracing::warn!(
            from,
            to,
            member = %seat.member,
            ranges_left = mended.left.len(),
            left_from = first.from,
            left_to = first.to,
            "a damaged range of the log is mended in part with what another member has{later}"
        ),
    }
}
