//! What is kept stays whole, in every order, and at whatever call somebody dies.

use std::cell::Cell;
use std::io::{PipeReader, PipeWriter, pipe};
use std::process::{Command, Stdio};
use std::time::Duration;

use procession_sys::fd::{duplicate, open_descriptors};
use procession_sys::surroundings::{Resource, limit, set_limit};
use procession_sys::user::become_user;

use super::*;

mod deaths;
mod kills;

thread_local! {
    /// How many system calls this thread may still make before it dies.
    static LIFE: Cell<usize> = const { Cell::new(usize::MAX) };
}

pub(super) fn step() -> Result<()> {
    match LIFE.get().checked_sub(1) {
        Some(left) => {
            LIFE.set(left);
            Ok(())
        }
        None => Err(Error::new(ErrorKind::Died, "died")),
    }
}

/// Runs the test of this name once more, in a process of its own, where nobody else opens descriptors or meets limits.
fn alone(name: &str, check: impl FnOnce()) {
    const ALONE: &str = "DEPOT_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return check();
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "no process of the library: the same test, alone"
    )]
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", &format!("depot::tests::{name}"), "--test-threads=1"]);
    let output = test.env(ALONE, "1").stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// What the file behind a descriptor is called.
fn file(fd: &impl AsFd) -> String {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    std::fs::read_link(path).unwrap().to_string_lossy().into_owned()
}

/// A depot whose items are known by their tags.
struct Kept {
    depot: Depot,
    files: [(PipeReader, PipeWriter); 3],
}

impl Kept {
    fn new() -> Self {
        Self { depot: Depot::of(0).unwrap(), files: [(); 3].map(|()| pipe().unwrap()) }
    }

    /// What the item of this tag holds: `count` descriptors, of which the first depends on the tag.
    fn handles(&self, tag: u64, count: usize) -> Vec<BorrowedFd<'_>> {
        let at = usize::try_from(tag).unwrap();
        (at..at + count).map(|at| self.files[at % 3].0.as_fd()).collect()
    }

    fn store(&self, tag: u64, count: usize) -> bool {
        self.depot.store(tag, &self.handles(tag, count)).unwrap()
    }

    /// As many items as there is room for, from tag 0 on.
    fn fill(&self) -> u64 {
        (0..).find(|tag| !self.store(*tag, 1)).unwrap()
    }

    #[track_caller]
    fn has(&self, tag: u64, count: usize) {
        let copies = self.depot.copy(tag).unwrap();
        let Some(copies) = copies else { panic!("{tag} is not there") };
        let wanted = self.handles(tag, count);
        assert_eq!(copies.len(), wanted.len());
        // Of many some of each part, the first and the last among them.
        let looked_at = |at: &usize| count <= 3 || [0, 1, 252].contains(&(at % 253));
        for at in (0..count).filter(looked_at) {
            assert_eq!(file(&copies[at]), file(&wanted[at]), "{tag} at {at}");
        }
    }

    /// What is in both lines, in order. Whether there may be duplicates stays as it is.
    fn lines(&self) -> [Vec<u64>; 2] {
        let is_settled = self.depot.is_settled().unwrap();
        let lines = [Line::Early, Line::Late].map(|line| {
            let labels = self.depot.list(line).unwrap();
            labels.iter().map(|label| label.tag).collect()
        });
        if is_settled {
            self.depot.seek(Line::Late, None).unwrap();
        }
        lines
    }

    fn tags(&self) -> Vec<u64> {
        self.lines().concat()
    }

    fn sorted(&self) -> Vec<u64> {
        let mut tags = self.tags();
        tags.sort_unstable();
        tags
    }
}

#[test]
fn what_is_stored_is_copied_any_number_of_times_and_then_removed() {
    let kept = Kept::new();
    assert!(kept.depot.is_empty().unwrap());
    for tag in 0..10 {
        assert!(kept.store(tag, 3));
    }
    assert!(!kept.depot.is_empty().unwrap());
    for tag in 0..10 {
        kept.has(tag, 3);
        kept.has(tag, 3);
        kept.depot.remove(tag).unwrap();
        assert!(kept.depot.copy(tag).unwrap().is_none());
    }
    assert!(kept.depot.is_empty().unwrap());
}

#[test]
fn what_is_left_in_the_early_line_counts() {
    let kept = Kept::new();
    assert!(kept.store(0, 1) && kept.store(1, 1));
    kept.depot.remove(1).unwrap();
    assert_eq!(kept.lines(), [vec![0], vec![]]);
    assert!(!kept.depot.is_empty().unwrap());
    kept.depot.remove(0).unwrap();
    assert!(kept.depot.is_empty().unwrap());
}

