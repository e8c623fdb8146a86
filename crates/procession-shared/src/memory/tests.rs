//! Tests of what the public face does not show.

use super::*;

#[test]
fn a_generated_name_that_is_taken_is_passed_over() {
    let name = |number: u32| format!("procession-test-{}-collide-{number}", std::process::id());
    let taken: Vec<SharedMemory> =
        (0..3).map(|number| SharedMemory::create(&name(number), 1).unwrap()).collect();
    let mut number = 0;
    let made = SharedMemory::create_with(7, || {
        number += 1;
        Ok(name(number - 1))
    });
    let made = made.unwrap();
    assert_eq!((made.name(), made.size()), (Some(&*name(3)), 7));
    // It does not look for ever.
    let refused = SharedMemory::create_with(7, || Ok(name(0))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    for memory in taken.iter().chain([&made]) {
        memory.unlink().unwrap();
    }
}
