//! Pickles that CPython wrote, opcode by opcode, and pickles that nobody should write.

use procession_core::ErrorKind;
use proptest::prelude::*;

use crate::limits::{DEEPEST, Limits};
use crate::{Array, BigInt, Exception, Global, Object, Value};

fn read(pickle: &[u8]) -> Value {
    Value::from_bytes(pickle).unwrap_or_else(|error| panic!("{error:?}: {}", pickle.escape_ascii()))
}

#[track_caller]
fn refused(pickle: &[u8], kind: ErrorKind) {
    match Value::from_bytes(pickle) {
        Err(error) => assert_eq!(error.kind(), kind, "{error:?}: {}", pickle.escape_ascii()),
        Ok(value) => panic!("{value}"),
    }
}

#[track_caller]
fn comes_back(value: &Value) {
    assert_eq!(&read(&value.to_bytes().unwrap()), value);
}

fn global(module: &str, name: &str) -> Value {
    Global::new(module, name).into()
}

/// A value around another one.
fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::None, |inner, _| Value::List(vec![inner]))
}

#[test]
fn what_cpython_sends_is_read() {
    // The value of `docs/python.md`'s captured session: [1, None, 'hi', 2.5, b'xy'] by protocol 4.
    let pickle = b"\x80\x04\x95\x1b\0\0\0\0\0\0\0]\x94(K\x01N\x8c\x02hi\x94G\x40\x04\0\0\0\0\0\0C\x02xy\x94e.";
    let list = vec![1.into(), Value::None, "hi".into(), 2.5.into(), b"xy"[..].into()];
    assert_eq!(read(pickle), Value::List(list));
    let pickle = b"\x80\x04\x95\x19\0\0\0\0\0\0\0}\x94(\x8c\x01a\x94K\x01K\x02\x86\x94\x8c\x01s\x94\x8f\x94(K\x03\x90u.";
    let tuple = Value::Tuple(vec![1.into(), 2.into()]);
    let set = Value::Set(vec![3.into()]);
    assert_eq!(read(pickle), Value::Dict(vec![("a".into(), tuple), ("s".into(), set)]));
}

#[test]
fn a_pickle_of_protocol_2_has_python_2s_names() {
    // pickle.dumps([b'\xff', {1}, bytearray(b'x'), range(2)], 2), without its memo.
    let pickle = b"\x80\x02](c_codecs\nencode\nX\x02\0\0\0\xc3\xbfX\x06\0\0\0latin1\x86R\
        c__builtin__\nset\n]K\x01a\x85Rc__builtin__\nbytearray\nX\x01\0\0\0xX\x07\0\0\0latin-1\x86R\
        c__builtin__\nxrange\nK\0K\x02K\x01\x87Re.";
    let wanted = vec![
        Value::Bytes(vec![255]),
        Value::Set(vec![1.into()]),
        Value::ByteArray(b"x".to_vec()),
        Value::Range(0, 2, 1),
    ];
    assert_eq!(read(pickle), Value::List(wanted));
    // In protocol 3 these names are others.
    let Value::Object(object) = read(b"\x80\x03c__builtin__\nset\n]\x85R.") else {
        panic!("no set")
    };
    assert!(object.is_a("__builtin__", "set"));
}

#[test]
fn what_is_shared_is_there_as_often() {
    // x = ['a']; (x, x, x)
    let pickle = b"\x80\x03]q\0X\x01\0\0\0aah\0h\0\x87.";
    let one = Value::List(vec!["a".into()]);
    assert_eq!(read(pickle), Value::Tuple(vec![one.clone(), one.clone(), one.clone()]));
    // It is put into its place before it is filled: ([x], x) with x = [5].
    let pickle = b"\x80\x03]]q\x01ah\x01K\x05a\x86.";
    let five = Value::List(vec![5.into()]);
    assert_eq!(read(pickle), Value::Tuple(vec![Value::List(vec![five.clone()]), five]));
    // Shared in what is shared: y = [x, x]; (y, y, x).
    let pickle = b"\x80\x03](]K\x01aq\0h\0eq\x01h\x01h\0\x87.";
    let x = Value::List(vec![1.into()]);
    let y = Value::List(vec![x.clone(), x.clone()]);
    assert_eq!(read(pickle), Value::Tuple(vec![y.clone(), y, x]));
}

