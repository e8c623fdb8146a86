//! Lists in shared memory: what CPython's tests assert of `ShareableList`, row by row, and lists that are exchanged with real
//! CPythons, each that is installed of 3.9 to 3.13. `docs/conformance.md` says which row is tested where.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use procession::{Item, ShareableList, SharedMemory};
use procession_core::Message;
use procession_tests::python::{Python, pythons};
use procession_tests::{Running, program, watchdog};

/// A name that nobody else has, and that nobody has afterwards.
struct Name(String);

impl Name {
    fn new(what: &str) -> Self {
        Self(format!("procession-test-{}-{what}", std::process::id()))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // The test, or CPython's tracker, may have done so.
        drop(SharedMemory::unlink_name(&self.0));
    }
}

/// CPython's `_TestSharedMemory`, those of its rows that are of lists.
#[expect(non_snake_case, reason = "rows are named as CPython's tests")]
mod shared_memory {
    use procession::ErrorKind;

    use super::*;

    fn items() -> [Item; 7] {
        let (text, bytes) = ("howdy".into(), b"HoWdY".into());
        [text, bytes, (-273.154).into(), 100.into(), Item::None, true.into(), 42.into()]
    }

    #[test]
    fn shared_memory_ShareableList_basics() {
        let name = Name::new("basics");
        let list = ShareableList::with_name(&name.0, items()).unwrap();
        let text = format!("{list:?}");
        assert!(text.contains(&name.0) && text.contains("-273.154, 100, None, true"), "{text}");
        assert_eq!(list.get(7).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(list.set(7, 2).unwrap_err().kind(), ErrorKind::InvalidInput);
        list.set(0, "howdy").unwrap();
        assert_eq!(list.format().unwrap(), "8s8sdqxxxxxx?xxxxxxxx?q");
        assert_eq!(list.len(), 7);
        assert_eq!(list.index(&"100".into()).unwrap(), None);
        assert_eq!(list.index(&100.into()).unwrap(), Some(3));
        assert_eq!(list.to_vec().unwrap(), items());
        list.set(3, 42).unwrap();
        list.set(4, "some").unwrap();
        assert_eq!(list.format().unwrap(), "8s8sdq8sxxxxxxx?q");
        // The bytes of UTF-8 count, and nothing spills over.
        list.set(0, "encodés").unwrap();
        for (index, item) in
            [(4, "far too many".into()), (0, "encodées".into()), (1, Item::from(b"123456789"))]
        {
            let error = list.set(index, item).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
            assert!(error.to_string().contains("exceeds the available storage"), "{error}");
        }
        let mut expected = items();
        (expected[0], expected[3], expected[4]) = ("encodés".into(), 42.into(), "some".into());
        assert_eq!(list.to_vec().unwrap(), expected);
        let counts = [42.into(), b"HoWdY".into(), b"adios".into()];
        assert_eq!(counts.map(|item: Item| list.count(&item).unwrap()), [2, 1, 0]);
        a_copy_is_another_list(&list);
        let tethered = ShareableList::attach(&name.0).unwrap();
        tethered.set(6, 880).unwrap();
        assert_eq!(list.get(6).unwrap(), 880.into());
        let empty = ShareableList::new(Vec::<Item>::new()).unwrap();
        assert_eq!((empty.len(), empty.format().unwrap().as_str()), (0, ""));
        assert_eq!(empty.count(&"any".into()).unwrap(), 0);
        assert_eq!(empty.index(&Item::None).unwrap(), None);
    }

    fn a_copy_is_another_list(list: &ShareableList) {
        let name = Name::new("duplicate");
        let copy = ShareableList::with_name(&name.0, list.to_vec().unwrap()).unwrap();
        assert_eq!(copy.name(), Some(name.0.as_str()));
        assert_eq!(copy.to_vec().unwrap(), list.to_vec().unwrap());
        // Room is made by bytes, of which `encodés` has one more than characters.
        assert_eq!(copy.format().unwrap(), "16s8sdq8sxxxxxxx?q");
        copy.set(6, 77).unwrap();
        assert_eq!(list.get(6).unwrap(), 42.into());
    }

    #[test]
    fn shared_memory_ShareableList_pickling() {
        let (short, long) = (Name::new("short"), Name::new("longer"));
        let list = ShareableList::with_name(&short.0, 0..10).unwrap();
        let large = ShareableList::with_name(&long.0[..short.0.len()], 0..1000).unwrap();
        let size = |list: &ShareableList| Message::encode(list).unwrap().bytes().len();
        assert!(size(&list) < 100 && size(&large) <= size(&list) + 8, "whatever is in it");
        let same: ShareableList = Message::encode(&list).unwrap().decode().unwrap();
        assert_eq!(same.to_vec().unwrap(), list.to_vec().unwrap());
        same.set(9, 1000).unwrap();
        list.set(0, -5).unwrap();
        assert_eq!((list.get(9).unwrap(), same.get(0).unwrap()), (1000.into(), (-5).into()));
        large.shm().unlink().unwrap();
    }

    #[test]
    fn shared_memory_ShareableList_pickling_dead_object() {
        let name = Name::new("dead");
        let list = ShareableList::with_name(&name.0, 0..10).unwrap();
        let message = Message::encode(&list).unwrap();
        list.shm().unlink().unwrap();
        drop(list);
        let error = message.decode::<ShareableList>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    }
}

/// A CPython that runs a script, which takes lines and prints lines.
struct Script {
    running: Running,
    lines: BufReader<std::process::ChildStdout>,
    what: String,
}

impl Script {
    #[track_caller]
    fn start(python: &Python, text: &str, argument: &str) -> Self {
        let mut command = program(&python.path);
        command.args(["-c", text, argument]).stdin(Stdio::piped());
        let mut running = Running::start(&mut command);
        let lines = BufReader::new(running.0.stdout.take().unwrap());
        Self { running, lines, what: format!("CPython 3.{}", python.minor) }
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        if !line.ends_with('\n') {
            let mut text = String::new();
            let stderr = self.running.0.stderr.as_mut().unwrap();
            std::io::Read::read_to_string(stderr, &mut text).unwrap();
            panic!("{} said no more than {line:?}\n{text}", self.what);
        }
        line.trim_end().to_owned()
    }

