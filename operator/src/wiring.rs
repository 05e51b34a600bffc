//! The wiring of all kinds: which change wakes which object.

use std::sync::Arc;

use kube::{Resource, ResourceExt};
use rmq_crds::{BrokerGroup, Conditions, NameServer, SubscriptionGroup, Topic, User};

use crate::context::Context;
use crate::controller::{Controller, Reconciled};
use crate::objects::names;
use crate::queues::{Queues, Receivers, Sender, wake};
use crate::settings;
use crate::tls;
use crate::watch::{Watch, Watched};

/// One controller for each of our kinds.
struct Controllers {
    name_servers: Arc<Controller<NameServer>>,
    broker_groups: Arc<Controller<BrokerGroup>>,
    topics: Arc<Controller<Topic>>,
    subscription_groups: Arc<Controller<SubscriptionGroup>>,
    users: Arc<Controller<User>>,
}

/// Looks at all objects of one namespace, or of all, until it is dropped.
pub(crate) async fn act(context: Arc<Context>, receivers: Receivers) {
    let controllers = Controllers {
        name_servers: Controller::new(&context),
        broker_groups: Controller::new(&context),
        topics: Controller::new(&context),
        subscription_groups: Controller::new(&context),
        users: Controller::new(&context),
    };
    let stores = &context.stores;
    // Without its full list, a watch would not show a child that exists.
    stores.ready().await;
    wire(&context, &controllers);
    // No controller ends by itself.
    tokio::select! {
        () = controllers.name_servers.run(&stores.name_servers, receivers.name_servers) => {}
        () = controllers.broker_groups.run(&stores.broker_groups, receivers.broker_groups) => {}
        () = controllers.topics.run(&stores.topics, receivers.topics) => {}
        () = controllers.subscription_groups.run(&stores.subscription_groups, receivers.subscription_groups) => {}
        () = controllers.users.run(&stores.users, receivers.users) => {}
    }
}

fn wire(context: &Arc<Context>, controllers: &Controllers) {
    let stores = &context.stores;
    children_wake_their_owners(&stores.elections, context);
    children_wake_their_owners(&stores.accounts, context);
    children_wake_their_owners(&stores.roles, context);
    children_wake_their_owners(&stores.role_bindings, context);
    children_wake_their_owners(&stores.stateful_sets, context);
    children_wake_their_owners(&stores.services, context);
    children_wake_their_owners(&stores.config_maps, context);
    children_wake_their_owners(&stores.disruption_budgets, context);
    children_wake_their_owners(&stores.pods, context);
    children_wake_their_owners(&stores.claims, context);
    stages_wake_the_cluster(&stores.pods, context, tls::of_pod);
    stages_wake_the_cluster(&stores.stateful_sets, context, tls::of_template);
    name_servers_wake(&controllers.name_servers);
    broker_groups_wake(&controllers.broker_groups);
    settings_wake(&controllers.topics, |queues| &queues.topics);
    settings_wake(&controllers.subscription_groups, |queues| {
        &queues.subscription_groups
    });
    settings_wake(&controllers.users, |queues| &queues.users);
}

/// A change of a child wakes its owner. Listeners do not keep what they wake alive: the watches that call them belong to it.
fn children_wake_their_owners<K: Watched>(watch: &Watch<K>, context: &Arc<Context>) {
    let listening = Arc::downgrade(context);
    watch.listen(move |old, new| {
        let owner = new.or(old).and_then(names::owner);
        if let (Some(context), Some((component, namespace, name))) = (listening.upgrade(), owner) {
            if component == names::NAME_SERVER {
                wake(&context.queues.name_servers, &namespace, &name);
            } else {
                context.queues.wake_group(&namespace, &name);
            }
        }
    });
}

/// How far a server is with TLS says how far the others of its cluster may go.
fn stages_wake_the_cluster<K: Watched>(
    watch: &Watch<K>,
    context: &Arc<Context>,
    stage: fn(&K) -> tls::Stage,
) {
    let listening = Arc::downgrade(context);
    watch.listen(move |old, new| {
        if old.map(stage) == new.map(stage) {
            return;
        }
        let child = new.or(old);
        let cluster = child.and_then(|child| child.labels().get(names::CLUSTER).cloned());
        let (Some(context), Some(child), Some(cluster)) = (listening.upgrade(), child, cluster)
        else {
            return;
        };
        let namespace = child.namespace().unwrap_or_default();
        wake(&context.queues.name_servers, &namespace, &cluster);
        for group in context.stores.groups_of(&namespace, &cluster) {
            context.queues.wake_group(&namespace, &group.name_any());
        }
    });
}

/// What topics and subscription groups want to know of a cluster's servers: whether they are to go, and how many are ready.
fn serving<K: Resource, N>(
    object: Option<&K>,
    ready: impl Fn(&K) -> Option<N>,
) -> Option<(bool, Option<N>)> {
    object.map(|object| (object.meta().deletion_timestamp.is_some(), ready(object)))
}

