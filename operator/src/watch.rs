//! The objects of one kind as the API server has them: kept up to date whether or not this process leads, and found by name or by term.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Resource, ResourceExt};
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;

/// Objects that can be watched.
pub(crate) trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Namespace and name.
type Name = (String, String);
/// The terms under which an object is found, beside its name.
type Terms<K> = fn(&K) -> Vec<String>;
/// Called with each change: the object before, and the object now.
type Listener<K> = Box<dyn Fn(Option<&K>, Option<&K>) + Send + Sync>;

/// All objects of a kind as they were last seen.
pub(crate) struct Watch<K: Watched> {
    store: Store<K>,
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    terms: Terms<K>,
    index: RwLock<HashMap<String, BTreeSet<Name>>>,
    listeners: Mutex<Vec<Listener<K>>>,
    /// Whether the first list is there. The store's own `wait_until_ready` wakes only one of several waiters.
    is_ready: tokio::sync::watch::Sender<bool>,
}

/// The end that fills a [`Watch`].
pub(crate) struct Feed<K: Watched> {
    writer: Writer<K>,
    trim: Option<fn(&mut K)>,
    watch: Watch<K>,
}

impl<K: Watched> Clone for Watch<K> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<K: Watched> Watch<K> {
    /// An empty watch, and its feed. Objects are found by what `terms` gives.
    pub(crate) fn new(terms: Terms<K>) -> (Self, Feed<K>) {
        let (store, writer) = reflector::store();
        let watch = Self {
            store,
            shared: Arc::new(Shared {
                terms,
                index: RwLock::default(),
                listeners: Mutex::default(),
                is_ready: tokio::sync::watch::Sender::new(false),
            }),
        };
        let feed = Feed {
            writer,
            trim: None,
            watch: watch.clone(),
        };
        (watch, feed)
    }

    /// Waits for the first full list.
    pub(crate) async fn ready(&self) {
        let mut is_ready = self.shared.is_ready.subscribe();
        // The sender lives as long as this watch.
        let _ = is_ready.wait_for(|is_ready| *is_ready).await;
    }

    /// The objects, for a controller.
    pub(crate) fn store(&self) -> Store<K> {
        self.store.clone()
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.store.get(&ObjectRef::new(name).within(namespace))
    }

    /// Objects under this term, by name.
    pub(crate) fn of(&self, term: &str) -> Vec<Arc<K>> {
        let index = self.shared.index.read();
        let names = index.get(term).into_iter().flatten();
        names
            .filter_map(|(namespace, name)| self.get(namespace, name))
            .collect()
    }

    /// Calls `listener` with every object, and with each change from now on.
    pub(crate) fn listen(&self, listener: impl Fn(Option<&K>, Option<&K>) + Send + Sync + 'static) {
        let mut listeners = self.shared.listeners.lock();
        for object in self.store.state() {
            listener(None, Some(&object));
        }
        listeners.push(Box::new(listener));
    }

    fn tell(&self, old: Option<&K>, new: Option<&K>) {
        for listener in &*self.shared.listeners.lock() {
            listener(old, new);
        }
    }

    fn index(&self, old: Option<&K>, new: Option<&K>) {
        let name = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
        let mut index = self.shared.index.write();
        for term in old.map(self.shared.terms).unwrap_or_default() {
            if let (Some(names), Some(old)) = (index.get_mut(&term), old) {
                names.remove(&name(old));
                if names.is_empty() {
                    index.remove(&term);
                }
            }
        }
        for term in new.map(self.shared.terms).unwrap_or_default() {
            if let Some(new) = new {
                index.entry(term).or_default().insert(name(new));
            }
        }
    }
}

impl<K: Watched> Feed<K> {
    /// Takes fields away from each object that no look reads.
    pub(crate) fn trimmed(mut self, trim: fn(&mut K)) -> Self {
        self.trim = Some(trim);
        self
    }

