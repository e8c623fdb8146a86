//! CPython's `_TestSharedCTypes`.

use procession::prelude::*;
use procession::{RawArray, RawValue};

use crate::stage::{Row, value};

pub(crate) const ROWS: &[Row] = &[
    ("ctypes::sharedctypes", sharedctypes),
    ("ctypes::synchronize", synchronize),
    ("ctypes::copy", copy),
];

#[derive(Debug, Clone, Copy, PartialEq, Plain)]
struct Triple {
    x: i32,
    y: f64,
    z: i64,
}

impl Triple {
    fn doubled(self) -> Self {
        Self { x: self.x * 2, y: self.y * 2.0, z: self.z * 2 }
    }
}

const TRIPLE: Triple = Triple { x: 3, y: 2.0, z: 1 << 33 };

fn sharedctypes() {
    let x = RawValue::new(7i32).unwrap();
    let y = RawValue::new(1.0f64 / 3.0).unwrap();
    let z = RawValue::new(1i64 << 33).unwrap();
    let triple = RawValue::new(TRIPLE).unwrap();
    let numbers = RawArray::from_iter((0..10).map(f64::from)).unwrap();
    let text = RawArray::<u8>::new(20).unwrap();
    text.set_value(b"hello").unwrap();
    let double = |x: RawValue<i32>,
                  y: RawValue<f64>,
                  z: RawValue<i64>,
                  triple: RawValue<Triple>,
                  numbers: RawArray<f64>,
                  text: RawArray<u8>| {
        x.set(x.get().unwrap() * 2).unwrap();
        y.set(y.get().unwrap() * 2.0).unwrap();
        z.set(z.get().unwrap() * 2).unwrap();
        triple.set(triple.get().unwrap().doubled()).unwrap();
        for at in 0..numbers.len() {
            numbers.set(at, numbers.get(at).unwrap() * 2.0).unwrap();
        }
        text.set_value(&text.value().unwrap().repeat(2)).unwrap();
    };
    let all = (x.clone(), y.clone(), z.clone(), triple.clone(), numbers.clone(), text.clone());
    value(&Process::spawn(double, all).unwrap());
    assert_eq!(x.get().unwrap(), 14);
    assert_eq!(y.get().unwrap(), 2.0 / 3.0);
    assert_eq!(z.get().unwrap(), 1 << 34);
    assert_eq!(triple.get().unwrap(), TRIPLE.doubled());
    assert!(
        numbers.to_vec().unwrap().into_iter().eq((0..10).map(|number| f64::from(number) * 2.0))
    );
    assert_eq!(text.value().unwrap(), b"hellohello");
}

fn synchronize() {
    let x = Value::new(7i32).unwrap();
    let y = Value::new(1.0f64 / 3.0).unwrap();
    let z = Value::new(1i64 << 33).unwrap();
    let triple = Value::new(TRIPLE).unwrap();
    let numbers = Array::from_iter((0..10).map(f64::from)).unwrap();
    let text = Array::<u8>::new(20).unwrap();
    text.set_value(b"hello").unwrap();
    let double = |x: Value<i32>,
                  y: Value<f64>,
                  z: Value<i64>,
                  triple: Value<Triple>,
                  numbers: Array<f64>,
                  text: Array<u8>| {
        x.update(|x| x * 2).unwrap();
        y.update(|y| y * 2.0).unwrap();
        z.update(|z| z * 2).unwrap();
        triple.update(Triple::doubled).unwrap();
        numbers.update(.., |all| all.iter_mut().for_each(|number| *number *= 2.0)).unwrap();
        let guard = text.lock().unwrap();
        guard.set_value(&guard.value().unwrap().repeat(2)).unwrap();
    };
    let all = (x.clone(), y.clone(), z.clone(), triple.clone(), numbers.clone(), text.clone());
    value(&Process::spawn(double, all).unwrap());
    assert_eq!(x.get().unwrap(), 14);
    assert_eq!(y.get().unwrap(), 2.0 / 3.0);
    assert_eq!(z.get().unwrap(), 1 << 34);
    assert_eq!(triple.get().unwrap(), TRIPLE.doubled());
    assert!(
        numbers.to_vec().unwrap().into_iter().eq((0..10).map(|number| f64::from(number) * 2.0))
    );
    assert_eq!(text.value().unwrap(), b"hellohello");
}

fn copy() {
    let triple = Value::new(Triple { x: 2, y: 5.0, z: 1 << 33 }).unwrap();
    let copied = triple.copy().unwrap();
    let change = |triple: Value<Triple>| triple.set(Triple { x: 0, y: 0.0, z: 0 }).unwrap();
    value(&Process::spawn(change, (triple.clone(),)).unwrap());
    assert_eq!(triple.get().unwrap(), Triple { x: 0, y: 0.0, z: 0 });
    assert_eq!(copied.get().unwrap(), Triple { x: 2, y: 5.0, z: 1 << 33 });
    // With arrays as well, small and large.
    for len in [10, 10_000] {
        let numbers = Array::filled(len, 7u32).unwrap();
        let copy = numbers.copy().unwrap();
        let change = |numbers: Array<u32>| numbers.fill(8).unwrap();
        value(&Process::spawn(change, (numbers.clone(),)).unwrap());
        assert_eq!(numbers.to_vec().unwrap(), vec![8; len]);
        assert_eq!(copy.to_vec().unwrap(), vec![7; len]);
    }
}
