//! Brings a user about at all brokers of its cluster.

use std::collections::HashMap;

use kube::ResourceExt;
use parking_lot::Mutex;
use rmq_access::Acl;
use rmq_client::Admin;
use rmq_crds::NameServer;
use sha2::{Digest, Sha256};

use crate::context::Context;
use crate::error::Error;
use crate::events::News;
use crate::objects::names;
use crate::settings::{self, Brought};

use super::plan::{Change, Has, Wanted};

/// Digests of the passwords that brokers were given, by the uid of the user's object and broker. Brokers that serve everybody tell no password, so
/// each is given it once by each process.
#[derive(Default)]
pub(super) struct Written(Mutex<HashMap<String, HashMap<String, [u8; 32]>>>);

impl Written {
    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    fn has(&self, uid: &str, broker: &str, password: &[u8; 32]) -> bool {
        let all = self.0.lock();
        let given = all.get(uid).and_then(|brokers| brokers.get(broker));
        given == Some(password)
    }

    fn set(&self, uid: &str, broker: &str, password: [u8; 32]) {
        let mut all = self.0.lock();
        let brokers = all.entry(uid.to_owned()).or_default();
        brokers.insert(broker.to_owned(), password);
    }
}

/// What one look did at the brokers.
struct Done {
    masters: Vec<String>,
    changed: Vec<(String, Change)>,
}

/// Compares all brokers with the user, and changes those that differ.
pub(super) async fn bring(
    wanted: &Wanted<'_>,
    name_server: &NameServer,
    context: &Context,
    written: &Written,
) -> Result<Brought, Error> {
    let addresses = names::name_server_addresses(name_server);
    let admin = context.clusters.client(&addresses).await?.admin();
    let Done { masters, changed } = at_brokers(&admin, wanted, written).await?;
    tell(wanted, &changed, context).await;
    let groups = context.stores.groups_of(
        &name_server.namespace().unwrap_or_default(),
        &name_server.name_any(),
    );
    let absent = settings::absent(&groups, &masters);
    Ok(Brought {
        brokers: masters,
        absent,
    })
}

async fn at_brokers(admin: &Admin, wanted: &Wanted<'_>, written: &Written) -> Result<Done, Error> {
    let name = wanted.object.user_name();
    let uid = wanted.object.uid().unwrap_or_default();
    let password = digest(wanted);
    let answers = admin.user(name).await?;
    let masters: Vec<String> = answers.keys().cloned().collect();
    let mut changed: Vec<(String, Change)> = Vec::new();
    for (broker, user) in answers {
        let user = user?;
        let rights = match &user {
            Some(_) => rights(admin, &broker, name).await?,
            None => Acl::default(),
        };
        let is_given = written.has(&uid, &broker, &password);
        let change = wanted.change(&Has {
            user,
            rights,
            is_given,
        });
        if !change.is_none() {
            carry_out(admin, wanted, &broker, &change).await?;
            changed.push((broker.clone(), change));
        }
        written.set(&uid, &broker, password);
    }
    Ok(Done { masters, changed })
}

fn digest(wanted: &Wanted<'_>) -> [u8; 32] {
    Sha256::digest(wanted.password.reveal().as_bytes()).into()
}

/// The rights of a user at a broker. What others wrote there and cannot be read counts as none, and is written over.
async fn rights(admin: &Admin, broker: &str, name: &str) -> Result<Acl, Error> {
    let info = admin.acl_at(broker, name).await?;
    let acl = info.and_then(|info| Acl::read(&info).ok());
    Ok(acl.unwrap_or_default())
}

