//! Tasks and roles.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rmq_transport::ManualClock;
use tokio::sync::mpsc;

use super::*;
use crate::role::CurrentRole;

const MASTER: Role = Role::Master { epoch: 1 };
const REPLICA: Role = Role::Replica { of: None };

#[derive(Debug, PartialEq)]
enum Event {
    Begun,
    Ended,
}

/// Tells when its work begins and ends; panics when `fails` says so.
async fn work(events: mpsc::UnboundedSender<Event>, stop: CancellationToken, fails: bool) {
    events.send(Event::Begun).expect("the test listens");
    assert!(!fails, "as the test wants it");
    stop.cancelled().await;
    events.send(Event::Ended).expect("the test listens");
}

fn runner(task: Task, role: &CurrentRole, clock: &ManualClock) -> (Runner, CancellationToken) {
    let stop = CancellationToken::new();
    let runner = Runner {
        task,
        role: role.watch(),
        clock: Arc::new(clock.clone()),
        stop: stop.clone(),
    };
    (runner, stop)
}

#[tokio::test]
async fn a_task_of_the_master_starts_and_ends_with_the_role() {
    let role = CurrentRole::new(REPLICA);
    let (events, mut told) = mpsc::unbounded_channel();
    let task = Task::DeliverDelayed { level: 0 };
    let (runner, stop) = runner(task, &role, &ManualClock::at(0));
    let running = tokio::spawn(runner.run(move |stop| work(events.clone(), stop, false)));
    tokio::task::yield_now().await;
    assert!(told.try_recv().is_err(), "not on a replica");
    for epoch in 2..5 {
        role.set(Role::Master { epoch });
        assert_eq!(told.recv().await, Some(Event::Begun));
        // Another master of the same kind changes nothing.
        role.set(Role::Master { epoch: epoch + 1 });
        role.set(REPLICA);
        assert_eq!(told.recv().await, Some(Event::Ended));
    }
    role.set(MASTER);
    assert_eq!(told.recv().await, Some(Event::Begun));
    stop.cancel();
    running.await.expect("no panic");
    assert_eq!(told.recv().await, Some(Event::Ended));
    assert_eq!(told.recv().await, None);
}

#[tokio::test]
async fn a_task_of_every_role_does_not_notice_a_change() {
    let role = CurrentRole::new(REPLICA);
    let (events, mut told) = mpsc::unbounded_channel();
    let (runner, stop) = runner(Task::Sample, &role, &ManualClock::at(0));
    let running = tokio::spawn(runner.run(move |stop| work(events.clone(), stop, false)));
    assert_eq!(told.recv().await, Some(Event::Begun));
    role.set(MASTER);
    role.set(REPLICA);
    tokio::task::yield_now().await;
    stop.cancel();
    running.await.expect("no panic");
    assert_eq!(told.recv().await, Some(Event::Ended));
    assert_eq!(told.recv().await, None);
}

#[tokio::test]
async fn a_task_that_ends_badly_starts_again() {
    let role = CurrentRole::new(MASTER);
    let clock = ManualClock::at(0);
    let (events, mut told) = mpsc::unbounded_channel();
    let (runner, stop) = runner(Task::SaveProgress, &role, &clock);
    let times = std::sync::atomic::AtomicUsize::new(0);
    let running = tokio::spawn(runner.run(move |stop| {
        let time = times.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        work(events.clone(), stop, time < 2)
    }));
    for _ in 0..2 {
        assert_eq!(told.recv().await, Some(Event::Begun));
        while clock.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(told.try_recv().is_err(), "not at once");
        clock.advance(Duration::from_millis(RESTART_MS.unsigned_abs()));
    }
    assert_eq!(told.recv().await, Some(Event::Begun));
    stop.cancel();
    running.await.expect("no panic");
    assert_eq!(told.recv().await, Some(Event::Ended));
}

#[tokio::test]
async fn a_task_with_nothing_left_to_do_ends() {
    let role = CurrentRole::new(MASTER);
    let (runner, _stop) = runner(Task::Register, &role, &ManualClock::at(0));
    runner.run(|_| async {}).await;
}

#[test]
fn only_a_master_writes() {
    let all = Task::all(2, false);
    let masters: Vec<_> = all.iter().filter(|task| !task.runs_in(&REPLICA)).collect();
    assert_eq!(
        masters,
        [
            &Task::SaveProgress,
            &Task::Lead,
            &Task::EndLateAcks,
            &Task::DeliverTimers,
            &Task::DeliverLeftover,
            &Task::CheckTransactions,
            &Task::DeliverDelayed { level: 0 },
            &Task::DeliverDelayed { level: 1 },
        ]
    );
    let replicas = all.iter().filter(|task| !task.runs_in(&MASTER));
    assert_eq!(
        replicas.collect::<Vec<_>>(),
        [&Task::Follow, &Task::PassOffsets]
    );
    assert_eq!(all.last(), Some(&Task::Register));
}

/// All source files below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of sources");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn nothing_starts_a_task_beside_this_module() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let starts = ["tokio::spawn(", "spawn_blocking(", "JoinSet", "TaskTracker"];
    let found: Vec<_> = sources(&src)
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs") && !path.iter().any(|part| part == "tests"))
        .filter(|path| {
            let text = std::fs::read_to_string(path).expect("a source");
            starts.iter().any(|start| text.contains(start))
        })
        .map(|path| path.strip_prefix(&src).expect("below it").to_owned())
        .collect();
    // What single requests start is in `work.rs` and `broker.rs`. Files of certificates are watched as long as there are ports, whatever the role.
    let known = [
        "management.rs",
        "tasks.rs",
        "work.rs",
        "broker.rs",
        "tls.rs",
    ]
    .map(PathBuf::from);
    for path in &found {
        assert!(known.contains(path), "{} starts a task", path.display());
    }
    assert!(found.contains(&known[1]), "the search finds what there is");
}

#[test]
fn a_task_takes_the_memory_of_its_own_work() {
    fn bytes<F>(_: fn(Task, Arc<Broker>, CancellationToken) -> F) -> usize {
        size_of::<F>()
    }
    let bytes = bytes(Task::run);
    // There is one for each delay level.
    assert!(bytes <= 1_024, "{bytes} bytes");
}
