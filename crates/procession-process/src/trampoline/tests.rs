//! References lead to the function that they were made of, and to nothing else.

use super::*;

fn double(x: u32) -> u32 {
    x * 2
}

fn longest<T: Into<String>>(a: T, b: T) -> String {
    let (a, b) = (a.into(), b.into());
    if a.len() < b.len() { b } else { a }
}

fn call<R: DeserializeOwned>(function: FunctionRef, arguments: &impl Serialize) -> R {
    match function.call(Message::encode(arguments).unwrap(), Vec::new()).unwrap() {
        Reply::Value(value) => value.decode().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn functions_generics_and_closures_are_called() {
    assert_eq!(call::<u32>(FunctionRef::of(double).unwrap(), &(21u32,)), 42);
    let generic = FunctionRef::of(longest::<String>).unwrap();
    assert_eq!(call::<String>(generic, &("a", "bc")), "bc");
    let closure = FunctionRef::of(|a: i8, b: i8| a - b).unwrap();
    assert_eq!(call::<i8>(closure, &(3i8, 5i8)), -2);
}

#[test]
fn a_reference_with_another_fingerprint_is_refused() {
    let mut reference = FunctionRef::of(double).unwrap();
    reference.fingerprint ^= 1;
    assert_eq!(reference.entry().unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn references_to_anywhere_else_are_refused() {
    let good = FunctionRef::of(double).unwrap();
    let far = [i64::MIN, i64::MAX, -1 << 40, 1 << 40];
    let near = (-4096..4096).map(|step| good.distance + step).filter(|d| *d != good.distance);
    for distance in near.chain(far).chain([0]) {
        let bad = FunctionRef { distance, ..good };
        // Another function's entry may lie there; then its fingerprint differs.
        assert_eq!(bad.entry().unwrap_err().kind(), ErrorKind::Decode, "{distance}");
    }
}

#[test]
fn arguments_that_cannot_be_decoded_refuse_the_call() {
    let reference = FunctionRef::of(longest::<String>).unwrap();
    let reply = reference.call(Message::encode(&7u8).unwrap(), Vec::new()).unwrap();
    assert!(matches!(reply, Reply::Refused(error) if error.kind() == ErrorKind::Decode));
}
