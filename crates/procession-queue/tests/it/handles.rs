//! Items that hold descriptors and objects.

use std::io::{PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::os::fd::OwnedFd;
use std::thread;

use procession_core::Handle;
use procession_queue::{JoinableQueue, Queue, SimpleQueue, TryPutError};
use procession_sync::Lock;

type File = Handle<OwnedFd>;

fn ends() -> (PipeReader, File) {
    let (reader, writer) = pipe().expect("descriptors");
    (reader, Handle(writer.into()))
}

/// Whether `writer` is the other end of `reader`, and there is no further one.
fn are_one(mut reader: PipeReader, writer: File) -> bool {
    let mut writer = PipeWriter::from(writer.into_inner());
    writer.write_all(b"x").expect("a pipe");
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("text");
    text == "x"
}

#[test]
fn descriptors_go_through_in_order_with_any_payload() {
    for len in [0, 10, 100, 1_000, 100_000] {
        let queue = Queue::<(Vec<u16>, Option<File>)>::new().unwrap();
        let mut readers = Vec::new();
        for number in 0..20 {
            // Every third has none.
            let file = (number % 3 > 0).then(|| {
                let (reader, file) = ends();
                readers.push(reader);
                file
            });
            queue.put((vec![number; len], file)).unwrap();
        }
        let mut readers = readers.into_iter();
        for number in 0..20 {
            let (payload, file) = queue.get().unwrap();
            assert_eq!(payload, vec![number; len]);
            assert_eq!(file.is_some(), number % 3 > 0);
            if let Some(file) = file {
                assert!(are_one(readers.next().unwrap(), file));
            }
        }
    }
}

#[test]
fn many_at_once_go_to_many() {
    let queue = Queue::<(u32, Vec<File>)>::bounded(7).unwrap();
    let putters: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            thread::spawn(move || {
                let put = |number: u32| {
                    let (readers, files): (Vec<_>, Vec<_>) =
                        (0..number % 5).map(|_| ends()).unzip();
                    queue.put((number, files)).unwrap();
                    readers
                };
                (0..100).map(put).collect::<Vec<_>>()
            })
        })
        .collect();
    let getters: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            thread::spawn(move || {
                for _ in 0..100 {
                    let (number, files) = queue.get().unwrap();
                    assert_eq!(files.len(), number as usize % 5);
                    for file in files {
                        PipeWriter::from(file.into_inner()).write_all(b"x").unwrap();
                    }
                }
            })
        })
        .collect();
    for mut reader in putters.into_iter().flat_map(|putter| putter.join().unwrap()).flatten() {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }
    getters.into_iter().for_each(|getter| getter.join().unwrap());
}

#[test]
fn a_lease_that_is_given_back_has_its_descriptors_again() {
    let queue = JoinableQueue::<File>::new().unwrap();
    let (reader, file) = ends();
    queue.put(file).unwrap();
    for _ in 0..3 {
        drop(queue.lease().unwrap());
    }
    let file = queue.lease().unwrap().into_done().unwrap();
    assert!(are_one(reader, file));
    queue.join().unwrap();
}

#[test]
fn what_nobody_gets_is_closed() {
    let is_closed = |mut reader: PipeReader| {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text.is_empty()).unwrap()
    };
    let queue = Queue::<File>::new().unwrap();
    let (reader, file) = ends();
    queue.put(file).unwrap();
    assert_eq!(queue.close_now().unwrap(), 1);
    assert!(is_closed(reader));
    // And with the queue.
    let queue = SimpleQueue::<File>::new().unwrap();
    let (reader, file) = ends();
    queue.put(file).unwrap();
    drop(queue);
    assert!(is_closed(reader));
    // And when an item was tried as often as it may be.
    let queue = Queue::<()>::builder().attempts(2).build_joinable::<File>().unwrap();
    let (reader, file) = ends();
    queue.put(file).unwrap();
    (0..2).for_each(|_| drop(queue.lease().unwrap()));
    assert!(is_closed(reader));
    assert_eq!(queue.exhausted().unwrap(), 1);
}

#[test]
fn locks_and_queues_go_through_queues() {
    let queue = Queue::<(Lock, Queue<String>)>::new().unwrap();
    let (lock, inner) = (Lock::new().unwrap(), Queue::new().unwrap());
    queue.put((lock.clone(), inner.clone())).unwrap();
    inner.put("inside".to_owned()).unwrap();
    let (same_lock, same) = queue.get().unwrap();
    assert!(same.is_same(&inner));
    assert_eq!(same.get().unwrap(), "inside");
    let guard = lock.lock().unwrap();
    assert!(same_lock.try_lock().is_err());
    drop(guard);
    drop(same_lock.lock().unwrap());
}

#[test]
fn who_finds_no_room_for_descriptors_waits() {
    let queue = Queue::<Vec<File>>::new().unwrap();
    let (mut reader, writer) = pipe().unwrap();
    let item = || -> Vec<File> { vec![Handle(writer.try_clone().unwrap().into())] };
    // The system has a bound as well, in whatever order the two come.
    let mut count = 0;
    let refused = loop {
        match queue.try_put(item()) {
            Ok(()) => count += 1,
            Err(TryPutError::Full(items)) => break Some(items),
            Err(TryPutError::Failed(_)) => break None,
            Err(TryPutError::Closed(_)) => panic!("it is open"),
        }
        assert!(count < 100_000, "no bound");
    };
    if let Some(items) = refused {
        let putter = {
            let queue = queue.clone();
            thread::spawn(move || queue.put(items).unwrap())
        };
        assert_eq!(queue.get().unwrap().len(), 1);
        putter.join().unwrap();
    }
    drop(queue);
    drop(writer);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
}
