//! Being a member of a consumer group: heartbeats to every broker, notices of changes, and leaving.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use rmq_protocol::bodies::{
    CheckClientConfigBody, ConsumeFromWhere, ConsumeType, ConsumerData, ConsumerList,
    HeartbeatData, MessageModel, SubscriptionData,
};
use rmq_protocol::names::{retry_topic, validate_group};
use rmq_protocol::requests::{GetConsumerListByGroup, HeartBeat, Request, UnregisterClient};
use rmq_protocol::route::MASTER_ID;
use rmq_protocol::{RequestCode, ResponseCode};
use tokio::sync::watch;
use tokio::time::{Duration, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::Client;
use crate::consumer::Filter;
use crate::error::Error;

/// Pause before a heartbeat is tried again that failed or whose connection broke.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What a member subscribes to.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// let member = client.member_of("billing").subscribe("orders", "paid").from_first().join().await?;
/// println!("{:?}", member.members().await?);
/// member.leave().await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use]
pub struct MembershipBuilder {
    client: Client,
    group: String,
    subscriptions: Vec<(String, Filter)>,
    model: MessageModel,
    from: ConsumeFromWhere,
}

impl MembershipBuilder {
    pub(crate) fn new(client: Client, group: String) -> Self {
        Self {
            client,
            group,
            subscriptions: Vec::new(),
            model: MessageModel::Clustering,
            from: ConsumeFromWhere::LastOffset,
        }
    }

    /// Subscribes to a topic: `*`, tags as `A || B`, or another filter.
    pub fn subscribe(mut self, topic: impl Into<String>, filter: impl Into<Filter>) -> Self {
        self.subscriptions.push((topic.into(), filter.into()));
        self
    }

    /// Every member gets every message.
    pub fn broadcasting(mut self) -> Self {
        self.model = MessageModel::Broadcasting;
        self
    }

    /// A new group begins with the oldest messages instead of the next ones.
    pub fn from_first(mut self) -> Self {
        self.from = ConsumeFromWhere::FirstOffset;
        self
    }

    /// Joins: `Ok` means that every master of the cluster knows the member, and every replica that answers.
    ///
    /// # Errors
    /// When the group's name is not allowed or a master does not answer.
    ///
    /// # Cancel safety
    /// A dropped call may leave the member with brokers that have heard of it, until they miss its heartbeats (two minutes).
    pub async fn join(mut self) -> Result<Membership, Error> {
        validate_group(&self.group).map_err(|error| Error::invalid(error.to_string()))?;
        for (_, filter) in &self.subscriptions {
            filter.check()?;
        }
        if self.model == MessageModel::Clustering {
            self.subscriptions
                .push((retry_topic(&self.group), Filter::all()));
        }
        let now_ms = self.client.now_ms();
        let subscriptions = self.subscriptions.iter();
        let subscriptions: Vec<SubscriptionData> = subscriptions
            .map(|(topic, filter)| filter.subscription(topic.as_str(), now_ms))
            .collect();
        let by_properties: Vec<SubscriptionData> = subscriptions
            .iter()
            .filter(|wanted| !wanted.is_tag_type())
            .cloned()
            .collect();
        let data = HeartbeatData {
            client_id: self.client.id().to_owned(),
            consumer_data_set: vec![ConsumerData {
                consume_from_where: self.from,
                consume_type: ConsumeType::Passively,
                group_name: self.group.clone(),
                message_model: self.model,
                subscription_data_set: subscriptions,
                unit_mode: false,
            }],
            ..HeartbeatData::default()
        };
        let changes = self.client.notices().watch(&self.group);
        let member = Arc::new(Member {
            group: self.group,
            client: self.client,
            heartbeat: data.to_json(),
        });
        let stop = member.client.stopped().child_token();
        // The membership counts only after the answer to the first heartbeat.
        let brokers = member.brokers().await?;
        for wanted in by_properties {
            member.check(&brokers, wanted).await?;
        }
        let beats = brokers.iter().map(|(_, addr)| member.heartbeat(addr));
        for ((id, _), beaten) in brokers.iter().zip(join_all(beats).await) {
            match beaten {
                Ok(()) => {}
                // It hears of the member later.
                Err(error) if *id != MASTER_ID => {
                    tracing::debug!(group = member.group, "a replica does not answer: {error}");
                }
                Err(error) => {
                    return Err(error.doing(&format!("joining group \"{}\"", member.group)));
                }
            }
        }
        let beat = beat_everywhere(Arc::clone(&member), brokers, stop.clone());
        member.client.tasks().spawn(beat);
        Ok(Membership {
            member,
            changes,
            stop: stop.drop_guard(),
        })
    }
}

struct Member {
    client: Client,
    group: String,
    heartbeat: Vec<u8>,
}

impl Member {
    /// Broker ids and addresses.
    async fn brokers(&self) -> Result<Vec<(i64, String)>, Error> {
        let info = self.client.cluster_info().await?;
        let members = info.broker_addr_table.into_values();
        let mut members: Vec<_> = members.flat_map(|data| data.broker_addrs).collect();
        // Masters first: a replica that has just started knows few clients.
        members.sort();
        Ok(members)
    }

    /// Whether every master takes an expression: a heartbeat is taken whatever it subscribes to.
    async fn check(
        &self,
        brokers: &[(i64, String)],
        wanted: SubscriptionData,
    ) -> Result<(), Error> {
        let doing = format!(
            "subscribing group \"{}\" to \"{}\"",
            self.group, wanted.topic
        );
        let body = CheckClientConfigBody {
            client_id: self.client.id().to_owned(),
            group: self.group.clone(),
            namespace: None,
            subscription_data: wanted,
        };
        let (code, body) = (RequestCode::CheckClientConfig.as_i32(), body.to_json());
        for (_, addr) in brokers.iter().filter(|(id, _)| *id == MASTER_ID) {
            let remote = self.client.remote(addr);
            let checked = remote.call_any(code, &(), &body).await;
            checked
                .and_then(|answer| answer.success())
                .map_err(|error| error.doing(&doing))?;
        }
        Ok(())
    }

    async fn heartbeat(&self, addr: &str) -> Result<(), Error> {
        self.client
            .remote(addr)
            .call(&HeartBeat {}, &self.heartbeat)
            .await
            .map(drop)
    }
}

/// Finds new brokers at each turn, and when a master is new; each broker has a task of its own, so a dead one does not hold up the others.
async fn beat_everywhere(member: Arc<Member>, first: Vec<(i64, String)>, stop: CancellationToken) {
    let mut known: HashMap<String, ()> = HashMap::new();
    let mut masters = member.client.routes().masters();
    let mut brokers = first;
    loop {
        for (_, addr) in brokers {
            if known.insert(addr.clone(), ()).is_none() {
                member
                    .client
                    .tasks()
                    .spawn(beat(Arc::clone(&member), addr, stop.clone()));
            }
        }
        tokio::select! {
            () = sleep(member.client.timeouts().heartbeat) => {}
            Ok(()) = masters.changed() => {}
            () = stop.cancelled() => return,
        }
        brokers = match member.brokers().await {
            Ok(brokers) => brokers,
            Err(error) => {
                tracing::debug!(group = member.group, "cannot ask for the brokers: {error}");
                Vec::new()
            }
        };
    }
}

/// One broker: a heartbeat now and then, and at once when the connection is a new one, as brokers forget members with their connection.
async fn beat(member: Arc<Member>, addr: String, stop: CancellationToken) {
    let remote = member.client.remote(&addr);
    let mut connection = remote.connection();
    loop {
        connection.borrow_and_update();
        let pause = tokio::select! {
            pause = async {
                tokio::select! {
                    () = sleep(member.client.timeouts().heartbeat) => Duration::ZERO,
                    changed = connection.changed() => if changed.is_ok() { RETRY_PAUSE } else { Duration::MAX },
                }
            } => pause,
            () = stop.cancelled() => return,
        };
        if pause == Duration::MAX {
            return;
        }
        let mut pause = pause;
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            match member.heartbeat(&addr).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::debug!(addr, group = member.group, "heartbeat failed: {error}");
                    member.client.suspect(&error).await;
                    pause = (pause * 2).clamp(RETRY_PAUSE, member.client.timeouts().heartbeat);
                }
            }
        }
    }
}

