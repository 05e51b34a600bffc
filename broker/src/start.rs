//! What a broker is given when it starts, and why it does not start.

use std::path::PathBuf;
use std::sync::Arc;

use rmq_config::ConfigError;
use rmq_election::driver::BootClock;
use rmq_election::place::Place;
use rmq_store::OpenError;
use rmq_store::fs::{Fs, RealFs};
use rmq_tls::TlsFilesError;
use rmq_transport::{Clock, SystemClock};

/// What a broker is given from outside.
#[derive(Clone)]
pub struct Deps {
    /// Where the time of messages comes from: delays, retention, long polls, rates. Only its wall time is stored and compared with what
    /// is stored; everything that lasts is measured by its monotonic time.
    pub clock: Arc<dyn Clock>,
    /// Where the time of connections comes from: idle limits, heartbeats, locks. A test that moves `clock` by hours keeps its clients.
    pub connection_clock: Arc<dyn Clock>,
    /// Where files are.
    pub fs: Arc<dyn Fs>,
    /// What holds who is master of the group; `None`: the place that the configuration names. `election: memory` needs one.
    pub place: Option<Arc<dyn Place>>,
    /// By what clock an elected master knows that its time is over: one that counts while the machine sleeps.
    pub boot_clock: Arc<dyn rmq_election::driver::Clock>,
}

impl Default for Deps {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            connection_clock: Arc::new(SystemClock),
            fs: Arc::new(RealFs),
            place: None,
            boot_clock: Arc::new(BootClock),
        }
    }
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deps").finish_non_exhaustive()
    }
}

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// A secret cannot be read, or is none. The text has the setting and no secret.
    #[error("configuration: {0}")]
    Secret(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {addr} ({key}): {source}; another address: --{key} HOST:PORT")]
    Listen {
        /// The address.
        addr: String,
        /// The key of the setting.
        key: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Files of certificates cannot be used, each with the setting that names it.
    #[error(transparent)]
    Tls(#[from] TlsFilesError),
    /// The members of the group cannot elect their master.
    #[error("election: {0}")]
    Election(String),
    /// The data cannot be opened.
    #[error("cannot open the data in {}: {source}", dir.display())]
    Store {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The start was interrupted.
    #[error("the start was interrupted: {0}")]
    Interrupted(String),
}
