//! Elections of broker groups: their place in Kubernetes does what the suite of all places asks, with rights for two objects by name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use kube::{Api, Client};
use rmq_crds::{BrokerGroupElection, ElectionRequest};
use rmq_election::place::kubernetes::KubernetesPlace;
use rmq_election::place::{Change, Place, PlaceError, Swap};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::proxy::{Proxied, Proxy};
use crate::suite::{self, BackEnd, BadWay, lease, next, record, soon};
use crate::world::{Outcome, World, demand, text};

/// The longest time of a call in these scenarios.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A client that sends nothing again by itself, to this address of the API server.
async fn client(
    kubeconfig: &std::path::Path,
    at: Option<std::net::SocketAddr>,
) -> Result<Client, String> {
    let mut file = Kubeconfig::read_from(kubeconfig).map_err(text)?;
    if let Some(at) = at {
        for cluster in file
            .clusters
            .iter_mut()
            .filter_map(|named| named.cluster.as_mut())
        {
            cluster.server = Some(format!("https://{at}"));
        }
    }
    let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await;
    let mut config = config.map_err(text)?;
    config.default_retry = false;
    Client::try_from(config).map_err(text)
}

/// Elections in one namespace; each test of the suite has one of its own.
struct InKubernetes<'a> {
    world: &'a World,
    namespace: &'static str,
    name: String,
}

impl<'a> InKubernetes<'a> {
    fn new(world: &'a World, namespace: &'static str) -> Self {
        static NAMES: AtomicU32 = AtomicU32::new(0);
        let name = format!("group-{}", NAMES.fetch_add(1, Ordering::Relaxed));
        Self {
            world,
            namespace,
            name,
        }
    }

    fn place(&self, client: Client) -> Arc<dyn Place> {
        Arc::new(KubernetesPlace::new(
            client,
            self.namespace,
            &self.name,
            TIMEOUT,
        ))
    }
}

impl BackEnd for InKubernetes<'_> {
    fn way(&self) -> Arc<dyn Place> {
        self.place(self.world.client.clone())
    }

    async fn bad_way(&self) -> impl BadWay {
        let kubeconfig = self.world.plane.kubeconfig();
        let file = Kubeconfig::read_from(&kubeconfig).expect("a kubeconfig");
        let server = file.clusters[0]
            .cluster
            .as_ref()
            .and_then(|of| of.server.clone());
        let server = server.expect("a server");
        let addr = server
            .trim_start_matches("https://")
            .parse()
            .expect("an address");
        let proxy = Proxy::to(watch::Sender::new(addr).subscribe()).await;
        let client = client(&kubeconfig, Some(proxy.addr()))
            .await
            .expect("a client");
        let place = self.place(client);
        Proxied { proxy, place }
    }

    async fn delete_record(&self) {
        let api: Api<BrokerGroupElection> = self.world.api(self.namespace);
        let deleted = api.delete(&self.name, &DeleteParams::default()).await;
        deleted.expect("deleted");
    }

    async fn delete_lease(&self) {
        let api: Api<Lease> = self.world.api(self.namespace);
        let deleted = api.delete(&self.name, &DeleteParams::default()).await;
        deleted.expect("deleted");
    }
}

/// The suite of all places.
pub(crate) fn the_suite(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "elections";
        world.namespace(namespace).await?;
        let new = || InKubernetes::new(world, namespace);
        // Each has an election of its own, and they mostly wait.
        let back_ends = [(); 7].map(|()| new());
        let [first, second, third, fourth, fifth, sixth, seventh] = &back_ends;
        tokio::join!(
            suite::of_many_that_begin_one_wins(first),
            suite::swaps_that_race_lose_nothing(second),
            suite::the_lease_is_taken_renewed_and_released(third),
            suite::a_watch_sees_the_last_state(fourth),
            suite::a_deleted_record_is_no_record(fifth),
            suite::a_swap_without_its_answer_is_unknown(sixth),
            suite::a_member_that_is_cut_off_learns_so(seventh),
        );
        Ok(())
    })
}

