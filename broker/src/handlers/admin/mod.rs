//! What administrators and tools ask: mqadmin, dashboards, exporters. Shapes and remarks as Apache RocketMQ 5.5.0 answers.

pub(crate) mod backup;
pub(crate) mod broker;
pub(crate) mod cold;
pub(crate) mod connections;
pub(crate) mod consumption;
pub(crate) mod groups;
pub(crate) mod offsets;
pub(crate) mod relay;
pub(crate) mod replication;
pub(crate) mod timers;
pub(crate) mod topics;
pub(crate) mod users;

use super::refusal::FormRefusal;
use crate::reply::Answer;

/// Upstream's remark where a handler sets none.
const NO_REMARK: &str = "not set any response code";

/// Success as the original's administration answers it.
fn done() -> Answer {
    Answer::empty().with_remark(NO_REMARK)
}

/// Where a page of a list begins and how long it is, as header fields with their names.
fn page_of(fields: [(&'static str, Option<i32>); 2]) -> Result<[Option<usize>; 2], FormRefusal> {
    let mut page = [None; 2];
    for ((field, number), size) in fields.into_iter().zip(&mut page) {
        let Some(number) = number else { continue };
        *size = Some(usize::try_from(number).map_err(|_| FormRefusal::Negative {
            field,
            number: number.into(),
        })?);
    }
    Ok(page)
}
