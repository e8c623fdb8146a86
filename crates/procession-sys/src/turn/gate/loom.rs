//! The gate, in every order of steps.
//!
//! The light barrier of the favourite is a full one here, as the system's heavy one makes it whenever it matters.

use ::loom::cell::UnsafeCell;
use ::loom::sync::Arc;
use ::loom::thread;

use super::*;

/// What is wrong to touch without having gone in: loom says so.
struct Room {
    gate: Gate,
    inside: UnsafeCell<u32>,
}

impl Room {
    fn new() -> Arc<Self> {
        Arc::new(Self { gate: Gate::new(), inside: UnsafeCell::new(0) })
    }

    fn visit(&self, pass: Option<Pass>) -> u32 {
        let Some(pass) = pass else { return 0 };
        // SAFETY: The gate lets one in at a time: that is what is tested.
        #[expect(unsafe_code, reason = "loom's cell hands out pointers")]
        self.inside.with_mut(|inside| unsafe { *inside += 1 });
        self.gate.leave(pass);
        1
    }

    fn enter(&self) -> u32 {
        self.visit(self.gate.enter(Deadline::NEVER))
    }

    fn try_enter(&self) -> u32 {
        self.visit(self.gate.try_enter())
    }

    fn count(&self) -> u32 {
        let pass = self.gate.enter(Deadline::NEVER).unwrap();
        #[expect(unsafe_code, reason = "loom's cell hands out pointers")]
        // SAFETY: As above.
        let count = self.inside.with(|inside| unsafe { *inside });
        self.gate.leave(pass);
        count
    }
}

fn model(steps: impl Fn() + Sync + Send + 'static) {
    let mut model = ::loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(steps);
}

#[test]
fn two_who_come_at_once_go_in_one_after_the_other() {
    model(|| {
        let room = Room::new();
        let other = thread::spawn({
            let room = Arc::clone(&room);
            move || room.enter() + room.enter()
        });
        let mine = room.enter() + room.try_enter();
        let sum = mine + other.join().unwrap();
        assert_eq!(room.count(), sum);
    });
}

#[test]
fn a_favourite_is_dismissed_while_it_comes_and_goes() {
    model(|| {
        let room = Room::new();
        assert_eq!(room.enter(), 1);
        let other = thread::spawn({
            let room = Arc::clone(&room);
            move || room.enter()
        });
        let mine = room.enter() + room.enter();
        let sum = mine + other.join().unwrap();
        assert_eq!(room.count(), sum + 1);
    });
}

#[test]
fn two_dismiss_a_favourite() {
    model(|| {
        let room = Room::new();
        assert_eq!(room.enter(), 1);
        let others = [(); 2].map(|()| {
            let room = Arc::clone(&room);
            thread::spawn(move || room.enter())
        });
        let mine = room.try_enter();
        let sum = mine + others.into_iter().map(|other| other.join().unwrap()).sum::<u32>();
        assert_eq!(room.count(), sum + 1);
    });
}
