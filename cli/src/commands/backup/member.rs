//! The member of a broker group that is copied, and the requests to it.

use bytes::Bytes;
use rmq_backup::Source;
use rmq_client::protocol::bodies::BackupBegun;
use rmq_client::protocol::requests::{
    BeginBackup, EndBackup, ReadBackupLog, ReadBackupLogReply, ReadBackupTables,
};
use rmq_client::{Error, Remote};

use crate::cluster::Cluster;
use crate::codes;
use crate::error::Failure;
use crate::facts::broker_group::{BrokerGroup, Member};
use crate::facts::name_servers;

/// A member that is copied.
pub(super) struct Copied {
    remote: Remote,
    backup: String,
}

impl Copied {
    pub(super) fn new(remote: Remote) -> Self {
        Self {
            remote,
            backup: String::new(),
        }
    }
}

impl Source for Copied {
    type Error = Error;

    fn is_refusal(error: &Error) -> bool {
        error.broker_code().is_some()
    }

    async fn begin(&mut self) -> Result<BackupBegun, Error> {
        let answer = self.remote.call(&BeginBackup {}, b"").await?;
        let begun = BackupBegun::from_json(answer.body())?;
        self.backup.clone_from(&begun.backup);
        Ok(begun)
    }

    async fn tables(&mut self, chunk: u64) -> Result<Bytes, Error> {
        let request = ReadBackupTables {
            backup: self.backup.as_str().into(),
            chunk: i64::try_from(chunk).unwrap_or(i64::MAX),
        };
        let answer = self.remote.call(&request, b"").await?;
        Ok(answer.body().clone())
    }

    async fn log(&mut self, from: u64, needed: u64, bytes: usize) -> Result<(Bytes, u64), Error> {
        let request = ReadBackupLog {
            backup: self.backup.as_str().into(),
            from: i64::try_from(from).unwrap_or(i64::MAX),
            needed: i64::try_from(needed).unwrap_or(i64::MAX),
            bytes: i32::try_from(bytes).unwrap_or(i32::MAX),
        };
        let answer = self.remote.call(&request, b"").await?;
        let reply: ReadBackupLogReply = answer.fields()?;
        Ok((
            answer.body().clone(),
            u64::try_from(reply.next).unwrap_or(0),
        ))
    }

    async fn end(&mut self) -> Result<(), Error> {
        let request = EndBackup {
            backup: self.backup.as_str().into(),
        };
        self.remote.call(&request, b"").await.map(drop)
    }
}

/// The address of the member to copy: the one that is named, or a replica in sync, which spares the master, or the master.
pub(super) async fn choose(
    cluster: &Cluster,
    name: &str,
    wanted: Option<&str>,
) -> Result<(String, String), Failure> {
    let views = name_servers::views(cluster).await;
    let group = BrokerGroup::look(cluster, name, &views).await;
    let of = |member: &Member| (member.address.clone(), member.label());
    if let Some(wanted) = wanted {
        return group.find(wanted).map(of).ok_or_else(|| {
            let what = format!("broker group \"{name}\" has no member \"{wanted}\"");
            Failure::coded(&codes::NOT_FOUND, what)
                .fact("asked", &cluster.name)
                .because(format!("its members: {}", group.names()))
        });
    }
    let answers = |member: &Member| member.status().is_some() && !member.address.is_empty();
    let in_sync = group.in_sync().into_iter();
    let mut in_sync = in_sync.filter(|member| answers(member) && !group.view(member).is_partial());
    let replica = in_sync.next().map(of);
    let chosen = replica.or_else(|| group.master().map(|(member, _)| of(member)));
    chosen.ok_or_else(|| {
        Failure::coded(
            &codes::UNREACHABLE,
            format!("broker group \"{name}\" has no master and no replica in sync"),
        )
        .fact("asked", &cluster.name)
        .because(format!("its members: {}", group.names()))
        .try_this(format!(
            "rmq-ctl backup {name} --member MEMBER, to copy a member all the same"
        ))
    })
}