#[test]
fn another_process_has_the_same() {
    let kept = Kept::new();
    assert!(kept.store(7, 2));
    let [left, right] = kept.depot.ends().map(|end| duplicate(end).unwrap());
    let depot = Depot::open(left, right).unwrap();
    assert_eq!(depot.copy(7).unwrap().unwrap().len(), 2);
    depot.remove(7).unwrap();
    assert!(kept.depot.is_empty().unwrap());
    let other = || duplicate(&kept.files[0].0).unwrap();
    assert_eq!(Depot::open(other(), other()).unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn an_item_without_handles_is_kept_too() {
    let kept = Kept::new();
    assert!(kept.store(7, 0));
    kept.has(7, 0);
    kept.depot.remove(7).unwrap();
    assert!(kept.depot.is_empty().unwrap());
}

#[test]
fn a_file_is_closed_when_its_item_is_removed() {
    alone("a_file_is_closed_when_its_item_is_removed", || {
        let depot = Depot::create().unwrap();
        let [(first, a), (second, b)] = [(); 2].map(|()| pipe().unwrap());
        assert!(depot.store(1, &[a.as_fd()]).unwrap());
        assert!(depot.store(2, &[b.as_fd()]).unwrap());
        drop((a, b));
        let ended = |pipe: &PipeReader| {
            let mut watch = [poll::Watch::readable(pipe)];
            poll::wait(&mut watch, Deadline::PAST).unwrap();
            watch[0].has_hung_up()
        };
        assert_eq!((ended(&first), ended(&second)), (false, false));
        depot.remove(2).unwrap();
        assert_eq!((ended(&first), ended(&second)), (false, true));
        drop(depot);
        assert!(ended(&first));
    });
}

#[test]
fn a_depot_that_holds_itself_ends_with_its_last_process() {
    alone("a_depot_that_holds_itself_ends_with_its_last_process", || {
        let depot = Depot::create().unwrap();
        let (reader, writer) = pipe().unwrap();
        assert!(depot.store(1, &depot.ends()).unwrap());
        assert!(depot.store(2, &[writer.as_fd()]).unwrap());
        drop((depot, writer));
        // The kernel finds the circle on its own time.
        assert!(poll::wait_readable(&reader, Deadline::after(Duration::from_secs(20))).unwrap());
    });
}

#[test]
fn items_go_in_every_order() {
    let orders: [fn(u64, u64) -> u64; 5] = [
        |at, _| at,
        |at, count| count - 1 - at,
        // In pairs and in twelves, each backwards.
        |at, _| at ^ 1,
        |at, _| at / 12 * 12 + (11 - at % 12),
        // Far apart.
        |at, count| at * 35 % count,
    ];
    let kept = Kept::new();
    for order in orders {
        let count = 48;
        for tag in 0..count {
            assert!(kept.store(tag, 1 + usize::try_from(tag % 2).unwrap()));
        }
        let mut left: Vec<u64> = (0..count).collect();
        for at in 0..count {
            let tag = order(at, count);
            kept.has(tag, 1 + usize::try_from(tag % 2).unwrap());
            kept.depot.remove(tag).unwrap();
            left.retain(|other| *other != tag);
            assert_eq!(kept.sorted(), left);
            assert!(kept.lines()[0].len() <= ASIDE);
            assert!(kept.depot.is_settled().unwrap());
        }
        assert!(kept.depot.is_empty().unwrap());
    }
}

#[test]
fn what_goes_nearly_in_order_leaves_the_others_in_order() {
    let kept = Kept::new();
    for tag in 0..20 {
        assert!(kept.store(tag, 1));
    }
    kept.depot.remove(3).unwrap();
    assert_eq!((&kept.lines()[0], kept.tags()[3]), (&vec![0, 1, 2], 4));
    // Too many are in front of it.
    kept.depot.remove(10).unwrap();
    assert_eq!(kept.tags()[..4], [0, 1, 2, 4]);
    for tag in [1, 0, 2, 4] {
        kept.depot.remove(tag).unwrap();
    }
    assert_eq!(kept.tags(), [5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
    assert!(kept.lines()[0].is_empty());
}

#[test]
fn a_full_depot_refuses_and_goes_on() {
    let kept = Kept::new();
    let count = kept.fill();
    assert!(count > 100, "{count}");
    let mut left: Vec<u64> = (0..count).collect();
    let mut next = count;
    for at in 0..300 {
        // Always from the middle, so that the early line is as long as it gets.
        let tag = left.remove(left.len() / 2);
        kept.depot.remove(tag).unwrap();
        assert_eq!(kept.sorted(), left, "{at}");
        assert!(kept.lines()[0].len() <= ASIDE);
        while kept.store(next, 1) {
            left.push(next);
            next += 1;
        }
    }
    for tag in left.into_iter().rev() {
        kept.has(tag, 1);
        kept.depot.remove(tag).unwrap();
    }
    assert!(kept.depot.is_empty().unwrap());
    assert_eq!(kept.fill(), count);
}

#[test]
fn as_much_fits_as_the_system_gives() {
    let kept = Kept { depot: Depot::create().unwrap(), ..Kept::new() };
    let count = kept.fill();
    assert!(count >= Kept::new().fill());
    kept.has(count - 1, 1);
    let gone = kept.depot.sweep(&mut |tag| tag == 7).unwrap();
    assert_eq!((kept.tags(), gone + 1), (vec![7], usize::try_from(count).unwrap()));
}

#[test]
fn many_descriptors_are_one_item() {
    alone("many_descriptors_are_one_item", || {
        let kept = Kept::new();
        let open = open_descriptors().unwrap();
        for (tag, count) in [(1, 1), (2, 600), (3, 253), (4, 254), (5, 1)] {
            assert!(kept.store(tag, count));
        }
        for (tag, count) in [(5, 1), (4, 254), (2, 600), (3, 253)] {
            kept.has(tag, count);
        }
        kept.depot.remove(2).unwrap();
        assert_eq!(kept.sorted(), [1, 3, 4, 4, 5]);
        kept.depot.remove(1).unwrap();
        kept.depot.remove(3).unwrap();
        // In front, both parts.
        kept.has(4, 254);
        kept.depot.remove(4).unwrap();
        assert_eq!(kept.tags(), [5]);
        assert_eq!(open_descriptors().unwrap(), open);
    });
}

#[test]
fn an_item_that_does_not_fit_whole_leaves_nothing() {
    for free in 0..3 {
        let kept = Kept::new();
        let count = kept.fill();
        for tag in 0..free {
            kept.depot.remove(tag).unwrap();
        }
        assert!(!kept.store(9999, 600));
        assert_eq!(kept.sorted(), (free..count).collect::<Vec<_>>());
        assert!(kept.depot.copy(9999).unwrap().is_none());
        kept.depot.remove(free).unwrap();
        kept.depot.remove(free + 1).unwrap();
        kept.depot.remove(free + 2).unwrap();
        assert!(kept.store(9999, 600));
        kept.has(9999, 600);
    }
}

#[test]
fn without_descriptors_nothing_is_lost_or_left_open() {
    alone("without_descriptors_nothing_is_lost_or_left_open", || {
        let kept = Kept::new();
        for (tag, count) in [(1, 3), (2, 600), (3, 1)] {
            assert!(kept.store(tag, count));
        }
        let (_, most) = limit(Resource::Descriptors);
        let before = limit(Resource::Descriptors);
        for room in [0, 2, 300] {
            let open = open_descriptors().unwrap();
            let next = u64::try_from(open.last().unwrap() + 1).unwrap();
            set_limit(Resource::Descriptors, (Some(next + room), most)).unwrap();
            let mut filling = Vec::new();
            // Holes below the limit.
            while let Ok(copy) = duplicate(&kept.files[0].0) {
                filling.push(copy);
            }
            filling.truncate(filling.len() - usize::try_from(room).unwrap());
            let open = open_descriptors_within(&filling);
            let refused = |result: Result<()>| {
                assert_eq!(result.unwrap_err().os_code(), Some(OsCode::TOO_MANY_OPEN));
            };
            refused(kept.depot.copy(2).map(|_| ()));
            if room < 3 {
                refused(kept.depot.copy(1).map(|_| ()));
                refused(kept.depot.remove(3));
                refused(kept.depot.sweep(&mut |tag| tag != 3).map(|_| ()));
            }
            assert_eq!(open_descriptors_within(&filling), open);
            set_limit(Resource::Descriptors, before).unwrap();
            drop(filling);
            assert_eq!(kept.sorted(), [1, 2, 2, 2, 3]);
        }
        for (tag, count) in [(1, 3), (2, 600), (3, 1)] {
            kept.has(tag, count);
        }
        // What is in front goes without any.
        set_limit(Resource::Descriptors, (Some(0), most)).unwrap();
        for tag in [1, 2] {
            kept.depot.remove(tag).unwrap();
        }
        assert_eq!(kept.depot.sweep(&mut |_| false).unwrap(), 1);
        set_limit(Resource::Descriptors, before).unwrap();
        assert!(kept.depot.is_empty().unwrap());
    });
}

/// A listing needs a descriptor: which numbers are open is asked for one by one.
fn open_descriptors_within(_filling: &[OwnedFd]) -> usize {
    (0..4096).filter(|number| std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok()).count()
}

#[test]
fn more_than_a_user_may_have_under_way_is_refused() {
    alone("more_than_a_user_may_have_under_way_is_refused", || {
        // The superuser may have any number, and all processes of a user count together: nobody else is this one. Who is not the
        // superuser stays as they are.
        let nobody = 50_000 + std::process::id() % 10_000;
        drop(become_user(Some(nobody), Some(nobody), None));
        let kept = Kept::new();
        let (_, most) = limit(Resource::Descriptors);
        set_limit(Resource::Descriptors, (Some(300), most)).unwrap();
        assert!(kept.store(1, 1));
        assert!(kept.store(2, 253));
        assert!(kept.store(3, 253));
        for count in [1, 600] {
            let error = kept.depot.store(4, &kept.handles(4, count)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Os);
            assert!(error.to_string().contains("under way"), "{error}");
            assert!(
                format!("{error:?}").contains("ETOOMANYREFS")
                    || format!("{error:?}").contains("109")
            );
        }
        assert_eq!(kept.sorted(), [1, 2, 3]);
        kept.depot.remove(3).unwrap_err();
        assert_eq!(kept.sorted(), [1, 2, 3]);
        for tag in [1, 2, 3] {
            kept.depot.remove(tag).unwrap();
        }
        assert!(kept.store(4, 100));
        kept.has(4, 100);
    });
}
