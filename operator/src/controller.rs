//! The controller of one kind: it takes wakes from the kind's queue, looks at each object, and tries again after a failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, future};
use kube::ResourceExt;
use kube::core::object::HasStatus;
use kube::runtime;
use kube::runtime::controller::{Action, Config};

use crate::conditions::Status;
use crate::context::Context;
use crate::error::Error;
use crate::events::News;
use crate::queues::Receiver;
use crate::requeue::{self, Failures};
use crate::status;
use crate::watch::{Watch, Watched};

/// Objects of one kind that are looked at at the same time.
const CONCURRENCY: u16 = 16;
/// Wakes of one object within this time become one look.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// Our own kinds.
pub(crate) trait Reconciled:
    Watched + HasStatus<Status: Status + Clone + Default + Send + Sync>
{
    /// What is remembered between looks at objects of this kind, and of no other. The next looks can find all of it again.
    type Memory: Default + Send + Sync + 'static;

    /// One look: brings the object nearer to its spec.
    fn reconcile(
        &self,
        context: &Arc<Context>,
        memory: &Arc<Self::Memory>,
    ) -> impl Future<Output = Result<Action, Error>> + Send;

    /// Drops what is remembered of an object that is gone.
    fn forget(&self, _memory: &Self::Memory) {}
}

/// The controller of the objects of one kind.
pub(crate) struct Controller<K: Reconciled> {
    pub(crate) context: Arc<Context>,
    memory: Arc<K::Memory>,
    failures: Failures,
}

impl<K: Reconciled> Controller<K> {
    pub(crate) fn new(context: &Arc<Context>) -> Arc<Self> {
        Arc::new(Self {
            context: Arc::clone(context),
            memory: Arc::default(),
            failures: Failures::default(),
        })
    }

    /// Looks at the objects that the queue names, until it is dropped.
    pub(crate) async fn run(self: &Arc<Self>, watch: &Watch<K>, queue: Receiver<K>) {
        let wakes = futures_util::stream::unfold(queue, |mut queue| async move {
            let wake = queue.recv().await?;
            Some((wake, queue))
        });
        let config = Config::default()
            .concurrency(CONCURRENCY)
            .debounce(DEBOUNCE);
        // The stream of objects is empty: the watch is fed by its own task, and the queue has all wakes.
        runtime::Controller::for_stream(futures_util::stream::pending(), watch.store())
            .with_config(config)
            .reconcile_on(wakes)
            .run(look, after_failure, Arc::clone(self))
            .for_each(|_| future::ready(()))
            .await;
    }

    /// Drops everything about an object that is gone.
    pub(crate) fn forget(&self, object: &K) {
        let (namespace, name) = key(object);
        let metrics = &self.context.metrics;
        metrics.forget(&K::kind(&()), &namespace, &name);
        self.failures.clear(namespace, name);
        object.forget(&self.memory);
    }
}

/// Namespace and name.
fn key(object: &impl ResourceExt) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// One look at an object, with its metrics. An error that a person has to mend is written into the object's status.
async fn look<K: Reconciled>(
    object: Arc<K>,
    controller: Arc<Controller<K>>,
) -> Result<Action, Error> {
    let context = &controller.context;
    let started = Instant::now();
    let outcome = object.reconcile(context, &controller.memory).await;
    let reason = outcome.as_ref().err().map(Error::reason);
    context
        .metrics
        .looked(&K::kind(&()), started.elapsed(), reason);
    let error = match outcome {
        Ok(action) => {
            let (namespace, name) = key(&*object);
            controller.failures.clear(namespace, name);
            return Ok(action);
        }
        Err(error) => error,
    };
    let Some(refused) = error.verdict() else {
        return Err(error);
    };
    let status = object.status().cloned().unwrap_or_default();
    status::record(context, &*object, status, &refused).await?;
    Ok(requeue::refused())
}

fn after_failure<K: Reconciled>(
    object: Arc<K>,
    error: &Error,
    controller: Arc<Controller<K>>,
) -> Action {
    let (namespace, name) = key(&*object);
    let (failures, again) = controller.failures.count(namespace, name, error);
    if let Some(failures) = failures {
        tracing::warn!(kind = %K::kind(&()), namespace = object.namespace(), name = object.name_any(), failures, "{error}");
        if Failures::is_told(failures) {
            let news = News::warning(error.reason(), error.to_string());
            tokio::spawn(async move { controller.context.events.tell(&*object, &news).await });
        }
    }
    again
}
