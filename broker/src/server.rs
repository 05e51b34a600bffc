//! A broker in the process of its caller: started, looked at, stopped.

use std::net::SocketAddr;
use std::sync::Arc;

use rmq_config::{BrokerConfig, Configuration as _};
use rmq_protocol::route::MASTER_ID;
use rmq_store::{AppendError, RecoveryReport};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::group::elected::run;
use crate::group::fixed;
use crate::listeners::{self, Listeners};
use crate::lives::{Ending, Lives, OpenAs};
use crate::management;
use crate::start::{Deps, StartError};
use crate::tasks;

/// A started broker. Dropping it stops nothing: use [`RunningBroker::shutdown`] or [`RunningBroker::kill`].
pub struct RunningBroker {
    pub(crate) lives: Arc<Lives>,
    recovery: RecoveryReport,
    /// Begins and ends lives meanwhile.
    driver: Option<JoinHandle<()>>,
    management: Option<JoinHandle<()>>,
    stop_management: CancellationToken,
}

impl std::fmt::Debug for RunningBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningBroker")
            .field("addr", &self.addr())
            .finish_non_exhaustive()
    }
}

/// A broker to be started.
#[derive(Debug)]
pub struct BrokerServer;

impl BrokerServer {
    /// Binds the ports of the configuration and starts a broker on them; see [`BrokerServer::start_on`].
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start(config: BrokerConfig, deps: Deps) -> Result<RunningBroker, StartError> {
        config.validate()?;
        let listeners = Listeners::bind(&config).await?;
        // The settings are large, and each part of a start holds them.
        Box::pin(Self::start_on(listeners, config, deps)).await
    }

    /// Starts a broker: opens the store, loads the tables, serves, starts the tasks, registers. Returns when clients can be served;
    /// [`RunningBroker::registered`] waits for the name servers. The ports of `config` are not looked at.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start_on(
        listeners: Listeners,
        config: BrokerConfig,
        deps: Deps,
    ) -> Result<RunningBroker, StartError> {
        let lives = Lives::new(listeners, config, deps).await?;
        let management = lives.listeners.management.as_ref();
        let management = management.map(listeners::copy).transpose();
        let management = management.map_err(|source| StartError::Listen {
            addr: lives.config.management.clone(),
            key: "management",
            source,
        })?;
        let open_as = match (lives.config.broker_id, &lives.elected) {
            (MASTER_ID, None) => OpenAs::Master,
            (_, _) => OpenAs::Follower,
        };
        let (_, recovery) = lives.begin(open_as).await?;
        let driver = match (&lives.elected, open_as) {
            (Some(elected), _) => Some(run::start(&lives, elected).await?),
            (None, OpenAs::Follower) => Some(tasks::serve(fixed::drive(Arc::clone(&lives)))),
            (None, OpenAs::Master) => None,
        };
        let stop_management = CancellationToken::new();
        let management = management.map(|listener| {
            let tls = lives.tls.management().cloned();
            management::serve(listener, tls, lives.current(), stop_management.clone())
        });
        Ok(RunningBroker {
            lives,
            recovery,
            driver,
            management,
            stop_management,
        })
    }
}

impl RunningBroker {
    /// Where clients connect on this machine.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.lives.listeners.addr
    }

    /// The address that routes carry, `host:port`.
    #[must_use]
    pub fn advertised(&self) -> &str {
        &self.lives.identity.addr
    }

    /// The second port, if there is one.
    #[must_use]
    pub fn fast_addr(&self) -> Option<SocketAddr> {
        self.lives.listeners.fast_addr()
    }

    /// Where health and metrics are, if anywhere.
    #[must_use]
    pub fn management_addr(&self) -> Option<SocketAddr> {
        self.lives.listeners.management_addr()
    }

    /// Where members of the group copy its log on this machine, if anywhere.
    #[must_use]
    pub fn replication_addr(&self) -> Option<SocketAddr> {
        self.lives.listeners.replication_addr()
    }

    /// The settings it runs with.
    #[must_use]
    pub fn config(&self) -> &BrokerConfig {
        &self.lives.config
    }

    /// What was found when the store was opened at the start.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.recovery
    }

    /// Waits until every name server has taken this broker's topics as they are now.
    pub async fn registered(&self) {
        let mut current = self.lives.current();
        loop {
            let broker = current.borrow_and_update().clone();
            let registered = async {
                match &broker {
                    Some(broker) => broker.registrations.all_current(&broker.topics).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = registered => return,
                // Another life; the sender lives as long as self.
                _ = current.changed() => {}
            }
        }
    }

    /// Leaves the routes, answers what waits, ends what is in flight, writes everything to disk.
    ///
    /// # Errors
    /// When the last writes failed.
    pub async fn shutdown(self) -> Result<(), AppendError> {
        self.end(Ending::Stop).await
    }

    /// Ends at once and writes nothing more, as a killed process would. For tests.
    pub async fn kill(self) {
        // Nothing is written that could fail.
        let _ = self.end(Ending::Kill).await;
    }

    async fn end(self, ending: Ending) -> Result<(), AppendError> {
        self.lives.end_for_good(ending);
        if let Some(driver) = self.driver
            && let Err(error) = driver.await
        {
            tracing::error!("who begins the lives of the broker ended badly: {error}");
        }
        let ended = self.lives.end(ending).await;
        self.stop_management.cancel();
        if let Some(management) = self.management {
            // Nothing depends on how it ends.
            let _ = management.await;
        }
        ended
    }
}

#[cfg(test)]
mod tests;
