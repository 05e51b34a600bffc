//! TLS of servers: the Secrets that the operator makes, and those that it is given.

use std::collections::BTreeSet;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use rmq_certificates::{Authority, Signed, Wanted};
use rmq_crds::{BrokerGroup, NameServer};
use serde_json::{Value, json};

use crate::world::{Operator, Outcome, World, demand, group, text, until};

fn with_tls(mode: &str) -> Value {
    json!({"metadata": {"name": "main"}, "spec": {"replicas": 1, "tls": {"mode": mode}}})
}

fn part(secret: &Secret, name: &str) -> String {
    let data = secret.data.iter().flatten();
    let mut found = data.filter(|(key, _)| *key == name);
    let found = found.next().map(|(_, bytes)| bytes.0.clone());
    String::from_utf8(found.unwrap_or_default()).unwrap_or_default()
}

fn stage(set: &StatefulSet) -> Option<String> {
    let template = &set.spec.as_ref()?.template;
    let annotations = template.metadata.as_ref()?.annotations.as_ref()?;
    annotations.get("rmq.rs/tls").cloned()
}

/// Has the operator look at an object.
async fn touch<K>(world: &World, namespace: &str, name: &str, word: &str) -> Outcome
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let patch = json!({"metadata": {"annotations": {"touched": word}}});
    world.merge::<K>(namespace, name, patch).await.map(drop)
}

/// Puts another certificate into a Secret.
async fn put(world: &World, namespace: &str, name: &str, signed: &Signed, ca: &str) -> Outcome {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let data = json!({"data": {
        "tls.crt": bytes(&signed.certificate),
        "tls.key": bytes(&signed.key),
        "ca.crt": bytes(ca),
    }});
    let api = world.api::<Secret>(namespace);
    let params = PatchParams::default();
    let patched = api.patch(name, &params, &Patch::Merge(&data)).await;
    patched.map(drop).map_err(text)
}

