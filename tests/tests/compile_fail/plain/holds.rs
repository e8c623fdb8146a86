//! What is plain compiles.

use procession_shared::Plain;

#[derive(Clone, Copy, Plain)]
#[plain(crate = "procession_shared")]
#[repr(u8)]
enum Unit {
    Metre,
    Foot = 3,
}

#[derive(Clone, Copy, Plain)]
#[plain(crate = "procession_shared")]
struct Length<T> {
    number: T,
    unit: Unit,
}

fn main() {
    assert_eq!(Length::<[f64; 2]>::SIZE, 24);
    assert!(matches!(Unit::load(&[3]), Some(Unit::Foot)));
    let mut bytes = [0; 24];
    Length { number: [1.0, 2.0], unit: Unit::Metre }.store(&mut bytes);
    let Some(Length { number: [1.0, 2.0], unit: Unit::Metre }) = Length::<[f64; 2]>::load(&bytes)
    else {
        panic!("it was stored");
    };
}