/// Changes one broker: rights that are missing come before rights that nobody wants go, so that nothing is refused in between.
async fn carry_out(
    admin: &Admin,
    wanted: &Wanted<'_>,
    broker: &str,
    change: &Change,
) -> Result<(), Error> {
    let at = [broker.to_owned()];
    if change.creates {
        admin.create_user_at(&at, &wanted.info()).await?;
    } else if !change.fields.is_empty() {
        admin.update_user_at(&at, &wanted.info()).await?;
    }
    if let Some(acl) = &change.put {
        admin.put_acl_at(&at, acl).await?;
    }
    let name = wanted.object.user_name();
    for (policy, resource) in &change.delete {
        let resource = resource.to_string();
        admin
            .delete_acl_at(&at, name, policy.name(), &resource)
            .await?;
    }
    Ok(())
}

/// The events about changes at brokers.
async fn tell(wanted: &Wanted<'_>, changed: &[(String, Change)], context: &Context) {
    let name = wanted.object.user_name();
    for creates in [true, false] {
        let some = changed
            .iter()
            .filter(|(_, change)| change.creates == creates);
        let some: Vec<_> = some.collect();
        let Some((_, change)) = some.first() else {
            continue;
        };
        let brokers: Vec<&str> = some.iter().map(|(broker, _)| broker.as_str()).collect();
        let at = brokers.join(", ");
        let news = match creates {
            true => News::normal("Created", format!("user {name} at {at}: created")),
            false => News::normal(
                "Updated",
                format!("user {name} at {at}: {}", change.words()),
            ),
        };
        context.events.tell(wanted.object, &news).await;
    }
}

#[cfg(test)]
mod tests {
    use rmq_access::Secret;
    use rmq_client::protocol::bodies::{AclEntry, AclInfo, AclPolicy, UserInfo};
    use rmq_crds::{User, UserSpec};
    use rmq_testing::{BrokerConfig, TestCluster};
    use serde_json::{Value, json};

    use super::*;
    use crate::clusters::Clusters;
    use crate::signer::Signer;
    use crate::user::plan;

    #[test]
    fn each_broker_is_known_by_itself() {
        let written = Written::default();
        let (one, other) = ([1; 32], [2; 32]);
        assert!(!written.has("u", "a", &one));
        written.set("u", "a", one);
        assert!(written.has("u", "a", &one) && !written.has("u", "a", &other));
        assert!(!written.has("u", "b", &one) && !written.has("v", "a", &one));
        written.forget("u");
        assert!(!written.has("u", "a", &one));
    }

    const ROOT: &str = r#"{"username":"root","password":"root-secret"}"#;

    async fn cluster(is_closed: bool) -> TestCluster {
        let cluster = TestCluster::builder().brokers(2);
        let closed = move |config: &mut BrokerConfig| {
            config.authentication = is_closed;
            config.authorization = is_closed;
            config.init_user = rmq_config::HiddenText::new(ROOT.to_owned());
        };
        cluster.brokers_with(closed).start().await
    }

    /// The administration of a cluster, as the operator has it.
    async fn admin(cluster: &TestCluster, clusters: &Clusters, user: &str, secret: &str) -> Admin {
        let addresses = [cluster.name_server_list()];
        let secret = Secret::new(secret.to_owned());
        clusters.sign(&addresses, Some(&Signer::new(user, &secret)));
        let client = clusters.client(&addresses).await;
        client.expect("connected").admin()
    }

    fn user(spec: Value) -> User {
        let spec: UserSpec = serde_json::from_value(spec).expect("a spec");
        User::new("checkout", spec)
    }

