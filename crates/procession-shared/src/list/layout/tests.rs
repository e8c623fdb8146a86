//! Lists against the bytes that CPython wrote, a model, and bytes that are no list.

use procession_sys::prim::AtomicU64;
use proptest::prelude::*;

use super::*;

/// What CPython 3.13 has in shared memory for the items of [`items`]: the words, and the codes behind them.
const WORDS: [u64; 37] = [
    11,
    0,
    0x08,
    0x10,
    0x18,
    0x20,
    0x28,
    0x30,
    0x38,
    0x40,
    0x50,
    0x60,
    0x68,
    1,
    0xc004_0000_0000_0000,
    1 << 56,
    0,
    0,
    0x00a9_c368,
    0,
    0x7962,
    0x3837_3635_3433_3231,
    0,
    0x6867_6665_6463_6261,
    0,
    1 << 62,
    0x71,
    0x64,
    0x3f78_7878_7878_7878,
    0x3f78_7878_7878_7878,
    0x783f_7878_7878_7878,
    0x7338,
    0x7338,
    0x7338,
    0x0073_3631,
    0x0073_3631,
    0x71,
];
const CODES: [u8; 11] = [0, 0, 0, 0, 3, 1, 1, 2, 2, 1, 0];

fn items() -> Vec<Item> {
    vec![
        1.into(),
        (-2.5).into(),
        true.into(),
        false.into(),
        Item::None,
        "hé".into(),
        "".into(),
        b"by".into(),
        b"12345678".into(),
        "abcdefgh".into(),
        (1_i64 << 62).into(),
    ]
}

/// Memory of at least so many bytes.
fn memory(len_bytes: usize) -> Vec<AtomicU64> {
    (0..len_bytes.div_ceil(8)).map(|_| AtomicU64::new(0)).collect()
}