/// The operator makes a CA and certificates, renews what is due without touching pods, reads nothing else, and all goes with its owners.
pub(crate) fn made_and_renewed(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "certificates";
        world.namespace(namespace).await?;
        let stranger = json!({"metadata": {"name": "stranger"}, "stringData": {"password": "x"}});
        world.create::<Secret>(namespace, stranger).await?;
        let operator = Operator::start(world, namespace, "first", world.plane.audited_kubeconfig());
        let main: NameServer = world.create(namespace, with_tls("permissive")).await?;
        let a = group("a", json!({"tls": {"mode": "enforcing"}}));
        let a: BrokerGroup = world.create(namespace, a).await?;
        let secret = async |name: &str, owner: Option<String>| {
            let made: Secret = world
                .wait(namespace, name, "a Secret", |_: &Secret| true)
                .await?;
            let owners: Vec<&str> = made.owner_references().iter().map(|of| &*of.uid).collect();
            demand(
                owners == [owner.unwrap_or_default()],
                format!("{name} belongs to {owners:?}"),
            )?;
            demand(
                made.type_.as_deref() == Some("kubernetes.io/tls"),
                format!("{name} is of type {:?}", made.type_),
            )?;
            Ok::<_, String>(made)
        };
        let authority = secret("main-ca", main.uid()).await?;
        let of_name_servers = secret("main-namesrv-tls", main.uid()).await?;
        let of_brokers = secret("a-broker-tls", a.uid()).await?;
        let ca = part(&authority, "tls.crt");
        for one in [&authority, &of_name_servers, &of_brokers] {
            demand(
                ca.contains("BEGIN CERTIFICATE") && part(one, "ca.crt").contains(ca.trim()),
                format!("{} does not trust the CA", one.name_any()),
            )?;
        }

        // Servers have the files and the settings.
        let name_servers: StatefulSet = world
            .wait(namespace, "main-namesrv", "name servers with TLS", |set| {
                stage(set).as_deref() == Some("accepts")
            })
            .await?;
        let brokers: StatefulSet = world
            .wait(namespace, "a-broker", "brokers with TLS", |set| {
                stage(set).as_deref() == Some("enforces")
            })
            .await?;
        let files: ConfigMap = world
            .wait(namespace, "a-broker", "the settings", |_| true)
            .await?;
        let files = serde_json::to_string(&files.data).unwrap_or_default();
        for setting in [
            "tlsMode: enforcing",
            "tlsOutgoing: true",
            "/etc/rmq-tls/ca.crt",
        ] {
            demand(files.contains(setting), format!("no {setting}: {files}"))?;
        }
        world
            .wait(namespace, "main", "the status", |object: &NameServer| {
                let status = object.status.as_ref();
                let tls = status.and_then(|status| status.tls.as_ref());
                tls.is_some_and(|tls| {
                    tls.not_after.is_some() && tls.secret_name == "main-namesrv-tls"
                })
            })
            .await?;
        world
            .wait_condition::<NameServer>(
                namespace,
                "main",
                ["TLS", "True", "Permissive", "good until"],
            )
            .await?;

        // A certificate whose time is over is followed by another one, in the same Secret, and pods stay.
        let old = Authority::new("old").sign(&Wanted::names(&["old.example"]).expired());
        put(world, namespace, "a-broker-tls", &old, &ca).await?;
        touch::<BrokerGroup>(world, namespace, "a", "1").await?;
        let renewed: Secret = world
            .wait(namespace, "a-broker-tls", "another certificate", |secret| {
                let has = part(secret, "tls.crt");
                has != old.certificate && !has.is_empty()
            })
            .await?;
        demand(
            renewed.uid() == of_brokers.uid()
                && part(&renewed, "tls.crt") != part(&of_brokers, "tls.crt")
                && part(&renewed, "ca.crt").contains(ca.trim()),
            "it is no renewal",
        )?;
        // A CA that is gone is made again, and all certificates follow.
        let secrets = world.api::<Secret>(namespace);
        let gone = secrets.delete("main-ca", &DeleteParams::default()).await;
        gone.map_err(text)?;
        touch::<NameServer>(world, namespace, "main", "2").await?;
        touch::<BrokerGroup>(world, namespace, "a", "2").await?;
        let again: Secret = world
            .wait(namespace, "main-ca", "another CA", |secret: &Secret| {
                secret.uid() != authority.uid()
            })
            .await?;
        let ca = part(&again, "tls.crt");
        for name in ["main-namesrv-tls", "a-broker-tls"] {
            until("trust in the other CA", async || {
                // Who looked before the CA was there looks again.
                touch::<BrokerGroup>(world, namespace, "a", "3").await?;
                touch::<NameServer>(world, namespace, "main", "3").await?;
                let secret = secrets.get(name).await.map_err(text)?;
                demand(part(&secret, "ca.crt").contains(ca.trim()), name)
            })
            .await?;
        }
        for before in [name_servers, brokers] {
            let name = before.name_any();
            let now = world.api::<StatefulSet>(namespace).get(&name).await;
            let now = now.map_err(text)?;
            let template = |set: &StatefulSet| set.spec.as_ref().map(|spec| spec.template.clone());
            demand(
                template(&now) == template(&before),
                format!("pods of {name} are restarted"),
            )?;
        }

        // With its owners all goes.
        let skip = json!({"metadata": {"annotations": {"rmq.rs/skip-drain": "true"}}});
        world.merge::<BrokerGroup>(namespace, "a", skip).await?;
        let groups = world.api::<BrokerGroup>(namespace);
        groups
            .delete("a", &DeleteParams::default())
            .await
            .map_err(text)?;
        world.wait_gone::<Secret>(namespace, "a-broker-tls").await?;
        let servers = world.api::<NameServer>(namespace);
        servers
            .delete("main", &DeleteParams::default())
            .await
            .map_err(text)?;
        world.wait_gone::<Secret>(namespace, "main-ca").await?;
        world
            .wait_gone::<Secret>(namespace, "main-namesrv-tls")
            .await?;
        operator.stop().await?;
        only_by_name(
            world,
            namespace,
            &["main-ca", "main-namesrv-tls", "a-broker-tls"],
        )
    })
}

