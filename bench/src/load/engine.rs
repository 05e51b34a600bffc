//! Waits for many connections and for points in time on one thread.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::wire::Wire;

const TIMER: u64 = u64::MAX;

pub(crate) struct Engine {
    epoll: OwnedFd,
    /// Exact to microseconds, unlike the time limit of a wait.
    timer: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Engine {
    pub(crate) fn new(wires: &[Wire]) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        for (number, wire) in wires.iter().enumerate() {
            epoll::add(
                &epoll,
                wire,
                epoll::EventData::new_u64(number as u64),
                flags,
            )?;
        }
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        // Edge-triggered: each setting fires once, and nothing need be read.
        let timer_flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(
            &epoll,
            &timer,
            epoll::EventData::new_u64(TIMER),
            timer_flags,
        )?;
        Ok(Self {
            epoll,
            timer,
            events: Vec::with_capacity(wires.len() + 1),
        })
    }

    /// Waits until a connection is ready or `at_most` has passed; hands out the ready connections.
    pub(crate) fn wait(
        &mut self,
        at_most: Duration,
        mut ready: impl FnMut(usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let limit = if at_most.is_zero() {
            Some(Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            })
        } else {
            let value = Timespec::try_from(at_most).map_err(io::Error::other)?;
            timerfd_settime(
                &self.timer,
                TimerfdTimerFlags::empty(),
                &Itimerspec {
                    it_interval: Timespec::default(),
                    it_value: value,
                },
            )?;
            None
        };
        self.events.clear();
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.events),
            limit.as_ref(),
        ) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            let number = event.data.u64();
            if number != TIMER {
                ready(number as usize)?;
            }
        }
        Ok(())
    }
}
