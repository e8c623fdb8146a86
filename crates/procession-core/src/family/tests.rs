//! The table in one process: transitions, the family of this process, and the model with recycled process numbers.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use procession_sys::prim::{Mutex, lock};

use super::*;

mod reuse;

fn family() -> &'static Family {
    Family::current().unwrap()
}

#[test]
fn this_process_is_one_and_stays_it() {
    let me = family().me().unwrap();
    assert_eq!(family().me().unwrap(), me);
    let elsewhere = std::thread::spawn(|| family().me().unwrap());
    assert_eq!(elsewhere.join().unwrap(), me);
    assert!(family().is_alive(me).unwrap());
    assert!(family().members().contains(&me));
    let line = format!("{me} Live pid {} ", std::process::id());
    assert!(family().dump().contains(&line), "{}", family().dump());
    assert_eq!(family().mark_dead(me).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn an_unused_reservation_gives_its_slot_back() {
    let reservation = family().reserve().unwrap();
    let id = reservation.id();
    assert!(family().members().contains(&id));
    assert!(family().is_alive(id).unwrap(), "its parent answers for it");
    assert!(family().observe(id).unwrap().is_none());
    drop(reservation);
    assert!(!family().members().contains(&id));
    assert!(!family().is_alive(id).unwrap());
    assert!(!family().mark_dead(id).unwrap());
}

#[test]
fn a_reservation_that_holds_something_is_recovered() {
    static SEEN: Mutex<Vec<DeadProcess>> = Mutex::new(Vec::new());
    register_recovery("seen", |dead| lock(&SEEN).push(dead.clone())).unwrap();
    let mut reservation = family().reserve().unwrap();
    let id = reservation.id();
    for object in [MAX_OBJECTS - 1, 3, 64] {
        reservation.hold(object).unwrap();
        assert!(family().holders(object).unwrap().contains(&id));
    }
    assert!(reservation.hold(MAX_OBJECTS).is_err());
    drop(reservation);
    let seen = lock(&SEEN).iter().find(|dead| dead.id == id).cloned().unwrap();
    assert_eq!(seen.holds, [3, 64, MAX_OBJECTS - 1]);
    assert_eq!((seen.pid, seen.parent), (0, Some(family().me().unwrap())));
    assert!(!family().holders(3).unwrap().contains(&id));
    assert!(family().table.stamp(id.slot).generation > id.generation);
}

#[test]
fn a_hook_that_panics_leaves_the_dead_to_the_next() {
    static PANICS: Mutex<Option<ProcessId>> = Mutex::new(None);
    register_recovery("panics", |dead| {
        let panics = *lock(&PANICS) == Some(dead.id);
        assert!(!panics, "as the test wants it");
    })
    .unwrap();
    let id = family().reserve().unwrap().commit();
    *lock(&PANICS) = Some(id);
    let error = family().mark_dead(id).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broken);
    assert_eq!(error.to_string(), "the recovery hook `panics` panicked");
    assert_eq!(family().table.state_of(id), Some(State::Dead { recoverer: None }));
    *lock(&PANICS) = None;
    assert!(family().mark_dead(id).unwrap());
    assert_eq!(family().table.state_of(id), None);
}

#[test]
fn hooks_are_known_by_name_and_limited() {
    // Other tests of this program register hooks as well; more than half of the room is theirs.
    for _ in 0..100 {
        register_recovery("the same", |_| {}).unwrap();
    }
}

#[test]
fn holds_come_and_go() {
    let me = family().me().unwrap();
    family().hold(1000).unwrap();
    assert_eq!(family().holders(1000).unwrap(), [me]);
    family().release(1000).unwrap();
    assert_eq!(family().holders(1000).unwrap(), []);
    assert_eq!(family().hold(MAX_OBJECTS).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn invitations_are_refused_where_they_make_no_sense() {
    family().me().unwrap();
    let reservation = family().reserve().unwrap();
    let error = reservation.invitation().unwrap().accept().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    let foreign = Invitation {
        segment: Some(Handle(fd::duplicate(SharedWords::create(100).unwrap()).unwrap())),
        id: reservation.id(),
    };
    assert_eq!(foreign.accept().unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn a_process_of_another_pid_namespace_is_refused() {
    static ANOTHER: WipedWord = WipedWord::new();
    static FAMILY: SetOnce<Family> = SetOnce::new();
    let origin = Origin { namespaces: namespaces().unwrap() ^ 1 << 32, root: [1, 2, 3] };
    let size = Size { slots: 4, hold_words: 1 };
    let table = Table::create(SharedWords::create(size.words()).unwrap(), size, origin);
    let me = ANOTHER.get().unwrap();
    let family = FAMILY.set(Family { table, me, last: AtomicU64::new(0) });
    let id = ProcessId { slot: 0, generation: 0 };
    for refused in [family.me().err(), family.is_alive(id).err(), family.reserve().err()] {
        assert_eq!(refused.unwrap().kind(), ErrorKind::Unsupported);
    }
    assert_eq!(family.dump(), "", "nothing was taken");
}

#[test]
fn a_full_family_says_so() {
    static SECOND: WipedWord = WipedWord::new();
    static FAMILY: SetOnce<Family> = SetOnce::new();
    let origin = Origin { namespaces: namespaces().unwrap(), root: [1, 2, 4] };
    let size = Size { slots: 3, ..SIZE };
    let words = SharedWords::create(ARENA + arena::WORDS).unwrap();
    let table = Table::create(words, size, origin);
    let family = FAMILY.set(Family { table, me: SECOND.get().unwrap(), last: AtomicU64::new(0) });
    let one = family.reserve().unwrap();
    let lost = family.reserve().unwrap().commit();
    let error = family.reserve().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(error.to_string(), "the family has no room for more than 3 processes");
    // Somebody died, and nobody noticed but the table: reserving looks for such.
    assert_eq!(family.table.mark_dead(lost), Marked::Now);
    assert_eq!(family.reserve().unwrap().id().slot, lost.slot);
    drop(one);
}

#[test]
fn tables_with_sizes_that_lie_are_refused() {
    let size = Size { slots: 4, hold_words: 1 };
    let origin = Origin { namespaces: 1, root: [1, 2, 3] };
    let words = || words::local(size.words());
    let open = |words| Table::open(words).map(|table| (table.size(), table.origin()));
    assert_eq!(open(words()), None);
    let made = || {
        let made = words();
        let header = Table::create(words(), size, origin);
        for at in 0..8 {
            made[at].store(header.words()[at].load(Relaxed), Relaxed);
        }
        made
    };
    assert_eq!(open(made()), Some((size, origin)));
    let larger = made();
    larger[1].store(5 << 16 | 1, Relaxed);
    assert_eq!(open(larger), None);
    let empty = made();
    empty[1].store(1, Relaxed);
    assert_eq!(open(empty), None);
    let short: Box<[_]> = made().into_vec().into_iter().take(7).collect();
    assert_eq!(open(short), None);
}

#[test]
fn a_slot_that_somebody_wrote_over_is_left_alone() {
    let size = Size { slots: 2, hold_words: 1 };
    let table =
        Table::create(words::local(size.words()), size, Origin { namespaces: 1, root: [1, 2, 3] });
    table.words()[8].store(0xff, Relaxed);
    let id = ProcessId { slot: 0, generation: 0 };
    assert_eq!(table.mark_dead(id), Marked::Gone);
    assert!(!table.arrive(id, 1));
    assert_eq!(table.reserve(id).unwrap().slot, 1);
    assert_eq!(table.reserve(id), None);
    // Nor does one that is not there do any harm.
    let beyond = ProcessId { slot: 2, generation: 0 };
    assert_eq!(table.mark_dead(beyond), Marked::Gone);
    assert!(!table.free(beyond));
}
