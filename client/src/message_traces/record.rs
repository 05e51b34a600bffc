//! Records of message traces, as clients of Apache RocketMQ write them (`client/…/trace/TraceDataEncoder.java`): fields of a step, the kind first,
//! and `null` for what is not there.

use std::fmt::{Display, Write};

/// Behind each record.
pub(crate) const RECORDS: char = '\u{2}';
/// Between the fields of a record.
pub(crate) const FIELDS: char = '\u{1}';
/// A field that is not there.
pub(crate) const ABSENT: &str = "null";
/// The region of what no broker has told one (`common/…/MixAll.java`, `DEFAULT_TRACE_REGION_ID`).
const REGION: &str = "DefaultRegion";

/// What a message is to its producer; the numbers are those of `common/…/message/MessageType.java`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal = 0,
    Half = 1,
    Committed = 2,
    Delayed = 3,
}

/// How consuming a message ended; the numbers are those of `client/…/consumer/listener/ConsumeReturnType.java`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is done with.
    Success = 0,
    /// Its handler panicked.
    Exception = 2,
    /// It comes again, or is a dead letter.
    Failed = 4,
}

/// A step of a message's way, ready to be sent.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) text: String,
    /// What finds it, separated by blanks: the id of the message and its keys.
    pub(crate) keys: String,
}

/// Fields one after the other.
struct Fields(String);

impl Fields {
    fn new(kind: &str) -> Self {
        // Ids, a topic and a group of usual lengths.
        let mut text = String::with_capacity(256);
        text.push_str(kind);
        Self(text)
    }

    fn add(mut self, field: impl Display) -> Self {
        self.0.push(FIELDS);
        // A string takes everything.
        let _ = write!(self.0, "{field}");
        self
    }

    fn add_or_null(self, field: Option<impl Display>) -> Self {
        match field {
            Some(field) => self.add(field),
            None => self.add(ABSENT),
        }
    }

    fn record(self, id: &str, keys: Option<&str>) -> Record {
        let mut text = self.0;
        text.push(RECORDS);
        let keys = match keys {
            Some(keys) => format!("{id} {keys}"),
            None => id.to_owned(),
        };
        Record { text, keys }
    }
}

/// A message was sent, or was not.
pub(crate) struct Pub<'a> {
    pub(crate) at_ms: i64,
    pub(crate) region: Option<&'a str>,
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) id: &'a str,
    pub(crate) tag: Option<&'a str>,
    pub(crate) keys: Option<&'a str>,
    pub(crate) stored_at: Option<&'a str>,
    pub(crate) body_bytes: usize,
    pub(crate) took_ms: u128,
    pub(crate) kind: Kind,
    pub(crate) offset_id: Option<&'a str>,
    pub(crate) success: bool,
}

impl Pub<'_> {
    pub(crate) fn record(&self) -> Record {
        Fields::new("Pub")
            .add(self.at_ms)
            .add(self.region.unwrap_or(REGION))
            .add(self.group)
            .add(self.topic)
            .add(self.id)
            .add_or_null(self.tag)
            .add_or_null(self.keys)
            .add_or_null(self.stored_at)
            .add(self.body_bytes)
            .add(self.took_ms)
            .add(self.kind as i32)
            .add_or_null(self.offset_id)
            .add(self.success)
            .record(self.id, self.keys)
    }
}

/// A consumer began with a message.
pub(crate) struct SubBefore<'a> {
    pub(crate) at_ms: i64,
    pub(crate) region: Option<&'a str>,
    pub(crate) group: &'a str,
    /// The same as of the step that follows it.
    pub(crate) request: &'a str,
    pub(crate) id: &'a str,
    pub(crate) retries: u32,
    pub(crate) keys: Option<&'a str>,
}

impl SubBefore<'_> {
    pub(crate) fn record(&self) -> Record {
        Fields::new("SubBefore")
            .add(self.at_ms)
            .add_or_null(self.region)
            .add(self.group)
            .add(self.request)
            .add(self.id)
            .add(self.retries)
            .add_or_null(self.keys)
            .record(self.id, self.keys)
    }
}

/// The consumer has ended with it.
pub(crate) struct SubAfter<'a> {
    pub(crate) request: &'a str,
    pub(crate) id: &'a str,
    pub(crate) took_ms: u128,
    pub(crate) ended: Ended,
    pub(crate) keys: Option<&'a str>,
    pub(crate) at_ms: i64,
    pub(crate) group: &'a str,
}