/// A broker's account has rights for its two objects by name. With them it does everything, and nothing elsewhere.
pub(crate) fn rights_by_name(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "election-rights";
        world.namespace(namespace).await?;
        let name = "group";
        let rules = json!([
            {"apiGroups": ["rmq.rs"], "resources": ["brokergroupelections"], "resourceNames": [name], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["rmq.rs"], "resources": ["brokergroupelections/status"], "resourceNames": [name], "verbs": ["patch"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [name], "verbs": ["get", "list", "watch", "patch"]},
        ]);
        let made = |value: Value| serde_json::from_value(value).map_err(text);
        let roles: Api<Role> = world.api(namespace);
        let role = made(json!({"metadata": {"name": name}, "rules": rules}))?;
        roles.create(&PostParams::default(), &role).await.map_err(text)?;
        let bindings: Api<RoleBinding> = world.api(namespace);
        let user = format!("system:serviceaccount:{namespace}:broker");
        let binding = serde_json::from_value(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "broker", "namespace": namespace}],
        }));
        let binding = binding.map_err(text)?;
        bindings.create(&PostParams::default(), &binding).await.map_err(text)?;
        let kubeconfig = world.plane.kubeconfig_as(&user)?;
        let broker = client(&kubeconfig, None).await?;
        let place = |name| KubernetesPlace::new(broker.clone(), namespace, name, TIMEOUT);

        // The operator makes the objects; without them nothing can be done, and that is said.
        let own = place(name);
        demand(own.read().await == Ok(None), "the object is not there yet")?;
        let refused = own.compare_and_swap(None, record(1, 0)).await;
        let Err(PlaceError::Failed { problem, .. }) = &refused else {
            return Err(format!("{refused:?}"));
        };
        demand(
            problem.contains("the operator makes both the role and the objects"),
            problem.clone(),
        )?;
        let object = json!({
            "metadata": {"name": name},
            "spec": {
                "ackMode": "inSync",
                "minInSync": 2,
                "members": [
                    {"slot": 1, "replication": "b-1:10912", "client": "b-1:10911"},
                    {"slot": 0, "replication": "b-0:10912", "client": "b-0:10911"},
                ],
            },
        });
        world.create::<BrokerGroupElection>(namespace, object).await?;
        let free: Lease = serde_json::from_value(json!({"metadata": {"name": name}})).map_err(text)?;
        let leases: Api<Lease> = world.api(namespace);
        leases.create(&PostParams::default(), &free).await.map_err(text)?;

        let mut changes = own.watch();
        for _ in 0..2 {
            next(&mut changes).await;
        }
        let seen = own.read().await.map_err(text)?.ok_or("no record")?;
        let slots: Vec<u64> = seen.value.members.iter().map(|member| member.id.0).collect();
        demand(slots == [0, 1] && seen.value.epoch == 0, format!("{seen:?}"))?;
        let mut claimed = seen.value.clone();
        claimed.epoch = 1;
        claimed.master = record(1, 0).master;
        let won = own.compare_and_swap(Some(seen.version), claimed.clone()).await;
        let Ok(Swap::Won(version)) = won else {
            return Err(format!("{won:?}"));
        };
        demand(
            next(&mut changes).await
                == Change::Record(Some(rmq_election::place::Versioned {
                    version,
                    value: claimed.clone(),
                })),
            "the change is watched",
        )?;
        let free = own.read_lease().await.map_err(text)?.ok_or("no lease")?;
        demand(free.value.holder.is_none(), "nobody holds a new Lease")?;
        let taken = own.swap_lease(Some(free.version), lease(Some(0), 1)).await;
        demand(matches!(taken, Ok(Swap::Won(_))), format!("{taken:?}"))?;
        let spec = leases.get(name).await.map_err(text)?.spec.unwrap_or_default();
        demand(
            spec.lease_duration_seconds == Some(5) && spec.renew_time.is_some(),
            format!("{spec:?}"),
        )?;

        // The operator asks for a move; the master answers it.
        let elections: Api<BrokerGroupElection> = world.api(namespace);
        let asked = ElectionRequest {
            to: 1,
            request: "roll-1".to_owned(),
        };
        let patch = Patch::Merge(json!({"spec": {"switchover": asked}}));
        elections
            .patch(name, &PatchParams::default(), &patch)
            .await
            .map_err(text)?;
        let seen = soon("the request", async {
            loop {
                if let Change::Record(Some(record)) = next(&mut changes).await
                    && record.value.switchover.is_some()
                {
                    return record;
                }
            }
        })
        .await;
        let old = own.compare_and_swap(Some(version), claimed.clone()).await;
        demand(
            !matches!(old, Ok(Swap::Won(_))),
            "the version before the request does not win",
        )?;
        let mut answered = seen.value.clone();
        answered.switchover = None;
        let won = own.compare_and_swap(Some(seen.version), answered.clone()).await;
        demand(matches!(won, Ok(Swap::Won(_))), format!("{won:?}"))?;
        let read = own.read().await.map_err(text)?.ok_or("no record")?;
        demand(read.value == answered, format!("{read:?}"))?;
        let kept = elections.get(name).await.map_err(text)?;
        demand(kept.spec.switchover.is_some(), "the spec is the operator's")?;

        // The definition itself keeps a master of the past away.
        let mut past = answered.clone();
        past.epoch = 0;
        let refused = own.compare_and_swap(Some(read.version), past).await;
        let Err(PlaceError::Failed { problem, .. }) = &refused else {
            return Err(format!("{refused:?}"));
        };
        demand(problem.contains("an epoch never falls"), problem.clone())?;

        // Another group's objects are none of its business.
        let other = place("other");
        let refused = other.read().await;
        demand(
            matches!(&refused, Err(PlaceError::Failed { problem, .. }) if problem.contains("403")),
            format!("{refused:?}"),
        )?;
        let mut changes = other.watch();
        let refused = soon("an answer", changes.next()).await;
        demand(matches!(refused, Some(Err(_))), format!("{refused:?}"))
    })
}
