//! What people ask of a group: a request is written into the record, and its outcome is read there.

use crate::machine::NewGroup;
use crate::place::{
    MemberId, Outcome, Phase, Place, PlaceError, REQUEST_BYTES_MAX, Record, Swap, Switchover,
    UncleanElection, Versioned,
};

/// How often a request is written when others change the record at the same time.
const TRIES_MAX: u32 = 16;

/// What a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The master hands over to this member, and nothing is lost.
    Switchover {
        /// The member.
        to: MemberId,
    },
    /// This member becomes the master, whatever it lacks.
    Promote {
        /// The member.
        to: MemberId,
        /// Whether the person has accepted that messages may be lost.
        accept_loss: bool,
    },
}

/// Why a request was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The place gave no answer. After [`PlaceError::Unknown`] the request may be in the record.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// There is no record.
    #[error("the group has no record in its place: has any of its members been started?")]
    NoRecord,
    /// The record was deleted from its place, and another member shall become the master.
    #[error(
        "the record of the group is gone from its place: only member {0} itself can begin a new one, with what it has; ask it"
    )]
    AskMember(MemberId),
    /// No such member.
    #[error("the group has no member {0}; its members are {1}")]
    NoMember(MemberId, String),
    /// The member cannot take over without loss.
    #[error(
        "member {0} is not in sync, so it cannot take over without loss; wait until it is, or choose one of {1}"
    )]
    NotInSync(MemberId, String),
    /// Nobody serves, so nobody can hand over.
    #[error("the group has no master that could hand over (phase {0:?})")]
    NoMaster(Phase),
    /// Another request is not answered yet.
    #[error("request {0} is not answered yet")]
    Busy(String),
    /// The loss was not accepted.
    #[error("a promotion may lose acknowledged messages, and that was not accepted")]
    LossNotAccepted,
    /// The number of the request is empty or too long.
    #[error("a request needs a number of 1 to {REQUEST_BYTES_MAX} bytes")]
    Number,
    /// Others have changed the record each time.
    #[error("the record was changed by others {TRIES_MAX} times in a row; try again")]
    Contended,
}

/// Writes a request into the record.
///
/// # Errors
/// See [`RequestError`]. Nothing was written, unless the place says that it does not know.
pub async fn request(place: &dyn Place, wish: Wish, request: &str) -> Result<(), RequestError> {
    check(request)?;
    let mut seen = place.read().await?;
    for _ in 0..TRIES_MAX {
        let Some(Versioned { version, value }) = seen else {
            return Err(RequestError::NoRecord);
        };
        let Some(next) = asked(&value, wish, request)? else {
            return Ok(());
        };
        match place.compare_and_swap(Some(version), next).await? {
            Swap::Won(_) => return Ok(()),
            Swap::Lost(current) => seen = current,
        }
    }
    Err(RequestError::Contended)
}

/// Makes a record where the group's was deleted, with a person's request in it: member `to` becomes the master of a set of its own, whatever it
/// lacks. Who was in sync is lost with the record, so only a person does this, at that member; the loss is accepted.
///
/// # Errors
/// See [`RequestError`]. Nothing was written, unless the place says that it does not know.
pub async fn begin_again(
    place: &dyn Place,
    group: &NewGroup,
    to: MemberId,
    number: &str,
) -> Result<(), RequestError> {
    let wish = Wish::Promote {
        to,
        accept_loss: true,
    };
    check(number)?;
    let vacant = Record::vacant(group.members.clone(), group.policy);
    let Some(record) = asked(&vacant, wish, number)? else {
        return Ok(());
    };
    match place.compare_and_swap(None, record).await? {
        Swap::Won(_) => Ok(()),
        // It is there again.
        Swap::Lost(_) => request(place, wish, number).await,
    }
}

/// How a request has ended; `None` while it is not answered, or when a later one has taken its place.
///
/// # Errors
/// The place gave no answer.
pub async fn outcome(place: &dyn Place, request: &str) -> Result<Option<Outcome>, PlaceError> {
    let record = place.read().await?;
    let outcome = record.and_then(|record| record.value.outcome);
    Ok(outcome.filter(|outcome| outcome.request == request))
}

fn check(number: &str) -> Result<(), RequestError> {
    match (1..=REQUEST_BYTES_MAX).contains(&number.len()) {
        true => Ok(()),
        false => Err(RequestError::Number),
    }
}

/// The record with the request; `None` if it is there already.
fn asked(record: &Record, wish: Wish, request: &str) -> Result<Option<Record>, RequestError> {
    let list = |ids: &mut dyn Iterator<Item = MemberId>| {
        let texts: Vec<String> = ids.map(|id| id.to_string()).collect();
        texts.join(", ")
    };
    let (Wish::Switchover { to } | Wish::Promote { to, .. }) = wish;
    let open = [
        record.switchover.as_ref().map(|open| &open.request),
        record.unclean.as_ref().map(|open| &open.request),
    ];
    if let Some(open) = open.into_iter().flatten().next() {
        return match open == request {
            true => Ok(None),
            false => Err(RequestError::Busy(open.clone())),
        };
    }
    if record.member(to).is_none() {
        let ids = list(&mut record.members.iter().map(|member| member.id));
        return Err(RequestError::NoMember(to, ids));
    }
    let mut next = record.clone();
    match wish {
        Wish::Switchover { to } => {
            if record.phase != Phase::Stable {
                return Err(RequestError::NoMaster(record.phase));
            }
            if !record.in_sync.iter().any(|seat| seat.member == to) {
                let ids = list(&mut record.in_sync.iter().map(|seat| seat.member));
                return Err(RequestError::NotInSync(to, ids));
            }
            next.switchover = Some(Switchover {
                to,
                request: request.to_owned(),
            });
        }
        Wish::Promote { to, accept_loss } => {
            if !accept_loss {
                return Err(RequestError::LossNotAccepted);
            }
            next.unclean = Some(UncleanElection {
                to,
                request: request.to_owned(),
                accept_loss,
            });
        }
    }
    Ok(Some(next))
}
