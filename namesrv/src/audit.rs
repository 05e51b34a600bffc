//! Who asks for a change, for the audit.

use rmq_process::Asker;
use rmq_transport::Exchange;

/// The field of a request with the name of its user (apache/rocketmq `SessionCredentials.ACCESS_KEY`).
const USER_FIELD: &str = "AccessKey";

/// Who sent this request.
pub(crate) fn asker(exchange: &Exchange<'_>) -> Asker {
    let user = exchange.header.fields.get(USER_FIELD);
    Asker::new(
        exchange.peer.remote_addr(),
        user.map(|user| user.to_cow().into_owned()),
    )
}
