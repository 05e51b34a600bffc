//! Asks about the nodes of pods that had to be gone, and about the volumes of pods that find no node. Nothing is asked while all is well.

use k8s_openapi::api::core::v1::{Node, NodeSelectorTerm, PersistentVolume};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::context::Context;
use crate::objects::names;

use super::lost;
use super::observed::{Member, NodeSeen, Observed};

/// A person says with it that a node is off for good.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// Label of a node's name: a volume that is bound by it cannot be anywhere else.
const HOST: &str = "kubernetes.io/hostname";

/// Fills in what is known of nodes and volumes.
pub(super) async fn look(observed: &mut Observed<'_>, context: &Context) {
    let overdue = observed
        .members
        .iter()
        .filter(|member| lost::is_overdue(observed, member));
    let overdue = overdue.filter_map(|member| member.node_name.clone());
    for name in overdue.collect::<Vec<_>>() {
        let seen = node(&name, context).await;
        observed.nodes.insert(name, seen);
    }
    let unplaced = observed
        .members
        .iter()
        .filter(|member| lost::is_unplaced(observed, member));
    for member in unplaced.cloned().collect::<Vec<_>>() {
        if let Some(why) = stranded(observed, &member, context).await {
            observed.stranded.insert(member.slot, why);
        }
    }
}

async fn node(name: &str, context: &Context) -> NodeSeen {
    let api: Api<Node> = Api::all(context.client.clone());
    match api.get_opt(name).await {
        Ok(Some(node)) => of_node(&node),
        Ok(None) => NodeSeen::Gone,
        Err(error) => NodeSeen::Unknown(error.to_string()),
    }
}

fn of_node(node: &Node) -> NodeSeen {
    let status = node.status.as_ref();
    let mut conditions = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten();
    if conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        return NodeSeen::Answers;
    }
    let spec = node.spec.as_ref();
    let mut taints = spec
        .and_then(|spec| spec.taints.as_ref())
        .into_iter()
        .flatten();
    NodeSeen::Silent {
        is_out_of_service: taints.any(|taint| taint.key == OUT_OF_SERVICE),
    }
}

/// Why no node has the volume of this member any more. None: a node has it, or nobody knows.
async fn stranded(observed: &Observed<'_>, member: &Member, context: &Context) -> Option<String> {
    let mut claims = observed.claims.iter();
    let claim = claims.find(|claim| names::slot(&claim.name_any()) == Some(member.slot))?;
    let volume = claim.spec.as_ref()?.volume_name.clone()?;
    let api: Api<PersistentVolume> = Api::all(context.client.clone());
    let found = api.get_opt(&volume).await;
    let found = found.inspect_err(|error| {
        tracing::warn!(volume, "cannot look at the volume: {error}");
    });
    let hosts = hosts(&found.ok()??)?;
    let api: Api<Node> = Api::all(context.client.clone());
    let params = ListParams::default()
        .labels(&format!("{HOST} in ({})", hosts.join(",")))
        .limit(1);
    let nodes = api.list_metadata(&params).await;
    let nodes = nodes.inspect_err(|error| {
        tracing::warn!(volume, "cannot look for the nodes of the volume: {error}");
    });
    nodes.ok()?.items.is_empty().then(|| {
        format!(
            "volume {volume} is bound to node {}, which is no more",
            hosts.join(", ")
        )
    })
}

/// The nodes that a volume is bound to by their names. None: it is not bound, or by something else, such as a zone.
fn hosts(volume: &PersistentVolume) -> Option<Vec<String>> {
    let required = volume
        .spec
        .as_ref()?
        .node_affinity
        .as_ref()?
        .required
        .as_ref()?;
    let host = |term: &NodeSelectorTerm| {
        let mut expressions = term.match_expressions.iter().flatten();
        let by_host =
            expressions.find(|expression| expression.key == HOST && expression.operator == "In")?;
        by_host.values.clone()
    };
    let terms: Option<Vec<Vec<String>>> = required.node_selector_terms.iter().map(host).collect();
    let mut hosts: Vec<String> = terms?.into_iter().flatten().collect();
    hosts.sort();
    hosts.dedup();
    (!hosts.is_empty()).then_some(hosts)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_node_that_is_not_ready_does_not_answer() {
        let node = |ready: &str, taints: Value| -> Node {
            let conditions = json!([{"type": "DiskPressure", "status": "True"}, {"type": "Ready", "status": ready}]);
            let node = json!({"spec": {"taints": taints}, "status": {"conditions": conditions}});
            serde_json::from_value(node).expect("a node")
        };
        let taint = json!([{"key": OUT_OF_SERVICE, "effect": "NoExecute"}]);
        assert_eq!(of_node(&node("True", taint.clone())), NodeSeen::Answers);
        for (taints, is_out_of_service) in [(taint, true), (json!([]), false)] {
            let silent = NodeSeen::Silent { is_out_of_service };
            assert_eq!(of_node(&node("Unknown", taints)), silent);
        }
    }

    #[test]
    fn a_volume_is_bound_by_names_of_nodes_only() {
        let volume = |terms: Value| -> PersistentVolume {
            let spec = json!({"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}});
            serde_json::from_value(json!({"spec": spec})).expect("a volume")
        };
        let term = |key: &str, value: &str| json!({"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]});
        let two = json!([term(HOST, "n2"), term(HOST, "n1")]);
        let both = vec!["n1".to_owned(), "n2".to_owned()];
        assert_eq!(hosts(&volume(two)), Some(both));
        let zone = term("topology.kubernetes.io/zone", "a");
        assert_eq!(hosts(&volume(json!([zone]))), None);
        assert_eq!(hosts(&volume(json!([term(HOST, "n1"), zone]))), None);
        assert_eq!(hosts(&PersistentVolume::default()), None);
    }
}
