//! One broker on a simulated disk.

use std::sync::Arc;

use rmq_broker::{BrokerConfig, BrokerServer, Deps, Flush, RunningBroker};
use rmq_store::fs::{Crash, SimulatedDisk};
use rmq_transport::ManualClock;

use crate::halves::CHECKS_MAX;
use crate::mistakes::Mistake;
use crate::operations::{LEVELS, Left, Setting};
use crate::run::Brokers;
use crate::support::Client;

/// The settings of every broker of a run.
pub(crate) fn change(config: &mut BrokerConfig) {
    config.delay_levels = LEVELS.to_owned();
    config.transaction_check_max = CHECKS_MAX.into();
    // A clock that is set ahead makes nothing old.
    config.retention_hours = 24 * 365;
}

pub(crate) struct Alone {
    clock: ManualClock,
    config: BrokerConfig,
    disk: SimulatedDisk,
    broker: Option<RunningBroker>,
}

impl Alone {
    pub(crate) async fn start(
        seed: u64,
        clock: &ManualClock,
        setting: Setting,
        mistake: Mistake,
    ) -> Self {
        let is_synced = setting.has_power_cuts && mistake != Mistake::AcknowledgesUnsynced;
        let mut config = BrokerConfig {
            listen: "127.0.0.1:0".to_owned(),
            fast_port: false,
            management: String::new(),
            data_dir: "/d".into(),
            // Small: a seed writes several.
            segment_bytes: 64 << 10,
            flush: match is_synced {
                true => Flush::Sync,
                false => Flush::Async,
            },
            ..BrokerConfig::default()
        };
        change(&mut config);
        let mut alone = Self {
            clock: clock.clone(),
            config,
            disk: SimulatedDisk::with_seed(seed),
            broker: None,
        };
        Brokers::start(&mut alone).await;
        alone
    }

    fn broker(&self) -> &RunningBroker {
        self.broker.as_ref().expect("it runs")
    }
}

impl Brokers for Alone {
    const GOES_ON: bool = false;

    fn client(&self) -> Client {
        Client::to(self.broker())
    }

    fn address(&self) -> String {
        self.broker().addr().to_string()
    }

    async fn stop(&mut self) {
        let broker = self.broker.take().expect("it runs");
        broker.shutdown().await.expect("a clean stop");
    }

    async fn kill(&mut self, left: Left) {
        self.broker.take().expect("it runs").kill().await;
        let crash = match left {
            Left::All => Crash::Kill,
            Left::Nothing => Crash::PowerLoss,
            Left::Some { seed } => Crash::Torn { seed },
        };
        if crash != Crash::Kill {
            self.disk = self.disk.after_crash(self.disk.steps(), crash);
        }
    }

    async fn start(&mut self) {
        let deps = Deps {
            clock: Arc::new(self.clock.clone()),
            fs: Arc::new(self.disk.clone()),
            ..Deps::default()
        };
        let broker = BrokerServer::start(self.config.clone(), deps).await;
        self.broker = Some(broker.expect("it starts"));
    }

    async fn has_changed(&mut self) -> bool {
        false
    }

    async fn end(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.kill().await;
        }
    }
}
