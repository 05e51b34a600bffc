//! A place in this process, which the members of a group share: for tests, and for groups whose members are all in one process.
//!
//! Each member has its own way to the place, and each way can be made bad: cut off, slow, with answers or requests that get lost.

use std::fmt;
use std::sync::Arc;

use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Answer, Change, Changes, Lease, Place, PlaceError, Record, Swap, Version, Versioned};

/// What the place holds. Cheap to clone: all clones are the same place.
#[derive(Clone, Default)]
pub struct Memory {
    held: Arc<watch::Sender<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    /// Of the last change.
    version: u64,
    record: Slot<Record>,
    lease: Slot<Lease>,
}

/// One of the two objects.
#[derive(Debug)]
struct Slot<T> {
    now: Option<Versioned<T>>,
    /// Version of the last change of this object, deletions included.
    changed: u64,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self {
            now: None,
            changed: 0,
        }
    }
}

impl<T: Clone> Slot<T> {
    fn swap(&mut self, version: &mut u64, expected: Option<Version>, next: T) -> Swap<T> {
        if self.now.as_ref().map(|now| now.version) != expected {
            return Swap::Lost(self.now.clone());
        }
        *version += 1;
        self.changed = *version;
        self.now = Some(Versioned {
            version: Version(*version),
            value: next,
        });
        Swap::Won(Version(*version))
    }

    fn delete(&mut self, version: &mut u64) {
        if self.now.take().is_some() {
            *version += 1;
            self.changed = *version;
        }
    }

    /// The object, if it has changed since the version that was `seen`; `None` has seen nothing.
    fn unseen(&self, seen: &mut Option<u64>) -> Option<Option<Versioned<T>>> {
        if *seen == Some(self.changed) {
            return None;
        }
        *seen = Some(self.changed);
        Some(self.now.clone())
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.held.borrow().fmt(f)
    }
}

impl Memory {
    /// An empty place.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A way to the place for one member; `name` is who its errors speak of.
    #[must_use]
    pub fn way(&self, name: impl Into<String>) -> MemoryPlace {
        MemoryPlace {
            name: name.into(),
            memory: self.clone(),
            faults: watch::Sender::default(),
            late: Mutex::default(),
        }
    }

    /// Deletes the record, as a person could.
    pub fn delete_record(&self) {
        self.held
            .send_modify(|held| held.record.delete(&mut held.version));
    }

    /// Deletes the lease, as a person could.
    pub fn delete_lease(&self) {
        self.held
            .send_modify(|held| held.lease.delete(&mut held.version));
    }

    fn swap_record(&self, expected: Option<Version>, next: Record) -> Swap<Record> {
        let mut swapped = Swap::Lost(None);
        self.held.send_if_modified(|held| {
            swapped = held.record.swap(&mut held.version, expected, next);
            matches!(swapped, Swap::Won(_))
        });
        swapped
    }

    fn swap_lease(&self, expected: Option<Version>, next: Lease) -> Swap<Lease> {
        let mut swapped = Swap::Lost(None);
        self.held.send_if_modified(|held| {
            swapped = held.lease.swap(&mut held.version, expected, next);
            matches!(swapped, Swap::Won(_))
        });
        swapped
    }
}

/// One member's way to a [`Memory`].
pub struct MemoryPlace {
    name: String,
    memory: Memory,
    faults: watch::Sender<Faults>,
    /// Swaps that are still on their way.
    late: Mutex<Vec<Late>>,
}

/// What is wrong with a way.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    is_cut: bool,
    is_held: bool,
    lost_answers: u32,
    lost_requests: u32,
    late_requests: u32,
}

#[derive(Debug)]
enum Late {
    Record(Option<Version>, Box<Record>),
    Lease(Option<Version>, Lease),
}

impl fmt::Debug for MemoryPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPlace")
            .field("name", &self.name)
            .field("faults", &*self.faults.borrow())
            .finish_non_exhaustive()
    }
}

impl MemoryPlace {
    /// Cuts the way, or mends it: while it is cut, everything fails at once, also what watches and what waits.
    pub fn cut_off(&self, is_cut: bool) {
        self.faults.send_modify(|faults| faults.is_cut = is_cut);
    }

    /// Stops everything on the way, or lets it continue: calls wait for that, without a bound, and changes are seen later.
    pub fn hold(&self, is_held: bool) {
        self.faults.send_modify(|faults| faults.is_held = is_held);
    }

    /// The next `swaps` are carried out, but their answers are lost.
    pub fn lose_answers(&self, swaps: u32) {
        self.faults
            .send_modify(|faults| faults.lost_answers = swaps);
    }

