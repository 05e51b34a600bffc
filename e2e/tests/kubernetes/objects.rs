//! Objects that are wrong, and objects that go.

use crate::load::Load;
use crate::world::{NEXT_IMAGE, World, group, start};

/// A setting that the operator does not see: the broker itself refuses it.
const UNKNOWN_FORM: &str = "spec:\n  pod: {env: [{name: RMQ_LOG_FORMAT, value: yaml}]}\n";

/// Each bad object says what is wrong and stops nobody else; corrected, it gets through.
pub(crate) fn bad(world: &World) -> Result<(), String> {
    world.namespace("bad")?;
    let with = |name: &str, from: &str, to: &str| group("bad", name, "").replace(from, to);
    let image = "spec:\n  image: {reference: \"rmq:nowhere\", pullPolicy: Never}\n";
    let manifests = [
        with("image", "spec:\n", image),
        with("keys", "segmentBytes: 67108864", "segmentByte: 1, dataDir: /x"),
        with("range", "segmentBytes: 67108864", "segmentBytes: 7"),
        with("start", "spec:\n", UNKNOWN_FORM),
        with("class", "{size: 1Gi,", "{size: 1Gi, storageClassName: nowhere,"),
        with("large", "cpu: 50m", "cpu: \"500\""),
        with("many", "segmentBytes: 67108864", "segmentBytes: 67108864, ackMode: inSync"),
        with("lost", "nameServerRef: {name: main}", "nameServerRef: {name: other}"),
        group("bad", "fine", ""),
        "---\napiVersion: rmq.rs/v1alpha1\nkind: NameServer\nmetadata: {name: main, namespace: bad}\nspec: {replicas: 1}\n".to_owned(),
    ];
    world.lab.apply(&manifests.concat())?;
    for (name, text) in [
        ("image", "correct spec.image.reference"),
        ("keys", "did you mean segmentBytes?"),
        (
            "range",
            "spec.config.extra.segmentBytes must be a number of bytes from 65536",
        ),
        ("start", "invalid value 'yaml' for '--log"),
        ("class", "nowhere"),
        ("large", "has no node"),
        ("many", "use spec.replication.ackMode"),
        ("lost", "there is no NameServer other"),
    ] {
        world.wait_condition(
            "bad",
            &format!("brokergroup/{name}"),
            "Stalled",
            "True",
            text,
        )?;
    }
    world.wait_ready("bad", &["brokergroup/fine"])?;
    never_served(world)?;
    // Corrected, they get through without any cleaning.
    world.lab.apply(
        &[
            group("bad", "keys", ""),
            group("bad", "range", ""),
            group("bad", "start", ""),
            group("bad", "large", ""),
            group("bad", "many", ""),
        ]
        .concat(),
    )?;
    world.kubectl(
        "bad",
        &[
            "patch",
            "brokergroup",
            "image",
            "--type=merge",
            "-p",
            &format!(r#"{{"spec":{{"image":{{"reference":"{NEXT_IMAGE}"}}}}}}"#),
        ],
    )?;
    world.wait_ready(
        "bad",
        &[
            "brokergroup/keys",
            "brokergroup/range",
            "brokergroup/start",
            "brokergroup/large",
            "brokergroup/image",
        ],
    )?;
    // A quota that is used up.
    world.lab.apply("apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none, namespace: bad}\nspec: {hard: {pods: \"1\"}}\n")?;
    world.lab.apply(&group("bad", "quota", ""))?;
    world.wait_condition(
        "bad",
        "brokergroup/quota",
        "Stalled",
        "True",
        "exceeded quota",
    )?;
    world.discard("bad")
}

/// Groups that never served go although nobody can be asked what is left, each for a reason of its own.
fn never_served(world: &World) -> Result<(), String> {
    let with = |name: &str, from: &str, to: &str| group("bad", name, "").replace(from, to);
    let image = "spec:\n  image: {reference: \"rmq:nowhere\", pullPolicy: Never}\n";
    let wrong = [
        ("never-pulled", "spec:\n", image),
        ("never-started", "spec:\n", UNKNOWN_FORM),
        (
            "never-bound",
            "{size: 1Gi,",
            "{size: 1Gi, storageClassName: nowhere,",
        ),
        ("never-placed", "cpu: 50m", "cpu: \"500\""),
    ];
    let manifests = wrong.map(|(name, from, to)| with(name, from, to));
    world.lab.apply(&manifests.concat())?;
    for (name, _, _) in wrong {
        let object = format!("brokergroup/{name}");
        world.wait_condition("bad", &object, "Stalled", "True", "")?;
        world.kubectl("bad", &["delete", "brokergroup", name, "--timeout=60s"])?;
    }
    Ok(())
}

/// A whole namespace goes at once, whatever is in it.
pub(crate) fn namespace_goes(world: &World) -> Result<(), String> {
    start(world, "gone", "")?;
    let load = Load::start(world, "gone")?;
    world.kubectl(
        "gone",
        &[
            "patch",
            "topic",
            "orders",
            "--type=merge",
            "-p",
            r#"{"spec":{"deletionPolicy":"Delete"}}"#,
        ],
    )?;
    world.wait_for("gone", "topic/orders", ".metadata.finalizers", |value| {
        value.contains("rmq.rs/cleanup")
    })?;
    load.finish(world)?;
    world
        .lab
        .kubectl(&["delete", "namespace", "gone", "--timeout=60s"])
        .map(drop)
}
