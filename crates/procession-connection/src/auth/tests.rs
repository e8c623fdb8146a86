//! Handshakes step by step: what is said is kept, changed, repeated and turned round.

use super::handshake::Frame;
use super::*;

fn key(bytes: &[u8]) -> MacKey {
    MacKey::new(&AuthKey::from(bytes))
}

fn listener() -> Handshake {
    Handshake::of_listener(&key(b"secret"))
}

fn client() -> Handshake {
    Handshake::of_client(&key(b"secret"))
}

/// What either side has said, and how it ended for it.
struct Talk {
    said: [Vec<Vec<u8>>; 2],
    ended: [Option<Then>; 2],
}

/// Has two sides talk, the listener being the first, each frame going through `between`.
fn talk(
    mut sides: [Handshake; 2],
    mut between: impl FnMut(usize, usize, Vec<u8>) -> Vec<u8>,
) -> Talk {
    let mut talk = Talk { said: [vec![], vec![]], ended: [None, None] };
    let mut frames: Vec<(usize, Frame)> = Vec::new();
    for (from, side) in sides.iter_mut().enumerate() {
        frames.extend(side.begin().unwrap().map(|frame| (from, frame)));
    }
    while let Some((from, frame)) = frames.pop() {
        let to = 1 - from;
        let bytes = between(from, talk.said[from].len(), frame.to_vec());
        talk.said[from].push(bytes.clone());
        if talk.ended[to].is_some() {
            continue;
        }
        let Step { reply, then } = sides[to].take(&bytes).unwrap();
        frames.extend(reply.map(|frame| (to, frame)));
        if then != Then::GoOn {
            talk.ended[to] = Some(then);
        }
    }
    talk
}

fn untouched(_from: usize, _number: usize, frame: Vec<u8>) -> Vec<u8> {
    frame
}

const FAILED: fn(&Option<Then>) -> bool = |then| matches!(then, Some(Then::Failed(_)));

#[test]
fn who_knows_the_key_passes_on_both_sides() {
    for bytes in [&b"secret"[..], b"", &[7; 1000]] {
        let sides = [Handshake::of_listener(&key(bytes)), Handshake::of_client(&key(bytes))];
        assert_eq!(talk(sides, untouched).ended, [Some(Then::Passed); 2]);
        let sides = [Handshake::of_challenger(&key(bytes)), Handshake::of_answerer(&key(bytes))];
        assert_eq!(talk(sides, untouched).ended, [Some(Then::Passed); 2]);
    }
}

#[test]
fn both_sides_say_as_much_and_all_of_it_is_short() {
    let Talk { said: [listener, client], .. } = talk([listener(), client()], untouched);
    let lengths = |frames: &[Vec<u8>]| {
        let mut lengths: Vec<usize> = frames.iter().map(Vec::len).collect();
        lengths.sort_unstable();
        lengths
    };
    assert_eq!(lengths(&listener), [32, 48, 64]);
    assert_eq!(lengths(&client), [32, 48, 64]);
}

#[test]
fn who_does_not_know_the_key_fails_on_both_sides() {
    for wrong in [&b"Secret"[..], b"secret\0", b""] {
        let sides = [listener(), Handshake::of_client(&key(wrong))];
        let Talk { said: [listener, _], ended } = talk(sides, untouched);
        assert!(ended.iter().all(FAILED), "{ended:?}");
        // Nothing that the key has touched: a nonce, and a refusal that is always the same.
        assert_eq!(listener.len(), 2);
        assert_eq!(&listener[0][..16], b"procession auth1");
        assert_eq!(listener[1], [0; 32]);
    }
}

