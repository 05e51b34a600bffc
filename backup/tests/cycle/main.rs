//! Backups of real brokers: taken under load, interrupted, damaged, removed, restored.

mod damage;
mod history;
mod incremental;
mod interrupted;
mod load;
mod members;
mod rig;
