//! Copies of the broker's data: 320010 to 320013.

use std::sync::Arc;

use rmq_protocol::bodies::BackupBegun;
use rmq_protocol::requests::{EndBackup, ReadBackupLog, ReadBackupLogReply, ReadBackupTables};
use rmq_transport::{Exchange, Reply};

use crate::admin::backup;
use crate::backups::Stretch;
use crate::broker::Broker;
use crate::handlers::refusal::{FormRefusal, Handled};
use crate::handlers::{blocking, decode};
use crate::reply::Answer;

pub(crate) fn begin(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    blocking(broker, exchange, |broker| {
        let begun: BackupBegun = backup::begin(broker)?;
        Ok(Answer::body(begun.to_json()))
    })
}

pub(crate) fn tables(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: ReadBackupTables<'_> = decode(exchange)?;
    let (id, chunk) = (request.backup.to_string(), request.chunk);
    not_negative([("chunk", chunk)])?;
    blocking(broker, exchange, move |broker| {
        let now_ms = broker.connection_now_ms();
        Ok(Answer::body(broker.backups.tables(&id, chunk, now_ms)?))
    })
}

pub(crate) fn log(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: ReadBackupLog<'_> = decode(exchange)?;
    let (id, from) = (request.backup.to_string(), request.from);
    not_negative([
        ("from", from),
        ("needed", request.needed),
        ("bytes", request.bytes.into()),
    ])?;
    let stretch = Stretch {
        from,
        needed: request.needed,
        bytes: request.bytes,
    };
    blocking(broker, exchange, move |broker| {
        let now_ms = broker.connection_now_ms();
        let piece = broker.backups.log(&broker.store, &id, stretch, now_ms)?;
        let next = piece.as_ref().map_or(from, |piece| piece.end.0 as i64);
        let fields = ReadBackupLogReply { next };
        Ok(Answer::of(
            fields,
            piece.map_or_else(Vec::new, |piece| piece.bytes),
        ))
    })
}

pub(crate) fn end(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: EndBackup<'_> = decode(exchange)?;
    broker.backups.end(&request.backup);
    exchange.ok(&());
    Ok(())
}

fn not_negative<const N: usize>(fields: [(&'static str, i64); N]) -> Result<(), FormRefusal> {
    match fields.into_iter().find(|(_, number)| *number < 0) {
        Some((field, number)) => Err(FormRefusal::Negative { field, number }),
        None => Ok(()),
    }
}
