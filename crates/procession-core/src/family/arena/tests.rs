//! The arena within one process.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use super::*;
use crate::Message;

/// A handle as a value, for messages.
#[derive(Debug, Clone)]
struct Counter(Object);

impl Counter {
    fn new(words: usize) -> Self {
        Self(Object::new(Kind::TEST, words, |words, _| words[0].store(7, Relaxed)).unwrap())
    }

    fn value(&self) -> u64 {
        self.0.words()[0].load(Relaxed)
    }

    fn is_there(&self) -> bool {
        is_there(self.0.number, self.0.generation)
    }
}

impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Counter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize(Kind::TEST, deserializer).map(Self)
    }
}

fn family() -> &'static Family {
    Family::current().unwrap()
}

fn is_there(number: u32, generation: u32) -> bool {
    family().heap().header(number).is_some_and(|header| {
        matches!(header.state, State::Live { .. }) && header.generation == generation
    })
}

#[test]
fn an_object_goes_with_its_last_handle() {
    let one = Counter::new(1);
    let (number, generation) = (one.0.number, one.0.generation);
    let other = one.clone();
    drop(one);
    assert!(other.is_there() && other.value() == 7);
    assert_eq!(family().holders(number).unwrap(), [family().me().unwrap()]);
    drop(other);
    assert!(!is_there(number, generation));
    assert_eq!(family().holders(number).unwrap(), []);
}

#[test]
fn a_message_keeps_an_object_and_many_share_a_ticket() {
    let counters: Vec<_> = (0..300).map(|_| Counter::new(1)).collect();
    let numbers: Vec<_> = counters.iter().map(|it| (it.0.number, it.0.generation)).collect();
    let message = Message::encode(&counters).unwrap();
    assert_eq!(message.handles().len(), 1);
    drop(counters);
    assert!(numbers.iter().all(|(number, generation)| is_there(*number, *generation)));
    let back: Vec<Counter> = message.decode().unwrap();
    assert!(back.iter().all(|counter| counter.value() == 7 && counter.is_there()));
    drop(back);
    assert!(!numbers.iter().any(|(number, generation)| is_there(*number, *generation)));
}

#[test]
fn what_was_in_a_message_that_nobody_read_is_collected() {
    let counter = Counter::new(1);
    let (number, generation) = (counter.0.number, counter.0.generation);
    let message = Message::encode(&counter).unwrap();
    drop(counter);
    family().collect().unwrap();
    assert!(is_there(number, generation));
    drop(message);
    family().collect().unwrap();
    assert!(!is_there(number, generation));
}

#[test]
fn a_lost_message_is_noticed_once() {
    let counter = Counter::new(1);
    let (read, unread) = (Message::encode(&counter).unwrap(), Message::encode(&counter).unwrap());
    let _other: Counter = read.decode().unwrap();
    let notices = || counter.0.notice_lost_messages().unwrap();
    assert!(!notices() && counter.0.is_in_message() && !counter.0.is_abandoned());
    drop(unread);
    assert!(notices());
    assert!(!notices() && !counter.0.is_in_message() && counter.0.is_abandoned());
    let again: Counter = Message::encode(&counter).unwrap().decode().unwrap();
    assert!(!again.0.is_abandoned());
}

#[test]
fn a_handle_that_arrives_twice_is_two_handles() {
    let counter = Counter::new(1);
    let message = Message::encode(&(&counter, &counter)).unwrap();
    let (one, other): (Counter, Counter) = message.decode().unwrap();
    drop(counter);
    drop(one);
    assert!(other.is_there());
    assert!(!other.0.is_abandoned());
}

#[test]
fn only_what_is_there_and_of_its_kind_is_received() {
    let counter = Counter::new(1);
    let wrong = |change: fn(&mut Sent)| {
        let message = Message::encode(&counter).unwrap();
        let (bytes, handles) = message.into_parts();
        let mut sent: Sent = Message::decode_parts(&bytes, Vec::new()).unwrap();
        change(&mut sent);
        let (bytes, _) = Message::encode(&sent).unwrap().into_parts();
        Message::from_parts(bytes, handles).decode::<Counter>().unwrap_err().kind()
    };
    assert_eq!(wrong(|sent| sent.generation += 1), ErrorKind::Decode);
    assert_eq!(wrong(|sent| sent.number = u32::MAX), ErrorKind::Decode);
    assert_eq!(wrong(|sent| sent.place = 1), ErrorKind::Decode);
    assert_eq!(wrong(|sent| sent.number ^= 1023), ErrorKind::Decode);
    let foreign = Sent { place: 0, number: counter.0.number, generation: counter.0.generation };
    let other = SharedWords::create(1).unwrap();
    let handles = vec![claim::ticket(&other).unwrap()];
    let bytes = Message::encode(&foreign).unwrap().into_parts().0;
    let error = Message::from_parts(bytes, handles).decode::<Counter>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(counter.is_there());
}

#[test]
fn a_place_is_zero_and_of_another_generation_when_it_is_used_again() {
    for words in [1, 8, 9, 32, 8192] {
        let object = Object::new(Kind::TEST, words, |_, _| {}).unwrap();
        let (number, generation, len) = (object.number, object.generation, object.words.len());
        assert!(len >= words);
        object.words.iter().for_each(|word| word.store(u64::MAX, Relaxed));
        // The arena's own.
        object.words[LINK].store(0, Relaxed);
        object.words[LINK + 1].store(0, Relaxed);
        drop(object);
        let mut seen = Vec::new();
        let again = loop {
            let object = Object::new(Kind::TEST, words, |_, _| {}).unwrap();
            if object.number == number {
                break object;
            }
            assert!(seen.len() < 100_000, "the place is not used again");
            seen.push(object);
        };
        assert_ne!(again.generation, generation);
        assert!(again.words.iter().all(|word| word.load(Relaxed) == 0));
    }
}

#[test]
fn an_extension_lives_as_long_as_its_parent() {
    let parent = Counter::new(1);
    let words = parent.0.extension().unwrap();
    assert_eq!(words.len(), 8192);
    words[8191].store(3, Relaxed);
    assert_eq!(parent.0.extension().unwrap()[8191].load(Relaxed), 3);
    let link = u32::try_from(parent.0.words[LINK].load(Relaxed)).unwrap() - 1;
    let generation = family().heap().header(link).unwrap().generation;
    family().collect().unwrap();
    assert!(is_there(link, generation));
    drop(parent);
    assert!(!is_there(link, generation));
}

#[test]
fn ten_thousand_objects_cost_no_descriptor_and_little_memory() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let counters: Vec<_> = (0..10_000).map(|_| Counter::new(1)).collect();
    // Other tests of this program open some for moments.
    assert!(descriptors() < before + 8);
    let total: u64 = counters.iter().map(Counter::value).sum();
    assert_eq!(total, 70_000);
}

#[test]
fn too_large_an_object_is_refused() {
    let error = Object::new(Kind::TEST, 8193, |_, _| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}