/// The audit log has no other request for Secrets than for these, by their names.
fn only_by_name(world: &World, namespace: &str, names: &[&str]) -> Outcome {
    let log = std::fs::read_to_string(world.plane.audit_log()).map_err(text)?;
    let mut seen = BTreeSet::new();
    for line in log.lines() {
        let Ok(entry) = serde_json::from_str::<Value>(line) else {
            // The last line may be written now.
            continue;
        };
        let of = &entry["objectRef"];
        if of["resource"] != "secrets" || of["namespace"] != namespace {
            continue;
        }
        let (verb, name) = (entry["verb"].as_str(), of["name"].as_str());
        let (verb, name) = (verb.unwrap_or_default(), name.unwrap_or_default());
        demand(
            matches!(verb, "get" | "update" | "create") && names.contains(&name),
            format!("the operator asks for Secrets: {verb} {name:?}"),
        )?;
        seen.insert(verb.to_owned());
    }
    let all = ["create", "get", "update"].map(str::to_owned);
    demand(
        seen == BTreeSet::from(all),
        format!("the audit log has {seen:?}"),
    )
}

/// A Secret that an object names is never changed; what is wrong with it is told, and nothing is made meanwhile.
pub(crate) fn named(world: &World) -> Outcome {
    world.runtime.block_on(async {
        let namespace = "named-secret";
        let operator = world.looked_after(namespace).await?;
        let mut main = with_tls("permissive");
        main["spec"]["tls"]["secretName"] = json!("mine");
        world.create::<NameServer>(namespace, main).await?;
        let stalled = [
            "Stalled",
            "True",
            "SecretNotFound",
            "there is no Secret mine",
        ];
        world
            .wait_condition::<NameServer>(namespace, "main", stalled)
            .await?;
        let sets = world.api::<StatefulSet>(namespace);
        let set = sets.get_opt("main-namesrv").await.map_err(text)?;
        demand(set.is_none(), "pods that cannot start are made")?;

        let half = json!({"metadata": {"name": "mine"}, "stringData": {"tls.crt": "no"}});
        let made = world.create::<Secret>(namespace, half).await?;
        touch::<NameServer>(world, namespace, "main", "1").await?;
        let stalled = ["Stalled", "True", "InvalidSecret", "tls.key"];
        world
            .wait_condition::<NameServer>(namespace, "main", stalled)
            .await?;

        let authority = Authority::new("mine");
        let signed = authority.sign(&Wanted::names(&["main-namesrv.named-secret.svc"]));
        put(world, namespace, "mine", &signed, &authority.pem()).await?;
        touch::<NameServer>(world, namespace, "main", "2").await?;
        let set: StatefulSet = world
            .wait(namespace, "main-namesrv", "name servers", |_| true)
            .await?;
        let mounted = serde_json::to_string(&set).unwrap_or_default();
        demand(mounted.contains("\"secretName\":\"mine\""), mounted)?;
        // The name of each pod is missing in it.
        let lacks = [
            "TLS",
            "False",
            "NamesMissing",
            "main-namesrv-0.main-namesrv.named-secret.svc",
        ];
        world
            .wait_condition::<NameServer>(namespace, "main", lacks)
            .await?;
        let names = [
            "main-namesrv.named-secret.svc",
            "*.main-namesrv.named-secret.svc",
        ];
        let signed = authority.sign(&Wanted::names(&names));
        put(world, namespace, "mine", &signed, &authority.pem()).await?;
        touch::<NameServer>(world, namespace, "main", "3").await?;
        let good = ["TLS", "True", "Permissive", "Secret mine"];
        world
            .wait_condition::<NameServer>(namespace, "main", good)
            .await?;

        let secrets = world.api::<Secret>(namespace);
        let kept = secrets.get("mine").await.map_err(text)?;
        demand(
            kept.uid() == made.uid()
                && part(&kept, "tls.crt") == signed.certificate
                && kept.owner_references().is_empty(),
            "the operator has changed it",
        )?;
        let made = secrets.get_opt("main-ca").await.map_err(text)?;
        demand(made.is_none(), "a CA is made that nobody needs")?;
        operator.stop().await
    })
}