    /// Applies events until the stream ends.
    pub(crate) async fn run(
        mut self,
        events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send,
    ) {
        let mut events = pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event),
                Err(error) if is_unknown(&error) => tracing::warn!(
                    kind = %K::kind(&()),
                    "the API server does not know this kind: install the definitions (rmq-operator crds | kubectl apply --server-side -f -)"
                ),
                Err(error) => tracing::warn!(kind = %K::kind(&()), "cannot watch: {error}"),
            }
        }
    }

    fn take(&mut self, mut event: Event<K>) {
        if let Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) = &mut event
        {
            // No look reads the managed fields, and they take half of the memory.
            object.managed_fields_mut().clear();
            if let Some(trim) = self.trim {
                trim(object);
            }
        }
        let watch = self.watch.clone();
        let known =
            |object: &K| watch.get(&object.namespace().unwrap_or_default(), &object.name_any());
        match &event {
            Event::Apply(object) => {
                let old = known(object);
                self.writer.apply_watcher_event(&event);
                watch.index(old.as_deref(), Some(object));
                watch.tell(old.as_deref(), Some(object));
            }
            Event::Delete(object) => {
                let old = known(object);
                self.writer.apply_watcher_event(&event);
                watch.index(old.as_deref(), None);
                watch.tell(Some(old.as_deref().unwrap_or(object)), None);
            }
            Event::Init | Event::InitApply(_) => self.writer.apply_watcher_event(&event),
            Event::InitDone => {
                let name = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
                let before = watch.store.state();
                let mut before: HashMap<Name, Arc<K>> =
                    before.into_iter().map(|old| (name(&old), old)).collect();
                self.writer.apply_watcher_event(&event);
                let now = watch.store.state();
                watch.shared.index.write().clear();
                for object in &now {
                    watch.index(None, Some(object));
                }
                watch.shared.is_ready.send_replace(true);
                for object in &now {
                    watch.tell(before.remove(&name(object)).as_deref(), Some(object));
                }
                for old in before.values() {
                    watch.tell(Some(old), None);
                }
            }
        }
    }
}

fn is_unknown(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn object(name: &str, owner: &str) -> ConfigMap {
        let labels = [("of".to_owned(), owner.to_owned())].into();
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some("n".to_owned()),
                name: Some(name.to_owned()),
                uid: Some(name.to_owned()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn names(watch: &Watch<ConfigMap>, owner: &str) -> Vec<String> {
        let found = watch.of(owner);
        found.iter().map(|object| object.name_any()).collect()
    }

    #[tokio::test]
    async fn all_who_wait_for_the_first_list_continue() {
        let (watch, mut feed) = Watch::<ConfigMap>::new(|_| Vec::new());
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let watch = watch.clone();
                tokio::spawn(async move { watch.ready().await })
            })
            .collect();
        tokio::task::yield_now().await;
        feed.take(Event::Init);
        feed.take(Event::InitDone);
        for waits in waiting {
            waits.await.expect("it continues");
        }
    }

    #[test]
    fn objects_are_found_by_what_they_belong_to_and_listeners_hear_of_each_change() {
        let (watch, mut feed) = Watch::<ConfigMap>::new(|object| {
            object.labels().get("of").cloned().into_iter().collect()
        });
        feed.take(Event::Init);
        feed.take(Event::InitApply(object("b", "x")));
        feed.take(Event::InitApply(object("a", "x")));
        feed.take(Event::InitApply(object("c", "y")));
        assert!(names(&watch, "x").is_empty(), "the list is not whole yet");
        feed.take(Event::InitDone);
        assert_eq!(names(&watch, "x"), ["a", "b"]);

        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = Arc::clone(&heard);
        watch.listen(move |old, new| {
            let name =
                |object: Option<&ConfigMap>| object.map_or("-".to_owned(), |of| of.name_any());
            hears.lock().push(format!("{} {}", name(old), name(new)));
        });
        let mut before: Vec<String> = std::mem::take(&mut *heard.lock());
        before.sort();
        assert_eq!(before, ["- a", "- b", "- c"]);
        feed.take(Event::Apply(object("a", "y")));
        feed.take(Event::Delete(object("b", "x")));
        assert!(names(&watch, "x").is_empty());
        assert_eq!(names(&watch, "y"), ["a", "c"]);
        assert_eq!(std::mem::take(&mut *heard.lock()), ["a a", "b -"]);

        // An object that was deleted while nobody watched is told too.
        feed.take(Event::Init);
        feed.take(Event::InitApply(object("d", "y")));
        feed.take(Event::InitDone);
        let mut after: Vec<String> = std::mem::take(&mut *heard.lock());
        after.sort();
        assert_eq!(after, ["- d", "a -", "c -"]);
        assert_eq!(names(&watch, "y"), ["d"]);
    }
}
