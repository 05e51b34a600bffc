//! Texts that people and other programs write: settings, addresses, YAML.

use rmq_client::ClusterUrl;
use rmq_config::original;
use rmq_texts::{host, line, lines, name_servers, reachable_host, server, yaml as documents};

/// A `broker.conf`.
pub(crate) fn broker_conf(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let read = original::read("broker.conf", text);
    let yaml = read.to_yaml();
    let settings = documents::settings(&yaml);
    let settings = settings.unwrap_or_else(|error| panic!("{yaml:?} is no YAML: {error}"));
    for taken in &read.taken {
        assert!(
            settings.contains_key(taken.key),
            "{} is not in {yaml:?}",
            taken.key
        );
    }
}

pub(crate) fn confs() -> Vec<Vec<u8>> {
    [
        "brokerClusterName = DefaultCluster\nbrokerName = broker-a\nbrokerId = 0\ndeleteWhen = 04\nfileReservedTime = 48\nbrokerRole = SYNC_MASTER\nflushDiskType = SYNC_FLUSH\n",
        "# c\nlistenPort=10911\nbindAddress=10.0.0.1\nnamesrvAddr=a:9876;b:9876\nmessageDelayLevel=1s 5s \\\n 10s\naccessMessageInMemoryMaxRatio=40\nminInSyncReplicas=2\n",
        "brokerRole=SLAVE\nbrokerId=1\nmaxMessageSize=4194304\nfastFailIfNoBufferInStorePool=true\nautoCreateTopicEnable=false\nmetricsPromExporterPort=5557\nmetricsPromExporterHost=0.0.0.0\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// One text as each kind of address.
pub(crate) fn addresses(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(found) = name_servers(text) {
        let again = name_servers(&found.join(";"));
        assert_eq!(again.as_ref().ok(), Some(&found), "{text:?}");
    }
    if let Ok(found) = server(text) {
        assert_eq!(server(&found).ok().as_ref(), Some(&found), "{text:?}");
    }
    if let Ok(found) = host(text) {
        assert!(text.contains(found));
    }
    let _ = reachable_host(text);
    if let Ok(url) = text.parse::<ClusterUrl>() {
        assert!(!url.name_servers().is_empty());
    }
    assert!(!line(text).contains('\n'));
    let _ = lines(text);
}

pub(crate) fn address_seeds() -> Vec<Vec<u8>> {
    [
        "10.0.0.1:9876;name-server-1.example:9876",
        "rocketmq://user:p%20w@h1,h2:9877/namespace?a=b",
        "[2001:db8::1]:10911",
        "localhost",
        "http://x/y",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub(crate) fn yaml(data: &[u8]) {
    let Ok(text) = documents::text(data.to_vec()) else {
        return;
    };
    let _ = documents::documents(&text);
    let _ = documents::settings(&text);
}

pub(crate) fn yamls() -> Vec<Vec<u8>> {
    [
        "brokerName: broker-a\nlisten: 0.0.0.0:10911\ndelayLevels: 1s 5s\n",
        "---\nkind: Topic\nspec: {name: orders, queues: 8}\n---\nkind: User\n# c\nspec:\n  rights:\n  - topic: '*'\n",
        "a: &a [1, 2]\nb: *a\nc: |\n  text\n  more\n",
        "\u{feff}a: \"\\u00fc\"\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
