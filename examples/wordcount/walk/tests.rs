//! The walk over folders made for the purpose.

use std::fs::{create_dir, remove_dir_all, write};
use std::path::Path;

use super::*;

/// A folder that is gone at the end of the test.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wordcount-{}-{name}", std::process::id()));
        create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, len: u64) -> &Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(path).unwrap().set_len(len).unwrap();
        self
    }

    fn walk(&self) -> Walk {
        Walk::new(vec![self.0.clone()], 1)
    }

    /// Names below the root of all the files that the tasks hold.
    fn names(&self, tasks: &[Task]) -> Vec<String> {
        let name = |piece: &Piece| {
            let path = Path::new(&piece.path).strip_prefix(&self.0).unwrap();
            path.to_str().unwrap().to_owned()
        };
        tasks.iter().flat_map(|task| &task.pieces).map(name).collect()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        drop(remove_dir_all(&self.0));
    }
}

#[test]
fn folders_come_in_order_without_what_is_to_be_skipped() {
    let tree = Tree::new("order");
    for name in ["b/2", "b/1", "a", "c/.git/x", ".hidden", "z", "tagged/x", "not-tagged/x"] {
        tree.file(name, 3);
    }
    write(tree.0.join("tagged/CACHEDIR.TAG"), [CACHE_SIGNATURE, b"\n# more"].concat()).unwrap();
    write(tree.0.join("not-tagged/CACHEDIR.TAG"), "Signature: none").unwrap();
    std::os::unix::fs::symlink(tree.0.join("b"), tree.0.join("link")).unwrap();
    let tasks: Vec<Task> = tree.walk().collect();
    let expected = ["a", "b/1", "b/2", "not-tagged/CACHEDIR.TAG", "not-tagged/x", "z"];
    assert_eq!(tree.names(&tasks), expected);
    assert_eq!(tasks.len(), 1, "few small files make one task");
    assert!(tasks[0].troubles.is_empty());
}

#[test]
fn a_path_that_the_user_names_is_never_skipped() {
    let tree = Tree::new("roots");
    tree.file(".dot/x", 1).file("tagged/x", 1).file("real", 1);
    write(tree.0.join("tagged/CACHEDIR.TAG"), CACHE_SIGNATURE).unwrap();
    std::os::unix::fs::symlink(tree.0.join("real"), tree.0.join("link")).unwrap();
    let roots = [".dot", "tagged", "link", "real", "real"].map(|name| tree.0.join(name));
    let tasks: Vec<Task> = Walk::new(roots.to_vec(), 1).collect();
    let expected = [".dot/x", "tagged/CACHEDIR.TAG", "tagged/x", "link", "real", "real"];
    assert_eq!(tree.names(&tasks), expected);
}

#[test]
fn a_missing_root_is_reported_and_the_others_are_walked() {
    let tree = Tree::new("missing");
    tree.file("x", 1);
    let missing = tree.0.join("missing");
    let tasks: Vec<Task> = Walk::new(vec![missing.clone(), tree.0.clone()], 1).collect();
    assert_eq!(tree.names(&tasks), ["x"]);
    let troubles: Vec<&Trouble> = tasks.iter().flat_map(|task| &task.troubles).collect();
    assert_eq!(troubles.len(), 1);
    assert_eq!(troubles[0].path, missing);
    assert_eq!(troubles[0].kind, TroubleKind::Unreadable);
}

#[test]
fn a_file_that_goes_before_the_walk_looks_at_it_has_vanished() {
    let tree = Tree::new("vanished");
    // One full task: by the time of the second, the walk knows the names and no more.
    for number in 0..=TASK_FILES {
        tree.file(&format!("{number:04}"), 1);
    }
    let mut walk = tree.walk();
    assert_eq!(walk.next().unwrap().pieces.len(), TASK_FILES);
    fs::remove_file(tree.0.join(format!("{TASK_FILES:04}"))).unwrap();
    let task = walk.next().unwrap();
    assert_eq!((task.id, task.pieces.len()), (1, 0));
    assert_eq!(task.troubles[0].kind, TroubleKind::Vanished);
    assert!(walk.next().is_none());
}

/// Least bytes of a task.
const LEAST: u64 = *TASK_BYTES.start();

#[test]
fn ranges_tile_a_large_file_and_exactly_one_is_the_first() {
    for len in [1, LEAST, LEAST + 1, 3 * LEAST + 1, 100 * LEAST + 1, 1234 * LEAST] {
        let mut large = Large { path: PathBuf::from("x"), len, at: 0 };
        let mut pieces = Vec::new();
        while large.at < len {
            pieces.push(large.next_piece(LEAST));
        }
        assert_eq!((pieces[0].start, pieces.last().unwrap().end), (0, len));
        assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert!(pieces.iter().all(|piece| piece.end - piece.start <= LEAST + LEAST / 4));
        assert!(pieces[1..].iter().all(|piece| piece.share == Share::Later));
        let first = if pieces.len() == 1 { Share::Whole } else { Share::First };
        assert_eq!(pieces[0].share, first, "{len} bytes");
    }
}

#[test]
fn tasks_stay_within_their_limits_and_hold_every_byte_once() {
    let tree = Tree::new("limits");
    let sizes = [LEAST / 2, LEAST / 2 + 1, 5, 300 * LEAST + 3, 7, 2 * LEAST, 0, 40 * LEAST];
    for (number, len) in sizes.into_iter().enumerate() {
        tree.file(&number.to_string(), len);
    }
    let tasks: Vec<Task> = Walk::new(vec![tree.0.clone()], 4).collect();
    let bytes = |task: &Task| task.pieces.iter().map(|piece| piece.end - piece.start).sum::<u64>();
    let most = TASK_BYTES.end() + TASK_BYTES.end() / 4;
    for (position, task) in tasks.iter().enumerate() {
        assert_eq!(task.id, position);
        assert!(bytes(task) <= most, "{task:?}");
    }
    assert_eq!(tasks.iter().map(bytes).sum::<u64>(), sizes.iter().sum::<u64>());
    let tail: Vec<_> = tasks.iter().rev().take(3).map(bytes).collect();
    assert!(tail.iter().all(|bytes| *bytes <= 2 * LEAST), "the last ones are small: {tail:?}");
    let pieces = || tasks.iter().flat_map(|task| &task.pieces);
    let firsts = pieces().filter(|piece| piece.share != Share::Later).count();
    assert_eq!(firsts, sizes.len(), "each file is counted once");
    for piece in pieces().filter(|piece| piece.share == Share::Later) {
        let before = |other: &&Piece| other.path == piece.path && other.end == piece.start;
        assert_eq!(pieces().filter(before).count(), 1, "{piece:?}");
    }
}

#[test]
fn a_task_splits_into_one_for_each_file_and_loses_nothing() {
    let tree = Tree::new("split");
    tree.file("a", 1).file("b", 2);
    let task = Walk::new(vec![tree.0.join("missing"), tree.0.clone()], 1).next().unwrap();
    let split: Vec<Task> = task.clone().split(5).collect();
    let shape: Vec<_> =
        split.iter().map(|task| (task.id, task.troubles.len(), task.pieces.len())).collect();
    assert_eq!(shape, [(5, 1, 0), (6, 0, 1), (7, 0, 1)]);
    assert_eq!(tree.names(&split), ["a", "b"]);
    assert_eq!(split[0].troubles, task.troubles);
}
