//! What pulls that are woken together find: those that wait for the same message look for it once.

use rmq_protocol::message::QueueOffset;
use rmq_store::{QueueRef, ReadLimits, ReadOutcome, Store, Temperature};

use crate::filter::Filter;

/// What a pull looks for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) queue: QueueRef,
    pub(crate) offset: i64,
    pub(crate) limits: ReadLimits,
    pub(crate) filter: Filter,
}

impl Wanted {
    /// Whether both find the same in the same log.
    fn is_same(&self, other: &Self) -> bool {
        self.queue == other.queue
            && self.offset == other.offset
            && self.limits == other.limits
            && self.filter.is_same(&other.filter)
    }
}

/// The last look of pulls that are woken one after the other. What it found lies in the page cache and is not kept for longer: it ends
/// with the call that wakes them.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    last: Option<(Wanted, ReadOutcome)>,
}

impl Looks {
    /// What there is in memory. What came since the same look before is found by the next pull.
    pub(crate) fn look(&mut self, store: &Store, wanted: Wanted) -> &ReadOutcome {
        let known = self.last.take_if(|(last, _)| last.is_same(&wanted));
        let (_, outcome) = self.last.insert(known.unwrap_or_else(|| {
            let outcome = store.read(
                &wanted.queue,
                QueueOffset(wanted.offset),
                wanted.limits,
                &wanted.filter,
                Temperature::HotOnly,
            );
            (wanted, outcome)
        }));
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rmq_store::fs::{FaultyFs, Operation, SimulatedDisk};
    use rmq_store::{Master, NewMessage, StoreConfig};

    use super::*;

    fn send(store: &Master, queue: &QueueRef) {
        let message = NewMessage {
            queue,
            topic: queue.topic(),
            flag: 0,
            sys_flag: 0,
            born_ms: 1,
            born_host: ([127, 0, 0, 1], 1).into(),
            reconsume_times: 0,
            prepared_position: 0,
            body: b"body",
            properties: b"",
            tag_hash: 0,
            keys: "",
            unique_key: "",
            further: &[],
        };
        store.append(&message).expect("sent");
        store.write_out().expect("written");
    }

    #[test]
    fn those_who_want_the_same_look_once() {
        let disk = FaultyFs::new(Arc::new(SimulatedDisk::new()));
        let config = StoreConfig {
            background: false,
            ..StoreConfig::new("store")
        };
        let (store, _) = Master::open(config, Arc::new(disk.clone())).expect("opens");
        let queue = |id| store.queue("t", id).expect("a queue");
        for _ in 0..3 {
            send(&store, &queue(0));
            send(&store, &queue(1));
        }
        let wanted = |queue: QueueRef, offset, messages_max, tags: Option<&[i64]>| Wanted {
            queue,
            offset,
            limits: ReadLimits {
                messages_max,
                bytes_max: 1 << 20,
                scan_entries_max: 100,
            },
            filter: tags.map_or(Filter::All, |tags| Filter::Tags(tags.into())),
        };
        disk.record();
        let mut looks = Looks::default();
        for _ in 0..16 {
            let found = looks.look(&store, wanted(queue(0), 1, 32, None));
            assert_eq!((found.records.len(), found.next_offset), (2, 3));
        }
        // Each of these differs from the one before.
        let different = [
            (wanted(queue(1), 1, 32, None), 2),
            (wanted(queue(1), 2, 32, None), 1),
            (wanted(queue(1), 0, 1, None), 1),
            (wanted(queue(1), 0, 1, Some(&[0])), 1),
            (wanted(queue(1), 0, 1, None), 1),
        ];
        for (wanted, records) in different {
            assert_eq!(looks.look(&store, wanted).records.len(), records);
        }
        let of_log =
            |call: &&(Operation, String)| call.0 == Operation::Read && call.1.contains("/log/");
        assert_eq!(disk.recorded().iter().filter(of_log).count(), 1 + 5);
        store.close().expect("closed");
    }
}