/// A member of a group. When it is dropped heartbeats stop, and brokers forget it after a while; [`Membership::leave`] tells them at once.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// let mut member = client.member_of("billing").subscribe("orders", "*").join().await?;
/// member.changed().await; // another member came or went
/// println!("{:?}", member.members().await?);
/// member.leave().await;
/// # Ok(()) }
/// ```
pub struct Membership {
    member: Arc<Member>,
    changes: watch::Receiver<u64>,
    stop: DropGuard,
}

impl Membership {
    /// The group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.member.group
    }

    /// Waits for the next notice that members of the group came or went. Notices since the last call are one.
    ///
    /// # Cancel safety
    /// Safe: a dropped wait loses no notice.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            // Left or shut down: no notice will ever come.
            std::future::pending::<()>().await;
        }
    }

    /// Client ids of the group's members, as the first broker that answers knows them.
    ///
    /// # Errors
    /// When no broker answers.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn members(&self) -> Result<Vec<String>, Error> {
        let request = GetConsumerListByGroup {
            consumer_group: self.member.group.as_str().into(),
        };
        let mut last = Error::closed();
        for (_, addr) in self.member.brokers().await? {
            let remote = self.member.client.remote(&addr);
            match remote
                .call_any(GetConsumerListByGroup::CODE.as_i32(), &request, b"")
                .await
            {
                Ok(answer) if answer.code() == ResponseCode::Success.as_i32() => {
                    let list = ConsumerList::from_json(answer.body())
                        .map_err(|error| Error::from(error).at(&addr))?;
                    return Ok(list.consumer_id_list);
                }
                // What brokers say of a group without members.
                Ok(answer) if answer.code() == ResponseCode::SystemError.as_i32() => {
                    return Ok(Vec::new());
                }
                Ok(answer) => last = answer.error(),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Leaves the group: every broker that can be reached is told, all at the same time.
    ///
    /// # Cancel safety
    /// From its first poll on there are no more heartbeats. Brokers that a dropped call has not told forget the member after two minutes.
    pub async fn leave(self) {
        drop(self.stop);
        let client = &self.member.client;
        client.notices().forget(&self.member.group);
        let request = UnregisterClient {
            client_id: client.id().into(),
            producer_group: None,
            consumer_group: Some(self.member.group.as_str().into()),
        };
        let Ok(brokers) = self.member.brokers().await else {
            return;
        };
        let code = RequestCode::UnregisterClient.as_i32();
        let farewells = brokers.iter().map(|(_, addr)| {
            let (remote, request) = (client.remote(addr), &request);
            async move { (addr, remote.call_any(code, request, b"").await) }
        });
        for (addr, said) in join_all(farewells).await {
            if let Err(error) = said {
                tracing::debug!(
                    addr,
                    group = self.member.group,
                    "cannot say that the member leaves: {error}"
                );
            }
        }
    }
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("group", &self.member.group)
            .field("client", &self.member.client.id())
            .finish()
    }
}
