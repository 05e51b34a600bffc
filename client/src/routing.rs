//! Finding out where topics and brokers are.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rmq_protocol::ResponseCode;
use rmq_protocol::names::{NameError, validate_topic};
use rmq_protocol::requests::{GetBrokerClusterInfo, GetRouteinfoByTopic, Request};
use rmq_protocol::route::{ClusterInfo, TopicRoute};

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::events::Event;
use crate::queue::Queue;
use crate::remote::{Answer, Remote};
use crate::routes::{Kept, Route};

/// A name server that has not answered after so long is not waited for alone.
const NEXT_AFTER: Duration = Duration::from_millis(300);

/// A request waits so long for a newer route where it has one that is old and not wrong as far as is known.
const NEWER_WITHIN: Duration = Duration::from_millis(100);

fn is_no_answer(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Timeout)
}

impl Client {
    /// Asks a name server, and the next one when that fails or takes long; the first answer counts. Only for what changes nothing.
    pub(crate) async fn ask_name_server<'a, R: Request<'a> + Sync>(
        &self,
        request: &R,
        body: &[u8],
    ) -> Result<Answer, Error> {
        let servers = self.url().name_servers();
        let first = self.name_server();
        let mut next = (0..servers.len()).map(|step| first.wrapping_add(step) % servers.len());
        let ask = async |index: usize| {
            let server = self.remote(&servers[index]);
            let answer = server.call_any(R::CODE.as_i32(), request, body).await;
            (index, answer)
        };
        let mut asked: FuturesUnordered<_> = next.next().map(&ask).into_iter().collect();
        let mut last = None;
        loop {
            let answered = tokio::select! {
                answered = asked.next() => answered,
                () = tokio::time::sleep(NEXT_AFTER), if next.len() > 0 => {
                    asked.extend(next.next().map(&ask));
                    continue;
                }
            };
            match answered {
                Some((index, Ok(answer))) => {
                    self.set_name_server(index);
                    return Ok(answer);
                }
                Some((_, Err(error))) if error.kind() == ErrorKind::Closed => return Err(error),
                Some((_, Err(error))) => {
                    last = Some(error);
                    asked.extend(next.next().map(&ask));
                }
                None => break,
            }
        }
        let error = last.unwrap_or_else(Error::closed);
        Err(error
            .doing("asking the name servers")
            .advice("check that a name server listens there: rmq-ctl dev starts one"))
    }

