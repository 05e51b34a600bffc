//! What brokers of a group with replicas may do at the API server: read their election, write who is master, and hold the Lease.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

const RBAC: &str = "rbac.authorization.k8s.io";

/// The account of the brokers of one group.
pub(crate) fn account(metadata: ObjectMeta) -> ServiceAccount {
    ServiceAccount {
        metadata,
        // Pods say themselves whether they have the token.
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// The role: the two objects `name`, and no others. A right to make objects cannot be limited to a name, so the operator makes them.
pub(crate) fn role(metadata: ObjectMeta, name: &str) -> Role {
    let rule = |group: &str, resource: &str, verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        resource_names: Some(vec![name.to_owned()]),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    };
    Role {
        metadata,
        rules: Some(vec![
            rule(
                rmq_crds::GROUP,
                "brokergroupelections",
                &["get", "list", "watch"],
            ),
            rule(rmq_crds::GROUP, "brokergroupelections/status", &["patch"]),
            rule(
                "coordination.k8s.io",
                "leases",
                &["get", "list", "watch", "patch"],
            ),
        ]),
    }
}

/// Gives the role `name` to this account of the same namespace.
pub(crate) fn binding(metadata: ObjectMeta, name: &str, account: &str) -> RoleBinding {
    RoleBinding {
        role_ref: RoleRef {
            api_group: RBAC.to_owned(),
            kind: "Role".to_owned(),
            name: name.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: account.to_owned(),
            namespace: metadata.namespace.clone(),
            ..Subject::default()
        }]),
        metadata,
    }
}