    /// The next `swaps` are lost, and nobody learns of it.
    pub fn lose_requests(&self, swaps: u32) {
        self.faults
            .send_modify(|faults| faults.lost_requests = swaps);
    }

    /// The next `swaps` are carried out when they are [delivered](Self::deliver), long after their callers stopped to wait.
    pub fn delay_requests(&self, swaps: u32) {
        self.faults
            .send_modify(|faults| faults.late_requests = swaps);
    }

    /// Carries out the delayed swaps, in their order. Answers how many of them changed something.
    pub fn deliver(&self) -> usize {
        let late = std::mem::take(&mut *self.late.lock());
        let took_place = |late: &Late| match late {
            Late::Record(expected, next) => {
                let swapped = self.memory.swap_record(*expected, (**next).clone());
                matches!(swapped, Swap::Won(_))
            }
            Late::Lease(expected, next) => {
                let swapped = self.memory.swap_lease(*expected, next.clone());
                matches!(swapped, Swap::Won(_))
            }
        };
        late.iter().filter(|late| took_place(late)).count()
    }

    /// Waits until the way is open.
    async fn open(&self) -> Result<(), PlaceError> {
        let mut faults = self.faults.subscribe();
        let faults = faults.wait_for(|faults| faults.is_cut || !faults.is_held);
        // The sender is in `self`.
        match faults.await {
            Ok(faults) if !faults.is_cut => Ok(()),
            _ => Err(self.cut()),
        }
    }

    fn cut(&self) -> PlaceError {
        PlaceError::Failed {
            place: self.name.clone(),
            problem: "cut off from the place".to_owned(),
        }
    }

    fn unknown<T>(&self, problem: &str) -> Result<T, PlaceError> {
        Err(PlaceError::Unknown {
            place: self.name.clone(),
            problem: problem.to_owned(),
        })
    }

    /// Takes one of the faults that are counted.
    fn take(&self, of: impl Fn(&mut Faults) -> &mut u32) -> bool {
        let mut is_taken = false;
        self.faults.send_if_modified(|faults| {
            let left = of(faults);
            is_taken = *left > 0;
            *left = left.saturating_sub(1);
            // Nobody waits for these.
            false
        });
        is_taken
    }

    /// A swap on this way.
    async fn swap<T>(
        &self,
        late: impl FnOnce(T) -> Late,
        swap: impl FnOnce(T) -> Swap<T>,
        next: T,
    ) -> Result<Swap<T>, PlaceError> {
        self.open().await?;
        if self.take(|faults| &mut faults.lost_requests) {
            return self.unknown("the request was lost");
        }
        if self.take(|faults| &mut faults.late_requests) {
            self.late.lock().push(late(next));
            return self.unknown("the request is late");
        }
        let swapped = swap(next);
        if self.take(|faults| &mut faults.lost_answers) {
            return self.unknown("the answer was lost");
        }
        Ok(swapped)
    }
}

