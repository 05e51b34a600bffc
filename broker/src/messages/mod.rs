//! What the broker does with messages, whatever protocol asks for it. A front decodes a request, calls one operation, and encodes the result
//! or the [refusal]. An operation knows no frame, no response code and no connection.

mod by_tag;
pub(crate) mod copy;
pub(crate) mod deliver;
pub(crate) mod incoming;
pub(crate) mod look_up;
pub(crate) mod pull;
pub(crate) mod put;
pub(crate) mod recall;
pub(crate) mod refusal;
pub(crate) mod send;
pub(crate) mod send_back;
pub(crate) mod way;
