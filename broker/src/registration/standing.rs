//! As what a broker is registered, and how it hears that a newer master was elected.

use rmq_protocol::code::ResponseCode;
use rmq_protocol::header::Header;
use rmq_protocol::requests::{RegisterBrokerReply, Reply};
use rmq_transport::OwnedFrame;

/// As what a broker is registered with its name servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The broker id; 0 is the master.
    pub(crate) id: i64,
    /// The epoch of an elected master. `None` for replicas, and for masters by configuration: nothing counts those.
    pub(crate) epoch: Option<u64>,
}

impl Standing {
    /// The epoch as it is sent; one that no election reaches is cut.
    pub(super) fn wire_epoch(self) -> Option<i64> {
        self.epoch
            .map(|epoch| i64::try_from(epoch).unwrap_or(i64::MAX))
    }
}

/// A name server knows a newer master of this broker's group, and took this one out of the routes.
///
/// A hint and no proof: a broker that acts on the hint asks the place of the election first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Superseded {
    /// The epoch of the newer master.
    pub(crate) epoch: u64,
    /// Its `host:port`.
    pub(crate) master: String,
    /// The name server that says so.
    pub(crate) name_server: String,
}

impl Superseded {
    /// What an answer to a broker with this epoch says of a newer master.
    fn of(answer: &Header<'_>, own: Option<u64>, name_server: &str) -> Option<Self> {
        if answer.code != ResponseCode::ControllerFencedMasterEpoch.as_i32() {
            return None;
        }
        let fields = RegisterBrokerReply::decode(&answer.fields).ok()?;
        let epoch = u64::try_from(fields.master_epoch?).ok()?;
        own.is_some_and(|own| own < epoch).then(|| Self {
            epoch,
            master: fields.master_addr.unwrap_or_default(),
            name_server: name_server.to_owned(),
        })
    }
}

/// Why a registration did not succeed.
pub(super) struct Refused {
    pub(super) error: String,
    /// Because of a newer master.
    pub(super) superseded: Option<Superseded>,
}

impl From<String> for Refused {
    fn from(error: String) -> Self {
        Self {
            error,
            superseded: None,
        }
    }
}

/// # Errors
/// When a name server refused what a broker with this standing said.
pub(super) fn accepted(
    answer: &OwnedFrame,
    standing: Standing,
    name_server: &str,
) -> Result<(), Refused> {
    if answer.code() == ResponseCode::Success.as_i32() {
        return Ok(());
    }
    let header = answer.header();
    let remark = header
        .remark
        .as_ref()
        .map(|remark| remark.to_cow().into_owned())
        .unwrap_or_default();
    let error = format!("the name server answers {}: {remark}", answer.code());
    let superseded = Superseded::of(&header, standing.epoch, name_server);
    Err(Refused { error, superseded })
}