    fn go_on(&mut self) {
        self.running.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    #[track_caller]
    fn ends(mut self) {
        let status = self.running.0.wait().unwrap();
        assert!(status.success(), "{}: {status:?}", self.what);
    }
}

/// Attaches to the list of that name, has all items as they were written, of that type, and writes others.
const ATTACH: &str = r"
import sys
from multiprocessing import shared_memory
text = [
    'Grüße, 世界 😀', 'é' * 7, '€' * 3, '€' * 8, 'a\0b', '\0', '', 'x' * 7, 'x' * 8, 'x' * 10000, 'z\u0301',
]
text[5] = '\0a'
items = text + [
    b'', b'\0\xff', b'12345678', bytes(range(1, 256)) * 4,
    0, 1, -1, 2 ** 63 - 1, -2 ** 63, 0.0, -0.0, 1.5, float('inf'), 5e-324, 1.7976931348623157e308,
    True, False, None,
]
shared = shared_memory.ShareableList(name=sys.argv[1])
found = list(shared)
assert len(shared) == len(items)
for index, (was, item) in enumerate(zip(found, items)):
    assert was == item and type(was) is type(item) and repr(was) == repr(item), (index, was, item)
assert shared.index(None) == len(items) - 1 and shared.count('') == 1
shared[0] = 5
shared[1] = 'ü' * 8
shared[2] = b'bytes'
shared[6] = -2.5
shared[15] = 'number'
shared[16] = True
shared[17] = None
shared[27] = 'none'
shared[19] = 2 ** 63 - 1
print(shared.format, flush=True)
input()
assert shared[3] == 'from us: é', shared[3]
assert shared[26] == -2 ** 63 and type(shared[26]) is int
shared.shm.close()
";

fn ours() -> Vec<Item> {
    let long = "x".repeat(10_000);
    let texts = [
        "Grüße, 世界 😀",
        "ééééééé",
        "€€€",
        "€€€€€€€€",
        "a\0b",
        "\0a",
        "",
        "xxxxxxx",
        "xxxxxxxx",
        &long,
        "z\u{301}",
    ];
    let many: Vec<u8> = (1..=255).collect();
    let mut items: Vec<Item> = texts.map(Item::from).into();
    items.extend([b"".into(), b"\0\xff".into(), b"12345678".into(), many.repeat(4).into()]);
    items.extend([0, 1, -1, i64::MAX, i64::MIN].map(Item::from));
    items.extend([0.0, -0.0, 1.5, f64::INFINITY, 5e-324, f64::MAX].map(Item::from));
    items.extend([true.into(), false.into(), Item::None]);
    items
}

#[test]
fn cpython_reads_and_writes_our_lists() {
    let _dog = watchdog(300);
    for python in pythons() {
        let name = Name::new(&format!("ours-{}", python.minor));
        let list = ShareableList::with_name(&name.0, ours()).unwrap();
        let format = list.format().unwrap();
        let mut script = Script::start(&python, ATTACH, &name.0);
        let theirs = script.line();
        let mut expected = ours();
        for (index, item) in [
            (0, 5.into()),
            (1, "üüüüüüüü".into()),
            (2, b"bytes".into()),
            (6, (-2.5).into()),
            (15, "number".into()),
            (16, true.into()),
            (17, Item::None),
            (27, "none".into()),
            (19, i64::MAX.into()),
        ] {
            expected[index] = item;
        }
        assert_eq!(list.to_vec().unwrap(), expected, "{python:?}");
        assert_eq!(list.format().unwrap(), theirs);
        assert_ne!(theirs, format);
        list.set(3, "from us: é").unwrap();
        list.set(26, i64::MIN).unwrap();
        script.go_on();
        script.ends();
        // Whatever CPython's tracker does to the name, who has the list has it.
        list.set(26, "ours").unwrap();
        assert_eq!(list.get(26).unwrap(), "ours".into());
        assert_eq!(list.get(1).unwrap(), "üüüüüüüü".into());
    }
}

/// Makes a list, tells its name, and looks at what others wrote.
const CREATE: &str = r"
import sys
from multiprocessing import shared_memory
shared = shared_memory.ShareableList([
    'hé', '', 'abcdefgh', 'é' * 7, '€' * 3, 'end\0\0',
    b'', b'by\0tes', b'12345678', b'\0\0',
    2 ** 63 - 1, -2 ** 63, 0, -0.0, 1e308, True, False, None,
])
print(shared.shm.name, shared.format, flush=True)
input()
expected = [
    'ü', 'text', b'bytes', 7, 'ééé', 'end',
    None, b'by\0tes', 'eightby.', False,
    -2 ** 63, 2 ** 63 - 1, 'zero', 0.5, 1e308, 1, None, True,
]
found = list(shared)
assert [repr(item) for item in found] == [repr(item) for item in expected], found
shared[0] = 'ok'
print('seen', flush=True)
input()
shared.shm.close()
shared.shm.unlink()
";

#[test]
fn we_read_and_write_cpythons_lists() {
    let _dog = watchdog(300);
    for python in pythons() {
        let mut script = Script::start(&python, CREATE, "");
        let line = script.line();
        let (name, format) = line.split_once(' ').unwrap();
        let list = ShareableList::attach(name).unwrap();
        assert_eq!(list.format().unwrap(), format, "{python:?}");
        check_theirs(&list, &python);
        for (index, item) in [
            (0, "ü".into()),
            (1, "text".into()),
            (2, b"bytes".into()),
            (3, 7.into()),
            (4, "ééé".into()),
            (6, Item::None),
            (8, "eightby.".into()),
            (9, false.into()),
            (10, i64::MIN.into()),
            (11, i64::MAX.into()),
            (12, "zero".into()),
            (13, 0.5.into()),
            (15, 1.into()),
            (16, Item::None),
            (17, true.into()),
        ] {
            list.set(index, item).unwrap();
        }
        script.go_on();
        assert_eq!(script.line(), "seen");
        assert_eq!(list.get(0).unwrap(), "ok".into());
        script.go_on();
        script.ends();
        assert!(ShareableList::attach(name).is_err(), "it was CPython's to unlink");
        list.set(0, "ours").unwrap();
        assert_eq!(list.get(10).unwrap(), i64::MIN.into());
    }
}

/// What CPython made of its items: text is cut where its characters are fewer than its bytes, and loses its zeros.
fn check_theirs(list: &ShareableList, python: &Python) {
    let mut expected: Vec<Item> = ["hé", "", "abcdefgh", "éééé", "", "end"].map(Item::from).into();
    expected.extend([b"".into(), b"by\0tes".into(), b"12345678".into(), b"".into()]);
    expected.extend([i64::MAX, i64::MIN, 0].map(Item::from));
    expected.extend([(-0.0).into(), 1e308.into(), true.into(), false.into(), Item::None]);
    for (index, item) in expected.iter().enumerate().filter(|(index, _)| *index != 4) {
        assert_eq!(list.get(index).unwrap(), *item, "{index} of {python:?}");
    }
    let error = list.get(4).unwrap_err();
    assert_eq!(error.kind(), procession::ErrorKind::Decode, "cut within a character");
    assert!(list.to_vec().is_err());
}
