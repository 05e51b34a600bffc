//! Requests are not signed: the feature `credentials` is off.

use rmq_protocol::FieldSource;

/// There are none.
#[derive(Debug)]
pub(crate) enum Credentials {}

impl Credentials {
    pub(crate) fn sign(&self, _: &dyn FieldSource, _: &[u8]) -> Vec<(String, String)> {
        match *self {}
    }
}
