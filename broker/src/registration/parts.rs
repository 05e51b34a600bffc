//! A registration of many topics in several frames.

use std::sync::Arc;

use rmq_protocol::bodies::DataVersion;
use rmq_protocol::header::{FieldSink, FieldSource};
use rmq_protocol::requests::{PART_FIELD, RegisterBroker};

use crate::topics::Topic;

/// Topics of a part of a registration, at least: a name server takes a broker's first registration only with several.
const PART_TOPICS_MIN: usize = 2;

/// A name server takes topics only with a version that differs from the one before. The last part has the version of the whole.
pub(super) fn version_of_part(version: DataVersion, parts_after: i64) -> DataVersion {
    DataVersion {
        timestamp: version.timestamp - parts_after,
        ..version
    }
}

/// Cuts the topics into parts of at most so many bytes in a registration.
pub(super) fn parts(topics: &[Arc<Topic>], bytes_max: usize) -> Vec<&[Arc<Topic>]> {
    let mut parts = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, topic) in topics.iter().enumerate() {
        let more = topic.registered_bytes();
        if bytes + more > bytes_max && at - from >= PART_TOPICS_MIN {
            parts.push(&topics[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += more;
    }
    parts.push(&topics[from..]);
    parts
}

/// The fields of a registration.
pub(super) struct Part<'a> {
    pub(super) request: RegisterBroker<'a>,
    pub(super) is_part: bool,
}

impl FieldSource for Part<'_> {
    fn visit(&self, sink: &mut dyn FieldSink) {
        self.request.visit(sink);
        if self.is_part {
            sink.bool(PART_FIELD, true);
        }
    }
}
