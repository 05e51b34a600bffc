//! What a member of a group with an election has for as long as its process runs.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rmq_config::{AckMode, BrokerConfig, Election};
use rmq_election::driver::{self, Clock, Handle, RequestError, Wish};
use rmq_election::machine::{Config, Durable, Facts, NewGroup, Timings};
use rmq_election::place::{self as places, Member, Place, Policy};
use rmq_protocol::{Incarnation, MemberId, Seat};
use rmq_store::Store;

use super::file::DurableFile;
use super::place;
use crate::start::{Deps, StartError};

/// What a member of a group with an election has for as long as its process runs.
pub(crate) struct Elected {
    pub(super) me: MemberId,
    election: Election,
    pub(super) place: Arc<dyn Place>,
    pub(super) place_text: String,
    pub(super) config: Config,
    /// As this member's configuration has it.
    pub(super) policy: Policy,
    pub(crate) clock: Arc<dyn Clock>,
    file: DurableFile,
    /// What is saved, and the data that it speaks of; `None` before the first life.
    durable: Mutex<Option<(Incarnation, Durable)>>,
    /// `None` before the driver runs.
    pub(super) handle: RwLock<Option<Handle>>,
}

impl Elected {
    /// What the configuration says; `None` with fixed roles.
    ///
    /// # Errors
    /// There is no such place, or a file that the configuration names cannot be read.
    pub(crate) async fn of(
        config: &BrokerConfig,
        deps: &Deps,
    ) -> Result<Option<Arc<Self>>, StartError> {
        if !config.is_elected() {
            return Ok(None);
        }
        let timings = Timings::of_lease(config.lease_ms);
        let reconnect_limit_ms = config.replica_reconnect_ms.min(timings.silent_limit_ms);
        let timings = Timings {
            reconnect_limit_ms,
            ..timings
        };
        timings
            .check()
            .map_err(|error| StartError::Election(error.to_string()))?;
        let (place, place_text) = place::place_of(config, deps, &timings)?;
        let members = config.member_list().into_iter().map(|member| Member {
            id: member.id,
            replication: member.replication,
            client: member.client,
        });
        let policy = Policy {
            ack_mode: match config.ack_mode {
                AckMode::Memory => places::AckMode::Memory,
                AckMode::Flushed => places::AckMode::Flushed,
                AckMode::InSync => places::AckMode::InSync,
                AckMode::InSyncFlushed => places::AckMode::InSyncFlushed,
            },
            min_in_sync: u32::try_from(config.in_sync_min()).unwrap_or(u32::MAX),
        };
        let members = members.collect();
        // In Kubernetes the operator writes members and policy.
        let group =
            (config.election != Election::Kubernetes).then_some(NewGroup { members, policy });
        Ok(Some(Arc::new(Self {
            // The configuration was checked.
            me: MemberId(u64::try_from(config.broker_id).unwrap_or(0)),
            election: config.election,
            place,
            place_text,
            config: Config { timings, group },
            policy,
            clock: Arc::clone(&deps.boot_clock),
            file: DurableFile {
                fs: Arc::clone(&deps.fs),
                dir: config.data_dir.clone(),
            },
            durable: Mutex::new(None),
            handle: RwLock::new(None),
        })))
    }

    /// Who this member is with the data of a store that was opened. Data that may have lost their end, and others than before, make another
    /// member of it. Blocks.
    ///
    /// # Errors
    /// The file of the election cannot be read or written.
    pub(crate) fn seat(&self, store: &Store) -> Result<Seat, StartError> {
        let cannot = |error: std::io::Error| {
            StartError::Election(format!(
                "the file of the election in {} cannot be read or written: {error}",
                self.file.dir.display()
            ))
        };
        let data = store.incarnation();
        let loaded = self.file.load(data).map_err(cannot)?;
        let has_doubt = store.doubt().is_some();
        let random = self.file.fs.random().map_err(cannot)?;
        let durable = begin(loaded.clone(), has_doubt, random);
        if loaded != Some((durable.clone(), true)) {
            self.file.save(data, &durable).map_err(cannot)?;
        }
        if has_doubt {
            store.settle_doubt().map_err(cannot)?;
        }
        let seat = Seat {
            member: self.me,
            incarnation: durable.incarnation,
        };
        *self.durable.lock() = Some((data, durable));
        Ok(seat)
    }

