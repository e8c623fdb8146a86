//! What must be true when nobody does anything any more.
//!
//! A member that is killed leaves its note in the [ledger](super::ledger). Over all deaths of a scene, with
//!
//! - `open`: getters that died between *I am getting* and *I have got this*: at most one item each;
//! - `unknown`: items whose putters died before they knew that they had put them, and which nobody got: they may have been put, or not;
//! - `missing`: items that were put, and that nobody got or called done;
//! - `lost`: what the queue counts,
//!
//! every item that was put and is missing was lost or was in a dead getter's hand, and not both: `missing <= open`, `lost <= open`, and
//! `lost <= missing + unknown`. In a scene with one death that is exact: a missing item that is not counted was in the hand of the one
//! that died.
//!
//! Where getters say when an item is done there is no such hand: what an open getter took is lost, and so is what a dead one had
//! noted and not called done (`held`, exactly). The one item that a getter was calling done when it died (`ending`) is either. So
//! `held + missing <= lost <= held + missing + unknown + ending`.
//!
//! Of leases nothing is lost. The attempts at an item come once each and in order, without a gap but for those whose getters died open; so all
//! gaps of all items, and what is missing at the end of those that were tried as often as they may be, are not more than `open`. Every
//! item was done once; or its getter died while it said so; or it is counted as exhausted, and nothing else is.

use std::collections::BTreeSet;

use super::item::{Flavour, Line};
use super::ledger::{Ledger, MEMBERS, Step};

/// What the dead have left.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Those that may have been put.
    unknown: BTreeSet<usize>,
    open: usize,
    held: usize,
    ending: usize,
    /// Items whose getters died when they said that they are done.
    doubtful: BTreeSet<usize>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) put: usize,
    /// Their putters died before they knew.
    pub(super) unknown: usize,
    pub(super) lost: usize,
    pub(super) in_hand: usize,
    pub(super) again: usize,
    pub(super) exhausted: usize,
}

impl Account {
    /// A putter was killed.
    pub(super) fn bury_putter(&mut self, ledger: &Ledger, putter: usize) {
        let (begun, put) = (ledger.begun(putter), ledger.put(putter));
        assert!(put <= begun && begun <= put + 1, "putter {putter}: {begun}, {put}");
        if begun > put {
            self.unknown.insert(ledger.item(putter, put));
            ledger.was_put(putter, put);
        }
    }

    /// A getter was killed.
    pub(super) fn bury_getter(&mut self, ledger: &Ledger, getter: usize, flavour: Flavour) {
        let note = ledger.note(getter);
        ledger.write(getter, super::ledger::Note::of(Step::Idle, 0));
        self.open += usize::from(note.step == Step::Getting);
        if let (Step::Got, Some(item)) = (note.step, note.item) {
            ledger.was_done(item);
        }
        match flavour {
            Flavour::Plain => {}
            Flavour::Tasks => {
                let ending = usize::from(note.step == Step::Ending);
                self.held += super::ledger::small(note.held) - ending;
                self.ending += ending;
            }
            Flavour::Leases => {
                let Some(item) = note.item else { return };
                ledger.may_have_seen(item, note.attempt);
                if note.step == Step::Ending {
                    self.doubtful.insert(item);
                }
            }
        }
    }

    /// All items of all putters, and whether each was put for sure.
    fn items(&self, ledger: &Ledger) -> Vec<(usize, bool)> {
        let of = |putter| (0..ledger.begun(putter)).map(move |number| ledger.item(putter, number));
        let all = (0..MEMBERS).flat_map(of);
        all.map(|item| (item, !self.unknown.contains(&item))).collect()
    }

    /// Checks it all. The queue is empty, and all members have ended.
    pub(super) fn check(&self, ledger: &Ledger, line: &Line, attempts: Option<u16>) -> Found {
        let items = self.items(ledger);
        let (put, unknown) = (items.len(), self.unknown.len());
        let mut found = Found { put, unknown, lost: line.lost(), ..Found::default() };
        if let Line::Leases(_) = line {
            assert_eq!(found.lost, 0, "a lease is never lost: {self:?}");
            self.check_leases(ledger, line, attempts, &mut found);
            return found;
        }
        let (mut missing, mut unknown) = (0, 0);
        for (item, was_put) in items {
            let (_, times) = ledger.fate(item);
            assert!(times <= 1, "item {item} was got {times} times");
            missing += usize::from(times == 0 && was_put);
            unknown += usize::from(times == 0 && !was_put);
        }
        let lost = found.lost;
        let text = format!("lost {lost}, missing {missing}, unknown {unknown}, {self:?}");
        assert!(missing <= self.open, "missing in silence: {text}");
        if let Line::Tasks(_) = line {
            let least = self.held + missing;
            assert!((least..=least + unknown + self.ending).contains(&lost), "{text}");
            assert!(lost <= self.held + self.ending + self.open, "{text}");
        } else {
            assert!(lost <= missing + unknown, "lost and got: {text}");
            assert!(lost <= self.open, "more lost than were being got: {text}");
            found.in_hand = missing.saturating_sub(lost);
        }
        found
    }

    fn check_leases(&self, ledger: &Ledger, line: &Line, most: Option<u16>, found: &mut Found) {
        let (mut gaps, mut exhausted, mut doubtful) = (0, 0, 0);
        for (item, was_put) in self.items(ledger) {
            let (seen, times) = ledger.fate(item);
            let (last, count) = (seen.checked_ilog2().map_or(0, |bit| bit + 1), seen.count_ones());
            assert!(times <= 1, "item {item} was done {times} times");
            assert!(times == 0 || last > 0, "item {item} was done by nobody");
            gaps += last - count;
            found.again += usize::from(last > 1);
            let Some(most) = most.map(u32::from) else {
                let is_right = times == 1 || self.doubtful.contains(&item) || !was_put && last == 0;
                assert!(is_right, "item {item} is not done, seen {seen:b}, {self:?}");
                continue;
            };
            assert!(last <= most, "item {item} was tried {last} times, of {most}");
            match (times, was_put || last > 0, self.doubtful.contains(&item)) {
                (1, ..) => {}
                (_, true, false) => {
                    exhausted += 1;
                    // Those who tried it last died before they wrote that down.
                    gaps += most - last;
                }
                // It is done, or was tried once too often by the one that said so; or was never put.
                _ => doubtful += 1,
            }
        }
        found.exhausted = line.exhausted();
        let range = exhausted..=exhausted + doubtful;
        let text = format!("{gaps} gaps, {}, not {range:?}, {self:?}", found.exhausted);
        assert!(gaps as usize <= self.open, "attempts that nobody made: {text}");
        assert!(range.contains(&found.exhausted), "exhausted: {text}");
    }
}