#[test]
fn what_contains_itself_is_refused() {
    refused(b"\x80\x03]q\0h\0a.", ErrorKind::Unsupported);
    refused(b"\x80\x03}q\0K\x01h\0s.", ErrorKind::Unsupported);
    refused(b"\x80\x03]q\0]h\0aa]h\0aa.", ErrorKind::Unsupported);
    // A tuple in a list in that tuple, as CPython writes it.
    refused(b"\x80\x04\x95\x0a\0\0\0\0\0\0\0]\x94h\0\x85\x94a0h\x01.", ErrorKind::Unsupported);
    refused(b"\x80\x03cm\nC\nq\0)\x81q\x01}X\x01\0\0\0ah\x01sb.", ErrorKind::Unsupported);
}

#[test]
fn classes_that_are_not_known_stay_and_are_sent_on_unchanged() {
    let pickle = b"\x80\x03cm\nC\n)\x81}X\x01\0\0\0aK\x01sb.";
    let Value::Object(object) = read(pickle) else { panic!("an object") };
    assert!(object.is_a("m", "C") && object.args().is_empty());
    assert_eq!(object.state(), Some(&Value::Dict(vec![("a".into(), 1.into())])));
    for pickle in [
        &pickle[..],
        // With items, pairs and a state that is no dict.
        b"\x80\x03cm\nL\nK\x01\x85R](K\x02K\x03e\x85R.",
        b"\x80\x03ccollections\nOrderedDict\n)R(K\x01K\x02K\x03K\x04u.",
        b"\x80\x03ccollections\ndeque\n)R(K\x01K\x02eK\x03b.",
        b"\x80\x03cm\nC\n)}X\x01\0\0\0kNs\x92.",
        // The result of a call is called.
        b"\x80\x03cbuiltins\ngetattr\ncm\nC\nX\x01\0\0\0f\x86R)R.",
    ] {
        let value = read(pickle);
        assert!(matches!(value, Value::Object(_)), "{value}");
        comes_back(&value);
    }
}

#[test]
fn known_names_with_unknown_arguments_stay_objects() {
    for pickle in [
        &b"\x80\x03cbuiltins\nset\nK\x01\x85R."[..],
        b"\x80\x03cbuiltins\nset\n]]\x86R.",
        b"\x80\x03cbuiltins\nrange\nK\0K\x01K\0\x87R.",
        b"\x80\x03cbuiltins\ncomplex\nX\x01\0\0\0x\x85R.",
        b"\x80\x03cbuiltins\nbytearray\nK\x05\x85R.",
        b"\x80\x03cbuiltins\nset\n)\x81.",
        b"\x80\x03carray\narray\nX\x01\0\0\0dC\x01x\x86R.",
        b"\x80\x03cbuiltins\neval\nX\x01\0\0\x001\x85R.",
        b"\x80\x03cos\nsystem\nX\x02\0\0\0ls\x85R.",
        b"\x80\x03cbuiltins\nlist\n]\x85RK\x01a.",
    ] {
        let value = read(pickle);
        assert!(matches!(value, Value::Object(_)), "{value}");
        comes_back(&value);
    }
}