    /// All clusters and brokers.
    ///
    /// # Errors
    /// When no name server answers.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn cluster_info(&self) -> Result<ClusterInfo, Error> {
        let answer = self
            .ask_name_server(&GetBrokerClusterInfo {}, b"")
            .await?
            .success()?;
        ClusterInfo::from_json(answer.body()).map_err(|error| Error::from(error).at(answer.addr()))
    }

    /// The route of a topic. One that is older than [`Timeouts::route_age`](crate::Timeouts::route_age) is given when a newer one does not come within
    /// 100 ms; one four times as old, or by which a request failed, only when no name server answers, or when all brokers of the topic are
    /// gone from there.
    ///
    /// # Errors
    /// [`ErrorKind::NoRoute`] when the name servers know none.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn route(&self, topic: &str) -> Result<Arc<Route>, Error> {
        match self.routes().kept(topic, self.timeouts().route_age) {
            Kept::Fresh(route) | Kept::Old { route, ask: false } => return Ok(route),
            Kept::Old { route, ask: true } => {
                let (client, topic) = (self.clone(), topic.to_owned());
                let asking = self.tasks().spawn(async move {
                    tokio::select! {
                        () = client.stopped().cancelled() => Err(Error::closed()),
                        // A failure is noted; the next one asks again.
                        asked = client.ask_route(&topic) => asked,
                    }
                });
                return match tokio::time::timeout(NEWER_WITHIN, asking).await {
                    Ok(Ok(Ok(newer))) => Ok(newer),
                    Ok(Ok(Err(error))) if !is_no_answer(&error) => Err(error),
                    // No name server answers, or not at once.
                    _ => Ok(route),
                };
            }
            Kept::Doubted => {}
        }
        match self.ask_route(topic).await {
            Err(error) if is_no_answer(&error) => self.routes().any(topic).ok_or(error),
            result => result,
        }
    }

    /// As [`Client::refresh_route`]. The next caller learns when there was no route.
    async fn ask_route(&self, topic: &str) -> Result<Arc<Route>, Error> {
        let asked = self.refresh_route(topic).await;
        if let Err(error) = &asked {
            self.routes().answered(topic, !is_no_answer(error));
        }
        asked
    }

    /// The route of a topic, asked for now.
    ///
    /// # Errors
    /// [`ErrorKind::NoRoute`] when the name servers know none. [`ErrorKind::Unreachable`] when this client knew one and the topic's
    /// broker is gone from the name servers, or when no broker is registered there at all.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn refresh_route(&self, topic: &str) -> Result<Arc<Route>, Error> {
        validate_topic(topic).map_err(|error: NameError| Error::invalid(error.to_string()))?;
        let request = GetRouteinfoByTopic {
            topic: topic.into(),
            accept_standard_json_only: Some(true),
        };
        let answer = self.ask_name_server(&request, b"").await?;
        if answer.code() == ResponseCode::TopicNotExist.as_i32() {
            return Err(self.without_route(topic, answer.addr()).await);
        }
        let answer = answer.success()?;
        let raw = TopicRoute::from_json(answer.body())
            .map_err(|error| Error::from(error).at(answer.addr()))?;
        let before = self.routes().any(topic);
        let has_failed = self.routes().is_expired(topic);
        let route = self.routes().learn(Route::new(topic, raw));
        match before {
            Some(before) if before != route => {
                self.follow_masters(&before, &route);
                self.tell(|| Event::Rerouted {
                    topic: topic.to_owned(),
                });
            }
            // This name server may be cut off from a new master: another one is asked next.
            Some(_) if has_failed => self.set_name_server(self.name_server().wrapping_add(1)),
            _ => {}
        }
        Ok(route)
    }

    /// Leaves the masters that have a successor. Whoever still waits for an answer of one asks the successor now.
    fn follow_masters(&self, before: &Route, now: &Route) {
        let mut came = false;
        for group in &now.raw().broker_datas {
            let old = before.master(&group.broker_name);
            if group.master().is_some() && group.master() != old {
                came = true;
                // What failed was the one before.
                let name = &group.broker_name;
                self.isolation().answered(name, Duration::ZERO);
                old.inspect(|old| self.disconnect(old));
            }
        }
        if came {
            self.routes().master_came();
        }
    }

    /// A request failed. Where the server did not answer, it is asked for a route that names it whether another master is known.
    pub(crate) async fn suspect(&self, error: &Error) {
        let addr = error.addr().filter(|_| error.is_silence());
        if let Some(addr) = addr
            && let Some(topic) = self.routes().expire_at(addr)
        {
            // What it says counts for all topics; its failure is nobody's.
            let _ = self.refresh_route(&topic).await;
        }
    }

    /// Why the name server at `addr` knows no route: the topic does not exist, or those who have it are gone.
    async fn without_route(&self, topic: &str, addr: &str) -> Error {
        let known = self.routes().any(topic);
        let registered = match self.cluster_info().await {
            Ok(info) => info.broker_addr_table,
            // No server answers now; the known route stays.
            Err(error) => return error,
        };
        let gone = known.and_then(|route| {
            let mut brokers = route.raw().broker_datas.iter();
            let gone = brokers.find(|data| !registered.contains_key(&data.broker_name));
            gone.map(|data| data.broker_name.clone())
        });
        if let Some(broker) = gone {
            let what = format!(
                "the broker \"{broker}\" of topic \"{topic}\" is gone: no name server knows it"
            );
            self.routes().expire_without(topic, what.clone());
            return Error::new(ErrorKind::Unreachable, what)
                .at(addr)
                .advice(GONE_ADVICE);
        }
        self.routes().forget(topic);
        if registered.is_empty() {
            let what = format!("topic \"{topic}\" has no route: no broker is registered");
            return Error::new(ErrorKind::Unreachable, what)
                .at(addr)
                .advice("start a broker, or wait until it has registered");
        }
        Error::new(
            ErrorKind::NoRoute,
            format!("topic \"{topic}\" has no route"),
        )
        .at(addr)
        .advice("no broker has registered it: create it, or check its name")
    }

    /// Says that the broker is gone, where a request failed for that reason.
    pub(crate) fn explain(&self, topic: &str, error: Error) -> Error {
        if error.kind() != ErrorKind::Unreachable {
            return error;
        }
        match self.routes().gone(topic) {
            Some(gone) if !error.to_string().contains(&gone) => {
                error.doing(&gone).advice(GONE_ADVICE)
            }
            _ => error,
        }
    }

    /// Waits until the name servers know a route of `topic` with a writable queue.
    ///
    /// # Errors
    /// The last failure when `within` is over.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn wait_for_route(&self, topic: &str, within: Duration) -> Result<Arc<Route>, Error> {
        self.wait_for_route_that(topic, within, |route| {
            if route.writable().is_empty() {
                return Err(format!("topic \"{topic}\" has no writable queue yet"));
            }
            Ok(())
        })
        .await
    }

    /// Asks for the route until `accept` takes it; its refusal becomes the error when time is up.
    pub(crate) async fn wait_for_route_that(
        &self,
        topic: &str,
        within: Duration,
        accept: impl Fn(&Route) -> Result<(), String>,
    ) -> Result<Arc<Route>, Error> {
        let deadline = tokio::time::Instant::now() + within;
        let mut pause = Duration::from_millis(5);
        loop {
            let error = match self.refresh_route(topic).await {
                Ok(route) => match accept(&route) {
                    Ok(()) => return Ok(route),
                    Err(why) => Error::new(ErrorKind::NoRoute, why),
                },
                Err(error) if !error.is_retryable() => return Err(error),
                Err(error) => error,
            };
            if tokio::time::Instant::now() + pause > deadline {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    /// The master of the queue's broker group.
    pub(crate) async fn master_for(&self, queue: &Queue) -> Result<Remote, Error> {
        let route = self.route(queue.topic()).await?;
        let addr = route.master(queue.broker());
        let addr = addr.ok_or_else(|| self.without_master(queue.topic(), queue.broker()))?;
        Ok(self.remote(addr))
    }

    /// The error of a request that only a master serves.
    pub(crate) fn without_master(&self, topic: &str, broker: &str) -> Error {
        self.expire_route(topic);
        let what = format!("the broker group \"{broker}\" has no master now");
        Error::new(ErrorKind::Unreachable, what).advice(
            "a group that elects has one again within seconds; with fixed roles, start the master again",
        )
    }

    /// The member of the queue's broker group that knows most: the master, or else a replica.
    pub(crate) async fn reader_of(&self, queue: &Queue) -> Result<Remote, Error> {
        self.member_for(queue, |route| route.reader(queue.broker()))
            .await
    }

    /// The member of the queue's broker group to pull from.
    pub(crate) async fn puller_of(&self, queue: &Queue) -> Result<Remote, Error> {
        self.member_for(queue, |route| self.reading().of(queue, route))
            .await
    }

    async fn member_for(
        &self,
        queue: &Queue,
        pick: impl Fn(&Route) -> Option<&str>,
    ) -> Result<Remote, Error> {
        let route = self.route(queue.topic()).await?;
        let addr = match pick(&route) {
            Some(addr) => addr.to_owned(),
            // The broker may be new.
            None => pick(&*self.refresh_route(queue.topic()).await?)
                .map(str::to_owned)
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::NoRoute,
                        format!(
                            "broker \"{}\" does not serve topic \"{}\"",
                            queue.broker(),
                            queue.topic()
                        ),
                    )
                })?,
        };
        Ok(self.remote(&addr))
    }

    /// The address of a broker group's master, asked for now.
    pub(crate) async fn master_of(&self, broker: &str) -> Result<Remote, Error> {
        let info = self.cluster_info().await?;
        let addr = info
            .broker_addr_table
            .get(broker)
            .and_then(|data| data.master())
            .ok_or_else(|| {
                let known: Vec<_> = info.broker_addr_table.keys().map(String::as_str).collect();
                Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "broker \"{broker}\" has no master; known brokers: {}",
                        known.join(", ")
                    ),
                )
            })?;
        Ok(self.remote(addr))
    }
}

const GONE_ADVICE: &str = "it crashed, was stopped, or is cut off: start it again, or wait";
