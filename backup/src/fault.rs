//! What is wrong with a backup.

/// Something of a backup is not as its manifest says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {says}")]
pub struct Fault {
    /// What is wrong, with its place.
    pub name: String,
    /// How.
    pub says: String,
}

impl Fault {
    pub(crate) fn new(name: impl Into<String>, says: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            says: says.into(),
        }
    }
}