#[test]
fn nonsense_is_refused() {
    for pickle in [
        &b""[..],
        b".",
        b"\x80",
        b"\x80\x03",
        b"\x80\x03N",
        b"\x80\x03N..",
        b"\x80\x03NN.",
        b"\x80\x03(N.",
        b"\x80\x03(.",
        b"\x80\x03t.",
        b"\x80\x03(K\x01e.",
        b"\x80\x03K\x01K\x02a.",
        b"\x80\x03](K\x01]e0e.",
        b"\x80\x03]K\x01K\x02s.",
        b"\x80\x03}(K\x01u.",
        b"\x80\x03}K\x01a.",
        b"\x80\x03h\0.",
        b"\x80\x03j\xff\xff\xff\xff.",
        b"\x80\x03q\0.",
        b"\x80\x03(q\0t.",
        b"\x80\x03N)R.",
        b"\x80\x03cm\nC\nNR.",
        b"\x80\x03cm\nC\n]R.",
        b"\x80\x03)cm\nC\nb.",
        b"\x80\x03cm\nC.",
        b"\x80\x03c\xff\nC\n.",
        b"\x80\x04K\x01K\x02\x93.",
        b"\x80\x04\x8c\x01aK\x02\x93.",
        b"\x80\x03X\x05\0\0\0abc.",
        b"\x80\x03X\x01\0\0\0\xff.",
        b"\x80\x03B\xff\xff\xff\xff.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff.",
        b"\x80\x03\x8b\xff\xff\xff\xff.",
        b"\x80\x03\x85.",
        b"\x80\x03N(N\x86.",
        b"\x80\x030.",
        b"\x80\x031.",
        b"\x80\x032.",
        b"\x80\x03\xff.",
        b"\x80\x03I1\n.",
        b"\x80\x03\x91.",
        b"\x80\x04\x8f]\x90.",
        b"\x80\x04\x95\0\0.",
        b"\x80\x03cm\nC\n)R(K\x01u.",
    ] {
        refused(pickle, ErrorKind::Decode);
    }
}

#[test]
fn what_only_cpython_can_do_is_said_so() {
    for pickle in [
        &b"\x80\x05\x97."[..],
        b"\x80\x05\x98.",
        b"\x80\x03NQ.",
        b"\x80\x03Pname\n.",
        b"\x80\x03\x82\x01.",
        b"\x80\x06N.",
        b"\x80\0N.",
        // A function that is called for what it does to something.
        b"\x80\x03]cm\nf\n)R0.",
        b"\x80\x03]cm\nf\n)R0.",
        b"\x80\x03](cm\nf\n)R1.",
        b"\x80\x03cm\nC\n)R}b}b.",
    ] {
        refused(pickle, ErrorKind::Unsupported);
    }
}

#[test]
fn depth_is_capped_when_reading_and_when_writing() {
    comes_back(&nested(DEEPEST));
    assert_eq!(nested(DEEPEST + 1).to_bytes().unwrap_err().kind(), ErrorKind::Encode);
    // Each way in which a value can be in another one.
    for (open, close) in [
        (&b"]"[..], &b"a"[..]),
        (b"(", b"t"),
        (b"", b"\x85"),
        (b"}N", b"s"),
        (b"}", b"Ns"),
        (b"(", b"\x91"),
        (b"\x8f(", b"\x90"),
        (b"cm\nC\n", b"\x85R"),
        (b"cm\nC\n)R", b"b"),
        (b"cm\nC\n)R", b"a"),
        (b"cm\nC\n)", b"\x92"),
    ] {
        let pickle = |depth| {
            [b"\x80\x03", &open.repeat(depth)[..], b"N", &close.repeat(depth), b"."].concat()
        };
        read(&pickle(DEEPEST / 2));
        refused(&pickle(DEEPEST + 1), ErrorKind::TooLarge);
        refused(&pickle(20_000), ErrorKind::TooLarge);
    }
}