    fn wanted<'a>(object: &'a User, password: &str) -> Wanted<'a> {
        Wanted {
            object,
            password: Secret::new(password.to_owned()),
            rights: plan::rights(object).expect("rights"),
        }
    }

    /// What changed where, in words.
    fn words(done: Done) -> Vec<String> {
        let changed = done.changed.iter();
        changed
            .map(|(broker, change)| {
                let created = if change.creates { "created " } else { "" };
                format!("{broker}: {created}{}", change.words())
            })
            .collect()
    }

    #[tokio::test]
    async fn users_and_rights_are_brought_about_and_changes_by_hand_changed_back() {
        let cluster = cluster(true).await;
        let clusters = Clusters::default();
        let root = admin(&cluster, &clusters, "root", "root-secret").await;
        let written = Written::default();
        let object = user(json!({"rights": [
            {"topic": "orders-*", "actions": ["Pub"]},
            {"group": "checkout", "actions": ["Sub"]},
        ]}));
        let look = async |object: &User, password: &str| {
            let done = at_brokers(&root, &wanted(object, password), &written).await;
            words(done.expect("brought about"))
        };
        let created = "created Allow Pub on Topic:orders-*; Allow Sub on Group:checkout";
        assert_eq!(
            look(&object, "one").await,
            [
                format!("broker-0: {created}"),
                format!("broker-1: {created}")
            ]
        );
        assert_eq!(look(&object, "one").await, [""; 0], "nothing differs");

        // By hand, at one broker and at both.
        let one = ["broker-1".to_owned()];
        let spoilt = UserInfo {
            username: Some("checkout".to_owned()),
            password: Some("other".to_owned()),
            user_type: Some("Super".to_owned()),
            user_status: None,
        };
        root.update_user_at(&one, &spoilt).await.expect("changed");
        let extra = AclInfo {
            subject: Some("User:checkout".to_owned()),
            policies: vec![AclPolicy {
                policy_type: None,
                entries: vec![AclEntry {
                    actions: vec!["All".to_owned()],
                    decision: Some("Allow".to_owned()),
                    resource: Some("Topic:*".to_owned()),
                    source_ips: None,
                }],
            }],
        };
        root.put_acl_at(&one, &extra).await.expect("changed");
        assert_eq!(
            look(&object, "one").await,
            ["broker-1: password; super; nothing more on Topic:*"]
        );
        root.delete_user("checkout").await.expect("deleted");
        assert_eq!(look(&object, "one").await.len(), 2, "it is made again");

        // Another password counts at once, and the old one no more.
        assert_eq!(
            look(&object, "two").await,
            ["broker-0: password", "broker-1: password"]
        );
        let may = user(json!({"rights": [{"cluster": "*", "actions": ["Get", "List", "Update"]}]}));
        look(&may, "two").await;
        let others = Clusters::default();
        let old = admin(&cluster, &others, "checkout", "one").await;
        let error = old.acls().await.expect_err("the old password");
        assert!(error.to_string().contains("signature"), "{error}");
        let new = admin(&cluster, &others, "checkout", "two").await;
        new.acls().await.expect("the new password, and the right");

        // No word of a password, whatever was changed.
        let disabled = user(json!({"enabled": false, "super": true}));
        let said = look(&disabled, "three").await.concat();
        assert!(said.contains("password; super; enabled"), "{said}");
        assert!(!said.contains("three"), "{said}");
        others.forget(&[cluster.name_server_list()]).await;
        clusters.forget(&[cluster.name_server_list()]).await;
        cluster.shutdown().await;
    }

    #[tokio::test]
    async fn brokers_that_serve_everybody_are_given_a_password_once() {
        let cluster = cluster(false).await;
        let clusters = Clusters::default();
        let root = admin(&cluster, &clusters, "root", "root-secret").await;
        let object = user(json!({"rights": [{"topic": "orders", "actions": ["Pub"]}]}));
        let written = Written::default();
        let look = async |written: &Written, password: &str| {
            let done = at_brokers(&root, &wanted(&object, password), written).await;
            words(done.expect("brought about")).len()
        };
        assert_eq!(look(&written, "one").await, 2, "created");
        assert_eq!(look(&written, "one").await, 0);
        assert_eq!(look(&written, "two").await, 2);
        // Another process does not know what brokers were given.
        let other = Written::default();
        assert_eq!(look(&other, "two").await, 2);
        assert_eq!(look(&other, "two").await, 0);
        clusters.forget(&[cluster.name_server_list()]).await;
        cluster.shutdown().await;
    }
}