/// A NameServer wakes itself, the broker groups of its cluster and, when its servers come or go, the cluster's topics and subscription
/// groups.
fn name_servers_wake(controller: &Arc<Controller<NameServer>>) {
    let listening = Arc::downgrade(controller);
    let watch = &controller.context.stores.name_servers;
    watch.listen(move |old, new| {
        let (Some(controller), Some(object)) = (listening.upgrade(), new.or(old)) else {
            return;
        };
        let context = &controller.context;
        wake_itself(
            &controller,
            &context.queues.name_servers,
            object,
            new.is_none(),
        );
        // Connections to name servers that are gone, or have other addresses now.
        let addresses = old.map(names::name_server_addresses);
        if let Some(addresses) = addresses
            && new.map(names::name_server_addresses).as_ref() != Some(&addresses)
        {
            let context = Arc::clone(context);
            tokio::spawn(async move { context.clusters.forget(&addresses).await });
        }
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        for group in context.stores.groups_of(&namespace, &name) {
            context.queues.wake_group(&namespace, &group.name_any());
        }
        // Users need the keys of the cluster.
        let ready = |object: &NameServer| {
            let status = object.status.as_ref()?;
            Some((status.ready_replicas, status.access_secret.clone()))
        };
        if serving(old, ready) != serving(new, ready) {
            wake_settings(context, &names::cluster_term(&namespace, &name), &namespace);
        }
    });
}

/// A BrokerGroup wakes itself, the groups that wait for it and, when its brokers come or go, the cluster's topics and subscription groups.
fn broker_groups_wake(controller: &Arc<Controller<BrokerGroup>>) {
    let listening = Arc::downgrade(controller);
    let watch = &controller.context.stores.broker_groups;
    watch.listen(move |old, new| {
        let (Some(controller), Some(object)) = (listening.upgrade(), new.or(old)) else {
            return;
        };
        let context = &controller.context;
        wake_itself(
            &controller,
            &context.queues.broker_groups,
            object,
            new.is_none(),
        );
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let cluster = &object.spec.name_server_ref.name;
        for sibling in context.stores.groups_of(&namespace, cluster) {
            let waits = |type_: &str, reason: &str| {
                let status = sibling.status.as_ref();
                status
                    .and_then(|status| status.conditions.of(type_))
                    .is_some_and(|condition| condition.reason == reason)
            };
            // The end of a restart lets the next group begin, and the end of a group frees its broker name.
            if sibling.name_any() != name
                && (waits("Progressing", "RestartPending") || waits("Stalled", "ResourceConflict"))
            {
                context.queues.wake_group(&namespace, &sibling.name_any());
            }
        }
        let ready = |object: &BrokerGroup| Some(object.status.as_ref()?.ready_replicas);
        if serving(old, ready) != serving(new, ready) {
            wake_settings(
                context,
                &names::cluster_term(&namespace, cluster),
                &namespace,
            );
        }
    });
}

/// A Topic, SubscriptionGroup or User wakes itself, and when it is gone, the objects that want the same name.
fn settings_wake<K: settings::Placed>(
    controller: &Arc<Controller<K>>,
    queue: fn(&Queues) -> &Sender<K>,
) {
    let listening = Arc::downgrade(controller);
    K::watch(&controller.context.stores).listen(move |old, new| {
        let (Some(controller), Some(object)) = (listening.upgrade(), new.or(old)) else {
            return;
        };
        let context = &controller.context;
        if let (Some(old), Some(new)) = (old, new) {
            K::touched(old, new, context);
        }
        let queue = queue(&context.queues);
        wake_itself(&controller, queue, object, new.is_none());
        if new.is_none() {
            for rival in K::watch(&context.stores).of(&settings::name_term(object)) {
                wake(
                    queue,
                    &rival.namespace().unwrap_or_default(),
                    &rival.name_any(),
                );
            }
        }
    });
}

/// A change of one of our own objects is a reason to look at it; an object that is gone is forgotten.
fn wake_itself<K: Reconciled>(
    controller: &Controller<K>,
    queue: &Sender<K>,
    object: &K,
    is_gone: bool,
) {
    if is_gone {
        controller.forget(object);
    } else {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        wake(queue, &namespace, &name);
    }
}

/// Wakes the topics, subscription groups and users of a cluster.
fn wake_settings(context: &Context, cluster: &str, namespace: &str) {
    for topic in context.stores.topics.of(cluster) {
        wake(&context.queues.topics, namespace, &topic.name_any());
    }
    for group in context.stores.subscription_groups.of(cluster) {
        wake(
            &context.queues.subscription_groups,
            namespace,
            &group.name_any(),
        );
    }
    for user in context.stores.users.of(cluster) {
        wake(&context.queues.users, namespace, &user.name_any());
    }
}