    /// Saves what must not be forgotten. Blocks.
    pub(super) fn save(&self, durable: Durable) -> std::io::Result<()> {
        let mut saved = self.durable.lock();
        let Some((data, known)) = &mut *saved else {
            return Err(std::io::Error::other("the store was never opened"));
        };
        self.file.save(*data, &durable)?;
        *known = durable;
        Ok(())
    }

    pub(super) fn durable(&self) -> Option<Durable> {
        let saved = self.durable.lock();
        saved.as_ref().map(|(_, durable)| durable.clone())
    }

    pub(super) fn handle(&self) -> Option<Handle> {
        self.handle.read().clone()
    }

    /// The kind of the election, as the setting says it.
    pub(crate) fn election(&self) -> &'static str {
        self.election.word()
    }

    /// The place of the record, for people.
    pub(crate) fn place(&self) -> &str {
        &self.place_text
    }

    /// What this member knows of the group; `None` before the election has begun.
    pub(crate) fn facts(&self) -> Option<Facts> {
        self.handle().map(|handle| handle.facts())
    }

    /// Writes a person's request into the record. Where the record was deleted and this member shall be the master, whatever it lacks, a new
    /// record is begun.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub(crate) async fn request(&self, wish: Wish, number: &str) -> Result<(), RequestError> {
        let asked = driver::request(&*self.place, wish, number).await;
        let (
            Err(RequestError::NoRecord),
            Wish::Promote {
                to,
                accept_loss: true,
            },
        ) = (&asked, wish)
        else {
            return asked;
        };
        if to != self.me {
            return Err(RequestError::AskMember(to));
        }
        // In Kubernetes the members are in the record alone: as this member has read them last.
        let known = self.facts().and_then(|facts| facts.record);
        let known = known.map(|record| NewGroup {
            members: record.members,
            policy: record.policy,
        });
        let Some(group) = self.config.group.clone().or(known) else {
            return asked;
        };
        tracing::error!(
            place = self.place_text,
            member = %self.me,
            epoch = self.durable().map_or(0, |durable| durable.epoch),
            "the record of the group is gone from its place, and a person makes this member the master with what it has: acknowledged messages that it lacks are lost"
        );
        driver::begin_again(&*self.place, &group, to, number).await
    }

    /// A member as the record has it, or the configuration.
    pub(super) fn member(&self, id: MemberId) -> Option<Member> {
        let record = self.facts().and_then(|facts| facts.record);
        let recorded = record.and_then(|record| record.member(id).cloned());
        let configured = || {
            let mut members = self.config.group.as_ref()?.members.iter();
            members.find(|member| member.id == id).cloned()
        };
        recorded.or_else(configured)
    }
}

/// What a member is from its start on. `loaded` says whether the file speaks of the data that are there: a snapshot of the master has other data,
/// and so has another disk. The set must not count on those as on data that have lost their end only.
fn begin(loaded: Option<(Durable, bool)>, has_doubt: bool, random: u128) -> Durable {
    match loaded {
        Some((durable, true)) => Durable::begin(Some(durable), has_doubt, random),
        Some((durable, false)) => durable.of_other_data(random),
        None => Durable::begin(None, has_doubt, random),
    }
}

#[cfg(test)]
mod tests {
    use rmq_protocol::Incarnation;

    use super::*;

    #[test]
    fn other_data_are_none_of_what_the_member_was() {
        let saved = Durable {
            epoch: 7,
            former: vec![Incarnation(3)],
            ..Durable::begin(None, false, 4)
        };
        assert_eq!(begin(Some((saved.clone(), true)), false, 5), saved);
        let doubtful = begin(Some((saved.clone(), true)), true, 5);
        assert_eq!(doubtful.former, [Incarnation(3), Incarnation(4)]);
        for has_doubt in [false, true] {
            let other = begin(Some((saved.clone(), false)), has_doubt, 5);
            assert_eq!((other.incarnation, other.epoch), (Incarnation(5), 7));
            assert_eq!(other.former, []);
        }
        assert_eq!(begin(None, true, 5).former, []);
    }
}
