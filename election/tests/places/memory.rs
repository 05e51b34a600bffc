//! The place in memory.

use std::sync::Arc;

use rmq_election::place::Place;
use rmq_election::place::memory::{Memory, MemoryPlace};

use crate::suite::{BackEnd, BadWay, Is};

struct InMemory(Memory);

struct Bad(Arc<MemoryPlace>);

impl BadWay for Bad {
    fn place(&self) -> Arc<dyn Place> {
        Arc::clone(&self.0) as Arc<dyn Place>
    }

    fn is_now(&self, is: Is) {
        self.0.cut_off(is == Is::Cut);
        let lost = if is == Is::WithoutAnswers {
            u32::MAX
        } else {
            0
        };
        self.0.lose_answers(lost);
    }
}

impl BackEnd for InMemory {
    fn way(&self) -> Arc<dyn Place> {
        Arc::new(self.0.way("a member"))
    }

    async fn bad_way(&self) -> impl BadWay {
        Bad(Arc::new(self.0.way("a bad way")))
    }

    async fn delete_record(&self) {
        self.0.delete_record();
    }

    async fn delete_lease(&self) {
        self.0.delete_lease();
    }
}

async fn in_memory() -> Option<InMemory> {
    Some(InMemory(Memory::new()))
}

tests_of!(in_memory());
