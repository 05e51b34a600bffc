//! A member that takes a snapshot. It has no store meanwhile.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use rmq_replication::wire::{Decoder, Frame};
use rmq_store::fs::SimulatedDisk;
use rmq_store::{History, Installed, Installer};

use crate::setting::Setting;

pub(crate) struct Installing {
    /// In place of a life's.
    pub(crate) number: u64,
    pub(crate) connection: u64,
    decoder: Decoder,
    installer: Option<Installer>,
}

/// How the bytes of a snapshot went on.
pub(crate) enum Came {
    More,
    Whole(Installed),
    /// It is tried again.
    Broken(String),
}

impl Installing {
    pub(crate) fn new(number: u64, connection: u64) -> Self {
        Self {
            number,
            connection,
            decoder: Decoder::new(),
            installer: None,
        }
    }

    /// Takes bytes of the connection.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        disk: &SimulatedDisk,
        (setting, wall_ahead): (&Setting, &Arc<AtomicI64>),
    ) -> Came {
        self.decoder.push(bytes);
        loop {
            let frame = match self.decoder.frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Came::More,
                Err(error) => return Came::Broken(error.to_string()),
            };
            match (frame, self.installer.take()) {
                (Frame::Greeting(_), None) => {
                    let config = setting.store(wall_ahead);
                    let disk = Arc::new(disk.clone());
                    match Installer::new(config, disk, History::All) {
                        Ok(installer) => self.installer = Some(installer),
                        Err(error) => return Came::Broken(error.to_string()),
                    }
                }
                (Frame::Chunk([]), Some(installer)) => {
                    return match installer.finish() {
                        Ok(installed) => Came::Whole(installed),
                        Err(error) => Came::Broken(error.to_string()),
                    };
                }
                (Frame::Chunk(chunk), Some(mut installer)) => {
                    if let Err(error) = installer.take(chunk) {
                        return Came::Broken(error.to_string());
                    }
                    self.installer = Some(installer);
                }
                (Frame::Close(reason), _) => return Came::Broken(reason.to_string()),
                _ => return Came::Broken("a frame came out of turn".to_owned()),
            }
        }
    }
}