impl Place for MemoryPlace {
    fn read(&self) -> Answer<'_, Option<Versioned<Record>>> {
        Box::pin(async {
            self.open().await?;
            Ok(self.memory.held.borrow().record.now.clone())
        })
    }

    fn compare_and_swap(
        &self,
        expected: Option<Version>,
        next: Record,
    ) -> Answer<'_, Swap<Record>> {
        let late = move |next| Late::Record(expected, Box::new(next));
        let swap = move |next| self.memory.swap_record(expected, next);
        Box::pin(self.swap(late, swap, next))
    }

    fn read_lease(&self) -> Answer<'_, Option<Versioned<Lease>>> {
        Box::pin(async {
            self.open().await?;
            Ok(self.memory.held.borrow().lease.now.clone())
        })
    }

    fn swap_lease(&self, expected: Option<Version>, next: Lease) -> Answer<'_, Swap<Lease>> {
        let late = move |next| Late::Lease(expected, next);
        let swap = move |next| self.memory.swap_lease(expected, next);
        Box::pin(self.swap(late, swap, next))
    }

    fn watch(&self) -> Changes<'_> {
        let watching = Watching {
            place: self,
            held: self.memory.held.subscribe(),
            faults: self.faults.subscribe(),
            record: None,
            lease: None,
        };
        Box::pin(stream::unfold(Some(watching), |watching| async move {
            let mut watching = watching?;
            match watching.next().await {
                Ok(change) => Some((Ok(change), Some(watching))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}

struct Watching<'a> {
    place: &'a MemoryPlace,
    held: watch::Receiver<Held>,
    faults: watch::Receiver<Faults>,
    /// The versions that were seen.
    record: Option<u64>,
    lease: Option<u64>,
}

impl Watching<'_> {
    async fn next(&mut self) -> Result<Change, PlaceError> {
        loop {
            let faults = *self.faults.borrow_and_update();
            if faults.is_cut {
                return Err(self.place.cut());
            }
            if !faults.is_held {
                let held = self.held.borrow_and_update();
                if let Some(record) = held.record.unseen(&mut self.record) {
                    return Ok(Change::Record(record));
                }
                if let Some(lease) = held.lease.unseen(&mut self.lease) {
                    return Ok(Change::Lease(lease));
                }
            }
            // Both senders live as long as the place.
            tokio::select! {
                _ = self.faults.changed() => {}
                _ = self.held.changed(), if !faults.is_held => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::super::{AckMode, Policy};
    use super::*;

    fn record(epoch: u64) -> Record {
        let policy = Policy {
            ack_mode: AckMode::InSync,
            min_in_sync: 2,
        };
        Record {
            epoch,
            ..Record::vacant(Vec::new(), policy)
        }
    }

    async fn epoch(place: &MemoryPlace) -> Option<u64> {
        place.read().await.unwrap().map(|read| read.value.epoch)
    }

    #[tokio::test]
    async fn answers_and_requests_get_lost() {
        let memory = Memory::new();
        let (bad, good) = (memory.way("bad"), memory.way("good"));
        bad.lose_answers(1);
        let swapped = bad.compare_and_swap(None, record(1)).await;
        assert!(matches!(swapped, Err(PlaceError::Unknown { .. })));
        assert_eq!(epoch(&good).await, Some(1), "it took place");

        bad.lose_requests(1);
        let swapped = bad.compare_and_swap(Some(Version(1)), record(2)).await;
        assert!(matches!(swapped, Err(PlaceError::Unknown { .. })));
        assert_eq!(epoch(&good).await, Some(1), "it did not");

        let swapped = bad.compare_and_swap(Some(Version(1)), record(2)).await;
        assert_eq!(swapped, Ok(Swap::Won(Version(2))), "one fault each");
    }

    #[tokio::test]
    async fn a_late_request_is_carried_out_unless_another_was_first() {
        let memory = Memory::new();
        let (slow, quick) = (memory.way("slow"), memory.way("quick"));
        slow.delay_requests(2);
        for epoch in [1, 2] {
            let swapped = slow.compare_and_swap(None, record(epoch)).await;
            assert!(matches!(swapped, Err(PlaceError::Unknown { .. })));
        }
        assert_eq!(epoch(&quick).await, None);
        assert_eq!(slow.deliver(), 1);
        assert_eq!(epoch(&quick).await, Some(1));

        slow.delay_requests(1);
        let swapped = slow.compare_and_swap(Some(Version(1)), record(3)).await;
        assert!(matches!(swapped, Err(PlaceError::Unknown { .. })));
        quick
            .compare_and_swap(Some(Version(1)), record(4))
            .await
            .unwrap();
        assert_eq!((slow.deliver(), slow.deliver()), (0, 0));
        assert_eq!(epoch(&quick).await, Some(4));
    }

    #[tokio::test]
    async fn a_way_is_cut_and_held_for_one_member_alone() {
        let memory = Memory::new();
        let (bad, good) = (memory.way("member 1"), memory.way("member 2"));
        let mut changes = bad.watch();
        for _ in 0..2 {
            assert!(changes.next().await.unwrap().is_ok());
        }
        bad.hold(true);
        good.compare_and_swap(None, record(1)).await.unwrap();
        {
            let mut read = std::pin::pin!(bad.read());
            let next = changes.next();
            tokio::select! {
                biased;
                read = &mut read => panic!("{read:?}"),
                change = next => panic!("{change:?}"),
                () = std::future::ready(()) => {}
            }
            bad.hold(false);
            assert_eq!(read.await.unwrap().unwrap().value.epoch, 1);
        }
        let change = changes.next().await.unwrap().unwrap();
        assert!(matches!(change, Change::Record(Some(record)) if record.value.epoch == 1));

        bad.cut_off(true);
        let error = bad.read().await.unwrap_err();
        assert_eq!(error.to_string(), "member 1: cut off from the place");
        assert_eq!(changes.next().await, Some(Err(error)));
        assert_eq!(changes.next().await, None);
        assert_eq!(epoch(&good).await, Some(1));
        bad.cut_off(false);
        assert_eq!(epoch(&bad).await, Some(1));
    }
}