impl SubAfter<'_> {
    pub(crate) fn record(&self) -> Record {
        Fields::new("SubAfter")
            .add(self.request)
            .add(self.id)
            .add(self.took_ms)
            .add(self.ended == Ended::Success)
            .add_or_null(self.keys)
            .add(self.ended as i32)
            .add(self.at_ms)
            .add(self.group)
            .record(self.id, self.keys)
    }
}

/// A producer has told how a transaction ended.
pub(crate) struct EndTransaction<'a> {
    pub(crate) at_ms: i64,
    pub(crate) region: Option<&'a str>,
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) id: &'a str,
    pub(crate) tag: Option<&'a str>,
    pub(crate) keys: Option<&'a str>,
    pub(crate) stored_at: &'a str,
    /// `COMMIT_MESSAGE`, `ROLLBACK_MESSAGE` or `UNKNOW` (`client/…/producer/LocalTransactionState.java`).
    pub(crate) state: &'static str,
    pub(crate) is_answer: bool,
}

impl EndTransaction<'_> {
    pub(crate) fn record(&self) -> Record {
        Fields::new("EndTransaction")
            .add(self.at_ms)
            .add(self.region.unwrap_or(REGION))
            .add(self.group)
            .add(self.topic)
            .add(self.id)
            .add_or_null(self.tag)
            .add_or_null(self.keys)
            .add(self.stored_at)
            .add(Kind::Committed as i32)
            .add(self.id)
            .add(self.state)
            .add(self.is_answer)
            .record(self.id, self.keys)
    }
}

/// A producer took a message back, or could not.
pub(crate) struct Recall<'a> {
    pub(crate) at_ms: i64,
    pub(crate) region: Option<&'a str>,
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) id: &'a str,
    pub(crate) success: bool,
}

impl Recall<'_> {
    pub(crate) fn record(&self) -> Record {
        Fields::new("Recall")
            .add(self.at_ms)
            .add(self.region.unwrap_or(REGION))
            .add(self.group)
            .add(self.topic)
            .add(self.id)
            .add(self.success)
            .record(self.id, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(record: &Record) -> String {
        record.text.replace(FIELDS, "|").replace(RECORDS, "$")
    }

    #[test]
    fn records_are_those_of_the_original() {
        let mut sent = Pub {
            at_ms: 1_700_000_000_000,
            region: Some("DefaultRegion"),
            group: "p",
            topic: "orders",
            id: "ID",
            tag: Some("paid"),
            keys: Some("k1 k2"),
            stored_at: Some("10.0.0.1:10911"),
            body_bytes: 11,
            took_ms: 7,
            kind: Kind::Delayed,
            offset_id: Some("OFFSETID"),
            success: true,
        };
        let record = sent.record();
        assert_eq!(
            shown(&record),
            "Pub|1700000000000|DefaultRegion|p|orders|ID|paid|k1 k2|10.0.0.1:10911|11|7|3|OFFSETID|true$"
        );
        assert_eq!(record.keys, "ID k1 k2");
        (sent.tag, sent.keys, sent.region) = (None, None, None);
        (sent.stored_at, sent.offset_id, sent.success) = (None, None, false);
        let record = sent.record();
        assert_eq!(
            shown(&record),
            "Pub|1700000000000|DefaultRegion|p|orders|ID|null|null|null|11|7|3|null|false$"
        );
        assert_eq!(record.keys, "ID");
        let before = SubBefore {
            at_ms: 5,
            region: None,
            group: "g",
            request: "R",
            id: "ID",
            retries: 2,
            keys: None,
        };
        assert_eq!(shown(&before.record()), "SubBefore|5|null|g|R|ID|2|null$");
        let after = SubAfter {
            request: "R",
            id: "ID",
            took_ms: 25,
            ended: Ended::Failed,
            keys: Some("k1"),
            at_ms: 30,
            group: "g",
        };
        assert_eq!(shown(&after.record()), "SubAfter|R|ID|25|false|k1|4|30|g$");
        let ended = EndTransaction {
            at_ms: 5,
            region: Some("r"),
            group: "p",
            topic: "orders",
            id: "ID",
            tag: None,
            keys: None,
            stored_at: "h:1",
            state: "ROLLBACK_MESSAGE",
            is_answer: true,
        };
        assert_eq!(
            shown(&ended.record()),
            "EndTransaction|5|r|p|orders|ID|null|null|h:1|2|ID|ROLLBACK_MESSAGE|true$"
        );
        let recalled = Recall {
            at_ms: 5,
            region: None,
            group: "p",
            topic: "orders",
            id: "ID",
            success: true,
        };
        assert_eq!(
            shown(&recalled.record()),
            "Recall|5|DefaultRegion|p|orders|ID|true$"
        );
    }
}
