//! Connections that no server took.

use std::error::Error;
use std::io;

/// Whether nobody listens at the address of a request, so the request was not sent.
pub(super) fn is_refused_connection(error: &(dyn Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(cause) = error {
        let io = cause.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        error = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn only_a_refused_connection_proves_that_nothing_was_sent() {
        for (kind, is_refused) in [
            (io::ErrorKind::ConnectionRefused, true),
            (io::ErrorKind::ConnectionReset, false),
            (io::ErrorKind::TimedOut, false),
        ] {
            assert_eq!(is_refused_connection(&Outer(kind.into())), is_refused);
        }
    }
}
