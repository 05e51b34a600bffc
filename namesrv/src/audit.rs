//! Who asks for a change, for the audit.

use rmq_process::Asker;
use rmq_transport::Exchange;

use crate::access::named_user;

/// Who sent this request.
pub(crate) fn asker(exchange: &Exchange<'_>) -> Asker {
    let asker = Asker::new(exchange.peer.remote_addr(), named_user(exchange));
    match exchange.is_verified {
        true => asker.verified(),
        false => asker,
    }
}