#[test]
fn the_deepest_value_needs_little_stack() {
    // Half of what a thread commonly has, in a build that is not optimized.
    let deepest = || {
        let value = nested(DEEPEST);
        comes_back(&value);
        let shared = [&b"\x80\x03"[..], &b"]".repeat(DEEPEST - 1), b"N", &b"a".repeat(DEEPEST - 1)];
        read(&[&shared.concat()[..], b"q\0h\0\x86."].concat());
        drop(crate::from_value::<serde::de::IgnoredAny>(value));
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(deepest);
    thread.unwrap().join().unwrap();
}

#[test]
fn a_few_bytes_that_mean_much_are_refused() {
    // Each list holds the one before ten times: ten to the fortieth.
    let mut bomb = b"\x80\x03]X\x01\0\0\0xaq\0".to_vec();
    for number in 0..40 {
        bomb.extend(b"](");
        bomb.extend([b'h', number].repeat(10));
        bomb.extend([b'e', b'q', number + 1]);
    }
    bomb.extend(b".");
    // What is on the stack besides.
    bomb.splice(2..2, *b"(");
    let end = bomb.len() - 1;
    bomb.splice(end..end, *b"t");
    refused(&bomb, ErrorKind::TooLarge);
    // A mebibyte, two hundred times.
    let mut bytes = b"\x80\x03(B\0\0\x10\0".to_vec();
    bytes.extend(vec![7; 1 << 20]);
    bytes.extend(b"q\0");
    bytes.extend(b"h\0".repeat(200));
    bytes.extend(b"t.");
    refused(&bytes, ErrorKind::TooLarge);
    let limits = Limits { copies_bytes: 1 << 30, ..Limits::default() };
    assert!(Value::from_bytes_within(&bytes, &limits).is_ok());
}

#[test]
fn memory_is_capped() {
    let limits = Limits { memory_bytes: 100_000, ..Limits::default() };
    for one in [&b"]"[..], b"}", b"N", b"K\x01", b"\x8c\x01a\x94", b"cm\nC\n)R", b"C\x01a", b"(t"] {
        let pickle = |count| [b"\x80\x04(", &one.repeat(count)[..], b"t."].concat();
        assert!(Value::from_bytes_within(&pickle(100), &limits).is_ok());
        let refused = Value::from_bytes_within(&pickle(10_000), &limits).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::TooLarge);
    }
}

#[test]
fn a_memo_may_have_any_numbers() {
    let pickle = b"\x80\x03K\x07r\xff\xff\xff\xffK\x08q\x05j\xff\xff\xff\xffh\x05\x86\x87.";
    let pair = Value::Tuple(vec![7.into(), 8.into()]);
    assert_eq!(read(pickle), Value::Tuple(vec![7.into(), 8.into(), pair]));
}

#[test]
fn sizes_at_which_the_form_changes_come_back() {
    for len in [0, 1, 255, 256, 65_536] {
        comes_back(&Value::Str("x".repeat(len)));
        comes_back(&Value::Bytes(vec![1; len]));
        comes_back(&Value::ByteArray(vec![1; len]));
        comes_back(&BigInt::from_le_bytes(&vec![0x7f; len]));
        comes_back(&Value::List(vec![Value::None; len]));
        comes_back(&Value::Dict((0..len).map(|key| (key.into(), Value::None)).collect()));
    }
    for len in 0..6 {
        comes_back(&Value::Tuple(vec![Value::Int(-1); len]));
    }
    for bits in 0..64 {
        for number in [1i64 << bits, (1i64 << bits).wrapping_neg(), (1i64 << bits).wrapping_sub(1)]
        {
            comes_back(&Value::Int(number));
        }
    }
}

#[test]
fn a_name_with_a_line_break_is_not_written() {
    for (module, name) in [("a\nb", "c"), ("a", "b\nc")] {
        assert_eq!(global(module, name).to_bytes().unwrap_err().kind(), ErrorKind::Encode);
    }
}

#[test]
fn names_in_classes_make_it_protocol_4() {
    let outer = global("m", "Outer.Inner");
    assert!(outer.to_bytes().unwrap().starts_with(b"\x80\x04"));
    assert!(global("m.n", "Outer").to_bytes().unwrap().starts_with(b"\x80\x03"));
    let within = crate::to_bytes(&(1, vec![outer.clone()])).unwrap();
    assert!(within.starts_with(b"\x80\x04"));
    assert_eq!(crate::from_bytes::<(u8, Vec<Value>)>(&within).unwrap(), (1, vec![outer]));
}

