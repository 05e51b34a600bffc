//! Fixed roles as users of the original know them, with the Java client: the master stops, consumers read from a replica, the master
//! comes back, and nobody gets again what was consumed.

use std::sync::Arc;
use std::time::Duration;

use rmq_client::{Client, GroupSpec, Queue};
use rmq_e2e::java::Java;

use crate::group::{Group, Roles, World};
use crate::load::Notes;
use crate::until;

const NAME: &str = "classic";
const QUEUE: i32 = 3;
/// Begins before the master stops.
const EARLY: &str = "classic-early";
/// Begins while the master is away.
const LATE: &str = "classic-late";
const WITHIN: Duration = Duration::from_secs(60);

struct Classic {
    java: Arc<Java>,
    notes: Arc<Notes>,
}

impl Classic {
    /// The producer sends for a while; `first` numbers it. How many messages the queue has then.
    fn produce(&self, first: u32, more: usize) -> Result<i64, String> {
        let before = self.notes.java_acked();
        self.java
            .say(&format!("produce {NAME} {NAME} {QUEUE} {first}"))?;
        until(WITHIN, || {
            let acked = self.notes.java_acked() - before;
            let missing = || format!("{acked} of {more} are sent\n{}", self.notes.words());
            (acked >= more).then_some(()).ok_or_else(missing)
        })?;
        self.java.say(&format!("stop {NAME}"))?;
        self.notes.java_stops()?;
        i64::try_from(self.notes.java_acked()).map_err(|error| error.to_string())
    }

    /// Waits until a group has so many messages, each once.
    fn has(&self, group: &str, count: i64) -> Result<(), String> {
        until(WITHIN, || {
            let seen = self.notes.seen_by(group);
            let missing = (0..count).find(|offset| !seen.contains_key(&(QUEUE, *offset)));
            match missing {
                None => Ok(()),
                Some(offset) => Err(format!("{group} does not get offset {offset} of {count}")),
            }
        })?;
        let seen = self.notes.seen_by(group);
        let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
        match twice.is_empty() {
            true => Ok(()),
            false => Err(format!("{group} got these more than once: {twice:?}")),
        }
    }
}

/// Waits until `group` has committed `count` messages at a broker.
async fn committed(client: &Client, group: &str, count: i64) -> Result<(), String> {
    let queue = Queue::new(NAME, NAME, QUEUE);
    let wait = async {
        loop {
            let offset = client.admin().committed_offset(group, &queue).await;
            if matches!(offset, Ok(Some(offset)) if offset == count) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(WITHIN, wait).await;
    waited.map_err(|_| format!("{group} does not commit {count}"))
}

pub(crate) fn run(world: &World) -> Result<(), String> {
    let mut group = Group::start_members(world, NAME, Roles::Fixed, &[])?;
    let client = world.runtime.block_on(async {
        group.create_topic(&world.url()).await?;
        let client = Client::connect(world.url()).await;
        let client = client.map_err(|error| error.to_string())?;
        for name in [EARLY, LATE] {
            let spec = GroupSpec::new(name).brokers([NAME]);
            let created = client.admin().create_group(&spec).await;
            created.map_err(|error| error.to_string())?;
        }
        Ok::<_, String>(client)
    })?;
    let classic = Classic {
        java: world.java()?,
        notes: Arc::default(),
    };
    classic.notes.hear(&classic.java, NAME, NAME);
    let mut steps = || {
        classic.java.say(&format!("consume {NAME} {EARLY}"))?;
        let count = classic.produce(1_000_000, 50)?;
        classic.has(EARLY, count)?;
        world.runtime.block_on(committed(&client, EARLY, count))?;
        group.copied(world, &client, 0, 0)?;

        group.stop(0);
        classic.java.say(&format!("consume {NAME} {LATE}"))?;
        classic.has(LATE, count)?;

        group.start_member(0);
        group.copied(world, &client, 0, 0)?;
        let count = classic.produce(2_000_000, 50)?;
        classic.has(EARLY, count)?;
        classic.has(LATE, count)?;
        for name in [EARLY, LATE] {
            world.runtime.block_on(committed(&client, name, count))?;
            classic.java.say(&format!("leave {NAME} {name}"))?;
        }
        Ok::<(), String>(())
    };
    let ended = steps();
    world.runtime.block_on(client.shutdown());
    ended.map_err(|error| format!("{error}\n{}\n{}", classic.notes.words(), group.logs()))
}
