//! The descriptions that `top` opens.

use super::description::Tables;
use super::{group, server, topic};
use crate::cluster::Cluster;
use crate::error::Failure;

/// What can be described by its name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Broker,
    Topic,
    Group,
}

/// The tables that describe a subject.
pub(crate) async fn tables(
    subject: Subject,
    name: &str,
    cluster: &Cluster,
) -> Result<Tables, Failure> {
    let about = match subject {
        Subject::Broker => server::broker(name, false, cluster).await,
        Subject::Topic => topic::topic(name, &[], false, cluster).await,
        Subject::Group => group::group(name, cluster).await,
    };
    about.map(|about| about.tables)
}
