//! Blocks with a name.

use procession_core::{ErrorKind, Message};
use procession_shared::{HugePages, SharedMemory};

use super::{Name, sent};

fn kind<T: std::fmt::Debug>(refused: procession_core::Result<T>) -> ErrorKind {
    refused.unwrap_err().kind()
}

#[test]
fn a_name_leads_to_the_block_until_it_is_unlinked() {
    let name = Name::new("leads");
    let made = SharedMemory::create(&name.0, 1000).unwrap();
    let found = SharedMemory::attach(&format!("/{}", name.0)).unwrap();
    assert_eq!((made.name(), found.name()), (Some(&*name.0), Some(&*name.0)));
    assert_eq!((found.size(), found.is_same(&made)), (1000, true));
    found.write(995, b"hello").unwrap();
    assert_eq!(made.read_vec(995..1000).unwrap(), b"hello");
    assert_eq!(kind(SharedMemory::create(&name.0, 1)), ErrorKind::AlreadyExists);
    found.unlink().unwrap();
    for again in [made.unlink(), found.unlink(), SharedMemory::unlink_name(&name.0)] {
        assert_eq!(kind(again), ErrorKind::NotFound);
    }
    assert_eq!(kind(SharedMemory::attach(&name.0)), ErrorKind::NotFound);
    assert_eq!(made.read_vec(995..1000).unwrap(), b"hello", "who has it, has it");
}

#[test]
fn another_blocks_name_is_left_alone() {
    let name = Name::new("another");
    let first = SharedMemory::create(&name.0, 10).unwrap();
    first.unlink().unwrap();
    let second = SharedMemory::create(&name.0, 10).unwrap();
    assert_eq!(kind(first.unlink()), ErrorKind::NotFound);
    assert!(SharedMemory::attach(&name.0).unwrap().is_same(&second));
}

#[test]
fn dropping_leaves_the_name_and_the_content() {
    let name = Name::new("dropping");
    drop(SharedMemory::create(&name.0, 5).unwrap().write(0, b"stays"));
    assert_eq!(SharedMemory::attach(&name.0).unwrap().read_vec(0..5).unwrap(), b"stays");
}

#[test]
fn unique_names_are_as_cpython_makes_them_and_differ() {
    let (one, other) =
        (SharedMemory::create_unique(1).unwrap(), SharedMemory::create_unique(1).unwrap());
    assert_ne!(one.name(), other.name());
    for memory in [one, other] {
        let digits = memory.name().and_then(|name| name.strip_prefix("psm_")).unwrap();
        assert!(digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        memory.unlink().unwrap();
    }
}

#[test]
fn names_and_sizes_that_cannot_be_are_refused() {
    let long = "x".repeat(255);
    for name in ["", "/", "a/b", "..", "a\0b", &long] {
        assert_eq!(kind(SharedMemory::create(name, 1)), ErrorKind::InvalidInput);
        assert_eq!(kind(SharedMemory::attach(name)), ErrorKind::InvalidInput);
        assert_eq!(kind(SharedMemory::unlink_name(name)), ErrorKind::InvalidInput);
    }
    let name = Name::new("sizes");
    assert_eq!(kind(SharedMemory::create(&name.0, 0)), ErrorKind::InvalidInput);
    assert_eq!(kind(SharedMemory::create(&name.0, 1 << 50)), ErrorKind::OutOfMemory);
    let huge = SharedMemory::options().name(&*name.0).huge_pages(HugePages::Try);
    assert_eq!(kind(huge.make(1)), ErrorKind::Unsupported);
    assert_eq!(kind(SharedMemory::attach(&name.0)), ErrorKind::NotFound, "nothing is left");
    let made = SharedMemory::options().name(&*name.0).make(7).unwrap();
    assert_eq!(made.name(), Some(&*name.0));
    assert_eq!(kind(made.into_single_writer()), ErrorKind::InvalidInput);
    assert_eq!(kind(SharedMemory::new(1).unwrap().unlink()), ErrorKind::InvalidInput);
}

#[test]
fn a_handle_in_a_message_is_the_same_block_or_an_error() {
    let name = Name::new("message");
    let made = SharedMemory::create(&name.0, 1000).unwrap();
    made.write(0, b"same").unwrap();
    let received = sent(&made).unwrap();
    assert!(received.is_same(&made));
    assert_eq!(received.read_vec(0..4).unwrap(), b"same");
    let messages: Vec<Message> = (0..2).map(|_| Message::encode(&made).unwrap()).collect();
    let [first, second] = <[Message; 2]>::try_from(messages).unwrap();
    made.unlink().unwrap();
    assert_eq!(kind(first.decode::<SharedMemory>()), ErrorKind::NotFound);
    let _other = SharedMemory::create(&name.0, 1000).unwrap();
    assert_eq!(kind(second.decode::<SharedMemory>()), ErrorKind::NotFound, "it is another one");
}

#[test]
fn a_block_that_is_cut_off_is_an_error_and_no_crash() {
    let name = Name::new("cut");
    let memory = SharedMemory::create(&name.0, 100_000).unwrap();
    memory.fill(9).unwrap();
    let file = std::fs::File::options().write(true).open(format!("/dev/shm/{}", name.0)).unwrap();
    file.set_len(4096).unwrap();
    assert_eq!(memory.read_vec(0..4096).unwrap(), [9; 4096], "this is still there");
    assert_eq!(kind(memory.read_vec(50_000..50_001)), ErrorKind::Torn);
    assert_eq!(kind(memory.write(0, b"x")), ErrorKind::Torn, "and so from then on");
    assert_eq!(kind(memory.view()), ErrorKind::Torn);
    assert_eq!(kind(memory.grow(200_000)), ErrorKind::Torn);
    assert_eq!(SharedMemory::attach(&name.0).unwrap().size(), 4096);
}
