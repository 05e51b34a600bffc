//! Members: they start, and what their machines want is done.

use std::collections::VecDeque;

use rmq_election::machine::{Action, BootMs, Event, State, Swapped};

use super::{Happening, Request, TICK, World};
use crate::mistakes::Mistake;
use crate::node::{Life, Role};

impl World {
    pub(super) fn start(&mut self, member: usize) {
        if self.nodes[member].life.is_some() || self.nodes[member].installing.is_some() {
            return;
        }
        let random = (u128::from(self.random.next()) << 64) | u128::from(self.random.next());
        let life = Life::start(&mut self.nodes[member], member, &self.setting, random);
        let number = life.number;
        self.note(&format!(
            "member {member} starts, {}, log {:?}",
            life.machine.me(),
            life.position()
        ));
        let (known, accepted) = (life.machine.accepted(), self.nodes[member].accepted);
        if known < accepted {
            self.checker.fails(format!(
                "member {member} has followed the master of epoch {accepted}, and knows only epoch {known} when it starts"
            ));
        }
        self.nodes[member].life = Some(life);
        self.event(member, Event::Started { partial: false });
        self.watched(member);
        self.later(
            TICK,
            Happening::Tick {
                member,
                life: number,
            },
        );
    }

    /// A member watches the place: it is told what is there now.
    pub(super) fn watched(&mut self, member: usize) {
        let (record, lease) = (self.place.record.clone(), self.place.lease.clone());
        for event in [Event::Changed(record), Event::LeaseChanged(lease)] {
            self.tell_change(member, event);
        }
    }

    pub(super) fn tell_change(&mut self, member: usize, event: Event) {
        if self.cut_from_place.contains(&member) {
            return;
        }
        let Some(life) = self.nodes[member].life.as_ref().map(|life| life.number) else {
            return;
        };
        let delay = self.latency();
        self.later(
            delay,
            Happening::FromPlace {
                member,
                life,
                event: Box::new(event),
            },
        );
    }

    pub(super) fn tick(&mut self, member: usize) {
        let life = self.nodes[member].life.as_ref();
        let is_late = |life: &&Life| {
            matches!(life.role, Role::Master(_)) && self.setting.time() >= life.requires_at
        };
        if self.setting.makes(Mistake::RequiresLate)
            && let Some(life) = life.filter(is_late)
        {
            life.require_now(&life.required.1);
        }
        let progress = life.and_then(Life::progress);
        if let Some(progress) = progress {
            self.event(member, Event::Progress(progress));
        }
        self.event(member, Event::Tick);
    }

    /// The machine takes an event, and what it wants is done.
    pub(super) fn event(&mut self, member: usize, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.boot(member);
            let node = &mut self.nodes[member];
            node.open_claim = node.open_claim.filter(|claimed| match &event {
                Event::Read(_) | Event::Swapped(Swapped::Known(_)) => false,
                Event::Changed(Some(record)) => record.version <= *claimed,
                _ => true,
            });
            let Some(life) = &mut node.life else {
                return;
            };
            let mut actions = life.machine.step(Event::Log(life.position()), now);
            actions.extend(life.machine.step(event, now));
            for action in actions {
                self.act(member, action, &mut events);
            }
        }
        self.pump(member);
        self.check();
    }

    pub(super) fn act(&mut self, member: usize, action: Action, events: &mut VecDeque<Event>) {
        let now = self.boot(member);
        let may_have_claimed = self.nodes[member].open_claim.is_some();
        let Some(life) = &mut self.nodes[member].life else {
            return;
        };
        let number = life.number;
        match action {
            Action::ReadPlace => self.ask_place(member, Request::Read),
            Action::ReadLease => self.ask_place(member, Request::ReadLease),
            Action::Swap { expected, next } => {
                if life.machine.state() == State::Claiming {
                    self.nodes[member].open_claim = expected;
                    self.crash_in_claim(member, number);
                }
                self.ask_place(member, Request::Swap(expected, next));
            }
            Action::SwapLease { expected, next } => {
                self.ask_place(member, Request::SwapLease(expected, next));
            }
            Action::Save(durable) => {
                self.nodes[member].saved = Some(durable.encode());
                let delay = self.random.between(0, 3);
                self.later(
                    delay,
                    Happening::Saved {
                        member,
                        life: number,
                        event: Box::new(Event::Saved(durable)),
                    },
                );
            }
            Action::Follow { master, epoch } => {
                if may_have_claimed {
                    self.checker.fails(format!(
                        "member {member} follows somebody and may have claimed"
                    ));
                }
                let to = master.seat.member.0 as usize;
                life.follow(to, master.seat.member, epoch, self.now);
                let accepted = &mut self.nodes[member].accepted;
                *accepted = epoch.max(*accepted);
                self.note(&format!("member {member} follows {to} of epoch {epoch}"));
            }
            Action::Unfollow => self.unfollow(member, "it follows nobody"),
            Action::Promote { epoch } => {
                let me = life.machine.me();
                let record = self.place.record.as_ref();
                let mut terms = record.iter().flat_map(|record| &record.value.history);
                let claimed = life.machine.mastership();
                if !terms.any(|term| Some(term.epoch) == claimed && term.master == me) {
                    self.checker.fails(format!(
                        "member {member} begins epoch {claimed:?}, which it has not claimed"
                    ));
                }
                let promoted = life.promote(epoch);
                self.note(&format!(
                    "member {member} is promoted in epoch {epoch}: {promoted:?}"
                ));
                if let Err(problem) = &promoted {
                    let text = format!("member {member} cannot be promoted: {problem}");
                    self.checker.fails(text);
                }
                events.push_back(match promoted {
                    Ok(start) => Event::Promoted { epoch, start },
                    Err(problem) => Event::PromotionFailed { problem },
                });
            }
            Action::Require { number, members } => {
                life.require(number, members);
            }
            Action::OpenWrites { epoch } => {
                life.open = Some(epoch);
                self.note(&format!("member {member} opens writes in epoch {epoch}"));
            }
            Action::CloseWrites { why } => {
                life.open = None;
                self.note(&format!("member {member} closes writes: {why:?}"));
            }
            Action::ServeUntil(until) => life.serve_until(until, now),
            Action::Fence { why } => {
                life.open = None;
                life.serve_until(BootMs(0), now);
                self.note(&format!("member {member} is fenced: {why:?}"));
                self.hang_up(member, "the member is fenced");
                let disk = self.nodes[member].disk.clone();
                if let Some(life) = &mut self.nodes[member].life {
                    life.demote(&disk);
                }
                events.push_back(Event::Fenced);
            }
            Action::Ask {
                round,
                members,
                question,
            } => {
                for asked in members {
                    let delay = self.latency();
                    self.later(
                        delay,
                        Happening::Question {
                            from: (member, number),
                            to: asked.id.0 as usize,
                            round,
                            question,
                        },
                    );
                }
            }
            Action::Answer { id, standing } => {
                if let Some((to, life, round)) = life.questions.remove(&id) {
                    let delay = self.latency();
                    self.later(
                        delay,
                        Happening::Standing {
                            to: (to, life),
                            from: member,
                            round,
                            standing,
                        },
                    );
                }
            }
            Action::Tell(_) => {}
        }
    }
}
