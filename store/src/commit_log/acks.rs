//! Who waits for the log: a list for each kind of progress, by position, woken by progress or by what ends all progress.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::error::AppendError;

/// What happens when a position is reached, or can no longer be.
pub type Done = Box<dyn FnOnce(Result<(), AppendError>) + Send>;

/// The progress that somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// The system has it: `pwrite` returned.
    Written,
    /// The disk has it: `fdatasync` returned.
    Flushed,
    /// It is confirmed and visible.
    Settled,
}

/// The lists. `done` is called with no lock of the store held.
#[derive(Default)]
pub(super) struct Acks {
    waiting: Mutex<Waiting>,
    /// The largest position that anybody has waited for.
    wanted: AtomicU64,
    /// Nobody is told of success any more, whatever is reached.
    is_fenced: AtomicBool,
}

/// Each list is sorted by position: acknowledgements are asked for in nearly that order, and given in it.
#[derive(Default)]
struct Waiting {
    written: VecDeque<Ack>,
    flushed: VecDeque<Ack>,
    settled: VecDeque<Ack>,
    /// Nobody may wait any more.
    ended: Option<AppendError>,
}

struct Ack {
    end: u64,
    done: Done,
}

type Ready = SmallVec<[Ack; 8]>;

impl Waiting {
    fn of(&mut self, goal: Goal) -> &mut VecDeque<Ack> {
        match goal {
            Goal::Written => &mut self.written,
            Goal::Flushed => &mut self.flushed,
            Goal::Settled => &mut self.settled,
        }
    }

    /// Takes those whose position is reached.
    fn take(&mut self, goal: Goal, reached: impl Fn(Goal) -> u64, ready: &mut Ready) {
        let list = self.of(goal);
        if list.is_empty() {
            return;
        }
        let reached = reached(goal);
        let count = list.partition_point(|ack| ack.end <= reached);
        ready.extend(list.drain(..count));
    }
}

/// Answers that are on their way. A panic in one of them leaves nobody else without an answer.
struct Answers(smallvec::IntoIter<[Ack; 8]>);

impl Answers {
    /// `outcome` is asked for each, at the last moment.
    fn give(mut self, outcome: impl Fn() -> Result<(), AppendError>) {
        for ack in self.0.by_ref() {
            (ack.done)(outcome());
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        for ack in self.0.by_ref() {
            (ack.done)(Err(AppendError::Failed {
                reason: "the thread that answers for the log panicked".into(),
            }));
        }
    }
}

impl Acks {
    /// Keeps `done` until `end` is reached, and returns true; or calls `done` at once. `reached` is asked under the lock of the list,
    /// so a caller of [`wake`](Self::wake) either comes later or was seen.
    pub(super) fn wait(
        &self,
        end: u64,
        goal: Goal,
        done: Done,
        reached: impl FnOnce() -> Option<Result<(), AppendError>>,
    ) -> bool {
        let outcome = {
            let mut waiting = self.waiting.lock();
            match (reached(), &waiting.ended) {
                (Some(outcome), _) => outcome.and_then(|()| self.allowed(&waiting)),
                (None, Some(error)) => Err(error.clone()),
                (None, None) => {
                    self.wanted.fetch_max(end, Ordering::AcqRel);
                    let list = waiting.of(goal);
                    match list.back() {
                        Some(last) if last.end > end => {
                            let at = list.partition_point(|ack| ack.end <= end);
                            list.insert(at, Ack { end, done });
                        }
                        _ => list.push_back(Ack { end, done }),
                    }
                    return true;
                }
            }
        };
        done(outcome);
        false
    }

    /// The largest position that anybody has waited for.
    pub(super) fn wanted(&self) -> u64 {
        self.wanted.load(Ordering::Acquire)
    }

    /// Progress was made; `reached` says the end of it for each goal.
    pub(super) fn wake(&self, reached: impl Fn(Goal) -> u64) {
        let mut ready = Ready::new();
        {
            let mut waiting = self.waiting.lock();
            for goal in [Goal::Written, Goal::Flushed, Goal::Settled] {
                waiting.take(goal, &reached, &mut ready);
            }
        }
        if !ready.is_empty() {
            Answers(ready.into_iter()).give(|| self.check());
        }
    }

    /// Nothing more is reached for those who wait now.
    pub(super) fn fail(&self, error: &AppendError) {
        let mut left = Ready::new();
        {
            let mut waiting = self.waiting.lock();
            for goal in [Goal::Written, Goal::Flushed, Goal::Settled] {
                left.extend(waiting.of(goal).drain(..));
            }
        }
        Answers(left.into_iter()).give(|| Err(error.clone()));
    }

    /// As [`fail`](Self::fail), also for those who come later.
    pub(super) fn end(&self, error: &AppendError) {
        self.waiting.lock().ended.get_or_insert(AppendError::Closed);
        self.fail(error);
    }