#[test]
fn exceptions_keep_what_they_have() {
    let state = Value::Dict(vec![("__notes__".into(), Value::List(vec!["note".into()]))]);
    let mut error = Exception::builtin("OSError", vec![2.into(), "no".into()]);
    comes_back(&error.clone().into());
    error.state = Some(state);
    comes_back(&error.clone().into());
    let Value::Exception(seen) = read(&Value::from(error).to_bytes().unwrap()) else {
        panic!("an exception")
    };
    assert!(seen.is("OSError") && seen.state.is_some());
    // One that is not known is one all the same, when it has to be.
    let other = Object::call(Global::new("m", "MyError"), vec![1.into()]);
    assert_eq!(Exception::from_value(other.into()).unwrap().class, Global::new("m", "MyError"));
    assert!(Exception::from_value(Value::Int(1)).is_err());
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<i128>().prop_map(Value::from),
        any::<f64>().prop_filter("not itself", |number| !number.is_nan()).prop_map(Value::Float),
        (0.0..9.0, 0.0..9.0).prop_map(|(re, im)| Value::Complex(re, im)),
        any::<String>().prop_map(Value::Str),
        Just(Value::Surrogates(b"a\xed\xb2\x80".to_vec())),
        any::<Vec<u8>>().prop_map(Value::Bytes),
        any::<Vec<u8>>().prop_map(Value::ByteArray),
        (any::<i64>(), any::<i64>(), 1i64..).prop_map(|(a, b, c)| Value::Range(a, b, c)),
        any::<[u8; 16]>().prop_map(|bytes| Array::new('d', bytes.to_vec()).unwrap().into()),
        "[a-z]{1,5}".prop_map(|name| global("m", &name)),
    ]
}

pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(5, 40, 6, |inner| {
        let items = || prop::collection::vec(inner.clone(), 0..6);
        let pairs = || prop::collection::vec((inner.clone(), inner.clone()), 0..4);
        let object = (items(), items(), pairs(), prop::option::of(inner.clone()), 0..3u8);
        prop_oneof![
            items().prop_map(Value::List),
            items().prop_map(Value::Tuple),
            items().prop_map(Value::Set),
            items().prop_map(Value::FrozenSet),
            pairs().prop_map(Value::Dict),
            prop::array::uniform3(inner.clone()).prop_map(|parts| Value::Slice(Box::new(parts))),
            items().prop_map(|args| Exception::builtin("ValueError", args).into()),
            object.prop_map(|(args, items, pairs, state, how)| {
                let mut object = Object::call(Global::new("m", "C"), args);
                (object.items, object.pairs, object.state) = (items, pairs, state);
                match how {
                    0 => {}
                    1 => object.how = crate::value::How::New,
                    _ => {
                        object.how = crate::value::How::NewWithKeywords;
                        object.kwargs = Value::Dict(vec![("k".into(), Value::None)]);
                    }
                }
                object.into()
            }),
        ]
    })
}

proptest! {
    #[test]
    fn values_come_back(value in any_value()) {
        prop_assert_eq!(&read(&value.to_bytes().unwrap()), &value);
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes: Vec<u8>) {
        if let Ok(value) = Value::from_bytes(&bytes) {
            comes_back(&value);
        }
    }

    #[test]
    fn a_pickle_with_a_byte_changed_is_a_value_or_an_error(
        value in any_value(), place: prop::sample::Index, byte: u8, cut: bool,
    ) {
        let mut pickle = value.to_bytes().unwrap();
        let place = place.index(pickle.len());
        match cut {
            true => pickle.truncate(place),
            false => pickle[place] = byte,
        }
        if let Ok(value) = Value::from_bytes(&pickle) {
            drop(value.to_string());
            value.to_bytes().ok();
        }
    }
}