#[test]
fn every_changed_bit_fails_for_the_side_that_it_is_said_to() {
    for from in 0..2 {
        for number in 0..3 {
            for byte in [0, 15, 16, 31, 32, 47, 63] {
                let Talk { ended, .. } = talk([listener(), client()], |who, nth, mut frame| {
                    if (who, nth) == (from, number)
                        && let Some(byte) = frame.get_mut(byte)
                    {
                        *byte ^= 1;
                        frame
                    } else if (who, nth) == (from, number) {
                        // Beyond it: one byte more.
                        frame.push(0);
                        frame
                    } else {
                        frame
                    }
                });
                let seen_by = if from == 0 { [1, 0] } else { [0, 1] };
                let [first, second] = seen_by.map(|side| ended[side]);
                // A changed challenge is not noticed by who answers it, but by who gave it.
                assert!(FAILED(&first) || FAILED(&second), "{from} {number} {byte}");
                assert_ne!(ended, [Some(Then::Passed); 2]);
            }
        }
    }
}

#[test]
fn a_frame_of_any_other_length_fails() {
    for from in 0..2 {
        for number in 0..3 {
            for len in [0, 1, 31, 33, 47, 49, 63, 65, 255, 256] {
                let Talk { ended, .. } = talk([listener(), client()], |who, nth, frame| {
                    if (who, nth) == (from, number) { vec![7; len] } else { frame }
                });
                assert!(FAILED(&ended[1 - from]), "{from} {number} {len}");
            }
        }
    }
}

#[test]
fn what_was_said_before_is_of_no_use() {
    let honest = talk([listener(), client()], untouched);
    for side in 0..2 {
        // One side is a recording of its own honest self.
        let Talk { ended, .. } = talk([listener(), client()], |who, nth, frame| {
            if who == side { honest.said[side][nth].clone() } else { frame }
        });
        assert!(FAILED(&ended[1 - side]), "{ended:?}");
    }
}

#[test]
fn a_side_does_not_believe_what_it_has_said_itself() {
    // Each frame that a listener or a client says comes back to it, cut and filled to the length that it waits for.
    for mut side in [listener(), client(), Handshake::of_challenger(&key(b"secret"))] {
        let own =
            side.begin().unwrap().map_or_else(|| b"procession auth1".to_vec(), |f| f.to_vec());
        for at in 0..own.len() {
            let mut mirrored = own[at..].to_vec();
            mirrored.resize(side.expects(), 0);
            let mut again = match side.expects() {
                64 => listener(),
                _ => client(),
            };
            again.begin().unwrap();
            let Step { then, reply } = again.take(&mirrored).unwrap();
            if let (Then::GoOn, Some(answer)) = (then, reply) {
                // It was a challenge. Its answer comes back as the verdict.
                let Step { then, .. } = again.take(&answer[32..]).unwrap();
                assert!(matches!(then, Then::Failed(_)));
            } else {
                assert!(matches!(then, Then::Failed(_)));
            }
        }
    }
}

#[test]
fn a_proof_for_one_role_is_none_for_another() {
    // A listener is made to answer its own challenge: the answer of its second pass proves that it is the answerer of another pair
    // of nonces, and cannot be had before somebody has passed the first.
    let mut first = listener();
    let challenge = first.begin().unwrap().unwrap();
    let mut second = listener();
    second.begin().unwrap();
    let Step { then, reply } = second.take(&challenge).unwrap();
    assert!(matches!(then, Then::Failed(_)));
    assert!(reply.is_some_and(|reply| reply.iter().all(|byte| *byte == 0)));
}

#[test]
fn another_protocol_fails_at_once() {
    let cpython = b"#CHALLENGE#{sha256}0123456789012345678901234567890123456789";
    for noise in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], cpython, &[0; 48], &[255; 64]] {
        for mut side in [listener(), client()] {
            side.begin().unwrap();
            let Step { then, reply } = side.take(noise).unwrap();
            assert!(matches!(then, Then::Failed(_)));
            assert!(reply.is_none_or(|reply| reply.iter().all(|byte| *byte == 0)));
            let again = side.take(noise).unwrap();
            assert!(matches!(again.then, Then::Failed(_)), "it is over");
        }
    }
}

#[test]
fn keys_are_not_printed() {
    assert!(format!("{:?}", client()).contains("key: MacKey(..)"));
    assert_eq!(format!("{:?}", key(b"secret")), "MacKey(..)");
}
