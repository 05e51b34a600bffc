//! JSON bodies of requests and answers, read as leniently as fastjson does and written compact with alphabetical keys.

mod fastjson;

pub use fastjson::{BodyError, from_slice, to_strict};
