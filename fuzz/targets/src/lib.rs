//! What is done with bytes of others, as functions of bytes.
//!
//! A target takes any bytes. It decodes them as a server or a client does, and panics when something is wrong: the decoder panics, what
//! was decoded is not read back from its own encoding, or two ways of reading the same bytes differ. Who runs a target watches time
//! and memory. `tests/fuzz.rs` runs each one under proptest, with mutations of valid bytes ([`Target::seeds`]); the folder above runs them
//! with cargo-fuzz.
//!
//! A decoder that has no target yet gets a function in the module of its crate, and a line in the list below.

mod bodies;
mod broker;
mod client;
mod election;
mod filter;
mod headers;
mod messages;
mod recorded;
mod replication;
mod requests;
mod store;
mod texts;

/// Something that is done with bytes of others.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of its function here, and of its program for cargo-fuzz.
    pub name: &'static str,
    /// Takes any bytes, and panics when something is wrong.
    pub run: fn(&[u8]),
    /// Bytes that it can decode, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Bytes of memory that it may take whatever comes; it may take more by what came.
    pub memory: u64,
}

/// For windows of codecs, and disks in memory.
const MEMORY: u64 = 6 << 20;
/// For what has the limit of 64 MiB when it is no longer compressed.
const INFLATED: u64 = 512 << 20;