fn with<R>(content: &[u8], run: impl FnOnce(SharedBytes<'_>) -> R) -> R {
    let words = memory(content.len());
    let bytes = SharedBytes::of_words(&words).get(0..content.len()).unwrap();
    bytes.write(0, content);
    run(bytes)
}

fn written(items: &[Item]) -> Vec<u8> {
    let layout = Layout::of(items).unwrap();
    with(&vec![0; layout.size().unwrap()], |bytes| {
        layout.write(bytes);
        for (index, item) in items.iter().enumerate() {
            layout.write_item(bytes, index, item).unwrap();
        }
        bytes.read_vec()
    })
}

fn python() -> Vec<u8> {
    WORDS.iter().flat_map(|word| word.to_le_bytes()).chain(CODES).collect()
}

#[test]
fn lists_are_written_as_cpython_writes_them() {
    assert_eq!(python().len(), 307);
    assert_eq!(written(&items()), python());
}

#[test]
fn lists_of_cpython_are_read() {
    with(&python(), |bytes| {
        let layout = Layout::parse(bytes).unwrap();
        let read: Result<Vec<Item>> = (0..layout.len()).map(|at| layout.read(bytes, at)).collect();
        assert_eq!(read.unwrap(), items());
        assert_eq!(layout.format(bytes).unwrap(), "qdxxxxxxx?xxxxxxx?xxxxxx?x8s8s8s16s16sq");
        assert_eq!(layout, Layout::of(&items()).unwrap());
    });
}

#[test]
fn an_empty_list_is_two_words() {
    assert_eq!(written(&[]), [0; 16]);
    with(&[0; 16], |bytes| assert_eq!(Layout::parse(bytes).unwrap().len(), 0));
    with(&[0; 15], |bytes| assert!(Layout::parse(bytes).is_err()));
    with(&[], |bytes| assert!(Layout::parse(bytes).is_err()));
}

#[test]
fn items_of_any_type_take_the_place_of_others_if_they_fit() {
    let content = written(&["0123456789".into(), 1.into(), "".into()]);
    with(&content, |bytes| {
        let layout = Layout::parse(bytes).unwrap();
        let set = |index, item: Item| layout.write_item(bytes, index, &item);
        set(0, 5.into()).unwrap();
        assert_eq!(layout.format(bytes).unwrap(), "qq8s");
        set(0, "fifteen bytes..".into()).unwrap();
        assert_eq!(layout.format(bytes).unwrap(), "16sq8s");
        // All of the slot, as CPython allows it.
        set(0, b"sixteen bytes...".into()).unwrap();
        assert_eq!(layout.read(bytes, 0).unwrap(), b"sixteen bytes...".into());
        set(1, "12345678".into()).unwrap();
        set(2, Item::None).unwrap();
        assert_eq!(layout.format(bytes).unwrap(), "16s8sxxxxxx?x");
        let before = bytes.read_vec();
        let error = set(0, "seventeen bytes..".into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let text = "item 0 exceeds the available storage: 17 bytes for a slot of 16";
        assert_eq!(error.to_string(), text);
        // Characters are not what counts.
        assert!(set(1, "€€€".into()).is_err());
        assert_eq!(bytes.read_vec(), before, "nothing is written, here or beside");
        // What was longer before leaves nothing behind.
        set(0, "x".into()).unwrap();
        assert_eq!(layout.read(bytes, 0).unwrap(), "x".into());
    });
}

#[test]
fn what_cpython_would_lose_is_refused() {
    for item in [Item::from("text\0"), b"\0".into(), b"by\0\0".into()] {
        let error = Layout::of(std::slice::from_ref(&item)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{item:?}");
        assert_eq!(item.check().unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert!(Layout::of(&["\0text".into(), b"b\0y".into()]).is_ok());
    // A format has room for seven digits.
    assert!(Layout::of(&[vec![1; 9_999_991].into()]).is_ok());
    let error = Layout::of(&[vec![1; 9_999_992].into()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn text_that_cpython_has_cut_is_an_error_of_that_item() {
    // What CPython makes of '€' * 3: three characters, so eight bytes.
    let mut content = written(&["ab".into(), 7.into()]);
    content[32..40].copy_from_slice(&"€€€".as_bytes()[..8]);
    with(&content, |bytes| {
        let layout = Layout::parse(bytes).unwrap();
        let error = layout.read(bytes, 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().starts_with("item 0 of the list is no UTF-8"), "{error}");
        assert_eq!(layout.read(bytes, 1).unwrap(), 7.into());
        assert_eq!(layout.format(bytes).unwrap(), "8sq");
    });
}

#[test]
fn numbers_that_lie_are_no_list() {
    let honest = written(&["0123456789".into(), 1.into()]);
    let lies: [(usize, i64); 12] = [
        (0, -1),
        (0, 3),
        (0, i64::MAX),
        (0, i64::MIN),
        (0, i64::MAX / 8),
        (8, 8),
        (8, -8),
        (16, -1),
        (16, 25),
        (16, i64::MAX),
        (24, 25),
        (24, i64::MAX),
    ];
    for (at, lie) in lies {
        let mut content = honest.clone();
        content[at..at + 8].copy_from_slice(&lie.to_le_bytes());
        let error = with(&content, Layout::parse).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{lie} at {at}");
    }
    // As CPython 3.8 has it: sizes, not offsets.
    let old: Vec<u8> = [2_u64, 16, 8, 1, 0, 1, 0x0073_3631, 0x71, 1]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    assert!(with(&old, Layout::parse).is_err());
}

#[test]
fn formats_that_are_unknown_or_reach_beyond_their_slot_are_errors() {
    let content = written(&["0123456789".into(), 1.into()]);
    let (formats, codes) = (content.len() - 18, content.len() - 2);
    for (format, code) in [
        (b"24s\0\0\0\0\0", 1),
        (b"9999999s", 1),
        (b"9999999s", 2),
        (b"-8s\0\0\0\0\0", 1),
        (b"+8s\0\0\0\0\0", 1),
        (b"s\0\0\0\0\0\0\0", 1),
        (b"8s\08s\0\0\0", 1),
        (b"\0\0\0\0\0\0\0\0", 1),
        (b"16s\0\0\0\0\0", 0),
        (b"16s\0\0\0\0\0", 3),
        (b"16s\0\0\0\0\0", 255),
        (b"q\0\0\0\0\0\0\0", 1),
        (b"q\0\0\0\0\0\0\0", 3),
        (b"Q\0\0\0\0\0\0\0", 0),
        (b"xxxxxxx?", 3),
        (b"xxxxxx?x", 0),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff", 1),
    ] {
        let mut content = content.clone();
        content[formats..formats + 8].copy_from_slice(format);
        content[codes] = code;
        with(&content, |bytes| {
            let layout = Layout::parse(bytes).unwrap();
            let error = layout.read(bytes, 0).unwrap_err();
            assert_eq!(error.to_string(), "item 0 of the list has no known format", "{format:?}");
            assert!(layout.format(bytes).is_err());
            assert_eq!(layout.read(bytes, 1).unwrap(), 1.into());
            // Written again, it is an item again.
            layout.write_item(bytes, 0, &"new".into()).unwrap();
            assert_eq!(layout.read(bytes, 0).unwrap(), "new".into());
        });
    }
    // A slot that is too short for a number.
    let mut short = written(&[1.into(), 2.into()]);
    short[16..24].copy_from_slice(&4_u64.to_le_bytes());
    with(&short, |bytes| {
        let layout = Layout::parse(bytes).unwrap();
        assert!(layout.read(bytes, 0).is_err());
        assert!(layout.write_item(bytes, 0, &3.into()).is_err());
        // The other's is 12 bytes long, at an odd place.
        layout.write_item(bytes, 1, &(-3).into()).unwrap();
        assert_eq!(layout.read(bytes, 1).unwrap(), (-3).into());
    });
}

fn any_item() -> impl Strategy<Value = Item> {
    let text = "[a-zé€😀\0]{0,12}".prop_map(|text| text.trim_end_matches('\0').to_owned());
    let bytes = proptest::collection::vec(any::<u8>(), 0..30).prop_map(|mut bytes| {
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        bytes
    });
    prop_oneof![
        any::<i64>().prop_map(Item::Int),
        proptest::num::f64::NORMAL.prop_map(Item::Float),
        any::<bool>().prop_map(Item::Bool),
        text.prop_map(Item::Str),
        bytes.prop_map(Item::Bytes),
        Just(Item::None),
    ]
}

proptest! {
    #[test]
    fn it_is_as_a_vector(
        start in proptest::collection::vec(any_item(), 0..20),
        steps in proptest::collection::vec((any::<prop::sample::Index>(), any_item()), 0..30),
    ) {
        let mut model = start.clone();
        with(&written(&start), |bytes| {
            let layout = Layout::parse(bytes).unwrap();
            for (index, item) in steps {
                if model.is_empty() {
                    break;
                }
                let index = index.index(model.len());
                let fits = item.bytes().len() <= layout.slot(index).len();
                prop_assert_eq!(layout.write_item(bytes, index, &item).is_ok(), fits);
                if fits {
                    model[index] = item;
                }
                let read: Result<Vec<Item>> =
                    (0..layout.len()).map(|at| layout.read(bytes, at)).collect();
                prop_assert_eq!(&read.unwrap(), &model);
            }
            Ok(())
        })?;
    }

    #[test]
    fn whatever_bytes_there_are_nothing_is_read_beyond(
        mut content in proptest::collection::vec(any::<u8>(), 0..400),
        len in 0..12_u64,
        offsets in proptest::collection::vec(0..64_u64, 13),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        is_sorted: bool,
    ) {
        // Often nearly a list.
        let mut offsets = offsets;
        offsets[0] = 0;
        if is_sorted {
            offsets.sort_unstable();
        }
        let head = [len].into_iter().chain(offsets).flat_map(u64::to_le_bytes);
        for (to, from) in content.iter_mut().zip(head) {
            *to = from;
        }
        for (at, byte) in damage {
            if !content.is_empty() {
                let at = at.index(content.len());
                content[at] = byte;
            }
        }
        with(&content, |bytes| {
            if let Ok(layout) = Layout::parse(bytes) {
                for index in 0..layout.len() {
                    let _read = layout.read(bytes, index);
                    let _written = layout.write_item(bytes, index, &"text".into());
                }
                let _format = layout.format(bytes);
            }
        });
    }

    #[test]
    fn damaged_lists_are_errors_or_other_items(
        items in proptest::collection::vec(any_item(), 1..8),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut content = written(&items);
        for (at, byte) in damage {
            let at = at.index(content.len());
            content[at] = byte;
        }
        with(&content, |bytes| {
            if let Ok(layout) = Layout::parse(bytes) {
                for index in 0..layout.len() {
                    let _read = layout.read(bytes, index);
                }
            }
        });
    }
}
