//! Callers that die between two of their system calls: each of them, over everything.

use super::*;

/// Runs `work`, whose caller dies after `life` system calls; tells whether it was done before.
#[track_caller]
fn dying<T>(life: usize, work: impl FnOnce() -> Result<T>) -> bool {
    LIFE.set(life);
    let done = work();
    LIFE.set(usize::MAX);
    match done {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Died, "{error}");
            false
        }
    }
}

/// Something done to a depot, and the tags of which nothing is said when its caller dies.
type Deed = (&'static str, fn(&Depot, &Kept) -> Result<()>, &'static [u64]);

/// With items 0 to 19, of which 8 has 600 descriptors, and 1 was removed from behind.
const DEEDS: [Deed; 9] = [
    ("store", |depot, kept| depot.store(50, &kept.handles(50, 1)).map(|_| ()), &[50]),
    ("store many", |depot, kept| depot.store(50, &kept.handles(50, 600)).map(|_| ()), &[50]),
    ("copy early", |depot, _| depot.copy(0).map(|_| ()), &[]),
    ("copy late", |depot, _| depot.copy(8).map(|_| ()), &[]),
    ("remove early", |depot, _| depot.remove(0).map(|_| ()), &[0]),
    ("remove behind", |depot, _| depot.remove(3).map(|_| ()), &[3]),
    ("remove many", |depot, _| depot.remove(8).map(|_| ()), &[8]),
    ("remove far behind", |depot, _| depot.remove(18).map(|_| ()), &[18]),
    ("sweep", |depot, _| depot.sweep(&mut |tag| tag % 5 != 0).map(|_| ()), &[0, 5, 10, 15]),
];

fn twenty() -> Kept {
    let kept = Kept::new();
    for tag in 0..20 {
        assert!(kept.store(tag, size(tag)));
    }
    kept.depot.remove(1).unwrap();
    assert_eq!(kept.lines()[0], [0]);
    kept
}

fn size(tag: u64) -> usize {
    if tag == 8 { 600 } else { 2 }
}

/// Those of the twenty that are there whatever becomes of `changed`.
fn live(changed: &[u64]) -> Vec<u64> {
    (0..20).filter(|tag| *tag != 1 && !changed.contains(tag)).collect()
}

#[track_caller]
fn all_there(kept: &Kept, live: &[u64]) {
    for tag in live {
        kept.has(*tag, size(*tag));
    }
}

/// The messages of the twenty that are left.
#[track_caller]
fn exactly(kept: &Kept, live: &[u64]) {
    let parts = |tag: u64| if tag == 8 { 3 } else { 1 };
    let wanted: Vec<u64> =
        live.iter().flat_map(|tag| std::iter::repeat_n(*tag, parts(*tag))).collect();
    assert_eq!(kept.sorted(), wanted);
}

#[test]
fn who_dies_over_anything_takes_nothing_along() {
    alone("deaths::who_dies_over_anything_takes_nothing_along", || {
        let open = open_descriptors().unwrap();
        for (name, deed, changed) in DEEDS {
            let live = live(changed);
            let deaths = (0..).take_while(|life| {
                let kept = twenty();
                let done = dying(*life, || deed(&kept.depot, &kept));
                assert!(!done || kept.depot.is_settled().unwrap(), "{name}");
                all_there(&kept, &live);
                let stored = kept.depot.copy(50).unwrap();
                assert!(
                    matches!(stored.map_or(1, |copies| copies.len()), 1 | 600),
                    "{name}: half an item"
                );
                kept.depot.sweep(&mut |tag| live.contains(&tag)).unwrap();
                exactly(&kept, &live);
                assert!(kept.depot.is_settled().unwrap());
                all_there(&kept, &live);
                !done
            });
            assert!(deaths.count() > 0, "{name}");
        }
        assert_eq!(open_descriptors().unwrap(), open);
    });
}

#[test]
fn without_a_sweep_whatever_is_removed_is_gone_with_its_duplicates() {
    for (name, deed, changed) in DEEDS {
        for life in 0.. {
            let kept = twenty();
            let done = dying(life, || deed(&kept.depot, &kept));
            let mut live = live(changed);
            for tag in [2, 19, 8, 12, 50] {
                kept.depot.remove(tag).unwrap();
                live.retain(|other| *other != tag);
                assert!(!kept.tags().contains(&tag), "{name}: {tag} after {life}");
                all_there(&kept, &live);
            }
            assert!(kept.store(60, 2));
            kept.has(60, 2);
            if done {
                break;
            }
        }
    }
}

#[test]
fn who_dies_over_cleaning_up_takes_nothing_along() {
    for (_, deed, changed) in DEEDS {
        let live = live(changed);
        // Some deaths of each, at other places for each of the other: there are too many for all.
        for first in (0..).step_by(2) {
            let mut done = false;
            for second in (first % 17..).step_by(17) {
                let kept = twenty();
                done = dying(first, || deed(&kept.depot, &kept));
                let swept = dying(second, || kept.depot.sweep(&mut |tag| live.contains(&tag)));
                all_there(&kept, &live);
                kept.depot.sweep(&mut |tag| live.contains(&tag)).unwrap();
                exactly(&kept, &live);
                if swept {
                    break;
                }
            }
            if done {
                break;
            }
        }
    }
}

#[test]
fn who_dies_over_a_full_depot_takes_nothing_along() {
    for tag in [3, 20, 100] {
        for life in (0..).step_by(23) {
            let kept = Kept::new();
            let count = kept.fill();
            let done = dying(life, || kept.depot.remove(tag));
            let live: Vec<u64> = (0..count).filter(|other| *other != tag).collect();
            for tag in live.iter().step_by(13).chain([&0, &1, &2]) {
                kept.has(*tag, 1);
            }
            kept.depot.sweep(&mut |other| other != tag).unwrap();
            assert_eq!(kept.sorted(), live);
            if done {
                break;
            }
        }
    }
}
