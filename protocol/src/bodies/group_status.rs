//! The state of a broker group as one of its members knows it (code 320001). The request and this body are of this project, not of Apache
//! RocketMQ. What a later version adds is left out by readers of this one.

use serde::{Deserialize, Serialize};

use super::{BodyError, object_from_slice};
use crate::member::{Incarnation, MemberId};

/// The longest body that is read, bytes: a group has at most 16 members.
pub const GROUP_STATUS_BYTES_MAX: usize = 64 * 1024;

/// A broker group as the member that answers knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// What an acknowledgement promises, as the setting `ackMode` writes it.
    pub ack_mode: String,
    /// The group.
    pub broker_name: String,
    /// What is confirmed of the log, as the member knows it; position in bytes.
    pub confirmed: u64,
    /// How the master is chosen: `static`, `etcd`, `kubernetes` or `memory`.
    pub election: String,
    /// Where the log of the member ends, position in bytes.
    pub end: u64,
    /// Counts the masters of the group; 0 before the first.
    pub epoch: u64,
    /// What is not as it should be, the worst first.
    #[serde(default)]
    pub findings: Vec<GroupFinding>,
    /// The master that the member knows; `None` while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<MemberId>,
    /// Who answers.
    pub me: MemberId,
    /// The members. With fixed roles a replica knows itself and its master.
    #[serde(default)]
    pub members: Vec<MemberStatus>,
    /// Writes are refused while fewer members are in sync, the master counted.
    pub min_in_sync: u32,
    /// The wall clock of the member, Unix milliseconds; 0 when it does not tell.
    #[serde(default)]
    pub now_ms: i64,
    /// How the last request for another master ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<GroupOutcome>,
    /// Where the group is between two masters, for people: `Stable`, `Electing`, `Transferring` or `Vacant`.
    pub phase: String,
    /// Where master, epoch and in-sync set are kept, for people; empty with fixed roles.
    #[serde(default)]
    pub place: String,
    /// Whether the place is not reached.
    #[serde(default)]
    pub place_away: bool,
    /// Messages that were acknowledged and may be lost, by an election that a person ordered or that had no better member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub possibly_lost: Option<LostRange>,
    /// The state of the member that answers, for people.
    #[serde(default)]
    pub state: String,
    /// A request for another master that is not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switchover: Option<GroupRequest>,
    /// Of a master: why it takes no messages; `None` when it takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes_closed: Option<String>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Where clients reach it, `host:port`; empty when the member that answers does not know.
    #[serde(default)]
    pub client: String,
    /// Whether it is connected with the member that answers, or answers itself.
    #[serde(default)]
    pub connected: bool,
    /// End of what its disk has, position in bytes. Masters know it of all, replicas of themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flushed: Option<u64>,
    /// Whether it is in the in-sync set.
    pub in_sync: bool,
    /// Which data it has, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// Bytes of the master's log that it has not received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_bytes: Option<u64>,
    /// Since when it has not had all of the master's log, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// Whether it lacks history and cannot be the master.
    #[serde(default)]
    pub partial: bool,
    /// End of what it has received, position in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// Where members copy, `host:port`; empty when unknown.
    #[serde(default)]
    pub replication: String,
    /// What it is.
    pub role: MemberRole,
    /// Its slot; with fixed roles the broker id.
    pub slot: MemberId,
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MemberRole {
    /// It takes messages.
    Master,
    /// It copies.
    Replica,
    /// What a later version says.
    #[serde(other)]
    Other,
}

/// Something that people should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupFinding {
    /// What it is, for programs, such as `belowMinimum`.
    pub code: String,
    /// How bad it is.
    pub severity: FindingSeverity,
    /// What it is, for people.
    pub text: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FindingSeverity {
    /// As it should be.
    Note,
    /// Something is weaker than it should be.
    Warning,
    /// The group does not serve, or messages may be lost. Also what only a later version knows.
    #[serde(other)]
    Error,
}

/// A request for another master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupRequest {
    /// `switchover` or `promote`, as [`GroupWish`](crate::requests::GroupWish) writes it.
    pub kind: String,
    /// Its number.
    pub request: String,
    /// Who shall be the master.
    pub to: MemberId,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupOutcome {
    /// Whether it was carried out.
    pub ok: bool,
    /// Its number.
    pub request: String,
    /// Why not; empty when it was carried out.
    #[serde(default)]
    pub text: String,
}

