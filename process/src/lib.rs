//! What every program of ours does the same: how a program stops, and how its log is written.
//!
//! The rule for both signals, SIGINT (Ctrl-C) and SIGTERM:
//!
//! | signal | effect | exit code |
//! | --- | --- | --- |
//! | the first | the program ends gently | 0 when the stop was clean; else as each program says |
//! | the second | the program ends at once | [`Signal::exit_code`] of the second signal: 130 or 143 |

#[cfg(feature = "log")]
mod audit;
mod colours;
#[cfg(feature = "log")]
mod log;
#[cfg(feature = "log")]
mod log_filter;
mod log_writer;
#[cfg(feature = "management")]
mod management;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "server")]
mod server;
mod stop;

#[cfg(feature = "log")]
pub use audit::{AUDIT_TARGET, Asker};
pub use colours::stderr_has_colours;
#[cfg(feature = "log")]
pub use log::{ENVIRONMENT_HELP, LogFormat, LogOptions, Stopping};
pub use log_writer::LogWriter;
#[cfg(feature = "management")]
pub use management::{Managed, serve_management, serve_management_streams};
#[cfg(feature = "metrics")]
pub use metrics::{
    Family, FamilyKind, PROCESS_FAMILIES, ProcessMetrics, process_values, scrape_problems,
};
#[cfg(feature = "server")]
pub use server::{
    LoadSettings, ServerOptions, SettingsForm, Started, parse_command_line, run_server,
};
pub use stop::{Signal, StopSignal, stop_signal};
