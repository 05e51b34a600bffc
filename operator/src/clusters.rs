//! Connections to the clusters' name servers and brokers, kept for the next look.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_client::Client;

use crate::error::Error;

/// A server that does not answer is asked again at the next look.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// Clients by the addresses of their name servers.
#[derive(Default)]
pub(crate) struct Clusters {
    clients: Mutex<HashMap<String, Client>>,
}

impl Clusters {
    /// A client of these name servers (`host:port`).
    pub(crate) async fn client(&self, addresses: &[String]) -> Result<Client, Error> {
        let key = addresses.join(";");
        if let Some(client) = self.clients.lock().get(&key) {
            return Ok(client.clone());
        }
        let client = Client::builder(key.clone())
            .request_timeout(REQUEST_TIMEOUT)
            .connect()
            .await?;
        Ok(self.clients.lock().entry(key).or_insert(client).clone())
    }

    /// Ends the connections to these name servers.
    pub(crate) async fn forget(&self, addresses: &[String]) {
        let mut gone: Vec<Client> = Vec::new();
        {
            let mut clients = self.clients.lock();
            gone.extend(clients.remove(&addresses.join(";")));
            gone.extend(addresses.iter().filter_map(|addr| clients.remove(addr)));
        }
        for client in gone {
            client.shutdown().await;
        }
    }

    /// Name servers that do not have this broker in their routes (or do not answer).
    pub(crate) async fn missing_at(&self, addresses: &[String], broker: &str) -> Vec<String> {
        let mut missing = Vec::new();
        for addr in addresses {
            let one = std::slice::from_ref(addr);
            let info = match self.client(one).await {
                Ok(client) => client.cluster_info().await.ok(),
                Err(_) => None,
            };
            let knows = info.is_some_and(|info| {
                info.broker_addr_table
                    .get(broker)
                    .is_some_and(|data| data.master().is_some())
            });
            if !knows {
                missing.push(addr.clone());
            }
        }
        missing
    }
}
