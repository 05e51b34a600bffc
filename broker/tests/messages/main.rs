//! A real broker in this process, spoken to over real sockets: the way of a message in and out, and what happens at the limits.

mod audit;
#[path = "../../../process/tests/audit_lines/mod.rs"]
mod audit_lines;
mod bodies;
mod campaign;
mod closed;
mod disk;
mod fields;
mod filters;
mod golden;
mod long_poll;
mod management;
mod memory;
mod permissions;
mod positions;
mod pull;
mod quotas;
mod registration;
mod replay;
mod request_codes;
mod restart;
mod send;
mod support;
mod timers;
mod understood;
mod users;
