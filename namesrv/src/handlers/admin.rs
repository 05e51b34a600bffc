//! Tools: write permissions, key-value settings, configuration.

use std::sync::Arc;

use rmq_config::Configuration as _;
use rmq_protocol::ResponseCode;
use rmq_protocol::bodies::{parse_properties, write_properties};
use rmq_protocol::requests::{
    AddWritePermOfBroker, AddWritePermOfBrokerReply, DeleteKvConfig, GetKvConfig, GetKvConfigReply,
    GetKvListByNamespace, PutKvConfig, WipeWritePermOfBroker, WipeWritePermOfBrokerReply,
};
use rmq_transport::{Exchange, Reply};

use super::{Handled, Handlers, Refusal, decode};
use crate::audit;
use crate::kv::ORDER_TOPIC_CONFIG;

impl Handlers {
    pub(crate) fn wipe_write_permission(&self, exchange: &mut Exchange<'_>) -> Handled {
        let request: WipeWritePermOfBroker<'_> = decode(exchange.header)?;
        let topics = self.set_writable(exchange, &request.broker_name, false);
        exchange.ok(&WipeWritePermOfBrokerReply {
            wipe_topic_count: i32::try_from(topics).unwrap_or(i32::MAX),
        });
        Ok(())
    }

    pub(crate) fn add_write_permission(&self, exchange: &mut Exchange<'_>) -> Handled {
        let request: AddWritePermOfBroker<'_> = decode(exchange.header)?;
        let topics = self.set_writable(exchange, &request.broker_name, true);
        exchange.ok(&AddWritePermOfBrokerReply {
            add_topic_count: i32::try_from(topics).unwrap_or(i32::MAX),
        });
        Ok(())
    }

    /// Takes a broker group's write permission in routes, or gives it back; how many topics this concerns.
    fn set_writable(&self, exchange: &Exchange<'_>, broker: &str, writable: bool) -> usize {
        let (topics, was_wiped) = self.registry.set_wiped(broker, !writable);
        if let Some(was_wiped) = was_wiped
            && was_wiped == writable
        {
            let (what, right) = if writable {
                ("write permission given back", ["wiped", "there"])
            } else {
                ("write permission wiped", ["there", "wiped"])
            };
            let [before, after] = right.map(|right| Some(format!("{right}, {topics} topics")));
            audit::asker(exchange).changed(what, broker, before, after);
        }
        topics
    }

    pub(crate) fn put_kv(&self, exchange: &mut Exchange<'_>) -> Handled {
        let request: PutKvConfig<'_> = decode(exchange.header)?;
        for (field, text) in [("namespace", &request.namespace), ("key", &request.key)] {
            if text.is_empty() {
                return Err(Refusal::system(format!(
                    "PutKvConfig: field {field} is empty"
                )));
            }
        }
        let max = usize::try_from(self.config.load().kv_bytes_max).unwrap_or(0);
        let before = self
            .kv
            .put(&request.namespace, &request.key, &request.value, max)
            .map_err(Refusal::system)?;
        if before.as_deref() != Some(&*request.value) {
            let what = "key-value setting put";
            let (subject, after) = (
                format!("{}/{}", request.namespace, request.key),
                request.value.clone().into_owned(),
            );
            audit::asker(exchange).changed(what, &subject, before, Some(after));
        }
        self.kv_changed(&request.namespace);
        exchange.ok(&());
        Ok(())
    }

    pub(crate) fn get_kv(&self, exchange: &mut Exchange<'_>) -> Handled {
        let request: GetKvConfig<'_> = decode(exchange.header)?;
        match self.kv.get(&request.namespace, &request.key) {
            Some(value) => exchange.ok(&GetKvConfigReply { value: Some(value) }),
            None => {
                let remark = format!(
                    "No config item, Namespace: {} Key: {}",
                    request.namespace, request.key
                );
                let none = GetKvConfigReply { value: None };
                exchange.reply(ResponseCode::QueryNotFound, Some(remark.into()), &none, b"");
            }
        }
        Ok(())
    }

    pub(crate) fn delete_kv(&self, exchange: &mut Exchange<'_>) -> Handled {
        let request: DeleteKvConfig<'_> = decode(exchange.header)?;
        let before = self
            .kv
            .delete(&request.namespace, &request.key)
            .map_err(Refusal::system)?;
        if before.is_some() {
            let subject = format!("{}/{}", request.namespace, request.key);
            let what = "key-value setting deleted";
            audit::asker(exchange).changed(what, &subject, before, None);
        }
        self.kv_changed(&request.namespace);
        exchange.ok(&());
        Ok(())
    }

    pub(crate) fn kv_list(&self, exchange: &mut Exchange<'_>) -> Handled {
        let request: GetKvListByNamespace<'_> = decode(exchange.header)?;
        let Some(table) = self.kv.table(&request.namespace) else {
            let remark = format!("No config item, Namespace: {}", request.namespace);
            return Err(Refusal::new(ResponseCode::QueryNotFound, remark));
        };
        exchange.ok_body(&(), &table.to_json());
        Ok(())
    }

    /// Fixed queues of order topics are part of routes.
    fn kv_changed(&self, namespace: &str) {
        if namespace == ORDER_TOPIC_CONFIG {
            self.registry.forget_routes();
        }
    }

    pub(crate) fn update_config(&self, exchange: &mut Exchange<'_>) -> Handled {
        let changes = parse_properties(exchange.body).map_err(Refusal::system)?;
        let _changing = self.changing.lock();
        let before = self.config.load();
        let update = before.update("the request", &changes);
        let changed = update.map_err(|error| {
            let code = if error.needs_restart() {
                ResponseCode::NoPermission
            } else {
                ResponseCode::SystemError
            };
            Refusal::new(code, format!("Can not update config: {error}"))
        })?;
        let mut differences = [Vec::new(), Vec::new()];
        for ((key, old), (_, new)) in before.pairs().into_iter().zip(changed.pairs()) {
            if old != new {
                differences[0].push(format!("{key}={old}"));
                differences[1].push(format!("{key}={new}"));
            }
        }
        self.config.store(Arc::new(changed));
        if !differences[0].is_empty() {
            let [before, after] = differences.map(|pairs| Some(pairs.join(" ")));
            let what = "settings changed until the name server's next start";
            audit::asker(exchange).changed(what, "name server", before, after);
        }
        self.registry.forget_routes();
        exchange.ok(&());
        Ok(())
    }

    pub(crate) fn get_config(&self, exchange: &mut Exchange<'_>) -> Handled {
        let pairs = self.config.load().pairs();
        let pairs = pairs.iter().map(|(name, value)| (*name, value.as_str()));
        // Not a setting and not the original's: which version this is. Who sets it is refused as for any unknown name.
        let version = ("rmqVersion", env!("CARGO_PKG_VERSION"));
        let body = write_properties(pairs.chain([version]));
        exchange.ok_body(&(), &body);
        Ok(())
    }
}
