//! `docs/reference/configuration.md` is made of the rows.

use std::fmt::Write as _;
use std::path::Path;

use crate::kubernetes::Kubernetes;
use crate::original::{self, Fate};
use crate::row::Row;
use crate::setting::Takes;
use crate::value::Value;
use crate::{BrokerConfig, Configuration, NameServerConfig};

const PAGE: &str = "../docs/reference/configuration.md";

const ORIGINAL_PAGE: &str = "../docs/reference/broker-conf.md";

const ORIGINAL_HEAD: &str = "# Keys of a broker.conf

Generated from `config/src/original/`: `RMQ_UPDATE_DOCS=1 cargo test -p rmq-config page`.

A broker takes the configuration of Apache RocketMQ as it is: `rmq-broker --config broker.conf` (`.conf` or `.properties`) reads the keys that are settings here, and logs each other key with the reason. `rmq-ctl migrate config broker.conf > broker.yaml`
makes a file of our settings of it, and says on stderr what is not taken over. A value that a setting does not take is an error that names the key.

Some keys are written in another form here, and are converted: a port becomes an address (with `bindAddress`, or `metricsPromExporterHost`), `SYNC_FLUSH` becomes `sync`, and hundredths become a share. `brokerRole=SYNC_MASTER` becomes `ackMode: inSync` with
`minInSync: 1`, as the original acknowledges without a replica too; without it `minInSyncReplicas` does not count.

The data itself is in another format: give `dataDir` a folder of its own, consume from the old cluster and produce to the new one.

All keys of 5.5.0's `BrokerConfig`, `MessageStoreConfig`, `NettyServerConfig`, `NettyClientConfig` and `AuthConfig`:

| key | here | why not |
| --- | --- | --- |
";

const HEAD: &str = "# Configuration

Generated from the rows of the settings: `RMQ_UPDATE_DOCS=1 cargo test -p rmq-config page`.

Every setting of a broker and of a name server. A setting has its default until one of these says otherwise; what comes later counts:

1. the file: `--config FILE`, YAML, a line `key: value` for each setting;
2. a variable: the prefix of the server, then the key in capitals, with an underscore before each further word: `RMQ_BROKER_DATA_DIR` is `dataDir`;
3. the command line: `--set key=value`, or an option of its own such as `--listen`.

`rmq-broker --print-config` and `rmq-namesrv --print-config` print all settings as a file. A server with a wrong setting does not start: it names every problem at once, each with its key, where it stands, and which values are taken.
A number may have underscores between its digits.

**Live** settings change while the server runs: those of a broker by `rmq-ctl set broker BROKER NAME=VALUE` (with the name of Apache RocketMQ) or `mqadmin updateBrokerConfig`, those of a name server by `mqadmin updateNamesrvConfig`. Both requests take our
names too. All changes of one request are made, or none is. The next start has the configured value again, except for `permission`. Every other setting needs a restart, and the server says so.

In **Kubernetes**, a setting that is *open* goes through `spec.config.extra` of a `BrokerGroup`, or `spec.config` of a `NameServer`; the operator checks it before it changes anything. The others come from the named field, or are the operator's.
[Limits](limits.md) says what happens beyond each limit.
";

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn code(text: &str) -> String {
    if text.is_empty() {
        "empty".to_owned()
    } else {
        format!("`{}`", cell(text))
    }
}

/// A number of bytes as people say it, beside its digits.
fn size(bytes: i64) -> Option<String> {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let (shift, unit) = units
        .into_iter()
        .find(|(shift, _)| bytes >= 1 << shift && bytes % (1 << shift) == 0)?;
    Some(format!("{} {unit}", bytes >> shift))
}

fn default<C>(row: &Row<C>, config: &C) -> String {
    let value = (row.get)(config);
    let text = code(&value.to_string());
    match value {
        Value::Number(bytes) if row.setting.unit == "bytes" => {
            size(bytes).map_or(text.clone(), |size| format!("{text} ({size})"))
        }
        _ => text,
    }
}

fn range<C>(row: &Row<C>) -> String {
    let range = cell(&row.setting.range());
    match row.setting.takes {
        Takes::Number { ranges, .. } if row.setting.unit == "bytes" => {
            let [.., (min, max)] = ranges else {
                return range;
            };
            match (size(*min), size(*max)) {
                (Some(min), Some(max)) => format!("{range} ({min} to {max})"),
                (None, Some(max)) => format!("{range} ({max})"),
                _ => range,
            }
        }
        _ => range,
    }
}

fn table<C: Configuration>(out: &mut String) {
    out.push_str("| key | Apache RocketMQ | default | unit | values | live | Kubernetes | what it does |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    let config = C::default();
    for row in C::rows() {
        let setting = &row.setting;
        let upstream = setting.upstream_name();
        let kubernetes = match setting.kubernetes {
            Kubernetes::Open => "open".to_owned(),
            Kubernetes::Field(field) => code(field),
            Kubernetes::Operator(why) => why.to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} | {kubernetes} | {} |",
            setting.key,
            upstream.map_or(String::new(), |name| format!("`{name}`")),
            default(row, &config),
            setting.unit,
            range(row),
            if setting.is_live { "yes" } else { "restart" },
            cell(setting.about()),
        );
    }
}

/// The keys of Apache RocketMQ.
fn original_page() -> String {
    let mut out = ORIGINAL_HEAD.to_owned();
    for (key, fate) in original::keys() {
        // Writing to a string cannot fail.
        let _ = match fate {
            Fate::Setting(ours) if ours == key => writeln!(out, "| `{key}` | the same | |"),
            Fate::Setting(ours) => writeln!(out, "| `{key}` | `{ours}` | |"),
            Fate::Without(why) => writeln!(out, "| `{key}` | | {why} |"),
        };
    }
    out
}

fn page() -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n## Broker\n\n`rmq-broker`; variables begin with `RMQ_BROKER_`.\n\n");
    table::<BrokerConfig>(&mut out);
    out.push_str("\n## Name server\n\n`rmq-namesrv`; variables begin with `RMQ_NAMESRV_`.\n\n");
    table::<NameServerConfig>(&mut out);
    out
}

fn check(page: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    if std::env::var_os("RMQ_UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "{page} is not current: run RMQ_UPDATE_DOCS=1 cargo test -p rmq-config page"
    );
}

#[test]
fn the_page_is_current() {
    check(PAGE, &page());
}

#[test]
fn the_page_of_the_original_is_current() {
    check(ORIGINAL_PAGE, &original_page());
}
