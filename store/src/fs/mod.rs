//! The seam to the file system: everything the store does to files goes through [`Fs`] and [`File`], so that tests can make it fail,
//! drop what was not synced, or stop at any step.

mod disk;
mod faulty;
mod map;
mod real;
mod simulated;

pub use disk::{File, FoldersSynced, Fs, Lock, Space};
pub use faulty::{Call, Fault, FaultyFs, Operation};
pub use map::{Map, Residency};
pub use real::RealFs;
pub use simulated::{Crash, SimulatedDisk};
