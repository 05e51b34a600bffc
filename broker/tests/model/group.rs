//! A group of three that elects its master. Its election and its replication run by the system's clock; messages wait by the test's.

use rmq_transport::ManualClock;

use crate::alone;
use crate::operations::Left;
use crate::rig::Group;
use crate::run::Brokers;
use crate::support::Client;

const MEMBERS: usize = 3;

pub(crate) struct Three {
    group: Group,
    master: usize,
    epoch: u64,
    /// Sent to see that there is a master.
    probes: u32,
}

impl Three {
    pub(crate) async fn start(clock: &ManualClock) -> Self {
        let mut group = Group::new(MEMBERS, |config| {
            config.segment_bytes = 1 << 20;
            alone::change(config);
        })
        .await;
        for member in &mut group.members {
            member.clock = Some(clock.clone());
            member.start().await;
        }
        let mut three = Self {
            group,
            master: 0,
            epoch: 0,
            probes: 0,
        };
        Brokers::start(&mut three).await;
        three
    }
}

impl Brokers for Three {
    const GOES_ON: bool = true;

    fn client(&self) -> Client {
        self.group.members[self.master].client()
    }

    fn address(&self) -> String {
        let broker = self.group.members[self.master].broker.as_ref();
        broker.expect("it runs").addr().to_string()
    }

    async fn stop(&mut self) {
        self.group.members[self.master].stop().await;
    }

    async fn kill(&mut self, _: Left) {
        self.group.members[self.master].kill().await;
    }

    async fn start(&mut self) {
        loop {
            self.probes += 1;
            self.group.send(&format!("probe {}", self.probes)).await;
            for member in &mut self.group.members {
                if member.broker.is_none() {
                    member.start().await;
                }
            }
            self.group.in_sync(MEMBERS).await;
            let Some(record) = self.group.record().await else {
                continue;
            };
            let Some(master) = record.master else {
                continue;
            };
            (self.master, self.epoch) = (master.member.0 as usize, record.epoch);
            // It takes messages.
            let probe = crate::rig::try_send(&self.client(), "probe").await;
            if probe.is_ok() {
                return;
            }
        }
    }

    async fn has_changed(&mut self) -> bool {
        let record = self.group.record().await;
        record.is_none_or(|record| record.epoch != self.epoch)
    }

    async fn end(&mut self) {
        for member in &mut self.group.members {
            if member.broker.is_some() {
                member.kill().await;
            }
        }
        for server in std::mem::take(&mut self.group.name_servers) {
            server.shutdown().await;
        }
    }
}