/// A part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LostRange {
    /// The epoch whose election it was.
    pub epoch: u64,
    /// Where it begins, position in bytes; `None` while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Where it ended, if somebody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

impl GroupStatus {
    /// Compact JSON with alphabetical keys.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data always serialises")
    }

    /// Reads the body of an answer.
    ///
    /// # Errors
    /// When it is longer than [`GROUP_STATUS_BYTES_MAX`], or not JSON of this shape.
    pub fn from_json(bytes: &[u8]) -> Result<Self, BodyError> {
        let what = "GroupStatus";
        if bytes.len() > GROUP_STATUS_BYTES_MAX {
            let reason = format!(
                "{} bytes are more than {GROUP_STATUS_BYTES_MAX}",
                bytes.len()
            );
            return Err(BodyError::Json { what, reason });
        }
        object_from_slice(what, bytes)
    }

    /// The member with this slot, as the member that answers knows it.
    #[must_use]
    pub fn member(&self, slot: MemberId) -> Option<&MemberStatus> {
        self.members.iter().find(|member| member.slot == slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> GroupStatus {
        let member = |slot, role, in_sync| MemberStatus {
            client: format!("10.0.0.{slot}:10911"),
            connected: true,
            flushed: Some(900),
            in_sync,
            incarnation: Some(Incarnation(7)),
            lag_bytes: Some(100),
            lag_ms: Some(1_500),
            partial: false,
            received: Some(1_000),
            replication: format!("10.0.0.{slot}:10912"),
            role,
            slot: MemberId(slot),
        };
        GroupStatus {
            ack_mode: "inSync".to_owned(),
            broker_name: "orders".to_owned(),
            confirmed: 900,
            election: "etcd".to_owned(),
            end: 1_000,
            epoch: 3,
            findings: vec![GroupFinding {
                code: "outOfSet".to_owned(),
                severity: FindingSeverity::Warning,
                text: "member 1 is not in the in-sync set".to_owned(),
            }],
            master: Some(MemberId(0)),
            me: MemberId(1),
            members: vec![
                member(0, MemberRole::Master, true),
                member(1, MemberRole::Replica, false),
            ],
            min_in_sync: 2,
            now_ms: 1_700_000_000_000,
            outcome: Some(GroupOutcome {
                ok: false,
                request: "7".to_owned(),
                text: "no".to_owned(),
            }),
            phase: "Stable".to_owned(),
            place: "etcd at 10.0.0.9:2379".to_owned(),
            place_away: true,
            possibly_lost: Some(LostRange {
                epoch: 3,
                from: Some(800),
                to: None,
            }),
            state: "replica, out of sync".to_owned(),
            switchover: Some(GroupRequest {
                kind: "switchover".to_owned(),
                request: "8".to_owned(),
                to: MemberId(1),
            }),
            writes_closed: Some("below".to_owned()),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let full = status();
        let bare = GroupStatus {
            findings: Vec::new(),
            master: None,
            members: Vec::new(),
            outcome: None,
            possibly_lost: None,
            switchover: None,
            writes_closed: None,
            ..full.clone()
        };
        for status in [full, bare] {
            let read = GroupStatus::from_json(&status.to_json()).expect("the same");
            assert_eq!(read, status);
        }
    }

    #[test]
    fn what_later_versions_add_is_left_out_and_what_is_no_status_is_refused() {
        let text = String::from_utf8(status().to_json()).expect("text");
        let later = text
            .replacen('{', r#"{"later":[1,{"a":2}],"#, 1)
            .replace(r#""role":"replica""#, r#""role":"witness""#)
            .replace(r#""severity":"warning""#, r#""severity":"strange""#);
        let read = GroupStatus::from_json(later.as_bytes()).expect("a status");
        assert_eq!(read.members[1].role, MemberRole::Other);
        assert_eq!(read.findings[0].severity, FindingSeverity::Error);
        let cut = &text[..text.len() - 1];
        let negative = text.replace(r#""epoch":3"#, r#""epoch":-3"#);
        let short = text.replace(&Incarnation(7).to_string(), "7");
        for wrong in ["", "[]", "{}", cut, &negative, &short] {
            assert!(GroupStatus::from_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let long = text.replacen('{', &format!("{{{}", " ".repeat(GROUP_STATUS_BYTES_MAX)), 1);
        let error = GroupStatus::from_json(long.as_bytes()).expect_err("too long");
        assert!(error.to_string().contains("more than 65536"), "{error}");
    }
}