    /// As [`end`](Self::end), and what is reached is told as `error` as well.
    pub(super) fn fence(&self, error: &AppendError) {
        self.waiting
            .lock()
            .ended
            .get_or_insert_with(|| error.clone());
        self.is_fenced.store(true, Ordering::Release);
        self.fail(error);
    }

    /// Whether success may be told. One look at one flag, on every way to an acknowledgement.
    pub(super) fn check(&self) -> Result<(), AppendError> {
        if self.is_fenced.load(Ordering::Acquire) {
            self.allowed(&self.waiting.lock())
        } else {
            Ok(())
        }
    }

    fn allowed(&self, waiting: &Waiting) -> Result<(), AppendError> {
        match &waiting.ended {
            Some(error) if self.is_fenced.load(Ordering::Acquire) => Err(error.clone()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    type Told = Arc<Mutex<Vec<(u64, bool)>>>;

    fn wait(acks: &Acks, told: &Told, end: u64) -> bool {
        let told = Arc::clone(told);
        let done = Box::new(move |outcome: Result<(), AppendError>| {
            told.lock().push((end, outcome.is_ok()));
        });
        acks.wait(end, Goal::Settled, done, || None)
    }

    #[test]
    fn each_is_told_once_in_the_order_of_the_log() {
        let (acks, told) = (Acks::default(), Told::default());
        for end in [30, 10, 20, 40] {
            assert!(wait(&acks, &told, end));
        }
        assert_eq!(acks.wanted(), 40);
        acks.wake(|_| 9);
        assert!(told.lock().is_empty());
        acks.wake(|_| 20);
        assert_eq!(*told.lock(), [(10, true), (20, true)]);
        acks.wake(|_| 30);
        acks.fail(&AppendError::Closed);
        assert_eq!(told.lock()[2..], [(30, true), (40, false)]);
        assert!(wait(&acks, &told, 50));
        acks.end(&AppendError::Closed);
        assert!(!wait(&acks, &told, 60));
        assert_eq!(told.lock()[4..], [(50, false), (60, false)]);
    }

    #[test]
    fn each_is_told_when_its_goal_is_reached() {
        let (acks, told) = (Acks::default(), Told::default());
        for (number, goal) in [(1, Goal::Settled), (2, Goal::Written), (3, Goal::Flushed)] {
            let told = Arc::clone(&told);
            let done = Box::new(move |outcome: Result<(), AppendError>| {
                told.lock().push((number, outcome.is_ok()));
            });
            acks.wait(100, goal, done, || None);
        }
        let reached = |flushed, settled| {
            move |goal| match goal {
                Goal::Written => 100,
                Goal::Flushed => flushed,
                Goal::Settled => settled,
            }
        };
        acks.wake(reached(99, 99));
        assert_eq!(*told.lock(), [(2, true)]);
        acks.wake(reached(100, 99));
        assert_eq!(*told.lock(), [(2, true), (3, true)]);
        acks.wake(reached(100, 100));
        assert_eq!(told.lock()[2..], [(1, true)]);
    }

    #[test]
    fn behind_a_fence_nobody_is_told_of_success() {
        let (acks, told) = (Acks::default(), Told::default());
        wait(&acks, &told, 10);
        acks.fence(&AppendError::Closed);
        assert_eq!(*told.lock(), [(10, false)]);
        acks.wake(|_| 100);
        assert!(!wait(&acks, &told, 20), "nobody waits any more");
        let late = Arc::clone(&told);
        let done = Box::new(move |outcome: Result<(), AppendError>| {
            late.lock().push((30, outcome.is_ok()));
        });
        acks.wait(30, Goal::Settled, done, || Some(Ok(())));
        assert_eq!(told.lock()[1..], [(20, false), (30, false)]);
        assert!(acks.check().is_err());
    }

    #[test]
    fn a_fence_in_the_middle_of_the_answers_stops_the_rest() {
        let acks = Arc::new(Acks::default());
        let told = Told::default();
        let fencing = Arc::clone(&acks);
        let done = Box::new(move |_| fencing.fence(&AppendError::Closed));
        acks.wait(1, Goal::Settled, done, || None);
        wait(&acks, &told, 2);
        acks.wake(|_| 2);
        assert_eq!(*told.lock(), [(2, false)]);
    }

    #[test]
    fn an_answer_that_panics_leaves_the_others_answered() {
        let (acks, told) = (Acks::default(), Told::default());
        wait(&acks, &told, 1);
        acks.wait(2, Goal::Settled, Box::new(|_| panic!("as wanted")), || None);
        wait(&acks, &told, 3);
        let woken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| acks.wake(|_| 3)));
        assert!(woken.is_err());
        assert_eq!(*told.lock(), [(1, true), (3, false)]);
    }
}