macro_rules! targets {
    (@memory) => { MEMORY };
    (@memory $memory:expr) => { $memory };
    ($($(#[$meta:meta])* $name:ident: $run:path, $seeds:path $(, $memory:expr)?;)*) => {
        $($(#[$meta])* pub fn $name(data: &[u8]) {
            $run(data);
        })*

        /// All targets.
        pub const ALL: &[Target] = &[$(Target {
            name: stringify!($name),
            run: $name,
            seeds: $seeds,
            memory: targets!(@memory $($memory)?),
        }),*];
    };
}

targets! {
    /// A frame of the remoting protocol, with its header.
    frame: headers::frame, headers::frames;
    /// A header of either encoding.
    header: headers::header, headers::all;
    /// Headers that come one after the other and are like each other.
    header_reader: headers::alike, headers::rows_of_alike;
    /// A signed request: who checks signatures reads all fields.
    signature: headers::signature, headers::frames;

    /// Requests about users and rights.
    requests_access: requests::access, requests::seeds::access;
    /// Requests of backups.
    requests_backup: requests::backup, requests::seeds::backup;
    /// Requests about brokers and name servers.
    requests_brokers: requests::brokers, requests::seeds::brokers;
    /// Requests about clients.
    requests_clients: requests::clients, requests::seeds::clients;
    /// Requests between the members of a group.
    requests_group_master: requests::group_master, requests::seeds::group_master;
    /// Requests about subscription groups.
    requests_groups: requests::groups, requests::seeds::groups;
    /// Requests for single messages.
    requests_lookup: requests::lookup, requests::seeds::lookup;
    /// Requests about offsets.
    requests_offsets: requests::offsets, requests::seeds::offsets;
    /// Requests of pop consumption.
    requests_pop: requests::pop, requests::seeds::pop;
    /// Pulls.
    requests_pull: requests::pull, requests::seeds::pull;
    /// Requests of brokers to name servers.
    requests_registration: requests::registration, requests::seeds::registration;
    /// Request-reply and recall.
    requests_reply: requests::reply, requests::seeds::reply;
    /// Requests for routes.
    requests_route: requests::route, requests::seeds::route;
    /// Sends, in the long names and in the short ones.
    requests_send: requests::send, requests::send_seeds;
    /// Messages that are given back.
    requests_send_back: requests::send_back, requests::seeds::send_back;
    /// Requests about topics.
    requests_topics: requests::topics, requests::seeds::topics;
    /// Requests of transactions.
    requests_transactions: requests::transactions, requests::seeds::transactions;

    /// Bodies about users and rights.
    bodies_access: bodies::access, bodies::seeds::access;
    /// Bodies about assignments of queues.
    bodies_assignment: bodies::assignment, bodies::seeds::assignment;
    /// Bodies of backups.
    bodies_backup: bodies::backup, bodies::seeds::backup;
    /// Texts of properties.
    bodies_config: bodies::config, bodies::config_seeds;
    /// Bodies about connections.
    bodies_connection: bodies::connection, bodies::seeds::connection;
    /// Bodies about queues.
    bodies_consume_queue: bodies::consume_queue, bodies::seeds::consume_queue;
    /// Bodies about subscription groups.
    bodies_group: bodies::group, bodies::seeds::group;
    /// The status of a broker group.
    bodies_group_status: bodies::group_status, bodies::seeds::group_status;
    /// Heartbeats of clients.
    bodies_heartbeat: bodies::heartbeat, bodies::seeds::heartbeat;
    /// Locks of queues.
    bodies_locks: bodies::locks, bodies::seeds::locks;
    /// Bodies about offsets.
    bodies_offsets: bodies::offsets, bodies::seeds::offsets;
    /// Registrations of brokers, as JSON.
    bodies_registration: bodies::registration, bodies::seeds::registration;
    /// Registrations of brokers, compressed: the bytes are what is compressed.
    bodies_registration_compressed: bodies::compressed, bodies::compressed_seeds, INFLATED;
    /// Registrations of brokers, compressed: the bytes are those of the body.
    bodies_registration_deflated: bodies::deflated, bodies::deflated_seeds, INFLATED;
    /// Bodies about replication.
    bodies_replication: bodies::replication, bodies::seeds::replication;
    /// Routes and clusters.
    bodies_route: bodies::route, bodies::seeds::route;
    /// Bodies about consumers that run.
    bodies_running: bodies::running, bodies::seeds::running;
    /// Figures of brokers.
    bodies_stats: bodies::stats, bodies::seeds::stats;
    /// Figures of timers.
    bodies_timers: bodies::timers, bodies::seeds::timers;
    /// Bodies about topics.
    bodies_topic: bodies::topic, bodies::seeds::topic;
    /// Bodies about transactions.
    bodies_transactions: bodies::transactions, bodies::seeds::transactions;
    /// JSON as fastjson writes it.
    fastjson: bodies::fastjson, bodies::fastjson_seeds;

    /// Stored records, one after the other.
    records: messages::records, recorded::records;
    /// The body of a batch.
    batch: messages::batch, messages::batches;
    /// A property string.
    properties: messages::properties, messages::property_strings;
    /// Texts that are ids, handles or names.
    ids: messages::ids, messages::id_texts;

    /// An SQL92 expression, and what it says of properties.
    filter: filter::filter, filter::seeds;

    /// Bytes of a connection between two members of a group.
    replication_stream: replication::stream, replication::streams;
    /// Frames of such a connection whose checksums are right.
    replication_frames: replication::frames, replication::contents;
    /// Questions and answers of an election, and records of its place.
    election: election::documents, election::seeds;

    /// Chunks of a snapshot whose checksums are right.
    store_snapshot: store::snapshot, store::snapshots;
    /// The same, made a store.
    store_install: store::install, store::snapshots;
    /// A store with bytes that are others than those that were written.
    store_files: store::files, store::changes;
    /// Rows of the broker's tables, as disk or log have them.
    broker_rows: broker::rows, broker::row_seeds;
    /// Attributes of topics and groups.
    broker_attributes: broker::attributes, broker::attribute_seeds;

    /// The answer to a pull, as a client reads it.
    client_messages: client::messages, client::pulled, INFLATED;
    /// Compressed bodies.
    client_inflate: client::inflate, client::deflated, INFLATED;
    /// Message traces.
    client_traces: client::traces, client::trace_seeds;

    /// A `broker.conf` of Apache RocketMQ.
    broker_conf: texts::broker_conf, texts::confs;
    /// Addresses and URLs.
    addresses: texts::addresses, texts::address_seeds;
    /// YAML of settings.
    yaml: texts::yaml, texts::yamls;
}
