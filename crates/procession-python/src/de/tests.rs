//! Ordinary types there and back, and what they are to Python.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::pickle::tests::any_value;
use crate::{Array, Global, Object, Value, from_bytes, from_value, to_bytes, to_value};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Point {
    x: f64,
    name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Meters(u32);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pair(u8, String);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Circle(f64),
    Box(u8, u8),
    Named { name: String },
}

fn point(x: f64) -> Point {
    Point { x, name: Some("p".into()) }
}

fn dict(pairs: &[(&str, Value)]) -> Value {
    Value::Dict(pairs.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
}

#[track_caller]
fn is<T: Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(
    rust: &T,
    python: &Value,
) {
    assert_eq!(&to_value(rust).unwrap(), python);
    assert_eq!(&from_value::<T>(python.clone()).unwrap(), rust);
}

#[test]
fn each_type_is_what_the_table_says() {
    is(&(), &Value::None);
    is(&Unit, &Value::None);
    is(&None::<u8>, &Value::None);
    is(&Some(5u8), &5.into());
    is(&true, &true.into());
    is(&-5i8, &(-5).into());
    is(&u64::MAX, &u64::MAX.into());
    is(&u128::MAX, &u128::MAX.into());
    is(&i128::MIN, &i128::MIN.into());
    is(&0.5f32, &0.5.into());
    is(&'é', &"é".into());
    is(&"text".to_owned(), &"text".into());
    is(&vec![1u8, 2], &Value::List(vec![1.into(), 2.into()]));
    is(&(1, "a".to_owned()), &Value::Tuple(vec![1.into(), "a".into()]));
    is(&[1u8; 4], &Value::Tuple(vec![1.into(); 4]));
    is(
        &BTreeMap::from([(1, 2), (3, 4)]),
        &Value::Dict(vec![(1.into(), 2.into()), (3.into(), 4.into())]),
    );
    is(&Meters(3), &3.into());
    is(&Pair(3, "b".into()), &Value::Tuple(vec![3.into(), "b".into()]));
    is(&point(1.5), &dict(&[("x", 1.5.into()), ("name", "p".into())]));
    is(&Shape::Nothing, &"Nothing".into());
    is(&Shape::Circle(2.0), &dict(&[("Circle", 2.0.into())]));
    is(&Shape::Box(1, 2), &dict(&[("Box", Value::Tuple(vec![1.into(), 2.into()]))]));
    is(&Shape::Named { name: "n".into() }, &dict(&[("Named", dict(&[("name", "n".into())]))]));
    is(&Vec::<u8>::new(), &Value::List(vec![]));
    is(&HashMap::<u8, u8>::new(), &Value::Dict(vec![]));
}

#[test]
fn what_is_a_sequence_to_python_is_one_here() {
    let numbers = || vec![1.into(), 2.into(), 3.into()];
    let array = Array::new('h', [1i16, 2, 3].map(i16::to_ne_bytes).concat()).unwrap();
    for value in [
        Value::List(numbers()),
        Value::Tuple(numbers()),
        Value::Set(numbers()),
        Value::FrozenSet(numbers()),
        Value::Bytes(vec![1, 2, 3]),
        Value::ByteArray(vec![1, 2, 3]),
        Value::Range(1, 4, 1),
        Value::Slice(Box::new([1.into(), 2.into(), 3.into()])),
        array.into(),
    ] {
        assert_eq!(from_value::<Vec<u8>>(value.clone()).unwrap(), [1, 2, 3], "{value}");
        assert_eq!(from_value::<(u8, u8, u8)>(value.clone()).unwrap(), (1, 2, 3), "{value}");
        assert!(from_value::<(u8, u8)>(value.clone()).is_err(), "{value}");
        assert!(from_value::<String>(value).is_err());
    }
    assert_eq!(from_value::<Vec<i64>>(Value::Range(5, -5, -3)).unwrap(), [5, 2, -1, -4]);
    let all = Value::Range(i64::MIN, i64::MAX, i64::MAX);
    assert_eq!(from_value::<Vec<i64>>(all).unwrap(), [i64::MIN, -1, i64::MAX - 1]);
    assert!(from_value::<Vec<i64>>(Value::Range(0, i64::MAX, 1)).is_err(), "not so many");
    assert_eq!(from_value::<(f64, f64)>(Value::Complex(1.0, 2.0)).unwrap(), (1.0, 2.0));
}

#[test]
fn numbers_become_what_is_wanted_where_they_fit() {
    assert_eq!(from_value::<f64>(Value::Int(3)).unwrap(), 3.0);
    assert_eq!(from_value::<u8>(Value::Int(255)).unwrap(), 255);
    assert!(from_value::<u8>(Value::Int(256)).is_err());
    assert!(from_value::<u8>(Value::Int(-1)).is_err());
    assert!(from_value::<i64>(Value::Float(1.0)).is_err());
    assert!(from_value::<u64>(u128::MAX.into()).is_err());
    assert!(from_value::<bool>(Value::Int(1)).is_err());
}

#[test]
fn objects_with_attributes_become_structs() {
    let class = Global::new("shapes", "Point");
    let state = dict(&[("x", 2.into()), ("name", Value::None)]);
    let object = Object::new(class.clone(), vec![]).with_state(state.clone());
    assert_eq!(from_value::<Point>(object.into()).unwrap(), Point { x: 2.0, name: None });
    // Not when it has more than attributes.
    let object = Object::new(class, vec![1.into()]).with_state(state);
    assert!(from_value::<Point>(object.into()).unwrap_err().to_string().contains("shapes.Point"));
    let mut ordered = Object::call(Global::new("collections", "OrderedDict"), vec![]);
    ordered.pairs = vec![("a".into(), 1.into())];
    let map = from_value::<HashMap<String, u8>>(ordered.into()).unwrap();
    assert_eq!(map, HashMap::from([("a".to_owned(), 1)]));
}

#[test]
fn values_are_values_within_other_types() {
    let value = Value::Tuple(vec![1.into(), Value::Set(vec!["x".into()])]);
    let both = (7, value.clone(), vec![Some(value.clone())]);
    let seen = Value::Tuple(vec![7.into(), value.clone(), Value::List(vec![value.clone()])]);
    assert_eq!(to_value(&both).unwrap(), seen);
    assert_eq!(
        from_bytes::<(u8, Value, Vec<Option<Value>>)>(&to_bytes(&both).unwrap()).unwrap(),
        both
    );
    for len in [0, 252, 300, 70_000] {
        is(
            &(Value::Str("x".repeat(len)), 1),
            &Value::Tuple(vec!["x".repeat(len).into(), 1.into()]),
        );
    }
    // And in messages of this workspace.
    let message = procession_core::Message::encode(&both).unwrap();
    assert_eq!(message.decode::<(u8, Value, Vec<Option<Value>>)>().unwrap(), both);
}

#[test]
fn what_does_not_fit_is_an_error_that_says_so() {
    assert!(from_value::<Point>(dict(&[("x", 1.5.into())])).is_ok(), "no name is none");
    let error = from_value::<Point>(dict(&[("y", 1.5.into())])).unwrap_err();
    assert!(error.to_string().contains("missing field `x`"), "{error}");
    assert!(from_value::<Shape>("Else".into()).is_err());
    assert!(from_value::<Shape>(dict(&[("Circle", 1.into()), ("Box", 1.into())])).is_err());
    assert!(from_value::<Shape>(dict(&[("Nothing", 1.into())])).is_err());
    assert!(from_value::<u8>(Global::new("m", "f").into()).is_err());
    assert!(from_value::<String>(Value::Surrogates(vec![0xed, 0xa0, 0x80])).is_err());
}

#[test]
fn a_type_that_is_too_deep_is_refused() {
    #[derive(Serialize)]
    struct Deep(Vec<Deep>);
    let deep = |depth| (0..depth).fold(Deep(vec![]), |inner, _| Deep(vec![inner]));
    assert!(to_bytes(&deep(400)).is_ok());
    assert!(to_bytes(&deep(600)).is_err());
}

#[test]
fn a_million_floats_are_written_and_read() {
    let floats: Vec<f64> = (0..1_000_000).map(f64::from).collect();
    let pickle = to_bytes(&floats).unwrap();
    assert_eq!(pickle.len(), 9_000_000 + 6);
    assert_eq!(from_bytes::<Vec<f64>>(&pickle).unwrap(), floats);
}

proptest! {
    #[test]
    fn any_value_comes_back_as_itself(value in any_value()) {
        prop_assert_eq!(&to_value(&value).unwrap(), &value);
        prop_assert_eq!(&from_value::<Value>(value.clone()).unwrap(), &value);
    }

    #[test]
    fn ordinary_values_come_back(value: (i64, f32, Option<String>, Vec<(u8, char)>, BTreeMap<String, [i16; 3]>)) {
        prop_assert_eq!(from_bytes::<(i64, f32, Option<String>, Vec<(u8, char)>, BTreeMap<String, [i16; 3]>)>(&to_bytes(&value).unwrap()).unwrap(), value);
    }
}
