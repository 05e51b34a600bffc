//! Nothing is measured: the feature `metrics` is off. What is called here costs nothing.

use crate::error::ErrorKind;

pub(crate) const MEASURES: bool = false;

pub(crate) fn describe() {}

#[inline]
pub(crate) fn traces_lost(_: usize) {}

#[derive(Debug, Default)]
pub(crate) struct Meters {}

impl Meters {
    #[inline]
    pub(crate) fn sending(&self, _: &str, _: tokio::time::Instant) -> Sending {
        Sending
    }

    #[inline]
    pub(crate) fn retried(&self, _: &str, _: ErrorKind) {}
}

#[derive(Debug)]
pub(crate) struct Sending;

impl Sending {
    #[inline]
    pub(crate) fn stored(&mut self) {}

    #[inline]
    pub(crate) fn handed_over(&mut self) {}

    #[inline]
    pub(crate) fn failed(&mut self, _: ErrorKind) {}
}

/// The time of a handler, which is not measured.
pub(crate) struct Handling;

#[derive(Debug)]
pub(crate) struct QueueMeters;

impl QueueMeters {
    #[inline]
    pub(crate) fn new(_: &str, _: &str) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn received(&self, _: usize) {}

    #[inline]
    pub(crate) fn one_out(&self) {}

    #[inline]
    pub(crate) fn one_back(&self) {}

    #[inline]
    pub(crate) fn handling(&self) -> Handling {
        Handling
    }

    #[inline]
    pub(crate) fn handled(&self, _: Handling) {}

    #[inline]
    pub(crate) fn acked(&self) {}

    #[inline]
    pub(crate) fn retried(&self) {}

    #[inline]
    pub(crate) fn dead_lettered(&self) {}

    #[inline]
    pub(crate) fn gave_up(&self) {}

    #[inline]
    pub(crate) fn lags(&self, _: u64) {}
}
